package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
)

// Bounds of these stories' patience, generous because other tests share the
// machine.
const (
	bootPatience = 8 * time.Minute // first start, runtime installed meanwhile
	patience     = 2 * time.Minute
)

// event is a line of `moltworker up --json`.
type event struct {
	Event string        `json:"event"`
	URL   string        `json:"url"`
	Agent *agent.Status `json:"agent"`
	Key   string        `json:"key"`
}

// up is a running `moltworker up`.
type up struct {
	t    *testing.T
	data string
	env  []string // what it and its commands have in their environment, beside the test's own
	cmd  *exec.Cmd
	log  *lockedBuffer // what it printed on standard error

	mu     sync.Mutex
	events []event
	news   chan struct{} // closed and replaced at each event
	done   chan struct{} // closed when the process has ended
}

// startUp runs `moltworker up` on a data directory and a free port.
func startUp(t *testing.T, data string, args ...string) *up {
	t.Helper()
	return startIn(t, data, nil, args...)
}

// again is another `moltworker up` after u has ended, on the same data.
func (u *up) again(t *testing.T, args ...string) *up {
	t.Helper()
	return startIn(t, u.data, u.env, args...)
}

// startIn is startUp with more in the environment.
func startIn(t *testing.T, data string, env []string, args ...string) *up {
	t.Helper()
	u := &up{t: t, data: data, env: env, log: &lockedBuffer{}, news: make(chan struct{}), done: make(chan struct{})}
	args = append([]string{"up", "--json", "--data", data, "--listen", "127.0.0.1:0"}, args...)
	u.cmd = exec.Command(program, args...)
	u.cmd.Env = append(os.Environ(), env...)
	u.cmd.Stderr = u.log
	out, err := u.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go u.read(bufio.NewScanner(out))
	t.Cleanup(func() {
		u.stop()
		if t.Failed() {
			t.Logf("moltworker up said on standard error:\n%s", u.log)
		}
	})
	return u
}

func (u *up) read(lines *bufio.Scanner) {
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			u.t.Errorf("not a line of JSON: %s", lines.Bytes())
			continue
		}
		u.mu.Lock()
		u.events = append(u.events, e)
		close(u.news)
		u.news = make(chan struct{})
		u.mu.Unlock()
	}
	u.cmd.Wait()
	close(u.done)
}

// await returns the first event from the nth on that want accepts, and the index
// after it.
func (u *up) await(from int, within time.Duration, what string, want func(event) bool) (event, int) {
	u.t.Helper()
	deadline := time.After(within)
	for i := from; ; {
		u.mu.Lock()
		events, news := u.events, u.news
		u.mu.Unlock()
		for ; i < len(events); i++ {
			if want(events[i]) {
				return events[i], i + 1
			}
		}
		select {
		case <-news:
		case <-u.done:
			u.t.Fatalf("moltworker up ended before %s:\n%s", what, u.log)
		case <-deadline:
			u.t.Fatalf("no %s within %s; last status %+v\n%s", what, within, u.lastStatus(), u.log)
		}
	}
}

// seen is the number of events so far: a place to await from.
func (u *up) seen() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.events)
}

func (u *up) lastStatus() *agent.Status {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := len(u.events) - 1; i >= 0; i-- {
		if u.events[i].Agent != nil {
			return u.events[i].Agent
		}
	}
	return nil
}

func (u *up) link() string {
	u.t.Helper()
	e, _ := u.await(0, patience, "link to the Control UI", func(e event) bool { return e.Event == "link" })
	return e.URL
}

func (u *up) awaitAwake(from int) agent.Status {
	u.t.Helper()
	e, _ := u.await(from, bootPatience, "awake agent", func(e event) bool {
		return e.Agent != nil && e.Agent.State == agent.StateAwake
	})
	return *e.Agent
}

// stop ends it in order, as Ctrl-C does, and returns its exit code.
func (u *up) stop() int {
	u.cmd.Process.Signal(os.Interrupt)
	select {
	case <-u.done:
	case <-time.After(patience):
		u.t.Errorf("moltworker up did not stop within %s of Ctrl-C", patience)
		u.kill()
	}
	return u.cmd.ProcessState.ExitCode()
}

// kill ends it without warning.
func (u *up) kill() {
	u.cmd.Process.Signal(syscall.SIGKILL)
	<-u.done
}

// moltworker runs another command on the same data directory.
func (u *up) moltworker(args ...string) result {
	u.t.Helper()
	return moltworker(u.t, u.env, append(args[:len(args):len(args)], "--data", u.data)...)
}

// result is how a command ended.
type result struct {
	stdout, stderr string
	code           int
}

// moltworker runs one command to its end, with more in the environment.
func moltworker(t *testing.T, env []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*bootPatience) // a drill boots
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("moltworker %v: %v", args, err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// inside runs a shell line in the main agent's sandbox and returns its output.
func (u *up) inside(line string) string {
	u.t.Helper()
	r := moltworker(u.t, u.env, "agent", "exec", "--data", u.data, "main", "--", "/bin/sh", "-c", line)
	if r.code != 0 {
		u.t.Fatalf("inside: %s: code %d\n%s%s", line, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// eventually waits until ok is true, asking again and again.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", within, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// lockedBuffer is a bytes.Buffer that a process writes while a test reads.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
