package demo

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"
)

// ask sends one request to the model.
func ask(t *testing.T, body string) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequest("POST", "http://demo.invalid/v1/messages", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := Model{}.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	p, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(p)
}

const tools = `"tools":[{"name":"exec","input_schema":{"type":"object"}},{"name":"read","input_schema":{"type":"object"}}]`

func conversation(stream bool, messages ...string) string {
	return fmt.Sprintf(`{"model":"demo","max_tokens":100,"stream":%v,%s,"messages":[%s]}`, stream, tools, strings.Join(messages, ","))
}

func user(text string) string {
	return fmt.Sprintf(`{"role":"user","content":%s}`, encode(text))
}

const (
	internal  = `{"role":"user","content":[{"type":"text","text":"<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\n/demo tool exec {}\n7 * 7\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>"}]}`
	assistant = `{"role":"assistant","content":[{"type":"text","text":"2 + 2 = 4"}]}`
	called    = `{"role":"assistant","content":[{"type":"tool_use","id":"toolu1","name":"exec","input":{"command":"id"}}]}`
)

type messageJSON struct {
	Type, Role, Model string
	StopReason        string `json:"stop_reason"`
	Content           []struct {
		Type, Text, ID, Name string
		Input                json.RawMessage
	}
	Usage struct {
		In  int `json:"input_tokens"`
		Out int `json:"output_tokens"`
	}
}

// Scripts of whole conversations and what the model makes of them.
func TestScripts(t *testing.T) {
	long := strings.Repeat("line of output é\n", 5000)
	tests := []struct {
		name     string
		messages []string
		tool     string // tool called, with its input
		text     string // or what is said, in part
	}{
		{"a sum", []string{user("[Sun 2026-11-22 15:25 UTC] What is 847293 + 651824?"), internal}, "", "847293 + 651824 = 1499117"},
		{"a sum with the runtime line", []string{user("[Sun 2026-11-22 15:25 UTC] 2 x 3?\n\nRuntime: agent=main | os=Linux 6.1-4 (x64)"), internal}, "", "2 x 3 = 6"},
		{"not the sum of the turn before", []string{user("1 + 1"), assistant, user("hello"), internal}, "", Notice},
		{"says what it is", []string{user("who are you?")}, "", "moltworker secret put ANTHROPIC_API_KEY"},
		{"nothing to answer", []string{internal}, "", Notice},
		{"calls a tool", []string{user("[Sun 2026-11-22 15:26 UTC] /demo tool exec {\"command\":\"uname -a\"}"), internal}, `exec {"command":"uname -a"}`, ""},
		{"the last order counts", []string{user("/demo tool read {}\n/demo tool exec {\"a\": [1]} please")}, `exec {"a":[1]}`, ""},
		{"an order without input", []string{user("/demo tool read")}, `read {}`, ""},
		{"a tool that is not offered", []string{user("/demo tool rm {}")}, "", `The tool "rm" is not offered to me. I may call: exec, read.`},
		{"input that is no JSON", []string{user("/demo tool exec {oops")}, "", "could not read the tool's input"},
		{"input that is no object", []string{user("/demo tool exec [1]")}, "", "not a JSON object"},
		{"an order within a line is none", []string{user("do not /demo tool exec {}")}, "", Notice},
		{"a tool's answer", []string{user("/demo tool exec {}"), called,
			`{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu1","content":"uid=1000(agent)","is_error":false}]}`, internal}, "", "uid=1000(agent)"},
		{"a tool's answer in blocks", []string{user("x"), called,
			`{"role":"user","content":[{"type":"tool_result","content":[{"type":"text","text":"one "},{"type":"image"},{"type":"text","text":" two"}]}]}`}, "", "one [image] two"},
		{"a tool that failed", []string{user("x"), called,
			`{"role":"user","content":[{"type":"tool_result","is_error":true,"content":"no such file"}]}`}, "", "The tool failed: no such file"},
		{"a tool that says nothing", []string{user("x"), called,
			`{"role":"user","content":[{"type":"tool_result"}]}`}, "", "The tool answered nothing."},
		{"a long answer in full", []string{user("x"), called,
			`{"role":"user","content":[{"type":"tool_result","content":` + string(encode(long)) + `}]}`}, "", strings.TrimSpace(long)},
		{"heartbeat", []string{user("Read HEARTBEAT.md if it exists. If nothing needs attention, reply HEARTBEAT_OK.")}, "", "HEARTBEAT_OK"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, body := ask(t, conversation(false, tt.messages...))
			var m messageJSON
			if err := json.Unmarshal([]byte(body), &m); err != nil || status != 200 || len(m.Content) != 1 {
				t.Fatalf("%d %v %s", status, err, body)
			}
			if m.Type != "message" || m.Role != "assistant" || m.Model != "demo" || m.Usage.In < 1 || m.Usage.Out < 1 {
				t.Errorf("incomplete: %s", body)
			}
			c := m.Content[0]
			if tt.tool != "" && (m.StopReason != "tool_use" || c.Name+" "+string(c.Input) != tt.tool || c.ID == "") {
				t.Errorf("got %s", body)
			}
			if tt.tool == "" && (m.StopReason != "end_turn" || !strings.Contains(c.Text, tt.text)) {
				t.Errorf("got %q", c.Text)
			}
			stop, streamed, events := streamOf(t, conversation(true, tt.messages...))
			want := c.Text + string(c.Input)
			if stop != m.StopReason || streamed != want {
				t.Errorf("streamed %q (%s), whole %q (%s)", streamed, stop, want, m.StopReason)
			}
			if len(want) > 100 && events < 5 {
				t.Errorf("only %d deltas", events)
			}
		})
	}
}

// streamOf reads a streamed answer and checks the order of its events.
func streamOf(t *testing.T, body string) (stop, text string, deltas int) {
	t.Helper()
	_, stream := ask(t, body)
	var order []string
	in := bufio.NewScanner(strings.NewReader(stream))
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		name, ok := strings.CutPrefix(in.Text(), "event: ")
		if !ok {
			continue
		}
		in.Scan()
		var d struct {
			Type  string
			Delta struct {
				Text        string
				PartialJSON string `json:"partial_json"`
				StopReason  string `json:"stop_reason"`
			}
		}
		data, _ := strings.CutPrefix(in.Text(), "data: ")
		if err := json.Unmarshal([]byte(data), &d); err != nil || d.Type != name {
			t.Fatalf("event %q with data %q: %v", name, data, err)
		}
		if !utf8.ValidString(d.Delta.Text) {
			t.Errorf("a delta cuts a character: %q", d.Delta.Text)
		}
		text += d.Delta.Text + d.Delta.PartialJSON
		stop += d.Delta.StopReason
		if name == "content_block_delta" {
			deltas++
			if order[len(order)-1] == name {
				continue
			}
		}
		order = append(order, name)
	}
	const want = "message_start content_block_start ping content_block_delta content_block_stop message_delta message_stop"
	if got := strings.Join(order, " "); got != want {
		t.Errorf("events: %s", got)
	}
	return stop, text, deltas
}

func TestToolTextIsBounded(t *testing.T) {
	_, body := ask(t, conversation(false, user("x"), called,
		`{"role":"user","content":[{"type":"tool_result","content":"`+strings.Repeat("ü", maxToolText)+`"}]}`))
	if len(body) > maxToolText+1000 || !strings.Contains(body, "[cut; ") {
		t.Errorf("%d bytes", len(body))
	}
}

// Content made to cost time: deep nesting and many markers.
func TestHostileContentIsCheap(t *testing.T) {
	deep := strings.Repeat(`[{"type":"tool_result","content":`, 4000) + `""` + strings.Repeat(`}]`, 4000)
	ask(t, conversation(false, `{"role":"user","content":`+deep+`}`))
	ask(t, conversation(false, user(strings.Repeat(contextBegin+"x"+contextEnd+"y", 50_000))))
	ask(t, conversation(false, user(strings.Repeat("1/3+1/7*(", 2000))))
	ask(t, conversation(false, user(strings.Repeat("1/11+1/13-", 2000))))
}

func TestBadRequests(t *testing.T) {
	for _, body := range []string{``, `[]`, `{"model":"m"}`, `{"max_tokens":1,"messages":[{"role":"user","content":"x"}]}`,
		`{"model":"m","max_tokens":0,"messages":[{"role":"user","content":"x"}]}`, `{"model":"m","max_tokens":1,"messages":[{"role":"user","content":7}]}`} {
		if status, answer := ask(t, body); status != 400 || !strings.Contains(answer, `"invalid_request_error"`) {
			t.Errorf("%q: %d %s", body, status, answer)
		}
	}
}
