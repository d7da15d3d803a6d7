package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/image"
	"github.com/moltworker/moltworker/internal/openclaw/gateway"
	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/gvisor"
)

// watchedImager is a watchedDriver whose sandboxes sleep.
type watchedImager struct {
	*watchedDriver
	imager   sandbox.Imager
	restores int    // guarded by mu
	drawn    func() // called when an image has been written, before anything is done about it
}

// watchedSandbox tells when its image has been written.
type watchedSandbox struct {
	sandbox.Freezable
	d *watchedImager
}

func (s watchedSandbox) Checkpoint(ctx context.Context, dir string) error {
	err := s.Freezable.Checkpoint(ctx, dir)
	if s.d.drawn != nil {
		s.d.drawn()
	}
	return err
}

func (d *watchedImager) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	sb, err := d.watchedDriver.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	return watchedSandbox{sb.(sandbox.Freezable), d}, nil
}

func (d *watchedImager) ImageFormat() string { return d.imager.ImageFormat() }

func (d *watchedImager) Restore(ctx context.Context, spec sandbox.Spec, dir string) (sandbox.Sandbox, error) {
	d.mu.Lock()
	d.restores++
	d.mu.Unlock()
	return d.imager.Restore(ctx, spec, dir)
}

func (d *watchedImager) restored() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.restores
}

// newSleepyWorld is a world of gVisor, whose agents can sleep.
func newSleepyWorld(t *testing.T) (*world, *watchedImager) {
	t.Helper()
	w, _ := newWorldIn(t, func(root string) (sandbox.Driver, error) { return gvisor.New(gvisor.Options{Root: root}) })
	d := &watchedImager{watchedDriver: w.driver, imager: w.driver.Driver.(sandbox.Imager)}
	w.opts.Driver = d
	w.opts.Images = w.images(w.opts.Dir)
	return w, d
}

func (w *world) images(dir string) *image.Store {
	w.t.Helper()
	store, err := image.Open(filepath.Join(dir, "images"), image.Options{Key: func() ([]byte, error) { return make([]byte, 32), nil }})
	if err != nil {
		w.t.Fatal(err)
	}
	return store
}

func asleep(t testing.TB, a *Agent) Status { t.Helper(); return await(t, a, "asleep", in(StateAsleep)) }

// lull puts an agent to sleep.
func lull(t testing.TB, a *Agent) Status {
	t.Helper()
	if err := a.Sleep(soon(t)); err != nil {
		t.Fatal(err)
	}
	return asleep(t, a)
}

// rouse wakes an agent by using it.
func rouse(t testing.TB, a *Agent) {
	t.Helper()
	if err := a.Wake(soon(t), "a test"); err != nil {
		t.Fatalf("%v; the agent is %+v", err, a.Status())
	}
}

// tally uses the agent's gateway over one connection for all its life.
type tally struct {
	t      testing.TB
	a      *Agent
	client http.Client
	dials  int
}

func newTally(t testing.TB, a *Agent) *tally {
	c := &tally{t: t, a: a}
	c.client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		c.dials++
		return a.DialGateway(ctx)
	}}
	return c
}

// next counts on.
func (c *tally) next() string {
	c.t.Helper()
	done, err := c.a.Use(soon(c.t), "a count")
	if err != nil {
		c.t.Fatal(err)
	}
	defer done()
	req, err := http.NewRequestWithContext(soon(c.t), http.MethodGet, "http://gateway/count", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		c.t.Fatalf("%s, %v", n, err)
	}
	return string(n)
}

// livedOnce checks that no moment of the gateway's memory was lived twice.
func livedOnce(t testing.TB, a *Agent) {
	t.Helper()
	seen := map[string]bool{}
	for line := range strings.Lines(sh(t, a, "cat $HOME/counted")) {
		if seen[line] {
			t.Errorf("the gateway counted %q twice: an image was brought to life twice", line)
		}
		seen[line] = true
	}
}

func TestSleepsAndGoesOnWhereItWas(t *testing.T) {
	w, d := newSleepyWorld(t)
	a, _ := w.run()
	awake(t, a)
	c := newTally(t, a)
	for i := range 3 {
		if got := c.next(); got != fmt.Sprint(i+1) {
			t.Fatalf("counted %s before sleep %d", got, i)
		}
		s := lull(t, a)
		if s.Image == nil || s.Image.Bytes == 0 {
			t.Errorf("asleep as %+v", s.Image)
		}
		w.gone()
		if _, err := a.Usage(t.Context()); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("usage of an agent that sleeps: %v", err)
		}
	}
	if got := c.next(); got != "4" {
		t.Errorf("counted %s after three sleeps; want 4", got)
	}
	if s := a.Status(); s.Image != nil {
		t.Errorf("awake, but shows an image: %+v", s.Image)
	}
	if c.dials != 1 {
		t.Errorf("%d connections: the first did not live through the sleeps", c.dials)
	}
	if d.started() != 1 || d.restored() != 3 {
		t.Errorf("%d starts, %d restores", d.started(), d.restored())
	}
	livedOnce(t, a)
	var states []string
	for _, p := range a.Status().History {
		states = append(states, string(p.State))
	}
	if got := strings.Join(states[len(states)-4:], " "); got != "awake suspending asleep waking" {
		t.Errorf("its last states were %s", got)
	}
}

func TestAThousandWakesAreOneRestore(t *testing.T) {
	w, d := newSleepyWorld(t)
	a, _ := w.run()
	awake(t, a)
	lull(t, a)
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() {
			if err := a.Wake(soon(t), "one of many"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if d.restored() != 1 {
		t.Errorf("%d restores", d.restored())
	}
}

func TestSleepsWhenNobodyUsesIt(t *testing.T) {
	w, _ := newSleepyWorld(t)
	w.opts.SleepAfter = 300 * time.Millisecond
	a, _ := w.run()
	s := asleep(t, a)
	if !strings.HasPrefix(s.Reason, "asleep") {
		t.Errorf("asleep, says %q", s.Reason)
	}
	done, err := a.Use(soon(t), "a message")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Sleep(soon(t)); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "a message") {
		t.Errorf("told to sleep while in use: %v", err)
	}
	if s := a.Status(); s.State != StateAwake || len(s.Uses) != 1 || !strings.HasPrefix(s.Reason, "awake: a message since") {
		t.Errorf("in use, but shows %+v", s)
	}
	done()
	asleep(t, a)
}

func TestABusyGatewayStaysAwake(t *testing.T) {
	w, _ := newSleepyWorld(t)
	a, _ := w.run()
	awake(t, a)
	sh(t, a, "touch $HOME/busy")
	if err := a.Sleep(soon(t)); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "a turn runs") {
		t.Errorf("told to sleep during a turn: %v", err)
	}
	if s := a.Status(); s.State != StateAwake || !strings.Contains(s.Note, "a turn runs") {
		t.Errorf("shows %+v", s)
	}
	sh(t, a, "rm $HOME/busy")
	lull(t, a)
}

// Somebody comes when the image is written and the sandbox not yet gone: it just
// goes on, and whoever came is served at once.
func TestAGuestOfTheLastMinute(t *testing.T) {
	w, d := newSleepyWorld(t)
	a, _ := w.run()
	awake(t, a)
	c := newTally(t, a)
	c.next()
	served := make(chan error, 1)
	d.drawn = func() {
		go func() { served <- a.Wake(soon(t), "a late message") }()
		eventually(t, "a knock", func() bool { return a.activity.wantedFor() != "" })
	}
	if err := a.Sleep(soon(t)); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "a late message") {
		t.Errorf("it slept: %v", err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if got := c.next(); got != "2" || c.dials != 1 || d.restored() != 0 {
		t.Errorf("counted %s over %d connections after %d restores", got, c.dials, d.restored())
	}
	if note := a.Status().Note; strings.Contains(note, "OpenClaw") {
		t.Errorf("it says %q", note)
	}
	if _, err := a.images.Peek(); !errors.Is(err, image.ErrNone) {
		t.Errorf("an image is left whose sandbox runs: %v", err)
	}
	d.drawn = nil
	lull(t, a)
	if got := c.next(); got != "3" {
		t.Errorf("counted %s after a sleep", got)
	}
}

func TestACommandWakes(t *testing.T) {
	w, d := newSleepyWorld(t)
	a, _ := w.run()
	awake(t, a)
	lull(t, a)
	if got := sh(t, a, "echo here"); got != "here" || d.restored() != 1 {
		t.Errorf("%q after %d restores", got, d.restored())
	}
	lull(t, a)
	err := a.Gateway(soon(t), func(c *gateway.Client) error { return c.Health(soon(t)) })
	if err != nil || d.restored() != 2 {
		t.Errorf("administration of an agent that slept: %v after %d restores", err, d.restored())
	}
}

func TestARestartOfASleeperBoots(t *testing.T) {
	w, d := newSleepyWorld(t)
	a, _ := w.run()
	awake(t, a)
	lull(t, a)
	if err := a.Reconfigure(soon(t)); err != nil {
		t.Errorf("configuring an agent that sleeps: %v", err)
	}
	if a.Status().State != StateAsleep {
		t.Error("being configured woke it")
	}
	if err := a.Restart(soon(t)); err != nil {
		t.Fatal(err)
	}
	awake(t, a)
	if d.started() != 2 || d.restored() != 0 {
		t.Errorf("%d starts, %d restores", d.started(), d.restored())
	}
}

func TestWakesForItsNextJob(t *testing.T) {
	w, d := newSleepyWorld(t)
	w.opts.SleepAfter = time.Hour
	a, _ := w.run()
	awake(t, a)
	due := time.Now().Add(soonest + 5*time.Second)
	sh(t, a, fmt.Sprintf(`echo '{"jobs":[
		{"id":"h","name":"heartbeat","declarationKey":"heartbeat:main","enabled":true,"nextRunAtMs":1},
		{"id":"j","name":"report","enabled":true,"nextRunAtMs":%d}]}' > $HOME/jobs.json`, due.UnixMilli()))
	s := lull(t, a)
	if s.Next == nil || s.Next.Name != "report" || !strings.Contains(s.Reason, "next cron") {
		t.Errorf("asleep until %+v, says %q", s.Next, s.Reason)
	}
	// The clock moves on while it sleeps.
	a.ledger.write(func(p *page) { p.Next = &Due{At: time.Now().Add(leadImage + time.Second), Name: "report"} })
	a.activity.mu.Lock()
	a.activity.knock()
	a.activity.mu.Unlock()
	await(t, a, "awake for its job", in(StateAwake))
	if d.restored() != 1 {
		t.Errorf("%d restores", d.restored())
	}
}

func TestAPoolGivesEachSpareOnce(t *testing.T) {
	w, d := newSleepyWorld(t)
	made := 0
	spares := filepath.Join(filepath.Dir(w.opts.Dir), "pool")
	pool, err := NewPool(PoolOptions{
		Dir: spares, Size: 2, Log: w.opts.Log,
		Name:  func() string { made++; return fmt.Sprintf("spare-%d", made) },
		Quiet: func(ctx context.Context) error { return ctx.Err() },
		Make: func(name, dir string) (*Agent, error) {
			opts := w.opts
			opts.Name, opts.Dir, opts.ID, opts.Images = name, dir, "test-"+name, w.images(dir)
			return New(opts)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { pool.Run(ctx) })
	eventually(t, "two spares", func() bool { return pool.Ready() == 2 })
	stop()
	running.Wait()

	name, dir, ok := pool.Take()
	if !ok || name != "spare-1" {
		t.Fatalf("took %q, %t", name, ok)
	}
	starts := d.started()
	a, err := New(w.opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Inherit(name, dir, w.images(dir)); err != nil {
		t.Fatal(err)
	}
	a.book.close()
	w.opts.Images = w.images(w.opts.Dir)
	b, _ := w.run()
	rouse(t, b)
	if d.started() != starts || d.restored() != 1 {
		t.Errorf("a new agent out of a spare: %d starts, %d restores", d.started()-starts, d.restored())
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the spare is still there")
	}
	// What is left of the pool is found again, and what is half given away is not.
	pool.Take()
	again, err := NewPool(PoolOptions{Dir: spares})
	if err != nil || again.Ready() != 0 {
		t.Errorf("%d spares ready, %v", again.Ready(), err)
	}
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("no %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestACommandToAColdSleeperWaitsForTheBoot(t *testing.T) {
	w, _ := newWorld(t)
	a, _ := w.run()
	awake(t, a)
	lull(t, a)
	if got := sh(t, a, "echo here"); got != "here" {
		t.Errorf("got %q", got)
	}
}

// Sleepers that are woken together come back one after the other when there is room
// for one only, and one that does not come back does not keep its place.
func TestSleepersTakeTurns(t *testing.T) {
	turns := make(chan struct{}, 1)
	var all []*Agent
	w, _ := newSleepyWorld(t)
	w.opts.Turns = turns
	dir := filepath.Dir(w.opts.Dir)
	for _, name := range []string{"one", "two", "three"} {
		w.opts.Name, w.opts.ID, w.opts.Dir = name, "test-"+name, filepath.Join(dir, name)
		w.opts.Images = w.images(w.opts.Dir)
		a, _ := w.run()
		awake(t, a)
		lull(t, a)
		all = append(all, a)
	}
	turns <- struct{}{} // somebody else has it
	if err := os.RemoveAll(filepath.Join(all[0].opts.Dir, "images/image/files")); err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		go a.Wake(t.Context(), "a test")
	}
	for _, a := range all {
		await(t, a, "in line", func(s Status) bool {
			return s.State == StateWaking && slices.ContainsFunc(s.Phases, func(p Phase) bool { return p.Name == "turn" })
		})
	}
	<-turns
	for _, a := range all {
		awake(t, a)
	}
	eventually(t, "nobody keeps a turn", func() bool { return len(turns) == 0 })
}
