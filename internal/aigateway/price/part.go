package price

import (
	"fmt"
	"strings"
)

// Part is one thing of a call that has a price.
type Part uint8

// The parts. Tokens are priced by the million in files, and by the token in Money.
const (
	Input        Part = iota // tokens of text read
	CacheRead                // tokens read from a cache
	CacheWrite5m             // tokens written to a cache for five minutes, or so long as it lasts
	CacheWrite1h             // tokens written to a cache for an hour
	AudioInput               // tokens of audio read
	Output                   // tokens of text written
	Reasoning                // tokens of thinking, where they are priced apart from Output
	ImageOutput              // tokens of an answer that is images, where they are priced apart from Output
	AudioOutput              // tokens of audio written
	Image                    // one image made
	WebSearch                // one search of the web
	Request                  // one call
	Hour                     // an hour of audio or computing
	numParts
	// Service stands for the tier of service in what is Missing. It has no price.
	Service
)

var partNames = [...]string{
	Input: "input", CacheRead: "cache_read", CacheWrite5m: "cache_write", CacheWrite1h: "cache_write_1h",
	AudioInput: "audio_input", Output: "output", Reasoning: "reasoning", ImageOutput: "image_output",
	AudioOutput: "audio_output", Image: "image", WebSearch: "web_search", Request: "request", Hour: "hour",
	numParts: "", Service: "service_tier",
}

// String is the name that files have for the part: "cache_read".
func (p Part) String() string {
	if int(p) < len(partNames) {
		return partNames[p]
	}
	return fmt.Sprintf("part %d", uint8(p))
}

// tokens reports whether the part is priced by the token.
func (p Part) tokens() bool { return p <= AudioOutput }

// decimals are those of a dollar that a price has in files.
func (p Part) decimals() int {
	if p.tokens() {
		return moneyDecimals - 6 // per million
	}
	return moneyDecimals
}

// Missing is a set of parts that a usage had and that have no price of their own:
// the sum is too small, or took the price of something near. Zero means that the sum
// is complete.
type Missing uint16

// Has reports whether a part is in the set.
func (m Missing) Has(p Part) bool { return m&(1<<p) != 0 }

// String lists the parts: "audio_input, web_search".
func (m Missing) String() string {
	var names []string
	for p := range Service + 1 {
		if m.Has(p) {
			names = append(names, p.String())
		}
	}
	return strings.Join(names, ", ")
}

// MarshalText writes what String does.
func (m Missing) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// Prices are what the parts cost: Money by the token, image, search, call and hour.
// A part may have no price, which is not one of zero. The zero value has none.
type Prices struct {
	money [numParts]Money
	set   uint16
}

// Of returns the price of a part, and whether it has one.
func (p Prices) Of(part Part) (Money, bool) {
	if part >= numParts || p.set&(1<<part) == 0 {
		return 0, false
	}
	return p.money[part], true
}

func (p *Prices) put(part Part, m Money) {
	p.money[part] = m
	p.set |= 1 << part
}

// over is p with the prices that q has over it.
func (p Prices) over(q Prices) Prices {
	for part := range numParts {
		if m, ok := q.Of(part); ok {
			p.put(part, m)
		}
	}
	return p
}

// dearest is the highest price of some parts, or 0 where none has one.
func (p Prices) dearest(parts ...Part) Money {
	most := Money(0)
	for _, part := range parts {
		if m, ok := p.Of(part); ok {
			most = max(most, m)
		}
	}
	return most
}

// free are prices of zero for everything.
func free() Prices {
	var p Prices
	for part := range numParts {
		p.put(part, 0)
	}
	return p
}

// MarshalJSON writes the prices as a file of overrides has them: {"input":3,
// "output":15}, dollars per million tokens, image, search, call and hour.
func (p Prices) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	for part := range numParts {
		if m, ok := p.Of(part); ok {
			fmt.Fprintf(&b, ",%q:%s", part, formatDecimal(int64(m), part.decimals()))
		}
	}
	return []byte("{" + strings.TrimPrefix(b.String(), ",") + "}"), nil
}
