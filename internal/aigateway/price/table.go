package price

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price/match"
)

//go:generate go run ./generate .

// tableFile has a line of what it is, and then one for each model. The generator
// says what it is made from, and how.
//
//go:embed table.jsonl
var tableFile []byte

// Source is where prices of the table come from.
type Source struct {
	Name    string `json:"name"` // of an npm package
	Version string `json:"version"`
	Date    string `json:"date"` // day that its prices are of
	Licence string `json:"licence"`
}

// Table is all known prices. It is safe for concurrent use.
type Table struct {
	date      string
	sources   []Source
	shelves   map[string]*shelf // by provider
	overrides []override
	cache     cache
}

// Date is the day that the newest prices of the table are of: "2026-11-10".
func (t *Table) Date() string { return t.date }

// Sources are where the prices come from, those with the best shape first.
func (t *Table) Sources() []Source { return slices.Clone(t.sources) }

// shelf is the models of one provider. Its lines are parsed when it is first used:
// most programs use few, and parsing all takes longer than the rest of a start.
type shelf struct {
	lines []byte
	once  sync.Once
	rows  []*row          // by name, rising; of rules that fit the same, the first counts
	exact map[string]*row // by every name that is known whole, in lower case
}

// row is one model of one provider.
type row struct {
	provider, model string
	rule            match.Rule
	entries         []entry
}

// entry is what counts from a moment on, in some hours of the day or in all. Of those
// that fit, the last one counts.
type entry struct {
	from       int64 // Unix seconds
	hours      bool
	start, end int64 // seconds of the day, UTC
	rates      Rates
}

// forever is the beginning of prices that always were.
const forever = math.MinInt64

const day = 24 * 60 * 60

func (e *entry) fits(unix int64) bool {
	if unix < e.from {
		return false
	}
	if !e.hours {
		return true
	}
	second := (unix%day + day) % day
	if e.end < e.start { // over midnight
		return second >= e.start || second < e.end
	}
	return second >= e.start && second < e.end
}

// pick returns the entry that counts at a moment.
func pick(entries []entry, at time.Time) *entry {
	unix := at.Unix()
	for i := len(entries) - 1; i >= 0; i-- {
		if entries[i].fits(unix) {
			return &entries[i]
		}
	}
	return nil
}

// Load returns the embedded table with a user's file of prices over it; nil for none.
// What the file looks like is said at the type overrideLine. A file that is damaged,
// or that has prices which look like a wrong unit, is refused with the line.
func Load(overrides []byte) (*Table, error) {
	base, err := embedded()
	if err != nil {
		return nil, fmt.Errorf("embedded table of prices: %w", err)
	}
	t := &Table{date: base.date, sources: base.sources, shelves: base.shelves}
	if t.overrides, err = t.parseOverrides(overrides); err != nil {
		return nil, fmt.Errorf("file of prices: %w", err)
	}
	return t, nil
}

// Models are the rates of all models that are known at a moment, by provider and
// name, those of overrides without "*" among them.
func (t *Table) Models(at time.Time) []Rates {
	var list []Rates
	seen := map[key]bool{}
	add := func(p, model string, entries []entry) {
		if e := pick(entries, at); e != nil && !seen[key{p, model}] {
			seen[key{p, model}] = true
			list = append(list, e.rates)
		}
	}
	for p := range t.shelves {
		for _, r := range t.shelf(p).rows {
			name := strings.ToLower(r.model)
			entries := slices.Clone(r.entries)
			for i := range entries {
				entries[i].rates.shares = sharesOf(p, r.model)
			}
			add(p, name, t.override(entries, p, name, name))
		}
	}
	for _, o := range t.overrides {
		if !strings.Contains(o.provider+o.model, "*") {
			add(o.provider, o.model, t.resolve(o.provider, o.model))
		}
	}
	slices.SortFunc(list, func(a, b Rates) int {
		return cmp.Or(strings.Compare(a.Provider, b.Provider), strings.Compare(a.Model, b.Model))
	})
	return list
}

// embedded is parsed once, as it is the same for all.
var embedded = sync.OnceValues(func() (*Table, error) { return parseTable(tableFile) })

type tableHead struct {
	Format  int
	Date    string
	Sources []Source
}

type tableLine struct {
	Provider, Model string
	Match           json.RawMessage
	Note            string
	MinSeconds      int64 `json:"min_seconds"`
	Prices          []struct {
		Source, From, Hours string
		parts
		Derived []string
		Tiers   []tierLine
	}
}

type tierLine struct {
	Above int64
	parts
}

// parseTable reads the head of a table and puts its lines on shelves.
func parseTable(data []byte) (*Table, error) {
	first, rest, _ := bytes.Cut(data, []byte("\n"))
	var head tableHead
	if err := json.Unmarshal(first, &head); err != nil || head.Format != 1 {
		return nil, fmt.Errorf("line 1: format %d is not known (%v)", head.Format, err)
	}
	t := &Table{date: head.Date, sources: head.Sources, shelves: map[string]*shelf{}}
	for len(rest) > 0 {
		name, ok := providerOf(rest)
		if !ok || t.shelves[name] != nil {
			return nil, fmt.Errorf("providers are not in order at %q", clip(string(rest)))
		}
		end := 0
		for next := name; next == name && end < len(rest); next, _ = providerOf(rest[end:]) {
			line, _, _ := bytes.Cut(rest[end:], []byte("\n"))
			end = min(end+len(line)+1, len(rest))
		}
		t.shelves[name] = &shelf{lines: rest[:end], exact: map[string]*row{}}
		rest = rest[end:]
	}
	return t, nil
}

// providerOf is the provider of the line that begins here.
func providerOf(data []byte) (string, bool) {
	data, ok := bytes.CutPrefix(data, []byte(`{"provider":"`))
	if !ok {
		return "", false
	}
	name, _, ok := bytes.Cut(data[:min(len(data), maxName)], []byte(`"`))
	return string(name), ok
}

// shelf is that of a provider, or nil. A damaged line is a mistake of the program,
// which its test of the table finds.
func (t *Table) shelf(p string) *shelf {
	s := t.shelves[p]
	if s != nil {
		s.once.Do(func() {
			if err := s.parse(); err != nil {
				panic(fmt.Sprintf("embedded table of prices: %s: %v", p, err))
			}
		})
	}
	return s
}

func (s *shelf) parse() error {
	for line := range bytes.Lines(s.lines) {
		var l tableLine
		if err := json.Unmarshal(line, &l); err != nil {
			return err
		}
		r, err := l.row()
		if err != nil {
			return fmt.Errorf("%s: %w", l.Model, err)
		}
		s.rows = append(s.rows, r)
	}
	s.index()
	return nil
}

// index knows models by their names first, and then by others they go by.
func (s *shelf) index() {
	for _, r := range s.rows {
		s.exact[strings.ToLower(r.model)] = r
	}
	for _, r := range s.rows {
		for _, name := range r.rule.Names() {
			if s.exact[name] == nil {
				s.exact[name] = r
			}
		}
	}
}

func (l *tableLine) row() (*row, error) {
	r := &row{provider: l.Provider, model: l.Model}
	var err error
	if l.Match != nil {
		if r.rule, err = match.Parse(l.Match); err != nil {
			return nil, fmt.Errorf("match: %w", err)
		}
	}
	for _, p := range l.Prices {
		e := entry{rates: Rates{
			Provider: l.Provider, Model: l.Model, Source: p.Source, From: p.From, Note: l.Note, leastSeconds: l.MinSeconds,
		}}
		if e.from, err = parseDay(p.From); err != nil {
			return nil, err
		}
		if p.Hours != "" {
			e.hours = true
			if e.start, e.end, err = parseHours(p.Hours); err != nil {
				return nil, err
			}
		}
		if e.rates.Prices, err = p.prices(); err != nil {
			return nil, err
		}
		if e.rates.Tiers, err = tiersOf(p.Tiers, Prices{}); err != nil {
			return nil, err
		}
		if e.rates.Derived, err = parseParts(p.Derived); err != nil {
			return nil, err
		}
		r.entries = append(r.entries, e)
	}
	return r, nil
}

// parseDay is the first second of a day such as "2026-11-10" in UTC, or forever.
func parseDay(s string) (int64, error) {
	if s == "" {
		return forever, nil
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a day like 2026-11-10", clip(s))
	}
	return t.Unix(), nil
}

// parseHours reads "01:00-04:00".
func parseHours(s string) (start, end int64, err error) {
	from, to, _ := strings.Cut(s, "-")
	a, errA := time.Parse("15:04", from)
	b, errB := time.Parse("15:04", to)
	if errA != nil || errB != nil {
		return 0, 0, fmt.Errorf("%q are not hours like 01:00-04:00", clip(s))
	}
	return int64(a.Hour()*3600 + a.Minute()*60), int64(b.Hour()*3600 + b.Minute()*60), nil
}

func parseParts(names []string) (set Missing, err error) {
	for _, n := range names {
		i := slices.Index(partNames[:numParts], n)
		if i < 0 {
			return 0, fmt.Errorf("no part is called %q", n)
		}
		set |= 1 << i
	}
	return set, nil
}

// tiersOf reads tiers; what one does not price costs what base has for it.
func tiersOf(lines []tierLine, base Prices) ([]Tier, error) {
	var tiers []Tier
	for i, l := range lines {
		if l.Above <= 0 || i > 0 && l.Above <= lines[i-1].Above {
			return nil, errors.New(`"above" of tiers is not rising from 1`)
		}
		p, err := l.prices()
		if err != nil {
			return nil, fmt.Errorf("above %d: %w", l.Above, err)
		}
		tiers = append(tiers, Tier{Above: l.Above, Prices: base.over(p)})
	}
	return tiers, nil
}

// parts are the prices of a line, dollars as they are written.
type parts struct {
	Input        *amount `json:"input"`
	CacheRead    *amount `json:"cache_read"`
	CacheWrite5m *amount `json:"cache_write"`
	CacheWrite1h *amount `json:"cache_write_1h"`
	AudioInput   *amount `json:"audio_input"`
	Output       *amount `json:"output"`
	Reasoning    *amount `json:"reasoning"`
	ImageOutput  *amount `json:"image_output"`
	AudioOutput  *amount `json:"audio_output"`
	Image        *amount `json:"image"`
	WebSearch    *amount `json:"web_search"`
	Request      *amount `json:"request"`
	Hour         *amount `json:"hour"`
}

// prices are the parts that the line has.
func (l *parts) prices() (p Prices, err error) {
	for part, a := range [numParts]*amount{
		Input: l.Input, CacheRead: l.CacheRead, CacheWrite5m: l.CacheWrite5m, CacheWrite1h: l.CacheWrite1h,
		AudioInput: l.AudioInput, Output: l.Output, Reasoning: l.Reasoning, ImageOutput: l.ImageOutput,
		AudioOutput: l.AudioOutput, Image: l.Image, WebSearch: l.WebSearch, Request: l.Request, Hour: l.Hour,
	} {
		if a == nil {
			continue
		}
		v, err := parseDecimal(string(*a), Part(part).decimals())
		if err == nil && v < 0 {
			err = errors.New("below zero")
		}
		if err != nil {
			return p, fmt.Errorf("%s: %q: %w", Part(part), clip(string(*a)), err)
		}
		p.put(Part(part), Money(v))
	}
	return p, nil
}

// amount is a number as it is written, or the string of one.
type amount string

// UnmarshalJSON takes a number and a string.
func (a *amount) UnmarshalJSON(data []byte) error {
	if data[0] == '"' {
		return json.Unmarshal(data, (*string)(a))
	}
	*a = amount(data)
	return nil
}
