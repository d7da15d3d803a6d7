package sandboxtest

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/moltworker/moltworker/internal/sandbox"
)

func testOutput(t *testing.T, b *bench) {
	if err := os.WriteFile(b.log, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := b.start(b.spec("/bin/sh", "-c", "echo out; echo err >&2; echo $MARK"))
	if s.ID() != b.id {
		t.Errorf("ID = %q, want %q", s.ID(), b.id)
	}
	if e := b.wait(s); e != (sandbox.Exit{Known: true}) {
		t.Errorf("Wait = %v, want exit code 0", e)
	}
	content, err := os.ReadFile(b.log)
	if err != nil || string(content) != "before\nout\nerr\ninside\n" {
		t.Errorf("log = %q, %v; want standard output and error appended", content, err)
	}
}

func testExit(t *testing.T, b *bench) {
	t.Run("code", func(t *testing.T) {
		b := newBench(t, b.open)
		s := b.start(b.spec("/bin/sh", "-c", "exit 42"))
		for range 2 { // any number of times
			if e := b.wait(s); e != (sandbox.Exit{Known: true, Code: 42}) {
				t.Errorf("Wait = %v, want exit code 42", e)
			}
		}
		if err := s.Signal(b.ctx(), syscall.SIGTERM); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("Signal after the end = %v, want ErrNotFound", err)
		}
	})
	t.Run("handled signal", func(t *testing.T) {
		b := newBench(t, b.open)
		s := b.start(b.probeSpec("sleep", nil))
		b.logged("up")
		if err := s.Signal(b.ctx(), syscall.SIGTERM); err != nil {
			t.Fatalf("Signal: %v", err)
		}
		if e := b.wait(s); e != (sandbox.Exit{Known: true, Code: 7}) {
			t.Errorf("Wait = %v, want exit code 7 from the handler", e)
		}
	})
	t.Run("deadly signal", func(t *testing.T) {
		b := newBench(t, b.open)
		s := b.start(b.probeSpec("sleep", nil))
		b.logged("up")
		if err := s.Signal(b.ctx(), syscall.SIGKILL); err != nil {
			t.Fatalf("Signal: %v", err)
		}
		if e := b.wait(s); e != (sandbox.Exit{Known: true, Signal: syscall.SIGKILL}) {
			t.Errorf("Wait = %v, want killed by SIGKILL", e)
		}
	})
}

// One name is one sandbox, until its PID 1 has ended.
func testIdentity(t *testing.T, b *bench) {
	if _, err := b.driver.Open(b.ctx(), b.id); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("Open before Start = %v, want ErrNotFound", err)
	}
	if ids, err := b.driver.List(b.ctx()); err != nil || len(ids) != 0 {
		t.Errorf("List before Start = %v, %v", ids, err)
	}
	first := b.start(b.probeSpec("sleep", nil))
	if _, err := b.driver.Start(b.ctx(), b.probeSpec("sleep", nil)); !errors.Is(err, sandbox.ErrExists) {
		t.Errorf("second Start = %v, want ErrExists", err)
	}
	if ids, err := b.driver.List(b.ctx()); err != nil || !slices.Equal(ids, []string{b.id}) {
		t.Errorf("List = %v, %v; want %s", ids, err, b.id)
	}

	// A second driver on the same root finds it and can wait for it and end it.
	other, err := b.open(b.root)
	if err != nil {
		t.Fatal(err)
	}
	again, err := other.Open(b.ctx(), b.id)
	if err != nil {
		t.Fatalf("Open by another driver: %v", err)
	}
	b.logged("up")
	if err := again.Signal(b.ctx(), syscall.SIGTERM); err != nil {
		t.Errorf("Signal by another driver: %v", err)
	}
	for _, s := range []sandbox.Sandbox{first, again} {
		if e := b.wait(s); e != (sandbox.Exit{Known: true, Code: 7}) {
			t.Errorf("Wait = %v, want exit code 7", e)
		}
	}
	if _, err := other.Open(b.ctx(), b.id); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("Open after the end = %v, want ErrNotFound", err)
	}
	if left := b.remains(); len(left) > 0 {
		t.Errorf("ErrNotFound, but still there: %v", left)
	}

	// The name is free again, and the old handle has no power over the new one.
	fresh := b.start(b.probeSpec("sleep", nil))
	if err := first.Destroy(b.ctx()); err != nil {
		t.Errorf("Destroy by the old handle: %v", err)
	}
	if _, err := b.driver.Open(b.ctx(), b.id); err != nil {
		t.Errorf("the old handle's Destroy took the new sandbox away: %v", err)
	}
	if err := fresh.Destroy(b.ctx()); err != nil {
		t.Errorf("Destroy: %v", err)
	}
}

// The process that started a sandbox is killed; the sandbox lives on, is found,
// waited for by two processes, and its exit code is known.
func testOutlives(t *testing.T, b *bench) {
	arg, err := json.Marshal(order{Root: b.root, Spec: b.probeSpec("sleep", nil)})
	if err != nil {
		t.Fatal(err)
	}
	starter, line := b.elsewhere(startArg, string(arg))
	if line != "started" {
		t.Fatalf("start in another process: %s", line)
	}
	b.logged("up")
	starter.Process.Kill()
	starter.Wait()

	s, err := b.driver.Open(b.ctx(), b.id)
	if err != nil {
		t.Fatalf("Open after the starter's death: %v", err)
	}
	waiter, line := b.elsewhere(waitArg, b.root, b.id)
	if line != "opened" {
		t.Fatalf("open in another process: %s", line)
	}
	if err := s.Signal(b.ctx(), syscall.SIGTERM); err != nil {
		t.Fatalf("Signal: %v", err)
	}
	if e := b.wait(s); e != (sandbox.Exit{Known: true, Code: 7}) {
		t.Errorf("Wait = %v, want exit code 7", e)
	}
	if err := waiter.Wait(); err != nil {
		t.Errorf("the other waiting process: %v", err)
	}
	said, _ := os.ReadFile(filepath.Join(b.out, waitArg))
	if want := "exited with code 7 <nil>"; !strings.Contains(string(said), want) {
		t.Errorf("the other waiting process said %q, want %q", said, want)
	}
}

// elsewhere runs this binary again as something else and gives its first line.
func (b *bench) elsewhere(args ...string) (*exec.Cmd, string) {
	b.t.Helper()
	name := filepath.Join(b.out, args[0])
	out, err := os.Create(name)
	if err != nil {
		b.t.Fatal(err)
	}
	defer out.Close()
	self, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { cmd.Process.Kill() })
	first := ""
	b.until("the other process's word", func() bool {
		f, err := os.Open(name)
		if err != nil {
			return false
		}
		defer f.Close()
		first, err = bufio.NewReader(f).ReadString('\n')
		return err == nil
	})
	return cmd, strings.TrimSpace(first)
}

func testKilled(t *testing.T, b *bench) {
	s := b.start(b.probeSpec("sleep", nil))
	b.logged("up")
	b.killAll()
	b.wait(s) // whatever it says, it returns
	if _, err := b.driver.Open(b.ctx(), b.id); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("Open after kill -9 = %v, want ErrNotFound", err)
	}
	if left := b.remains(); len(left) > 0 {
		t.Errorf("Open did not clean up: %v", left)
	}
	if err := s.Destroy(b.ctx()); err != nil {
		t.Errorf("Destroy of what is gone: %v", err)
	}
}

func testFailedStart(t *testing.T, b *bench) {
	tests := []struct {
		name   string
		spoil  func(*sandbox.Spec)
		expect string
	}{
		{"missing mount source", func(s *sandbox.Spec) {
			s.Mounts = append(s.Mounts, sandbox.Mount{Source: "/no/such/source", Destination: "/mnt/x"})
		}, "/no/such/source"},
		{"missing program", func(s *sandbox.Spec) { s.Args = []string{"/no/such/program"} }, "/no/such/program"},
		{"no place in /usr", func(s *sandbox.Spec) {
			s.Mounts = append(s.Mounts, sandbox.Mount{Source: b.out, Destination: "/usr/no-such-place"})
		}, "/usr"},
		{"relative program", func(s *sandbox.Spec) { s.Args = []string{"sh"} }, "absolute"},
		{"bad name", func(s *sandbox.Spec) { s.ID = "../x" }, "sandbox id"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec := b.spec("/bin/sh", "-c", "exit 0")
			tt.spoil(&spec)
			_, err := b.driver.Start(b.ctx(), spec)
			if err == nil || !strings.Contains(err.Error(), tt.expect) {
				t.Errorf("Start = %v, want an error about %q", err, tt.expect)
			}
			if left := b.remains(); len(left) > 0 {
				t.Errorf("left on the host:\n%s", strings.Join(left, "\n"))
			}
		})
	}
	// None of it stands in the way of a good start.
	if e := b.wait(b.start(b.spec("/bin/sh", "-c", "exit 0"))); e != (sandbox.Exit{Known: true}) {
		t.Errorf("after the failures: %v", e)
	}
}

func testDestroy(t *testing.T, b *bench) {
	s := b.start(b.spec("/bin/sh", "-c", "sleep 1000 & echo up; wait"))
	b.logged("up")
	for range 2 {
		if err := s.Destroy(b.ctx()); err != nil {
			t.Fatalf("Destroy: %v", err)
		}
		if left := b.remains(); len(left) > 0 {
			t.Fatalf("left after Destroy:\n%s", strings.Join(left, "\n"))
		}
	}
	b.wait(s)
	if _, err := s.Usage(b.ctx()); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("Usage after Destroy = %v, want ErrNotFound", err)
	}
	if _, err := os.Stat(b.home); err != nil {
		t.Errorf("what was mounted is gone: %v", err)
	}
}
