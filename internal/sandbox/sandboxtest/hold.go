package sandboxtest

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/moltworker/moltworker/internal/sandbox"
)

// A sandbox is held still, by several processes inside that write all the time;
// nothing is written meanwhile, and afterwards everything goes on. One that its
// holder left held is found and let go by the next.
func testHold(t *testing.T, b *bench) {
	s, ok := b.start(b.spec("/bin/sh", "-c", writers)).(sandbox.Pausable)
	if !ok {
		t.Fatalf("sandboxes of the %s driver cannot be paused", b.driver.Name())
	}
	for range 5 {
		b.grows()
		if err := s.Pause(b.ctx()); err != nil {
			t.Fatalf("Pause: %v", err)
		}
		b.still()
		if err := s.Pause(b.ctx()); err != nil {
			t.Fatalf("Pause of a paused sandbox: %v", err)
		}
		b.still()
		if err := s.Resume(b.ctx()); err != nil {
			t.Fatalf("Resume: %v", err)
		}
	}
	b.grows()
	if err := s.Destroy(b.ctx()); err != nil {
		t.Fatalf("Destroy: %v", err)
	}
	for what, change := range map[string]error{"Pause": s.Pause(b.ctx()), "Resume": s.Resume(b.ctx())} {
		if !errors.Is(change, sandbox.ErrNotFound) {
			t.Errorf("%s after the end = %v, want ErrNotFound", what, change)
		}
	}
	t.Run("left held", testLeftHeld(b))
}

// writers keeps three processes writing, one of which makes a new process each
// time.
const writers = `
(while :; do echo a >> one; done) &
(while :; do /bin/echo b >> two; done) &
while :; do echo c >> three; done`

func (b *bench) sizes() (all [3]int64) {
	b.t.Helper()
	for i, name := range []string{"one", "two", "three"} {
		if info, err := os.Stat(filepath.Join(b.home, name)); err == nil {
			all[i] = info.Size()
		}
	}
	return all
}

// grows waits until each of the writers has written.
func (b *bench) grows() {
	b.t.Helper()
	before := b.sizes()
	b.until("every writer to write", func() bool {
		now := b.sizes()
		return now[0] > before[0] && now[1] > before[1] && now[2] > before[2]
	})
}

// still fails when anything is written.
func (b *bench) still() {
	b.t.Helper()
	before := b.sizes()
	for range 50 {
		if now := b.sizes(); now != before {
			b.t.Fatalf("written while it was held: %v, then %v", before, now)
		}
	}
}

func testLeftHeld(b *bench) func(*testing.T) {
	return func(t *testing.T) {
		b := newBench(t, b.open)
		arg, err := json.Marshal(order{Root: b.root, Spec: b.spec("/bin/sh", "-c", writers), Pause: filepath.Join(b.home, "three")})
		if err != nil {
			t.Fatal(err)
		}
		starter, line := b.elsewhere(startArg, string(arg))
		if line != "started" {
			t.Fatalf("start and pause in another process: %s", line)
		}
		starter.Process.Kill()
		starter.Wait()
		found, err := b.driver.Open(b.ctx(), b.id)
		if err != nil {
			t.Fatalf("Open after the holder's death: %v", err)
		}
		b.still()
		if err := found.(sandbox.Pausable).Resume(b.ctx()); err != nil {
			t.Fatalf("Resume: %v", err)
		}
		b.grows()
	}
}
