package guardrail

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// api is a way in which texts are streamed: how one event says a piece of text n.
type api struct {
	name  string
	event func(n int, piece string) string
	place string
}

// quoted is a piece as a JSON string.
func quoted(piece string) string {
	b, err := json.Marshal(piece)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// sse makes events of a form, which takes n and the piece, in that order.
func sse(form string) func(int, string) string {
	return func(n int, piece string) string { return "data: " + fmt.Sprintf(form, n, quoted(piece)) + "\n\n" }
}

var streamAPIs = []api{
	{"anthropic text", func(n int, piece string) string {
		return fmt.Sprintf("event: content_block_delta\r\ndata: {\"type\":\"content_block_delta\",\"index\":%d,\"delta\":{\"type\":\"text_delta\",\"text\":%s}}\r\n\r\n", n, quoted(piece))
	}, placeText},
	{"anthropic thinking", sse(`{"type":"content_block_delta","index":%d,"delta":{"type":"thinking_delta","thinking":%s}}`), placeThinking},
	{"anthropic tool", sse(`{"type":"content_block_delta","index":%d,"delta":{"type":"input_json_delta","partial_json":%s}}`), placeArguments},
	{"chat", sse(`{"id":"c1","choices":[{"delta":{"content":%[2]s},"index":%[1]d}]}`), placeText},
	{"chat, alone", sse(`{"choices":[{"index":%d,"delta":{"content":[{"type":"text","text":%s}]}}]}`), placeText},
	{"chat reasoning", sse(`{"choices":[{"index":%d,"delta":{"content":null,"reasoning_content":%s}}]}`), placeThinking},
	{"chat tools", sse(`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":%d,"function":{"arguments":%s}}]}}]}`), placeArguments},
	{"completions", sse(`{"choices":[{"index":%d,"text":%s}]}`), placeText},
	{"gemini", sse(`{"candidates":[{"index":%d,"content":{"parts":[{"text":%s}],"role":"model"}}]}`), placeText},
	{"gemini arguments", sse(`{"candidates":[{"content":{"parts":[{"functionCall":{"partialArgs":[{"jsonPath":"$.a%d","stringValue":%s,"willContinue":true}]}}]}}]}`), placeArguments},
	{"responses", sse(`{"type":"response.output_text.delta","output_index":1,"content_index":%d,"delta":%s}`), placeText},
	{"responses tool", sse(`{"delta":%[2]s,"type":"response.function_call_arguments.delta","output_index":%[1]d,"sequence_number":7}`), placeText},
	{"converse", sse(`{"contentBlockIndex":%d,"delta":{"toolUse":{"input":%s}}}`), placeArguments},
	{"cohere", sse(`{"type":"content-delta","index":%d,"delta":{"message":{"content":{"text":%s}}}}`), placeText},
	{"cohere tool", sse(`{"type":"tool-call-delta","index":%d,"delta":{"message":{"tool_calls":{"function":{"arguments":%s}}}}}`), placeArguments},
	{"workers ai", sse(`{"p":%d,"response":%s}`), placeText},
	{"hugging face", sse(`{"token":{"id":%d,"text":%s,"special":false},"generated_text":null}`), placeText},
	{"ollama", func(_ int, piece string) string {
		return `{"model":"x","message":{"role":"assistant","content":` + quoted(piece) + `},"done":false}` + "\n"
	}, placeText},
	{"replicate", func(_ int, piece string) string {
		return "event: output\nid: 1\ndata: " + strings.ReplaceAll(piece, "\n", "\ndata: ") + "\n\n"
	}, placeText},
}

// said joins what a stream says again, text n of an API, with the standard library.
func (a api) said(t testing.TB, n int, body []byte) string {
	t.Helper()
	if a.name == "replicate" {
		var all strings.Builder
		for event := range strings.SplitSeq(string(body), "\n\n") {
			_, data, _ := strings.Cut(event, "data: ")
			all.WriteString(strings.ReplaceAll(data, "\ndata: ", "\n"))
		}
		return all.String()
	}
	// What stands around a piece in its event tells which text it is of.
	before, after, _ := strings.Cut(a.event(n, "\x01"), quoted("\x01"))
	before = before[strings.LastIndexByte(before, '\n')+1:]
	after, _, _ = strings.Cut(after, "\n")
	var all strings.Builder
	for line := range strings.Lines(string(body)) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, before); ok && strings.HasSuffix(rest, after) {
			var piece string
			if err := json.Unmarshal([]byte(strings.TrimSuffix(rest, after)), &piece); err != nil {
				t.Fatalf("%s: %q: %v", a.name, line, err)
			}
			all.WriteString(piece)
		}
	}
	return all.String()
}

// listen gives a stream to the rules as it comes.
func listen(r *Rules, body string) *Stream {
	st := r.Stream(Subject{})
	_, _ = st.Write([]byte(body))
	return st
}

// TestEveryShape cuts a key at every place, and into single letters.
func TestEveryShape(t *testing.T) {
	key := "sk-ant-api03-" + mixed(30)
	text := "the \"key\"\tis " + key + " é"
	flag, redact, block := rules(t, Rule{Secrets, Response, Flag}), rules(t, Rule{Secrets, Response, Redact}), rules(t, Rule{Secrets, Response, Block})
	want := strings.Replace(text, key, "[redacted:anthropic_key]", 1)
	for _, a := range streamAPIs {
		bodies := []string{"", ""}
		for _, c := range text {
			bodies[0] += a.event(1, string(c))
		}
		for _, c := range text {
			bodies[1] += a.event(1, string(c)) + ": ping\n\n" + a.event(1, "")
		}
		for cut := range text {
			bodies = append(bodies, a.event(1, text[:cut])+a.event(1, text[cut:]))
		}
		for i, body := range bodies {
			told := Finding{Secrets, "anthropic_key", Flag, Response, a.place, guard.hash([]byte(key))}
			for name, rep := range map[string]Report{"live": listen(flag, body).Report(), "live, redact": listen(redact, body).Report(), "kept": flag.ExamineStream(Subject{}, []byte(body))} {
				if rep.Total != 1 || rep.Blocked || rep.Body != nil || rep.Findings[0] != told {
					t.Fatalf("%s %s %d: %+v\n%s", a.name, name, i, rep, body)
				}
			}
			told.Action = Block
			st := listen(block, body)
			rep := st.Report()
			if reason, ok := st.Blocked(); !ok || reason != rep.Reason() || reason != "the response holds what must not pass: anthropic_key at "+a.place || rep.Findings[0] != told || !rep.Blocked || rep.Total != 1 {
				t.Fatalf("%s blocked %d: %q %+v", a.name, i, reason, rep)
			}
			if rep := block.ExamineStream(Subject{}, []byte(body)); !rep.Blocked || rep.Body != nil {
				t.Fatalf("%s kept and blocked %d: %+v", a.name, i, rep)
			}
			rep = redact.ExamineStream(Subject{}, []byte(body))
			if got := a.said(t, 1, rep.Body); got != want || rep.Findings[0].Action != Redact || strings.Count(string(rep.Body), "\n") != strings.Count(body, "\n") {
				t.Fatalf("%s %d says %q\n%s", a.name, i, got, rep.Body)
			}
		}
	}
}

// TestTextsAreKeptApart mixes two texts of one stream, letter by letter.
func TestTextsAreKeptApart(t *testing.T) {
	first, second := "a ghp_"+mixed(36)+" b", "c AKIA"+upper(16)+" dd"
	redact := rules(t, Rule{Secrets, Response, Redact})
	for _, a := range streamAPIs {
		switch a.name {
		case "workers ai", "hugging face", "ollama", "replicate":
			continue // they have one text
		}
		body := ""
		for i := range max(len(first), len(second)) {
			for n, text := range []string{first, second} {
				if i < len(text) {
					body += a.event(n, text[i:i+1])
				}
			}
		}
		if rep := listen(redact, body).Report(); rep.Total != 2 {
			t.Errorf("%s: %+v", a.name, rep)
		}
		rep := redact.ExamineStream(Subject{}, []byte(body))
		if a, b := a.said(t, 0, rep.Body), a.said(t, 1, rep.Body); a != "a [redacted:github_token] b" || b != "c [redacted:aws_access_key] dd" {
			t.Errorf("%q %q", a, b)
		}
	}
	// Pieces of different texts make no key together.
	key := "ghp_" + mixed(36)
	for _, body := range []string{
		`{"candidates":[{"content":{"parts":[{"thought":true,"text":"` + key[:20] + `"}]}}]}` + "\n" + `{"candidates":[{"content":{"parts":[{"text":"` + key[20:] + `"}]}}]}` + "\n",
		`{"type":"a.delta","delta":"` + key[:20] + `"}` + "\n" + `{"type":"b.delta","delta":"` + key[20:] + `"}` + "\n",
		`{"choices":[{"delta":{"content":"` + key[:20] + `","reasoning":"` + key[20:] + `"}}]}` + "\n",
		`{"x":"` + key[:20] + `"}` + "\n" + `{"x":"` + key[20:] + `"}` + "\n",
	} {
		if a, b := listen(redact, body).Report(), redact.ExamineStream(Subject{}, []byte(body)); a.Total+b.Total != 0 {
			t.Errorf("%s: %+v %+v", body, a, b)
		}
	}
	// What opens a block is its beginning; a place that is missing is the first.
	for _, body := range []string{
		`{"content_block":{"text":"` + key[:20] + `"},"index":0}` + "\n" + `{"delta":{"text":"` + key[20:] + `"}}` + "\n",
		`{"ch\u006fices":[{"delta":{"content":"` + key[:20] + `"}}]}` + "\n" + `{"choices":[{"delta":{"content":"` + key[20:] + `"},"index":0}]}`,
	} {
		if a, b := listen(redact, body).Report(), redact.ExamineStream(Subject{}, []byte(body)); a.Total != 1 || b.Total != 1 || strings.Contains(string(b.Body), key[:20]) || strings.Contains(string(b.Body), key[20:]) {
			t.Errorf("%s: %+v %+v", body, a, b)
		}
	}
}

// TestBlockedEarly: one letter an event, so a key is known at most 256 letters and
// one event behind its end, and it is known before the stream's end.
func TestBlockedEarly(t *testing.T) {
	r := rules(t, Rule{Secrets, Response, Block}, Rule{PII, Response, Flag})
	key := "ghp_" + mixed(36)
	for before := 0; before < 600; before += 7 {
		st := r.Stream(Subject{})
		text := strings.Repeat("word ", 200)[:before] + " " + key + " "
		for i, c := range text + strings.Repeat("more ", 60) {
			_, _ = st.Write([]byte(streamAPIs[3].event(0, string(c))))
			_, blocked := st.Blocked()
			if end := len(text) - 1; blocked && i < end || !blocked && i > end+earlyLook {
				t.Fatalf("after %d letters, the key ending at %d: %v", i, end, blocked)
			}
		}
		if rep := st.Report(); rep.Total != 1 || st.Report().Total != 1 {
			t.Fatalf("%+v", rep)
		}
	}
	if reason, ok := (*Stream)(nil).Blocked(); ok || reason != "" {
		t.Error("no stream is blocked")
	}
	// Findings that do not block make room for those that do.
	st := listen(r, strings.Repeat(`{"a":"a@example.com"}`+"\n", 100)+`{"a":"`+key+`"}`+"\n")
	if rep := st.Report(); rep.Total != 101 || len(rep.Findings) != maxFindings || rep.Reason() != "the response holds what must not pass: github_token at $.a" {
		t.Errorf("%d, %d told, %s", rep.Total, len(rep.Findings), rep.Reason())
	}
}

// TestKeyThatIsNone: 35 letters after AIza are a key, 36 are not, whenever the look
// is that sees the first 35.
func TestKeyThatIsNone(t *testing.T) {
	r := rules(t, Rule{Secrets, Response, Block})
	for before := 150; before < 300; before += 5 {
		body := ""
		for _, c := range strings.Repeat("word ", 60)[:before] + " AIza" + mixed(36) + strings.Repeat(" more", 60) {
			body += streamAPIs[3].event(0, string(c))
		}
		if rep := listen(r, body).Report(); rep.Total != 0 {
			t.Fatalf("%d: %+v", before, rep)
		}
	}
}

// TestBorders has a key at every place near where two whole looks meet: 8 KiB, and
// 1 KiB before, from where on is looked again.
func TestBorders(t *testing.T) {
	key, token := "ghp_"+mixed(36), jwt()+mixed(300)+mixed(400)+mixed(400)
	for _, r := range []*Rules{rules(t, Rule{Secrets, Response, Flag}), rules(t, Rule{Secrets, Response, Block})} {
		for _, border := range []int{wholeLook, wholeLook - overlap, wholeLook - overlap - context} {
			for at := border - len(key) - 1; at <= border+1; at += 3 {
				for _, secret := range []string{key, token} {
					text := strings.Repeat("risk-", 2*wholeLook)[:at] + " " + secret + strings.Repeat(" more", wholeLook/5)
					body := ""
					for c := range slices.Chunk([]byte(text), 64) {
						body += streamAPIs[3].event(0, string(c))
					}
					rep := listen(r, body).Report()
					if rep.Total != 1 || rep.Findings[0].Hash != guard.hash([]byte(secret)) {
						t.Fatalf("%d of %d: %+v", at, border, rep)
					}
				}
			}
		}
	}
}

// hashes are the findings' hashes with their kinds, in order.
func hashes(rep Report) []string {
	var all []string
	for _, f := range rep.Findings {
		all = append(all, f.Kind+" "+f.Hash)
	}
	slices.Sort(all)
	return all
}

// TestLiveIsKept gives random texts to both ways of looking: they find the same.
func TestLiveIsKept(t *testing.T) {
	parts := []string{
		"ghp_" + mixed(36), "sk-ant-" + mixed(40), "AKIA" + upper(16), jwt(), "123456789:" + mixed(35), "M" + mixed(23) + "." + mixed(6) + "." + mixed(38),
		"a.long.name@example.co.uk", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "+49 (30) 1234567", "123-45-6789", "risk-" + mixed(40),
		"-----BEGIN RSA " + "PRIVATE KEY-----\n" + mixed(300) + "\n-----END RSA PRIVATE KEY-----", "aws_secret_access_key = \"" + mixed(38) + `/+"`,
		mixed(100), strings.Repeat("words ", 30), strings.Repeat("\u00e9\U0001F600", 9), "eyJ", "12 ", "+", "@", "-----BEGIN ",
	}
	seps := []string{" ", "\n", "", "-", ". "}
	random := rand.New(rand.NewPCG(1, 2))
	live, kept := rules(t, Rule{Secrets, Response, Flag}, Rule{PII, Response, Block}), rules(t, Rule{Secrets, Response, Flag}, Rule{PII, Response, Flag})
	for round := range 300 {
		text := strings.Repeat("filler ", random.IntN(1400))
		for range 1 + random.IntN(30) {
			text += parts[random.IntN(len(parts))] + seps[random.IntN(len(seps))]
		}
		var body strings.Builder
		for most := 1 + random.IntN(40); len(text) > 0; {
			n := 0 // whole letters, for JSON has no others
			for range 1 + random.IntN(most) {
				_, size := firstRune(text[n:])
				n += size
			}
			body.WriteString(streamAPIs[round%len(streamAPIs)].event(0, text[:n]))
			text = text[n:]
		}
		a, b := listen(live, body.String()).Report(), kept.ExamineStream(Subject{}, []byte(body.String()))
		if b.Total <= maxFindings && !slices.Equal(hashes(a), hashes(b)) || a.Total != b.Total {
			t.Fatalf("round %d, %s: live %q, kept %q", round, streamAPIs[round%len(streamAPIs)].name, hashes(a), hashes(b))
		}
	}
}

func firstRune(s string) (r rune, size int) {
	for i, c := range s {
		if i > 0 {
			return r, i
		}
		r = c
	}
	return r, len(s)
}

// TestLargeStreams: up to ten megabytes of each sort, of which little is kept.
func TestLargeStreams(t *testing.T) {
	key := "ghp_" + mixed(36)
	end := streamAPIs[3].event(0, " "+key[:11]) + streamAPIs[3].event(0, key[11:])
	r := rules(t, Rule{Secrets, Response, Block}, Rule{PII, Response, Redact})
	for name, event := range map[string]string{
		"words":       streamAPIs[3].event(0, strings.Repeat("some words ", 20)),
		"no space":    streamAPIs[3].event(0, mixed(400)),
		"one line":    streamAPIs[3].event(0, strings.Repeat("some words ", 20000)),
		"too long":    `{"delta":"` + strings.Repeat("some words ", 30000) + "\"}\n",
		"other texts": `{"obfuscation":"` + strings.Repeat("some words ", 20) + "\"}\n",
		"no lines":    strings.Repeat("some words ", 20),
		"blanks":      "\n\r\n",
		"data":        "data: words\n",
	} {
		size := 1 << 20
		switch name {
		case "words", "no space", "too long":
			size = 10 << 20
		}
		st := r.Stream(Subject{})
		for n := 0; n < size; n += len(event) {
			_, _ = st.Write([]byte(event))
		}
		_, _ = st.Write([]byte("\n" + end))
		if rep := st.Report(); rep.Total != 1 {
			t.Errorf("%s: %+v", name, rep)
		}
		for _, src := range st.sources {
			if cap(src.buf) > 5*wholeLook || len(src.told) > 1 {
				t.Errorf("%s keeps %d bytes, %d told", name, cap(src.buf), len(src.told))
			}
		}
		if cap(st.line) > 2*maxLine {
			t.Errorf("%s keeps a line of %d bytes", name, cap(st.line))
		}
		body := strings.Repeat(event, size/len(event)) + "\n" + end
		rep := r.ExamineStream(Subject{}, []byte(body))
		if rep.Total != 1 || !rep.Blocked {
			t.Errorf("%s, kept: %+v", name, rep.Findings)
		}
	}
}

func TestHostileLines(t *testing.T) {
	key := "ghp_" + mixed(36)
	r := rules(t, Rule{Secrets, Response, Redact})
	var many strings.Builder // each text is the one that rested longest, so none is ever whole
	for i := range 1000 {
		many.WriteString(streamAPIs[3].event(i%(maxSources+1), "x"))
	}
	for _, body := range []string{
		"", "\n", "data:", "data:\n", "data: \n\n", "data", ":\n", "\x00\n", "data: {\n", "data: }\n", "[]\n", "{}\n", `"x"` + "\n", "data: [DONE]\n\n",
		strings.Repeat("[", 5000) + "\n", strings.Repeat(`{"delta":`, 5000) + "\n", strings.Repeat(`{"choices":[`, 900) + strings.Repeat("]}", 900) + "\n",
		`{"delta":"\ud83d"}` + "\n" + `{"delta":"\ude00"}` + "\n" + `{"delta":"\u00` + "\n" + `{"delta":"\u0000\uZZZZ\q"}` + "\n",
		`{"choices":[[{"delta":{"content":"a"}}],{"delta":[[{"content":["a",["b"]]}]]}]}` + "\n", `{"delta":{"text":{"text":"a"}},"index":` + strings.Repeat("9", 5000) + "}\n",
		`{"index":1,"index":2,"delta":"a","delta":"b"}` + "\n", "{\"delta\":\"\xff\xfe\"}\n", many.String(),
		strings.Repeat(`{"index":1,"x":`, 400) + `{"delta":{"text":"a"}}` + strings.Repeat("}", 400) + "\n",
		"{" + strings.Repeat(`"delta":"a","index":3,`, 5000) + `"x":1}` + "\n",
	} {
		st := listen(r, body)
		a, b := st.Report(), r.ExamineStream(Subject{}, []byte(body))
		if a.Total+b.Total != 0 || len(st.sources) > maxSources {
			t.Errorf("%.80q: %+v %+v, %d texts", body, a, b, len(st.sources))
		}
		body += "\n" + `{"x":"` + key + `"}` + "\n"
		if a, b := listen(r, body).Report(), r.ExamineStream(Subject{}, []byte(body)); a.Total != 1 || b.Total != 1 || a.Findings[0].Path != "$.x" || b.Findings[0].Path != "$.x" || strings.Contains(string(b.Body), key) {
			t.Errorf("%.80q and a key: %+v %+v", body, a, b)
		}
	}
}

func TestStreamAllocatesNothing(t *testing.T) {
	st := rules(t, Rule{Secrets, Response, Block}).Stream(Subject{})
	event := []byte(streamAPIs[3].event(0, "some words"))
	for range 2000 {
		_, _ = st.Write(event)
	}
	if n := testing.AllocsPerRun(2000, func() { _, _ = st.Write(event) }); n != 0 {
		t.Errorf("%v allocations an event", n)
	}
}

func FuzzStream(f *testing.F) {
	f.Add([]byte(streamAPIs[0].event(0, "ghp_"+mixed(20))+streamAPIs[0].event(0, mixed(16))), 7)
	f.Add([]byte("data: ghp_"+mixed(20)+"\n\ndata: "+mixed(16)+"\n"), 1)
	f.Add([]byte(`{"delta":"\u0061@b.de"}`+"\n{\"delta\":[\"x\"]"), 3)
	f.Add([]byte("data: {\r\ndata: \"delta\":\r\nid: a@b.de\r\ndata: \"ghp_"+mixed(36)+"\"}\r\n\r\ndata: [\ndata: a@b.de\ndata: {\n\n"), 5)
	r := rules(f, Rule{Secrets, Response, Flag}, Rule{PII, Response, Block}, Rule{Injection, Response, Flag})
	f.Fuzz(func(t *testing.T, body []byte, size int) {
		st, size := r.Stream(Subject{}), max(size, 1)
		for part := range slices.Chunk(body, size) {
			_, _ = st.Write(part)
			if reason, ok := st.Blocked(); ok != (reason != "") {
				t.Fatal(reason, ok)
			}
		}
		// However it is cut, it says the same.
		if a, b := st.Report(), listen(r, string(body)).Report(); a.Total != b.Total || !slices.Equal(hashes(a), hashes(b)) || a.Blocked != b.Blocked {
			t.Fatalf("%q: %+v %+v", body, a, b)
		}
	})
}
