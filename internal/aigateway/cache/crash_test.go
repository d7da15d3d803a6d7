package cache

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

const crashEnv = "CACHE_TEST_CRASH_DIR"

// crashBody is what the answer to a key must be, 200 kB of it.
func crashBody(n int) []byte { return bytes.Repeat([]byte(fmt.Sprintf("%08d", n)), 25_000) }

// TestCrashChild is the process that is killed. It writes over and over, and says so.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashEnv)
	if dir == "" {
		t.Skip("it is run by TestKilledAtAnyPoint")
	}
	s, err := Open(Options{Dir: dir})
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	for n := 0; ; n = (n + 1) % 20 {
		r := s.Record(keyFor(n), ada, answer, time.Hour)
		r.Write(crashBody(n))
		fmt.Println("kept", r.Commit(usage.Usage{}))
	}
}

func TestKilledAtAnyPoint(t *testing.T) {
	dir := t.TempDir()
	seen := 0
	for round := range 8 {
		killAfter(t, dir, 30+97*round)
		s := open(t, Options{Dir: dir})
		if names, _ := filepath.Glob(filepath.Join(dir, ".*.unfinished")); len(names) > 0 {
			t.Errorf("round %d: left %v", round, names)
		}
		for n := range 20 {
			e, ok := s.Lookup(keyFor(n), time.Now())
			if !ok {
				continue
			}
			seen++
			if got, _ := pieces(t, e); strings.Join(got, "") != string(crashBody(n)) {
				t.Errorf("round %d: another answer to %d", round, n)
			}
		}
		if st := s.Stats(); st.Damaged > 0 {
			t.Errorf("round %d: %+v", round, st)
		}
		must(t, s.Close())
	}
	if seen == 0 {
		t.Error("nothing was ever kept")
	}
}

// killAfter kills a child after it said so many lines.
func killAfter(t *testing.T, dir string, after int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$")
	cmd.Env = append(os.Environ(), crashEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		if strings.HasPrefix(lines.Text(), "failed") {
			t.Error(lines.Text())
		}
		if n == after {
			must(t, cmd.Process.Kill())
		}
	}
	_ = cmd.Wait() // it was killed
}
