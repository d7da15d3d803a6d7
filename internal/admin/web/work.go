package web

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
)

const (
	workTime  = 12 * time.Hour   // anything that takes long
	jobShown  = 10 * time.Minute // how long it is said what became of one
	maxJobs   = 200
	maxNamed  = 64          // bytes of the name of an agent that something is done with
	lineEvery = time.Second // how often pages hear how far one is
)

// work is what takes long with agents' versions: one thing at a time of each agent,
// begun by a page and not ended by its going away.
type work struct {
	mu      sync.Mutex // guards what follows, and each job
	jobs    map[string]*job
	changed chan struct{}
	told    time.Time
}

// job is one of them. What pages are given is a copy.
type job struct {
	What, Line   string // "Verifying", and how far it is
	Began, Ended time.Time
	Said         string // what it came to
	Bad          bool
}

// Millis is how long it has run, for the page's clock.
func (j job) Millis(now time.Time) int64 { return max(now.Sub(j.Began).Milliseconds(), 0) }

func newWork() *work { return &work{jobs: map[string]*job{}, changed: make(chan struct{})} }

var errWorking = &admin.Error{Status: http.StatusConflict, Kind: "busy", Message: "Something is under way with this agent's versions.", Remedy: "Wait until it is done; the page shows how far it is."}

// begin notes that something is done, unless there is something already.
func (k *work) begin(agent, what string, now time.Time) (*job, error) {
	if len(agent) > maxNamed {
		return nil, &admin.Error{Status: http.StatusNotFound, Kind: "not_found", Message: "There is no such agent."}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if old := k.jobs[agent]; old != nil && old.Ended.IsZero() {
		return nil, errWorking
	}
	for name, old := range k.jobs {
		if !old.Ended.IsZero() && now.Sub(old.Ended) > jobShown {
			delete(k.jobs, name)
		}
	}
	if len(k.jobs) >= maxJobs {
		return nil, errWorking
	}
	j := &job{What: what, Began: now}
	k.jobs[agent] = j
	k.tell()
	return j, nil
}

// say notes how far one is.
func (k *work) say(j *job, line string, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	j.Line = line
	if now.Sub(k.told) >= lineEvery {
		k.told = now
		k.tell()
	}
}

// end notes what one came to.
func (k *work) end(j *job, said string, err error, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	j.Ended, j.Said, j.Bad = now, said, err != nil
	if err != nil {
		j.Said = admin.AsError(err).Message
	}
	k.tell()
}

// tell wakes those who watch. Callers hold mu.
func (k *work) tell() {
	close(k.changed)
	k.changed = make(chan struct{})
}

// of is what is done with an agent, or was a moment ago; nil when nothing.
func (k *work) of(agent string, now time.Time) *job {
	k.mu.Lock()
	defer k.mu.Unlock()
	j := k.jobs[agent]
	if j == nil || !j.Ended.IsZero() && now.Sub(j.Ended) > jobShown {
		return nil
	}
	shown := *j
	return &shown
}

// watch receives after each change, until ctx ends.
func (k *work) watch(ctx context.Context) <-chan struct{} {
	out := make(chan struct{}, 1)
	go func() {
		defer close(out)
		for {
			k.mu.Lock()
			changed := k.changed
			k.mu.Unlock()
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
			select {
			case out <- struct{}{}:
			default: // told already
			}
		}
	}()
	return out
}

// long does something with an agent's versions, waits for it a while, and says what it
// came to.
func (s *site) long(r *http.Request, agent, what string, do func(ctx context.Context, tell func(string)) (string, error)) (string, error) {
	j, err := s.work.begin(agent, what, s.Now())
	if err != nil {
		return "", err
	}
	said := ""
	err = s.within(r, workTime, func(ctx context.Context) error {
		words, err := do(ctx, func(line string) { s.work.say(j, line, s.Now()) })
		s.shelf.forget(agent)
		s.work.end(j, words, err, s.Now())
		said = words
		return err
	})
	var refused *admin.Error
	if errors.As(err, &refused) && refused.Kind == tooMuch { // it was not begun
		s.work.end(j, "", err, s.Now())
	}
	if errors.Is(err, errUnderWay) {
		return "", err
	}
	return said, err
}
