package openclaw

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestExplainPairing(t *testing.T) {
	const id = "0b5d2c0e-1111-4222-8333-444455556666"
	for _, tt := range []struct{ requestID, agent, want string }{
		{id, "main", "moltworker device approve " + id},
		{id, "", "moltworker device approve " + id},
		{id, "research", "moltworker device approve " + id + " --agent research"},
		{"", "main", "moltworker device ls"},
		{"", "research", "moltworker device ls --agent research"},
		{"x; rm -rf /", "main", "moltworker device ls"},
		{"--agent", "main", "moltworker device ls"},
	} {
		for _, code := range []string{CodePairingRequired, CodeNotPaired} {
			e, ok := Explain(code, tt.requestID, tt.agent)
			if !ok || e.Command != tt.want || !strings.Contains(e.Text, "`"+tt.want+"`") {
				t.Errorf("Explain(%q, %q, %q) = %+v, %v", code, tt.requestID, tt.agent, e, ok)
			}
		}
	}
}

func TestExplanationsFitAndSpeakOurWords(t *testing.T) {
	agent := "a" + strings.Repeat("b", 39)
	for _, code := range []string{
		CodePairingRequired, CodeNotPaired, CodeTokenMissing, CodeTokenMismatch, CodeOrigin,
		CodeDeviceIdentity, CodeRateLimited, CodeAttribution, CodeUnavailable,
	} {
		for _, id := range []string{"", "0b5d2c0e-1111-4222-8333-444455556666", strings.Repeat("x", 128)} {
			e, ok := Explain(code, id, agent)
			reason := e.CloseReason()
			if !ok || e.Title == "" || e.Text == "" || reason == "" || len(reason) > MaxCloseReason || !utf8.ValidString(reason) {
				t.Errorf("%s: %+v, close reason %q of %d bytes", code, e, reason, len(reason))
			}
			if strings.Contains(e.Text+e.Command, "openclaw devices") {
				t.Errorf("%s names a command that does not exist here: %+v", code, e)
			}
		}
	}
	if e, ok := Explain("SOMETHING_NEW", "", "main"); ok {
		t.Errorf("explains what it does not know: %+v", e)
	}
}
