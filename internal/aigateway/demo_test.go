package aigateway

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/aigateway/demo"
)

// demoRequest is a first turn as OpenClaw sends it.
func demoRequest(url, prompt, stream string) *http.Request {
	r := apis[0].request(url, true)
	r.URL.Path = "/demo/v1/messages"
	body := `{"model":"demo","max_tokens":8192,"stream":` + stream + `,"system":[{"type":"text","text":"You are"}],"messages":[
		{"role":"user","content":[{"type":"text","text":"[Sun 2026-11-22 15:25 UTC] ` + prompt + `","cache_control":{"type":"ephemeral"}}]},
		{"role":"user","content":[{"type":"text","text":"<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\n9 * 9\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>"}]}],
		"tools":[{"name":"exec","description":"run","input_schema":{"type":"object"}}]}`
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	return r
}

// With no key at all the demo model answers, over the path of every other call.
func TestDemoModelAnswersWithoutAKey(t *testing.T) {
	r := newRig(t, says("not me"))
	r.secrets.put("ANTHROPIC_API_KEY", "")
	r.secrets.put("OPENAI_API_KEY", "")
	for _, stream := range []string{"true", "false"} {
		got := r.do(demoRequest(r.url, "What is 847293 + 651824?", stream))
		if got.StatusCode != 200 || got.end != nil {
			t.Fatalf("%d, %v: %s", got.StatusCode, got.end, got.body)
		}
		if stream == "false" && (!strings.Contains(got.body, "1499117") || !strings.Contains(got.body, demo.Notice)) {
			t.Errorf("answer %s", got.body)
		}
		if stream == "true" && !strings.HasSuffix(got.body, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n") {
			t.Errorf("stream %s", got.body)
		}
	}
	if r.model.Last() != nil {
		t.Error("the network was used")
	}
	eventually(t, "the calls are logged with tokens", func() bool {
		return strings.Contains(r.log.String(), `"provider":"demo"`) && strings.Contains(r.log.String(), "output_tokens")
	})
}

// What the demo model refuses is an error in Anthropic's form.
func TestDemoModelRefusesBadRequests(t *testing.T) {
	r := newRig(t, says("not me"))
	for _, body := range []string{`{`, `{"model":"demo","messages":[]}`, ``} {
		req := demoRequest(r.url, "x", "true")
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		got := r.do(req)
		if kind, _ := apiError(t, apis[0], got.body); got.StatusCode != 400 || kind != "invalid_request_error" {
			t.Errorf("%q: %d %s", body, got.StatusCode, got.body)
		}
	}
}
