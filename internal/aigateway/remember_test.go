package aigateway

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/cache"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/test/fakemodel"
)

func keeping(t *testing.T, ttl time.Duration) func(*Options) {
	t.Helper()
	store, err := cache.Open(cache.Options{Dir: filepath.Join(t.TempDir(), "cache"), SealingKey: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return func(o *Options) { o.Cache, o.CacheTTL = store, ttl }
}

// TestAnswersAreGivenAgain: the same bytes, at no cost, and only to whom asked the
// same thing in the same way.
func TestAnswersAreGivenAgain(t *testing.T) {
	b := newBooks(t, daily(1))
	b.because("cron")
	if err := b.ledger.SetRules(nil); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, says("hello"), b.use, keeping(t, time.Hour))
	for _, a := range apis {
		for _, stream := range []bool{true, false} {
			before := len(r.model.Calls())
			first := r.do(a.request(r.url, stream))
			again := r.do(a.request(r.url, stream))
			if first.Header.Get("Cf-Aig-Cache-Status") != "MISS" || again.Header.Get("Cf-Aig-Cache-Status") != "HIT" || first.body != again.body ||
				first.Header.Get("Content-Type") != again.Header.Get("Content-Type") {
				t.Errorf("%s, stream %v: %v %q, then %v %q", a.name, stream, first.Header, first.body, again.Header, again.body)
			}
			skip := a.request(r.url, stream)
			skip.Header.Set("Cf-Aig-Skip-Cache", "true")
			other := a.request(r.url, stream)
			other.Header.Set("Anthropic-Beta", "new-1")
			r.do(skip)
			r.do(other)
			if n := len(r.model.Calls()) - before; n != 3 {
				t.Errorf("%s, stream %v: the model was called %d times", a.name, stream, n)
			}
		}
	}
	hits := 0
	for _, call := range b.recorded(16) {
		if call.Cache == "hit" {
			hits++
			if call.Cost != 0 || !call.CostKnown || call.Saved == 0 && call.Provider == "anthropic" || call.Usage.Output != 0 {
				t.Errorf("recorded as %+v", call)
			}
		}
	}
	if hits != 4 {
		t.Errorf("%d hits", hits)
	}
}

// TestNothingBrokenIsKept: neither what broke off nor what was refused, and nothing at
// all unless somebody wants it.
func TestNothingBrokenIsKept(t *testing.T) {
	replies := map[string]fakemodel.Reply{
		"cut off":  {Text: "one two three", Cut: fakemodel.CutAbort, AfterEvents: 4},
		"too soon": {Text: "one two three", Cut: fakemodel.CutClean, AfterEvents: 4},
		"refused":  {Status: 500, Message: "no"},
	}
	for name, reply := range replies {
		r := newRig(t, func(*fakemodel.Call) fakemodel.Reply { return reply }, keeping(t, time.Hour))
		r.do(apis[0].request(r.url, true))
		if got := r.do(apis[0].request(r.url, true)); got.Header.Get("Cf-Aig-Cache-Status") == "HIT" || len(r.model.Calls()) != 2 {
			t.Errorf("%s: %v after %d calls", name, got.Header, len(r.model.Calls()))
		}
	}
	r := newRig(t, says("hello"), keeping(t, 0))
	for range 2 {
		if got := r.do(apis[0].request(r.url, true)); got.Header.Get("Cf-Aig-Cache-Status") != "" {
			t.Errorf("unasked: %v", got.Header)
		}
	}
	wanted := func() *http.Request {
		req := apis[0].request(r.url, true)
		req.Header.Set("Cf-Aig-Cache-Ttl", "60")
		return req
	}
	r.do(wanted())
	if got := r.do(wanted()); got.Header.Get("Cf-Aig-Cache-Status") != "HIT" {
		t.Errorf("asked for: %v", got.Header)
	}
}

// TestTheSameAtOnce: calls that ask the same at the same moment have one answer.
func TestTheSameAtOnce(t *testing.T) {
	hold := make(chan struct{})
	b := newBooks(t)
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply {
		return fakemodel.Reply{Text: "one two three", Hold: hold, HoldAt: 4}
	}, b.use, keeping(t, time.Hour))
	var callers sync.WaitGroup
	bodies := make([]string, 8)
	for i := range bodies {
		callers.Go(func() {
			got := r.do(apis[0].request(r.url, true))
			if got.StatusCode != 200 || got.end != nil {
				t.Errorf("%d %v", got.StatusCode, got.end)
			}
			bodies[i] = got.body
		})
	}
	eventually(t, "the model is called", func() bool { return len(r.model.Calls()) > 0 })
	close(hold)
	callers.Wait()
	for _, body := range bodies {
		if body != bodies[0] {
			t.Errorf("%q and %q", body, bodies[0])
		}
	}
	if n := len(r.model.Calls()); n != 1 {
		t.Errorf("the model was called %d times", n)
	}
	misses := 0
	for _, call := range b.recorded(8) {
		if call.Cache == "miss" {
			misses++
		} else if call.Outcome() != calllog.Succeeded {
			t.Errorf("recorded as %+v", call)
		}
	}
	if misses != 1 {
		t.Errorf("%d misses", misses)
	}
}

// TestAgentsShareAnswers: those whom the owner of the host put under one name, and no
// others.
func TestAgentsShareAnswers(t *testing.T) {
	r := newRig(t, says("hello"), keeping(t, time.Hour), func(o *Options) {
		o.CacheScope = func(caller string) cache.Scope {
			if caller == "eve" {
				return cache.Scope{Name: caller}
			}
			return cache.Scope{Name: "agents", Shared: true}
		}
	})
	for _, tt := range []struct{ agent, want string }{{"ada", "MISS"}, {"bob", "HIT"}, {"eve", "MISS"}} {
		s := httptest.NewServer(r.gw.Handler(tt.agent))
		got := r.do(apis[0].request(s.URL, true))
		s.Close()
		if got.Header.Get("Cf-Aig-Cache-Status") != tt.want {
			t.Errorf("%s: %s", tt.agent, got.Header.Get("Cf-Aig-Cache-Status"))
		}
	}
}

// TestAnAnswerComesAsItOnceCame: with its pauses, where that is wanted, and the same
// bytes.
func TestAnAnswerComesAsItOnceCame(t *testing.T) {
	const pause = 20 * time.Millisecond
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply { return fakemodel.Reply{Text: "one two three", Pace: pause} }, keeping(t, time.Hour))
	first := r.do(apis[0].request(r.url, true))
	began := time.Now()
	req := apis[0].request(r.url, true)
	req.Header.Set("Cf-Aig-Cache-Timing", "true")
	again := r.do(req)
	if again.Header.Get("Cf-Aig-Cache-Status") != "HIT" || again.body != first.body {
		t.Errorf("%v %q, first %q", again.Header, again.body, first.body)
	}
	if took := time.Since(began); took < 3*pause { // a lower bound only: pauses cannot be shorter than asked
		t.Errorf("it took %v", took)
	}
}
