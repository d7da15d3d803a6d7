package aigateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/guardrail"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/route"
	"github.com/moltworker/moltworker/test/fakemodel"
)

// routed has calls take the routes of a file.
func routed(t *testing.T, doc string) func(*Options) {
	t.Helper()
	table, err := route.Parse([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return func(o *Options) { o.Routes = func() *route.Table { return table } }
}

// There and back are routes from either provider to the other.
const (
	there = `{"routes":[{"name":"there","when":{"models":["anthropic/*"]},"steps":[{},{"model":"openai/gpt-x"}]}]}`
	back  = `{"routes":[{"name":"back","when":{"models":["openai/*"]},"steps":[{},{"model":"anthropic/claude-x"}]}]}`
)

// only has one of the two providers answer; the other fails in its way.
func only(path string, good, bad fakemodel.Reply) func(*fakemodel.Call) fakemodel.Reply {
	return func(c *fakemodel.Call) fakemodel.Reply {
		if strings.Contains(c.Path, path) {
			return good
		}
		return bad
	}
}

// spoken is the text of an answer in its API's form; it fails where the form is not
// that, or a stream has no end.
func spoken(t *testing.T, a api, got answer, stream bool) string {
	t.Helper()
	if got.end != nil {
		t.Fatalf("the answer broke off: %v after %q", got.end, got.body)
	}
	var text strings.Builder
	if !stream {
		var doc struct {
			Content []struct{ Text string }
			Choices []struct{ Message struct{ Content string } }
		}
		if err := json.Unmarshal([]byte(got.body), &doc); err != nil {
			t.Fatalf("%v in %q", err, got.body)
		}
		for _, c := range doc.Content {
			text.WriteString(c.Text)
		}
		for _, c := range doc.Choices {
			text.WriteString(c.Message.Content)
		}
		return text.String()
	}
	end := "event: message_stop"
	if a.name == "openai" {
		end = "data: [DONE]"
	}
	if !strings.Contains(got.body, end) {
		t.Fatalf("the stream has no end: %q", got.body)
	}
	for line := range strings.Lines(got.body) {
		data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		var event struct {
			Delta   struct{ Text string }
			Choices []struct{ Delta struct{ Content string } }
		}
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			t.Fatalf("%v in %q", err, data)
		}
		text.WriteString(event.Delta.Text)
		for _, c := range event.Choices {
			text.WriteString(c.Delta.Content)
		}
	}
	return text.String()
}

// TestAnotherProviderAnswers: where a provider is overloaded the other answers, in
// the API that the client speaks; what is counted is what that one says, at its price.
func TestAnotherProviderAnswers(t *testing.T) {
	for i, a := range apis {
		file, path, other, model := there, "chat/completions", "openai", "gpt-x"
		if i == 1 {
			file, path, other, model = back, "messages", "anthropic", "claude-x"
		}
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/stream=%v", a.name, stream), func(t *testing.T) {
				b := newBooks(t, daily(price.Dollar))
				r := newRig(t, only(path, fakemodel.Reply{Text: "hello from afar", Usage: fakemodel.Usage{In: 1000, Out: 50}},
					fakemodel.Reply{Status: 529, Message: "overloaded"}), b.use, routed(t, file))
				got := r.do(a.request(r.url, stream))
				if text := spoken(t, a, got, stream); got.StatusCode != 200 || text != "hello from afar" {
					t.Fatalf("%d %q", got.StatusCode, got.body)
				}
				if got.Header.Get("Cf-Aig-Step") != "1" {
					t.Errorf("step %q answered", got.Header.Get("Cf-Aig-Step"))
				}
				asked := map[string]string{"anthropic": "claude-x", "openai": "gpt-x"}[a.name]
				if !strings.Contains(got.body, `"`+asked+`"`) || strings.Contains(got.body, `"`+model+`"`) {
					t.Errorf("the client is told of a model that it did not ask for: %q", got.body)
				}
				row := b.recorded(1)[0]
				// 1000 tokens at $1 and 50 at $10 for a million.
				if want := 1500 * price.Dollar / 1e6; row.Cost != want || b.spent() != want {
					t.Errorf("cost %v, spent %v, want %v", row.Cost, b.spent(), want)
				}
				if row.Provider != other || row.Model != model || row.Asked != asked || row.Step != 1 || row.Attempts != 2 {
					t.Errorf("%+v", row)
				}
				if notes := strings.Join(row.Guards, "; "); !strings.Contains(notes, "fell back from "+a.name+"/"+asked+": unavailable") {
					t.Errorf("notes %q", notes)
				}
				if h := r.lastCall().Header; strings.Contains(fmt.Sprint(h), placeholder) {
					t.Errorf("the guest's credential went along: %v", h)
				}
			})
		}
	}
}

// TestNothingFallsBackOnceItBegan: an answer that broke off is not begun anew
// elsewhere, translated or not, and never looks complete.
func TestNothingFallsBackOnceItBegan(t *testing.T) {
	for _, broken := range []string{"first", "second"} {
		t.Run(broken, func(t *testing.T) {
			cut := fakemodel.Reply{Text: "one two three four", Cut: fakemodel.CutClean, AfterEvents: 4}
			reply := func(*fakemodel.Call) fakemodel.Reply { return cut }
			if broken == "second" {
				reply = only("chat/completions", cut, fakemodel.Reply{Status: 503})
			}
			r := newRig(t, reply, routed(t, there))
			got := r.do(apis[0].request(r.url, true))
			if got.end == nil || strings.Contains(got.body, "message_stop") || !strings.Contains(got.body, "event: error") {
				t.Errorf("end %v of %q", got.end, got.body)
			}
			if want := map[string]int{"first": 1, "second": 2}[broken]; len(r.model.Calls()) != want {
				t.Errorf("%d calls, want %d", len(r.model.Calls()), want)
			}
		})
	}
}

// TestWhichFailuresFallBack: a step is taken for the failures that it is there for,
// and no other.
func TestWhichFailuresFallBack(t *testing.T) {
	never := fakemodel.Reply{Delay: time.Hour}
	step := func(first, on string) string {
		return `{"routes":[{"name":"r","when":{"models":["anthropic/*"]},"steps":[{` + first + `},{"model":"openai/gpt-x","on":["` + on + `"]}]}]}`
	}
	for _, tt := range []struct {
		name  string
		file  string
		bad   fakemodel.Reply
		falls bool
	}{
		{"limited", step("", "limited"), fakemodel.Reply{Status: 429}, true},
		{"limited is not unavailable", step("", "unavailable"), fakemodel.Reply{Status: 429}, false},
		{"unavailable", step("", "unavailable"), fakemodel.Reply{Status: 503}, true},
		{"unauthorized", step("", "unauthorized"), fakemodel.Reply{Status: 401}, true},
		{"refused", step("", "refused"), fakemodel.Reply{Status: 404}, true},
		{"refused is not any of the usual", there, fakemodel.Reply{Status: 400}, false},
		{"any", step("", "any"), fakemodel.Reply{Status: 400}, true},
		{"a web page", there, fakemodel.Reply{Body: []byte("<html>"), Header: http.Header{"Content-Type": {"text/html"}}}, true},
		{"timeout", step(`"timeout":"100ms"`, "timeout"), never, true},
		{"timeout is not limited", step(`"timeout":"100ms"`, "limited"), never, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, only("chat/completions", fakemodel.Reply{Text: "instead"}, tt.bad), routed(t, tt.file))
			got := r.do(apis[0].request(r.url, false))
			if fell := got.StatusCode == 200 && spoken(t, apis[0], got, false) == "instead"; fell != tt.falls {
				t.Errorf("%d %q", got.StatusCode, got.body)
			}
			if !tt.falls && !strings.Contains(got.body, `"type":"error"`) {
				t.Errorf("no error of the client's API: %q", got.body)
			}
		})
	}
}

// TestAStepWithoutAKey: a provider that has no key is passed over, and one that cannot
// be reached.
func TestAStepWithoutAKey(t *testing.T) {
	const file = `{"routes":[{"name":"r","when":{"models":["anthropic/*"]},"steps":[
		{"model":"groq/llama"},{"model":"custom-nowhere/llama"},{"model":"openai/gpt-x"}]}]}`
	b := newBooks(t)
	r := newRig(t, only("chat/completions", fakemodel.Reply{Text: "in the end"}, fakemodel.Reply{Status: 500}), b.use, routed(t, file))
	r.secrets.put("CUSTOM_NOWHERE_BASE_URL", "http://127.0.0.1:1/v1")
	got := r.do(apis[0].request(r.url, true))
	if text := spoken(t, apis[0], got, true); text != "in the end" || got.Header.Get("Cf-Aig-Step") != "2" {
		t.Errorf("%q by step %s", text, got.Header.Get("Cf-Aig-Step"))
	}
	notes := strings.Join(b.recorded(1)[0].Guards, "; ")
	for _, want := range []string{"groq/llama: unauthorized", "custom-nowhere/llama: unavailable"} {
		if !strings.Contains(notes, want) {
			t.Errorf("%q is not in %q", want, notes)
		}
	}
}

// TestASpentBudgetFallsBack: whose budget for a model is spent goes on with a cheaper
// one, where a route says so; a stop stops whatever the route.
func TestASpentBudgetFallsBack(t *testing.T) {
	const file = `{"routes":[{"name":"r","when":{"models":["anthropic/*"]},"steps":[{},{"model":"openai/gpt-x","on":["budget"]}]}]}`
	b := newBooks(t, budget.Rule{ID: "dear", Period: budget.Day, Limit: 1, Match: budget.Match{Model: "claude-x"}})
	r := newRig(t, only("chat/completions", fakemodel.Reply{Text: "cheap"}, fakemodel.Reply{Text: "dear"}), b.use, routed(t, file))
	got := r.do(apis[0].request(r.url, false))
	if text := spoken(t, apis[0], got, false); text != "cheap" {
		t.Fatalf("%d %q", got.StatusCode, got.body)
	}
	if err := b.ledger.Stop(budget.Stop{Agent: "ada"}); err != nil {
		t.Fatal(err)
	}
	calls := len(r.model.Calls())
	got = r.do(apis[0].request(r.url, false))
	if len(r.model.Calls()) != calls {
		t.Errorf("a stopped agent called a model: %q", got.body)
	}
}

// TestRoutesByName: the unified API takes "dynamic/NAME" for a model.
func TestRoutesByName(t *testing.T) {
	const file = `{"routes":[{"name":"cheap","steps":[{"model":"openai/gpt-x"},{"model":"anthropic/claude-x"}]}]}`
	r := newRig(t, only("messages", fakemodel.Reply{Text: "by name"}, fakemodel.Reply{Status: 500}), routed(t, file))
	ask := func(model string) answer {
		req, _ := http.NewRequest(http.MethodPost, r.url+compatPath, strings.NewReader(`{"model":"`+model+`","messages":[{"role":"user","content":"hi"}]}`))
		req.Header.Set("Content-Type", "application/json")
		return r.do(req)
	}
	if got := ask("dynamic/cheap"); got.StatusCode != 200 || spoken(t, apis[1], got, false) != "by name" {
		t.Errorf("%d %q", got.StatusCode, got.body)
	}
	if got := ask("dynamic/dear"); got.StatusCode != 400 || !strings.Contains(got.body, `there is no route`) {
		t.Errorf("%d %q", got.StatusCode, got.body)
	}
	if got := ask("dynamic/"); got.StatusCode != 400 || !strings.Contains(got.body, "provider/model") {
		t.Errorf("%d %q", got.StatusCode, got.body)
	}
	if !r.gw.Reaches("dynamic/cheap") || r.gw.Reaches("dynamic/dear") || !r.gw.Reaches("openai/gpt-x") || r.gw.Reaches("groq/llama") {
		t.Error("what can be reached is told wrongly")
	}
}

// TestARouteLeadsNoWayAround: what an agent may use holds for every step.
func TestARouteLeadsNoWayAround(t *testing.T) {
	r := newRig(t, only("messages", fakemodel.Reply{Status: 500}, fakemodel.Reply{Text: "forbidden"}),
		routed(t, there), guarded(t, guardrail.Policy{Models: []string{"claude-*"}}))
	got := r.do(apis[0].request(r.url, false))
	if got.StatusCode != 500 || len(r.model.Calls()) != 1 {
		t.Errorf("%d %q after %d calls", got.StatusCode, got.body, len(r.model.Calls()))
	}
}

// TestToolsSurviveTranslation: a tool call of one API comes back as the other's.
func TestToolsSurviveTranslation(t *testing.T) {
	r := newRig(t, only("chat/completions", fakemodel.Reply{Tool: "weather", Input: `{"place":"Oslo","n":12345678901234567890}`}, fakemodel.Reply{Status: 500}), routed(t, there))
	for _, stream := range []bool{false, true} {
		req := apis[0].request(r.url, stream)
		body := fmt.Sprintf(`{"model":"claude-x","max_tokens":100,"stream":%v,"system":"be brief","tools":[{"name":"weather","description":"d","input_schema":{"type":"object","properties":{"place":{"type":"string"}}}}],
			"messages":[{"role":"user","content":[{"type":"text","text":"how is Oslo?","cache_control":{"type":"ephemeral"}}]}]}`, stream)
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		got := r.do(req)
		if got.StatusCode != 200 || got.end != nil {
			t.Fatalf("%d %v %q", got.StatusCode, got.end, got.body)
		}
		plain := strings.ReplaceAll(got.body, `\"`, `"`)
		if !strings.Contains(plain, `"tool_use"`) || !strings.Contains(plain, "12345678901234567890") {
			t.Errorf("stream %v: %q", stream, got.body)
		}
	}
}

// TestUniversal: a list of calls is tried in turn, each as its provider has it.
func TestUniversal(t *testing.T) {
	b := newBooks(t)
	r := newRig(t, only("messages", fakemodel.Reply{Text: "native"}, fakemodel.Reply{Status: 500}), b.use)
	post := func(body string) answer {
		req, _ := http.NewRequest(http.MethodPost, r.url+"/", strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		return r.do(req)
	}
	got := post(`[{"provider":"openai","endpoint":"chat/completions","headers":{"Authorization":"Bearer theirs"},"query":{"model":"gpt-x","messages":[{"role":"user","content":"hi"}]}},
		{"provider":"anthropic","endpoint":"v1/messages","headers":{"anthropic-version":"2023-06-01","Content-Type":"application/json"},"query":{"model":"claude-x","max_tokens":10,"messages":[{"role":"user","content":"hi"}]}}]`)
	if got.StatusCode != 200 || spoken(t, apis[0], got, false) != "native" || got.Header.Get("Cf-Aig-Step") != "1" {
		t.Errorf("%d %q by step %s", got.StatusCode, got.body, got.Header.Get("Cf-Aig-Step"))
	}
	if row := b.recorded(1)[0]; row.Provider != "anthropic" || row.Model != "claude-x" || row.Attempts != 2 {
		t.Errorf("%+v", row)
	}
	for _, wrong := range []string{`{}`, `[]`, `not json`, `[{"provider":"openai","endpoint":"../secrets","query":{}}]`, `[{"provider":"nobody","endpoint":"x","query":{}}]`,
		`[{"provider":"compat","endpoint":"chat/completions","query":{"model":"dynamic/x"}}]`, `[{"provider":"openai","endpoint":"realtime","query":{}}]`} {
		if got := post(wrong); got.StatusCode != 400 || !strings.Contains(got.body, `"error"`) {
			t.Errorf("%s: %d %q", wrong, got.StatusCode, got.body)
		}
	}
}

// TestWhatIsSaidIsKept: what was asked and answered is kept where that is wanted, and
// what must not be is not in it, however a stream cut it.
func TestWhatIsSaidIsKept(t *testing.T) {
	const token = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"
	var both []guardrail.Rule
	for _, d := range []guardrail.Direction{guardrail.Request, guardrail.Response} {
		both = append(both, guardrail.Rule{Check: guardrail.Secrets, Direction: d, Action: guardrail.Redact})
	}
	rules, err := guardrail.New(nil).Compile(guardrail.Policy{Rules: both})
	if err != nil {
		t.Fatal(err)
	}
	for _, stream := range []bool{false, true} {
		b := keepingBooks(t)
		r := newRig(t, func(*fakemodel.Call) fakemodel.Reply {
			return fakemodel.Reply{Pieces: func(yield func(string) bool) {
				for _, p := range []string{"it is ", token[:9], token[9:20], token[20:], " I think"} {
					if !yield(p) {
						return
					}
				}
			}}
		}, b.use, func(o *Options) { o.Payloads = rules })
		req := with(r.url, "my token is "+token+" keep it")
		if !stream {
			req = apis[0].request(r.url, false)
		}
		got := r.do(req)
		if text := spoken(t, apis[0], got, stream); text != "it is "+token+" I think" {
			t.Fatalf("the client's answer was changed: %q", text)
		}
		said, err := b.calls.Payload(t.Context(), b.recorded(1)[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		for side, doc := range map[string][]byte{"request": said.Request, "response": said.Response} {
			if len(doc) == 0 {
				t.Errorf("stream %v: nothing of the %s is kept", stream, side)
			}
			if strings.Contains(string(doc), token[4:9]) || strings.Contains(string(doc), token[9:20]) || strings.Contains(string(doc), token[20:]) {
				t.Errorf("stream %v: the %s holds a part of the token: %q", stream, side, doc)
			}
		}
		if !strings.Contains(string(said.Response), "I think") {
			t.Errorf("stream %v: %q", stream, said.Response)
		}
	}
}

// keepingBooks are books that keep what is said.
func keepingBooks(t *testing.T) *books {
	t.Helper()
	b := newBooks(t)
	calls, err := calllog.Open(t.Context(), calllog.Options{Path: t.TempDir() + "/calls.sqlite", MaxPayloadBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := calls.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := b.calls.Close(); err != nil {
		t.Fatal(err)
	}
	b.calls = calls
	return b
}

// TestWholeAnswersAreGuarded: an answer that is no stream can be blotted out and held
// back, before anybody sees it.
func TestWholeAnswersAreGuarded(t *testing.T) {
	const token = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"
	for action, want := range map[guardrail.Action]struct {
		status int
		seen   bool
	}{guardrail.Flag: {200, true}, guardrail.Redact: {200, false}, guardrail.Block: {502, false}} {
		b := newBooks(t)
		r := newRig(t, says("take "+token+" with you"), b.use, guarded(t, guardrail.Policy{Rules: []guardrail.Rule{{Check: guardrail.Secrets, Direction: guardrail.Response, Action: action}}}))
		got := r.do(apis[0].request(r.url, false))
		if got.StatusCode != want.status || strings.Contains(got.body, token) != want.seen {
			t.Errorf("%s: %d %q", action, got.StatusCode, got.body)
		}
		if row := b.recorded(1)[0]; len(row.Guards) == 0 || row.Usage.Output == 0 {
			t.Errorf("%s: %+v", action, row)
		}
	}
}

// TestAStreamIsEndedByAGuard: a secret that a model writes piece by piece ends the
// stream as soon as it is known for one.
func TestAStreamIsEndedByAGuard(t *testing.T) {
	const token = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"
	b := newBooks(t)
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply {
		return fakemodel.Reply{Pieces: func(yield func(string) bool) {
			for _, p := range []string{"it is ", token[:9], token[9:20], token[20:] + " "} {
				if !yield(p) {
					return
				}
			}
			for range 1000 {
				if !yield("and then this happened ") {
					return
				}
			}
		}}
	}, b.use, guarded(t, guardrail.Policy{Rules: []guardrail.Rule{{Check: guardrail.Secrets, Direction: guardrail.Response, Action: guardrail.Block}}}))
	got := r.do(apis[0].request(r.url, true))
	if got.end == nil || !strings.Contains(got.body, "event: error") || strings.Contains(got.body, "message_stop") {
		t.Errorf("end %v of %q", got.end, got.body[max(0, len(got.body)-300):])
	}
	if row := b.recorded(1)[0]; row.Error != "guardrail" {
		t.Errorf("%+v", row)
	}
}

// TestNobodyWaitsForANextStep: whose client went away is not tried elsewhere.
func TestNobodyWaitsForANextStep(t *testing.T) {
	b := newBooks(t)
	r := newRig(t, only("chat/completions", fakemodel.Reply{Text: "for nobody"}, fakemodel.Reply{Delay: time.Hour}), b.use, routed(t, there))
	ctx, cancel := context.WithCancel(t.Context())
	req := apis[0].request(r.url, true).WithContext(ctx)
	ended := make(chan error)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		ended <- err
	}()
	eventually(t, "the model is asked", func() bool { return len(r.model.Calls()) == 1 })
	cancel()
	if err := <-ended; err == nil {
		t.Error("there was an answer")
	}
	if row := b.recorded(1)[0]; row.Error != "client_gone" || len(r.model.Calls()) != 1 {
		t.Errorf("%d calls, %+v", len(r.model.Calls()), row)
	}
}

// TestACacheKnowsWhoAnswered: what another step answered is not given again as the
// first one's.
func TestACacheKnowsWhoAnswered(t *testing.T) {
	var fails atomic.Bool
	r := newRig(t, func(c *fakemodel.Call) fakemodel.Reply {
		switch {
		case !strings.Contains(c.Path, "messages"):
			return fakemodel.Reply{Text: "instead"}
		case fails.Load():
			return fakemodel.Reply{Status: 503}
		}
		return fakemodel.Reply{Text: "itself"}
	}, routed(t, there), keeping(t, time.Hour))
	for i, want := range []string{"instead", "itself", "itself"} {
		fails.Store(i == 0)
		got := r.do(apis[0].request(r.url, true))
		if text := spoken(t, apis[0], got, true); text != want {
			t.Errorf("call %d: %q, want %q", i, text, want)
		}
		if hit := got.Header.Get("Cf-Aig-Cache-Status") == "HIT"; hit != (i == 2) {
			t.Errorf("call %d: cache %s", i, got.Header.Get("Cf-Aig-Cache-Status"))
		}
	}
}
