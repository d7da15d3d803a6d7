package calllog

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// hostile is a call in which every text is s.
func hostile(id ID, s string) Call {
	c := Call{ID: id, Agent: s, Trigger: s, Provider: s, Model: s, Asked: s, Endpoint: s, Error: s, Cache: s, Key: s, Event: s}
	c.Usage.Model, c.Usage.Tier, c.Usage.Seconds = s, s, math.NaN()
	c.Metadata = map[string]string{}
	for i := range 8 {
		c.Metadata[fmt.Sprint(i, s)] = s
	}
	for range 30 {
		c.Guards = append(c.Guards, s)
	}
	c.Status, c.Took, c.FirstByte, c.Attempts, c.Step, c.RequestBytes, c.Usage.Input = -1, -5, -5, -5, -5, -5, -5
	c.Usage.Output, c.Usage.Images, c.Cost = math.MinInt64, math.MaxInt64, math.MinInt64
	return c
}

// showable says what is wrong with a text that comes from the log.
func showable(s string, most int) string {
	switch {
	case !utf8.ValidString(s):
		return "is no UTF-8"
	case len(s) > most:
		return fmt.Sprintf("has %d bytes", len(s))
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) }):
		return "has what cannot be shown"
	}
	return ""
}

// sound says what is wrong with a call that comes from the log.
func sound(c *Call) (wrong string) {
	for _, s := range []string{c.Agent, c.Trigger, c.Provider, c.Model, c.Asked, c.Key, c.Usage.Model, c.Usage.Tier, c.Error, c.Event, c.Cache} {
		wrong += showable(s, maxName)
	}
	wrong += showable(c.Endpoint, maxEndpoint)
	for k, v := range c.Metadata {
		wrong += showable(k, maxMetaKey) + showable(v, maxMetaValue)
	}
	for _, g := range c.Guards {
		wrong += showable(g, maxGuard)
	}
	u := c.Usage
	if len(c.Metadata) > maxMetadata || len(c.Guards) > maxGuards || u.Input < 0 || u.Output < 0 || u.Images > maxTokens ||
		math.IsNaN(u.Seconds) || c.Cost < 0 || c.Took < 0 || c.FirstByte < 0 || c.Status < 0 || c.RequestBytes < 0 {
		wrong += "numbers"
	}
	return wrong
}

func TestHostile(t *testing.T) {
	l, _ := open(t, Options{})
	texts := []string{"", "\x00", "a\x00b", "\xff\xfe", strings.Repeat("é", 100_000), strings.Repeat("x", 127) + "é", "\x1b[31m", "\u202egpj.exe",
		"'; DROP TABLE calls; --", `\`, `"`, "{}", "%", "\ud7ff", "\U0010ffff", strings.Repeat("\x01", 1000), strings.Repeat("\xff", 1<<20), "a\nb\r\n\tc", Other}
	ids := map[ID]string{}
	for _, s := range texts {
		c := hostile(l.NewID(), s)
		ids[c.ID] = s
		before := len(c.Metadata)
		l.Add(c)
		if len(c.Metadata) != before || len(c.Guards) != 30 || c.Guards[0] != s {
			t.Errorf("%.20q: the caller's own call was changed", s)
		}
	}
	flush(t, l)
	if s := l.Stats(); s.Written != int64(len(texts)) || s.Dropped != 0 {
		t.Errorf("%+v", s)
	}
	for id, s := range ids {
		c, err := l.Get(t.Context(), id)
		if err != nil {
			t.Fatalf("%.20q: %v", s, err)
		}
		if wrong := sound(&c); wrong != "" {
			t.Errorf("%.20q: %s", s, wrong)
		}
		for _, f := range []Filter{{Agents: []string{s}}, {Model: s}, {Event: s}, {Cache: s}} {
			if _, err := l.List(t.Context(), f, ID{}, 10); err != nil {
				t.Errorf("%.20q: %v", s, err)
			}
		}
		if len(s) <= maxText {
			if _, err := l.List(t.Context(), Filter{Text: s}, ID{}, 10); err != nil {
				t.Errorf("%.20q: %v", s, err)
			}
		}
	}
	check(t, l)
}

func FuzzCall(f *testing.F) {
	l, err := Open(f.Context(), Options{Path: f.TempDir() + "/calls.sqlite"})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = l.Close() })
	for _, s := range []string{"", "\x00", "\xff", "=1+1", " \t=1", "é", "\u202e", strings.Repeat("é", 200), "a,\"b\"\n"} {
		f.Add(s, int64(0), int64(200), int64(1e9))
	}
	f.Add("x", int64(math.MaxInt64), int64(math.MinInt64), int64(-1))
	f.Fuzz(func(t *testing.T, s string, n, status, took int64) {
		c := hostile(l.NewID(), s)
		c.Usage.Input, c.Usage.Reasoning, c.Status, c.Took, c.FirstByte = n, n, int(status), time.Duration(took), time.Duration(n)
		l.Add(c)
		flush(t, l)
		got, err := l.Get(t.Context(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		if wrong := sound(&got); wrong != "" {
			t.Error(wrong)
		}
		var out bytes.Buffer
		x := csvExporter{csv.NewWriter(&out)}
		if err := x.call(&got); err != nil {
			t.Fatal(err)
		}
		if err := x.end(); err != nil {
			t.Fatal(err)
		}
		cells, err := csv.NewReader(&out).Read()
		if err != nil || len(cells) != len(csvHeader) {
			t.Fatalf("%d cells, %v", len(cells), err)
		}
		for _, cell := range cells {
			if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
				t.Errorf("a cell begins with %q", cell[0])
			}
		}
	})
}

func FuzzParseID(f *testing.F) {
	for _, s := range []string{"", "0", makeID(1, -1).String(), makeID(1<<63-1, 5).String(), "zzzzzzzzzzzzzzzzzzzzzzzzzz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err == nil && (id.String() != s || makeID(id.key(), id.secret()) != id) {
			t.Errorf("%q is read as %v", s, id)
		}
	})
}

// A log of many rows: every listing is complete, and the sums are exact.
func TestMany(t *testing.T) {
	if testing.Short() {
		t.Skip("takes many seconds")
	}
	l, _ := open(t, Options{})
	next := someCalls(&l.ids, manyRows, noon, 5*24*time.Hour)
	rare, errors := 0, 0
	for i := range manyRows {
		c := next(i)
		if c.Agent == "rare" {
			rare++
			if c.Status != 200 {
				errors++
			}
		}
		l.Add(c)
		if i%5000 == 4999 {
			flush(t, l)
		}
	}
	check(t, l)
	if s := l.Stats(); s.Calls != manyRows || s.Dropped != 0 {
		t.Errorf("%+v", s)
	}
	if got := len(listAll(t, l, Filter{Agents: []string{"rare"}}, 100)); got != rare {
		t.Errorf("%d calls of the rare agent, want %d", got, rare)
	}
	if got := len(listAll(t, l, Filter{Agents: []string{"rare"}, Status: "error"}, 100)); got != errors {
		t.Errorf("%d errors of the rare agent, want %d", got, errors)
	}
	if got := len(listAll(t, l, Filter{}, 500)); got != manyRows {
		t.Errorf("%d calls, want %d", got, manyRows)
	}
	if got := listAll(t, l, Filter{Text: "nowhere"}, 500); len(got) != 0 {
		t.Errorf("%d calls", len(got))
	}
	// The newest hour has manyRows/120 calls, and so has the same range of the list.
	hour := Filter{From: noon.Add(-time.Hour), To: noon}
	s, err := l.Totals(t.Context(), Query{Unit: Hour, From: hour.From, To: hour.To})
	if got := len(listAll(t, l, hour, 500)); err != nil || int64(got) != s.Calls || got < manyRows/120-1 || got > manyRows/120+1 {
		t.Errorf("%d calls listed, %d added up, %v", got, s.Calls, err)
	}
}
