package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// row is one line of the table.
type row struct {
	Provider string          `json:"provider"`
	Model    string          `json:"model"`
	Match    json.RawMessage `json:"match,omitempty"` // names it goes by besides its own
	Note     string          `json:"note,omitempty"`
	Least    int             `json:"min_seconds,omitempty"`
	Prices   []period        `json:"prices"`
}

// period is what a model costs from a day on, in some hours of the day or in all.
// The last of a row that fits the moment counts.
type period struct {
	From    string // day in UTC, "" for ever
	Hours   string // "01:00-04:00" UTC, "" for all
	Source  string // short name of the package
	Prices  prices
	Tiers   []tier
	Derived []string // parts that are worked out and not published
}

// tier is what takes the place of prices where a prompt has more tokens than Above.
type tier struct {
	Above  int64
	Prices prices
}

// prices are dollars by the name of what is counted, in units of unit.
type prices map[string]*big.Rat

// names are the parts in the order they are written: tokens are priced by the
// million, an hour by the hour, and all else by the piece.
var names = []string{
	"input", "cache_read", "cache_write", "cache_write_1h", "audio_input",
	"output", "reasoning", "image_output", "audio_output",
	"web_search", "request", "hour",
}

// decimals of a price per million tokens: the table is exact to millionths of a
// dollar per million tokens, and prices that are not are rounded to the next.
const decimals = 6

func (p prices) appendTo(b *bytes.Buffer) {
	for _, n := range names {
		if v := p[n]; v != nil {
			fmt.Fprintf(b, ",%q:%s", n, decimal(v))
		}
	}
}

// decimal is v without needless digits.
func decimal(v *big.Rat) string {
	s := v.FloatString(decimals)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// MarshalJSON writes the parts in the order of names.
func (p period) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"source":%q`, p.Source)
	if p.From != "" {
		fmt.Fprintf(&b, `,"from":%q`, p.From)
	}
	if p.Hours != "" {
		fmt.Fprintf(&b, `,"hours":%q`, p.Hours)
	}
	p.Prices.appendTo(&b)
	if len(p.Derived) > 0 {
		fmt.Fprintf(&b, `,"derived":["%s"]`, strings.Join(p.Derived, `","`))
	}
	for i, t := range p.Tiers {
		b.WriteString(map[bool]string{true: `,"tiers":[`, false: `,`}[i == 0])
		fmt.Fprintf(&b, `{"above":%d`, t.Above)
		t.Prices.appendTo(&b)
		b.WriteByte('}')
	}
	if len(p.Tiers) > 0 {
		b.WriteByte(']')
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// anthropicWrites fills in what writing to Anthropic's prompt cache costs where it
// is not given: 1.25 times the input for five minutes and twice it for an hour, as
// Anthropic documents for all its models. Models that cannot be read from a cache
// have none.
func anthropicWrites(rows []*row) {
	for _, r := range rows {
		if !strings.Contains(strings.ToLower(r.Model), "claude") {
			continue
		}
		for i := range r.Prices {
			p := &r.Prices[i]
			p.fillWrites(p.Prices)
			for _, t := range p.Tiers {
				p.fillWrites(t.Prices)
			}
		}
	}
}

func (p *period) fillWrites(q prices) {
	if q["input"] == nil || q["cache_read"] == nil {
		return
	}
	for _, w := range []struct {
		name  string
		times *big.Rat
	}{{"cache_write", big.NewRat(5, 4)}, {"cache_write_1h", big.NewRat(2, 1)}} {
		if q[w.name] != nil {
			continue
		}
		q[w.name] = new(big.Rat).Mul(q["input"], w.times)
		if !slices.Contains(p.Derived, w.name) {
			p.Derived = append(p.Derived, w.name)
		}
	}
}

func (p prices) same(q prices) bool {
	for _, n := range names {
		a, b := p[n], q[n]
		if (a == nil) != (b == nil) || a != nil && a.Cmp(b) != 0 {
			return false
		}
	}
	return true
}

func sameTiers(a, b []tier) bool {
	return slices.EqualFunc(a, b, func(x, y tier) bool { return x.Above == y.Above && x.Prices.same(y.Prices) })
}
