package pid1

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/guest/proto"
)

func TestBackoffGrowsAndIsForgiven(t *testing.T) {
	b := newBackoff()
	var got []time.Duration
	for range 8 {
		got = append(got, b.next(0))
	}
	want := []time.Duration{500, 1000, 2000, 4000, 8000, 16000, 30000, 30000}
	for i := range want {
		if got[i] != want[i]*time.Millisecond {
			t.Errorf("pause %d is %v", i, got[i])
		}
	}
	if p := b.next(59 * time.Second); p != 30*time.Second {
		t.Errorf("ready for 59 s, then %v", p)
	}
	if p := b.next(time.Minute); p != 500*time.Millisecond {
		t.Errorf("ready for a minute, then %v", p)
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", proto.MaxLogLine)
	for name, c := range map[string]struct{ in, want []string }{
		"whole":             {[]string{"a\nb\n"}, []string{"a", "b"}},
		"in pieces":         {[]string{"a", "b", "\nc"}, []string{"ab", "c"}},
		"carriage returns":  {[]string{"a\r\nb\r\n"}, []string{"a", "b"}},
		"empty":             {[]string{"\n\n"}, []string{"", ""}},
		"nothing":           {nil, nil},
		"as long as can be": {[]string{long + "\n", "b\n"}, []string{long, "b"}},
		"longer":            {[]string{long + "y", "z\nb\n"}, []string{long, "b"}},
		"longer, no end":    {[]string{long, "y"}, []string{long}},
	} {
		var got []string
		l := &lines{emit: func(s string) { got = append(got, s) }}
		for _, p := range c.in {
			l.write([]byte(p))
		}
		l.flush()
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %d lines, want %d", name, len(got), len(c.want))
		}
	}
}

func TestJournalIsBoundedAndResumes(t *testing.T) {
	j := newJournal(time.Now)
	if some, more := j.after(0); len(some) != 0 || more == nil {
		t.Fatalf("a new journal has %d events", len(some))
	}
	_, more := j.after(0)
	j.log("stdout", "first")
	<-more
	for range maxEvents {
		j.log("stdout", "x")
	}
	if some, _ := j.after(0); some[0].Seq != 2 {
		t.Errorf("the oldest event is %d", some[0].Seq)
	}
	some, _ := j.after(maxEvents)
	if len(some) != 1 || some[0].Seq != maxEvents+1 {
		t.Errorf("after %d come %d events", maxEvents, len(some))
	}
	line := strings.Repeat("y", proto.MaxLogLine)
	for range 200 {
		j.log("stdout", line)
	}
	if j.bytes > maxEventBytes || len(j.events) > maxEventBytes/proto.MaxLogLine {
		t.Errorf("keeps %d events of %d bytes", len(j.events), j.bytes)
	}
	if some, _ := j.after(1 << 60); some != nil {
		t.Error("an event from the future")
	}
}

func TestLookPathUsesTheCommandsOwnPath(t *testing.T) {
	dir := t.TempDir()
	tool := filepath.Join(dir, "tool")
	os.WriteFile(tool, nil, 0o755)
	os.WriteFile(filepath.Join(dir, "data"), nil, 0o644)
	env := []string{"PATH=/nowhere", "PATH=:.:/nowhere:" + dir}
	for arg, want := range map[string]string{"tool": tool, "/bin/x": "/bin/x", "./x": "./x", "data": "", "none": "", "": ""} {
		got, err := lookPath([]string{arg}, env, "")
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q is at %q, %v", arg, got, err)
		}
	}
}

func TestMergeReplacesVariables(t *testing.T) {
	got := merge([]string{"A=1", "B=2"}, []string{"B=3", "C=4"})
	if want := []string{"A=1", "B=3", "C=4"}; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestParse(t *testing.T) {
	opts, err := parse([]string{"--link", "/run/mw/h.sock", "--forward", "8700=ai", "--forward", "9222=browser"}, io.Discard)
	if err != nil || opts.Socket != "/run/mw/h.sock" || opts.Forwards[8700] != "ai" || opts.Forwards[9222] != "browser" {
		t.Errorf("parsed %+v, %v", opts, err)
	}
	for _, args := range []string{
		"", "--link relative", "--link /s extra", "--link /s --forward 8700", "--link /s --forward 0=ai",
		"--link /s --forward 1=a --forward 1=b", "--link /s --forward 70000=a", "--link /s --forward 1=", "--unknown",
	} {
		if _, err := parse(strings.Fields(args), io.Discard); err == nil {
			t.Errorf("took %q", args)
		}
	}
}

func TestErrorsTravelWithACode(t *testing.T) {
	for code, err := range map[string]error{
		"":          nil,
		"not_found": fs.ErrNotExist,
		"refused":   syscall.ECONNREFUSED,
		"invalid":   refuse("invalid", "no"),
		"failed":    errors.New("no"),
	} {
		if got := response(err); got.Code != code || (got.Error == "") != (err == nil) {
			t.Errorf("%v travels as %+v", err, got)
		}
	}
}

func TestLargestFileFitsInAMessage(t *testing.T) {
	if err := proto.WriteMessage(io.Discard, proto.Response{Data: make([]byte, maxFile)}); err != nil {
		t.Error(err)
	}
	req := proto.Request{Op: proto.OpWrite, File: &proto.File{Path: strings.Repeat("p", 4096), Data: make([]byte, maxFile)}}
	if err := proto.WriteMessage(io.Discard, req); err != nil {
		t.Error(err)
	}
}

// A child's end is told to whoever started it, also when it ended before anybody
// asked, and to nobody else.
func TestReaperHandsOutStatuses(t *testing.T) {
	r := newReaper(false)
	defer r.watch()()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	var children []*child
	for code := range 20 {
		cmd := command{args: []string{"/bin/sh", "-c", "exit $0", string(rune('0' + code%10))}, files: [3]*os.File{null, null, null}}
		c, err := cmd.start(r)
		if err != nil {
			t.Fatal(err)
		}
		children = append(children, c)
	}
	for i, c := range children {
		<-c.done
		if got := c.status.ExitStatus(); got != i%10 {
			t.Errorf("child %d ended with %d", i, got)
		}
	}
}
