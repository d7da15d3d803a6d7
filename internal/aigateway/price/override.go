package price

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Bounds of a file of overrides.
const (
	maxOverrides    = 1000    // entries
	maxOverrideFile = 1 << 20 // bytes
)

// overrideLine is one entry of a user's file of prices:
//
//	{
//	  "models": [
//	    {"provider": "anthropic", "model": "claude-sonnet-4-5", "from": "2026-12-01", "input": 2.40, "output": 12},
//	    {"provider": "azure", "model": "our-gpt-*", "input": "1.25", "cache_read": "0.125", "output": "10",
//	     "tiers": [{"above": 272000, "input": 2.5, "output": 15}]},
//	    {"provider": "replicate", "model": "*", "second": 0.000225, "note": "T4"}
//	  ]
//	}
//
// Prices are dollars, as numbers or strings: per million tokens ("input",
// "cache_read", "cache_write", "cache_write_1h", "audio_input", "output",
// "reasoning", "image_output", "audio_output"), or for one "image", "web_search",
// "request", "second" or "hour". They are taken exactly, with at most 6 decimals per
// million tokens and 12 otherwise.
//
// Provider and model are names as in a call, in any case; "*" in them stands for any
// characters. A model of the table may go by its name there. Where several entries
// fit a model, a whole name counts more than one with "*", then a longer one more
// than a shorter, then the later "from" that has come, then the later entry. What the
// entry that counts does not name stays as the table has it, tiers included;
// "tiers": [] takes those away.
//
// A price over $1,000 per million tokens, for one image, search or call, or for an
// hour, one below $0.0001 per million tokens, and one that is more than 100 times
// the table's or less than a hundredth of it, is refused as a likely wrong unit
// unless "sure" is true. Zero is taken: it means free.
type overrideLine struct {
	Provider string `json:"provider"`
	Model    string `json:"model"`
	From     string `json:"from"` // day in UTC that it counts from; "" for always
	Note     string `json:"note"`
	Sure     bool   `json:"sure"`
	parts
	Second *amount     `json:"second"`
	Tiers  *[]tierLine `json:"tiers"`
}

// override is one entry, ready for use.
type override struct {
	provider, model string // lower case, with "*"
	from            int64
	rates           Rates // Tiers have only what the entry names
	tiers           bool  // Tiers count, even if there are none
}

// parseOverrides reads a file over the table.
func (t *Table) parseOverrides(data []byte) ([]override, error) {
	if len(data) > maxOverrideFile {
		return nil, fmt.Errorf("larger than %d bytes", maxOverrideFile)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, nil
	}
	var list []override
	d := json.NewDecoder(bytes.NewReader(data))
	at := func(offset int64, err error) error {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			offset, err = int64(len(data)), errors.New("it breaks off")
		}
		return fmt.Errorf("line %d: %w", lineAt(data, offset), err)
	}
	if err := openModels(d); err != nil {
		return nil, at(d.InputOffset(), err)
	}
	for d.More() {
		start := d.InputOffset()
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, at(syntaxAt(err, d.InputOffset()), err)
		}
		start += int64(bytes.Index(data[start:], raw))
		o, err := t.parseOverride(raw)
		if err != nil {
			return nil, at(start, err)
		}
		if slices.ContainsFunc(list, o.same) {
			return nil, at(start, fmt.Errorf("%s/%s has an entry from that day already", o.provider, o.model))
		}
		if list = append(list, o); len(list) > maxOverrides {
			return nil, at(start, fmt.Errorf("more than %d entries", maxOverrides))
		}
	}
	if err := closeModels(d); err != nil {
		return nil, at(syntaxAt(err, d.InputOffset()), err)
	}
	return list, nil
}

func openModels(d *json.Decoder) error {
	for _, want := range []json.Token{json.Delim('{'), "models", json.Delim('[')} {
		got, err := d.Token()
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf(`it begins with {"models": [, and here is %v`, clip(fmt.Sprint(got)))
		}
	}
	return nil
}

func closeModels(d *json.Decoder) error {
	for _, want := range []json.Token{json.Delim(']'), json.Delim('}')} {
		got, err := d.Token()
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("nothing but models is known, and here is %v", clip(fmt.Sprint(got)))
		}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the end")
	}
	return nil
}

// syntaxAt is where an error of JSON is, or else where the reader is.
func syntaxAt(err error, offset int64) int64 {
	if s, ok := errors.AsType[*json.SyntaxError](err); ok {
		return s.Offset
	}
	return offset
}

func lineAt(data []byte, offset int64) int {
	return 1 + bytes.Count(data[:min(max(offset, 0), int64(len(data)))], []byte("\n"))
}

func (t *Table) parseOverride(raw []byte) (o override, err error) {
	var l overrideLine
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return o, err
	}
	o.provider, o.model = canonical(l.Provider), strings.ToLower(strings.TrimSpace(l.Model))
	if o.provider == "" || o.model == "" || len(o.provider) > maxName || len(o.model) > maxName {
		return o, errors.New("an entry has a provider and a model")
	}
	if o.from, err = parseDay(l.From); err != nil {
		return o, err
	}
	o.rates = Rates{Provider: o.provider, Model: o.model, Source: "override", From: l.From, Note: l.Note}
	if o.rates.Prices, err = l.prices(); err != nil {
		return o, err
	}
	if l.Tiers != nil {
		o.tiers = true
		if o.rates.Tiers, err = tiersOf(*l.Tiers, Prices{}); err != nil {
			return o, err
		}
	}
	if o.rates.Prices.set == 0 && !o.tiers {
		return o, errors.New("an entry has a price")
	}
	if !l.Sure {
		err = t.plausible(o)
	}
	return o, err
}

// prices are the parts, with a second as a part of an hour.
func (l *overrideLine) prices() (Prices, error) {
	p, err := l.parts.prices()
	if err != nil || l.Second == nil {
		return p, err
	}
	if l.Hour != nil {
		return p, errors.New("an entry has either a second or an hour")
	}
	v, err := parseDecimal(string(*l.Second), moneyDecimals)
	if err == nil && (v < 0 || v > int64(maxMoney)/3600) {
		err = errRange
	}
	if err != nil {
		return p, fmt.Errorf("second: %q: %w", clip(string(*l.Second)), err)
	}
	p.put(Hour, Money(v*3600))
	return p, nil
}

// Prices that are taken without "sure".
const (
	mostPrice = 1000 * Dollar                 // of an image, a search, a call, or an hour
	mostToken = 1000 * Dollar / 1e6           // of a token
	lessToken = Dollar / 10_000 / 1e6         // of a token that is not free
	times     = Money(100)                    // the table's, and a hundredth of it
	hint      = `; set "sure": true if it is` // what it says to do
)

// plausible refuses prices that look like a wrong unit.
func (t *Table) plausible(o override) error {
	least, most := t.known(o)
	sets := []Prices{o.rates.Prices}
	for _, tier := range o.rates.Tiers {
		sets = append(sets, tier.Prices)
	}
	for _, p := range sets {
		for part := range numParts {
			m, ok := p.Of(part)
			if !ok || m == 0 {
				continue
			}
			show := formatDecimal(int64(m), part.decimals())
			if part.tokens() && (m > mostToken || m < lessToken) {
				return fmt.Errorf("%s: $%s is not likely for a million tokens"+hint, part, show)
			}
			if m > mostPrice {
				return fmt.Errorf("%s: $%s is not likely"+hint, part, show)
			}
			if top, ok := most.Of(part); ok && top > 0 && m/times > top {
				return fmt.Errorf("%s: $%s is more than %d times the $%s that is known"+hint, part, show, times, formatDecimal(int64(top), part.decimals()))
			}
			if low, ok := least.Of(part); ok && m < low/times {
				return fmt.Errorf("%s: $%s is less than 1/%d of the $%s that is known"+hint, part, show, times, formatDecimal(int64(low), part.decimals()))
			}
		}
	}
	return nil
}

// known are the lowest and the highest prices of what an entry is for.
func (t *Table) known(o override) (least, most Prices) {
	note := func(r *row) {
		for _, e := range r.entries {
			for part := range numParts {
				m, ok := e.rates.Prices.Of(part)
				if !ok || m == 0 {
					continue
				}
				if low, ok := least.Of(part); !ok || m < low {
					least.put(part, m)
				}
				if top, ok := most.Of(part); !ok || m > top {
					most.put(part, m)
				}
			}
		}
	}
	if !strings.Contains(o.provider+o.model, "*") {
		if r := t.row(o.provider, o.model); r != nil {
			note(r)
		}
		return least, most
	}
	for p := range t.shelves {
		if !wild(o.provider, p) {
			continue
		}
		for _, r := range t.shelf(p).rows {
			if wild(o.model, strings.ToLower(r.model)) {
				note(r)
			}
		}
	}
	return least, most
}

func (o override) same(other override) bool {
	return o.provider == other.provider && o.model == other.model && o.from == other.from
}

// rank says how much an entry counts for a model; 0 when it is not for it.
func (o override) rank(p, name, rowName string) int {
	if !wild(o.provider, p) || !wild(o.model, name) && (rowName == "" || !wild(o.model, rowName)) {
		return 0
	}
	rank := 1 + len(o.model) + len(o.provider)
	if !strings.Contains(o.model, "*") {
		rank += 4 * maxName
	}
	if !strings.Contains(o.provider, "*") {
		rank += 2 * maxName
	}
	return rank
}

// override puts the entries that fit a model over what the table has for it.
func (t *Table) override(base []entry, p, name, rowName string) []entry {
	type candidate struct {
		override
		rank int
	}
	var fit []candidate
	for _, o := range t.overrides {
		if rank := o.rank(p, name, rowName); rank > 0 {
			fit = append(fit, candidate{o, rank})
		}
	}
	slices.SortStableFunc(fit, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.from, b.from))
	})
	entries := slices.Clone(base)
	for _, o := range fit {
		if len(base) == 0 {
			rates := Rates{Model: name, shares: sharesOf(p, name)}
			entries = append(entries, entry{from: o.from, rates: o.over(rates, p)})
		}
		for _, e := range base {
			e.from = max(e.from, o.from)
			e.rates = o.over(e.rates, p)
			entries = append(entries, e)
		}
	}
	return entries
}

// over is what an entry makes of the rates of the table for a model of provider p.
func (o override) over(base Rates, p string) Rates {
	r := base
	r.Provider, r.Source, r.From = p, "override", o.rates.From
	if o.rates.Note != "" {
		r.Note = o.rates.Note
	}
	r.Prices = base.Prices.over(o.rates.Prices)
	r.Derived &^= Missing(o.rates.Prices.set)
	r.Tiers = nil
	if !o.tiers {
		pieces := o.rates.Prices.pieces()
		for _, t := range base.Tiers {
			r.Tiers = append(r.Tiers, Tier{t.Above, t.Prices.over(pieces)})
		}
		return r
	}
	for _, t := range o.rates.Tiers {
		r.Tiers = append(r.Tiers, Tier{t.Above, r.Prices.over(t.Prices)})
	}
	return r
}

// pieces are the prices of what is not tokens, which no tier changes.
func (p Prices) pieces() Prices {
	p.set &^= 1<<(AudioOutput+1) - 1
	return p
}

// wild reports whether a pattern, in which "*" stands for any characters, fits all
// of s.
func wild(pattern, s string) bool {
	head, rest, ok := strings.Cut(pattern, "*")
	if !ok {
		return pattern == s
	}
	if !strings.HasPrefix(s, head) {
		return false
	}
	s = s[len(head):]
	for {
		part, next, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(s, part)
		}
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(part):], next
	}
}
