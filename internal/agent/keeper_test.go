package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/openclaw/runtime"
	"github.com/moltworker/moltworker/internal/remedy"
)

func TestAgentWakesAndStopsWithoutTrace(t *testing.T) {
	w, _ := newWorld(t)
	a, stop := w.run()
	s := awake(t, a)
	var phases []string
	for _, p := range s.Phases {
		phases = append(phases, p.Name)
		if p.Ended.IsZero() {
			t.Errorf("awake, but phase %s has not ended", p.Name)
		}
	}
	if got := strings.Join(phases, " "); !strings.HasPrefix(got, "runtime sandbox guest config gateway") {
		t.Errorf("woke by way of %s", got)
	}
	if s.Runtime != "1.2.3" || s.Driver != "process" || s.Error != "" {
		t.Errorf("awake as %+v", s)
	}
	if u, err := a.Usage(t.Context()); err != nil {
		t.Errorf("usage: %+v, %v", u, err)
	}
	if !strings.Contains(gatewayConfig(t, a), "a-token") {
		t.Error("the gateway has no configuration of ours")
	}
	stop()
	w.gone()
	if s := a.Status(); s.State != StateStopped {
		t.Errorf("stopped, but shows %+v", s)
	}
	if err := a.Restart(t.Context()); !errors.Is(err, ErrNotAwake) {
		t.Errorf("restarting a stopped agent gave %v", err)
	}
}

// gatewayConfig asks the gateway, as the edge would, what it is configured with.
func gatewayConfig(t *testing.T, a *Agent) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return a.DialGateway(ctx) },
	}}
	resp, err := client.Get("http://gateway/config")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestKilledGatewayComesBack(t *testing.T) {
	w, _ := newWorld(t)
	a, _ := w.run()
	awake(t, a)
	sh(t, a, "kill -9 $(pidof node) || pkill -9 node")
	s := await(t, a, "awake again", func(s Status) bool { return s.State == StateAwake && s.Restarts == 1 })
	if w.driver.started() != 1 {
		t.Error("the sandbox was started anew for the gateway's sake")
	}
	if s.Error != "" {
		t.Errorf("awake, but shows %q", s.Error)
	}
}

func TestKilledSandboxComesBack(t *testing.T) {
	w, _ := newWorld(t)
	a, _ := w.run()
	awake(t, a)
	sh(t, a, "echo mine > $HOME/kept")
	for starts := 2; starts <= 3; starts++ {
		w.kill()
		await(t, a, "awake in a new sandbox", func(s Status) bool { return s.State == StateAwake && w.driver.started() == starts })
		if got := sh(t, a, "cat $HOME/kept"); got != "mine" {
			t.Errorf("the home has %q", got)
		}
	}
}

func TestSecondHostAdoptsTheSandbox(t *testing.T) {
	w, _ := newWorld(t)
	a, leave := w.abandon()
	awake(t, a)
	before := sh(t, a, "pidof node || pgrep node")
	leave()
	b, _ := w.run()
	awake(t, b)
	if w.driver.started() != 1 {
		t.Error("started a new sandbox instead of taking over the one that runs")
	}
	if after := sh(t, b, "pidof node || pgrep node"); after != before {
		t.Errorf("the gateway was started anew: process %s, before %s", after, before)
	}
	entries, _, err := b.Logs(t.Context(), 100, false)
	if err != nil {
		t.Fatal(err)
	}
	if n := count(entries, "hello from the sandbox"); n != 1 {
		t.Errorf("the log says hello %d times; want once", n)
	}
}

func TestRestartDuringAdoptionRestartsTheGateway(t *testing.T) {
	w, _ := newWorld(t)
	a, leave := w.abandon()
	awake(t, a)
	before := sh(t, a, "pidof node || pgrep node")
	leave()
	hold := make(chan struct{})
	installed := w.opts.Runtime
	w.opts.Runtime = func(ctx context.Context, tell func(string)) (runtime.Runtime, error) {
		<-hold
		return installed(ctx, tell)
	}
	b, _ := w.run()
	if err := b.Restart(soon(t)); err != nil {
		t.Fatal(err)
	}
	close(hold)
	await(t, b, "awake after a restart", func(s Status) bool { return s.State == StateAwake && hasPhase(s, "gateway") })
	if after := sh(t, b, "pidof node || pgrep node"); after == before {
		t.Error("the restart was forgotten")
	}
}

func hasPhase(s Status, name string) bool {
	for _, p := range s.Phases {
		if p.Name == name {
			return true
		}
	}
	return false
}

func TestSandboxWithOtherSettingsIsReplaced(t *testing.T) {
	w, _ := newWorld(t)
	a, leave := w.abandon()
	awake(t, a)
	leave()
	w.opts.TimeZone = "Europe/Vienna"
	b, _ := w.run()
	awake(t, b)
	if w.driver.started() != 2 {
		t.Errorf("%d sandboxes were started; want the second to replace the first", w.driver.started())
	}
	if tz := sh(t, b, "echo $TZ"); tz != "Europe/Vienna" {
		t.Errorf("inside it is %q", tz)
	}
}

// abandon runs an agent whose host process can die without stopping anything.
func (w *world) abandon() (a *Agent, leave func()) {
	w.t.Helper()
	a, err := New(w.opts)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done [2]chan struct{}
	for i, f := range []func(){func() { a.host.Run(ctx) }, func() { a.keep(ctx) }} {
		done[i] = make(chan struct{})
		go func() { defer close(done[i]); f() }()
	}
	left := false
	leave = func() {
		if left {
			return
		}
		left = true
		cancel()
		<-done[0]
		<-done[1]
		a.book.close()
	}
	w.t.Cleanup(leave)
	return a, leave
}

func count(entries []LogEntry, text string) (n int) {
	for _, e := range entries {
		if strings.Contains(e.Text, text) {
			n++
		}
	}
	return n
}

func TestGuestThatNeverGreetsIsReplaced(t *testing.T) {
	w, _ := newWorld(t)
	w.inHome("mute", "")
	a, _ := w.run(func(a *Agent) { a.patience.greet = 300 * time.Millisecond })
	s := await(t, a, "tried again", func(s Status) bool { return s.Error != "" && w.driver.started() >= 2 })
	if !strings.Contains(s.Error, "guest.log") {
		t.Errorf("says %q; want where to look", s.Error)
	}
	w.notInHome("mute")
	awake(t, a)
}

// inHome puts a file into the agent's home before the first start.
func (w *world) inHome(name, content string) {
	w.t.Helper()
	path := filepath.Join(homeDir(w.opts.Dir), name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) notInHome(name string) {
	w.t.Helper()
	if err := os.Remove(filepath.Join(homeDir(w.opts.Dir), name)); err != nil {
		w.t.Fatal(err)
	}
}

// A sandbox that dies before its guest has called is noticed at once, not when
// the time for greeting is up.
func TestDeadSandboxIsNotWaitedFor(t *testing.T) {
	w, _ := newWorld(t)
	w.inHome("mute", "")
	a, _ := w.run(func(a *Agent) { a.patience.greet = time.Hour })
	await(t, a, "waiting for the guest", func(s Status) bool { return hasPhase(s, "guest") })
	w.notInHome("mute")
	w.kill()
	awake(t, a)
}

func TestUnreadableConfigurationWaitsForAPerson(t *testing.T) {
	w, _ := newWorld(t)
	w.inHome(".openclaw/openclaw.json", "{ this is not")
	a, _ := w.run()
	s := await(t, a, "failed", in(StateFailed))
	if !strings.Contains(s.Error, "openclaw.json") || s.Remedy == "" {
		t.Errorf("failed with %q and remedy %q", s.Error, s.Remedy)
	}
	var bad *openclaw.ConfigError
	if err := a.Restart(soon(t)); !errors.As(err, &bad) || remedy.Of(err) == "" {
		t.Errorf("restarting it so gave %v", err)
	}
	sh(t, a, "rm $HOME/.openclaw/openclaw.json")
	if err := a.Restart(soon(t)); err != nil {
		t.Fatal(err)
	}
	if s := awake(t, a); s.Error != "" || s.Remedy != "" {
		t.Errorf("awake, but shows %q, %q", s.Error, s.Remedy)
	}
}

func TestRefusedConfigurationWaitsForAPerson(t *testing.T) {
	w, _ := newWorld(t)
	w.inHome(".openclaw/openclaw.json", `{"fatal": true}`)
	a, _ := w.run()
	s := await(t, a, "failed", in(StateFailed))
	if !strings.Contains(s.Error, "invalid configuration") || !strings.Contains(s.Remedy, "agent restart main") {
		t.Errorf("failed with %q and remedy %q", s.Error, s.Remedy)
	}
	sh(t, a, "rm $HOME/.openclaw/openclaw.json")
	if err := a.Restart(soon(t)); err != nil {
		t.Fatal(err)
	}
	awake(t, a)
}

// Whoever spoils the file under a running gateway is told, and the gateway stays.
func TestRunningGatewaySurvivesABadEdit(t *testing.T) {
	w, _ := newWorld(t)
	a, _ := w.run()
	awake(t, a)
	sh(t, a, "echo '{ this is not' > $HOME/.openclaw/openclaw.json")
	if err := a.Reconfigure(soon(t)); err == nil {
		t.Error("nobody is told of the bad file")
	}
	if s := a.Status(); s.State != StateAwake {
		t.Errorf("the gateway runs, but the agent shows %+v", s)
	}
}

func TestReconfigureWritesTheMergedConfiguration(t *testing.T) {
	w, now := newWorld(t)
	a, _ := w.run()
	awake(t, a)
	pid := sh(t, a, "pidof node || pgrep node")
	now.allow("https://agents.example")
	for range 2 { // two at once are two in turn
		if err := a.Reconfigure(soon(t)); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(gatewayConfig(t, a), "https://agents.example") {
		t.Error("the new origin is not in the file")
	}
	if s := a.Status(); s.State != StateAwake || sh(t, a, "pidof node || pgrep node") != pid {
		t.Errorf("reconfiguring restarted the gateway: %+v", s)
	}
}

func TestRestartIsShownAtOnce(t *testing.T) {
	w, _ := newWorld(t)
	a, _ := w.run()
	awake(t, a)
	sh(t, a, "touch $HOME/slow")
	if err := a.Restart(soon(t)); err != nil {
		t.Fatal(err)
	}
	if s := a.Status(); s.State != StateBooting {
		t.Errorf("restarting, but shows %+v", s)
	}
	// A reconfiguration while it boots must not hide that it becomes ready.
	if err := a.Reconfigure(soon(t)); err != nil {
		t.Fatal(err)
	}
	sh(t, a, "rm $HOME/slow")
	if s := awake(t, a); len(s.Phases) == 0 || s.Phases[0].Name != "stopping" {
		t.Errorf("the timeline of the restart is %+v", s.Phases)
	}
}

func TestRestartEndsABackOff(t *testing.T) {
	w, _ := newWorld(t)
	broken := errors.New("no runtime today")
	installed, fail := w.opts.Runtime, make(chan error, 1)
	fail <- broken
	w.opts.Runtime = func(ctx context.Context, tell func(string)) (runtime.Runtime, error) {
		select {
		case err := <-fail:
			return runtime.Runtime{}, err
		default:
			return installed(ctx, tell)
		}
	}
	a, _ := w.run(func(a *Agent) { a.patience.firstPause = time.Hour })
	await(t, a, "in its back-off", func(s Status) bool { return s.Error == broken.Error() })
	if err := a.Reconfigure(soon(t)); err != nil {
		t.Errorf("reconfiguring what does not run: %v", err)
	}
	if err := a.Restart(soon(t)); err != nil {
		t.Fatal(err)
	}
	awake(t, a)
}

// Ctrl-C ends the agent whatever it is doing, and leaves nothing.
func TestStopInEveryPhase(t *testing.T) {
	never := func(ctx context.Context, _ func(string)) (runtime.Runtime, error) {
		<-ctx.Done()
		return runtime.Runtime{}, context.Cause(ctx)
	}
	phase := func(name string) func(*testing.T, *Agent) {
		return func(t *testing.T, a *Agent) {
			await(t, a, "in phase "+name, func(s Status) bool { return hasPhase(s, name) })
		}
	}
	for name, story := range map[string]struct {
		arrange func(*world)
		reach   func(*testing.T, *Agent)
	}{
		"installing":            {func(w *world) { w.opts.Runtime = never }, phase("runtime")},
		"starting the sandbox":  {func(w *world) { w.driver.hold, w.driver.before = make(chan struct{}), func() {} }, phase("sandbox")},
		"waiting for the guest": {func(w *world) { w.inHome("mute", "") }, phase("guest")},
		"booting":               {func(w *world) { w.inHome("slow", "") }, phase("ready")},
		"failed":                {func(w *world) { w.inHome(".openclaw/openclaw.json", "{") }, func(t *testing.T, a *Agent) { await(t, a, "failed", in(StateFailed)) }},
		"backing off": {func(w *world) {
			w.opts.Runtime = func(context.Context, func(string)) (runtime.Runtime, error) {
				return runtime.Runtime{}, errors.New("none")
			}
		}, func(t *testing.T, a *Agent) { await(t, a, "in trouble", func(s Status) bool { return s.Error != "" }) }},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := newWorld(t)
			story.arrange(w)
			a, stop := w.run(func(a *Agent) {
				a.patience.longestPause = time.Hour
				a.patience.grace, a.patience.lastCall = time.Second, time.Second
			})
			story.reach(t, a)
			stop()
			w.gone()
			if s := a.Status(); s.State != StateStopped {
				t.Errorf("shows %+v", s)
			}
		})
	}
}

func TestRequestsDuringABootAreNotHeldUp(t *testing.T) {
	w, _ := newWorld(t)
	begun := make(chan struct{}, 10)
	w.driver.hold, w.driver.before = make(chan struct{}), func() { begun <- struct{}{} }
	a, _ := w.run()
	<-begun
	if err := a.Reconfigure(soon(t)); err != nil {
		t.Error(err)
	}
	if err := a.Restart(soon(t)); err != nil {
		t.Error(err)
	}
	close(w.driver.hold)
	awake(t, a)
	if w.driver.started() != 1 {
		t.Error("the boot was begun again")
	}
}

func TestLogSurvivesAndIsFollowed(t *testing.T) {
	w, _ := newWorld(t)
	a, stop := w.run()
	awake(t, a)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	entries, later, err := a.Logs(ctx, 1000, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	for count(entries, "hello from the sandbox") < 2 {
		e, open := <-later
		if !open {
			t.Fatalf("the second start is not in the log: %+v", entries)
		}
		entries = append(entries, e)
	}
	stop()
	b, _ := w.run()
	if entries, _, err = b.Logs(ctx, 1000, false); err != nil || count(entries, "hello from the sandbox") < 2 {
		t.Errorf("the next host has %d entries of the log, %v", len(entries), err)
	}
	info, err := os.Stat(filepath.Join(w.opts.Dir, "logs", "agent.log"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the log is %v, %v; want 0600", info.Mode(), err)
	}
}

// An agent that was made for nothing holds nothing: its place can be taken.
func TestAnAbandonedAgentHoldsNothing(t *testing.T) {
	w, _ := newWorld(t)
	for range 3 {
		a, err := New(w.opts)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Abandon(); err != nil {
			t.Fatal(err)
		}
	}
	a, _ := w.run()
	awake(t, a)
}

// slow has the gateway of the next agent not answer as long as there is a file "slow" in
// its home.
func (w *world) slow() {
	w.t.Helper()
	home := homeDir(w.opts.Dir)
	if err := os.MkdirAll(home, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "slow"), nil, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// TestBootsTakeTurns: with room for one boot, the next begins when the gateway of the
// one before answers.
func TestBootsTakeTurns(t *testing.T) {
	w, _ := newWorld(t)
	w.opts.Boots = make(chan struct{}, 1)
	dir := filepath.Dir(w.opts.Dir)
	var all []*Agent
	for _, name := range []string{"slow", "second", "third"} {
		w.opts.Name, w.opts.ID, w.opts.Dir = name, "test-"+name, filepath.Join(dir, name)
		w.slow()
		a, _ := w.run()
		all = append(all, a)
		await(t, a, "its place", func(s Status) bool {
			return s.State == StateBooting && slices.ContainsFunc(s.Phases, func(p Phase) bool {
				return p.Name == map[bool]string{true: "guest", false: "turn"}[name == "slow"]
			})
		})
	}
	if n := w.driver.started(); n != 1 {
		t.Fatalf("%d sandboxes were started", n)
	}
	for range all { // whoever boots is done
		boots := func() *Agent {
			for _, a := range all {
				if s := a.Status(); s.State == StateBooting && s.Phases[len(s.Phases)-1].Name != "turn" {
					return a
				}
			}
			return nil
		}
		var a *Agent
		eventually(t, "one boots", func() bool { a = boots(); return a != nil })
		if err := os.Remove(filepath.Join(homeDir(a.opts.Dir), "slow")); err != nil {
			t.Fatal(err)
		}
		awake(t, a)
	}
	eventually(t, "nobody keeps a turn", func() bool { return len(w.opts.Boots) == 0 })
}

// TestABootThatHangsLetsOthersBoot.
func TestABootThatHangsLetsOthersBoot(t *testing.T) {
	w, _ := newWorld(t)
	w.opts.Boots, w.opts.BootTimeout = make(chan struct{}, 1), time.Second
	dir := filepath.Dir(w.opts.Dir)
	w.slow()
	hung, _ := w.run()
	await(t, hung, "booting", func(s Status) bool { return len(w.opts.Boots) == 1 })
	w.opts.Name, w.opts.ID, w.opts.Dir = "other", "test-other", filepath.Join(dir, "other")
	w.opts.BootTimeout = time.Minute
	other, _ := w.run()
	awake(t, other)
	if s := hung.Status(); s.State == StateAwake {
		t.Errorf("it came up: %+v", s)
	}
}
