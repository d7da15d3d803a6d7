package calllog

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// Call is what is kept of one call of a model. Strings are cut at the bounds below,
// and what cannot be printed in them is replaced.
type Call struct {
	ID       ID     // made by Log.NewID when the call began, which is the call's time
	Agent    string // "" where none can be named
	Trigger  string // why it called: "user", "cron" ...; "" unknown
	Provider string

	// Model is what the call is counted as on pages; the caller chooses it, such that
	// dated and undated names of one model meet. "" is the same as Asked, and when that
	// is "" too, as Usage.Model, which is the model that answered.
	Model string
	Asked string // by the client

	Endpoint string // path below the provider's address
	Status   int    // of HTTP, as the client saw it; 0: there was no answer
	Error    string // kind of what went wrong, "" nothing; may be set with status 200, when a stream broke
	Stream   bool
	Usage    usage.Usage

	Cost      price.Money // counts only if CostKnown
	CostKnown bool        // also set for what is known to have cost nothing
	Saved     price.Money // what the cache's answer would have cost

	Took      time.Duration // from the request to the end of the answer
	FirstByte time.Duration // until the answer began; 0: it never did
	Attempts  int           // requests that were sent to providers
	Step      int           // of a route's fallbacks, from 0, that answered
	Cache     string        // "hit", "miss", "bypass", "" not asked

	Key      string            // name of the provider's key, never its value
	Metadata map[string]string // the first 5 keys in order are kept
	Event    string            // the client's own ID of what it does
	Guards   []string          // what guardrails found, which steps failed, what was not translated

	RequestBytes, ResponseBytes int64

	Payload  *Payload  // for Add: to be kept; nil: not. Not set in what is read
	Feedback *Feedback // in what is read; Add ignores it
}

// Payload is what was said in a call. The caller has taken out what must not be kept.
type Payload struct {
	Request, Response []byte
	// Each is set when the log kept only the beginning of a side.
	RequestCut, ResponseCut bool
}

// Bounds of a call, in bytes unless said otherwise.
const (
	maxName      = 128
	maxEndpoint  = 256
	maxError     = 64
	maxEvent     = 128
	maxMetadata  = 5 // entries
	maxMetaKey   = 64
	maxMetaValue = 256
	maxGuards    = 16 // entries
	maxGuard     = 160
	maxComment   = 2000
	maxTokens    = int64(1e12) // of one kind in one call
	maxBytes     = int64(1e15)
	maxTook      = 30 * 24 * time.Hour
	maxCost      = 1_000_000 * price.Dollar
)

// Outcome sorts calls by how they ended.
type Outcome int

// The outcomes; their numbers are in the database.
const (
	Unanswered  Outcome = 0 // no answer reached the client
	Informed    Outcome = 1 // 1xx
	Succeeded   Outcome = 2 // 2xx
	Redirected  Outcome = 3 // 3xx
	Refused     Outcome = 4 // 4xx
	Failed      Outcome = 5 // 5xx
	Interrupted Outcome = 6 // the status said that it went well, and then it did not
)

// outcomeNames are what filters and groups call outcomes.
var outcomeNames = []string{"none", "1xx", "2xx", "3xx", "4xx", "5xx", "broken"}

// String is "2xx" and the like, "none" or "broken".
func (o Outcome) String() string {
	if o < 0 || int(o) >= len(outcomeNames) {
		return "?"
	}
	return outcomeNames[o]
}

// Outcome is how the call ended.
func (c *Call) Outcome() Outcome {
	switch {
	case c.Status < 100 || c.Status > 599:
		return Unanswered
	case c.Error != "" && c.Status < 400:
		return Interrupted
	}
	return Outcome(c.Status / 100)
}

func (o Outcome) isError() bool { return o == Unanswered || o >= Refused }

// counted is the model that the call is counted as.
func (c *Call) counted() string {
	switch {
	case c.Model != "":
		return c.Model
	case c.Asked != "":
		return c.Asked
	}
	return c.Usage.Model
}

// bound cuts what is too long, so that the queue's memory is bounded. It is all that
// a call waits for.
func (c *Call) bound() {
	for _, s := range []*string{&c.Agent, &c.Trigger, &c.Provider, &c.Model, &c.Asked, &c.Key, &c.Usage.Model, &c.Usage.Tier} {
		*s = cut(*s, maxName)
	}
	c.Endpoint, c.Error, c.Event = cut(c.Endpoint, maxEndpoint), cut(c.Error, maxError), cut(c.Event, maxEvent)
	c.Cache = cut(c.Cache, maxError)
	c.Feedback = nil
	if len(c.Guards) > 0 {
		guards := slices.Clone(c.Guards[:min(len(c.Guards), maxGuards)]) // the caller's stays as it is
		for i := range guards {
			guards[i] = cut(guards[i], maxGuard)
		}
		c.Guards = guards
	}
	if len(c.Metadata) > 0 {
		metadata := make(map[string]string, maxMetadata)
		for i, k := range slices.Sorted(maps.Keys(c.Metadata)) {
			if i == maxMetadata {
				break
			}
			metadata[cut(k, maxMetaKey)] = cut(c.Metadata[k], maxMetaValue)
		}
		c.Metadata = metadata
	}
}

// cut shortens s to at most n bytes, between characters. What is left does not hold
// on to the rest.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.Clone(s[:n])
}

// clean makes a bounded call fit to be stored and shown.
func (c *Call) clean() {
	for _, s := range []*string{&c.Agent, &c.Trigger, &c.Provider, &c.Model, &c.Asked, &c.Key, &c.Usage.Model, &c.Usage.Tier} {
		*s = printable(*s, maxName)
	}
	c.Endpoint, c.Error, c.Event = printable(c.Endpoint, maxEndpoint), printable(c.Error, maxError), printable(c.Event, maxEvent)
	for i, g := range c.Guards {
		c.Guards[i] = printable(g, maxGuard)
	}
	if len(c.Metadata) > 0 {
		metadata := make(map[string]string, len(c.Metadata))
		for _, k := range slices.Sorted(maps.Keys(c.Metadata)) {
			metadata[printable(k, maxMetaKey)] = printable(c.Metadata[k], maxMetaValue)
		}
		c.Metadata = metadata
	}
	u := &c.Usage
	for _, n := range []*int64{&u.Input, &u.CacheRead, &u.CacheWrite5m, &u.CacheWrite1h, &u.AudioInput,
		&u.Output, &u.AudioOutput, &u.Reasoning, &u.Images, &u.WebSearches} {
		*n = min(max(*n, 0), maxTokens)
	}
	if !(u.Seconds >= 0) { // also what is not a number
		u.Seconds = 0
	}
	u.Seconds = min(u.Seconds, 1e9)
	c.Cost, c.Saved = min(max(c.Cost, 0), maxCost), min(max(c.Saved, 0), maxCost)
	if !c.CostKnown {
		c.Cost = 0
	}
	c.Took, c.FirstByte = min(max(c.Took, 0), maxTook), min(max(c.FirstByte, 0), maxTook)
	c.Attempts, c.Step = min(max(c.Attempts, 0), 1000), min(max(c.Step, 0), 1000)
	c.RequestBytes, c.ResponseBytes = min(max(c.RequestBytes, 0), maxBytes), min(max(c.ResponseBytes, 0), maxBytes)
	if c.Status < 0 || c.Status > 999 {
		c.Status = 0
	}
}

// printable replaces what has no picture, such as control characters, bytes that are
// no UTF-8, and marks that turn the direction of text.
func printable(s string, most int) string {
	return cut(strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s), most)
}

// The states of the cache, by their number in the database.
var cacheNames = []string{"", "hit", "miss", "bypass"}

func cacheNumber(name string) int { return max(slices.Index(cacheNames, name), 0) }

func cacheName(n int) string {
	if n < 0 || n >= len(cacheNames) {
		return ""
	}
	return cacheNames[n]
}

// asJSON encodes strings that clean has seen; nil when there are none.
func asJSON[T map[string]string | []string](v T) any {
	if len(v) == 0 {
		return nil
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // they are searched for as they are
	_ = enc.Encode(v)        // strings in a Builder: cannot fail
	return strings.TrimSuffix(b.String(), "\n")
}
