package aigateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/guardrail"
	"github.com/moltworker/moltworker/internal/aigateway/limit"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
	"github.com/moltworker/moltworker/test/fakemodel"
)

// post sends a body, with header names and values behind it.
func post(r *rig, path, body string, header ...string) answer {
	req, err := http.NewRequest(http.MethodPost, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Anthropic-Version", anthropicVersion)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return r.do(req)
}

// geminiAsk is a request of Google's API with a place for a text.
const geminiAsk = `{"contents":[{"role":"user","parts":[{"text":"%s"}]}]}`

// geminiRig is a rig whose models speak Google's API too.
func geminiRig(t *testing.T, reply func(*fakemodel.Call) fakemodel.Reply, adjust ...func(*Options)) *rig {
	r := newRig(t, reply, adjust...)
	r.secrets.put("GEMINI_BASE_URL", r.model.URL)
	r.secrets.put("GEMINI_API_KEY", "AIzaTHE-REAL-GEMINI-KEY-0123456789abcdefg")
	return r
}

// TestNoCallGetsAnothersBody: a body that goes on to another model is the caller's, whatever else is under way.
func TestNoCallGetsAnothersBody(t *testing.T) {
	const file = `{"routes":[{"name":"r","when":{"models":["google-ai-studio/gemini-a"]},"steps":[{"model":"google-ai-studio/gemini-b"},{"model":"google-ai-studio/gemini-c"}]}]}`
	var bad atomic.Int64
	r := geminiRig(t, func(c *fakemodel.Call) fakemodel.Reply {
		if strings.Contains(c.Path, "gemini-b") {
			return fakemodel.Reply{Status: 503}
		}
		return fakemodel.Reply{Text: "ok"}
	}, routed(t, file))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				mark := fmt.Sprintf("secret-of-%d-%d-%s", g, i, strings.Repeat("x", 2000))
				post(r, "/google-ai-studio/v1beta/models/gemini-a:generateContent", fmt.Sprintf(geminiAsk, mark))
				post(r, "/openai/v1/chat/completions", fmt.Sprintf(`{"model":"gpt-x","messages":[{"role":"user","content":"other-%d-%d %s"}]}`, g, i, strings.Repeat("y", 3000)))
			}
		})
	}
	wg.Wait()
	for _, c := range r.model.Calls() {
		gem := strings.Contains(c.Path, "gemini")
		if c.Problem != "" || gem && !bytes.Contains(c.Body, []byte(`secret-of`)) || !gem && !bytes.Contains(c.Body, []byte("other-")) {
			bad.Add(1)
		}
	}
	if bad.Load() > 0 {
		t.Errorf("%d of %d upstream requests had another call's body", bad.Load(), len(r.model.Calls()))
	}
}

// TestAPauseEndsNoCall: the pause before a retry may be longer than a step waits for an answer.
func TestAPauseEndsNoCall(t *testing.T) {
	const file = `{"routes":[{"name":"r","when":{"models":["anthropic/*"]},"steps":[{"timeout":"200ms","retries":1},{"model":"openai/gpt-x"}]}]}`
	r := newRig(t, only("chat/completions", fakemodel.Reply{Text: "instead"}, fakemodel.Reply{Status: 503, RetryAfter: "1"}), routed(t, file))
	got := r.do(apis[0].request(r.url, false))
	if got.StatusCode != 200 {
		t.Errorf("%d %q after %d calls", got.StatusCode, got.body, len(r.model.Calls()))
	}
}

// TestAnUnsetProviderIsPassedOver: a step whose provider lacks a setting is as good as one without a key.
func TestAnUnsetProviderIsPassedOver(t *testing.T) {
	const file = `{"routes":[{"name":"r","when":{"models":["anthropic/*"]},"steps":[{},{"model":"azure-openai/gpt-x"},{"model":"openai/gpt-x"}]}]}`
	b := newBooks(t)
	r := newRig(t, only("chat/completions", fakemodel.Reply{Text: "instead"}, fakemodel.Reply{Status: 529}), b.use, routed(t, file))
	got := r.do(apis[0].request(r.url, false))
	if got.StatusCode != 200 {
		t.Errorf("%d %q", got.StatusCode, got.body)
	}
	if row := b.recorded(1)[0]; row.Provider != "openai" || row.Step != 2 || !strings.Contains(fmt.Sprint(row.Guards), "azure-openai/gpt-x: unauthorized") {
		t.Errorf("%+v", row)
	}
}

// TestTheProviderIsHeard: what the last provider said that was asked counts, not that a further step could not be tried.
func TestTheProviderIsHeard(t *testing.T) {
	const file = `{"routes":[{"name":"r","when":{"models":["anthropic/*"]},"steps":[{},{"model":"groq/llama"}]}]}`
	b := newBooks(t)
	r := newRig(t, only("chat/completions", fakemodel.Reply{Text: "instead"}, fakemodel.Reply{Status: 429, RetryAfter: "7"}), b.use, routed(t, file))
	got := r.do(apis[0].request(r.url, false))
	row := b.recorded(1)[0]
	if got.StatusCode != 429 || got.Header.Get("Retry-After") != "7" {
		t.Errorf("the provider said 429 in 7 s, the client is told %d, Retry-After %q", got.StatusCode, got.Header.Get("Retry-After"))
	}
	if row.Provider == "groq" && strings.HasPrefix(row.Key, "ANTHROPIC") {
		t.Errorf("row of groq with key %s", row.Key)
	}
}

// TestAPrivateCallStaysPrivate: one of a list that is not to be kept is not, whatever the others are.
func TestAPrivateCallStaysPrivate(t *testing.T) {
	rules, _ := guardrail.New(nil).Compile(guardrail.Policy{Rules: []guardrail.Rule{{Check: guardrail.Secrets, Direction: guardrail.Response, Action: guardrail.Redact}}})
	b := keepingBooks(t)
	r := newRig(t, only("messages", fakemodel.Reply{Text: "private answer"}, fakemodel.Reply{Status: 500}), b.use, func(o *Options) { o.Payloads = rules })
	got := post(r, "/", `[{"provider":"openai","endpoint":"chat/completions","query":{"model":"gpt-x","messages":[{"role":"user","content":"hi"}]}},
		{"provider":"anthropic","endpoint":"v1/messages","headers":{"cf-aig-collect-log-payload":"false"},"query":{"model":"claude-x","max_tokens":10,"messages":[{"role":"user","content":"private"}]}}]`)
	if got.StatusCode != 200 {
		t.Fatal(got.body)
	}
	said, err := b.calls.Payload(t.Context(), b.recorded(1)[0].ID)
	if err == nil && strings.Contains(string(said.Response), "private") {
		t.Errorf("kept: request %q response %q", said.Request, said.Response)
	}
	if !errors.Is(err, calllog.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

// TestAClientKeepsItsFormOfStream: Google has two forms of streams, and another place
// for a model changes nothing of which is asked for.
func TestAClientKeepsItsFormOfStream(t *testing.T) {
	r := geminiRig(t, says("x"))
	for query, want := range map[string]string{"": "", "alt=sse": "alt=sse", "alt=json&key=theirs": "alt=json"} {
		req, _ := http.NewRequest(http.MethodPost, "http://x/google-ai-studio/v1beta/models/gemini-a:streamGenerateContent?"+query, nil)
		asked, err := find(req)
		if err != nil {
			t.Fatal(err)
		}
		to, _, err := r.gw.reach("google-ai-studio/gemini-b", usage.Gemini, true)
		if err != nil {
			t.Fatal(err)
		}
		to.name = "google-vertex-ai" // as another provider of the same form
		if got := (&call{g: r.gw, asked: asked, r: req}).queryFor(to); got != want {
			t.Errorf("%q becomes %q", query, got)
		}
	}
}

// TestSpacesDoNotMatter: JSON is read with the white space that people and programs put into it.
func TestSpacesDoNotMatter(t *testing.T) {
	b := newBooks(t, daily(price.Dollar))
	r := newRig(t, only("chat/completions", fakemodel.Reply{Text: "instead"}, fakemodel.Reply{Status: 529}), b.use, routed(t, there))
	got := post(r, "/anthropic/v1/messages", "{\n  \"model\": \"claude-x\",\n \"messages\": [{\"role\":\"user\",\"content\":\"hello\"}],\n \"max_tokens\": 50,\n  \"stream\": true\n}")
	if got.StatusCode != 200 {
		t.Errorf("%d %q", got.StatusCode, got.body)
	}
	if a := readAsk([]byte("{\"max_tokens\": 100000\n}")); a.maxOutput != 100000 {
		t.Errorf("maxOutput %d", a.maxOutput)
	}
}

// TestOneModelIsNamed: parsers differ in which of two members of one name counts; so
// there is to be but one.
func TestOneModelIsNamed(t *testing.T) {
	const file = `{"routes":[{"name":"cheap","steps":[{"model":"openai/gpt-x"}]}]}`
	r := newRig(t, says("x"), routed(t, file))
	for _, body := range []string{
		`{"model":"dynamic/cheap","messages":[{"role":"user","content":"hi"}],"mod\u0065l":"gpt-dear"}`,
		`{"model":"openai/gpt-x","messages":[{"role":"user","content":"hi"}],"model":"gpt-dear"}`,
		`{"model":"openai/gpt-x","messages":[{"role":"user","content":"hi"}],"Model":"gpt-dear"}`,
	} {
		if got := post(r, compatPath, body); got.StatusCode != 400 || !strings.Contains(got.body, "more than once") || len(r.model.Calls()) > 0 {
			t.Errorf("%s: %d %q", body, got.StatusCode, got.body)
		}
	}
}

// TestATranslatedStreamHasItsEnd: where a connection breaks behind the end of an answer the client gets the end all the same.
func TestATranslatedStreamHasItsEnd(t *testing.T) {
	const file = `{"routes":[{"name":"r","when":{"models":["anthropic/*"]},"steps":[{"model":"google-ai-studio/gemini-b"}]}]}`
	b := newBooks(t)
	r := geminiRig(t, func(c *fakemodel.Call) fakemodel.Reply {
		return fakemodel.Reply{Text: "one two", Cut: fakemodel.CutAbort, AfterEvents: 100}
	}, b.use, routed(t, file), keeping(t, time.Hour))
	for i := range 2 {
		got := r.do(apis[0].request(r.url, true))
		if got.end == nil && !strings.Contains(got.body, "message_stop") {
			t.Errorf("call %d (%s): status %d, clean end, no message_stop: %q", i, got.Header.Get("Cf-Aig-Cache-Status"), got.StatusCode, got.body)
		}
	}
}

// TestErrorsAreNotGivenAgain: a stream that ends in an error is no answer.
func TestErrorsAreNotGivenAgain(t *testing.T) {
	var n atomic.Int64
	r := newRig(t, func(c *fakemodel.Call) fakemodel.Reply {
		if n.Add(1) == 1 {
			return fakemodel.Reply{Body: []byte("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n"), Header: http.Header{"Content-Type": {"text/event-stream"}}}
		}
		return fakemodel.Reply{Text: "fine"}
	}, keeping(t, time.Hour))
	r.do(apis[0].request(r.url, true))
	got := r.do(apis[0].request(r.url, true))
	if got.Header.Get("Cf-Aig-Cache-Status") == "HIT" {
		t.Errorf("an error is given again: %q", got.body)
	}
}

// TestAKeptAnswerIsForTheSameQuestion: what a translated answer says of the model and its usage belongs to who asked for it.
func TestAKeptAnswerIsForTheSameQuestion(t *testing.T) {
	const file = `{"routes":[{"name":"r","when":{"models":["openai/*"]},"steps":[{"model":"anthropic/claude-x"}]}]}`
	r := newRig(t, says("x"), routed(t, file), keeping(t, time.Hour))
	ask := func(model, extra string) answer {
		return post(r, "/openai/v1/chat/completions", `{"model":"`+model+`","stream":true,`+extra+`"messages":[{"role":"user","content":"hi"}]}`)
	}
	ask("gpt-a", "")
	got := ask("gpt-b", `"stream_options":{"include_usage":true},`)
	if !strings.Contains(got.body, `"prompt_tokens"`) || strings.Contains(got.body, "gpt-a") {
		t.Errorf("%s: usage was asked for, and gpt-b: %q", got.Header.Get("Cf-Aig-Cache-Status"), got.body)
	}
}

// TestManyAnswersAreHeld: each of several answers side by side may be as long as one.
func TestManyAnswersAreHeld(t *testing.T) {
	b := newBooks(t, daily(5000*price.Dollar/1e6))
	b.because("cron")
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply {
		return fakemodel.Reply{Text: "x", Usage: fakemodel.Usage{In: 10, Out: 40000}}
	}, b.use)
	got := post(r, "/openai/v1/chat/completions", `{"model":"gpt-x","n":100,"max_completion_tokens":400,"messages":[{"role":"user","content":"hello"}]}`)
	if got.StatusCode == 200 {
		t.Errorf("spent %v of %v", b.spent(), 5000*price.Dollar/1e6)
	}
}

// TestNobodySpoilsAnothersKeys: an agent whose calls are refused takes no key from others, and chooses no organization.
func TestNobodySpoilsAnothersKeys(t *testing.T) {
	const second = "sk-proj-THE-SECOND-OPENAI-KEY-0123456789abcdefghijklmnop"
	r := newRig(t, func(c *fakemodel.Call) fakemodel.Reply {
		if c.Header.Get("Openai-Organization") != "" {
			return fakemodel.Reply{Status: 401, Message: "mismatched_organization"}
		}
		return fakemodel.Reply{Text: "hello"}
	})
	r.secrets.put("OPENAI_API_KEY_2", second)
	bob := httptest.NewServer(r.gw.Handler("bob"))
	defer bob.Close()
	post(r, "/openai/v1/chat/completions", `{"model":"gpt-x","messages":[{"role":"user","content":"hello"}]}`, "Openai-Organization", "org-bogus")
	got := r.do(apis[1].request(bob.URL, false))
	if got.StatusCode != 200 {
		t.Errorf("bob: %d %q", got.StatusCode, got.body)
	}
}

// TestAFormNamesItsModel: requests with files name their model in a form, and may use no other than any.
func TestAFormNamesItsModel(t *testing.T) {
	hit := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hit <- r.FormValue("model")
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"text":"x"}`)
	}))
	defer s.Close()
	r := newRig(t, says(""), guarded(t, guardrail.Policy{Models: []string{"gpt-*"}}))
	r.secrets.put("OPENAI_BASE_URL", s.URL+"/v1")
	body := "--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-dear\r\n--B--\r\n"
	got := post(r, "/openai/v1/audio/transcriptions", body, "Content-Type", "multipart/form-data; boundary=B")
	if got.StatusCode == 200 {
		t.Errorf("model %q was used", <-hit)
	}
	for _, bad := range []string{"", body + body, strings.Replace(body, "whisper-dear", strings.Repeat("gpt-", 99), 1)} {
		if got := post(r, "/openai/v1/audio/transcriptions", bad, "Content-Type", "multipart/form-data; boundary=B"); got.StatusCode != 400 {
			t.Errorf("%.60q: %d", bad, got.StatusCode)
		}
	}
	good := strings.Replace(body, "whisper-dear", "gpt-hears", 1)
	if got := post(r, "/openai/v1/audio/transcriptions", good, "Content-Type", "multipart/form-data; boundary=B"); got.StatusCode != 200 || <-hit != "gpt-hears" {
		t.Errorf("%d %q", got.StatusCode, got.body)
	}
}

// TestOtherPathsGoNowhereElse: a call that is no conversation has no counterpart
// elsewhere.
func TestOtherPathsGoNowhereElse(t *testing.T) {
	const file = `{"routes":[{"name":"r","when":{"models":["openai/*"]},"steps":[{},{"model":"custom-other/llama","on":["any"]}]}]}`
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s was asked of another", r.URL) }))
	defer other.Close()
	r := newRig(t, says(""), routed(t, file))
	r.secrets.put("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
	r.secrets.put("CUSTOM_OTHER_BASE_URL", other.URL+"/v1")
	if got := post(r, "/openai/v1/completions", `{"model":"gpt-x","prompt":"say"}`); got.StatusCode != http.StatusBadGateway || !strings.Contains(got.body, "refuses connections") {
		t.Errorf("%d %q", got.StatusCode, got.body)
	}
}

// TestAnotherProviderIsNotToldWhose: headers that belong to the provider that was meant
// go to no other.
func TestAnotherProviderIsNotToldWhose(t *testing.T) {
	const file = `{"routes":[{"name":"r","when":{"models":["openai/*"]},"steps":[{"model":"custom-other/llama"}]}]}`
	r := newRig(t, says("x"), routed(t, file))
	r.secrets.put("CUSTOM_OTHER_BASE_URL", r.model.URL+"/v1")
	r.secrets.put("CUSTOM_OTHER_API_KEY", "any")
	outside := httptest.NewServer(r.gw.Outside(func(*http.Request) string { return "ci" }))
	defer outside.Close()
	req := apis[1].request(outside.URL+"/ai", false)
	req.Header.Set("Openai-Organization", "org-mine")
	req.Header.Set("Openai-Beta", "b")
	if got := r.do(req); got.StatusCode != 200 {
		t.Fatalf("%d %q", got.StatusCode, got.body)
	}
	if h := r.lastCall().Header; h.Get("Openai-Organization")+h.Get("Openai-Beta") != "" {
		t.Errorf("%v", h)
	}
}

// TestHostileListsAreCheap: what is long is not taken apart to see that it is too long.
func TestHostileListsAreCheap(t *testing.T) {
	items := []byte("[" + strings.Repeat("{},", 1<<20) + "{}]")
	if n := testing.AllocsPerRun(1, func() {
		if err := (&call{}).readItems(&body{buf: &items}); err == nil {
			t.Error("a million calls were taken")
		}
	}); n > 100 {
		t.Errorf("%v allocations", n)
	}
	talk := []byte(`{"messages":[` + strings.Repeat("0,", 1<<20) + `0]}`)
	if n := testing.AllocsPerRun(1, func() { readAsk(talk) }); n > 100 {
		t.Errorf("%v allocations", n)
	}
	if n := spokenParts(talk); n <= maxSpoken {
		t.Errorf("%d parts were counted", n)
	}
}

// TestLossesOfStreamsAreNoted: what is left out of a stream is noted with the call.
func TestLossesOfStreamsAreNoted(t *testing.T) {
	const file = `{"routes":[{"name":"r","when":{"models":["anthropic/*"]},"steps":[{"model":"openai/gpt-x"}]}]}`
	b := newBooks(t)
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply {
		return fakemodel.Reply{Body: []byte("data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\ndata: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"), Header: http.Header{"Content-Type": {"text/event-stream"}}}
	}, b.use, routed(t, file))
	got := r.do(apis[0].request(r.url, true))
	if row := b.recorded(1)[0]; !strings.Contains(fmt.Sprint(row.Guards), "thinking_signature") {
		t.Errorf("%v of %s", row.Guards, got.body)
	}
}

// TestAnErrorKeepsItsKind: an error in a stream of another API is told as what it is.
func TestAnErrorKeepsItsKind(t *testing.T) {
	const file = `{"routes":[{"name":"r","when":{"models":["openai/*"]},"steps":[{"model":"anthropic/claude-x"}]}]}`
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply {
		return fakemodel.Reply{Body: []byte("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"slow down\"}}\n\n"), Header: http.Header{"Content-Type": {"text/event-stream"}}}
	}, routed(t, file))
	got := r.do(apis[1].request(r.url, true))
	if !strings.Contains(got.body, "rate_limit") {
		t.Errorf("%q", got.body)
	}
}

// TestNothingFollowsTheEnd: comments stop before the end of a stream is written.
func TestNothingFollowsTheEnd(t *testing.T) {
	const file = `{"routes":[{"name":"r","when":{"models":["anthropic/*"]},"steps":[{"model":"google-ai-studio/gemini-b"}]}]}`
	r := geminiRig(t, func(*fakemodel.Call) fakemodel.Reply {
		return fakemodel.Reply{Text: "one two three"}
	}, routed(t, file), func(o *Options) { o.Timeouts.Comment = time.Microsecond })
	outside := httptest.NewServer(r.gw.Outside(func(*http.Request) string { return "ci" }))
	defer outside.Close()
	for range 200 {
		got := r.do(apis[0].request(outside.URL+"/ai", true))
		if got.end != nil || !strings.HasSuffix(strings.ReplaceAll(got.body, comment, ""), "message_stop\"}\n\n") {
			t.Fatalf("%v %q", got.end, strings.ReplaceAll(got.body, comment, "~"))
		}
	}
}

// TestNothingStaysHeld: however steps end, what they held is given back.
func TestNothingStaysHeld(t *testing.T) {
	g := limit.NewGate(limit.GateOptions{Total: 4})
	w, _ := limit.NewWindow(limit.WindowOptions{Rate: limit.Rate{Requests: 1000, Tokens: 1 << 40, Per: time.Hour, Sliding: true}})
	b := newBooks(t, daily(100*price.Dollar), budget.Rule{ID: "dear", Period: budget.Day, Limit: 1, Match: budget.Match{Model: "claude-y"}})
	const file = `{"routes":[{"name":"r","when":{"models":["anthropic/*"]},"steps":[{"timeout":"100ms"},{"model":"anthropic/claude-y","on":["any"]},{"model":"groq/x","on":["any"]},{"model":"openai/gpt-x","on":["any"]}]}]}`
	var k atomic.Int64
	r := newRig(t, func(c *fakemodel.Call) fakemodel.Reply {
		if strings.Contains(c.Path, "messages") {
			return []fakemodel.Reply{{Status: 503}, {Delay: time.Hour}, {Status: 400}}[k.Add(1)%3]
		}
		return []fakemodel.Reply{{Text: "ok"}, {Status: 500}, {Text: "a b c d", Cut: fakemodel.CutAbort, AfterEvents: 3}}[k.Load()%3]
	}, b.use, routed(t, file), keeping(t, time.Hour), func(o *Options) { o.Gate = g; o.Windows = []*limit.Window{w} })
	for i := range 12 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		r.do(with(r.url, fmt.Sprint("n", i)).WithContext(ctx))
		cancel()
	}
	b.recorded(12)
	run, wait := g.Load()
	eventually(t, "calls", func() bool { return r.gw.loadOf("ada").calls.Load() == 0 })
	if st := b.ledger.State(); st.InFlight != 0 || run+wait != 0 || r.gw.loadOf("ada").buffered.Load() != 0 {
		t.Errorf("%d in flight, gate %d %d, buffered %d", st.InFlight, run, wait, r.gw.loadOf("ada").buffered.Load())
	}
}
