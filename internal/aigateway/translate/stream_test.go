package translate

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// events puts the data of events behind one another as servers write them.
func events(data ...string) string {
	var b strings.Builder
	for _, d := range data {
		b.WriteString("data: " + d + "\n\n")
	}
	return b.String()
}

// named puts events behind one another the way Anthropic does.
func named(data ...string) string {
	var b strings.Builder
	for _, d := range data {
		typ, _, _ := strings.Cut(strings.TrimPrefix(d, `{"type":"`), `"`)
		b.WriteString("event: " + typ + "\ndata: " + d + "\n\n")
	}
	return b.String()
}

// What these streams say is what the whole answers of answer_test.go say.
var (
	anthropicEvents = named(
		`{"type":"message_start","message":{"id":"msg_01","type":"message","role":"assistant","model":"claude-opus-4-8","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":25,"cache_creation_input_tokens":10,"cache_read_input_tokens":100,"output_tokens":1}}}`,
		`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`,
		`{"type":"ping"}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm <b>"}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQBCg=="}}`,
		`{"type":"content_block_stop","index":0}`,
		`{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}`,
		`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"I "}}`,
		`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"look.\n"}}`,
		`{"type":"content_block_stop","index":1}`,
		`{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_01","name":"read","input":{}}}`,
		`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}`,
		`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"pa"}}`,
		`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"th\":1e400}"}}`,
		`{"type":"content_block_stop","index":2}`,
		`{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_02","name":"now","input":{}}}`,
		`{"type":"content_block_stop","index":3}`,
		`{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":89,"output_tokens_details":{"thinking_tokens":30}}}`,
		`{"type":"message_stop"}`)

	chatEvents = ": OPENROUTER PROCESSING\n\n" + events(
		`{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[]}`,
		`{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-5.5","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}`,
		`{"id":"chatcmpl-1","choices":[{"index":0,"delta":{"reasoning_content":"Hm <b>"},"finish_reason":null}]}`,
		`{"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"I "},"finish_reason":null}]}`,
		`{"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"look.\n"},"finish_reason":null}]}`,
		`{"id":"chatcmpl-1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"read","arguments":""}}]},"finish_reason":null}]}`,
		`{"id":"chatcmpl-1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"pa"}}]},"finish_reason":null}]}`,
		`{"id":"chatcmpl-1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"th\":1e400}"}}]},"finish_reason":null}]}`,
		`{"id":"chatcmpl-1","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_2","type":"function","function":{"name":"now","arguments":""}}]},"finish_reason":null}]}`,
		`{"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`,
		`{"id":"chatcmpl-1","choices":[],"usage":{"prompt_tokens":135,"completion_tokens":89,"total_tokens":224,"prompt_tokens_details":{"cached_tokens":100,"cache_write_tokens":10},"completion_tokens_details":{"reasoning_tokens":30}}}`,
		`[DONE]`)

	geminiEvents = strings.ReplaceAll(events(
		`{"candidates":[{"content":{"parts":[{"text":"Hm <b>","thought":true}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":135,"cachedContentTokenCount":100,"totalTokenCount":135},"modelVersion":"gemini-3.1-pro","responseId":"resp-1"}`,
		`{"candidates":[{"content":{"parts":[{"text":"I "}],"role":"model"},"index":0}],"modelVersion":"gemini-3.1-pro","responseId":"resp-1"}`,
		`{"candidates":[{"content":{"parts":[{"text":"look.\n"}],"role":"model"},"index":0}],"modelVersion":"gemini-3.1-pro","responseId":"resp-1"}`,
		`{"candidates":[{"content":{"parts":[{"functionCall":{"name":"read","args":{"path":1e400}},"thoughtSignature":"Cg=="},{"functionCall":{"id":"fc-2","name":"now","args":{}}}],"role":"model"},"index":0}],"modelVersion":"gemini-3.1-pro","responseId":"resp-1"}`,
		`{"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":135,"cachedContentTokenCount":100,"candidatesTokenCount":59,"thoughtsTokenCount":30,"totalTokenCount":224},"modelVersion":"gemini-3.1-pro","responseId":"resp-1"}`,
	), "\n", "\r\n")
)

// toAnthropic is how the streams above look as Anthropic's, but for what differs.
func toAnthropic(id, start, first, second, end string, pieces ...string) string {
	data := []string{
		`{"type":"message_start","message":{"id":"` + id + `","type":"message","role":"assistant","model":"asked-for","content":[],"stop_reason":null,"stop_sequence":null,"usage":{` + start + `}}}`,
		`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm <b>"}}`,
		`{"type":"content_block_stop","index":0}`,
		`{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}`,
		`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"I "}}`,
		`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"look.\n"}}`,
		`{"type":"content_block_stop","index":1}`,
		`{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"` + first + `","name":"read","input":{}}}`,
	}
	for _, p := range pieces {
		data = append(data, `{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"`+p+`"}}`)
	}
	data = append(data,
		`{"type":"content_block_stop","index":2}`,
		`{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"`+second+`","name":"now","input":{}}}`)
	if len(pieces) == 1 { // Google's calls always have arguments
		data = append(data, `{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{}"}}`)
	}
	return named(append(data,
		`{"type":"content_block_stop","index":3}`,
		`{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{`+end+`}}`,
		`{"type":"message_stop"}`)...)
}

func toChat(id, first, second string, pieces ...string) string {
	chunk := func(delta, finish string) string {
		return `{"id":"` + id + `","object":"chat.completion.chunk","created":1700000000,"model":"asked-for","choices":[{"index":0,"delta":` + delta + `,"logprobs":null,"finish_reason":` + finish + `}],"usage":null}`
	}
	data := []string{
		chunk(`{"role":"assistant","content":""}`, `null`),
		chunk(`{"reasoning_content":"Hm <b>"}`, `null`),
		chunk(`{"content":"I "}`, `null`),
		chunk(`{"content":"look.\n"}`, `null`),
		chunk(`{"tool_calls":[{"index":0,"id":"`+first+`","type":"function","function":{"name":"read","arguments":""}}]}`, `null`),
	}
	for _, p := range pieces {
		data = append(data, chunk(`{"tool_calls":[{"index":0,"function":{"arguments":"`+p+`"}}]}`, `null`))
	}
	write := `,"cache_write_tokens":10`
	if id == "resp-1" {
		write = "" // Google does not count it
	}
	return events(append(data,
		chunk(`{"tool_calls":[{"index":1,"id":"`+second+`","type":"function","function":{"name":"now","arguments":""}}]}`, `null`),
		chunk(`{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]}`, `null`),
		chunk(`{}`, `"tool_calls"`),
		`{"id":"`+id+`","object":"chat.completion.chunk","created":1700000000,"model":"asked-for","choices":[],"usage":{"prompt_tokens":135,"completion_tokens":89,"total_tokens":224,"prompt_tokens_details":{"cached_tokens":100`+write+`},"completion_tokens_details":{"reasoning_tokens":30}}}`,
		`[DONE]`)...)
}

func toGemini(id, first, second string) string {
	rest := `,"modelVersion":"asked-for","responseId":"` + id + `"}`
	part := func(p string) string {
		return `{"candidates":[{"content":{"parts":[` + p + `],"role":"model"},"index":0}]` + rest
	}
	return events(
		part(`{"text":"Hm <b>","thought":true}`),
		part(`{"text":"I "}`),
		part(`{"text":"look.\n"}`),
		part(`{"functionCall":{"id":"`+first+`","name":"read","args":{"path":1e400}},"thoughtSignature":"`+foreignSignature+`"}`),
		part(`{"functionCall":{"id":"`+second+`","name":"now","args":{}}}`),
		`{"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":135,"cachedContentTokenCount":100,"candidatesTokenCount":59,"thoughtsTokenCount":30,"totalTokenCount":224}`+rest)
}

const (
	nothingYet = `"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0`
	allOfIt    = `"input_tokens":25,"cache_creation_input_tokens":10,"cache_read_input_tokens":100,"output_tokens":89,"output_tokens_details":{"thinking_tokens":30}`
)

var streamTests = []struct {
	name     string
	from, to API
	in, want string
	lost     Losses
}{
	{"anthropic to chat", Anthropic, Chat, anthropicEvents,
		strings.Replace(toChat("msg_01", "toolu_01", "toolu_02", `{\"pa`, `th\":1e400}`), "\n\n", "\n\n: ping\n\n", 1), Losses{"thinking_signature"}},
	{"anthropic to gemini", Anthropic, Gemini, anthropicEvents, toGemini("msg_01", "toolu_01", "toolu_02"), Losses{"thinking_signature"}},
	{"chat to anthropic", Chat, Anthropic, chatEvents,
		toAnthropic("chatcmpl-1", nothingYet, "call_1", "call_2", allOfIt, `{\"pa`, `th\":1e400}`), Losses{"thinking_signature"}},
	{"chat to gemini", Chat, Gemini, chatEvents, toGemini("chatcmpl-1", "call_1", "call_2"), nil},
	// Of 135 tokens 100 come from the cache, so 35 are read.
	{"gemini to anthropic", Gemini, Anthropic, geminiEvents,
		toAnthropic("resp-1", `"input_tokens":35,"cache_creation_input_tokens":0,"cache_read_input_tokens":100,"output_tokens":0`, madeCallID("resp-1", 0, "read"), "fc-2",
			`"input_tokens":35,"cache_creation_input_tokens":0,"cache_read_input_tokens":100,"output_tokens":89,"output_tokens_details":{"thinking_tokens":30}`, `{\"path\":1e400}`), Losses{"thinking_signature"}},
	{"gemini to chat", Gemini, Chat, geminiEvents, toChat("resp-1", madeCallID("resp-1", 0, "read"), "fc-2", `{\"path\":1e400}`), Losses{"thinking_signature"}},
}

// run puts a stream through in pieces that end at the cuts. It stops at an error.
func run(in string, from, to API, cuts ...int) (string, *Stream, error) {
	s := NewStream(from, to, answerOptions)
	var all bytes.Buffer
	last := 0
	for _, cut := range append(cuts, len(in)) {
		out, err := s.Write([]byte(in[last:cut]))
		all.Write(out)
		if err != nil {
			return all.String(), s, err
		}
		last = cut
	}
	out, err := s.Close()
	all.Write(out)
	return all.String(), s, err
}

func TestStreams(t *testing.T) {
	for _, test := range streamTests {
		t.Run(test.name, func(t *testing.T) {
			got, s, err := run(test.in, test.from, test.to)
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
			if lost := s.Losses(); !slices.Equal(lost, test.lost) {
				t.Errorf("lost %q, want %q", lost, test.lost)
			}
		})
	}
}

func TestStreamsCutAnywhere(t *testing.T) {
	for _, test := range streamTests {
		for cut := range len(test.in) {
			if got, _, err := run(test.in, test.from, test.to, cut); err != nil || got != test.want {
				t.Fatalf("%s cut at %d: %v\n%s", test.name, cut, err, got)
			}
		}
		bytewise := make([]int, len(test.in))
		for i := range bytewise {
			bytewise[i] = i
		}
		if got, _, err := run(test.in, test.from, test.to, bytewise...); err != nil || got != test.want {
			t.Errorf("%s byte by byte: %v\n%s", test.name, err, got)
		}
	}
}

// The words that end an answer for a client.
var lastWords = []string{"message_stop", "message_delta", "[DONE]", `"finish_reason":"`, "finishReason"}

// A stream that breaks off anywhere is an error, and the client sees no end.
func TestBrokenStreamsNeverLookComplete(t *testing.T) {
	for _, test := range streamTests {
		end := strings.LastIndex(test.in, "data: ") + len("data: ")
		for cut := range test.in {
			got, _, err := run(test.in[:cut], test.from, test.to)
			if cut > end && err == nil && got == test.want {
				continue // all that is missing are line breaks
			}
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%s broken at %d: %v", test.name, cut, err)
			}
			for _, word := range lastWords {
				if strings.Contains(got, word) {
					t.Fatalf("%s broken at %d has %s:\n%s", test.name, cut, word, got)
				}
			}
			if !strings.HasPrefix(test.want, got) {
				t.Fatalf("%s broken at %d wrote what a whole one does not:\n%s", test.name, cut, got)
			}
		}
	}
}

func TestStreamsFramedOtherwise(t *testing.T) {
	want := streamTests[2].want
	for name, in := range map[string]string{
		"no blank lines":      strings.ReplaceAll(chatEvents, "\n\n", "\n"),
		"carriage returns":    strings.ReplaceAll(chatEvents, "\n", "\r"),
		"no space, no end":    strings.TrimSuffix(strings.ReplaceAll(chatEvents, "data: ", "data:"), "\n\n"),
		"a byte order mark":   "\xef\xbb\xbf" + chatEvents,
		"more behind the end": chatEvents + events(`{"nonsense`, `{"choices":[{"delta":{"content":"late"}}]}`),
		"other fields":        "retry: 10\nid: 1\n\n" + chatEvents,
		"lines of data":       strings.ReplaceAll(chatEvents, `,"choices"`, ",\ndata: \"choices\""),
	} {
		got, _, err := run(in, Chat, Anthropic)
		if err != nil || got != want {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
	}
}

// Older models of Google's say STOP with every event, and some proxies end all
// streams as OpenAI does.
func TestStreamOfOlderGemini(t *testing.T) {
	in := strings.ReplaceAll(geminiEvents, `"role":"model"},"index"`, `"role":"model"},"finishReason":"STOP","index"`) + events("[DONE]")
	if got, _, err := run(in, Gemini, Chat); err != nil || got != streamTests[5].want {
		t.Errorf("%v\n%s", err, got)
	}
}

// chatCalls is a stream whose only content are the given pieces of tool calls.
func chatCalls(finish string, pieces ...string) string {
	data := []string{}
	for _, p := range pieces {
		data = append(data, `{"id":"c","choices":[{"index":0,"delta":`+p+`}]}`)
	}
	return events(append(data, `{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"`+finish+`"}]}`, `[DONE]`)...)
}

func call(fields string) string { return `{"tool_calls":[{` + fields + `}]}` }

// blocks lists what an Anthropic stream holds, in short.
func blocks(t *testing.T, stream string) (list []string) {
	t.Helper()
	var w answerWhole
	r := newAnswerReader(Anthropic, usage.SSE, answerOptions, &w)
	a := &anthropicAnswers{answerReader: r}
	var lines eventReader
	err := lines.feed([]byte(stream), func(_ string, data []byte) error { return a.event(data) })
	if err != nil || !r.ended {
		t.Fatalf("not a whole stream of Anthropic: %v\n%s", err, stream)
	}
	for _, b := range w.blocks {
		list = append(list, strings.TrimSpace(strings.Join([]string{b.id, b.name, b.text.string()}, " ")))
	}
	return list
}

func TestToolCallsOfChat(t *testing.T) {
	for _, test := range []struct {
		name string
		in   string
		want []string // blocks, as id, name and arguments or text
	}{
		{"mixed", chatCalls("tool_calls",
			call(`"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}`),
			call(`"index":1,"id":"b","function":{"name":"g","arguments":"{"}`),
			call(`"index":2,"id":"c","function":{"name":"h","arguments":"{}"}`),
			call(`"index":0,"function":{"arguments":":1}"}`),
			call(`"index":1,"function":{"arguments":"}"}`)),
			[]string{`a f {"x":1}`, `b g {}`, `c h {}`}},
		{"two in one chunk, without index", chatCalls("tool_calls",
			`{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}},{"id":"b","function":{"name":"g","arguments":"{}"}}]}`),
			[]string{`a f {}`, `b g {}`}},
		{"in pieces, without index", chatCalls("tool_calls",
			call(`"id":"a","function":{"name":"f","arguments":"{"}`), call(`"function":{"arguments":"}"}`),
			call(`"id":"b","function":{"name":"g","arguments":"{"}`), call(`"id":"b","function":{"arguments":"}"}`)),
			[]string{`a f {}`, `b g {}`}},
		{"one index for all", chatCalls("tool_calls",
			call(`"index":0,"id":"a","function":{"name":"f","arguments":"{}"}`),
			call(`"index":0,"id":"b","function":{"name":"g","arguments":"{}"}`)),
			[]string{`a f {}`, `b g {}`}},
		{"name and id said again", chatCalls("tool_calls",
			call(`"index":0,"id":"a","function":{"name":"f","arguments":"{"}`),
			call(`"index":0,"id":"a","function":{"name":"f","arguments":"}"}`)),
			[]string{`a f {}`}},
		{"a late name", chatCalls("tool_calls",
			call(`"index":0,"id":"a"`), call(`"index":0,"function":{"arguments":"{\"x\":"}`),
			call(`"index":0,"function":{"name":"f","arguments":"2"}`), call(`"index":0,"function":{"arguments":"} \n"}`)),
			[]string{`a f {"x":2}`}},
		{"no id, no arguments", chatCalls("stop", call(`"index":7,"function":{"name":"f"}`), `{"content":"and"}`),
			[]string{madeCallID("c", 0, "f") + " f", "and"}},
		{"text between pieces waits", chatCalls("tool_calls",
			call(`"index":0,"id":"a","function":{"name":"f","arguments":"{"}`), `{"content":"o"}`, `{"content":"n"}`,
			call(`"index":0,"function":{"arguments":"}"}`)),
			[]string{`a f {}`, "on"}},
		{"cut by the limit", chatCalls("length",
			call(`"index":0,"id":"a","function":{"name":"f","arguments":"{\"x"}`),
			call(`"index":1,"id":"b","function":{"name":"g","arguments":"{"}`)),
			[]string{`a f {"x`, `b g {`}},
		{"quotes and brackets in arguments", chatCalls("tool_calls",
			call(`"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":\"}\\\"}"}`),
			call(`"index":1,"id":"b","function":{"name":"g","arguments":"{\"y\":[{\"\\\\\":[]}]}"}`),
			call(`"index":0,"function":{"arguments":"\"}"}`)),
			[]string{`a f {"x":"}\"}"}`, `b g {"y":[{"\\":[]}]}`}},
		{"arguments of null", chatCalls("tool_calls", call(`"index":0,"id":"a","function":{"name":"f","arguments":"null"}`)),
			[]string{`a f`}},
		{"the older form", chatCalls("function_call", `{"function_call":{"name":"f","arguments":"{\"x"}}`, `{"function_call":{"arguments":"\":1}"}}`),
			[]string{madeCallID("c", 0, "f") + ` f {"x":1}`}},
		{"custom tools, which nobody asked for", chatCalls("tool_calls", call(`"index":0,"id":"a","custom":{"name":"f","input":"x"}`), `{"content":"so"}`),
			[]string{"so"}},
		{"half a character in a piece", chatCalls("tool_calls",
			call(`"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":\"\ud83d"}`),
			call(`"index":0,"function":{"arguments":"\ude00\"}"}`)),
			[]string{`a f {"x":"😀"}`}},
	} {
		got, _, err := run(test.in, Chat, Anthropic)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if list := blocks(t, got); !slices.Equal(list, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, list, test.want)
		}
	}
}

// A call whose arguments are there goes on at once, though it is not known yet
// whether more follow.
func TestCallsAreNotHeldBack(t *testing.T) {
	s := NewStream(Chat, Anthropic, answerOptions)
	whole := chatCalls("tool_calls", call(`"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}`),
		call(`"index":1,"id":"b","function":{"name":"g","arguments":"{\"y"}`))
	first, _, _ := strings.Cut(whole, `{"id":"c","choices":[{"index":0,"delta":{},`)
	out, err := s.Write([]byte(first))
	if err != nil || !strings.Contains(string(out), `{\"x\":1}`) || !strings.Contains(string(out), `{\"y`) {
		t.Errorf("%v, %s", err, out)
	}
}

func TestStreamsThatAreNone(t *testing.T) {
	start := `{"type":"message_start","message":{"id":"m"}}`
	open := `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`
	for _, test := range []struct {
		from   API
		in     string
		status int // of a *StreamError; 0: another error
	}{
		{Anthropic, named(`{"type":"content_block_stop","index":0}`), 0},
		{Anthropic, named(start, `{"type":"content_block_stop","index":0}`), 0},
		{Anthropic, named(start, `{"type":"content_block_delta","index":0,"delta":{}}`), 0},
		{Anthropic, named(start, open, open), 0},
		{Anthropic, named(start, open, `{"type":"message_stop"}`), 0},
		{Anthropic, named(start, `{"type":"message_stop"}`), 0}, // it does not say why
		{Anthropic, named(start, `{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a"}}`), 0},
		{Anthropic, named(start, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`), 529},
		{Anthropic, events(`{"type":`), 0},
		{Anthropic, events(`"text"`), 0},
		{Chat, events(`[DONE]`), 0},
		{Chat, events(`{"id":"c","choices":[{"delta":{"content":"a"}}]}`, `[DONE]`), 0}, // it does not say why
		{Chat, events(`{"id":"c","choices":[{"delta":{"content":"a"}}]}`, `{"error":{"message":"no","type":"server_error"}}`), 500},
		{Chat, events(`{"id":"c","choices":[{"delta":{"content":"a"},"finish_reason":"error"}]}`), 502},
		{Chat, "event: error\ndata: {\"message\":\"no\",\"code\":\"rate_limit_exceeded\"}\n\n", 429},
		{Chat, "{\n  \"error\": {\n    \"message\": \"no\",\n    \"code\": 503\n  }\n}", 503},
		{Chat, chatCalls("tool_calls", call(`"index":0,"id":"a"`)), 0},                                                                                           // no name
		{Chat, chatCalls("tool_calls", call(`"function":{"arguments":"{}"}`)), 0},                                                                                // of no call
		{Chat, chatCalls("tool_calls", call(`"index":0,"id":"a","function":{"name":"f","arguments":"{"}`)), 0},                                                   // no end
		{Chat, chatCalls("tool_calls", call(`"index":0,"id":"a","function":{"name":"f","arguments":"[1]"}`)), 0},                                                 // no object
		{Chat, chatCalls("tool_calls", call(`"index":0,"id":"a","function":{"name":"f","arguments":"{}"}`), call(`"index":0,"function":{"arguments":"{}"}`)), 0}, // two
		{Gemini, events(`{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}`), 503},
		{Gemini, events(`{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL"}]}`), 502},
		{Gemini, events(`{"candidates":[{"content":{"parts":[{"functionCall":{}}]}}]}`), 0},
	} {
		for _, to := range []API{Anthropic, Chat, Gemini} {
			if to == test.from {
				continue
			}
			got, s, err := run(test.in, test.from, to)
			var told *StreamError
			if err == nil || errors.As(err, &told) != (test.status != 0) || told != nil && told.Status != test.status {
				t.Errorf("%s to %s: %v", test.in, to, err)
			}
			for _, word := range lastWords {
				if strings.Contains(got, word) {
					t.Errorf("%s to %s has %s:\n%s", test.in, to, word, got)
				}
			}
			if out, again := s.Write([]byte(anthropicEvents)); again != err || len(out) > 0 {
				t.Errorf("%s to %s goes on: %v, %s", test.in, to, again, out)
			}
			if out, again := s.Close(); again != err || len(out) > 0 {
				t.Errorf("%s to %s closes well: %v, %s", test.in, to, again, out)
			}
		}
	}
}

// What came before an error is written still.
func TestTextBeforeAnError(t *testing.T) {
	in := events(`{"id":"c","choices":[{"delta":{"content":"so far"}}]}`, `{"error":{"message":"no"}}`)
	got, _, err := run(in, Chat, Anthropic)
	if err == nil || !strings.Contains(got, "so far") {
		t.Errorf("%v, %s", err, got)
	}
}

func TestStreamBetweenEquals(t *testing.T) {
	for _, s := range []*Stream{NewStream(Chat, Chat, answerOptions), NewStream("", Chat, answerOptions), NewStream(Chat, "", answerOptions)} {
		if out, err := s.Write([]byte(chatEvents)); err == nil || len(out) > 0 {
			t.Errorf("%v, %s", err, out)
		}
		if out, err := s.Close(); err == nil || len(out) > 0 {
			t.Errorf("%v, %s", err, out)
		}
	}
	s := NewStream(Chat, Gemini, answerOptions)
	if _, err := s.Close(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a stream without anything: %v", err)
	}
	if _, err := s.Write(nil); err == nil {
		t.Error("a stream was written to behind its end")
	}
}

// A call that is cut where the tokens ran out is left out of what has no form for it.
func TestCutCallToGemini(t *testing.T) {
	in := named(`{"type":"message_start","message":{"id":"m"}}`,
		`{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"f","input":{}}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"x"}}`,
		`{"type":"content_block_stop","index":0}`,
		`{"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":1}}`,
		`{"type":"message_stop"}`)
	got, s, err := run(in, Anthropic, Gemini)
	if err != nil || strings.Contains(got, "functionCall") || !strings.Contains(got, "MAX_TOKENS") || !slices.Equal(s.Losses(), Losses{"tool_call"}) {
		t.Errorf("%v, %q, %s", err, s.Losses(), got)
	}
	in = strings.Replace(in, "max_tokens", "tool_use", 1)
	if got, _, err := run(in, Anthropic, Gemini); err == nil || strings.Contains(got, "finishReason") {
		t.Errorf("%v, %s", err, got)
	}
}

func TestStreamBounds(t *testing.T) {
	long := strings.Repeat("x", maxEvent)
	for name, in := range map[string]string{
		"a line":         "data: " + long,
		"an event":       strings.Repeat("data: "+long[:1<<20]+"\n", 9),
		"a stray object": "{\n" + strings.Repeat(long[:1<<20]+"\n", 9),
	} {
		if _, err := NewStream(Chat, Anthropic, answerOptions).Write([]byte(in)); err == nil || !strings.Contains(err.Error(), "more than") {
			t.Errorf("%s: %v", name, err)
		}
	}
	mib := strings.Repeat("x", 1<<20)
	for name, test := range map[string]struct {
		to          API
		first, more string
	}{
		"text behind an open call":    {Anthropic, call(`"index":0,"id":"a","function":{"name":"f","arguments":"{"}`), `{"content":"` + mib + `"}`},
		"another call":                {Anthropic, call(`"index":0,"id":"a","function":{"name":"f","arguments":"{"}`), call(`"index":1,"id":"b","function":{"name":"g","arguments":"{\"` + mib + `\":1,"}`)},
		"a call for Google":           {Gemini, `{}`, call(`"index":0,"id":"a","function":{"name":"f","arguments":"{\"` + mib + `\":1,"}`)},
		"arguments that have no name": {Anthropic, `{}`, call(`"index":0,"id":"a","function":{"arguments":"{` + mib + `"}`)},
	} {
		s := NewStream(Chat, test.to, answerOptions)
		_, err := s.Write([]byte(events(`{"id":"c","choices":[{"delta":` + test.first + `}]}`)))
		for range 9 { // 9 MiB are more than 8
			if err == nil {
				_, err = s.Write([]byte(events(`{"id":"c","choices":[{"delta":` + test.more + `}]}`)))
			}
		}
		if !errors.Is(err, errTooMuchHeld) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
