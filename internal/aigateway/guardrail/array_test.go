package guardrail

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

var answer = Subject{Direction: Response}

// google is an event of streamGenerateContent.
func google(piece string) string {
	return `{"candidates":[{"content":{"parts":[{"text":` + quoted(piece) + `}],"role":"model"}}]}`
}

// array says pieces in an array of events, as the API does without alt=sse.
func array(event func(string) string, pieces ...string) string {
	var all []string
	for _, p := range pieces {
		all = append(all, event(p))
	}
	return "[" + strings.Join(all, ",\r\n") + "]\n"
}

// pretty is a document with a line break and blanks before everything.
func pretty(t testing.TB, doc string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(doc), "", "  "); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// saidByGoogle are the texts of an array of Google's events, joined by the standard library.
func saidByGoogle(t testing.TB, body []byte) (pieces []string) {
	t.Helper()
	var events []struct {
		Candidates []struct {
			Content struct{ Parts []struct{ Text string } }
		}
	}
	if err := json.Unmarshal(body, &events); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	for _, e := range events {
		pieces = append(pieces, e.Candidates[0].Content.Parts[0].Text)
	}
	return pieces
}

// cuts are ways to cut a text into n pieces: every place is the first cut of some and
// the last of others, with single letters between, or as long parts as there can be.
func cuts(text string, n int) (all [][]string) {
	for first := 1; first+n-1 <= len(text); first++ {
		one, even := []string{text[:first]}, []string{text[:first]}
		for i := range n - 2 {
			one = append(one, text[first+i:first+i+1])
		}
		one = append(one, text[first+n-2:])
		rest := text[first:]
		for i := n - 1; i > 0; i-- {
			even = append(even, rest[:len(rest)/i])
			rest = rest[len(rest)/i:]
		}
		turned := []string{text[:len(text)-first-n+2]}
		for i := range n - 2 {
			turned = append(turned, text[len(text)-first-n+2+i:][:1])
		}
		turned = append(turned, text[len(text)-first:])
		all = append(all, one, even, turned)
	}
	return all
}

func TestArrayOfEvents(t *testing.T) {
	key := "ghp_" + mixed(36)
	flag, redact, block := rules(t, Rule{Secrets, Response, Flag}), rules(t, Rule{Secrets, Response, Redact}), rules(t, Rule{Secrets, Response, Block})
	told := Finding{Secrets, "github_token", Flag, Response, placeText, guard.hash([]byte(key))}
	for n := 2; n <= 5; n++ {
		for _, pieces := range cuts(key, n) {
			if strings.Join(pieces, "") != key || len(pieces) != n {
				t.Fatalf("the test cuts %q", pieces)
			}
			pieces[0], pieces[n-1] = "it\nis "+pieces[0], pieces[n-1]+" \"é"
			body := array(google, pieces...)
			for _, body := range []string{body, pretty(t, body), "\r\n\t " + body} {
				if rep := flag.Examine(answer, []byte(body)); rep.Total != 1 || rep.Findings[0] != told || rep.Body != nil || rep.Blocked {
					t.Fatalf("%q: %+v", pieces, rep)
				}
				if rep := block.Examine(answer, []byte(body)); !rep.Blocked || rep.Reason() != "the response holds what must not pass: github_token at stream text" || rep.Total != 1 {
					t.Fatalf("%q: %+v", pieces, rep)
				}
				rep := redact.Examine(answer, []byte(body))
				want := make([]string, n)
				want[0], want[n-1] = "it\nis [redacted:github_token]", " \"é"
				if got := saidByGoogle(t, rep.Body); !slices.Equal(got, want) || rep.Total != 1 || rep.Blocked {
					t.Fatalf("%q became %q: %+v", pieces, got, rep)
				}
				if rep := redact.Examine(answer, rep.Body); rep.Total != 0 || rep.Body != nil {
					t.Fatalf("%q became %+v", pieces, rep)
				}
			}
		}
	}
}

// doc is the document of an API's event, "" if it has none.
func (a api) doc(n int, piece string) string {
	event := a.event(n, piece)
	from, to := strings.IndexByte(event, '{'), strings.LastIndexByte(event, '}')
	if a.name == "replicate" {
		return ""
	}
	return event[from : to+1]
}

// TestArrayOfEveryShape: what is joined in a stream of lines is joined in an array of
// its events, and what is kept apart there is kept apart.
func TestArrayOfEveryShape(t *testing.T) {
	first, second := "a ghp_"+mixed(36)+" b", "c AKIA"+upper(16)+" dd"
	redact := rules(t, Rule{Secrets, Response, Redact})
	for _, a := range streamAPIs {
		if a.name == "replicate" {
			continue
		}
		var docs []string
		for i := range max(len(first), len(second)) {
			for n, text := range []string{first, second} {
				if i < len(text) && (n == 0 || !slices.Contains([]string{"workers ai", "hugging face", "ollama"}, a.name)) {
					docs = append(docs, a.doc(n, text[i:i+1]))
				}
			}
		}
		rep := redact.Examine(answer, []byte("["+strings.Join(docs, ",")+"]"))
		kept := redact.ExamineStream(answer, []byte(strings.Join(docs, "\n")+"\n"))
		if want := "[" + strings.ReplaceAll(strings.TrimSpace(string(kept.Body)), "\n", ",") + "]"; string(rep.Body) != want || kept.Total == 0 || !slices.Equal(rep.Findings, kept.Findings) {
			t.Errorf("%s: %+v\n%s\n%s", a.name, rep, rep.Body, want)
		}
	}
	key := "ghp_" + mixed(36)
	for _, body := range []string{
		`[{"candidates":[{"content":{"parts":[{"thought":true,"text":"` + key[:20] + `"}]}}]},{"candidates":[{"content":{"parts":[{"text":"` + key[20:] + `"}]}}]}]`,
		`[{"candidates":[{"index":1,"content":{"parts":[{"text":"` + key[:20] + `"}]}}]},{"candidates":[{"content":{"parts":[{"text":"` + key[20:] + `"}]}}]}]`,
		`[{"type":"a.delta","delta":"` + key[:20] + `"},{"delta":"` + key[20:] + `","type":"b.delta"}]`,
		`[{"type":"a.delta","delta":"` + key[:20] + `"},{"delta":"` + key[20:] + `"}]`,
		`[{"x":"` + key[:20] + `"},{"x":"` + key[20:] + `"}]`,
		`["` + key[:20] + `","` + key[20:] + `"]`,
		`[[{"response":"` + key[:20] + `"},{"response":"` + key[20:] + `"}]]`,
		`{"x":[{"response":"` + key[:20] + `"},{"response":"` + key[20:] + `"}]}`,
	} {
		if rep := redact.Examine(answer, []byte(body)); rep.Total != 0 || rep.Body != nil {
			t.Errorf("%s: %+v", body, rep)
		}
	}
	// Whatever stands between the events.
	body := `[null,{"response":"` + key[:9] + `"},7,[],"x",{},{"error":{"message":"ghp"}},{"response":"` + key[9:] + `"}]`
	if rep := redact.Examine(answer, []byte(body)); rep.Total != 1 || string(rep.Body) != `[null,{"response":"[redacted:github_token]"},7,[],"x",{},{"error":{"message":"ghp"}},{"response":""}]` {
		t.Errorf("%s %+v", rep.Body, rep)
	}
}

// TestWholeInOneEvent: what an event holds alone is found there, and told once.
func TestWholeInOneEvent(t *testing.T) {
	key, google35, aws := "ghp_"+mixed(36), "AIza"+mixed(35), mixed(38)+"/+"
	redact := rules(t, Rule{Secrets, Response, Redact}, Rule{PII, Response, Flag})
	const text = "].candidates[0].content.parts[0].text"
	for _, c := range []struct {
		in, want []string
		found    string
	}{
		{[]string{"a", key + " b", "c"}, []string{"a", "[redacted:github_token] b", "c"}, "github_token $[1" + text},
		{[]string{key}, []string{"[redacted:github_token]"}, "github_token $[0" + text},
		{[]string{key, key}, []string{"[redacted:github_token]", "[redacted:github_token]"}, "github_token $[0" + text + " github_token $[1" + text},
		// It goes on behind the event, and is one all the same.
		{[]string{key, "abc d"}, []string{"[redacted:github_token]", " d"}, "github_token $[0" + text},
		// Alone it is a key of Google's, which has 35 letters; joined it has 36.
		{[]string{google35, "x"}, []string{"[redacted:google_key]", "x"}, "google_key $[0" + text},
		// Alone it is a word in a word.
		{[]string{"x", key}, []string{"x", "[redacted:github_token]"}, "github_token $[1" + text},
		// It is whole in an event, but what tells that it is a key is in the one before.
		{[]string{"aws_secret_access_key = ", aws}, []string{"aws_secret_access_key = ", "[redacted:aws_secret_key]"}, "aws_secret_key stream text"},
		// A text and what is not streamed.
		{[]string{key[:7] + "\u00e9" + key[:8], key[8:], ""}, []string{key[:7] + "\u00e9[redacted:github_token]", "", ""}, "github_token stream text"},
		// Alone a shorter one is found: both are told.
		{[]string{"john.", "smith@example.com"}, nil, "email stream text email $[1" + text},
	} {
		rep := redact.Examine(answer, []byte(array(google, c.in...)))
		var found []string
		for _, f := range rep.Findings {
			found = append(found, f.Kind+" "+f.Path)
		}
		if strings.Join(found, " ") != c.found || rep.Total != len(found) {
			t.Errorf("%q: %q", c.in, found)
		}
		if c.want == nil {
			if rep.Body != nil {
				t.Errorf("%q became %s", c.in, rep.Body)
			}
		} else if got := saidByGoogle(t, rep.Body); !slices.Equal(got, c.want) {
			t.Errorf("%q became %q", c.in, got)
		}
	}
}

// TestRequestsAreNoStreams: an array that is asked with is looked at string by string.
func TestRequestsAreNoStreams(t *testing.T) {
	key := "ghp_" + mixed(36)
	r := rules(t, Rule{Secrets, Request, Block}, Rule{Secrets, ToolResult, Block}, Rule{PII, Response, Flag})
	body := array(google, key[:9], key[9:])
	for _, d := range []Direction{Request, ToolResult} {
		if rep := r.Examine(Subject{Direction: d}, []byte(body)); rep.Total != 0 || rep.Blocked {
			t.Errorf("%s: %+v", d, rep)
		}
	}
	rep := rules(t, Rule{Secrets, ToolResult, Redact}).Examine(request, []byte(`[{"role":"tool","response":"`+key+`"},{"response":"`+key+`"}]`))
	if want := `[{"role":"tool","response":"[redacted:github_token]"},{"response":"` + key + `"}]`; string(rep.Body) != want || rep.Total != 1 {
		t.Errorf("%s %+v", rep.Body, rep)
	}
}

// TestCutArrays: an array that ends anywhere is no JSON, so nothing in it can be
// blotted out; a key whose last piece it still has is found.
func TestCutArrays(t *testing.T) {
	key := "ghp_" + mixed(36)
	redact := rules(t, Rule{Secrets, Response, Redact})
	for _, indent := range []bool{false, true} {
		body := array(google, "a "+key[:9], key[9:15], key[15:]+" b", "c")
		if indent {
			body = pretty(t, body)
		}
		end := strings.Index(body, " b\"") + len(" b\"") // the last piece's quote
		for cut := range strings.TrimRight(body, "\n") {
			rep := redact.Examine(answer, []byte(body[:cut]))
			if found := cut >= end; rep.Blocked != found || rep.Body != nil || found && (rep.Total != 1 || rep.Findings[0].Action != Block) {
				t.Fatalf("%q: %+v", body[:cut], rep)
			}
		}
	}
	// What stands behind the text would tell it apart, and is not there.
	body := `[{"choices":[{"index":0,"delta":{"content":"` + key[:9] + `"}}]},{"choices":[{"delta":{"content":"` + key[9:] + `"`
	if rep := redact.Examine(answer, []byte(body)); rep.Total != 1 || !rep.Blocked {
		t.Errorf("%+v", rep)
	}
}

func TestHostileArrays(t *testing.T) {
	key := "ghp_" + mixed(36)
	r := rules(t, Rule{Secrets, Response, Redact}, Rule{PII, Response, Redact})
	for _, body := range []string{
		"", "[", "[]", "[{}]", "[,]", "[{]", "[}]", `[{"response":`, `[{"response":"`, `[{"response":"\`, `[{"response":"\u00"`, "[\x00]", "[{}{}]", "[{},]", "[null,1,true]",
		strings.Repeat("[", 5000), strings.Repeat("[", 900) + strings.Repeat("]", 900), strings.Repeat(`[{"delta":`, 5000), strings.Repeat(`[{"choices":`, 400) + `"x"` + strings.Repeat("}]", 400),
		`[{"delta":"\ud83d"},{"delta":"\ude00"}]`, "[{\"delta\":\"\xff\"},{\"delta\":\"\xfe\"}]",
		"[" + strings.Repeat(`{"delta":"a","type":"b"},`, 5000) + "{}]", `[{` + strings.Repeat(`"delta":"a",`, 5000) + `"x":1}]`,
		"[" + strings.Repeat(`{"response":""},`, 5000) + "{}]",
	} {
		if rep := r.Examine(answer, []byte(body)); rep.Total != 0 || rep.Body != nil || rep.Blocked {
			t.Errorf("%.80q: %+v", body, rep)
		}
	}
	// 2 MiB of events, each text of its own; then one text of 200 keys, cut in two.
	var b strings.Builder
	for i := 0; b.Len() < 2<<20; i++ {
		fmt.Fprintf(&b, `{"candidates":[{"index":%d,"content":{"parts":[{"text":"a ghp_"}]}}]},`, i)
	}
	for range 200 {
		b.WriteString(google(" "+key[:20]) + "," + google(key[20:]+".") + ",")
	}
	rep := r.Examine(answer, []byte("["+b.String()+"null]"))
	if rep.Total != 200 || len(rep.Findings) != maxFindings || bytes.Contains(rep.Body, []byte(key[:20])) || bytes.Contains(rep.Body, []byte(key[20:])) {
		t.Errorf("%d found, %d told", rep.Total, len(rep.Findings))
	}
}

// covered says which letters of a text in pieces are found in a piece alone, or in all
// of it joined.
func covered(pieces []string, checks ...Check) []bool {
	whole := strings.Join(pieces, "")
	is, at := make([]bool, len(whole)), 0
	for _, p := range append(slices.Clone(pieces), whole) {
		if at == len(whole) && p == whole {
			at = 0
		}
		for _, c := range checks {
			c.Find(Subject{}, []byte(p+"\x00"), func(m Match) {
				for i := m.From; i < m.To; i++ {
					is[at+i] = true
				}
			})
		}
		at += len(p)
	}
	return is
}

// FuzzArray streams a text in an array: what is left of it is each letter that no
// check finds, alone or joined.
func FuzzArray(f *testing.F) {
	f.Add("a ghp_"+mixed(36)+"\n\u00e9 \"+49 (30) 1234567\"", []byte{3, 1, 7, 2})
	f.Add("<sk-ant-"+mixed(40)+"> sk-ant-"+mixed(40)+"@example.com 123-45-6789@a.b.de\\AKIA"+upper(16), []byte{1})
	f.Add("AIza"+mixed(36)+" x\u2028aws_secret_access_key=\""+mixed(38)+`/+"`, []byte{39, 60})
	f.Add("-----BEGIN PRIVATE KEY-----\n"+mixed(80)+"\n-----END PRIVATE KEY----- 4111 1111 1111 1111", []byte{15, 2})
	r := rules(f, Rule{Secrets, Response, Redact}, Rule{PII, Response, Redact})
	f.Fuzz(func(t *testing.T, text string, sizes []byte) {
		text = strings.ReplaceAll(strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "\x00", "?"), "[redacted:", "?")
		var pieces []string
		for i := 0; text != ""; i++ {
			size := len(text)
			if len(sizes) > 0 {
				size = min(size, int(sizes[i%len(sizes)])%64+1)
			}
			for size < len(text) && !utf8.RuneStart(text[size]) {
				size++
			}
			pieces, text = append(pieces, text[:size]), text[size:]
		}
		body := []byte(array(google, pieces...))
		rep := r.Examine(answer, body)
		if rep.Body != nil {
			body = rep.Body
		}
		got := saidByGoogle(t, body)
		if len(got) != len(pieces) || rep.Blocked {
			t.Fatalf("%q became %q", pieces, got)
		}
		is, at := covered(pieces, secrets{}, personal{}), 0
		for i, p := range pieces {
			want := ""
			for n := range len(p) {
				if !is[at+n] {
					want += p[n : n+1]
				}
			}
			at += len(p)
			if left := mark.ReplaceAllString(got[i], ""); left != want {
				t.Fatalf("%q became %q: piece %d should be %q", pieces, got, i, want)
			}
		}
		if slices.Contains(is, true) != strings.Contains(strings.Join(got, ""), "[redacted:") {
			t.Fatalf("%q became %q without a mark", pieces, got)
		}
	})
}

// FuzzArrayBytes: whatever the answer is, a document stays one, and nothing changes
// but where something is blotted out.
func FuzzArrayBytes(f *testing.F) {
	key := "ghp_" + mixed(36)
	f.Add([]byte(array(google, key[:9], key[9:])))
	f.Add([]byte(`[{"response":"\u0067hp"},{"response":"_` + key[4:] + `\n","x":"a@b.de"},null,[{"response":"x"}]]`))
	f.Add([]byte(`[{"delta":["\ud83d","a@b.de"],"delta":"c@d.ef","type":"a@b.de"},{"delta":"a@b`))
	f.Add([]byte(`{"a":"` + key + `"}`))
	r := rules(f, Rule{Secrets, Response, Redact}, Rule{PII, Response, Redact}, Rule{Injection, Response, Flag})
	f.Fuzz(func(t *testing.T, body []byte) {
		rep := r.Examine(answer, body)
		if rep.Blocked && rep.Body != nil || rep.Blocked && rep.Reason() == "" || len(rep.Findings) > min(rep.Total, maxFindings) {
			t.Fatalf("%q: %+v", body, rep)
		}
		if rep.Body == nil || strings.Contains(string(body), "[redacted:") {
			return
		}
		if json.Valid(body) && !json.Valid(rep.Body) || !leftOf(string(rep.Body), string(body)) {
			t.Fatalf("%q became %q", body, rep.Body)
		}
	})
}

func BenchmarkExamineArray(b *testing.B) {
	var docs []string
	for i := range 1000 {
		docs = append(docs, google(fmt.Sprintf(" word%d", i%10)))
	}
	body := []byte("[" + strings.Join(docs, ",\r\n") + "]")
	r := rules(b, Rule{Secrets, Response, Redact})
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if rep := r.Examine(answer, body); rep.Total > 0 {
			b.Fatalf("%+v", rep)
		}
	}
}
