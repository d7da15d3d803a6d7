package aigateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/test/fakemodel"
)

// apiError decodes an error in either API's form, and fails if it is in the
// other's.
func apiError(t *testing.T, a api, body string) (kind, msg string) {
	t.Helper()
	var e struct {
		Type  string
		Error struct{ Type, Message string }
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Fatalf("%s: %v in %q", a.name, err, body)
	}
	if (e.Type == "error") != (a.name == "anthropic") {
		t.Fatalf("%s: not this API's form: %s", a.name, body)
	}
	return e.Error.Type, e.Error.Message
}

// Whatever goes wrong, the agent gets its API's error with a sentence that says
// what to do.
func TestErrors(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	deadURL := "http://" + dead.Addr().String()
	dead.Close()
	tests := []struct {
		name   string
		reply  fakemodel.Reply
		set    map[string]string // settings, for both APIs by their prefix
		change func(*http.Request)
		status int
		kinds  [2]string // anthropic, openai
		say    string
	}{
		{name: "no key", set: map[string]string{"API_KEY": " "}, status: 401,
			kinds: [2]string{"authentication_error", "invalid_request_error"}, say: "moltworker secret put %s_API_KEY"},
		{name: "key with a line break in it", set: map[string]string{"API_KEY": "sk-one\nsk-two"}, status: 401,
			kinds: [2]string{"authentication_error", "invalid_request_error"}, say: "moltworker secret put %s_API_KEY"},
		{name: "upstream down", set: map[string]string{"BASE_URL": deadURL}, status: 502,
			kinds: [2]string{"api_error", "server_error"}, say: "refuses connections; check this host's network, or %s_BASE_URL"},
		{name: "unknown host", set: map[string]string{"BASE_URL": "https://no-such-host.invalid"}, status: 502,
			kinds: [2]string{"api_error", "server_error"}, say: "%s_BASE_URL"},
		{name: "plain HTTP to the world", set: map[string]string{"BASE_URL": "http://models.example"}, status: 500,
			kinds: [2]string{"api_error", "server_error"}, say: "%s_BASE_URL must begin with https://"},
		{name: "redirect", reply: fakemodel.Reply{Status: 302, Body: []byte("x"), Header: http.Header{"Location": {"https://evil.example/"}}}, status: 502,
			kinds: [2]string{"api_error", "server_error"}, say: "redirect (302)"},
		{name: "a web page", reply: fakemodel.Reply{Body: []byte("<html>hi"), Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}}, status: 502,
			kinds: [2]string{"api_error", "server_error"}, say: "web page"},
		{name: "compressed", reply: fakemodel.Reply{Body: []byte("\x1f\x8b"), Header: http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}}, status: 502,
			kinds: [2]string{"api_error", "server_error"}, say: "compressed"},
		{name: "an error page", reply: fakemodel.Reply{Status: 503, Body: []byte("<html>down"), Header: http.Header{"Content-Type": {"text/html"}}, RetryAfter: "7"}, status: 503,
			kinds: [2]string{"api_error", "server_error"}, say: "answered 503 Service Unavailable"},
		{name: "499 from upstream", reply: fakemodel.Reply{Status: 499, Body: []byte("nginx")}, status: 499,
			kinds: [2]string{"invalid_request_error", "invalid_request_error"}, say: "answered 499"},
		{name: "overloaded", reply: fakemodel.Reply{Status: 529, Body: []byte("")}, status: 529,
			kinds: [2]string{"overloaded_error", "server_error"}, say: "answered 529"},
		{name: "compressed body", change: func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, status: 415,
			kinds: [2]string{"invalid_request_error", "invalid_request_error"}, say: "without Content-Encoding"},
		{name: "wrong method", change: func(r *http.Request) { r.Method = "PUT" }, status: 405,
			kinds: [2]string{"invalid_request_error", "invalid_request_error"}, say: "use POST"},
		{name: "unknown path", change: func(r *http.Request) { r.URL.Path += "/batches" }, status: 404,
			kinds: [2]string{"not_found_error", "invalid_request_error"}, say: "no such path"},
	}
	for _, tt := range tests {
		for i, a := range apis {
			t.Run(tt.name+", "+a.name, func(t *testing.T) {
				prefix := strings.ToUpper(a.name)
				r := newRig(t, func(*fakemodel.Call) fakemodel.Reply { return tt.reply })
				for k, v := range tt.set {
					r.secrets.put(prefix+"_"+k, v)
				}
				req := a.request(r.url, true)
				if tt.change != nil {
					tt.change(req)
				}
				got := r.do(req)
				kind, msg := apiError(t, a, got.body)
				if got.StatusCode != tt.status || kind != tt.kinds[i] {
					t.Errorf("status %d, type %q: %s", got.StatusCode, kind, msg)
				}
				if want := strings.ReplaceAll(tt.say, "%s", prefix); !strings.Contains(msg, want) {
					t.Errorf("message %q does not say %q", msg, want)
				}
				if got.Header.Get("Retry-After") != tt.reply.RetryAfter {
					t.Errorf("Retry-After %q", got.Header.Get("Retry-After"))
				}
			})
		}
	}
}

// The provider's own errors come through as they are.
func TestUpstreamErrorsPassUnchanged(t *testing.T) {
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply {
		return fakemodel.Reply{Status: 429, Message: "slow down", RetryAfter: "12", Header: http.Header{
			"Anthropic-Ratelimit-Requests-Remaining": {"0"}, "Set-Cookie": {"a=b"}, "Server": {"x"}}}
	})
	for _, a := range apis {
		got := r.do(a.request(r.url, true))
		if _, msg := apiError(t, a, got.body); got.StatusCode != 429 || msg != "slow down" {
			t.Errorf("%s: %d %s", a.name, got.StatusCode, got.body)
		}
		if got.Header.Get("Retry-After") != "12" || got.Header.Get("Anthropic-Ratelimit-Requests-Remaining") != "0" {
			t.Errorf("%s: headers lost: %v", a.name, got.Header)
		}
		if got.Header.Get("Set-Cookie") != "" || got.Header.Get("Server") != "" {
			t.Errorf("%s: headers not stripped: %v", a.name, got.Header)
		}
	}
}

func TestBodyLimit(t *testing.T) {
	r := newRig(t, says("ok"))
	for _, a := range apis {
		for _, known := range []bool{true, false} {
			req := a.request(r.url, false)
			req.Body = io.NopCloser(io.LimitReader(zeros{}, MaxBody+1))
			req.ContentLength = -1
			if known {
				req.ContentLength = MaxBody + 1
				req.Header.Set("Expect", "100-continue") // so that the client reads the answer first
			}
			tr := &http.Transport{ExpectContinueTimeout: time.Minute}
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatalf("%s, length known %v: %v", a.name, known, err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			tr.CloseIdleConnections()
			kind, msg := apiError(t, a, string(body))
			if resp.StatusCode != 413 || !strings.Contains(msg, "32 MiB") {
				t.Errorf("%s, length known %v: %d %s %s", a.name, known, resp.StatusCode, kind, msg)
			}
		}
	}
	if r.model.Last() != nil {
		t.Error("an oversized request reached the model")
	}
	if n := r.gw.loadOf("ada").buffered.Load(); n != 0 {
		t.Errorf("%d bytes still booked", n)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A guest that opens calls and then says little is answered, and let go.
func TestSlowRequestBody(t *testing.T) {
	r := newRig(t, says("ok"), func(o *Options) { o.Timeouts.Body = 50 * time.Millisecond })
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /anthropic/v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"model\"")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if _, msg := apiError(t, apis[0], string(body)); resp.StatusCode != 408 || !strings.Contains(msg, "in time") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// An upstream that accepts a call and then says nothing.
func TestSlowUpstream(t *testing.T) {
	for _, a := range apis {
		r := newRig(t, func(*fakemodel.Call) fakemodel.Reply { return fakemodel.Reply{Delay: time.Hour} },
			func(o *Options) { o.Timeouts.Header = 80 * time.Millisecond })
		got := r.do(a.request(r.url, false))
		if _, msg := apiError(t, a, got.body); got.StatusCode != 504 || !strings.Contains(msg, "did not begin to answer within 80ms") {
			t.Errorf("%s: %d %s", a.name, got.StatusCode, got.body)
		}

		hold := make(chan struct{})
		r = newRig(t, func(*fakemodel.Call) fakemodel.Reply {
			return fakemodel.Reply{Text: "some words", Hold: hold, HoldAt: 3}
		}, func(o *Options) { o.Timeouts.Idle = 80 * time.Millisecond })
		got = r.do(a.request(r.url, true))
		if got.end == nil || !strings.Contains(got.body, "nothing came for 80ms") {
			t.Errorf("%s: end %v: %s", a.name, got.end, got.body)
		}
		eventually(t, "the upstream call is cancelled", func() bool { return isClosed(r.lastCall().Gone) })
		close(hold)
	}
}

// One agent cannot take the whole host.
func TestOneAgentsLoadIsBounded(t *testing.T) {
	hold := make(chan struct{})
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply { return fakemodel.Reply{Text: "x", Hold: hold} })
	l := r.gw.loadOf("ada")
	l.calls.Store(maxCalls)
	got := r.do(apis[0].request(r.url, true))
	if kind, _ := apiError(t, apis[0], got.body); got.StatusCode != 429 || kind != "rate_limit_error" || got.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	l.calls.Store(0)
	l.buffered.Store(maxBuffered)
	if got := r.do(apis[1].request(r.url, true)); got.StatusCode != 429 {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	if l.buffered.Load() != maxBuffered || l.calls.Load() != 0 {
		t.Errorf("refused calls stay booked: %d calls, %d bytes", l.calls.Load(), l.buffered.Load()-maxBuffered)
	}
	other := httptest.NewServer(r.gw.Handler("bob"))
	defer other.Close()
	close(hold)
	if got := r.do(apis[0].request(other.URL, true)); got.StatusCode != 200 {
		t.Errorf("another agent: %d %s", got.StatusCode, got.body)
	}
}

// One line per call says who, what and how much; never what was said.
func TestLogLine(t *testing.T) {
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply {
		return fakemodel.Reply{Text: "the secret answer", Usage: fakemodel.Usage{In: 10, CacheRead: 5, CacheWrite: 2, Out: 7}}
	})
	got := r.do(apis[0].request(r.url, true))
	eventually(t, "the call is logged", func() bool { return r.log.String() != "" })
	var line struct {
		Msg, Agent, Provider, Model, Level string
		Status                             int
		RequestBytes                       int `json:"request_bytes"`
		ResponseBytes                      int `json:"response_bytes"`
		Input                              int `json:"input_tokens"`
		Output                             int `json:"output_tokens"`
	}
	if err := json.Unmarshal([]byte(r.log.String()), &line); err != nil {
		t.Fatalf("%v in %s", err, r.log.String())
	}
	if line.Agent != "ada" || line.Provider != "anthropic" || line.Model != "claude-x" || line.Status != 200 ||
		line.ResponseBytes != len(got.body) || line.RequestBytes == 0 || line.Input != 17 || line.Output != 7 || line.Level != "INFO" {
		t.Errorf("%s", r.log.String())
	}
	if strings.Contains(r.log.String(), "secret answer") || strings.Contains(r.log.String(), "hello") {
		t.Errorf("content in the log: %s", r.log.String())
	}
}

// A body buffer is not used again while a transport may still read it.
func TestBodyOutlivesTheCall(t *testing.T) {
	l := &load{}
	req := httptest.NewRequest("POST", "/", strings.NewReader("hello"))
	b, err := readBody(req, l)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := b.open()
	again, _ := b.open()
	b.release()
	first.Close()
	first.Close() // twice is once
	if l.buffered.Load() == 0 {
		t.Error("released while a reader is open")
	}
	got, err := io.ReadAll(again)
	if err != nil || !bytes.Equal(got, []byte("hello")) {
		t.Errorf("%q, %v", got, err)
	}
	again.Close()
	if n, err := again.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("a closed reader still reads")
	}
	if n := l.buffered.Load(); n != 0 {
		t.Errorf("%d bytes still booked", n)
	}
}
