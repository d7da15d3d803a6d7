package aigateway

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/limit"
	"github.com/moltworker/moltworker/test/fakemodel"
)

// TestLimits: so many calls and tokens in a time, and so many calls at once; what is
// too much says when to come back, and a call that was refused counts for nothing.
func TestLimits(t *testing.T) {
	window := func(rate limit.Rate) *limit.Window {
		w, err := limit.NewWindow(limit.WindowOptions{Rate: rate})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	t.Run("calls", func(t *testing.T) {
		r := newRig(t, says("hello"), func(o *Options) {
			o.Windows = []*limit.Window{window(limit.Rate{Requests: 100, Per: time.Hour}), window(limit.Rate{Requests: 2, Per: time.Hour})}
		})
		for i := range 4 {
			got := r.do(apis[0].request(r.url, true))
			if (got.StatusCode == 200) != (i < 2) || i >= 2 && (got.StatusCode != 429 || got.Header.Get("Retry-After") == "") {
				t.Errorf("call %d: %d %v", i, got.StatusCode, got.Header)
			}
		}
	})
	t.Run("tokens", func(t *testing.T) {
		r := newRig(t, func(*fakemodel.Call) fakemodel.Reply {
			return fakemodel.Reply{Text: "x", Usage: fakemodel.Usage{In: 300, Out: 400}}
		},
			func(o *Options) { o.Windows = []*limit.Window{window(limit.Rate{Tokens: 1000, Per: time.Hour})} })
		for i, want := range []int{200, 200, 429} { // 700, then 1400 of 1000
			if got := r.do(apis[0].request(r.url, true)); got.StatusCode != want {
				t.Errorf("call %d: %d %s", i, got.StatusCode, got.body)
			}
		}
	})
	t.Run("at once", func(t *testing.T) {
		hold := make(chan struct{})
		r := newRig(t, func(*fakemodel.Call) fakemodel.Reply { return fakemodel.Reply{Text: "hello", Hold: hold} },
			func(o *Options) { o.Gate = limit.NewGate(limit.GateOptions{Total: 1}) })
		first := make(chan int)
		go func() { first <- r.do(apis[0].request(r.url, true)).StatusCode }()
		eventually(t, "the first call is under way", func() bool { return len(r.model.Calls()) == 1 })
		if got := r.do(apis[0].request(r.url, true)); got.StatusCode != 429 {
			t.Errorf("a second call: %d %s", got.StatusCode, got.body)
		}
		close(hold)
		if code := <-first; code != 200 {
			t.Errorf("the first call: %d", code)
		}
		if got := r.do(apis[0].request(r.url, true)); got.StatusCode != 200 {
			t.Errorf("afterwards: %d %s", got.StatusCode, got.body)
		}
	})
}

// TestAWaitIsNoSlowBody: who waits for others longer than a provider may take to
// begin is told so, and not that his own request did not arrive.
func TestAWaitIsNoSlowBody(t *testing.T) {
	hold := make(chan struct{})
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply {
		return fakemodel.Reply{Text: "one two three", Hold: hold, HoldAt: 4}
	},
		func(o *Options) {
			o.Gate = limit.NewGate(limit.GateOptions{Total: 1, Queue: 8})
			o.Timeouts.Header = time.Second
		})
	first := make(chan int)
	go func() { first <- r.do(apis[0].request(r.url, true)).StatusCode }()
	eventually(t, "the first call is under way", func() bool { return len(r.model.Calls()) == 1 })
	if got := r.do(apis[0].request(r.url, true)); got.StatusCode != 504 || !strings.Contains(got.body, "other calls") {
		t.Errorf("who waited: %d %s", got.StatusCode, got.body)
	}
	close(hold)
	if code := <-first; code != 200 {
		t.Errorf("the first call: %d", code)
	}
}

// TestWhoBreaksIsKeptAway: a caller whose calls fail one after another is kept from
// the provider for a while, and nobody else is; impatience breaks nothing.
func TestWhoBreaksIsKeptAway(t *testing.T) {
	fails := func(c *fakemodel.Call) fakemodel.Reply {
		switch c.Header.Get("Idempotency-Key") {
		case "bad":
			return fakemodel.Reply{Status: 500, Message: "no"}
		case "slow":
			return fakemodel.Reply{Text: "hello", Delay: time.Minute}
		}
		return fakemodel.Reply{Text: "hello"}
	}
	r := newRig(t, fails)
	other := httptest.NewServer(r.gw.Handler("bob"))
	defer other.Close()
	for range 5 {
		hurried := apis[0].request(r.url, true)
		hurried.Header.Set("Idempotency-Key", "slow")
		hurried.Header.Set("Cf-Aig-Request-Timeout", "1")
		if got := r.do(hurried); got.StatusCode != 504 {
			t.Errorf("impatience: %d %s", got.StatusCode, got.body)
		}
	}
	if got := r.do(apis[0].request(r.url, true)); got.StatusCode != 200 {
		t.Errorf("after impatience: %d %s", got.StatusCode, got.body)
	}
	for range 5 {
		req := apis[0].request(r.url, true)
		req.Header.Set("Idempotency-Key", "bad")
		r.do(req)
	}
	if got := r.do(apis[0].request(r.url, true)); got.StatusCode != 503 || got.Header.Get("Retry-After") == "" {
		t.Errorf("who broke it: %d %s", got.StatusCode, got.body)
	}
	if got := r.do(apis[0].request(other.URL, true)); got.StatusCode != 200 {
		t.Errorf("another: %d %s", got.StatusCode, got.body)
	}
}

// TestWhoNeverAnswersIsBroken: a provider that lets calls wait for too long is kept
// from, as one that fails.
func TestWhoNeverAnswersIsBroken(t *testing.T) {
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply { return fakemodel.Reply{Text: "hello", Delay: time.Minute} },
		func(o *Options) { o.Timeouts.Header = 20 * time.Millisecond })
	for range 5 {
		if got := r.do(apis[0].request(r.url, true)); got.StatusCode != 504 {
			t.Errorf("%d %s", got.StatusCode, got.body)
		}
	}
	if got := r.do(apis[0].request(r.url, true)); got.StatusCode != 503 || got.Header.Get("Retry-After") == "" {
		t.Errorf("afterwards: %d %s", got.StatusCode, got.body)
	}
}
