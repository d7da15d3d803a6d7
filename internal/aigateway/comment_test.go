package aigateway

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// TestNoCommentInAnEvent: neither between two lines of one, nor where the beginning of
// what may be a key is held back.
func TestNoCommentInAnEvent(t *testing.T) {
	w := httptest.NewRecorder()
	g := &Gateway{opts: Options{Timeouts: Timeouts{Comment: time.Hour}}}
	guard := newKeyGuard(anthropicKey)
	c := &call{g: g, w: w, rc: http.NewResponseController(w), meter: usage.NewMeter(usage.Anthropic, usage.SSE)}
	m := newMurmur(c, &guard)
	defer m.stop()
	for _, step := range []struct {
		passes string
		held   string
		says   bool
	}{
		{"", "", true},
		{"event: ping\nda", "", false},
		{"ta: {}\n", "", false},
		{"\n", "", true},
		{"", anthropicKey[:9], false},
		{"", "", true},
	} {
		c.meter.Write([]byte(step.passes))
		guard.held = []byte(step.held)
		before := w.Body.Len()
		m.say()
		if said := w.Body.String()[before:]; (said == comment) != step.says || said != "" && !step.says {
			t.Errorf("after %q, %q held: it said %q", step.passes, step.held, said)
		}
	}
	m.stop()
	before := w.Body.Len()
	if m.say(); w.Body.Len() != before {
		t.Error("it spoke after its end")
	}
}
