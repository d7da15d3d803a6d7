package aigateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/test/fakemodel"
)

// books are the price table, the ledger and the record of a test.
type books struct {
	t      testing.TB
	ledger *budget.Ledger
	calls  *calllog.Log
	why    atomic.Pointer[string] // the trigger of all calls
}

// A model whose prices are easy to reckon with: $1 for a million tokens read, $10
// for a million written, a tenth of a dollar for a million read from the cache.
const prices = `{"models":[
	{"provider":"anthropic","model":"claude-x","input":1,"output":10,"cache_read":0.1,"cache_write":1.25},
	{"provider":"openai","model":"gpt-x","input":1,"output":10,"cache_read":0.1}]}`

func newBooks(t testing.TB, rules ...budget.Rule) *books {
	t.Helper()
	dir := t.TempDir()
	b := &books{t: t}
	var err error
	if b.ledger, err = budget.Open(budget.Options{Dir: filepath.Join(dir, "budget"), Zone: time.UTC}); err != nil {
		t.Fatal(err)
	}
	if err := b.ledger.SetRules(rules); err != nil {
		t.Fatal(err)
	}
	if b.calls, err = calllog.Open(t.Context(), calllog.Options{Path: filepath.Join(dir, "calls.sqlite")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(b.ledger.Close(), b.calls.Close()); err != nil {
			t.Error(err)
		}
	})
	b.because("user")
	return b
}

func (b *books) because(trigger string) { b.why.Store(&trigger) }

func (b *books) use(o *Options) {
	pricing(b.t, prices)(o)
	o.Budget, o.Calls = b.ledger, b.calls
	o.Trigger = func(Prompt) string { return *b.why.Load() }
	o.ByPerson = map[string]bool{"user": true}
}

// recorded waits for so many calls in the record and returns them, newest first.
func (b *books) recorded(n int) []calllog.Call {
	b.t.Helper()
	var page calllog.Page
	eventually(b.t, fmt.Sprintf("%d calls are recorded", n), func() bool {
		if err := b.calls.Flush(b.t.Context()); err != nil {
			b.t.Fatal(err)
		}
		var err error
		if page, err = b.calls.List(b.t.Context(), calllog.Filter{}, calllog.ID{}, 500); err != nil {
			b.t.Fatal(err)
		}
		return len(page.Calls) >= n
	})
	return page.Calls
}

// spent is what the first rule says was spent.
func (b *books) spent() price.Money { return b.ledger.State().Rules[0].Spent }

func daily(limit price.Money) budget.Rule {
	return budget.Rule{ID: "daily", Period: budget.Day, Limit: limit}
}

// TestEveryTokenIsCounted: what a call costs is worked out from what the provider
// says, to the last token, and the record, the ledger and the headers agree.
func TestEveryTokenIsCounted(t *testing.T) {
	b := newBooks(t, daily(price.Dollar))
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply {
		return fakemodel.Reply{Text: "hello there", Usage: fakemodel.Usage{In: 1000, Out: 50, CacheRead: 700, CacheWrite: 0}}
	}, b.use)
	var sum price.Money
	for i, a := range apis {
		for _, stream := range []bool{true, false} {
			a := a
			if a.name == "openai" && stream { // as OpenClaw asks; without, OpenAI says nothing
				a.body = strings.Replace(a.body, `"stream":%v`, `"stream":%v,"stream_options":{"include_usage":true}`, 1)
			}
			got := r.do(a.request(r.url, stream))
			if got.StatusCode != 200 || got.end != nil {
				t.Fatalf("%s: %d %v", a.name, got.StatusCode, got.end)
			}
			id, err := calllog.ParseID(got.Header.Get("Cf-Aig-Log-Id"))
			if err != nil {
				t.Fatalf("%s: %v in %v", a.name, err, got.Header)
			}
			b.recorded(2*i + 1)
			kept, err := b.calls.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			// Anthropic's input is beside its cache: 1000 + 700/10 + 50 * 10 = 1570
			// millionths of a dollar. OpenAI's holds it: 300 + 700/10 + 500 = 870.
			want := []price.Money{1570, 870}[i] * price.Dollar / 1_000_000
			if !kept.CostKnown || kept.Cost != want || kept.Usage.CacheRead != 700 || kept.Usage.Output != 50 {
				t.Errorf("%s, stream %v: cost %v (known %v), want %v, of %+v", a.name, stream, kept.Cost, kept.CostKnown, want, kept.Usage)
			}
			if kept.Trigger != "user" || kept.Agent != "ada" || kept.Provider != a.name || kept.Stream != stream || kept.Status != 200 || kept.Attempts != 1 {
				t.Errorf("%s: recorded as %+v", a.name, kept)
			}
			sum += want
		}
	}
	if got := b.spent(); got != sum {
		t.Errorf("the ledger has %v, the calls cost %v", got, sum)
	}
}

// TestBudgetIsExact: of a thousand calls at once none gets through for which there is
// no money, and all money can be used.
func TestBudgetIsExact(t *testing.T) {
	const limit = price.Dollar
	b := newBooks(t, daily(limit))
	b.because("cron") // nobody waits: a refusal is an error
	var served atomic.Int64
	// A request of 90 bytes has 90 tokens at most. The model says 40 of input and 400
	// of output: 40 + 4000 = 4040 millionths of a dollar, of which a dollar has 247.
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply {
		served.Add(1)
		return fakemodel.Reply{Text: "x", Usage: fakemodel.Usage{In: 40, Out: 400}}
	}, b.use, func(o *Options) { o.Transport = &http.Transport{MaxIdleConnsPerHost: 64} })
	const body = `{"model":"gpt-x","max_completion_tokens":400,"messages":[{"role":"user","content":"hello"}]}`
	var callers sync.WaitGroup
	var refused, answered atomic.Int64
	for range 50 {
		callers.Go(func() {
			for range 20 {
				resp, err := http.Post(r.url+"/openai/v1/chat/completions", "application/json", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				text, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				switch {
				case resp.StatusCode == 200:
					answered.Add(1)
				case resp.StatusCode == 400 && strings.Contains(string(text), "daily"), resp.StatusCode == 429:
					refused.Add(1)
				default:
					t.Errorf("%d %s", resp.StatusCode, text)
				}
			}
		})
	}
	callers.Wait()
	eventually(t, "every call is settled", func() bool { return b.ledger.State().InFlight == 0 })
	const each = price.Money(40+4000) * price.Dollar / 1_000_000
	if got := b.spent(); got > limit || got != each*price.Money(answered.Load()) || served.Load() != answered.Load() {
		t.Errorf("%v spent of %v, %d calls answered, %d served", got, limit, answered.Load(), served.Load())
	}
	if left := limit - b.spent(); left > 2*each || refused.Load() == 0 {
		t.Errorf("%v are left, %d calls were refused", left, refused.Load())
	}
}

// TestAPersonIsToldThatTheMoneyIsSpent, in the model's own place; who is not waited
// for gets an error of the API.
func TestAPersonIsToldThatTheMoneyIsSpent(t *testing.T) {
	b := newBooks(t, daily(price.Dollar/1_000_000))
	r := newRig(t, says("never said"), b.use)
	for _, a := range apis {
		for _, stream := range []bool{true, false} {
			b.because("user")
			got := r.do(a.request(r.url, stream))
			if got.StatusCode != 200 || !strings.Contains(got.body, "daily") || !strings.Contains(got.body, "moltworker ai budget") {
				t.Errorf("%s, stream %v: %d %s", a.name, stream, got.StatusCode, got.body)
			}
			if end := map[string]string{"anthropic": "message_stop", "openai": "[DONE]"}[a.name]; stream && !strings.Contains(got.body, end) {
				t.Errorf("%s: the stream has no end: %s", a.name, got.body)
			}
			if !stream && !json.Valid([]byte(got.body)) {
				t.Errorf("%s: no JSON: %s", a.name, got.body)
			}
			b.because("heartbeat")
			if got := r.do(a.request(r.url, stream)); got.StatusCode != 400 || got.Header.Get("X-Should-Retry") != "false" || !strings.Contains(got.body, "daily") {
				t.Errorf("%s, nobody waits: %d %v %s", a.name, got.StatusCode, got.Header, got.body)
			}
		}
	}
	for _, call := range b.recorded(8) {
		if call.Error != "budget" || call.Cost != 0 || !call.CostKnown {
			t.Errorf("recorded as %+v", call)
		}
	}
	if n := len(r.model.Calls()); n != 0 {
		t.Errorf("the model was called %d times", n)
	}
}

// TestAStopIsAStop: no call of a stopped agent is made until it is resumed, and
// heartbeats can be stopped alone.
func TestAStopIsAStop(t *testing.T) {
	b := newBooks(t)
	r := newRig(t, says("hello"), b.use)
	try := func(trigger string) int {
		b.because(trigger)
		return r.do(apis[0].request(r.url, true)).StatusCode
	}
	if err := b.ledger.Stop(budget.Stop{Agent: "ada", Trigger: "heartbeat"}); err != nil {
		t.Fatal(err)
	}
	if user, beat := try("cron"), try("heartbeat"); user != 200 || beat != 400 {
		t.Errorf("cron %d, heartbeat %d", user, beat)
	}
	if err := b.ledger.Stop(budget.Stop{}); err != nil {
		t.Fatal(err)
	}
	if code := try("cron"); code != 400 {
		t.Errorf("all are stopped: %d", code)
	}
	if err := errors.Join(b.ledger.Resume("", ""), b.ledger.Resume("ada", "heartbeat")); err != nil {
		t.Fatal(err)
	}
	if code := try("heartbeat"); code != 200 {
		t.Errorf("resumed: %d", code)
	}
}

// TestABrokenStreamIsEstimated: it costs something, which is worked out from what
// passed and marked so.
func TestABrokenStreamIsEstimated(t *testing.T) {
	b := newBooks(t, daily(price.Dollar))
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply {
		return fakemodel.Reply{Text: strings.Repeat("word ", 100), Cut: fakemodel.CutAbort, AfterEvents: 50, Usage: fakemodel.Usage{In: 30, Out: 100}}
	}, b.use)
	for _, a := range apis {
		r.do(a.request(r.url, true))
	}
	for _, call := range b.recorded(2) {
		if !call.Usage.Estimated || call.Usage.Output < 20 || call.Usage.Output > 100 || call.Cost <= 0 || call.Error == "" || call.Outcome() != calllog.Interrupted {
			t.Errorf("recorded as %+v", call)
		}
	}
	if b.spent() <= 0 {
		t.Error("nothing was counted")
	}
}

// TestAnUnknownPriceIsNotNothing: the call is counted, and that its price is not
// known. Under a budget of money it is not made: nobody could say when that is spent.
func TestAnUnknownPriceIsNotNothing(t *testing.T) {
	b := newBooks(t, budget.Rule{ID: "many", Period: budget.Day, Tokens: 1_000_000})
	r := newRig(t, says("hello"), b.use)
	ask := func() answer {
		req := apis[0].request(r.url, true)
		body := `{"model":"nobody-knows-it","max_tokens":5,"stream":true,"messages":[{"role":"user","content":"x"}]}`
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		return r.do(req)
	}
	if got := ask(); got.StatusCode != 200 || !strings.Contains(got.body, "hello") {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	if call := b.recorded(1)[0]; call.CostKnown || call.Usage.Output != 5 {
		t.Errorf("recorded as %+v", call)
	}
	if s := b.ledger.State().Rules[0]; s.Unknown != 1 || s.Spent != 0 || s.SpentTokens != 15 {
		t.Errorf("the ledger says %+v", s)
	}
	if err := b.ledger.SetRules([]budget.Rule{daily(price.Dollar)}); err != nil {
		t.Fatal(err)
	}
	if got := ask(); got.StatusCode != 200 || !strings.Contains(got.body, "prices.json") || !strings.Contains(got.body, "daily") {
		t.Errorf("under a budget: %d %s", got.StatusCode, got.body)
	}
	if call := b.recorded(2)[0]; call.Error != "unpriced" || len(r.model.Calls()) != 1 {
		t.Errorf("recorded as %+v after %d calls", call, len(r.model.Calls()))
	}
}

// TestUnifiedPath: every provider's model by one path, the body the same but for the
// model's name.
func TestUnifiedPath(t *testing.T) {
	b := newBooks(t)
	r := newRig(t, says("hello"), b.use)
	ask := func(model string) answer {
		req, err := http.NewRequest("POST", r.url+"/compat/chat/completions", strings.NewReader(`{ "messages":[{"role":"user","content":"\u00e9 \"model\""}], "model" : "`+model+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		return r.do(req)
	}
	if got := ask("openai/gpt-x"); got.StatusCode != 200 {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	if got := string(r.lastCall().Body); got != `{ "messages":[{"role":"user","content":"\u00e9 \"model\""}], "model" : "gpt-x"}` {
		t.Errorf("the upstream got %s", got)
	}
	if got := b.recorded(1)[0]; got.Provider != "openai" || got.Asked != "gpt-x" || !got.CostKnown {
		t.Errorf("recorded as %+v", got)
	}
	if got := ask("gpt-x"); got.StatusCode != 400 || !strings.Contains(got.body, "provider/model") {
		t.Errorf("no provider: %d %s", got.StatusCode, got.body)
	}
	if got := ask("groq/llama-x"); got.StatusCode != 401 || !strings.Contains(got.body, "moltworker secret put GROQ_API_KEY") {
		t.Errorf("no key: %d %s", got.StatusCode, got.body)
	}
}

// TestFromOutside: programs reach the providers by Cloudflare's paths and by shorter
// ones, and may say what a call costs; agents may not.
func TestFromOutside(t *testing.T) {
	b := newBooks(t, daily(price.Dollar))
	r := newRig(t, says("hello"), b.use)
	outside := httptest.NewServer(r.gw.Outside(func(*http.Request) string { return "ci" }))
	defer outside.Close()
	for _, prefix := range []string{"/ai", "/v1/account/gateway"} {
		req := apis[0].request(outside.URL+prefix, true)
		req.Header.Set("Cf-Aig-Custom-Cost", `{"total_cost":0.25}`)
		req.Header.Set("Cf-Aig-Metadata", `{"team":"blue","n":7}`)
		req.Header.Set("Cf-Aig-Event-Id", "e-1")
		if got := r.do(req); got.StatusCode != 200 {
			t.Fatalf("%s: %d %s", prefix, got.StatusCode, got.body)
		}
		if call := r.lastCall(); call.Path != "/v1/messages" || call.Header.Get("Cf-Aig-Metadata") != "" {
			t.Errorf("%s: the upstream got %s %v", prefix, call.Path, call.Header)
		}
	}
	for _, call := range b.recorded(2) {
		if call.Agent != "@ci" || call.Trigger != "outside" || call.Cost != price.Dollar/4 || call.Metadata["team"] != "blue" || call.Metadata["n"] != "7" || call.Event != "e-1" {
			t.Errorf("recorded as %+v", call)
		}
	}
	req := apis[0].request(r.url, true)
	req.Header.Set("Cf-Aig-Custom-Cost", `{"total_cost":0}`)
	req.Header.Set("Cf-Aig-Collect-Log", "false")
	r.do(req)
	if call := b.recorded(3)[0]; call.Agent != "ada" || call.Cost == 0 {
		t.Errorf("an agent hid what its call costs: %+v", call)
	}
}

// TestTheNextKey: a key that is refused is not the end while there is another, and is
// left alone from then on. It is the one that is tried first, whichever that is.
func TestTheNextKey(t *testing.T) {
	b := newBooks(t)
	const second = "sk-ant-api03-THE-SECOND-ANTHROPIC-KEY-0123456789abcdefghijklmnop"
	var limited atomic.Pointer[string]
	r := newRig(t, func(c *fakemodel.Call) fakemodel.Reply {
		key := c.Header.Get("X-Api-Key")
		limited.CompareAndSwap(nil, &key)
		if key == *limited.Load() {
			return fakemodel.Reply{Status: 429, RetryAfter: "60", Message: "slow down"}
		}
		return fakemodel.Reply{Text: "hello"}
	}, b.use)
	r.secrets.put("ANTHROPIC_API_KEY_2", second)
	for range 5 {
		if got := r.do(apis[0].request(r.url, true)); got.StatusCode != 200 {
			t.Errorf("%d %s", got.StatusCode, got.body)
		}
	}
	refused := 0
	for _, call := range r.model.Calls() {
		if call.Header.Get("X-Api-Key") == *limited.Load() {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("the limited key was tried %d times", refused)
	}
	good := "ANTHROPIC_API_KEY_2"
	if *limited.Load() == second {
		good = "ANTHROPIC_API_KEY"
	}
	for _, call := range b.recorded(5) {
		if call.Key != good {
			t.Errorf("recorded with key %q", call.Key)
		}
	}
}

// TestTriesAgainWhenAsked: as often as the client asks for, and not of itself.
func TestTriesAgainWhenAsked(t *testing.T) {
	var n atomic.Int64
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply {
		if n.Add(1) < 3 {
			return fakemodel.Reply{Status: 503, Message: "overloaded"}
		}
		return fakemodel.Reply{Text: "hello"}
	})
	if got := r.do(apis[0].request(r.url, true)); got.StatusCode != 503 || n.Load() != 1 {
		t.Errorf("unasked: %d after %d calls", got.StatusCode, n.Load())
	}
	n.Store(0)
	req := apis[0].request(r.url, true)
	req.Header.Set("Cf-Aig-Max-Attempts", "3")
	req.Header.Set("Cf-Aig-Retry-Delay", "1")
	if got := r.do(req); got.StatusCode != 200 || n.Load() != 3 {
		t.Errorf("asked: %d after %d calls: %s", got.StatusCode, n.Load(), got.body)
	}
}

// TestASilentModelKeepsTheLineAlive for programs from outside, whose lines lead
// through what cuts silent ones. Without the comments the answer is what it was.
func TestASilentModelKeepsTheLineAlive(t *testing.T) {
	hold := make(chan struct{})
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply {
		return fakemodel.Reply{Text: "one two three", Hold: hold, HoldAt: 4}
	}, func(o *Options) { o.Timeouts.Comment = 2 * time.Millisecond })
	outside := httptest.NewServer(r.gw.Outside(func(*http.Request) string { return "ci" }))
	defer outside.Close()
	resp, err := http.DefaultTransport.RoundTrip(apis[0].request(outside.URL+"/ai", true))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got strings.Builder
	buf := make([]byte, 512)
	for strings.Count(got.String(), comment) < 3 {
		n, err := resp.Body.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, got.String())
		}
		got.Write(buf[:n])
	}
	close(hold)
	rest, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	got.Write(rest)
	hold = make(chan struct{})
	close(hold)
	plain := r.do(apis[0].request(r.url, true))
	if without := strings.ReplaceAll(got.String(), comment, ""); without != plain.body || strings.Contains(plain.body, comment) {
		t.Errorf("%q, to an agent %q", without, plain.body)
	}
}
