package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// piData is the folder of a package with a file for each provider.
const piData = "package/dist/providers/data/"

// piProviders are the files that are read, and the providers of ours they are.
// Left out are subscriptions, whose prices are not paid by the token, and services
// that resell the others at the same price.
var piProviders = map[string]string{
	"amazon-bedrock": "bedrock", "ant-ling": "ant-ling", "anthropic": "anthropic", "azure": "azure",
	"baseten": "baseten", "cerebras": "cerebras", "cloudflare-workers-ai": "workers-ai",
	"deepseek": "deepseek", "fireworks": "fireworks", "google": "google", "google-vertex": "vertex",
	"groq": "groq", "huggingface": "huggingface", "meta": "meta", "minimax": "minimax",
	"mistral": "mistral", "moonshotai": "moonshotai", "openai": "openai", "openrouter": "openrouter",
	"together": "together", "vercel-ai-gateway": "vercel", "xai": "xai", "xiaomi": "xiaomi", "zai": "zai",
}

// offer is one model of pi-ai.
type offer struct {
	provider, model string
	prices          prices
	tiers           []tier
}

type piCost struct {
	Input, Output, CacheRead, CacheWrite json.Number
	Tiers                                []struct {
		InputTokensAbove                     int64
		Input, Output, CacheRead, CacheWrite json.Number
	}
}

// readPi reads pi-ai. Zeroes there mean that nothing is known, so models that have
// nothing else are left out.
func readPi(files map[string][]byte) ([]offer, error) {
	var offers []offer
	for _, file := range slices.Sorted(maps.Keys(piProviders)) {
		data, ok := files[piData+file+".json"]
		if !ok {
			return nil, fmt.Errorf("no file of %s", file)
		}
		var byAPI map[string]map[string]struct {
			ID, Type string
			Cost     piCost
		}
		if err := json.Unmarshal(data, &byAPI); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, api := range slices.Sorted(maps.Keys(byAPI)) {
			for _, id := range slices.Sorted(maps.Keys(byAPI[api])) {
				m := byAPI[api][id]
				if m.Type != "chat" && m.Type != "classifier" {
					continue // prices of images are not those of their tokens there
				}
				o, err := m.Cost.offer()
				if err != nil {
					return nil, fmt.Errorf("%s: %s: %w", file, m.ID, err)
				}
				if o.prices["input"] == nil || strings.HasSuffix(m.ID, ":free") {
					continue
				}
				o.provider, o.model = piProviders[file], m.ID
				offers = append(offers, o)
			}
		}
	}
	slices.SortStableFunc(offers, func(a, b offer) int {
		return strings.Compare(a.provider+"\x00"+a.model, b.provider+"\x00"+b.model)
	})
	return offers, nil
}

func (c piCost) offer() (o offer, err error) {
	if o.prices, err = piPrices(c.Input, c.Output, c.CacheRead, c.CacheWrite); err != nil {
		return o, err
	}
	for _, t := range c.Tiers {
		p, err := piPrices(t.Input, t.Output, t.CacheRead, t.CacheWrite)
		if err != nil {
			return o, err
		}
		o.tiers = append(o.tiers, tier{t.InputTokensAbove, p})
	}
	slices.SortFunc(o.tiers, func(a, b tier) int { return int(a.Above - b.Above) })
	return o, nil
}

func piPrices(input, output, read, write json.Number) (prices, error) {
	p := prices{}
	for name, n := range map[string]json.Number{"input": input, "output": output, "cache_read": read, "cache_write": write} {
		if n == "" {
			continue
		}
		v, err := rat(n.String())
		if err != nil {
			return nil, err
		}
		if v.Sign() > 0 {
			p[name] = v
		}
	}
	return p, nil
}
