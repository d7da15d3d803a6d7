package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/atomicfile"
	"github.com/moltworker/moltworker/internal/guest/proto"
	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/openclaw/runtime"
)

// configure merges our settings into the agent's openclaw.json and hands the
// guest the process to supervise. It says whether that started the process anew;
// a guest that keeps exactly that running already is left alone.
func (a *Agent) configure(ctx context.Context, rt runtime.Runtime) (started bool, err error) {
	settings, err := a.opts.Settings()
	if err != nil {
		return false, err
	}
	if err := a.writeConfig(ctx, settings); err != nil {
		return false, err
	}
	want := openclaw.GatewayProcess(rt, openclaw.GatewayPort, a.opts.TimeZone)
	want.BootTimeout = proto.Duration(a.opts.BootTimeout)
	want.Env = append(want.Env, a.opts.Env...)
	now, err := a.refresh(ctx)
	if err != nil {
		return false, fmt.Errorf("ask the guest what runs: %w", err)
	}
	if now.Process.Same(want) {
		return false, nil
	}
	a.track.phase("gateway", "starting OpenClaw")
	if err := a.host.Supervise(ctx, want); err != nil {
		return false, fmt.Errorf("start the gateway: %w", err)
	}
	return true, nil
}

// writeConfig merges what we own into the agent's own file. The host never opens
// files in the agent's home: they are the agent's to replace by anything. The
// guest reads and writes them with the agent's rights.
func (a *Agent) writeConfig(ctx context.Context, settings openclaw.Settings) error {
	current, err := a.host.ReadFile(ctx, openclaw.ConfigPath, openclaw.MaxConfig)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read %s: %w", openclaw.ConfigPath, err)
	}
	lastPath := renderedPath(a.opts.Dir)
	last, err := readOptional(lastPath)
	if err != nil {
		return fmt.Errorf("read what was last rendered: %w", err)
	}
	next, rendered, err := openclaw.Merge(current, last, settings)
	if err != nil {
		return err
	}
	if !bytes.Equal(next, current) {
		if err := a.host.WriteFile(ctx, openclaw.ConfigPath, next, 0o600); err != nil {
			return fmt.Errorf("write %s: %w", openclaw.ConfigPath, err)
		}
	}
	if bytes.Equal(rendered, last) {
		return nil
	}
	return atomicfile.Write(lastPath, rendered, 0o600)
}

// refresh asks the guest how the gateway is and shows it.
func (a *Agent) refresh(ctx context.Context) (proto.Supervised, error) {
	bootID := a.host.Info().BootID
	now, err := a.host.Supervised(ctx)
	if err == nil && now.Process != nil {
		a.told.take(bootID, now.LastSeq, true, func() { a.takeStatus(now.Status) })
	}
	return now, err
}

// running says whether the gateway is up or on its way by itself.
func running(s proto.Supervised) bool {
	return s.Process != nil && s.Status.Phase != proto.PhaseFailed && s.Status.Phase != proto.PhaseIdle
}

// followEvents turns what the guest tells into status and log until ctx ends. A
// stream that breaks is taken up again after the last event seen.
func (a *Agent) followEvents(ctx context.Context) {
	allowed := newAllowance(a.opts.Now())
	for ctx.Err() == nil {
		if a.host.Connected(ctx) != nil {
			return
		}
		_, err := a.refresh(ctx)
		bootID := a.host.Info().BootID
		if err == nil {
			_, err = a.host.Events(ctx, a.book.resume(bootID), func(e proto.Event) {
				a.take(bootID, e)
				pauseFor(ctx, allowed.spend(a.opts.Now(), cost(e)))
			})
		}
		if ctx.Err() == nil {
			a.log.Debug("event stream ended", "err", err)
			pauseFor(ctx, 100*time.Millisecond)
		}
	}
}

func pauseFor(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// take is one event of the guest.
func (a *Agent) take(bootID string, e proto.Event) {
	if e.Log != nil {
		entry := LogEntry{Time: e.Time, Stream: e.Log.Stream, Text: e.Log.Text, Boot: bootID, Seq: e.Seq}
		if err := a.book.append(entry); err != nil {
			a.complaints.Do(func() { a.log.Error("cannot keep a log line", "err", err) })
		}
	}
	if e.Status != nil {
		a.told.take(bootID, e.Seq, false, func() { a.takeStatus(*e.Status) })
	}
}

// newest puts the guest's statuses in order: some come as events, some as answers
// to a question, and an older one must not hide a newer one.
type newest struct {
	mu     sync.Mutex // guards what follows, and is held while one is taken
	bootID string
	seq    uint64
}

// take calls f unless a newer status was taken already, or, without again, the
// same one.
func (n *newest) take(bootID string, seq uint64, again bool, f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if bootID == n.bootID && (seq < n.seq || seq == n.seq && !again) {
		return
	}
	n.bootID, n.seq = bootID, seq
	f()
}

// takeStatus shows the supervised gateway's state as the agent's.
func (a *Agent) takeStatus(s proto.Status) {
	a.track.update(func(st *Status) { st.Attempt, st.Restarts = s.Attempt, s.Restarts })
	switch s.Phase {
	case proto.PhaseStarting:
		a.track.phase("gateway", "starting OpenClaw")
	case proto.PhaseLive:
		a.track.phase("ready", "OpenClaw is up and loads its parts")
	case proto.PhaseReady:
		a.track.end(evReady, "awake")
	case proto.PhaseStopping:
		a.track.phase("stopping", "stopping OpenClaw")
	case proto.PhaseBackoff:
		a.track.fail(evBoot, fmt.Errorf("OpenClaw ended and is started again: %s", s.LastExit))
	case proto.PhaseFailed:
		a.track.fail(evFail, &gatewayError{agent: a.opts.Name, exit: s.LastExit})
	}
}

// gatewayError: OpenClaw refuses to start and trying again will not help.
type gatewayError struct {
	agent string
	exit  string // how it ended, in the guest's words
}

func (e *gatewayError) Error() string {
	return "OpenClaw refuses to start: " + e.exit
}

// Remedy is what a person can do about it.
func (e *gatewayError) Remedy() string {
	return fmt.Sprintf("see `moltworker agent logs %s`; mend with `moltworker agent exec %s -- %s`; then `moltworker agent restart %s`",
		e.agent, e.agent, "openclaw doctor --fix", e.agent)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
