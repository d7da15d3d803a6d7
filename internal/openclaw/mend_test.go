package openclaw_test

import (
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/openclaw/openclawtest"
)

// hotJournal puts a database at path as a process leaves it that is killed in the
// middle of a transaction: pages of it are written, and a journal says what was
// there before.
func hotJournal(t *testing.T, path string) {
	t.Helper()
	live := filepath.Join(t.TempDir(), "live.sqlite")
	db, err := sql.Open("sqlite", live)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, line := range []string{
		"PRAGMA journal_mode = DELETE", "PRAGMA cache_size = 5", "PRAGMA synchronous = FULL",
		"CREATE TABLE t(x)", "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) INSERT INTO t SELECT hex(randomblob(500)) FROM n",
		"BEGIN", "UPDATE t SET x = 'lost' || x",
	} {
		if _, err := db.Exec(line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-journal"} {
		copyFile(t, live+suffix, path+suffix)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil || len(data) == 0 {
		t.Fatalf("%s: %d bytes, %v", from, len(data), err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// readOnly reads a database the way OpenClaw first does.
func readOnly(path string) error {
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	if err != nil {
		return err
	}
	defer db.Close()
	var lost int
	if err := db.QueryRow("SELECT count(*) FROM t WHERE x LIKE 'lost%'").Scan(&lost); err != nil {
		return err
	}
	if lost > 0 {
		return fmt.Errorf("%d rows of the transaction that was not finished", lost)
	}
	return nil
}

// TestWhatAKilledGatewayLeftIsMended has the real Node take back what a process
// killed in the middle of a transaction left, before the gateway starts, and start
// it whatever it meets.
func TestWhatAKilledGatewayLeftIsMended(t *testing.T) {
	rt := openclawtest.Runtime(t)
	home := t.TempDir()
	hot := filepath.Join(home, ".openclaw/agents/main/agent/openclaw-agent.sqlite")
	hotJournal(t, hot)
	if err := readOnly(hot); err == nil {
		t.Fatal("the journal is not one that keeps a reader out: this test proves nothing")
	}
	state := filepath.Join(home, ".openclaw/state")
	if err := os.MkdirAll(filepath.Join(state, "dir.sqlite-journal"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"bad.sqlite": "no database", "bad.sqlite-journal": "no journal", "empty.sqlite-journal": ""} {
		if err := os.WriteFile(filepath.Join(state, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := openclaw.MendFirst(filepath.Join(rt.Dir, rt.Node), []string{"/bin/sh", "-c", `echo "$$ $1 $#"; exit 7`, "gateway", "a 'b\" --", ""})
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = []string{"HOME=" + home, "PATH=/usr/bin:/bin"}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if want := fmt.Sprintf("%d a 'b\" -- 2\n", cmd.Process.Pid); string(line) != want || cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("the gateway was started as %q with code %d, want %q with code 7", line, cmd.ProcessState.ExitCode(), want)
	}
	if err := readOnly(hot); err != nil {
		t.Errorf("not mended: %v\n%s", err, said.String())
	}
	if strings.Count(said.String(), "took an unfinished transaction of "+hot) != 1 {
		t.Errorf("it said %s", said.String())
	}
}
