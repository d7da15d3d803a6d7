package main

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/moltworker/moltworker/internal/aigateway/price/match"
)

// How the sources are joined. genai-prices gives the shape: names a model goes by,
// tiers, writes for an hour, dates, hours, and prices of what are not tokens. pi-ai
// is fresher. So, for each of its models:
//
//   - genai-prices has a model of that name, and the prices are the same: nothing.
//   - it has one, and they differ: pi-ai's hold from pi-ai's date on. What pi-ai
//     does not price stays, in the same proportion to the input where it is a price
//     of tokens read; tiers that pi-ai has none of stay in proportion too.
//   - it has one with prices by the hour, and pi-ai's is one of them: nothing.
//   - a rule of genai-prices catches the name, and prices are the same: nothing.
//   - else pi-ai's is a row of its own, by its exact name.
//
// In Amazon Bedrock a name without a geography ("anthropic.claude-...") is served
// in the region that was called, for the price of a geography and not the lower one
// of "global." that pi-ai has for it: there it takes the price of "us.".
func join(rows []*row, offers []offer) ([]*row, error) {
	byName := map[string]*row{}
	byProvider := map[string][]*row{}
	for _, r := range rows {
		byName[key(r.Provider, r.Model)] = r
		byProvider[r.Provider] = append(byProvider[r.Provider], r)
	}
	byProvider["vertex"] = byProvider["google"] // the same prices, unless pi-ai says otherwise
	regional(offers)
	var added []*row
	for _, o := range offers {
		if r := byName[key(o.provider, o.model)]; r != nil {
			r.update(o)
			continue
		}
		caught, err := catch(byProvider[o.provider], o.model)
		if err != nil {
			return nil, err
		}
		if caught != nil && caught.covers(o) {
			continue
		}
		r := &row{Provider: o.provider, Model: o.model}
		r.Prices = []period{{Source: "pi-ai", Prices: o.prices, Tiers: o.tiers}}
		r.Prices[0].completeTiers()
		byName[key(o.provider, o.model)] = r
		added = append(added, r)
	}
	rows = append(rows, added...)
	anthropicWrites(rows)
	return rows, nil
}

func key(provider, model string) string { return provider + "\x00" + strings.ToLower(model) }

// regional gives models of Bedrock without a geography the price of "us.".
func regional(offers []offer) {
	us := map[string]offer{}
	for _, o := range offers {
		if name, ok := strings.CutPrefix(o.model, "us."); ok && o.provider == "bedrock" {
			us[name] = o
		}
	}
	for i, o := range offers {
		if u, ok := us[o.model]; ok && o.provider == "bedrock" {
			offers[i].prices, offers[i].tiers = maps.Clone(u.prices), nil
			for _, t := range u.tiers {
				offers[i].tiers = append(offers[i].tiers, tier{t.Above, maps.Clone(t.Prices)})
			}
		}
	}
}

// now are the prices of today, at any hour.
func (r *row) now() []period {
	from := r.Prices[len(r.Prices)-1].From
	return slices.DeleteFunc(slices.Clone(r.Prices), func(p period) bool { return p.From != from })
}

// covers reports whether the row prices an offer as it is today.
func (r *row) covers(o offer) bool {
	return slices.ContainsFunc(r.now(), func(p period) bool {
		for name, price := range o.prices {
			if p.Prices[name] == nil || p.Prices[name].Cmp(price) != 0 {
				return false
			}
		}
		if len(o.tiers) == 0 {
			return true
		}
		return slices.EqualFunc(p.Tiers, o.tiers, func(a, b tier) bool {
			for name, price := range b.Prices {
				if a.Prices[name] == nil || a.Prices[name].Cmp(price) != 0 {
					return false
				}
			}
			return a.Above == b.Above
		})
	})
}

// update lets an offer count from its date on, unless the row says the same.
func (r *row) update(o offer) {
	if r.covers(o) {
		return
	}
	now := r.now()
	old := now[len(now)-1]
	p := period{From: piSource.Date, Source: "pi-ai", Prices: over(old.Prices, o.prices), Tiers: o.tiers}
	if len(o.tiers) > 0 {
		for i, t := range o.tiers {
			p.Tiers[i].Prices = over(p.Prices, t.Prices)
		}
	} else {
		for _, t := range old.Tiers {
			p.Tiers = append(p.Tiers, tier{t.Above, proportional(t.Prices, old.Prices, p.Prices)})
		}
	}
	if old.Prices.same(p.Prices) && sameTiers(old.Tiers, p.Tiers) {
		return
	}
	r.Prices = append(r.Prices, p)
}

// over is old with fresh prices over it.
func over(old, fresh prices) prices {
	p := prices{}
	for _, n := range names {
		switch {
		case fresh[n] != nil:
			p[n] = fresh[n]
		case old[n] == nil:
		case strings.HasPrefix(n, "cache_") && fresh["input"] != nil && old["input"] != nil && old["input"].Sign() > 0:
			times := new(big.Rat).Quo(fresh["input"], old["input"])
			p[n] = times.Mul(times, old[n])
		default:
			p[n] = old[n]
		}
	}
	return p
}

// proportional moves a tier as far as the prices below it have moved.
func proportional(t, old, fresh prices) prices {
	p := prices{}
	for n, price := range t {
		if old[n] == nil || fresh[n] == nil || old[n].Sign() == 0 {
			p[n] = price
			continue
		}
		times := new(big.Rat).Quo(fresh[n], old[n])
		p[n] = times.Mul(times, price)
	}
	return p
}

// catch finds the row whose rule a name fits.
func catch(rows []*row, model string) (*row, error) {
	for _, r := range rows {
		if r.Match == nil {
			continue
		}
		rule, err := match.Parse(r.Match)
		if err != nil {
			return nil, fmt.Errorf("%s/%s: %w", r.Provider, r.Model, err)
		}
		if _, ok := rule.Fits(strings.ToLower(model)); ok {
			return r, nil
		}
	}
	return nil, nil
}
