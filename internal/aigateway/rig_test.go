package aigateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/provider"
	"github.com/moltworker/moltworker/test/fakemodel"
)

const (
	anthropicKey = "sk-ant-api03-THE-REAL-ANTHROPIC-KEY-0123456789abcdefghijklmnopqrstuvwxyz"
	openaiKey    = "sk-proj-THE-REAL-OPENAI-KEY-0123456789abcdefghijklmnopqrstuvwxyz"
	placeholder  = "placeholder-of-the-guest"
)

// rig is a gateway between a client and a fake model, with everything it logs.
type rig struct {
	t       *testing.T
	model   *fakemodel.Server
	gw      *Gateway
	url     string
	log     logbook
	secrets settings
}

// settings is a secret store in memory.
type settings struct{ m sync.Map }

func (s *settings) put(name, value string) { s.m.Store(name, value) }

func (s *settings) get(name string) (string, bool) {
	v, ok := s.m.Load(name)
	if !ok {
		return "", false
	}
	return v.(string), true
}

func (s *settings) all() provider.Settings { return s.get }

// logbook keeps what is logged.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newRig starts a fake model that answers with reply, and a gateway before it
// that has both keys.
func newRig(t *testing.T, reply func(*fakemodel.Call) fakemodel.Reply, adjust ...func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, model: fakemodel.Start(&fakemodel.Model{Reply: reply})}
	t.Cleanup(r.model.Close)
	r.secrets.put("ANTHROPIC_BASE_URL", r.model.URL)
	r.secrets.put("OPENAI_BASE_URL", r.model.URL+"/v1")
	r.secrets.put("ANTHROPIC_API_KEY", anthropicKey)
	r.secrets.put("OPENAI_API_KEY", openaiKey)
	o := Options{Settings: r.secrets.all, Log: slog.New(slog.NewJSONHandler(&r.log, nil))}
	for _, f := range adjust {
		f(&o)
	}
	var err error
	if r.gw, err = New(o); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(r.gw.Handler("ada"))
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections)
	r.url = s.URL
	return r
}

func says(text string) func(*fakemodel.Call) fakemodel.Reply {
	return func(*fakemodel.Call) fakemodel.Reply { return fakemodel.Reply{Text: text} }
}

// api is one of the two APIs as its clients use it.
type api struct {
	name string
	path string
	body string
	key  string // header with the guest's placeholder
}

var apis = []api{
	{"anthropic", "/anthropic/v1/messages",
		`{"model":"claude-x","messages":[{"role":"user","content":"hello"}],"max_tokens":100,"stream":%v}`, "X-Api-Key"},
	{"openai", "/openai/v1/chat/completions",
		`{"model":"gpt-x","messages":[{"role":"user","content":"hello"}],"stream":%v}`, "Authorization"},
}

// request is a well-formed call by this API, as the guest sends it.
func (a api) request(url string, stream bool) *http.Request {
	r, err := http.NewRequest(http.MethodPost, url+a.path, strings.NewReader(fmt.Sprintf(a.body, stream)))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Anthropic-Version", "2023-06-01")
	r.Header.Set("Accept-Encoding", "gzip, deflate")
	r.Header.Set(a.key, placeholder)
	if a.key == "Authorization" {
		r.Header.Set(a.key, "Bearer "+placeholder)
	}
	return r
}

// answer is what a client got: all of the body that arrived, and how it ended.
type answer struct {
	*http.Response
	body string
	end  error
}

// do sends a request over a connection of its own and reads the whole answer.
func (r *rig) do(req *http.Request) answer {
	r.t.Helper()
	tr := &http.Transport{DisableCompression: true}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp, string(body), err}
}

// eventually waits for something that happens on another goroutine.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen: %s", what)
		}
	}
}

func (r *rig) lastCall() *fakemodel.Call {
	r.t.Helper()
	c := r.model.Last()
	if c == nil {
		r.t.Fatal("the model was not called")
	}
	return c
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// roundTripFunc is a transport made of a function.
type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

var errBroken = errors.New("broken on purpose")
