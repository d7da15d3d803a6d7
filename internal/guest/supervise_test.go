package guest_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/guest"
	"github.com/moltworker/moltworker/internal/guest/pid1"
	"github.com/moltworker/moltworker/internal/guest/proto"
)

// The test binary is also the server that is supervised, and PID 1.
func TestMain(m *testing.M) {
	if port := os.Getenv("TEST_SERVE"); port != "" {
		serve(port)
	}
	if args := os.Getenv("TEST_GUEST"); args != "" {
		os.Exit(pid1.Main(strings.Fields(args)))
	}
	os.Exit(m.Run())
}

// serve is a gateway in miniature.
func serve(port string) {
	fmt.Println("starting")
	http.HandleFunc("/live", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>") })
	http.HandleFunc("/ready", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"ready":true}`) })
	http.HandleFunc("/html", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>") })
	http.HandleFunc("/die", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(os.Stderr, "last words")
		code, _ := strconv.Atoi(r.URL.Query().Get("code"))
		os.Exit(code)
	})
	http.ListenAndServe("127.0.0.1:"+port, nil)
	os.Exit(1)
}

func server(t testing.TB) (p proto.Process, url string) {
	port := freePort(t)
	return proto.Process{
		Args:       []string{os.Args[0]},
		Env:        []string{fmt.Sprintf("TEST_SERVE=%d", port)},
		Live:       proto.Probe{Port: port, Path: "/live"},
		Ready:      proto.Probe{Port: port, Path: "/ready"},
		FatalCodes: []int{78},
	}, fmt.Sprintf("http://127.0.0.1:%d", port)
}

// diary keeps a guest's events.
type diary struct {
	mu     sync.Mutex
	events []proto.Event
}

func follow(t testing.TB, h *guest.Host) *diary {
	t.Helper()
	d := &diary{}
	background(t, func(ctx context.Context) error {
		h.Events(ctx, 0, func(e proto.Event) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.events = append(d.events, e)
		})
		return nil
	})
	return d
}

// phases lists the phases so far, without repetitions in a row.
func (d *diary) phases() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	for _, e := range d.events {
		if e.Status != nil && (len(all) == 0 || all[len(all)-1] != string(e.Status.Phase)) {
			all = append(all, string(e.Status.Phase))
		}
	}
	return strings.Join(all, " ")
}

func (d *diary) text(stream string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var b strings.Builder
	for _, e := range d.events {
		if e.Log != nil && e.Log.Stream == stream {
			b.WriteString(e.Log.Text + "\n")
		}
	}
	return b.String()
}

func status(t testing.TB, h *guest.Host) proto.Status {
	t.Helper()
	s, err := h.Supervised(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	return s.Status
}

func waitPhase(t testing.TB, h *guest.Host, want proto.Phase) proto.Status {
	t.Helper()
	var s proto.Status
	waitFor(t, string(want), func() bool { s = status(t, h); return s.Phase == want })
	return s
}

func TestSuperviseFromBootToRestart(t *testing.T) {
	h := start(t)
	d := follow(t, h)
	p, url := server(t)
	if err := h.Supervise(soon(t), p); err != nil {
		t.Fatal(err)
	}
	first := waitPhase(t, h, proto.PhaseReady)
	if first.PID == 0 || first.Attempt != 1 || first.Restarts != 0 {
		t.Errorf("ready: %+v", first)
	}
	waitFor(t, "good boot", func() bool {
		return strings.HasPrefix(d.phases(), "idle starting live ready") || strings.HasPrefix(d.phases(), "starting live ready")
	})
	waitFor(t, "output", func() bool { return d.text("stdout") == "starting\n" })

	// The same again changes nothing.
	if err := h.Supervise(soon(t), p); err != nil {
		t.Fatal(err)
	}
	if again := status(t, h); again.PID != first.PID {
		t.Errorf("was started anew: %+v", again)
	}

	// It comes back by itself, and says why it went.
	http.Get(url + "/die?code=3")
	waitFor(t, "come-back", func() bool { return status(t, h).Restarts == 1 })
	second := waitPhase(t, h, proto.PhaseReady)
	if second.PID == first.PID || second.LastExit != "exited with code 3: last words" {
		t.Errorf("after its end: %+v", second)
	}

	// It is restarted when asked.
	if err := h.Restart(soon(t), time.Second); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "restart", func() bool { s := status(t, h); return s.Phase == proto.PhaseReady && s.PID != second.PID })
	if third := status(t, h); third.Restarts != 1 {
		t.Errorf("an asked restart was counted: %+v", third)
	}

	// A fatal exit is not believed at once: it is started again.
	http.Get(url + "/die?code=78")
	waitFor(t, "another run", func() bool { s := status(t, h); return s.Phase == proto.PhaseReady && s.Restarts == 2 })

	// It is left alone after the second in a row, until asked for.
	hopeless := p
	hopeless.Args, hopeless.Ready, hopeless.Live = []string{"/bin/sh", "-c", "exit 78"}, proto.Probe{}, proto.Probe{}
	hopeless.Ready.Port = p.Ready.Port // which nobody answers
	if err := h.Supervise(soon(t), hopeless); err != nil {
		t.Fatal(err)
	}
	failed := waitPhase(t, h, proto.PhaseFailed)
	if failed.PID != 0 || failed.Attempt != 2 || !strings.Contains(failed.LastExit, "code 78") {
		t.Errorf("failed: %+v", failed)
	}
	if err := h.Supervise(soon(t), p); err != nil {
		t.Fatal(err)
	}
	waitPhase(t, h, proto.PhaseReady)
}

func TestBootThatHangsIsKilledAndRetried(t *testing.T) {
	h := start(t)
	p, _ := server(t)
	p.Ready.Path = "/html" // 200, but no JSON
	p.BootTimeout = proto.Duration(300 * time.Millisecond)
	if err := h.Supervise(soon(t), p); err != nil {
		t.Fatal(err)
	}
	var s proto.Status
	waitFor(t, "second boot", func() bool { s = status(t, h); return s.Attempt >= 2 })
	if !strings.Contains(s.LastExit, "not ready within 300ms") {
		t.Errorf("status: %+v", s)
	}
}

func TestStubbornProcessIsKilledAfterItsGrace(t *testing.T) {
	h := start(t)
	d := follow(t, h)
	p := proto.Process{Args: []string{"/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"}, Env: os.Environ()}
	if err := h.Supervise(soon(t), p); err != nil {
		t.Fatal(err)
	}
	first := waitPhase(t, h, proto.PhaseReady)
	waitFor(t, "trap", func() bool { return d.text("stdout") == "up\n" })
	if err := h.Restart(soon(t), 20*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "restart", func() bool { s := status(t, h); return s.PID != 0 && s.PID != first.PID })
	waitFor(t, "reason", func() bool { return strings.Contains(d.text("guest"), "killed by signal 9") })
	if !strings.Contains(d.phases(), "stopping") {
		t.Errorf("phases: %s", d.phases())
	}
}

// An order that comes while a process takes its time to end takes effect.
func TestShutdownCutsALongGraceShort(t *testing.T) {
	dir := t.TempDir()
	h, _ := startHost(t, dir, nil)
	_, ended := startGuest(t, dir, nil)
	connected(t, h)
	d := follow(t, h)
	p := proto.Process{Args: []string{"/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"}, Env: os.Environ()}
	if err := h.Supervise(soon(t), p); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "trap", func() bool { return d.text("stdout") == "up\n" })
	pid := status(t, h).PID
	if err := h.Restart(soon(t), 5*time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := h.Shutdown(soon(t), 10*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	<-ended
	if !dead(t, strconv.Itoa(pid)) {
		t.Error("the process outlived its guest")
	}
}

func TestRestartedHostFindsWhatRuns(t *testing.T) {
	dir := t.TempDir()
	h, stop := startHost(t, dir, nil)
	startGuest(t, dir, nil)
	connected(t, h)
	p, _ := server(t)
	if err := h.Supervise(soon(t), p); err != nil {
		t.Fatal(err)
	}
	before, boot := waitPhase(t, h, proto.PhaseReady), h.Info().BootID
	stop()

	h, _ = startHost(t, dir, nil)
	connected(t, h)
	now, err := h.Supervised(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	if h.Info().BootID != boot || now.Status.PID != before.PID || !now.Process.Same(p) {
		t.Errorf("found %+v with boot %s", now, h.Info().BootID)
	}
	var first uint64
	ctx, cancel := context.WithCancel(soon(t))
	h.Events(ctx, now.LastSeq-1, func(e proto.Event) { first = e.Seq; cancel() })
	if first != now.LastSeq {
		t.Errorf("events resumed at %d, want %d", first, now.LastSeq)
	}
}

// Guest text is cleaned before anybody sees it.
func TestLogLinesAreCleaned(t *testing.T) {
	h := start(t)
	d := follow(t, h)
	p := proto.Process{Args: []string{"/bin/sh", "-c", `printf 'a\033[31mred\007\n'; sleep 1000`}, Env: os.Environ()}
	if err := h.Supervise(soon(t), p); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "line", func() bool { return d.text("stdout") != "" })
	if got := d.text("stdout"); strings.ContainsAny(got, "\033\007") {
		t.Errorf("line %q", got)
	}
}

// The program itself: it reaps orphans beside its own children, and ends in
// order on SIGTERM.
func TestMainReapsAndEndsInOrder(t *testing.T) {
	dir := t.TempDir()
	h, _ := startHost(t, dir, nil)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TEST_GUEST=--link "+filepath.Join(dir, guest.SocketName))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	connected(t, h)
	for range 20 {
		// The grandchild outlives its parent and its group, and is PID 1's.
		var out notes
		exit, err := h.Exec(soon(t), sh("setsid sh -c 'exit 5' >/dev/null 2>&1 & echo $!; exit 4"), nil, &out, os.Stderr)
		if err != nil || exit.Code != 4 {
			t.Fatalf("exit %+v, %v", exit, err)
		}
		pid, _ := strconv.Atoi(strings.TrimSpace(out.String()))
		waitFor(t, "reaped orphan", func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH })
	}
	p := proto.Process{Args: []string{"/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"}, Env: os.Environ()}
	if err := h.Supervise(soon(t), p); err != nil {
		t.Fatal(err)
	}
	pid := waitPhase(t, h, proto.PhaseReady).PID
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the guest ended with %v", err)
	}
	if !dead(t, strconv.Itoa(pid)) {
		t.Error("the process outlived its guest")
	}
}
