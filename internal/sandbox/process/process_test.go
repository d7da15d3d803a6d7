package process

import (
	"errors"
	"syscall"
	"testing"

	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { sandboxtest.Main(m, open) }

func open(root string) (sandbox.Driver, error) { return New(Options{Root: root}) }

func TestDriver(t *testing.T) {
	available(t)
	sandboxtest.Run(t, open)
}

// The same as a user without privileges.
func TestRootless(t *testing.T) {
	available(t)
	sandboxtest.AsNobody(t, open, nil)
}

func available(t *testing.T) {
	t.Helper()
	if _, err := New(Options{Root: t.TempDir()}); errors.Is(err, sandbox.ErrUnavailable) {
		t.Skip(err)
	}
}

func TestMissingBubblewrap(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := New(Options{Root: t.TempDir()}); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("New without bwrap = %v, want ErrUnavailable", err)
	}
}

func TestParseStatus(t *testing.T) {
	tests := []struct {
		said  string
		child int
		want  sandbox.Exit
	}{
		{"", 0, sandbox.Exit{}},
		{"{ \"child-pid\": 12, \"net-namespace\": 4026532182 }\n", 12, sandbox.Exit{}},
		{"{ \"child-pid\": 12 }\n{ \"exit-code\": 0 }\n", 12, sandbox.Exit{Known: true}},
		{"{ \"child-pid\": 12 }\n{ \"exit-code\": 137 }\n", 12, sandbox.Exit{Known: true, Signal: syscall.SIGKILL}},
		{"{ \"child-pid\": 12 }\n{ \"exit-co", 12, sandbox.Exit{}},
		{"garbage\n{}\n", 0, sandbox.Exit{}},
	}
	for _, tt := range tests {
		got := parseStatus([]byte(tt.said))
		if got.child != tt.child || got.result() != tt.want {
			t.Errorf("parseStatus(%q) = child %d, %v; want %d, %v", tt.said, got.child, got.result(), tt.child, tt.want)
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add([]byte("{ \"child-pid\": 12 }\n{ \"exit-code\": 3 }\n"))
	f.Fuzz(func(t *testing.T, said []byte) { parseStatus(said).result() })
}
