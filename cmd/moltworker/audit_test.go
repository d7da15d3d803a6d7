package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/store"
)

func TestMain(m *testing.M) {
	if os.Getenv(bareEnv) != "" {
		restoreBare = pretendBare
	}
	testscript.Main(m, map[string]func(){"moltworker": main})
}

// TestAudit tells what the command line says of an audit log when nothing runs:
// each script is a story.
func TestAudit(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Files: []string{"testdata/audit.txtar"},
		Setup: func(env *testscript.Env) error {
			env.Setenv("MOLTWORKER_DATA", env.Getenv("WORK")+"/data")
			env.Setenv("MOLTWORKER_CACHE", env.Getenv("WORK")+"/cache")
			env.Setenv("HOME", env.Getenv("WORK"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"run": cmdRun, "record": cmdRecord, "tamper": cmdTamper,
		},
	})
}

// cmdRun runs the program: run CODE ARG... expects it to end with CODE.
func cmdRun(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: run CODE ARG...")
	}
	err := ts.Exec("moltworker", args[1:]...)
	code := "0"
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = fmt.Sprint(exit.ExitCode())
	} else if err != nil {
		ts.Fatalf("run moltworker: %v", err)
	}
	if code != args[0] {
		ts.Fatalf("moltworker %v: ended with code %s, want %s", args[1:], code, args[0])
	}
}

// cmdRecord records: record ACTION DETAIL.
func cmdRecord(ts *testscript.TestScript, _ bool, args []string) {
	db, err := store.Open(context.Background(), ts.MkAbs("data/control.sqlite"))
	ts.Check(err)
	defer db.Close()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ts.Check(audit.New(db, func() time.Time { return at }).Record(context.Background(), audit.Event{
		Action: args[0], Actor: "person ann@example.com", From: "192.0.2.7", Agent: "main", Target: "dev1", Old: "Phone", New: "Ann's phone", Detail: args[1]}))
}

// cmdTamper changes the database behind the log's back: tamper SQL.
func cmdTamper(ts *testscript.TestScript, _ bool, args []string) {
	db, err := sql.Open("sqlite", filepath.Join(ts.MkAbs("data"), "control.sqlite"))
	ts.Check(err)
	defer db.Close()
	_, err = db.ExecContext(context.Background(), args[0])
	ts.Check(err)
}
