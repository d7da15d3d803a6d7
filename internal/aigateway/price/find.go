package price

import (
	"strings"
	"sync"
	"time"
)

// maxName bounds names of providers and models, in bytes; longer ones are unknown.
const maxName = 512

// Find returns what a model of a provider costs at a moment, and whether that is
// known. A name may be as the provider has it, as OpenRouter has it ("openai/gpt-5";
// provider may be "" then), with the date of a snapshot, with "-latest", an ID, an
// ARN or a profile of Bedrock, a name of Vertex AI ("...@20250929") or a whole
// resource. What somebody deployed under a name of his own is not known, except by a
// file of overrides. Every model of the provider "demo" is free.
//
// It allocates nothing for names that were looked up before.
func (t *Table) Find(providerName, model string, at time.Time) (Rates, bool) {
	if len(providerName) > maxName || len(model) > maxName {
		return Rates{}, false
	}
	k := key{providerName, model}
	entries, ok := t.cache.get(k)
	if !ok {
		entries = t.resolve(providerName, model)
		t.cache.put(k, entries)
	}
	if e := pick(entries, at); e != nil {
		return e.rates, true
	}
	return Rates{}, false
}

// resolve looks a model up: what it costs over time, or nil.
func (t *Table) resolve(providerName, model string) []entry {
	p, name := canonical(providerName), strings.ToLower(strings.TrimSpace(model))
	if p == "" {
		owner, rest, ok := strings.Cut(name, "/")
		if ok {
			p, name = canonical(owner), rest
		}
	}
	if p == demo {
		return []entry{{from: forever, rates: Rates{Provider: demo, Model: name, Source: "free", Prices: free()}}}
	}
	if name == "" {
		return nil
	}
	r := t.row(p, name)
	var entries []entry
	rowName := ""
	if r != nil {
		rowName = r.model
		for _, e := range r.entries {
			e.rates.shares = sharesOf(p, r.model)
			entries = append(entries, e)
		}
	}
	return t.override(entries, p, name, strings.ToLower(rowName))
}

// row finds the row of a model, or nil.
func (t *Table) row(p, name string) *row {
	for _, known := range append([]string{p}, providers[p].fallback...) {
		sub, name := known, name
		if known == "huggingface" {
			sub, name = huggingFace(name)
		}
		s := t.shelf(sub)
		if s == nil {
			continue
		}
		for _, n := range spellings(p, name) {
			if r := s.find(p, n); r != nil {
				return r
			}
		}
	}
	return nil
}

// huggingFace takes off who serves the model ("model:together"), whose shelf that
// is, and how the router may choose ("model:fastest"), which it has one price for.
func huggingFace(name string) (shelf, model string) {
	model, who, ok := strings.Cut(name, ":")
	switch {
	case !ok || who == "fastest" || who == "cheapest" || who == "preferred":
		return "huggingface", model
	}
	return "huggingface/" + who, model
}

// spellings are how a name may be known to provider p: as it is, and without what
// only says where it is.
func spellings(p, name string) []string {
	names := []string{name}
	add := func(n string) {
		if n != "" && n != name {
			names = append(names, n)
		}
	}
	switch p {
	case "bedrock":
		if strings.HasPrefix(name, "arn:") {
			add(name[strings.LastIndexByte(name, '/')+1:])
		}
	case "google", "vertex":
		if i := strings.LastIndex(name, "models/"); i >= 0 {
			name = name[i+len("models/"):]
			names = append(names, name)
		}
		if model, version, ok := strings.Cut(name, "@"); ok {
			if version == "default" || version == "latest" {
				add(model)
			} else {
				add(model + "-" + version)
			}
		}
	case "azure":
		if rest, ok := strings.CutPrefix(name, "gpt-35"); ok { // no dots in names of deployments
			add("gpt-3.5" + rest)
		}
	}
	if owner, rest, ok := strings.Cut(name, "/"); ok && canonical(owner) == p {
		add(rest)
	}
	return names
}

// find looks a name up on the shelf. A rule counts less than the exact name of
// another model that is longer than what the rule is about: "claude-sonnet-5-5" with
// a date is that model, and not what a rule for all that begins with
// "claude-sonnet-5" says.
func (s *shelf) find(p, name string) *row {
	if r := s.exact[name]; r != nil {
		return r
	}
	ruled, about := s.ruled(name)
	bare := name
	for range 4 {
		shorter := shorten(p, bare)
		if shorter == bare {
			break
		}
		bare = shorter
		if r := s.exact[bare]; r != nil && (ruled == nil || len(bare) >= about) {
			return r
		}
	}
	if ruled != nil {
		return ruled
	}
	if bare != name {
		if ruled, _ = s.ruled(dashDate(name)); ruled == nil {
			ruled, _ = s.ruled(bare)
		}
	}
	return ruled
}

func (s *shelf) ruled(name string) (r *row, about int) {
	for _, r := range s.rows {
		if about, ok := r.rule.Fits(name); ok {
			return r, about
		}
	}
	return nil, 0
}

// geographies are what Bedrock puts before the names of models that it serves from
// several regions.
var geographies = []string{"us.", "eu.", "apac.", "jp.", "au.", "ca.", "sa.", "in.", "us-gov.", "global."}

// shorten takes one thing off a name that does not say which model it is.
func shorten(p, name string) string {
	if p == "bedrock" {
		if rest, ok := strings.CutSuffix(name, ":0"); ok {
			return rest
		}
		if n := len(name); n > 3 && name[n-3:n-1] == "-v" && isDigit(name[n-1]) {
			return name[:n-3]
		}
	}
	if rest, ok := strings.CutSuffix(name, "-latest"); ok {
		return rest
	}
	if n := dateAt(name); n > 0 {
		return name[:n]
	}
	if p == "openrouter" {
		for _, how := range []string{":nitro", ":floor", ":exacto"} { // ways to choose among who serves it
			if rest, ok := strings.CutSuffix(name, how); ok {
				return rest
			}
		}
	}
	if p == "bedrock" {
		for _, g := range geographies {
			if rest, ok := strings.CutPrefix(name, g); ok {
				return rest
			}
		}
	}
	return name
}

// dateAt is where a date at the end of a name begins, "-20250807" or "-2025-08-07",
// or 0.
func dateAt(name string) int {
	for _, form := range []string{"-20060102", "-2006-01-02"} {
		if n := len(name) - len(form); n > 0 {
			if _, err := time.Parse(form, name[n:]); err == nil {
				return n
			}
		}
	}
	return 0
}

// dashDate writes a date at the end with dashes, as some rules have it.
func dashDate(name string) string {
	n := dateAt(name)
	if d := name[n:]; n > 0 && len(d) == len("-20060102") {
		return name[:n] + d[:5] + "-" + d[5:7] + "-" + d[7:]
	}
	return name
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// key is a name as it was asked for.
type key struct{ provider, model string }

// maxCache bounds the names that are remembered; all are forgotten when there are
// more, as whoever has so many makes them up.
const maxCache = 4096

// cache remembers what names were looked up to, unknown ones too.
type cache struct {
	mu    sync.RWMutex
	known map[key][]entry
}

func (c *cache) get(k key) ([]entry, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	entries, ok := c.known[k]
	return entries, ok
}

// put keeps copies of the names: they may be parts of large requests.
func (c *cache) put(k key, entries []entry) {
	k = key{strings.Clone(k.provider), strings.Clone(k.model)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= maxCache {
		c.known = map[key][]entry{}
	}
	c.known[k] = entries
}
