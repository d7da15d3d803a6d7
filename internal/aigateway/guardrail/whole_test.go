package guardrail

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestKeptStream(t *testing.T) {
	key := "ghp_" + mixed(36)
	head, tail := key[:15], key[15:]
	redact := rules(t, Rule{Secrets, Response, Redact}, Rule{PII, Response, Flag})
	flag := rules(t, Rule{Secrets, Response, Flag})
	for _, c := range []struct{ in, want string }{
		{"data: {\"x\":\"" + key + "\"}\r\n\r\n", "data: {\"x\":\"[redacted:github_token]\"}\r\n\r\n"},
		{`{"response":"a ` + head + `"}` + "\n" + `{"response":"` + tail + `\n"}` + "\n", `{"response":"a [redacted:github_token]"}` + "\n" + `{"response":"\n"}` + "\n"},
		{`{"response":"\u0067hp"}` + "\n" + `{"response":"_` + mixed(10) + `"}` + "\n" + `{"response":"` + mixed(36)[10:] + `. "}`, `{"response":"[redacted:github_token]"}` + "\n" + `{"response":""}` + "\n" + `{"response":". "}`},
		// Two of them that touch in one piece.
		{`{"response":"AKIA"}` + "\n" + `{"response":"` + upper(16) + ` gh"}` + "\n" + `{"response":"p_` + mixed(36) + `"}` + "\n",
			`{"response":"[redacted:aws_access_key]"}` + "\n" + `{"response":" [redacted:github_token]"}` + "\n" + `{"response":""}` + "\n"},
		// The whole of it, which the API says again at the end.
		{`{"type":"t","delta":"` + head + `"}` + "\n" + `{"type":"t","delta":"` + tail + `"}` + "\n" + `{"text":"` + key + `"}` + "\n",
			`{"type":"t","delta":"[redacted:github_token]"}` + "\n" + `{"type":"t","delta":""}` + "\n" + `{"text":"[redacted:github_token]"}` + "\n"},
		// What is no JSON.
		{": " + key + "\ndata: [DONE]\n", ": [redacted:github_token]\ndata: [DONE]\n"},
		{"data: {\"x\":\"" + key + "\n", "data: {\"x\":\"[redacted:github_token]\n"},
		{"data:-----BEGIN PRIVATE KEY-----\ndata: " + mixed(80) + "\ndata: -----END PRIVATE KEY-----\n\n", "data:[redacted:private_key]\ndata: \ndata: \n\n"},
		{"data:  " + head + "\n\ndata: " + tail + "\n\n", "data:  [redacted:github_token]\n\ndata: \n\n"},
		{"data: a\ndata: " + key + "\n\n", "data: a\ndata: [redacted:github_token]\n\n"}, // lines do not make one word
		// A last line that was cut is left out, whatever it holds.
		{"{\"a\":\"b\"}\n{\"a\":\"" + key, "{\"a\":\"b\"}\n"},
		{"{\"a\":\"b\"}\ndata: {\"a\":", "{\"a\":\"b\"}\n"},
		{"{\"a\":\"" + key + "\"}\ndata: [DO", "{\"a\":\"[redacted:github_token]\"}\n"},
		{`{"a":"` + key + `"}`, `{"a":"[redacted:github_token]"}`},
		{`{"a":"` + key, ``},
	} {
		rep := redact.ExamineStream(Subject{}, []byte(c.in))
		if string(rep.Body) != c.want || rep.Body == nil || rep.Blocked {
			t.Errorf("%q\nbecame %q\nnot    %q", c.in, rep.Body, c.want)
		}
		if strings.Contains(c.in, "ghp") && rep.Total == 0 {
			t.Errorf("%q: %+v", c.in, rep)
		}
		if rep := flag.ExamineStream(Subject{}, []byte(c.in)); rep.Body != nil {
			t.Errorf("%q is only flagged, and became %q", c.in, rep.Body)
		}
	}
	var off *Rules
	for _, r := range []*Rules{off, compile(t, DefaultPolicy())} {
		if rep := r.ExamineStream(Subject{Direction: Response}, []byte(`{"a":"`+key)); rep.Total > 0 || rep.Body != nil {
			t.Errorf("no rule for answers: %+v", rep)
		}
	}
	if rep := redact.ExamineStream(Subject{}, []byte("{\"a\":\"b\"}\n")); rep.Body != nil || rep.Total != 0 || rep.Findings != nil {
		t.Errorf("harmless: %+v", rep)
	}
}

func TestKeptStreamTellsPlaces(t *testing.T) {
	key := "ghp_" + mixed(36)
	r := rules(t, Rule{Secrets, Response, Redact}, Rule{PII, Response, Flag})
	body := `{"response":"` + key[:9] + `","z":["","a@example.com b@example.com"]}` + "\n" + "data: {\"response\":\"" + key[9:] + "\",\"y\":{\"x\":\"" + key + "\"}}\n" + "event: " + key + "\n\n" + `{"w":"` + key
	rep := r.ExamineStream(Subject{}, []byte(body))
	var got []string
	for _, f := range rep.Findings {
		got = append(got, f.Kind+" "+f.Path)
	}
	want := []string{"github_token stream text", "email $.z[1]", "email $.z[1]", "github_token $.y.x", "github_token $", "github_token $"}
	if !slices.Equal(got, want) || rep.Total != len(want) {
		t.Errorf("%q", got)
	}
	// Of many, those that count most are told, in order.
	many := strings.Repeat(`{"response":"a@example.com ","x":"b@example.com"}`+"\n", 100) + `{"x":"` + key + `"}` + "\n"
	rep = r.ExamineStream(Subject{}, []byte(many))
	if last := rep.Findings[maxFindings-1]; rep.Total != 201 || len(rep.Findings) != maxFindings || last.Path != "$.x" || last.Action != Redact {
		t.Errorf("%d, %d told, last %+v", rep.Total, len(rep.Findings), last)
	}
}

// blotted is a text with what the checks find in it replaced: what overlaps is one.
func blotted(text string, checks ...Check) string {
	var all []Match
	for _, c := range checks {
		c.Find(Subject{}, []byte(text+"\x00"), func(m Match) { all = append(all, m) })
	}
	slices.SortStableFunc(all, func(a, b Match) int { return cmp.Compare(a.From, b.From) })
	out, done := "", 0
	for _, m := range all {
		if m.From >= done {
			out += text[done:m.From] + "[redacted:" + m.Kind + "]"
		}
		done = max(done, m.To)
	}
	return out + text[done:]
}

// FuzzKept streams two texts in pieces, mixed, and joins what is left of them again:
// it is each text with what was found in it replaced, and nothing else.
func FuzzKept(f *testing.F) {
	for shape := range streamAPIs {
		f.Add("a ghp_"+mixed(36)+"\n\u00e9 \"+49 (30) 1234567\"", "x\\AKIA"+upper(16)+" a@b.de\t", []byte{3, 1, 7, 2}, uint8(shape))
		f.Add("<sk-ant-"+mixed(40)+"> sk-ant-"+mixed(40)+"@example.com", "123-45-6789@a.b.de", []byte{1}, uint8(shape))
	}
	r := rules(f, Rule{Secrets, Response, Redact}, Rule{PII, Response, Redact})
	f.Fuzz(func(t *testing.T, first, second string, sizes []byte, shape uint8) {
		a := streamAPIs[int(shape)%len(streamAPIs)]
		texts := []string{strings.ToValidUTF8(first, "?"), strings.ToValidUTF8(second, "?")}
		switch a.name {
		case "replicate":
			return // not every text can be said in it
		case "workers ai", "hugging face", "ollama":
			texts[1] = "" // they have one text
		}
		rest, body := slices.Clone(texts), strings.Builder{}
		for i := 0; rest[0]+rest[1] != ""; i++ {
			size := len(rest[i%2])
			if len(sizes) > 0 {
				size = min(size, int(sizes[i%len(sizes)])%16+1)
			}
			for size < len(rest[i%2]) && !utf8.RuneStart(rest[i%2][size]) {
				size++
			}
			body.WriteString(a.event(i%2, rest[i%2][:size]))
			rest[i%2] = rest[i%2][size:]
		}
		in := []byte(body.String())
		out := in
		if rep := r.ExamineStream(Subject{}, in); rep.Body != nil {
			out = rep.Body
		}
		for n, text := range texts {
			if text == "" {
				continue
			}
			if got, want := a.said(t, n, out), blotted(text, secrets{}, personal{}); got != want {
				t.Fatalf("%s: %q became %q, not %q\n%s", a.name, text, got, want, out)
			}
		}
	})
}

// FuzzKeptBytes: whatever the body is, lines stay lines, documents stay documents,
// and nothing changes but where something is blotted out.
func FuzzKeptBytes(f *testing.F) {
	key := "ghp_" + mixed(36)
	f.Add([]byte(`{"response":"a ` + key[:20] + `"}` + "\n" + `{"response":"` + key[20:] + `"}` + "\n{"))
	f.Add([]byte("data: " + key[:9] + "\r\ndata: " + key[9:] + "\n\n: a@b.de\n" + `data: {"delta":{"text":"a@b"},"index":2,"x":"` + key + `"}`))
	f.Add([]byte(`{"delta":["\ud83d","a@b.de"],"delta":"c@d.ef","type":"a@b.de"}` + "\nevent: x"))
	f.Add([]byte("data: {\r\ndata: \"x\": \"a@b.de\",\r\n: c@d.ef\r\ndata:\"delta\":\"" + key[:9] + "\"\r\ndata: }\r\n\r\ndata: {\"delta\":\ndata: \"" + key[9:] + "\"\ndata: }"))
	r := rules(f, Rule{Secrets, Response, Redact}, Rule{PII, Response, Redact}, Rule{Injection, Response, Flag})
	f.Fuzz(func(t *testing.T, body []byte) {
		rep := r.ExamineStream(Subject{}, body)
		if rep.Body == nil || strings.Contains(string(body), "[redacted:") {
			return
		}
		before, after := strings.SplitAfter(string(body), "\n"), strings.SplitAfter(string(rep.Body), "\n")
		// A last event that was cut may be left out.
		if n := len(after); n > len(before) || n < len(before) && after[n-1] != "" {
			t.Fatalf("%q became %q", body, rep.Body)
		}
		for i, line := range after {
			from, to, _ := lineParts([]byte(strings.TrimSuffix(before[i], "\n")))
			if doc := []byte(before[i])[from:to]; json.Valid(doc) && len(doc) > 0 && doc[0] == '{' && line != "" {
				from, to, _ := lineParts([]byte(strings.TrimSuffix(line, "\n")))
				if !json.Valid([]byte(line)[from:to]) {
					t.Fatalf("%q became %q", before[i], line)
				}
			}
			if !leftOf(line, before[i]) {
				t.Fatalf("%q became %q", before[i], line)
			}
		}
	})
}

// leftOf says whether a line is another one with parts of it taken out, and some of
// them replaced by marks.
func leftOf(line, before string) bool {
	for _, part := range mark.Split(line, -1) {
		for i := range len(part) { // letters in order; what lies between was taken out
			n := strings.IndexByte(before, part[i])
			if n < 0 {
				return false
			}
			before = before[n+1:]
		}
	}
	return true
}

func BenchmarkExamineStream(b *testing.B) {
	body := chatStream(1000)
	r := rules(b, Rule{Secrets, Response, Redact})
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if rep := r.ExamineStream(Subject{}, body); rep.Total > 0 {
			b.Fatalf("%+v", rep)
		}
	}
}
