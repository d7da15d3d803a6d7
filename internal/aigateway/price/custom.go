package price

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// CustomHeader is the header of a call that says what it costs, as Cloudflare's AI
// Gateway has it.
const CustomHeader = "cf-aig-custom-cost"

const (
	maxCustom = 1 << 10 // bytes of the header
	// customDecimals are those of a dollar that a price per token has here: Cloudflare
	// sets no limit.
	customDecimals = 18
	mostCustom     = 1e15            // per token, in those: $1,000 per million tokens
	mostTotal      = 10_000 * Dollar // of one call
)

// Custom is what the caller says that a call costs. The zero value is nothing that
// ParseCustom returns.
type Custom struct {
	total  *Money
	prices [4]int64 // in, out, cache read, cache write, with customDecimals
	has    [4]bool
}

// ParseCustom reads the value of CustomHeader. It is JSON, with dollars as numbers
// or strings of them:
//
//	{"per_token_in": 0.000001, "per_token_out": 0.000002}
//	{"per_token_in": 0.000001, "per_token_out": 0.000002, "per_cache_read_token": 0.0000001, "per_cache_write_token": 0.0000005}
//	{"total_cost": 0.01}
//
// The first two are in https://developers.cloudflare.com/ai-gateway/configuration/custom-costs/,
// the last is in the types that Cloudflare publishes for Workers. A price of more
// than $1,000 per million tokens or $10,000 per call, one that has more than 18
// decimals, and any other key, is refused. Whoever lets a caller set it lets him say
// what he spends.
func ParseCustom(value string) (Custom, error) {
	c, err := parseCustom(value)
	if err != nil {
		return Custom{}, fmt.Errorf("%s: %w", CustomHeader, err)
	}
	return c, nil
}

func parseCustom(value string) (c Custom, err error) {
	if len(value) > maxCustom {
		return c, fmt.Errorf("longer than %d bytes", maxCustom)
	}
	var l struct {
		In    *amount `json:"per_token_in"`
		Out   *amount `json:"per_token_out"`
		Read  *amount `json:"per_cache_read_token"`
		Write *amount `json:"per_cache_write_token"`
		Total *amount `json:"total_cost"`
	}
	d := json.NewDecoder(bytes.NewReader([]byte(value)))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return c, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return c, errors.New("there is more after the end")
	}
	any := false
	for i, a := range []*amount{l.In, l.Out, l.Read, l.Write} {
		if a == nil {
			continue
		}
		v, err := parseDecimal(string(*a), customDecimals)
		if err != nil || v < 0 || v > mostCustom {
			return c, fmt.Errorf("%q is not a likely price of one token (%v)", clip(string(*a)), err)
		}
		c.prices[i], c.has[i], any = v, true, true
	}
	switch {
	case l.Total != nil && any:
		return c, errors.New("it has either total_cost or prices of tokens")
	case l.Total != nil:
		v, err := parseDecimal(string(*l.Total), moneyDecimals)
		if err != nil || v < 0 || Money(v) > mostTotal {
			return c, fmt.Errorf("%q is not a likely cost of one call (%v)", clip(string(*l.Total)), err)
		}
		total := Money(v)
		c.total = &total
	case !any:
		return c, errors.New("it has no price")
	}
	return c, nil
}

// Cost is what a call costs by that, each part rounded up to whole Money. Tokens of
// a cache cost what other tokens read do, unless one of the two prices of a cache is
// given, and then the other one does. Tokens without any price are missing.
func (c Custom) Cost(u usage.Usage) (Money, Missing) {
	if c.total != nil {
		return *c.total, 0
	}
	u = clamp(u)
	const in, out, read, write = 0, 1, 2, 3
	var sum Money
	var missing Missing
	add := func(n int64, part Part, prices ...int) {
		for _, i := range prices {
			if c.has[i] {
				sum = sum.Add(scale(n, c.prices[i], 1e6)) // from 18 decimals to those of Money
				return
			}
		}
		if n > 0 {
			missing |= 1 << part
		}
	}
	add(u.Input+u.AudioInput, Input, in)
	add(u.CacheRead, CacheRead, read, in)
	add(u.CacheWrite5m+u.CacheWrite1h, CacheWrite5m, write, in)
	add(u.Output+u.AudioOutput, Output, out)
	return sum, missing
}
