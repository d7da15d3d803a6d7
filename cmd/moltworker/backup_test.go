package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/server"
)

// TestBackups tells what the command line does with versions of agents: each script
// is a story, with a control plane in front of a backup in memory.
func TestBackups(t *testing.T) {
	for _, file := range []string{"testdata/backup.txtar", "testdata/trouble.txtar", "testdata/move.txtar"} {
		b := admintest.NewBackups(time.Now, "main", "research")
		w := admintest.New(t, func(o *admin.Options) { o.Backups = b })
		testscript.Run(t, testscript.Params{
			Files: []string{file},
			Setup: func(env *testscript.Env) error {
				data := filepath.Join(env.Getenv("WORK"), "data")
				env.Setenv("MOLTWORKER_DATA", data)
				env.Setenv("MOLTWORKER_CACHE", env.Getenv("WORK")+"/cache")
				env.Setenv("HOME", env.Getenv("WORK"))
				env.Setenv(bareEnv, "yes")
				return serveWorld(env, w, data)
			},
			Cmds: map[string]func(*testscript.TestScript, bool, []string){
				"run": cmdRun,
				"put": func(ts *testscript.TestScript, _ bool, args []string) {
					name, err := strconv.Unquote(`"` + args[1] + `"`)
					ts.Check(err)
					b.Write(args[0], name, args[2])
				},
				"live": func(ts *testscript.TestScript, _ bool, args []string) {
					if got := b.Live(args[0], args[1]); got != args[2] {
						ts.Fatalf("%s of %s is %q, want %q", args[1], args[0], got, args[2])
					}
				},
				"fence": func(ts *testscript.TestScript, _ bool, args []string) { b.Fence(args[0]) },
				"damage": func(ts *testscript.TestScript, _ bool, args []string) {
					b.Damage(args[0], backup.Damage{Object: args[1], Why: args[2], Versions: args[3:]})
				},
				"become": func(ts *testscript.TestScript, _ bool, args []string) {
					b.Set(func(o *admin.BackupOverview) { o.State = args[0] })
				},
				"opens": func(ts *testscript.TestScript, _ bool, args []string) { b.Opens(args[0]) },
				"keep": func(ts *testscript.TestScript, _ bool, args []string) {
					b.Set(func(o *admin.BackupOverview) { o.Policy.Last = 1 })
				},
			},
		})
	}
}

// bareEnv has the program pretend what it takes a store for.
const bareEnv = "MOLTWORKER_TEST_BARE"

func pretendBare(_ context.Context, o server.BareOptions) ([]backup.Report, error) {
	if o.From != "s3://bucket/moltworker" {
		return nil, fmt.Errorf("look into %s: %w", o.From, backup.ErrNoRepo)
	}
	if key, err := os.ReadFile(o.KeyFile); err != nil || strings.TrimSpace(string(key)) != "the key" {
		return nil, fmt.Errorf("open %s: %w", o.From, backup.ErrKey)
	}
	if o.Version != admin.LatestVersion && o.Version != "000000000000002a" {
		return nil, fmt.Errorf("%w: %s", backup.ErrNoVersion, o.Version)
	}
	agents := []string{o.Agent}
	if o.Agent == "" {
		agents = []string{"main", "research"}
	}
	var reports []backup.Report
	for _, name := range agents {
		o.Tell("restoring " + name)
		reports = append(reports, backup.Report{Version: backup.Version{ID: "000000000000002a", Agent: name}, Files: 7, Bytes: 2048})
	}
	return reports, nil
}

// What is in a file may not order a terminal about.
func TestATerminalIsNotOrderedAbout(t *testing.T) {
	var out bytes.Buffer
	text := "plain\ttext\n\x1b]0;title\x07\u009b31m\u202eevil\xff 日本語\n"
	if _, err := tamed(&out, func(w io.Writer) (int64, error) { n, err := io.WriteString(w, text); return int64(n), err }); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "plain\ttext\n"+`\x1b]0;title\a\u009b31m\u202eevil`+"\ufffd 日本語\n" {
		t.Errorf("%q", got)
	}
}

// A file is there whole or as it was.
func TestAFileIsReceivedWhole(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out")
	write := func(text string, err error) error {
		_, got := receive(file, nil, func(w io.Writer) (int64, error) {
			n, _ := io.WriteString(w, text)
			return int64(n), err
		})
		return got
	}
	if err := write("first", nil); err != nil {
		t.Fatal(err)
	}
	if err := write("sec", io.ErrUnexpectedEOF); err == nil {
		t.Error("no error")
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "first" {
		t.Errorf("%q, %v", got, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}
