package demo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// reply is what the model answers: text, or a call of a tool.
type reply struct {
	text  string
	tool  string // name of the tool to call; empty: none
	input json.RawMessage
	id    string // of the tool call
}

// maxPrompt bounds how much of a prompt is searched for arithmetic, in bytes.
const maxPrompt = 4 << 10

// answer decides what to say.
func answer(q *request, id string) reply {
	text, results := q.last()
	if len(results) > 0 {
		return reply{text: toolAnswer(results)}
	}
	if order, ok := toolOrder(text); ok {
		return callTool(q, order, id)
	}
	if strings.Contains(text, "HEARTBEAT_OK") {
		return reply{text: "HEARTBEAT_OK"} // OpenClaw's word for "nothing to tell anybody"
	}
	if len(text) > maxPrompt {
		text = text[len(text)-maxPrompt:]
	}
	if expr, ok := find(text); ok {
		return reply{text: expr.sentence() + "\n\n(" + Notice + ")"}
	}
	return reply{text: Notice + "\n\nUntil then I can do sums: ask me \"What is 2 + 2?\""}
}

// toolAnswer repeats what tools answered, in full up to a limit.
func toolAnswer(results blocks) string {
	var b strings.Builder
	for _, r := range results {
		if r.IsError {
			b.WriteString("The tool failed: ")
		}
		b.WriteString(r.contentText())
		b.WriteByte('\n')
	}
	if text := strings.TrimSpace(b.String()); text != "" {
		return cut(text, maxToolText)
	}
	return "The tool answered nothing."
}

// contentText is the text of a tool_result; other parts are only named.
func (r block) contentText() string {
	var parts blocks
	if len(r.Content) == 0 || json.Unmarshal(r.Content, &parts) != nil {
		return ""
	}
	var b strings.Builder
	for _, part := range parts {
		if part.Type == "text" {
			b.WriteString(part.Text)
		} else {
			b.WriteString("[" + part.Type + "]")
		}
	}
	return b.String()
}

const (
	orderWord    = "/demo tool "
	maxToolInput = 256 << 10
)

// toolOrder finds the last "/demo tool ..." that begins a line.
func toolOrder(text string) (string, bool) {
	i := strings.LastIndex("\n"+text, "\n"+orderWord)
	if i < 0 {
		return "", false
	}
	return text[i+len(orderWord):], true
}

// callTool carries out an order "NAME {json}".
func callTool(q *request, order, id string) reply {
	name, rest, _ := strings.Cut(strings.TrimSpace(order), " ")
	input, err := firstObject(rest)
	if err != nil {
		return reply{text: fmt.Sprintf("I could not read the tool's input (%v). Write: /demo tool NAME {\"key\": \"value\"}", err)}
	}
	if !q.offers(name) {
		return reply{text: fmt.Sprintf("The tool %q is not offered to me. I may call: %s.", cut(name, 100), q.toolNames())}
	}
	return reply{tool: name, input: input, id: "toolu01" + id}
}

// firstObject is the JSON object s begins with; nothing at all means {}.
func firstObject(s string) (json.RawMessage, error) {
	if s = strings.TrimSpace(s); s == "" {
		return json.RawMessage("{}"), nil
	}
	var raw json.RawMessage
	if err := json.NewDecoder(strings.NewReader(s)).Decode(&raw); err != nil {
		return nil, err
	}
	if raw[0] != '{' || len(raw) > maxToolInput {
		return nil, errors.New("it is not a JSON object of modest size")
	}
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (q *request) toolNames() string {
	names := make([]string, 0, len(q.Tools))
	for _, t := range q.Tools {
		names = append(names, t.Name)
	}
	if len(names) == 0 {
		return "none"
	}
	return cut(strings.Join(names, ", "), 4<<10)
}
