package aigateway

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/aigateway/guardrail"
	"github.com/moltworker/moltworker/test/fakemodel"
)

func guarded(t *testing.T, policy guardrail.Policy) func(*Options) {
	t.Helper()
	rules, err := guardrail.New(nil).Compile(policy)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *Options) {
		o.Guards = func(caller string) *guardrail.Rules {
			if caller == "ada" {
				return rules
			}
			return nil
		}
	}
}

// with is a call of the first API that says text.
func with(url, text string) *http.Request {
	req := apis[0].request(url, true)
	body := `{"model":"claude-x","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"` + text + `"}]}`
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	return req
}

// TestGuardrails: what is found is recorded and never repeated, what is blotted out
// does not leave, what is refused is not sent, and an answer is looked at as well.
func TestGuardrails(t *testing.T) {
	const token = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"
	rule := func(check string, d guardrail.Direction, a guardrail.Action) guardrail.Policy {
		return guardrail.Policy{Rules: []guardrail.Rule{{Check: check, Direction: d, Action: a}}}
	}
	for name, tt := range map[string]struct {
		policy guardrail.Policy
		status int
		sent   bool // the token reaches the model
		noted  bool
	}{
		"nothing": {guardrail.Policy{}, 200, true, false},
		"told":    {rule(guardrail.Secrets, guardrail.Request, guardrail.Flag), 200, true, true},
		"blotted": {rule(guardrail.Secrets, guardrail.Request, guardrail.Redact), 200, false, true},
		"refused": {rule(guardrail.Secrets, guardrail.Request, guardrail.Block), 400, false, true},
		"another": {guardrail.Policy{Models: []string{"gpt-*"}}, 400, false, true},
		"allowed": {guardrail.Policy{Models: []string{"claude-*"}}, 200, true, false},
		"answers": {rule(guardrail.Secrets, guardrail.Response, guardrail.Flag), 200, true, true},
	} {
		b := newBooks(t)
		r := newRig(t, func(*fakemodel.Call) fakemodel.Reply { return fakemodel.Reply{Text: token} }, b.use, guarded(t, tt.policy))
		if got := r.do(with(r.url, "my token is "+token+" keep it")); got.StatusCode != tt.status {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.body)
		}
		sent := false
		for _, call := range r.model.Calls() {
			sent = sent || strings.Contains(string(call.Body), token)
			if call.Problem != "" {
				t.Errorf("%s: the model refused %s: %s", name, call.Body, call.Problem)
			}
		}
		noted := strings.Join(b.recorded(1)[0].Guards, "; ")
		if sent != tt.sent || (noted != "") != tt.noted || strings.Contains(noted, token[:12]) {
			t.Errorf("%s: sent %v, noted %q", name, sent, noted)
		}
	}
}
