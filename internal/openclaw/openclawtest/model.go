package openclawtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

// A Model is a scripted model that speaks Anthropic Messages. Without a script
// it answers every turn with "You said: " and the last text.
type Model struct {
	URL string

	server *httptest.Server

	mu       sync.Mutex
	script   func(Turn) Reply  // guarded by mu
	requests []json.RawMessage // guarded by mu
}

// A Turn is what the model was asked.
type Turn struct {
	Text        string   // of the last message that has text
	ToolResults []string // since the model last spoke
}

// A Reply is text, or a call of a tool.
type Reply struct {
	Text  string
	Tool  string
	Input any
}

// NewModel starts a model.
func NewModel() *Model {
	m := &Model{}
	m.server = httptest.NewServer(http.HandlerFunc(m.serve))
	m.URL = m.server.URL
	return m
}

// Close stops it.
func (m *Model) Close() { m.server.Close() }

// Script sets what the model answers from now on; nil for the usual answer.
func (m *Model) Script(script func(Turn) Reply) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.script = script
}

// Requests are the bodies of all requests so far.
func (m *Model) Requests() []json.RawMessage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]json.RawMessage(nil), m.requests...)
}

func (m *Model) serve(w http.ResponseWriter, r *http.Request) {
	var raw json.RawMessage
	if r.URL.Path != "/v1/messages" || json.NewDecoder(r.Body).Decode(&raw) != nil {
		http.NotFound(w, r)
		return
	}
	reply := m.reply(raw)
	w.Header().Set("Content-Type", "text/event-stream")
	for _, e := range reply.events() {
		data, err := json.Marshal(e)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(w, "event: %s\ndata: %s\n\n", e["type"], data)
	}
}

func (m *Model) reply(raw json.RawMessage) Reply {
	turn := parseTurn(raw)
	m.mu.Lock()
	m.requests = append(m.requests, raw)
	script := m.script
	m.mu.Unlock()
	if script != nil {
		return script(turn)
	}
	return Reply{Text: "You said: " + turn.Text}
}

func parseTurn(raw json.RawMessage) (t Turn) {
	var body struct {
		Messages []struct {
			Role    string          `json:"role"`
			Content json.RawMessage `json:"content"`
		} `json:"messages"`
	}
	if json.Unmarshal(raw, &body) != nil {
		return t
	}
	for _, msg := range body.Messages {
		text, results := parseContent(msg.Content)
		if text != "" && !strings.Contains(text, "OPENCLAW_INTERNAL_CONTEXT") {
			t.Text = text
		}
		if msg.Role == "assistant" {
			t.ToolResults = nil
		}
		t.ToolResults = append(t.ToolResults, results...)
	}
	return t
}

func parseContent(raw json.RawMessage) (text string, results []string) {
	if json.Unmarshal(raw, &text) == nil {
		return text, nil
	}
	var parts []struct {
		Type    string          `json:"type"`
		Text    string          `json:"text"`
		Content json.RawMessage `json:"content"`
	}
	if json.Unmarshal(raw, &parts) != nil {
		return "", nil
	}
	for _, p := range parts {
		switch p.Type {
		case "text":
			text += p.Text
		case "tool_result":
			inner, _ := parseContent(p.Content)
			results = append(results, inner)
		}
	}
	return text, results
}

func (r Reply) events() []map[string]any {
	block, delta, reason := map[string]any{"type": "text", "text": ""}, map[string]any{"type": "text_delta", "text": r.Text}, "end_turn"
	if r.Tool != "" {
		input, err := json.Marshal(r.Input)
		if err != nil {
			panic(err)
		}
		block = map[string]any{"type": "tool_use", "id": "toolu_1", "name": r.Tool, "input": map[string]any{}}
		delta, reason = map[string]any{"type": "input_json_delta", "partial_json": string(input)}, "tool_use"
	}
	return []map[string]any{
		{"type": "message_start", "message": map[string]any{
			"id": "msg_1", "type": "message", "role": "assistant", "model": "demo", "content": []any{},
			"usage": map[string]int{"input_tokens": 1, "output_tokens": 1}}},
		{"type": "content_block_start", "index": 0, "content_block": block},
		{"type": "content_block_delta", "index": 0, "delta": delta},
		{"type": "content_block_stop", "index": 0},
		{"type": "message_delta", "delta": map[string]any{"stop_reason": reason}, "usage": map[string]int{"output_tokens": 1}},
		{"type": "message_stop"},
	}
}
