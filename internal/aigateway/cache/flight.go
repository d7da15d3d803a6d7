package cache

import (
	"context"
	"io"
	"sync"
	"time"
)

// Flight has calls that are the same at the same moment share one answer. Its
// methods may be called concurrently.
type Flight struct {
	most int           // followers of one call
	wait time.Duration // of a follower, for the answer to begin

	mu   sync.Mutex // guards what follows, and of a Lead what is said there
	open map[Key]*Lead
}

// NewFlight makes a Flight. At most followers calls wait for one, each at most wait
// for the answer to begin.
func NewFlight(followers int, wait time.Duration) *Flight {
	return &Flight{most: followers, wait: wait, open: map[Key]*Lead{}}
}

// Lead is the call that asks the model.
type Lead struct {
	flight    *Flight
	key       Key
	begun     chan struct{} // closed when tape is known, or there will be none
	tape      *tape         // guarded by flight.mu until begun is closed
	settled   bool          // guarded by flight.mu: begun is closed
	followers int           // guarded by flight.mu
}

// Follower is a call that waits for the answer of another.
type Follower struct {
	lead *Lead
	wait time.Duration
	tape *tape
	at   int
}

// Join makes a call the leader, when it is the first with its key, or a follower.
// Neither when there are too many followers: the call goes its own way.
func (f *Flight) Join(key Key) (*Lead, *Follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.open[key]
	if l == nil {
		l = &Lead{flight: f, key: key, begun: make(chan struct{})}
		f.open[key] = l
		return l, nil
	}
	if l.followers >= f.most {
		return nil, nil
	}
	l.followers++
	return nil, &Follower{lead: l, wait: f.wait}
}

// Begin has the followers read what the recorder takes down. With nil they go their
// own way.
func (l *Lead) Begin(r *Recorder) {
	if l == nil {
		return
	}
	if r == nil {
		l.Release()
		return
	}
	l.flight.mu.Lock()
	defer l.flight.mu.Unlock()
	if !l.settled {
		l.tape = r.tape
		l.settled = true
		close(l.begun)
	}
}

// Release must be called when the leader is done, however it went; its recorder has
// been committed or discarded by then. More than one call does no harm.
func (l *Lead) Release() {
	if l == nil {
		return
	}
	f := l.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[l.key] == l {
		delete(f.open, l.key)
	}
	if !l.settled {
		l.settled = true
		close(l.begun)
	}
	if l.tape != nil {
		l.tape.end(broken) // unless it is complete
	}
}

// Begin waits until the answer begins. False when the follower must go its own way:
// the leader failed, or it took too long, or the context is done.
func (w *Follower) Begin(ctx context.Context) (Answer, bool) {
	timer := time.NewTimer(w.wait)
	defer timer.Stop()
	select {
	case <-w.lead.begun:
	case <-timer.C:
	case <-ctx.Done():
	}
	f := w.lead.flight
	f.mu.Lock()
	w.tape = w.lead.tape
	if w.tape == nil {
		w.lead.followers--
	}
	f.mu.Unlock()
	if w.tape == nil || ctx.Err() != nil {
		return Answer{}, false
	}
	if _, state, _ := w.tape.from(0); state == broken {
		return Answer{}, false
	}
	return Answer{w.tape.answer.Status, w.tape.answer.Header.Clone()}, true
}

// Next waits for more of the answer and returns all that came, which must not be
// changed. io.EOF when it is complete; ErrBroken when it ended before: then the
// follower's client must see that it broke off, for what it got cannot be continued
// with another answer. Call it only after Begin said true.
func (w *Follower) Next(ctx context.Context) ([]byte, error) {
	for {
		p, state, more := w.tape.from(w.at)
		switch {
		case len(p) > 0:
			w.at += len(p)
			return p, nil
		case state == complete:
			return nil, io.EOF
		case state == broken:
			return nil, ErrBroken
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
