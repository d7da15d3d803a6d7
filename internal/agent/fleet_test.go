package agent

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
)

// member makes an agent of a world under another name.
func (w *world) member(name string) *Agent {
	w.t.Helper()
	opts := w.opts
	opts.Name, opts.ID, opts.Dir = name, "test-"+name, filepath.Join(filepath.Dir(opts.Dir), name)
	a, err := New(opts)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func TestAFleetGrowsAndShrinksWhileItRuns(t *testing.T) {
	w, _ := newWorld(t)
	f, err := NewFleet(w.member("one"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	one, _ := f.Agent("ONE")
	awake(t, one)

	two := w.member("two")
	if err := f.Add(two); err != nil {
		t.Fatal(err)
	}
	if err := f.Wake(soon(t), "two", "a test"); err != nil {
		t.Fatal(err)
	}
	if err := f.Add(two); !errors.Is(err, ErrTaken) {
		t.Errorf("added twice: %v", err)
	}
	if err := f.Wake(soon(t), "three", "a test"); !errors.Is(err, ErrNoAgent) {
		t.Errorf("woke nobody: %v", err)
	}

	if err := f.Remove(soon(t), "two"); err != nil {
		t.Fatal(err)
	}
	if s := two.Status(); s.State != StateStopped {
		t.Errorf("removed, but %s", s.State)
	}
	if len(f.All()) != 1 {
		t.Errorf("%d agents left", len(f.All()))
	}
	if err := f.Remove(soon(t), "two"); !errors.Is(err, ErrNoAgent) {
		t.Errorf("removed twice: %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if s := one.Status(); s.State != StateStopped {
		t.Errorf("the fleet has ended, but an agent is %s", s.State)
	}
}
