package aigateway

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/moltworker/moltworker/internal/aigateway/guardrail"
	"github.com/moltworker/moltworker/internal/aigateway/limit"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/provider"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// TestRealtimeModels: the model is the one that the provider reads, and one that is
// named later is allowed and priced like it.
func TestRealtimeModels(t *testing.T) {
	s := startTalker(t)
	b := newBooks(t, daily(price.Dollar))
	only := guarded(t, guardrail.Policy{Models: []string{"*-x", "gpt-dear"}})
	r := newRig(t, says(""), b.use, only, pricing(t, `{"models":[{"provider":"openai","model":"gpt-x","input":1,"output":10},{"provider":"openai","model":"gpt-dear","input":2,"output":20}]}`))
	r.secrets.put("OPENAI_BASE_URL", s.URL+"/v1")
	for _, q := range []string{"?model=gpt-bad&deployment=-x", "?model=gpt-x&model=gpt-bad", "?model=gpt-x&deployment=gpt-x", "?deployment=gpt-x", "?Model=gpt-bad&model=gpt-x",
		"", "?model=", "?model=gpt-x;model=gpt-bad", "?model=" + strings.Repeat("a", 200) + "-x"} {
		if _, resp, err := dial(t, r, q); err == nil || resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s was not refused: %v", q, err)
		}
	}
	if len(s.asked) != 0 {
		t.Error("the provider was asked")
	}
	refused := b.recorded(9)
	for i, message := range []string{
		`{"type":"session.update","session":{"model":"gpt-bad"}}`,
		`{"type":"session.update","session":{"mod\u0065l":"gpt-bad"}}`,
		`{"session":{"model":"gpt-x"},"type":"session.update","session":{"model":"gpt-bad"}}`,
		`{"type":"session.update","session":{"model":"gpt-x","model":"gpt-dear"}}`,
		`{"type":"response.create","response":{"model":"gpt-bad"}}`,
		`not JSON: {"type":"session.update","session":{"model":"gpt-bad"}}`,
		`{"type":"` + strings.Repeat("x", 5<<20) + `","session":{"model":"gpt-bad"}}`, // too long to be looked at
	} {
		c, _, err := dial(t, r, "?model=gpt-x")
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Write(t.Context(), websocket.MessageText, []byte(message)) // may fail as the other end closes
		if _, got, err := c.Read(t.Context()); err == nil || websocket.CloseStatus(err) == websocket.StatusNormalClosure {
			t.Errorf("%.60s passed: %q, %v", message, got, err)
		}
		b.recorded(len(refused) + i + 1)
	}

	// Two answers: at $1 and $10 a million, 300 millionths of a dollar; at twice that
	// when the client has asked for the dearer, and still when it then asks for the other.
	c, _, err := dial(t, r, "?model=gpt-x")
	if err != nil {
		t.Fatal(err)
	}
	for _, message := range []string{"", `{"type":"session.update","session":{"model":"gpt-dear"}}`, `{"type":"session.update","session":{"model":"other-x"}}`} {
		if message != "" {
			if err := c.Write(t.Context(), websocket.MessageText, []byte(message)); err != nil {
				t.Fatal(err)
			}
		}
		if !strings.Contains(message, "other") {
			if _, err := turn(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What other-x costs nobody knows, so that it is not used under a budget.
	if _, err := turn(t.Context(), c); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("the session ended with %v", err)
	}
	if row := b.recorded(len(refused) + 8)[0]; row.Cost != 900*micro || b.spent() != 900*micro || row.Error != "unpriced" || row.Asked != "gpt-x" {
		t.Errorf("%+v, spent %v", row, b.spent())
	}
}

// pricing has models cost what a table says.
func pricing(t testing.TB, models string) func(*Options) {
	t.Helper()
	table, err := price.Load([]byte(models))
	if err != nil {
		t.Fatal(err)
	}
	return func(o *Options) { o.Prices = func() *price.Table { return table } }
}

// TestRealtimeConfirmedModel: what the provider confirms is the price from then on.
func TestRealtimeConfirmedModel(t *testing.T) {
	s := newScene(t, pricing(t, `{"models":[{"provider":"openai","model":"gpt-x","input":1,"output":10},{"provider":"openai","model":"gpt-y","input":0.5,"output":5}]}`))
	s.says(`{"type":"session.update","session":{"model":"gpt-y"}}`)
	s.says(create)
	s.sees(done) // at 300: nobody has confirmed the cheaper one
	s.sees(`{"type":"session.updated","session":{"model":"gpt-y"}}`)
	s.says(create)
	s.sees(done) // at 150
	if cost, _, _ := s.leaves(); cost != 450*micro {
		t.Errorf("%v", cost)
	}
	if row := s.b.recorded(1)[0]; row.Model != "gpt-y" || row.Asked != "gpt-x" {
		t.Errorf("%+v", row)
	}
}

// TestRealtimeModelOfAnAnswer: an answer is charged by the model that it was asked of,
// whatever is named or confirmed while it is under way.
func TestRealtimeModelOfAnAnswer(t *testing.T) {
	s := newScene(t, pricing(t, `{"models":[{"provider":"openai","model":"gpt-x","input":1,"output":10},{"provider":"openai","model":"gpt-y","input":0.5,"output":5}]}`))
	s.says(create)
	s.says(`{"type":"session.update","session":{"model":"of-unknown-price"}}`)
	s.sees(done) // at 300
	s.sees(`{"type":"session.updated","session":{"model":"of-unknown-price"}}`)
	s.says(`{"type":"session.update","session":{"model":"gpt-x"}}`)
	s.sees(`{"type":"session.updated","session":{"model":"gpt-x"}}`)
	s.says(`{"type":"session.update","session":{"model":"gpt-y"}}`)
	s.says(create)
	s.sees(`{"type":"session.updated","session":{"model":"gpt-y"}}`)
	s.sees(`{"type":"response.created","response":{"id":"r2"}}`) // it is gpt-y that answers: at 150
	s.says(`{"type":"session.update","session":{"model":"gpt-x"}}`)
	s.sees(`{"type":"session.updated","session":{"model":"gpt-x"}}`)
	s.sees(strings.Replace(done, `"response":{`, `"response":{"id":"r2",`, 1))
	if cost, _, _ := s.leaves(); cost != 450*micro {
		t.Errorf("%v", cost)
	}
}

// liveSession is a session of ada without its connections.
func liveSession(g *Gateway, ctx context.Context, kind usage.Kind) *session {
	c := &call{g: g, from: Caller{Name: "ada"}, load: g.loadOf("ada"), start: time.Now(), rules: &guardrail.Rules{}}
	c.to = target{name: "openai", ep: provider.Endpoint{Kind: kind, Paid: true}}
	if c.model = "gpt-x"; kind == usage.Gemini {
		c.to.name, c.model = "google-ai-studio", ""
	}
	return c.newSession(ctx)
}

// TestRealtimeGeminiLive names its model in its first message, begins its answers by
// itself, and says with the end of each what it consumed.
func TestRealtimeGeminiLive(t *testing.T) {
	b := newBooks(t, daily(price.Dollar))
	r := newRig(t, says(""), b.use, pricing(t, `{"models":[{"provider":"google-ai-studio","model":"gemini-live","input":1,"output":10}]}`))
	only, err := guardrail.New(nil).Compile(guardrail.Policy{Models: []string{"gemini-*"}})
	if err != nil {
		t.Fatal(err)
	}
	open := func() *session {
		s := liveSession(r.gw, t.Context(), usage.Gemini)
		s.c.rules, s.limit = only, true
		return s
	}
	for _, first := range []string{`{"clientContent":{}}`, `{"setup":{"model":"models/other"}}`, `{"setup":{"model":"models/gemini-live"},"setup":{"model":"models/gemini-dear"}}`} {
		if err := open().overhear([]byte(first)); err == nil {
			t.Errorf("%s passed", first)
		}
	}
	s := open()
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	holds := func() price.Money { return b.ledger.State().Rules[0].Reserved }
	// 86 bytes: 22 tokens. 42,668 bytes of base64 are 32,001 of speech: 33 tokens.
	do(s.overhear([]byte(`{"setup":{"model":"models/gemini-live","generationConfig":{"maxOutputTokens":1000}}}  `)))
	do(s.overhear([]byte(`{"realtimeInput":{"audio":{"data":"` + strings.Repeat("A", 42_668) + `"}}}`)))
	do(s.account([]byte(`{"setupComplete":{}}`)))
	if holds() != 0 {
		t.Errorf("%v is held for nothing", holds())
	}
	do(s.account([]byte(`{"serverContent":{"modelTurn":{"parts":[{"text":"hello"}]}}}`)))
	if want := (22 + 33 + 10_000) * micro; holds() != want {
		t.Errorf("%v is held instead of %v", holds(), want)
	}
	do(s.account([]byte(`{"serverContent":{"turnComplete":true},"usageMetadata":{"promptTokenCount":50,"responseTokenCount":5}}`)))
	if holds() != 0 || b.spent() != 100*micro {
		t.Errorf("%v is held, %v spent", holds(), b.spent())
	}
	// A call of a function, {"id":"1"} with 10 bytes, and a second of speech, left then:
	// 55 tokens read; 3 and 32 written, of which those of speech are charged as text.
	do(s.account([]byte(`{"toolCall":{"id":"1"}}`)))
	do(s.account([]byte(`{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/pcm","data":"` + strings.Repeat("A", 64_000) + `"}}]}}}`)))
	s.end()
	if want := (100 + 55 + 350) * micro; s.cost != want || b.spent() != want || !s.total.Estimated || holds() != 0 || s.c.model != "gemini-live" {
		t.Errorf("%v of %+v, spent %v", s.cost, s.total, b.spent())
	}
}

// FuzzRealtimeSession: whatever both sides say, what is held is given back, and what
// the record says is what the ledger has.
func FuzzRealtimeSession(f *testing.F) {
	f.Add(">"+create+"\n<"+done, false)
	f.Add(">"+create+"\n<"+`{"type":"error","error":{}}`+"\n<"+`{"type":"response.created","response":{"id":"a"}}`+"\n<"+`{"type":"response.created","response":{"id":"b"}}`, false)
	f.Add(`>{"type":"session.update","session":{"model":"y","max_output_tokens":1e99,"audio":{"output":{"format":{"type":"audio/pcm","rate":-1}}}}}`+"\n<"+`{"type":"response.audio.delta","delta":"AAAA"}`, false)
	f.Add(`>{"setup":{"model":"a/b"}}`+"\n<"+`{"serverContent":{"modelTurn":{"parts":[{"text":"x"}]}}}`+"\n<"+`{"usageMetadata":{"promptTokenCount":5}}`, true)
	b, gate := newBooks(f, daily(1e6*price.Dollar)), limit.NewGate(limit.GateOptions{Total: 1})
	o := Options{Settings: (&settings{}).all, Gate: gate}
	b.use(&o)
	g, err := New(o)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, script string, live bool) {
		before := b.spent()
		kind := usage.Realtime
		if live {
			kind = usage.Gemini
		}
		s := liveSession(g, t.Context(), kind)
		for i, line := range strings.Split(script, "\n") {
			if i == 100 || line == "" {
				break
			}
			hear := s.account
			if line[0] == '>' {
				hear = s.overhear
			}
			if hear([]byte(line[1:])) != nil {
				break
			}
		}
		s.end()
		run, wait := gate.Load()
		if st := b.ledger.State(); st.InFlight != 0 || st.Rules[0].Reserved != 0 || run+wait != 0 {
			t.Fatalf("%+v, %d %d", st, run, wait)
		}
		if u := s.total; s.cost < 0 || u.Input < 0 || u.AudioInput < 0 || u.Output < 0 || u.AudioOutput < 0 || s.text < 0 || s.speech < 0 || !s.unknown && s.cost != b.spent()-before {
			t.Fatalf("%v of %+v, spent %v", s.cost, s.total, b.spent())
		}
	})
}
