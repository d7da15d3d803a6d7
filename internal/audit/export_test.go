package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func exportOf(t *testing.T, l *Log) string {
	t.Helper()
	var out strings.Builder
	if err := l.Export(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestOutsiderVerifiesAnExport does what the package comment says, with nothing
// of this package.
func TestOutsiderVerifiesAnExport(t *testing.T) {
	r := newRoom(t)
	l, _ := r.open()
	for _, detail := range []string{"", "plain", "é 😀 \u2028 <&> \"q\" \\ \n\t\x7f", strings.Repeat("\x02", 3000)} {
		if err := l.Record(t.Context(), Event{Action: "test.a", Detail: detail}); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSuffix(exportOf(t, l), "\n"), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d lines, want 4", len(lines))
	}
	before := strings.Repeat("0", 64)
	for i, line := range lines {
		var parsed struct {
			Hash  string
			Entry struct {
				Seq          int
				Prev, Detail string
			}
		}
		if err := json.Unmarshal([]byte(line), &parsed); err != nil {
			t.Fatal(err)
		}
		body := line[83 : len(line)-1]
		if hash := fmt.Sprintf("%x", sha256.Sum256([]byte(body))); hash != parsed.Hash || parsed.Entry.Prev != before || parsed.Entry.Seq != i+1 {
			t.Errorf("line %d proves nothing: %.300s", i+1, line)
		}
		if strings.Trim(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 {}[]<>&\":,.-_\\") != "" {
			t.Errorf("line %d is not printable ASCII: %q", i+1, line)
		}
		before = parsed.Hash
	}
	report, err := VerifyExport(strings.NewReader(exportOf(t, l)), Head{4, before})
	if err != nil || !report.OK || report.Head != (Head{4, before}) {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestBytesOfAnEntry holds what is documented: hashes of old entries must not
// change with a new version.
func TestBytesOfAnEntry(t *testing.T) {
	e := Entry{Seq: 7, Time: time.UnixMilli(1_767_323_045_678), Prev: nothing, Event: Event{
		Action: "device.approve", Actor: "person é", Via: "passkey", From: "::1", Agent: "main", Target: "a\"b\\c", Old: "\x1b\n", New: "😀", Detail: "\u007f<"}}
	const want = `{"seq":7,"time":"2026-01-02T03:04:05.678Z","prev":"0000000000000000000000000000000000000000000000000000000000000000",` +
		`"action":"device.approve","actor":"person \u00e9","via":"passkey","from":"::1","agent":"main","target":"a\"b\\c",` +
		`"old":"\u001b\u000a","new":"\ud83d\ude00","detail":"\u007f<"}`
	if got := string(e.encode()); got != want {
		t.Errorf("encoded\n%s\nwant\n%s", got, want)
	}
	if sum([]byte(want)).String() != fmt.Sprintf("%x", sha256.Sum256([]byte(want))) {
		t.Error("not the SHA-256")
	}
}

func TestTamperedExports(t *testing.T) {
	r := newRoom(t)
	l, _ := r.open()
	recordTo(t, l, 5)
	export := exportOf(t, l)
	lines := strings.SplitAfter(export, "\n")[:5]
	report, _ := verifyOf(t, l)
	for _, test := range []struct{ name, export, want string }{
		{"nothing", export, ""},
		{"a word", strings.Replace(export, "test.a2", "test.a9", 1), "altered 3"},
		{"a line", lines[0] + lines[1] + lines[3] + lines[4], "missing 3-3"},
		{"the first", lines[1] + lines[2] + lines[3] + lines[4], "missing 1-1"},
		{"the last", lines[0] + lines[1] + lines[2] + lines[3], "missing 5-5"},
		{"the order", lines[0] + lines[2] + lines[1] + lines[3] + lines[4], "missing 2-2, inserted 2"},
		{"one twice", lines[0] + lines[1] + lines[1] + lines[2] + lines[3] + lines[4], "inserted 2"},
		{"all", "", "missing 1-5"},
	} {
		report, err := VerifyExport(strings.NewReader(test.export), report.Head)
		if got := short(report); err != nil || got != test.want {
			t.Errorf("%s: found %q, %v; want %q", test.name, got, err, test.want)
		}
	}
	for name, text := range map[string]string{"no JSON": "hello\n", "other JSON": "{}\n", "half a line": lines[0][:100], "endless": strings.Repeat("x", 1<<20), "zero": exported + "zz"} {
		if _, err := VerifyExport(strings.NewReader(text)); err == nil {
			t.Errorf("%s passes for an export", name)
		}
	}
}

func TestExportOfADamagedLog(t *testing.T) {
	r := newRoom(t)
	l, _ := r.open()
	recordTo(t, l, 4)
	r.tamper(`UPDATE audit SET entry = x'7b7d0a0a' WHERE seq = 2`, `UPDATE audit SET hash = x'00' WHERE seq = 3`)
	report, err := VerifyExport(strings.NewReader(exportOf(t, l)))
	if got := short(report); err != nil || got != "altered 2, altered 3" {
		t.Errorf("found %q, %v", got, err)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestExportSaysWhenItCannotBeWritten(t *testing.T) {
	r := newRoom(t)
	l, _ := r.open()
	recordTo(t, l, 1)
	if err := l.Export(t.Context(), full{}); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("%v", err)
	}
}

func FuzzDecode(f *testing.F) {
	e := Entry{Seq: 7, Time: time.UnixMilli(1_767_323_045_678), Prev: nothing, Event: Event{Action: "a", Detail: "é😀\x00\""}}
	f.Add(e.encode())
	f.Add([]byte(`{"seq":1,"SEQ":2}`))
	f.Add(bytes.Replace(e.encode(), []byte(`\ud83d`), nil, 1))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := decode(body)
		if err != nil {
			return
		}
		if again := e.encode(); !bytes.Equal(again, body) {
			t.Errorf("%q was taken for %q", body, again)
		}
		for _, b := range body {
			if b < ' ' || b > '~' {
				t.Errorf("%q has a byte that must be escaped", body)
			}
		}
	})
}

// FuzzRecord has every event come back as what clean made of it.
func FuzzRecord(f *testing.F) {
	f.Add("signin.denied", "a\x00\xff\u202e", strings.Repeat("é", 600))
	f.Fuzz(func(t *testing.T, action, target, detail string) {
		e := Entry{Seq: 1, Time: time.UnixMilli(1_767_323_045_678).UTC(), Prev: nothing, Event: Event{Action: action, Target: target, Detail: detail}.clean(nil)}
		got, err := decode(e.encode())
		if err != nil || got != e {
			t.Errorf("%+v came back as %+v, %v", e, got, err)
		}
		if len(e.Detail) > maxField || len(e.encode()) > maxEntry {
			t.Errorf("%d bytes of detail", len(e.Detail))
		}
	})
}

func FuzzVerifyExport(f *testing.F) {
	e := Entry{Seq: 1, Time: time.UnixMilli(1_767_323_045_678), Prev: nothing, Event: Event{Action: "a"}}
	line := fmt.Appendf(nil, "%s%s%s%s}\n", exported, sum(e.encode()), exportedEntry, e.encode())
	f.Add(line)
	f.Add([]byte(`{"seq":1,"hash":"00","damaged":"aGk="}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		report, err := VerifyExport(bytes.NewReader(text))
		if err == nil && report.OK && report.Entries != int64(bytes.Count(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")))+1 && len(text) > 0 {
			t.Errorf("%d entries in %q", report.Entries, text)
		}
	})
}
