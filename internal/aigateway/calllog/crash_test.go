package calllog

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// crashEnv names the database that a child of TestKilled writes to.
const crashEnv = "CALLLOG_TEST_KILLED"

const killedBatch = 700

func TestMain(m *testing.M) {
	if path := os.Getenv(crashEnv); path != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeUntilKilled says after each batch that it is written.
func writeUntilKilled(path string) error {
	ctx := context.Background()
	l, err := Open(ctx, Options{Path: path, MaxPayloadBytes: 1 << 30})
	if err != nil {
		return err
	}
	next := someCalls(&l.ids, 1_000_000, time.Now(), time.Hour)
	for batch := 0; ; batch++ {
		for i := range killedBatch {
			c := next(batch*killedBatch + i)
			c.Payload = &Payload{Request: []byte("hello"), Response: []byte("world")}
			l.Add(c)
		}
		fmt.Println("writing")
		if err := l.Flush(ctx); err != nil {
			return err
		}
		fmt.Println("written")
	}
}

// The process is killed in the middle of a batch, several times over the same file:
// what was said to be written is there, batches are whole, and the sums agree.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "calls.sqlite")
	written := int64(0)
	for round := range 4 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env, cmd.Stderr = append(os.Environ(), crashEnv+"="+path), os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < 2+round; { // so many batches, and some way into the next
			if !lines.Scan() {
				t.Fatal("the child ended by itself")
			}
			if lines.Text() == "written" {
				n++
				written++
			}
		}
		lines.Scan() // "writing"
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			if lines.Text() == "written" {
				written++
			}
		}
		_ = cmd.Wait() // it was killed

		l, _ := open(t, Options{Path: path})
		check(t, l)
		calls := l.Stats().Calls
		// A last batch may be there that there was no time to tell of.
		if calls%killedBatch != 0 || calls < written*killedBatch || calls > (written+1)*killedBatch {
			t.Errorf("round %d: %d calls, and %d batches were said to be written", round, calls, written)
		}
		written = calls / killedBatch
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
