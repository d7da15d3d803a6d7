package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/guest"
	"github.com/moltworker/moltworker/internal/openclaw/runtime"
	"github.com/moltworker/moltworker/internal/sandbox"
)

// patience bounds how long the keeper waits and how often it tries.
type patience struct {
	firstPause   time.Duration // before a sandbox that ended is started again
	longestPause time.Duration
	stable       time.Duration // of life, after which the pauses start over
	greet        time.Duration // from a sandbox's start to its guest's greeting
	adopt        time.Duration // the same, for a sandbox that runs already
	tries        int           // to have the gateway started by a guest that does not answer
	grace        time.Duration // for OpenClaw to end by itself
	lastCall     time.Duration // for a guest that is to be stopped to call back, and to end when all else has
	sleep        time.Duration // for all that is to be done to fall asleep
	settled      time.Duration // for OpenClaw to be at rest after the last use; before, the agent is held still without asking it
	arrive       time.Duration // for what was written to the gateway to have arrived there
}

var usualPatience = patience{
	firstPause:   500 * time.Millisecond,
	longestPause: 30 * time.Second,
	stable:       time.Minute,
	greet:        2 * time.Minute,
	adopt:        15 * time.Second,
	tries:        3,
	grace:        15 * time.Second,
	lastCall:     5 * time.Second,
	sleep:        2 * time.Minute,
	settled:      5 * time.Second,
	arrive:       300 * time.Millisecond,
}

// services are what the guest may reach on the host: the AI gateway, nothing
// else. Who calls is known from the agent's own socket.
func (a *Agent) services() map[string]guest.Service {
	ai := guest.NewServiceListener()
	server := &http.Server{
		Handler:           a.counted(a.opts.AI),
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	a.serveAI = func() error { return server.Serve(ai) }
	a.closeAI = server.Close
	return map[string]guest.Service{aiService: ai}
}

// Run keeps the agent running until ctx ends, then stops its sandbox in order. It
// is called once.
func (a *Agent) Run(ctx context.Context) error {
	defer close(a.gone)
	defer a.book.close()
	linkCtx, stopLink := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLink()
	linkDone := make(chan error, 1)
	go func() { linkDone <- a.host.Run(linkCtx) }()
	go a.serveAI()
	defer a.closeAI()

	a.keep(ctx)
	close(a.ended)
	err := a.shutdown(context.WithoutCancel(ctx))
	stopLink()
	return errors.Join(err, ignoreCanceled(<-linkDone))
}

// Abandon lets go of what an agent holds that is not to run after all. It is called
// instead of Run.
func (a *Agent) Abandon() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	a.book.close()
	return errors.Join(a.closeAI(), ignoreCanceled(a.host.Run(ctx)))
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// counted makes model calls count as use of the agent: who asks a model has a turn
// under way.
func (a *Agent) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if done, fence := a.activity.begin("a model call"); fence == nil {
			defer done()
		}
		h.ServeHTTP(w, r)
	})
}

// keep lives one sandbox after the other, with sleep between them, until ctx ends.
func (a *Agent) keep(ctx context.Context) {
	next := a.recall(ctx)
	close(a.known)
	pause := a.patience.firstPause
	for ctx.Err() == nil {
		if next == planRest {
			next = a.sleepOn(ctx)
			continue
		}
		began := a.opts.Now()
		err := a.live(ctx, next)
		next = planBoot
		if errors.Is(err, errRested) {
			next, pause = planRest, a.patience.firstPause
			continue
		}
		if errors.Is(err, errReplaced) {
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if a.opts.Now().Sub(began) > a.patience.stable {
			pause = a.patience.firstPause
		}
		a.log.Error("the agent has no sandbox", "err", err, "retry_in", pause)
		a.track.fail(evLost, err)
		a.idle(ctx, pause)
		pause = min(2*pause, a.patience.longestPause)
	}
}

// recall finds out what an earlier process left behind, and what to do about it.
func (a *Agent) recall(ctx context.Context) plan {
	wanted := a.ledger.read()
	f := found{asleep: wanted.Asleep}
	sb, err := a.opts.Driver.Open(ctx, a.opts.ID)
	if err != nil && !errors.Is(err, sandbox.ErrNotFound) {
		a.log.Warn("cannot look for a running sandbox", "err", err)
	}
	f.running = err == nil
	if a.images != nil {
		m, err := a.images.Peek()
		f.image = err == nil && m.Binding.Generation == wanted.Generation
		a.showImage()
	}
	p := reconcile(f)
	if p == planFinish {
		if err := a.destroy(ctx, sb); err != nil {
			a.log.Warn("cannot end the sandbox of an agent that sleeps", "err", err)
			return planAdopt
		}
		p = planRest
	}
	if p == planRest {
		busy, quiet := a.activity.fence()
		a.track.update(func(s *Status) { s.Next = wanted.Next })
		a.showAsleep()
		if !quiet { // somebody was here before us
			p = a.wake(busy)
		}
	}
	return p
}

// sleepOn leaves the agent asleep until somebody needs it.
func (a *Agent) sleepOn(ctx context.Context) plan {
	why := a.slumber(ctx)
	if why == "" {
		return planRest // ctx has ended
	}
	return a.wake(why)
}

// wake begins to wake a sleeping agent.
func (a *Agent) wake(why string) plan {
	a.roused = a.opts.Now()
	a.log.Info("waking", "for", why)
	a.track.begin(evRouse, "waking for "+why)
	a.track.update(func(s *Status) { s.Next, s.Note, s.Image = nil, "", nil })
	a.activity.open()
	return planRestore
}

// idle waits for the pause to pass, for ctx to end, or for a restart request.
func (a *Agent) idle(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case r := <-a.requests:
			if r.do != nil { // nothing runs
				r.done <- r.do()
			} else {
				r.done <- a.unable(r)
			}
			if r.kind == restart || r.kind == replace {
				return
			}
		}
	}
}

// unable is the answer to what is asked while there is no sandbox, or one is on its
// way: all else comes with the next boot anyway.
func (a *Agent) unable(r request) error {
	switch r.kind {
	case sleepNow:
		return stays("it is " + string(a.track.get().State))
	case holdStill, replace:
		return errMoving
	}
	return nil
}

// live sees one sandbox through, from adoption, restore or start to its end, and
// says why it ended.
func (a *Agent) live(ctx context.Context, p plan) error {
	if a.track.get().State != StateWaking {
		a.track.begin(evBoot, "preparing")
	}
	var b boot
	var err error
	again := a.meanwhile(func() { b, err = a.bring(ctx, p) })
	if err != nil {
		return err
	}
	defer b.leave()
	a.setCurrent(b.sandbox)
	defer a.setCurrent(nil)
	life, over := during(ctx, b.sandbox)
	defer over()
	err = a.tend(life, b, again, p == planRetire)
	if life.Err() == nil && !errors.Is(err, errRested) && !errors.Is(err, errReplaced) { // it runs, but there is no getting on with it
		err = errors.Join(err, a.destroy(ctx, b.sandbox))
	}
	return err
}

// meanwhile does what takes long before there is a guest to ask. Whoever asks for
// something at that time is told yes at once: the configuration is rendered anew
// afterwards anyway. It says whether a restart was asked for.
func (a *Agent) meanwhile(do func()) (again bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	for {
		select {
		case <-done:
			return again
		case r := <-a.requests:
			again = again || r.kind == restart
			r.done <- a.unable(r)
		}
	}
}

// tend brings the gateway up in a running sandbox and answers requests until the
// sandbox or ctx ends, the agent sleeps, or the guest turns out to be of no use;
// the returned error is the cause.
func (a *Agent) tend(ctx context.Context, b boot, again, retire bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !b.fresh {
		a.goOn(ctx)
	} else if a.calm != nil { // its gateway is no more
		a.calm.close()
		a.calm = nil
	}
	if err := a.settle(ctx, b.runtime, again); err != nil {
		return err
	}
	a.noteSettled()
	var following sync.WaitGroup
	following.Go(func() { a.followEvents(ctx) })
	if b.fresh {
		following.Go(func() { a.untilBooted(ctx); b.leave() })
	} else {
		b.leave()
	}
	defer func() { cancel(); following.Wait() }()
	for {
		timer := time.NewTimer(a.untilSleep(retire))
		var err error
		select {
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-timer.C:
			if a.tired() || retire && a.activity.unused() { // else somebody came who needs it
				err = a.rest(ctx, b)
			}
			retire = false // it is tried once
		case r := <-a.requests:
			err = a.obey(ctx, b, r)
		}
		timer.Stop()
		if ctx.Err() != nil || errors.Is(err, errRested) || errors.Is(err, errReplaced) {
			return err
		}
	}
}

// obey does what is asked of an agent that has a sandbox.
func (a *Agent) obey(ctx context.Context, b boot, r request) error {
	var err error
	switch r.kind {
	case holdStill:
		r.done <- a.holdSandbox(ctx, b, r.do)
		return nil
	case replace:
		err = a.swapUnder(ctx, b, r.do)
		r.done <- err
		if err != nil && !errors.Is(err, errSwap) {
			return nil // it could not be stopped and runs on
		}
		return errReplaced
	}
	if r.kind == sleepNow {
		// What was just written to the gateway shall reach it before we ask it
		// whether it has anything to do.
		pauseFor(ctx, a.patience.arrive-a.activity.idle())
		err = a.rest(ctx, b)
	} else {
		err = a.serve(ctx, b.runtime, r.kind == restart)
	}
	if errors.Is(err, errRested) {
		r.done <- nil
	} else {
		r.done <- err
	}
	return err
}

// noteSettled keeps that the gateway goes on, and how long the wake took that is
// under way, if one is.
func (a *Agent) noteSettled() {
	var wake time.Duration
	if !a.roused.IsZero() && a.track.get().State == StateAwake {
		wake, a.roused = a.opts.Now().Sub(a.roused), time.Time{}
	}
	if wake == 0 && a.ledger.read().Promise == "" {
		return
	}
	if err := a.ledger.settled(wake); err != nil {
		a.log.Warn("cannot note that the agent goes on", "err", err)
	}
}

// napCheck is how often it is looked whether an agent is awake and tired, and
// minNap the shortest pause between two looks.
const (
	napCheck = time.Minute
	minNap   = 100 * time.Millisecond
)

// untilSleep is when to look next whether the agent is tired.
func (a *Agent) untilSleep(retire bool) time.Duration {
	switch {
	case retire:
		return minNap
	case a.opts.SleepAfter <= 0:
		return napCheck
	case a.track.get().State != StateAwake:
		return min(a.opts.SleepAfter, napCheck)
	}
	return min(max(a.opts.SleepAfter-a.activity.idle(), minNap), napCheck)
}

// tired says whether nobody has used the agent for long enough.
func (a *Agent) tired() bool {
	return a.opts.SleepAfter > 0 && a.track.get().State == StateAwake && a.activity.idle() >= a.opts.SleepAfter
}

// settle has the guest start the gateway. What needs a person is shown and waits
// for a request; a guest that does not answer is asked a few times.
func (a *Agent) settle(ctx context.Context, rt runtime.Runtime, again bool) error {
	a.track.phase("config", "writing OpenClaw's configuration")
	for try := 1; ; try++ {
		err := a.serve(ctx, rt, again)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
			return nil
		case !passing(err):
			a.log.Error("cannot prepare the gateway", "err", err)
			return nil
		case try >= a.patience.tries:
			return err
		}
		a.log.Warn("cannot prepare the gateway; trying again", "err", err)
		pauseFor(ctx, a.patience.firstPause)
	}
}

// passing says whether err is the guest's silence, which may pass by itself.
func passing(err error) bool {
	return errors.Is(err, guest.ErrNoGuest) || errors.Is(err, guest.ErrNoAnswer)
}

// serve renders the configuration, has the gateway started if it is not, and
// restarts it if that is asked for.
func (a *Agent) serve(ctx context.Context, rt runtime.Runtime, again bool) error {
	started, err := a.configure(ctx, rt)
	if err == nil && again && !started {
		a.track.phase("stopping", "restarting OpenClaw")
		err = a.host.Restart(ctx, a.patience.grace)
	}
	if err != nil && ctx.Err() == nil {
		a.showFailure(ctx, err)
	}
	return err
}

// showFailure shows why a request came to nothing, unless the gateway runs all
// the same.
func (a *Agent) showFailure(ctx context.Context, err error) {
	now, asking := a.refresh(ctx)
	switch {
	case asking != nil && passing(err):
		a.track.fail(evBoot, err) // the next events say how the gateway is
	case asking == nil && running(now):
		a.log.Warn("the gateway goes on with the settings it had", "err", err)
	default:
		a.track.fail(evFail, err)
	}
}
