package price

import (
	"math"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// Tier is what counts in place of the prices of Rates for a call that reads more
// than Above tokens, from wherever: for all of its tokens and not only those above.
// That is how Anthropic, Google, OpenAI and xAI charge long prompts, and what both
// sources of the table mean.
type Tier struct {
	Above  int64  `json:"above"`
	Prices Prices `json:"prices"`
}

// Rates are what a model costs at one moment.
type Rates struct {
	Provider string  `json:"provider"`       // whose row this is: "openai" for a model of Azure that is priced so
	Model    string  `json:"model"`          // name of the row
	Source   string  `json:"source"`         // "genai-prices", "pi-ai", "override", or "free"
	From     string  `json:"from,omitempty"` // first day of these prices, such as "2026-11-10"; "" where it is not known
	Note     string  `json:"note,omitempty"` // what the prices leave out
	Prices   Prices  `json:"prices"`
	Tiers    []Tier  `json:"tiers,omitempty"`   // by Above, rising; not to be changed
	Derived  Missing `json:"derived,omitempty"` // parts whose price is worked out by the provider's rule and not published

	leastSeconds int64 // that are charged when there are any
	shares       shares
}

// Cost is what a usage costs. Every token is priced exactly; fractions of a millionth
// of a millionth of a dollar, which shares of services and of hours can have, are
// rounded up. Counts below zero count as none.
//
// A part without a price of its own costs:
//   - tokens read from or written to a cache: as much as other input, which is what
//     providers charge who have no price for it. A write for an hour costs what one
//     for five minutes does, and is missing where that has a price.
//   - thinking, and images that are paid by the token: as much as text.
//   - audio tokens: as much as text, and missing.
//   - images and seconds beside tokens: nothing, as the tokens are what is paid.
//   - everything else: nothing, and missing.
//
// A service whose share is not known ("priority" of most) is missing and costs what
// the standard one does.
func (r Rates) Cost(u usage.Usage) (Money, Missing) {
	u = clamp(u)
	b := bill{prices: r.at(u.Prompt())}
	b.read(u)
	b.write(u)
	share, ok := r.shares.of(u.Tier)
	if !ok {
		b.missing |= 1 << Service
	}
	b.sum = scale(int64(b.sum), share, 100)
	b.pieces(u, r.leastSeconds)
	return b.sum, b.missing
}

// Ceiling is the most that a call can cost that reads so many tokens at most and
// writes so many, with standard service: every token at the dearest price that its
// way has, in the dearest tier that the prompt can reach. Searches, images and
// seconds that are charged by the piece are not in it.
func (r Rates) Ceiling(prompt, maxOutput int64) Money {
	most := r.Prices.ceiling(prompt, maxOutput)
	for _, t := range r.Tiers {
		if prompt > t.Above {
			most = max(most, t.Prices.ceiling(prompt, maxOutput))
		}
	}
	return most
}

func (p Prices) ceiling(prompt, output int64) Money {
	in := p.dearest(Input, CacheRead, CacheWrite5m, CacheWrite1h, AudioInput)
	out := p.dearest(Output, Reasoning, ImageOutput, AudioOutput)
	return scale(prompt, int64(in), 1).Add(scale(output, int64(out), 1)).Add(p.dearest(Request))
}

// Share is what a service ("batch", "priority", "flex") costs in percent of the
// standard one, and whether that is known.
func (r Rates) Share(service string) (percent int64, known bool) { return r.shares.of(service) }

// at are the prices of a prompt of so many tokens.
func (r *Rates) at(prompt int64) *Prices {
	p := &r.Prices
	for i := range r.Tiers {
		if prompt > r.Tiers[i].Above {
			p = &r.Tiers[i].Prices
		}
	}
	return p
}

// bill adds up the parts of one usage.
type bill struct {
	prices  *Prices
	sum     Money
	missing Missing
}

// add counts n of a part at its own price, or at that of the first of others that
// has one.
func (b *bill) add(n int64, part Part, others ...Part) {
	if n == 0 {
		return
	}
	m, ok := b.prices.Of(part)
	for i := 0; !ok && i < len(others); i++ {
		m, ok = b.prices.Of(others[i])
	}
	if !ok {
		b.missing |= 1 << part
	}
	b.sum = b.sum.Add(scale(n, int64(m), 1))
}

// needs notes a part that is used and must have a price of its own to be right.
func (b *bill) needs(n int64, part Part) {
	if _, ok := b.prices.Of(part); n > 0 && !ok {
		b.missing |= 1 << part
	}
}

func (b *bill) read(u usage.Usage) {
	b.add(u.Input, Input)
	b.add(u.CacheRead, CacheRead, Input)
	b.add(u.CacheWrite5m, CacheWrite5m, Input)
	b.add(u.CacheWrite1h, CacheWrite1h, CacheWrite5m, Input)
	if _, ok := b.prices.Of(CacheWrite5m); ok {
		b.needs(u.CacheWrite1h, CacheWrite1h)
	}
	b.add(u.AudioInput, AudioInput, Input)
	b.needs(u.AudioInput, AudioInput)
}

func (b *bill) write(u usage.Usage) {
	thinking := min(u.Reasoning, u.Output)
	if u.Images > 0 {
		b.add(u.Output-thinking, ImageOutput, Output)
	} else {
		b.add(u.Output-thinking, Output)
	}
	b.add(thinking, Reasoning, Output)
	if b.missing.Has(Reasoning) { // nothing is priced apart from the output
		b.missing = b.missing&^(1<<Reasoning) | 1<<Output
	}
	if b.missing.Has(ImageOutput) {
		b.missing = b.missing&^(1<<ImageOutput) | 1<<Output
	}
	b.add(u.AudioOutput, AudioOutput, Output)
	b.needs(u.AudioOutput, AudioOutput)
}

// pieces counts what is not tokens.
func (b *bill) pieces(u usage.Usage, leastSeconds int64) {
	tokens := u.Total() > 0
	if _, ok := b.prices.Of(Image); ok || !tokens {
		b.add(u.Images, Image)
	}
	b.add(u.WebSearches, WebSearch)
	if m, ok := b.prices.Of(Request); ok {
		b.sum = b.sum.Add(m)
	}
	micros := micros(u.Seconds)
	hour, ok := b.prices.Of(Hour)
	switch {
	case micros == 0:
	case ok:
		b.sum = b.sum.Add(scale(max(micros, leastSeconds*1e6), int64(hour), 3600*1e6))
	case !tokens:
		b.missing |= 1 << Hour
	}
}

// micros are seconds in whole millionths, rounded up; none for what is not a time.
func micros(seconds float64) int64 {
	v := math.Ceil(seconds * 1e6)
	switch {
	case !(v > 0):
		return 0
	case v >= math.MaxInt64/2:
		return math.MaxInt64 / 2
	}
	return int64(v)
}

// maxCount bounds a count, so that sums of counts are right.
const maxCount = math.MaxInt64 / 8

func clamp(u usage.Usage) usage.Usage {
	for _, n := range []*int64{
		&u.Input, &u.CacheRead, &u.CacheWrite5m, &u.CacheWrite1h, &u.AudioInput,
		&u.Output, &u.AudioOutput, &u.Reasoning, &u.Images, &u.WebSearches,
	} {
		*n = min(max(*n, 0), maxCount)
	}
	return u
}
