package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestAWishGetsThrough(t *testing.T) {
	want := wish{seed: 7, deltas: 3, pace: 10 * time.Millisecond, wait: 20 * time.Millisecond}
	for _, f := range []form{anthropicForm, openaiForm} {
		body := modelCall{form: f, model: "m", stream: true, wish: want, prefix: "[cron:x] ", pad: 50}.body()
		if !json.Valid(body) {
			t.Errorf("no JSON: %s", body)
		}
		if got, ok := readWish(body); !ok || got != want {
			t.Errorf("read %+v, %v from %s", got, ok, body)
		}
	}
	for _, bad := range []string{"", "wish:1,2,3,4", "wish:1,2,3;", "wish:1,x,3,4;", "wish:1,10001,0,0;", "wish:1,1,0,10001;", "wish:-1,1,0,0;"} {
		if _, ok := readWish([]byte(bad)); ok {
			t.Errorf("took %q for a wish", bad)
		}
	}
}

// TestTheFakeModelKeepsItsWord: what it sends is what a client can tell beforehand,
// and different wishes have different answers.
func TestTheFakeModelKeepsItsWord(t *testing.T) {
	s := httptest.NewServer(fakeModel())
	defer s.Close()
	seen := map[string]bool{}
	for _, f := range []form{anthropicForm, openaiForm} {
		for seed := range uint64(2) {
			c := modelCall{form: f, model: "m", stream: true, wish: wish{seed: seed, deltas: 20}}
			resp, err := http.Post(s.URL+f.path(), "application/json", bytes.NewReader(c.body()))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if want := c.wish.whole(f); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v: sent %s, want %s", err, got, want)
			}
			if seen[string(got)] {
				t.Error("two wishes have one answer")
			}
			seen[string(got)] = true
			for line := range strings.Lines(string(got)) {
				if data, ok := strings.CutPrefix(line, "data: "); ok && data != "[DONE]\n" && !json.Valid([]byte(data)) {
					t.Errorf("no JSON: %s", data)
				}
			}
		}
	}
}

func TestWhatBecameOfAStream(t *testing.T) {
	broken := errors.New("unexpected EOF")
	for _, tt := range []struct {
		name                                              string
		r                                                 reply
		err                                               error
		whole, cut, quiet, changed, changedBytes, refused int64
	}{
		{name: "whole", r: reply{status: 200, body: []byte("abcdef")}, whole: 1},
		{name: "cut, and said so", r: reply{status: 200, body: []byte("abc"), err: broken}, cut: 1},
		{name: "cut after an error event", r: reply{status: 200, body: []byte("abc event: error"), err: broken}, cut: 1},
		{name: "cut as if whole", r: reply{status: 200, body: []byte("abc")}, cut: 1, quiet: 1},
		{name: "never began", err: broken, cut: 1},
		{name: "two bytes are others", r: reply{status: 200, body: []byte("aXcdeX")}, changed: 1, changedBytes: 2},
		{name: "more than was sent", r: reply{status: 200, body: []byte("abcdef!!")}, changed: 1, changedBytes: 2},
		{name: "refused", r: reply{status: 429, body: []byte("{}")}, refused: 1},
	} {
		var got tally
		got.judge(tt.r, tt.err, []byte("abcdef"))
		if got.sent.Load() != 1 || got.whole.Load() != tt.whole || got.cut.Load() != tt.cut || got.quiet.Load() != tt.quiet ||
			got.changed.Load() != tt.changed || got.changedBytes.Load() != tt.changedBytes || got.refused.Load() != tt.refused {
			t.Errorf("%s: %v", tt.name, got.row("").Values)
		}
	}
}

func TestRatiosAreToTheReverseProxy(t *testing.T) {
	got := ratios([]row{
		{rowSplice, map[string]float64{"c1 µs": 50}},
		{rowReverse, map[string]float64{"c1 µs": 200, "RSS MiB peak": 40}},
		{rowOurs, map[string]float64{"c1 µs": 300, "RSS MiB peak": 50}},
	}, []string{"c1 µs", "RSS MiB peak"})
	if len(got.Rows) != 3 || got.Rows[0].Values["c1 x"] != 0.25 || got.Rows[2].Values["c1 x"] != 1.5 || got.Rows[2].Values["RSS peak x"] != 1.25 {
		t.Errorf("%+v", got)
	}
	if _, ok := got.Rows[0].Values["RSS peak x"]; ok {
		t.Error("a multiple of nothing")
	}
}
