package translate

import (
	"encoding/json"
	"strings"
	"testing"
)

const twoTools = `"tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g"}}]`

func TestRequestToolChoice(t *testing.T) {
	ask := func(rest string) string {
		return `{"messages":[{"role":"user","content":"A"}],` + twoTools + rest + `}`
	}
	for _, rc := range []requestCase{
		{name: "unsaid", from: Chat, to: Anthropic, doc: ask(``), hasNot: "tool_choice",
			has: `"tools":[{"name":"f","input_schema":{"type":"object","properties":{}}},`},
		{name: "auto", from: Chat, to: Anthropic, doc: ask(`,"tool_choice":"auto"`), has: `"tool_choice":{"type":"auto"}`},
		{name: "none", from: Chat, to: Anthropic, doc: ask(`,"tool_choice":"none","parallel_tool_calls":false`), has: `"tool_choice":{"type":"none"}`},
		{name: "required", from: Chat, to: Anthropic, doc: ask(`,"tool_choice":"required","parallel_tool_calls":true`), has: `"tool_choice":{"type":"any"}`},
		{name: "named", from: Chat, to: Anthropic, doc: ask(`,"tool_choice":{"type":"function","function":{"name":"g"}}`),
			has: `"tool_choice":{"type":"tool","name":"g"}`},
		{name: "named, by the old name", from: Chat, to: Gemini, model: "g", doc: ask(`,"function_call":{"name":"g"}`),
			has: `"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["g"]}}`},
		{name: "one at a time", from: Chat, to: Anthropic, doc: ask(`,"parallel_tool_calls":false`),
			has: `"tool_choice":{"type":"auto","disable_parallel_tool_use":true}`},
		{name: "one at a time, at Gemini", from: Chat, to: Gemini, model: "g", doc: ask(`,"parallel_tool_calls":false`),
			hasNot: "toolConfig", lost: []string{"parallel_tool_calls"}},
		{name: "some of them", from: Chat, to: Anthropic, doc: ask(`,"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"g"}}]}}`),
			has: `"tools":[{"name":"g",`, hasNot: `"name":"f"`},
		{name: "one at a time, from Anthropic", from: Anthropic, to: Chat, model: "m",
			doc: `{"max_tokens":1,"messages":[{"role":"user","content":"A"}],"tools":[{"name":"f","strict":true,"input_schema":{"type":"object"}}],"tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true}}`,
			has: `"tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false`, lost: []string{"strict_tools"}},
		{name: "some of them, from Gemini", from: Gemini, to: Chat, model: "m",
			doc: `{"contents":[{"parts":[{"text":"A"}]}],"tools":[{"function_declarations":[{"name":"f"},{"name":"g"},{"name":"h"}]},{"google_search":{}}],"tool_config":{"function_calling_config":{"mode":"any","allowed_function_names":["f","h"]}}}`,
			has: `"tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"h"}}],"tool_choice":"required"`, lost: []string{"server_tools"}},
		{name: "switches without tools are refused", from: Chat, to: Anthropic, doc: `{"messages":[{"role":"user","content":"A"}],"tool_choice":"auto","parallel_tool_calls":false}`,
			hasNot: "tool_choice"},
		{name: "a schema that does not say object", from: Chat, to: Anthropic,
			doc: `{"messages":[{"role":"user","content":"A"}],"tools":[{"type":"function","function":{"name":"f","strict":true,"parameters":{ "b":1,"a":2}}},{"type":"function","function":{"name":"g","parameters":{}}},{"type":"custom","custom":{"name":"h"}}]}`,
			has: `"tools":[{"name":"f","input_schema":{"type":"object","b":1,"a":2},"strict":true},{"name":"g","input_schema":{"type":"object"}}]`, lost: []string{"custom_tools"}},
		{name: "arguments that are no object", from: Chat, to: Anthropic,
			doc: `{"messages":[{"role":"user","content":"A"},{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":"{\"x\":"}},{"id":"b","function":{"name":"f","arguments":""}}]}]}`,
			has: `{"type":"tool_use","id":"a","name":"f","input":{"arguments":"{\"x\":"}},{"type":"tool_use","id":"b","name":"f","input":{}}`, lost: []string{"tool_arguments"}},
		{name: "an object as a result", from: Chat, to: Gemini, model: "g",
			doc: `{"messages":[{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}},{"id":"b","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"a","content":"{\"n\":1e400}"},{"role":"tool","tool_call_id":"b","content":"{\"output\":\"x\"}"}]}`,
			has: `{"functionResponse":{"id":"a","name":"f","response":{"n":1e400}}},{"functionResponse":{"id":"b","name":"f","response":{"output":"{\"output\":\"x\"}"}}}`},
	} {
		rc.run(t)
	}
}

// calledIDs are the ids of calls and of results, in order, of a request in Chat's form.
func calledIDs(t *testing.T, doc []byte) (calls, results []string) {
	t.Helper()
	var in chatIn
	if err := json.Unmarshal(doc, &in); err != nil {
		t.Fatal(err)
	}
	for _, m := range in.Messages {
		for _, call := range m.ToolCalls {
			calls = append(calls, call.ID)
		}
		if m.Role == "tool" {
			results = append(results, m.ToolCallID)
		}
	}
	return calls, results
}

// Gemini's calls may have no ids. What answers them is found by name and order, twice
// the same, and still when the history grows.
func TestRequestIDsOfGemini(t *testing.T) {
	const history = `{"contents":[
		{"role":"user","parts":[{"text":"A"}]},
		{"role":"model","parts":[{"functionCall":{"name":"f","args":{"n":1}}},{"functionCall":{"name":"g"}},{"functionCall":{"name":"f","args":{"n":2}}}]},
		{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":"1"}}},{"functionResponse":{"name":"f","response":{"output":"2"}}},{"functionResponse":{"name":"g","response":{"result":"3"}}}]}`
	const more = `,{"role":"model","parts":[{"functionCall":{"name":"f"}}]},{"role":"function","parts":[{"functionResponse":{"name":"f","response":{"output":"4"}}}]}`
	translate := func(doc string) (calls, results []string) {
		out, _, err := Request([]byte(doc), Gemini, Chat, RequestOptions{Model: "m"})
		if err != nil {
			t.Fatal(err)
		}
		return calledIDs(t, out)
	}
	calls, results := translate(history + "]}")
	if len(calls) != 3 || calls[0] == calls[2] {
		t.Fatalf("ids of the calls: %q", calls)
	}
	if want := []string{calls[0], calls[2], calls[1]}; strings.Join(results, " ") != strings.Join(want, " ") {
		t.Errorf("results are of %q, want %q", results, want)
	}
	later, laterResults := translate(history + more + "]}")
	if strings.Join(later[:3], " ") != strings.Join(calls, " ") {
		t.Errorf("ids changed from %q to %q when the history grew", calls, later)
	}
	if laterResults[3] != later[3] {
		t.Errorf("the last result is of %q, want %q", laterResults[3], later[3])
	}
}

func TestRequestIDsThatDoNotFit(t *testing.T) {
	long := strings.Repeat("x", 41)
	anthropic := func(ids ...string) string {
		var b strings.Builder
		b.WriteString(`{"max_tokens":1,"messages":[{"role":"user","content":"A"}`)
		for _, id := range ids {
			b.WriteString(`,{"role":"assistant","content":[{"type":"tool_use","id":"` + id + `","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"` + id + `","content":"r"}]}`)
		}
		return b.String() + "]}"
	}
	for _, tc := range []struct {
		name, model, doc string
		kept             []bool
		size             int
	}{
		{"OpenAI takes 40 bytes", "gpt-4o", anthropic("toolu_1", long), []bool{true, false}, 24},
		{"Mistral takes nine letters and digits", "mistral-large-latest", anthropic("abcDEF123", "toolu_123"), []bool{true, false}, 9},
		{"an id that comes again", "m", anthropic("a", "a", "a"), []bool{true, false, false}, 24},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, _, err := Request([]byte(tc.doc), Anthropic, Chat, RequestOptions{Model: tc.model})
			if err != nil {
				t.Fatal(err)
			}
			calls, results := calledIDs(t, out)
			if strings.Join(calls, " ") != strings.Join(results, " ") {
				t.Fatalf("calls %q, results %q", calls, results)
			}
			seen := map[string]bool{}
			for i, id := range calls {
				if kept := strings.Contains(tc.doc, `"`+id+`"`); kept != tc.kept[i] || seen[id] || !kept && len(id) != tc.size {
					t.Errorf("call %d has the id %q; all: %q", i, id, calls)
				}
				seen[id] = true
			}
		})
	}
}

// Ids that Anthropic refuses, such as Kimi's.
func TestRequestIDsForAnthropic(t *testing.T) {
	doc := `{"messages":[{"role":"user","content":"A"},{"role":"assistant","tool_calls":[{"id":"functions.f:0","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"functions.f:0","content":"r"}]}`
	out, _, err := Request([]byte(doc), Chat, Anthropic, RequestOptions{Model: "c"})
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Messages []struct{ Content []anthropicBlockIn }
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	call, result := got.Messages[1].Content[0], got.Messages[2].Content[0]
	if !anthropicID(call.ID) || call.ID != result.ToolUseID {
		t.Errorf("the call is %q, the result is of %q", call.ID, result.ToolUseID)
	}
}

// Answers to calls of one name or id are found in time linear to their number.
func TestRequestManyCalls(t *testing.T) {
	const n = 20_000
	doc := `{"contents":[{"role":"model","parts":[` + strings.Repeat(`{"functionCall":{"name":"f"}},`, n-1) + `{"functionCall":{"name":"f"}}]},` +
		`{"parts":[` + strings.Repeat(`{"functionResponse":{"name":"f"}},`, n-1) + `{"functionResponse":{"name":"f"}}]}]}`
	out, _, err := Request([]byte(doc), Gemini, Chat, RequestOptions{Model: "m"})
	if err != nil {
		t.Fatal(err)
	}
	calls, results := calledIDs(t, out)
	if len(calls) != n || strings.Join(calls, " ") != strings.Join(results, " ") {
		t.Errorf("%d calls, %d results, or not each other's", len(calls), len(results))
	}
}
