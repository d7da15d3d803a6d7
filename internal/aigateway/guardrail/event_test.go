package guardrail

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// spread is a stream whose documents have a line of data for each line that they have
// when they are printed with indents.
func spread(t testing.TB, body, end string) string {
	t.Helper()
	var all strings.Builder
	for line := range strings.SplitSeq(strings.ReplaceAll(body, "\r", ""), "\n") {
		doc, ok := strings.CutPrefix(line, "data: ")
		if !ok || !json.Valid([]byte(doc)) {
			all.WriteString(line + end)
			continue
		}
		for i, line := range strings.Split(pretty(t, doc), "\n") {
			if i == 2 {
				all.WriteString(": a comment" + end + "id: 7" + end) // they end no event
			}
			all.WriteString([]string{"data: ", "data:"}[i%2] + line + end)
		}
	}
	return strings.TrimSuffix(all.String(), end)
}

// together undoes it, by the standard: lines of data are joined with line breaks.
func together(t testing.TB, body string) string {
	t.Helper()
	var all strings.Builder
	for event := range strings.SplitSeq(strings.ReplaceAll(body, "\r", ""), "\n\n") {
		var data []string
		for line := range strings.SplitSeq(event, "\n") {
			if rest, ok := strings.CutPrefix(line, "data:"); ok {
				data = append(data, strings.TrimPrefix(rest, " "))
			}
		}
		var b bytes.Buffer
		if json.Compact(&b, []byte(strings.Join(data, "\n"))) == nil {
			all.WriteString("data: " + b.String() + "\n\n")
		}
	}
	return all.String()
}

// TestEventOfManyLines cuts a key at every place, in events of many lines.
func TestEventOfManyLines(t *testing.T) {
	key := "sk-ant-api03-" + mixed(30)
	text := "the \"key\"\tis " + key + " é"
	flag, redact, block := rules(t, Rule{Secrets, Response, Flag}), rules(t, Rule{Secrets, Response, Redact}), rules(t, Rule{Secrets, Response, Block})
	want := strings.Replace(text, key, "[redacted:anthropic_key]", 1)
	for _, a := range streamAPIs {
		if a.name == "replicate" || a.name == "ollama" {
			continue // their lines are no data or no documents
		}
		var one string
		for _, c := range text {
			one += a.event(1, string(c))
		}
		bodies := []string{spread(t, one, "\n"), spread(t, one, "\r\n")}
		for cut := range text {
			bodies = append(bodies, spread(t, a.event(1, text[:cut])+a.event(1, text[cut:]), []string{"\n", "\r\n"}[cut%2]))
		}
		for i, body := range bodies {
			told := Finding{Secrets, "anthropic_key", Flag, Response, a.place, guard.hash([]byte(key))}
			for name, rep := range map[string]Report{"live": listen(flag, body).Report(), "kept": flag.ExamineStream(Subject{}, []byte(body))} {
				if rep.Total != 1 || rep.Blocked || rep.Body != nil || rep.Findings[0] != told {
					t.Fatalf("%s %s %d: %+v\n%s", a.name, name, i, rep, body)
				}
			}
			st := listen(block, body)
			if rep := st.Report(); !rep.Blocked || rep.Total != 1 {
				t.Fatalf("%s blocked %d: %+v", a.name, i, rep)
			}
			rep := redact.ExamineStream(Subject{}, []byte(body))
			if got := a.said(t, 1, []byte(strings.ReplaceAll(together(t, string(rep.Body)), "\n\n", lineEnd(a)))); got != want || strings.Count(string(rep.Body), "\n") != strings.Count(body, "\n") {
				t.Fatalf("%s %d says %q\n%s", a.name, i, got, rep.Body)
			}
		}
	}
}

// lineEnd is what ends an API's events.
func lineEnd(a api) string {
	if strings.Contains(a.event(0, ""), "\r") {
		return "\r\n\r\n"
	}
	return "\n\n"
}

func TestManyLinesKept(t *testing.T) {
	key := "ghp_" + mixed(36)
	head, tail := key[:15], key[15:]
	redact := rules(t, Rule{Secrets, Response, Redact})
	for _, c := range []struct{ in, want, paths string }{
		{"data: {\r\ndata:  \"x\": [1, \"" + key + "\"]\r\ndata: }\r\n\r\n", "data: {\r\ndata:  \"x\": [1, \"[redacted:github_token]\"]\r\ndata: }\r\n\r\n", "$.x[1]"},
		// The first data may be blank, and another field may stand between.
		{"data:\ndata: [\nid: " + key + "\ndata: {\"y\":\ndata:\ndata:\"" + key + "\"}]\n\ndata\n", "data:\ndata: [\nid: [redacted:github_token]\ndata: {\"y\":\ndata:\ndata:\"[redacted:github_token]\"}]\n\ndata\n", "$ $[0].y"},
		{"data: [{\"y\":\nid: " + key + "\ndata:\"" + key + "\"},\r\ndata: \"" + key + "\"]\n\n", "data: [{\"y\":\nid: [redacted:github_token]\ndata:\"[redacted:github_token]\"},\r\ndata: \"[redacted:github_token]\"]\n\n", "$ $[0].y $[1]"},
		{"data: {\"response\":\ndata: \"a " + head + "\"\ndata: }\n\ndata: {\"response\":\"" + tail + "\"}\n\ndata: {\ndata: \"response\":\" b\"}", "data: {\"response\":\ndata: \"a [redacted:github_token]\"\ndata: }\n\ndata: {\"response\":\"\"}\n\ndata: {\ndata: \"response\":\" b\"}", placeText},
		// What does not become a document is looked at line by line.
		{"data: {\ndata: " + key + "\ndata: {\"x\":\"" + key + "\"}\n\n", "data: {\ndata: [redacted:github_token]\ndata: {\"x\":\"[redacted:github_token]\"}\n\n", placeText + " $.x"},
		{"data: {\"x\":\"" + head + "\ndata: " + tail + "\"}\ndata: " + key + "\n\n", "data: {\"x\":\"" + head + "\ndata: " + tail + "\"}\ndata: [redacted:github_token]\n\n", placeText},
		{"data: {\"a\":1}\ndata: {\"x\":\"" + key + "\"}\ndata: [DONE]\n", "data: {\"a\":1}\ndata: {\"x\":\"[redacted:github_token]\"}\ndata: [DONE]\n", "$.x"},
		// Without data: it is no event.
		{"{\n\"response\":\"" + head + "\"}\n{\"response\":\"" + tail + "\"}\ndata: {\"x\":\"" + key + "\"}\n", "{\n\"response\":\"" + head + "\"}\n{\"response\":\"" + tail + "\"}\ndata: {\"x\":\"[redacted:github_token]\"}\n", "$.x"},
		// A last event that was cut is left out.
		{"data: {\"a\":\"" + key + "\"}\n\ndata: {\ndata: \"response\": \"" + head + "\"\n", "data: {\"a\":\"[redacted:github_token]\"}\n\n", "$.a"},
		{"data: {\"a\":\"b\"}\n\ndata: {\ndata: \"x\": \"" + key, "data: {\"a\":\"b\"}\n\n", "$"},
		{"data: {\"a\":\"b\"}\n\ndata: {\"response\":\"" + head + "\",\ndat", "data: {\"a\":\"b\"}\n\n", ""},
	} {
		rep := redact.ExamineStream(Subject{}, []byte(c.in))
		var found []string
		for _, f := range rep.Findings {
			found = append(found, f.Path)
		}
		if string(rep.Body) != c.want || strings.Join(found, " ") != c.paths || rep.Total != len(found) {
			t.Errorf("%q\nbecame %q\nnot    %q\n%q", c.in, rep.Body, c.want, found)
		}
		live := listen(redact, c.in).Report()
		slices.SortStableFunc(live.Findings, func(a, b Finding) int { return strings.Compare(a.Path, b.Path) })
		slices.Sort(found)
		if live.Total != len(found) {
			t.Errorf("%q: live %+v, kept %q", c.in, live.Findings, found)
			continue
		}
		for i, f := range live.Findings {
			if f.Path != found[i] && strings.HasSuffix(c.in, "\n") { // live, what was cut is like any line
				t.Errorf("%q: live %+v, kept %q", c.in, live.Findings, found)
			}
		}
	}
}

// TestManyLinesLive: an event of many lines is known when it ends, and one line as
// soon as it is there.
func TestManyLinesLive(t *testing.T) {
	key := "ghp_" + mixed(36)
	block := rules(t, Rule{Secrets, Response, Block})
	for _, c := range []struct{ before, last string }{
		{"data: {\ndata: \"x\": \"" + key + "\"\ndata: }\n", "\n"},
		{"data: {\r\ndata: \"x\": \"" + key + "\"\r\ndata: }\r\n", "\r\n"},
		{"data: {\ndata: \"x\": \"" + key + "\"\ndata: }\nid: 1\n: x\n", "\n"},
		{"data: {}\ndata: {\"x\":\"" + key + "\"}", "\n"},
		{"data: [DONE]\n\n: " + key, "\n"},
	} {
		st := listen(block, c.before)
		if reason, ok := st.Blocked(); ok {
			t.Errorf("%q: %s too early", c.before, reason)
		}
		_, _ = st.Write([]byte(c.last))
		if _, ok := st.Blocked(); !ok {
			t.Errorf("%q is not blocked", c.before)
		}
	}
	st := listen(block, "data: {\ndata: \"x\": \""+key+"\"\ndata: }")
	if rep := st.Report(); !rep.Blocked || rep.Total != 1 || rep.Findings[0].Path != "$.x" {
		t.Errorf("at the end: %+v", rep)
	}
}

// TestLongEvents: the data of an event is read as one up to 256 KiB, its line breaks
// included; of a longer one, every line for itself.
func TestLongEvents(t *testing.T) {
	key := "ghp_" + mixed(36)
	flag := rules(t, Rule{Secrets, Response, Flag})
	end := "data: {\"response\":\"" + key[9:] + "\"}\n\n"
	head := `"response":"` + key[:9] + `"`
	for _, over := range []int{0, 1} {
		// Without prefixes: {, a line break, a line of n letters, a line break, the head
		// and a bracket are 256 KiB.
		n := maxLine - 1 - 1 - 1 - len(head) - 1 + over
		blank := strings.Repeat(" ", n/2) + "\"" + strings.Repeat("x", n-n/2-5) + "\":1,"
		body := "data: {\ndata: " + blank + "\ndata: " + head + "}\n\n" + end
		if len(blank) != n {
			t.Fatal(len(blank), n)
		}
		st := listen(flag, body)
		if rep := st.Report(); rep.Total != 1-over {
			t.Errorf("%d too long: %+v", over, rep)
		}
		if cap(st.event) > 2*maxLine {
			t.Errorf("%d bytes are kept", cap(st.event))
		}
		if rep := flag.ExamineStream(Subject{}, []byte(body)); rep.Total != 1 { // it is all there
			t.Errorf("kept, %d too long: %+v", over, rep)
		}
	}
	// Events that never end.
	for name, line := range map[string]string{
		"brackets": "data:{\n", "words": "data: some words\n", "blanks": "data:\n", "documents": "data: {\"x\":\"y\"}\n", "other fields": "data: [\nid: 1\n", "deep": "data: " + strings.Repeat("[", 500) + "\n",
	} {
		body := "data: {\n" + strings.Repeat(line, (maxLine+maxLine/4)/len(line)) + "data: {\"x\":\"" + key + "\"}\n"
		for name2, body := range map[string]string{"": body, " and an end": body + "\n"} {
			st := listen(flag, body)
			if rep := st.Report(); rep.Total != 1 || rep.Findings[0].Path != "$.x" || cap(st.event) > 2*maxLine || len(st.sources) > maxSources {
				t.Errorf("%s%s: %+v, %d bytes are kept", name, name2, rep, cap(st.event))
			}
			if rep := flag.ExamineStream(Subject{}, []byte(body)); rep.Total != 1 || rep.Findings[0].Path != "$.x" {
				t.Errorf("%s%s, kept: %+v", name, name2, rep)
			}
		}
	}
}
