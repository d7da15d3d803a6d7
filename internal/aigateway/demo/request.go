package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// request is what the model reads of a Messages API request.
type request struct {
	Model     string
	MaxTokens int `json:"max_tokens"`
	Stream    bool
	Messages  []turn
	Tools     []struct{ Name string }
}

type turn struct {
	Role    string
	Content blocks
}

type block struct {
	Type    string
	Text    string
	Content json.RawMessage // of a tool_result; left alone until it is wanted
	IsError bool            `json:"is_error"`
}

// blocks is content in either of its forms: a string or a list of blocks.
type blocks []block

func (b *blocks) UnmarshalJSON(p []byte) error {
	if len(p) > 0 && p[0] == '"' {
		var s string
		if err := json.Unmarshal(p, &s); err != nil {
			return err
		}
		*b = blocks{{Type: "text", Text: s}}
		return nil
	}
	return json.Unmarshal(p, (*[]block)(b))
}

func parse(body []byte) (*request, error) {
	var q request
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("the request is not valid: %w", err)
	}
	switch {
	case q.Model == "":
		return nil, errors.New("model: field required")
	case q.MaxTokens < 1:
		return nil, errors.New("max_tokens: must be at least 1")
	case len(q.Messages) == 0:
		return nil, errors.New("messages: at least one message is required")
	}
	return &q, nil
}

func (q *request) offers(tool string) bool {
	for _, t := range q.Tools {
		if t.Name == tool {
			return true
		}
	}
	return false
}

// last returns what the model is to answer: the newest user turn that says
// something, as text or as results of tools. OpenClaw adds user turns of its
// own, which are passed over.
func (q *request) last() (text string, results blocks) {
	for i := len(q.Messages) - 1; i >= 0 && q.Messages[i].Role != "assistant"; i-- {
		m := q.Messages[i]
		if m.Role != "user" {
			continue
		}
		if text := promptText(m.Content); text != "" {
			return text, nil
		}
		if results = toolResults(m.Content); len(results) > 0 {
			return "", results
		}
	}
	return "", nil
}

func toolResults(content blocks) blocks {
	var out blocks
	for _, b := range content {
		if b.Type == "tool_result" {
			out = append(out, b)
		}
	}
	return out
}

// promptText is the text of a turn without what OpenClaw adds to it.
func promptText(content blocks) string {
	var parts []string
	for _, b := range content {
		if b.Type != "text" {
			continue
		}
		if t := strip(b.Text); t != "" {
			parts = append(parts, t)
		}
	}
	return strings.Join(parts, "\n")
}

const (
	contextBegin = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>"
	contextEnd   = "<<<END_OPENCLAW_INTERNAL_CONTEXT>>>"
)

var (
	stamp   = regexp.MustCompile(`^\[[^\]\n]{1,200}\]\s*`)        // [Sun 2026-11-22 15:25 UTC]
	runtime = regexp.MustCompile(`\n\nRuntime: agent=[^\n]*\s*$`) // appended to a session's first prompt
)

// strip takes OpenClaw's additions off a prompt: internal context, the time
// stamp in front, the runtime line behind.
func strip(s string) string {
	s = stamp.ReplaceAllString(strings.TrimSpace(withoutContext(s)), "")
	return strings.TrimSpace(runtime.ReplaceAllString(s, ""))
}

func withoutContext(s string) string {
	if !strings.Contains(s, contextBegin) {
		return s
	}
	var out strings.Builder
	for s != "" {
		before, rest, _ := strings.Cut(s, contextBegin)
		out.WriteString(before)
		_, s, _ = strings.Cut(rest, contextEnd) // an unclosed one takes the rest
	}
	return out.String()
}
