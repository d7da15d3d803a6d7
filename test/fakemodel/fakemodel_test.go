package fakemodel

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func post(t *testing.T, url, path, body string, change func(*http.Request)) (*http.Response, string, error) {
	t.Helper()
	r, err := http.NewRequest("POST", url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if strings.HasSuffix(path, "completions") {
		r.Header.Set("Authorization", "Bearer k")
	} else {
		r.Header.Set("X-Api-Key", "k")
		r.Header.Set("Anthropic-Version", "2023-06-01")
	}
	if change != nil {
		change(r)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

const (
	messages    = "/v1/messages"
	completions = "/v1/chat/completions"
)

// What the real APIs refuse is refused; what agents send is not.
func TestChecks(t *testing.T) {
	a := func(messages, more string) string {
		return `{"model":"m","max_tokens":5,"messages":[` + messages + `]` + more + `}`
	}
	o := func(messages, more string) string { return `{"model":"m","messages":[` + messages + `]` + more + `}` }
	const (
		hi      = `{"role":"user","content":"hi"}`
		use     = `{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"exec","input":{}}]}`
		result  = `{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"x"}]}`
		oUse    = `{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"exec","arguments":"{}"}}]}`
		oResult = `{"role":"tool","tool_call_id":"c1","content":"x"}`
	)
	tests := []struct {
		path, body string
		say        string // "": accepted
	}{
		{messages, a(hi, ``), ""},
		{messages, a(hi+","+hi, `,"stream":true`), ""},
		{messages, a(hi+","+use+","+result+","+hi, `,"tools":[{"name":"exec","input_schema":{"type":"object"}}],"system":"s"`), ""},
		{messages, a(hi, `,"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}]`), ""},
		{messages, a(hi, `,"max_completion_tokens":1`), "max_completion_tokens: Extra inputs are not permitted"},
		{messages, a(hi, `,"stream":"yes"`), "wrong type"},
		{messages, a(hi, `,"temperature":1.5`), "temperature"},
		{messages, a(hi, `,"tools":[{"name":"a b","input_schema":{"type":"object"}}]`), "tools.0.name"},
		{messages, a(hi, `,"tools":[{"name":"a","input_schema":{}}]`), "input_schema"},
		{messages, a(hi, `,"tools":[{"name":"a","input_schema":{"type":"object"}},{"name":"a","input_schema":{"type":"object"}}]`), "unique"},
		{messages, a(hi, `,"system":[{"type":"text","text":""}]`), "system.0"},
		{messages, a(``, ``), "at least one message"},
		{messages, a(`{"role":"assistant","content":"x"}`, ``), "first message"},
		{messages, a(`{"role":"system","content":"x"}`, ``), "first message"},
		{messages, a(hi+`,{"role":"tool","content":"x"}`, ``), "messages.1.role"},
		{messages, a(`{"role":"user","content":""}`, ``), "non-empty"},
		{messages, a(`{"role":"user","content":[]}`, ``), "non-empty"},
		{messages, a(`{"role":"user","content":[{"type":"text","text":""}]}`, ``), "non-empty"},
		{messages, a(`{"role":"user","content":[{"type":"input_text","text":"x"}]}`, ``), "not known"},
		{messages, a(hi+","+use, ``), "without tool_result"},
		{messages, a(hi+","+use+","+hi+`,{"role":"assistant","content":"x"}`, ``), "without tool_result"},
		{messages, a(hi+","+result, ``), "unexpected tool_use_id"},
		{messages, `{"max_tokens":5,"messages":[` + hi + `]}`, "model: Field required"},
		{messages, `{"model":"m","messages":[` + hi + `]}`, "max_tokens: Field required"},
		{messages, `{"model":`, "not a JSON object"},
		{messages + "/count_tokens", `{"model":"m","messages":[` + hi + `]}`, ""},
		{messages + "/batches", `{}`, "Not Found"},
		{completions, o(hi, ``), ""},
		{completions, o(`{"role":"system","content":"s"},`+hi+","+oUse+","+oResult+","+hi, `,"stream":true,"stream_options":{"include_usage":true},"max_completion_tokens":9`), ""},
		{completions, o(`{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"data:"}}]}`, ``), ""},
		{completions, o(hi, `,"system":"x"`), "system: Extra"},
		{completions, o(hi, `,"stream_options":{"include_usage":true}`), "stream_options"},
		{completions, o(hi, `,"tool_choice":"auto"`), "tool_choice"},
		{completions, o(hi, `,"tools":[{"name":"exec"}]`), "tools[0]"},
		{completions, o(hi+","+oUse, ``), "must be followed"},
		{completions, o(hi+","+oUse+","+hi, ``), "must be followed"},
		{completions, o(hi+","+oResult, ``), "must be a response"},
		{completions, o(`{"role":"robot","content":"x"}`, ``), "robot"},
		{completions, o(`{"role":"user","content":null}`, ``), "got null"},
		{completions, o(``, ``), "too short"},
		{completions, `{"messages":[` + hi + `]}`, "model"},
	}
	s := Start(&Model{Key: "k"})
	defer s.Close()
	for _, tt := range tests {
		resp, body, err := post(t, s.URL, tt.path, tt.body, nil)
		if err != nil {
			t.Fatal(err)
		}
		if (resp.StatusCode == 200) != (tt.say == "") || !strings.Contains(body, tt.say) {
			t.Errorf("%s %s: %d %s", tt.path, tt.body, resp.StatusCode, body)
		}
		if c := s.Last(); (c.Problem == "") != (tt.say == "") {
			t.Errorf("%s: problem %q", tt.body, c.Problem)
		}
	}
}

func TestHeaderChecks(t *testing.T) {
	s := Start(&Model{Key: "k"})
	defer s.Close()
	for name, change := range map[string]func(http.Header){
		"no key":           func(h http.Header) { h.Del("X-Api-Key") },
		"wrong key":        func(h http.Header) { h.Set("X-Api-Key", "other") },
		"two keys":         func(h http.Header) { h.Add("X-Api-Key", "k") },
		"both credentials": func(h http.Header) { h.Set("Authorization", "Bearer k") },
		"no version":       func(h http.Header) { h.Del("Anthropic-Version") },
		"no content type":  func(h http.Header) { h.Set("Content-Type", "text/plain") },
		"compressed":       func(h http.Header) { h.Set("Content-Encoding", "gzip") },
	} {
		resp, body, err := post(t, s.URL, messages, `{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"x"}]}`,
			func(r *http.Request) { change(r.Header) })
		if err != nil || resp.StatusCode < 400 || resp.StatusCode > 401 {
			t.Errorf("%s: %v %s", name, err, body)
		}
	}
}

// Streams have the documented order, and Sent is what arrives.
func TestStreams(t *testing.T) {
	s := Start(&Model{Reply: func(*Call) Reply { return Reply{Text: "one two three", ChunkSize: 7} }})
	defer s.Close()
	bodies := map[string]string{
		messages:    `{"model":"m","max_tokens":5,"stream":true,"messages":[{"role":"user","content":"x"}]}`,
		completions: `{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"x"}]}`,
	}
	for path, request := range bodies {
		_, body, err := post(t, s.URL, path, request, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, sum := s.Last().Sent(); n != int64(len(body)) || sum != sha256.Sum256([]byte(body)) {
			t.Errorf("%s: sent %d bytes, got %d", path, n, len(body))
		}
		text := ""
		for in := bufio.NewScanner(strings.NewReader(body)); in.Scan(); {
			data, ok := strings.CutPrefix(in.Text(), "data: ")
			var d struct {
				Delta   struct{ Text string }
				Choices []struct{ Delta struct{ Content string } }
			}
			if ok && data != "[DONE]" && json.Unmarshal([]byte(data), &d) != nil {
				t.Errorf("%s: %s", path, data)
			}
			text += d.Delta.Text
			for _, c := range d.Choices {
				text += c.Delta.Content
			}
		}
		if text != "one two three" || !strings.Contains(body, `"completion_tokens":5`) && path == completions {
			t.Errorf("%s: %s", path, body)
		}
	}
}

// A test can tell what was just said from what was said before.
func TestPrompts(t *testing.T) {
	s := Start(&Model{})
	defer s.Close()
	const turns = `"messages":[{"role":"user","content":"old"},{"role":"assistant","content":"x"},{"role":"user","content":"new"},{"role":"user","content":[{"type":"text","text":"more"}]}]`
	for path, body := range map[string]string{messages: `{"model":"m","max_tokens":5,` + turns + `}`, completions: `{"model":"m",` + turns + `}`} {
		if _, _, err := post(t, s.URL, path, body, nil); err != nil {
			t.Fatal(err)
		}
		if got := s.Last().Prompts; !slices.Equal(got, []string{"new", "more"}) {
			t.Errorf("%s: %q", path, got)
		}
	}
}

// Each way to break off looks to the client as it should.
func TestCuts(t *testing.T) {
	for cut, clean := range map[Cut]bool{CutClean: true, CutAbort: false, CutReset: false} {
		s := Start(&Model{Reply: func(*Call) Reply { return Reply{Text: "x", Cut: cut, AfterBytes: 30} }})
		_, body, err := post(t, s.URL, messages, `{"model":"m","max_tokens":5,"stream":true,"messages":[{"role":"user","content":"x"}]}`, nil)
		if (err == nil) != clean || cut != CutReset && len(body) != 30 {
			t.Errorf("cut %d: %d bytes, %v", cut, len(body), err)
		}
		s.Close()
	}
}
