package aigateway

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// lastWords is the time left to tell the client why its call was ended.
const lastWords = 5 * time.Second

// watch ends a call that makes no progress: it cancels the upstream and fails
// pending reads and writes of the client's connection.
type watch struct {
	cancel context.CancelCauseFunc
	rc     *http.ResponseController
	timer  *time.Timer

	mu    sync.Mutex
	why   error // guarded by mu: what the phase under way is waiting for
	fired error // guarded by mu: why the call was ended
	done  bool  // guarded by mu
}

func newWatch(cancel context.CancelCauseFunc, rc *http.ResponseController) *watch {
	return &watch{cancel: cancel, rc: rc}
}

// phase starts a new wait of at most d.
func (w *watch) phase(d time.Duration, why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.why = why
	if w.timer == nil {
		w.timer = time.AfterFunc(d, w.expire)
		return
	}
	w.timer.Reset(d)
}

// progress starts the current wait anew.
func (w *watch) progress(d time.Duration) { w.timer.Reset(d) }

func (w *watch) expire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return
	}
	w.fired = w.why
	w.cancel(w.why)
	// Not every ResponseWriter has deadlines; then its connection is no network's
	// and does not block.
	_ = w.rc.SetReadDeadline(time.Unix(1, 0))
	_ = w.rc.SetWriteDeadline(time.Now().Add(lastWords))
}

// stop ends the watch. After it nothing is touched any more.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// expired is why the call was ended, or nil.
func (w *watch) expired() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fired
}
