// Package fakemodel is a strict fake of Anthropic's Messages API, OpenAI's Chat
// Completions API and Google's Gemini API, for tests and benches. It refuses what
// the real ones refuse, as far as their public documentation says (method, path,
// key, version and content-type headers, unknown fields, roles, the pairing of
// tool calls and results), and streams as they do. What it answers, and how
// badly, is the test's choice: see [Reply].
//
// It must not know who calls it: it imports nothing of the product.
package fakemodel

import (
	"crypto/sha256"
	"hash"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

// The three APIs.
const (
	Anthropic = "anthropic"
	OpenAI    = "openai"
	Gemini    = "gemini"
)

// MaxBody is the size of request the real APIs stop at, in bytes.
const MaxBody = 32 << 20

// Model is the fake. Its fields must not change once it serves.
type Model struct {
	// Key is the one accepted; empty accepts any that is not empty.
	Key string
	// Reply decides what to answer to a call that passed the checks; nil says
	// "ok".
	Reply func(*Call) Reply

	mu    sync.Mutex
	calls []*Call // guarded by mu
}

// Call is one request that arrived, whether it passed the checks or not.
type Call struct {
	API    string
	Method string
	Path   string
	Query  string
	Header http.Header
	Body   []byte
	Model  string
	Stream bool
	Usage  bool // OpenAI: stream_options.include_usage
	// Prompts are the texts the user said since the model last spoke.
	Prompts []string
	// Problem is why the call was refused; empty when it was not.
	Problem string
	// Gone is closed when the caller goes away before the answer is complete.
	Gone chan struct{}

	mu   sync.Mutex
	sent int64     // guarded by mu: bytes of the answer's body
	sum  hash.Hash // guarded by mu
}

// Sent is how many bytes of body were sent so far, and their SHA-256.
func (c *Call) Sent() (n int64, sum [sha256.Size]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sum.Sum(sum[:0])
	return c.sent, sum
}

func (c *Call) count(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent += int64(len(p))
	c.sum.Write(p)
}

// Calls are all requests so far, oldest first.
func (m *Model) Calls() []*Call {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*Call(nil), m.calls...)
}

// Last is the newest request, or nil.
func (m *Model) Last() *Call {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.calls) == 0 {
		return nil
	}
	return m.calls[len(m.calls)-1]
}

// Server is a Model on a loopback port.
type Server struct {
	*Model
	URL  string // base for Anthropic's API; for OpenAI's append "/v1", for Gemini's "/v1beta"
	http *httptest.Server
}

// Start serves m until Close.
func Start(m *Model) *Server {
	s := httptest.NewServer(m)
	return &Server{Model: m, URL: s.URL, http: s}
}

// Close ends the server and all its connections.
func (s *Server) Close() {
	s.http.CloseClientConnections()
	s.http.Close()
}

// apis tells the API by path. Gemini's has the model in it: see [place].
var apis = map[string]struct{ api, method string }{
	"/v1/messages":              {Anthropic, http.MethodPost},
	"/v1/messages/count_tokens": {Anthropic, http.MethodPost},
	"/v1/chat/completions":      {OpenAI, http.MethodPost},
	"/v1/models":                {OpenAI, http.MethodGet},
}

// place tells the API a path belongs to, and the method it wants: none if the
// API has no such path.
func place(path string) (api, method string) {
	if rest, ok := strings.CutPrefix(path, geminiModels); ok {
		if model, verb, _ := strings.Cut(rest, ":"); model != "" && !strings.Contains(rest, "/") && geminiVerbs[verb] {
			return Gemini, http.MethodPost
		}
		return Gemini, ""
	}
	return apis[path].api, apis[path].method
}

// ServeHTTP answers one call.
func (m *Model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &Call{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header.Clone(),
		Gone: make(chan struct{}), sum: sha256.New()}
	c.API, _ = place(c.Path)
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	c.Body = body
	p := m.check(c, err)
	if p != nil {
		c.Problem = p.message
	}
	m.mu.Lock()
	m.calls = append(m.calls, c)
	m.mu.Unlock()
	if p != nil {
		answerError(w, c, p)
		return
	}
	reply := Reply{Text: "ok"}
	if m.Reply != nil {
		reply = m.Reply(c)
	}
	(&sender{w: w, rc: http.NewResponseController(w), ctx: r.Context(), call: c, reply: reply}).send()
}
