package translate

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

var answerOptions = AnswerOptions{Model: "asked-for", ID: "made-id", IncludeUsage: true,
	Now: func() time.Time { return time.Unix(1700000000, 0) }}

func asJSON(t *testing.T, doc []byte) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(doc)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, doc)
	}
	return v
}

func sameJSON(t *testing.T, got []byte, want string) {
	t.Helper()
	if !reflect.DeepEqual(asJSON(t, got), asJSON(t, []byte(want))) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// What the answers below consumed. Anthropic's counts are disjoint: 25 read, 100 read
// from the cache, 10 written to it, 89 written, of which 30 are thoughts. So a prompt has 25+100+10 = 135 tokens, and 135+89 = 224 were moved; without the
// thoughts 89-30 = 59 were written.
const (
	anthropicWhole = `{"id":"msg_01","type":"message","role":"assistant","model":"claude-opus-4-8","content":[
		{"type":"thinking","thinking":"Hm <b>","signature":"EqQBCg=="},
		{"type":"redacted_thinking","data":"abc"},
		{"type":"text","text":"I look.\n","citations":null},
		{"type":"tool_use","id":"toolu_01","name":"read","input":{"path":"/a", "big":12345678901234567890,"b":1e400}},
		{"type":"tool_use","id":"toolu_02","name":"now","input":{}}],
		"stop_reason":"tool_use","stop_sequence":null,
		"usage":{"input_tokens":25,"cache_creation_input_tokens":10,"cache_read_input_tokens":100,"output_tokens":89,"output_tokens_details":{"thinking_tokens":30}}}`
	chatWhole = `{"id":"chatcmpl-1","object":"chat.completion","created":1677652288,"model":"gpt-5.5","choices":[{"index":0,
		"message":{"role":"assistant","content":"I look.\n","refusal":null,"reasoning_content":"Hm <b>","annotations":[],
		"tool_calls":[{"id":"call_1","type":"function","function":{"name":"read","arguments":"{\"path\":\"/a\",\"big\":12345678901234567890,\"b\":1e400}"}},
		{"id":"call_2","type":"function","function":{"name":"now","arguments":""}}]},"logprobs":null,"finish_reason":"tool_calls"}],
		"usage":{"prompt_tokens":135,"completion_tokens":89,"total_tokens":224,"prompt_tokens_details":{"cached_tokens":100,"cache_write_tokens":10},"completion_tokens_details":{"reasoning_tokens":30}}}`
	geminiWhole = `{"candidates":[{"content":{"parts":[{"text":"Hm <b>","thought":true},{"text":"I look.\n"},
		{"functionCall":{"name":"read","args":{"path":"/a","big":12345678901234567890,"b":1e400}},"thoughtSignature":"Cg=="},
		{"functionCall":{"id":"fc-2","name":"now"}}],"role":"model"},"finishReason":"STOP","index":0}],
		"usageMetadata":{"promptTokenCount":125,"cachedContentTokenCount":100,"toolUsePromptTokenCount":10,"candidatesTokenCount":59,"thoughtsTokenCount":30,"totalTokenCount":224},
		"modelVersion":"gemini-3.1-pro","responseId":"resp-1"}`
)

var wholeTests = []struct {
	name     string
	from, to API
	doc      string
	want     string
	lost     Losses
}{
	{name: "anthropic to chat", from: Anthropic, to: Chat, doc: anthropicWhole,
		want: `{"id":"msg_01","object":"chat.completion","created":1700000000,"model":"asked-for","choices":[{"index":0,
			"message":{"role":"assistant","content":"I look.\n","refusal":null,"reasoning_content":"Hm <b>","tool_calls":[
			{"id":"toolu_01","type":"function","function":{"name":"read","arguments":"{\"path\":\"/a\",\"big\":12345678901234567890,\"b\":1e400}"}},
			{"id":"toolu_02","type":"function","function":{"name":"now","arguments":"{}"}}]},"logprobs":null,"finish_reason":"tool_calls"}],
			"usage":{"prompt_tokens":135,"completion_tokens":89,"total_tokens":224,
			"prompt_tokens_details":{"cached_tokens":100,"cache_write_tokens":10},"completion_tokens_details":{"reasoning_tokens":30}}}`,
		lost: Losses{"thinking_signature", "redacted_thinking"}},
	{name: "anthropic to gemini", from: Anthropic, to: Gemini, doc: anthropicWhole,
		want: `{"candidates":[{"content":{"parts":[{"text":"Hm <b>","thought":true},{"text":"I look.\n"},
			{"functionCall":{"id":"toolu_01","name":"read","args":{"path":"/a","big":12345678901234567890,"b":1e400}},"thoughtSignature":"skip_thought_signature_validator"},
			{"functionCall":{"id":"toolu_02","name":"now","args":{}}}],"role":"model"},"finishReason":"STOP","index":0}],
			"usageMetadata":{"promptTokenCount":135,"cachedContentTokenCount":100,"candidatesTokenCount":59,"thoughtsTokenCount":30,"totalTokenCount":224},
			"modelVersion":"asked-for","responseId":"msg_01"}`,
		lost: Losses{"thinking_signature", "redacted_thinking"}},
	{name: "chat to anthropic", from: Chat, to: Anthropic, doc: chatWhole,
		want: `{"id":"chatcmpl-1","type":"message","role":"assistant","model":"asked-for","content":[
			{"type":"thinking","thinking":"Hm <b>","signature":""},{"type":"text","text":"I look.\n"},
			{"type":"tool_use","id":"call_1","name":"read","input":{"path":"/a","big":12345678901234567890,"b":1e400}},
			{"type":"tool_use","id":"call_2","name":"now","input":{}}],"stop_reason":"tool_use","stop_sequence":null,
			"usage":{"input_tokens":25,"cache_creation_input_tokens":10,"cache_read_input_tokens":100,"output_tokens":89,"output_tokens_details":{"thinking_tokens":30}}}`,
		lost: Losses{"thinking_signature"}},
	{name: "chat to gemini", from: Chat, to: Gemini, doc: chatWhole,
		want: `{"candidates":[{"content":{"parts":[{"text":"Hm <b>","thought":true},{"text":"I look.\n"},
			{"functionCall":{"id":"call_1","name":"read","args":{"path":"/a","big":12345678901234567890,"b":1e400}},"thoughtSignature":"skip_thought_signature_validator"},
			{"functionCall":{"id":"call_2","name":"now","args":{}}}],"role":"model"},"finishReason":"STOP","index":0}],
			"usageMetadata":{"promptTokenCount":135,"cachedContentTokenCount":100,"candidatesTokenCount":59,"thoughtsTokenCount":30,"totalTokenCount":224},
			"modelVersion":"asked-for","responseId":"chatcmpl-1"}`},
	// Google has no count of what was written to a cache: 125-100 tokens of the prompt
	// are not cached, and 10 of tools' results come on top.
	{name: "gemini to anthropic", from: Gemini, to: Anthropic, doc: geminiWhole,
		want: `{"id":"resp-1","type":"message","role":"assistant","model":"asked-for","content":[
			{"type":"thinking","thinking":"Hm <b>","signature":""},{"type":"text","text":"I look.\n"},
			{"type":"tool_use","id":"` + madeCallID("resp-1", 0, "read") + `","name":"read","input":{"path":"/a","big":12345678901234567890,"b":1e400}},
			{"type":"tool_use","id":"fc-2","name":"now","input":{}}],"stop_reason":"tool_use","stop_sequence":null,
			"usage":{"input_tokens":35,"cache_creation_input_tokens":0,"cache_read_input_tokens":100,"output_tokens":89,"output_tokens_details":{"thinking_tokens":30}}}`,
		lost: Losses{"thinking_signature"}},
	{name: "gemini to chat", from: Gemini, to: Chat, doc: geminiWhole,
		want: `{"id":"resp-1","object":"chat.completion","created":1700000000,"model":"asked-for","choices":[{"index":0,
			"message":{"role":"assistant","content":"I look.\n","refusal":null,"reasoning_content":"Hm <b>","tool_calls":[
			{"id":"` + madeCallID("resp-1", 0, "read") + `","type":"function","function":{"name":"read","arguments":"{\"path\":\"/a\",\"big\":12345678901234567890,\"b\":1e400}"}},
			{"id":"fc-2","type":"function","function":{"name":"now","arguments":"{}"}}]},"logprobs":null,"finish_reason":"tool_calls"}],
			"usage":{"prompt_tokens":135,"completion_tokens":89,"total_tokens":224,
			"prompt_tokens_details":{"cached_tokens":100},"completion_tokens_details":{"reasoning_tokens":30}}}`,
		lost: Losses{"thinking_signature"}},
	{name: "no content, no usage, no id", from: Chat, to: Anthropic,
		doc: `{"choices":[{"message":{"content":null},"finish_reason":"stop"}]}`,
		want: `{"id":"made-id","type":"message","role":"assistant","model":"asked-for","content":[],"stop_reason":"end_turn","stop_sequence":null,
			"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}`},
	{name: "usage that nobody said is not zero", from: Anthropic, to: Chat,
		doc: `{"type":"message","id":"m","content":[],"stop_reason":"end_turn"}`,
		want: `{"id":"m","object":"chat.completion","created":1700000000,"model":"asked-for",
			"choices":[{"index":0,"message":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":"stop"}]}`},
	{name: "parts of Mistral, broken surrogate, ids that Anthropic refuses", from: Chat, to: Anthropic,
		doc: `{"id":"x","choices":[{"index":0,"message":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"a"}]},
			{"type":"text","text":"\ud83d"},{"type":"text","text":"\ude00"},{"type":"image_url"},{"type":"odd"}],
			"tool_calls":[{"id":"functions.read:0","function":{"name":"read","arguments":{"a": [1, 2]}}}],"audio":{"id":"1"}},
			"logprobs":{"content":[{}]},"finish_reason":"stop"},{"index":1,"message":{"content":"another"}}]}`,
		want: `{"id":"x","type":"message","role":"assistant","model":"asked-for","content":[{"type":"thinking","thinking":"a","signature":""},
			{"type":"text","text":"😀"},{"type":"tool_use","id":"` + anthropicCallID("functions.read:0") + `","name":"read","input":{"a":[1,2]}}],
			"stop_reason":"tool_use","stop_sequence":null,
			"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}`,
		lost: Losses{"logprobs", "images", "unknown_content", "audio", "choices", "thinking_signature"}},
	{name: "what a blocked prompt is", from: Gemini, to: Chat,
		doc: `{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":7,"totalTokenCount":7}}`,
		want: `{"id":"made-id","object":"chat.completion","created":1700000000,"model":"asked-for",
			"choices":[{"index":0,"message":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":"content_filter"}],
			"usage":{"prompt_tokens":7,"completion_tokens":0,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}`},
	{name: "a call that was cut is left out", from: Chat, to: Gemini,
		doc:  `{"id":"x","choices":[{"message":{"content":"so","tool_calls":[{"id":"1","function":{"name":"w","arguments":"{\"a\":"}}]},"finish_reason":"length"}]}`,
		want: `{"candidates":[{"content":{"parts":[{"text":"so"}],"role":"model"},"finishReason":"MAX_TOKENS","index":0}],"modelVersion":"asked-for","responseId":"x"}`,
		lost: Losses{"tool_call"}},
	{name: "the older form of a call", from: Chat, to: Gemini,
		doc: `{"id":"x","choices":[{"message":{"content":null,"function_call":{"name":"w","arguments":"{}"}},"finish_reason":"function_call"}]}`,
		want: `{"candidates":[{"content":{"parts":[{"functionCall":{"id":"` + madeCallID("x", 0, "w") + `","name":"w","args":{}},"thoughtSignature":"` + foreignSignature + `"}],"role":"model"},
			"finishReason":"STOP","index":0}],"modelVersion":"asked-for","responseId":"x"}`},
	{name: "server tools and citations", from: Anthropic, to: Gemini,
		doc: `{"type":"message","id":"m","content":[{"type":"server_tool_use","id":"s","name":"web_search","input":{"query":"x"}},
			{"type":"web_search_tool_result","tool_use_id":"s","content":[]},{"type":"text","text":"so","citations":[{"type":"char_location"}]},
			{"type":"newer"}],"stop_reason":"pause_turn"}`,
		want: `{"candidates":[{"content":{"parts":[{"text":"so"}],"role":"model"},"finishReason":"STOP","index":0}],"modelVersion":"asked-for","responseId":"m"}`,
		lost: Losses{"server_tools", "citations", "unknown_content", "stop_reason"}},
}

func TestWholeAnswers(t *testing.T) {
	for _, test := range wholeTests {
		t.Run(test.name, func(t *testing.T) {
			got, lost, err := Answer([]byte(test.doc), test.from, test.to, answerOptions)
			if err != nil {
				t.Fatal(err)
			}
			sameJSON(t, got, test.want)
			if !slices.Equal(lost, test.lost) {
				t.Errorf("lost %q, want %q", lost, test.lost)
			}
			if strings.Contains(string(got), `\u003c`) {
				t.Errorf("HTML is escaped in %s", got)
			}
		})
	}
}

// An answer that went to another form and back says what it said, but for what was
// named as lost both ways, the times, and the names.
func TestWholeAnswersThereAndBack(t *testing.T) {
	docs := map[API]string{Anthropic: anthropicWhole, Chat: chatWhole, Gemini: geminiWhole}
	for home, doc := range docs {
		for away := range docs {
			if home == away {
				continue
			}
			there, _, err := Answer([]byte(doc), home, away, answerOptions)
			if err != nil {
				t.Fatal(err)
			}
			back, _, err := Answer(there, away, home, answerOptions)
			if err != nil {
				t.Fatal(err)
			}
			got, want := neutral(t, back, home), neutral(t, []byte(doc), home)
			if away == Gemini { // it has no count of what is written to a cache
				for _, w := range []*answerWhole{got, want} {
					w.final.usage.Input += w.final.usage.CacheWrite5m
					w.final.usage.CacheWrite5m = 0
				}
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s by way of %s:\ngot  %+v\nwant %+v", home, away, got, want)
			}
		}
	}
}

func neutral(t *testing.T, doc []byte, api API) *answerWhole {
	t.Helper()
	var w answerWhole
	r := newAnswerReader(api, usage.JSON, answerOptions, &w)
	r.meter.Write(doc)
	if err := sourceOf(api, r).whole(doc); err != nil {
		t.Fatal(err)
	}
	if err := w.settle(&r.lost); err != nil {
		t.Fatal(err)
	}
	for i := range w.blocks {
		w.blocks[i].text = nilIf(w.blocks[i].kind == callBlock, w.blocks[i].text)
	}
	w.head.model, w.head.usage, w.final.usage.Model = "", usage.Usage{}, ""
	return &w
}

func nilIf(yes bool, t literal) literal {
	if yes {
		return nil
	}
	return quoted(t.string())
}

func TestWhatIsLost(t *testing.T) {
	chat := func(content string) string {
		return `{"id":"x","choices":[{"message":{"content":[` + content + `]},"finish_reason":"stop"}]}`
	}
	gemini := func(part string) string {
		return `{"candidates":[{"content":{"parts":[` + part + `]},"finishReason":"STOP"}]}`
	}
	anthropic := func(block string) string {
		return `{"type":"message","id":"m","content":[` + block + `],"stop_reason":"end_turn"}`
	}
	for _, test := range []struct {
		from API
		doc  string
		want string
	}{
		{Chat, chat(`{"type":"output_audio"}`), "audio"},
		{Chat, chat(`{"type":"reference","reference_ids":[1]}`), "citations"},
		{Chat, chat(`{"type":"image"}`), "images"},
		{Chat, chat(`{}`), "unknown_content"},
		{Chat, `{"choices":[{"message":{"content":"a","images":[{"type":"image_url"}]},"finish_reason":"stop"}]}`, "images"},
		{Chat, `{"choices":[{"message":{"content":"a","annotations":[{"type":"url_citation"}]},"finish_reason":"stop"}]}`, "citations"},
		{Chat, `{"choices":[{"message":{"tool_calls":[{"id":"1","type":"custom","custom":{"name":"n","input":""}}]},"finish_reason":"tool_calls"}]}`, "custom_tools"},
		{Gemini, gemini(`{"inlineData":{"mimeType":"image/png","data":"AA=="}}`), "images"},
		{Gemini, gemini(`{"inlineData":{"mimeType":"audio/wav","data":"AA=="}}`), "audio"},
		{Gemini, gemini(`{"audioTranscription":{"text":"a"}}`), "audio"},
		{Gemini, gemini(`{"inlineData":{"mimeType":"video/mp4","data":"AA=="}}`), "files"},
		{Gemini, gemini(`{"fileData":{"fileUri":"gs://a"}}`), "files"},
		{Gemini, gemini(`{"executableCode":{"code":"1"}}`), "server_tools"},
		{Gemini, gemini(`{"codeExecutionResult":{"output":"1"}}`), "server_tools"},
		{Gemini, gemini(`{"toolCall":{"id":"1"}}`), "server_tools"},
		{Gemini, gemini(`{"newer":{}}`), "unknown_content"},
		{Gemini, gemini(`{"thoughtSignature":"AA=="}`), "thinking_signature"},
		{Gemini, `{"candidates":[{"content":{},"finishReason":"STOP","groundingMetadata":{"a":1}}]}`, "citations"},
		{Gemini, `{"candidates":[{"content":{},"finishReason":"STOP","citationMetadata":{"a":1}}]}`, "citations"},
		{Gemini, `{"candidates":[{"content":{},"finishReason":"STOP","logprobsResult":{"a":1}}]}`, "logprobs"},
		{Gemini, `{"candidates":[{"finishReason":"STOP"},{"index":1}]}`, "choices"},
		{Anthropic, anthropic(`{"type":"mcp_tool_use","id":"1","name":"n"}`), "server_tools"},
		{Anthropic, anthropic(`{"type":"code_execution_tool_result"}`), "server_tools"},
		{Anthropic, anthropic(`{}`), "unknown_content"},
	} {
		for _, to := range []API{Anthropic, Chat, Gemini} {
			if to == test.from {
				continue
			}
			_, lost, err := Answer([]byte(test.doc), test.from, to, answerOptions)
			if err != nil || !slices.Equal(lost, Losses{test.want}) {
				t.Errorf("%s to %s: %v, lost %q, want %q", test.doc, to, err, lost, test.want)
			}
		}
	}
}

func TestThoughtsInParts(t *testing.T) {
	doc := `{"choices":[{"message":{"reasoning":"a","content":[{"type":"thinking","thinking":"b"},{"type":"refusal","refusal":"No."}]},"finish_reason":"stop"}]}`
	got, _, err := Answer([]byte(doc), Chat, Gemini, AnswerOptions{Model: "m"})
	if err != nil {
		t.Fatal(err)
	}
	sameJSON(t, got, `{"candidates":[{"content":{"parts":[{"text":"ab","thought":true},{"text":"No."}],"role":"model"},"finishReason":"SAFETY","index":0}],"modelVersion":"m"}`)
}

// Without options the provider's name of the model stays, and the time is there.
func TestNoOptions(t *testing.T) {
	got, _, err := Answer([]byte(geminiWhole), Gemini, Chat, AnswerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var chat struct {
		Model   string `json:"model"`
		Created int64  `json:"created"`
	}
	if err := json.Unmarshal(got, &chat); err != nil || chat.Model != "gemini-3.1-pro" || chat.Created == 0 {
		t.Errorf("%v, %s", err, got)
	}
}

func TestStopReasons(t *testing.T) {
	chat := func(reason string) string {
		return `{"id":"x","choices":[{"message":{"content":"a"},"finish_reason":"` + reason + `"}]}`
	}
	anthropic := func(reason string) string {
		return `{"type":"message","id":"x","content":[{"type":"text","text":"a"}],"stop_reason":"` + reason + `","stop_sequence":"END"}`
	}
	gemini := func(reason string) string {
		return `{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"` + reason + `"}]}`
	}
	for _, test := range []struct {
		from, to API
		doc      string
		want     string
	}{
		{Anthropic, Chat, anthropic("end_turn"), `"finish_reason":"stop"`},
		{Anthropic, Chat, anthropic("stop_sequence"), `"finish_reason":"stop"`},
		{Anthropic, Chat, anthropic("max_tokens"), `"finish_reason":"length"`},
		{Anthropic, Chat, anthropic("model_context_window_exceeded"), `"finish_reason":"length"`},
		{Anthropic, Chat, anthropic("refusal"), `"finish_reason":"content_filter"`},
		{Anthropic, Chat, anthropic("tool_use"), `"finish_reason":"stop"`}, // there is no call
		{Anthropic, Gemini, anthropic("max_tokens"), `"finishReason":"MAX_TOKENS"`},
		{Anthropic, Gemini, anthropic("refusal"), `"finishReason":"SAFETY"`},
		{Chat, Anthropic, chat("stop"), `"stop_reason":"end_turn"`},
		{Chat, Anthropic, chat("length"), `"stop_reason":"max_tokens"`},
		{Chat, Anthropic, chat("content_filter"), `"stop_reason":"refusal"`},
		{Chat, Anthropic, `{"choices":[{"message":{"refusal":"No."},"finish_reason":"stop"}]}`, `"stop_reason":"refusal"`},
		{Chat, Anthropic, `{"choices":[{"message":{"content":"a"},"finish_reason":"stop","stop_reason":"END"}]}`, `"stop_reason":"stop_sequence","stop_sequence":"END"`},
		{Chat, Anthropic, `{"choices":[{"message":{"content":"a"},"finish_reason":"stop","stop_reason":128009}]}`, `"stop_reason":"end_turn","stop_sequence":null`},
		{Chat, Gemini, chat("new_reason"), `"finishReason":"STOP"`},
		{Gemini, Anthropic, gemini("STOP"), `"stop_reason":"end_turn"`},
		{Gemini, Anthropic, gemini("MAX_TOKENS"), `"stop_reason":"max_tokens"`},
		{Gemini, Anthropic, gemini("PROHIBITED_CONTENT"), `"stop_reason":"refusal"`},
		{Gemini, Anthropic, gemini("OTHER"), `"stop_reason":"end_turn"`},
	} {
		got, _, err := Answer([]byte(test.doc), test.from, test.to, answerOptions)
		if err != nil || !strings.Contains(string(got), test.want) {
			t.Errorf("%s: %v, %s, want %s", test.doc, err, got, test.want)
		}
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	deep := strings.Repeat("[", 20000)
	call := func(args string) string {
		return `{"choices":[{"message":{"tool_calls":[{"id":"1","function":{"name":"n","arguments":` + args + `}}]},"finish_reason":"stop"}]}`
	}
	for _, test := range []struct {
		from   API
		doc    string
		status int // of a *StreamError; 0: another error
	}{
		{Anthropic, ``, 0},
		{Anthropic, `null`, 0},
		{Anthropic, `{"type":"completion"}`, 0},
		{Anthropic, `{"type":"message","content":"text","stop_reason":"end_turn"}`, 0},
		{Anthropic, `{"type":"message","content":[]}`, 0}, // it does not say why it ends
		{Anthropic, `{"type":"message","content":[{"type":"tool_use","id":"1","input":{}}],"stop_reason":"tool_use"}`, 0},
		{Anthropic, `{"type":"message","content":[{"type":"tool_use","id":"1","name":"n","input":[1]}],"stop_reason":"tool_use"}`, 0},
		{Anthropic, `{"type":"message","content":` + deep, 0},
		{Anthropic, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`, 529},
		{Chat, `{"choices":[]}`, 0},
		{Chat, `{"choices":[{"message":{"content":"a"},"finish_reason":null}]}`, 0},
		{Chat, call(`"{\"a\":"`), 0},
		{Chat, call(`"{} {}"`), 0},
		{Chat, call(`"[]"`), 0},
		{Chat, call(`"{]"`), 0},
		{Chat, call(`"{\"a\":nothing}"`), 0},
		{Chat, `{"error":{"message":"no","code":402}}`, 402},
		{Chat, `{"choices":[{"message":{"content":"a"},"finish_reason":"error"}]}`, 502},
		{Chat, `{"choices":[{"message":{"content":"a"},"error":{"code":429,"message":"slow"}}]}`, 429},
		{Gemini, `{}`, 0},
		{Gemini, `[]`, 0},
		{Gemini, `{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}`, 0},
		{Gemini, `{"candidates":[{"content":{"parts":[{"functionCall":{"name":"n","args":"x"}}]},"finishReason":"STOP"}]}`, 0},
		{Gemini, `{"candidates":[{"content":{"parts":[{"functionCall":{"name":"n","partialArgs":[{}]}}]},"finishReason":"STOP"}]}`, 0},
		{Gemini, `{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL"}]}`, 502},
		{Gemini, `{"error":{"code":429,"message":"slow","status":"RESOURCE_EXHAUSTED"}}`, 429},
	} {
		for _, to := range []API{Anthropic, Chat, Gemini} {
			if to == test.from {
				continue
			}
			out, _, err := Answer([]byte(test.doc), test.from, to, answerOptions)
			var told *StreamError
			switch {
			case err == nil || out != nil:
				t.Errorf("%.80s to %s: %s, no error", test.doc, to, out)
			case errors.As(err, &told) != (test.status != 0):
				t.Errorf("%.80s to %s: %v is of the wrong kind", test.doc, to, err)
			case told != nil && told.Status != test.status:
				t.Errorf("%.80s to %s: status %d, want %d", test.doc, to, told.Status, test.status)
			}
		}
	}
	if _, _, err := Answer([]byte(chatWhole), Chat, Chat, answerOptions); err == nil {
		t.Error("an answer between equals was translated")
	}
	if _, _, err := Answer([]byte(chatWhole), Chat, "responses", answerOptions); err == nil {
		t.Error("an answer was translated to an unknown API")
	}
}

func TestTooManyCalls(t *testing.T) {
	calls := func(n int) []byte {
		part := `{"functionCall":{"name":"n"}}`
		return []byte(`{"candidates":[{"content":{"parts":[` + part + strings.Repeat(","+part, n-1) + `]},"finishReason":"STOP"}]}`)
	}
	if _, _, err := Answer(calls(maxCalls), Gemini, Chat, answerOptions); err != nil {
		t.Error(err)
	}
	if _, _, err := Answer(calls(maxCalls+1), Gemini, Chat, answerOptions); err == nil {
		t.Error("there was no limit")
	}
}

func TestCallIDs(t *testing.T) {
	if a, b := madeCallID("r", 0, "n"), madeCallID("r", 0, "n"); a != b {
		t.Errorf("%q and %q differ", a, b)
	}
	seen := map[string]bool{}
	for _, id := range []string{madeCallID("r", 0, "n"), madeCallID("r", 1, "n"), madeCallID("s", 0, "n"), madeCallID("r", 0, "m")} {
		if seen[id] || anthropicCallID(id) != id || chatCallID(id) != id {
			t.Errorf("%q is there already, or is not taken", id)
		}
		seen[id] = true
	}
	if id := "toolu_01-a_Z"; anthropicCallID(id) != id {
		t.Errorf("%q was changed", id)
	}
	for _, id := range []string{"a.b", "a:b", "ü"} {
		if got := anthropicCallID(id); got == id || anthropicCallID(got) != got {
			t.Errorf("%q became %q", id, got)
		}
	}
	forty := strings.Repeat("x", 40)
	if chatCallID(forty) != forty || len(chatCallID(forty+"x")) > 40 {
		t.Error("40 characters are allowed, and no more")
	}
}
