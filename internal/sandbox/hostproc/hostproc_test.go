package hostproc

import (
	"context"
	"os/exec"
	"slices"
	"testing"
)

func TestParseStat(t *testing.T) {
	const line = "4711 (evil) R 1 (name) S 12 4711 4711 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1000 10\n"
	got, err := parseStat([]byte(line))
	if want := (Stat{State: 'S', Parent: 12, Start: 987654}); err != nil || got != want {
		t.Errorf("parseStat = %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "1 (x", "1 (x) S", "1 (x) S y 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22"} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("parseStat(%q) = %+v, want an error", bad, got)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (init) S 0 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 5 1000 10"))
	f.Fuzz(func(t *testing.T, content []byte) { parseStat(content) })
}

// A process is found by its arguments, killed, and its end is seen; a stranger
// is left alone.
func TestFindKillAwait(t *testing.T) {
	cmd := exec.Command("sleep", "1000.4711")
	if err := cmd.Start(); err != nil {
		t.Skip("no sleep(1) here:", err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	pid := cmd.Process.Pid
	mine := func(p int) bool { return slices.Contains(Args(p), "1000.4711") }

	if got := Find(mine); !slices.Contains(got, pid) {
		t.Fatalf("Find = %v, want %d among them", got, pid)
	}
	Kill(pid, func(int) bool { return false })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Await(ctx, pid, mine); err != context.Canceled {
		t.Errorf("Await of a stranger that was spared = %v, want context.Canceled", err)
	}
	Kill(pid, mine)
	if err := Await(t.Context(), pid, mine); err != nil {
		t.Errorf("Await after Kill: %v", err)
	}
}

// A process that replaces its program is found all the while: for a moment the
// kernel tells no arguments of it.
func TestFindDuringExec(t *testing.T) {
	const again = `[ "$1" -gt 0 ] && exec /bin/sh -c "$0" "$0" $(($1-1)); exec sleep 1000.4712`
	cmd := exec.Command("/bin/sh", "-c", again, again, "300")
	if err := cmd.Start(); err != nil {
		t.Skip("no sh(1) here:", err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	for {
		args := Args(cmd.Process.Pid)
		if len(args) == 0 {
			t.Fatal("the process was lost from sight")
		}
		if slices.Contains(args, "1000.4712") {
			return
		}
	}
}
