package limit

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// PoolKey is a key of a provider, by its name. Its value is not known here.
type PoolKey struct {
	Name   string
	Weight int // share of the calls, 1 to 1,000,000; 1 when 0
}

// PoolOptions of a Pool.
type PoolOptions struct {
	Provider string
	Keys     []PoolKey
	// Sticky gives an agent the same key as long as that is healthy, because a
	// provider's prompt cache belongs to a key's account. Weights are then shares of
	// the agents.
	Sticky bool
	Now    func() time.Time // time.Now when nil
	Random func() float64   // 0 to below 1; math/rand when nil
}

const (
	maxPool      = 1000
	maxWeight    = 1_000_000
	coolLimited  = 2 * time.Second  // after 429 without Retry-After; twice as long each time
	coolMost     = 5 * time.Minute  // of that
	coolRefused  = 10 * time.Minute // after 401: it was withdrawn, or is not in use yet
	coolUnfunded = time.Hour        // after 402: somebody must pay
	rememberFor  = 10 * time.Minute // after a limit is over, others go first
)

// Pool chooses among the keys of a provider.
type Pool struct {
	o     PoolOptions
	watch *stopwatch

	mu   sync.Mutex
	keys []*pooled // guarded by mu
}

type pooled struct {
	PoolKey
	status  int           // why it cools
	until   time.Duration // it cools
	limited time.Duration // when it last began to
	ever    bool          // it was limited
	strikes int           // limits in a row
}

// NewPool makes a pool. It fails when there are no keys, or two of one name.
func NewPool(o PoolOptions) (*Pool, error) {
	if o.Random == nil {
		o.Random = rand.Float64
	}
	p := &Pool{o: o, watch: newStopwatch(o.Now)}
	return p, p.SetKeys(o.Keys)
}

// SetKeys replaces the keys. What is known of one goes on under its name.
func (p *Pool) SetKeys(keys []PoolKey) error {
	if len(keys) == 0 || len(keys) > maxPool {
		return fmt.Errorf("a pool has 1 to %d keys", maxPool)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var next []*pooled
	for _, k := range keys {
		if k.Name == "" || slices.ContainsFunc(next, func(o *pooled) bool { return o.Name == k.Name }) {
			return errors.New("each key of a pool has a name of its own")
		}
		if k.Weight == 0 {
			k.Weight = 1
		}
		if k.Weight < 1 || k.Weight > maxWeight {
			return fmt.Errorf("the weight of key %s is not 1 to %d", k.Name, maxWeight)
		}
		n := &pooled{PoolKey: k}
		if old := p.find(k.Name); old != nil {
			*n = *old
			n.PoolKey = k
		}
		next = append(next, n)
	}
	p.keys = next
	return nil
}

func (p *Pool) find(name string) *pooled {
	for _, k := range p.keys {
		if k.Name == name {
			return k
		}
	}
	return nil
}

// Pick names the key for a call of an agent, or returns an *Exhausted. tried are those
// that this call was refused with already.
func (p *Pool) Pick(agent string, tried ...string) (name string, err error) {
	now := p.watch.read()
	p.mu.Lock()
	defer p.mu.Unlock()
	var healthy []*pooled
	for _, k := range p.keys {
		if k.until <= now && !slices.Contains(tried, k.Name) {
			healthy = append(healthy, k)
		}
	}
	switch {
	case len(healthy) == 0:
		return "", p.exhausted(now)
	case p.o.Sticky:
		return stick(healthy, agent).Name, nil
	}
	return p.choose(healthy, now).Name, nil
}

// stick chooses by weighted rendezvous hashing: each key's score depends on nothing
// but its name, its weight and the agent, so a key that goes or comes moves its own
// share of the agents and no others. With u evenly spread over 0 to 1, the chance that
// -w/ln(u) is the largest is w's share of all weights.
func stick(keys []*pooled, agent string) *pooled {
	best, most := keys[0], math.Inf(-1)
	for _, k := range keys {
		h := fnv.New64a()
		h.Write([]byte(agent))
		h.Write([]byte{0})
		h.Write([]byte(k.Name))
		u := (float64(mix(h.Sum64())>>11) + 0.5) / (1 << 53)
		if score := -float64(k.Weight) / math.Log(u); score > most {
			best, most = k, score
		}
	}
	return best
}

// mix spreads what differs in a few bits over all (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// choose takes one by weight of those that were not limited lately; when all were, the
// one for which that is longest ago.
func (p *Pool) choose(keys []*pooled, now time.Duration) *pooled {
	var fresh []*pooled
	total := 0
	oldest := keys[0]
	for _, k := range keys {
		if !k.ever || k.until+rememberFor <= now {
			fresh = append(fresh, k)
			total += k.Weight
		}
		if k.limited < oldest.limited {
			oldest = k
		}
	}
	if len(fresh) == 0 {
		return oldest
	}
	at := int(p.o.Random() * float64(total))
	for _, k := range fresh {
		if at -= k.Weight; at < 0 {
			return k
		}
	}
	return fresh[len(fresh)-1]
}

// Report says what a call with a key was answered: the HTTP status, and what
// Retry-After said, or 0. 429, 401 and 402 keep the key from being chosen for a while,
// an hour at most.
func (p *Pool) Report(name string, status int, retryAfter time.Duration) {
	now := p.watch.read()
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.find(name)
	if k == nil {
		return // it was taken away meanwhile
	}
	cool := time.Duration(0)
	switch status {
	case http.StatusTooManyRequests:
		least := coolLimited
		for range min(k.strikes, 30) {
			least = min(2*least, coolMost)
		}
		cool = coolFor(retryAfter, least)
	case http.StatusUnauthorized:
		cool = coolFor(retryAfter, coolRefused)
	case http.StatusPaymentRequired:
		cool = coolFor(retryAfter, coolUnfunded)
	default:
		if status < 400 {
			k.strikes = 0
		}
		return
	}
	if k.until <= now { // of calls that were under way together, one counts
		k.strikes++
		k.limited = now
	}
	k.ever = true
	if now+cool > k.until {
		k.until, k.status = now+cool, status
	}
}

// KeyState is what a page shows of a key.
type KeyState struct {
	Name       string
	Status     int           // 429, 401 or 402 while it cools; else 0
	RetryAfter time.Duration // while it cools
}

// State says how the keys stand, in their order.
func (p *Pool) State() []KeyState {
	now := p.watch.read()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state(now)
}

func (p *Pool) state(now time.Duration) []KeyState {
	var out []KeyState
	for _, k := range p.keys {
		s := KeyState{Name: k.Name}
		if k.until > now {
			s.Status, s.RetryAfter = k.status, k.until-now
		}
		out = append(out, s)
	}
	return out
}

// Exhausted is why there is no key for a call. Its text is for the user of the agent.
type Exhausted struct {
	Provider   string
	Keys       []KeyState
	RetryAfter time.Duration // until the first is healthy; 0: now, but not for this call
}

func (p *Pool) exhausted(now time.Duration) *Exhausted {
	e := &Exhausted{Provider: p.o.Provider, Keys: p.state(now)}
	for i, k := range e.Keys {
		if i == 0 || k.RetryAfter < e.RetryAfter {
			e.RetryAfter = k.RetryAfter
		}
	}
	return e
}

func (e *Exhausted) Error() string {
	var why []string
	for i, k := range e.Keys {
		if i == 5 {
			why = append(why, "and more")
			break
		}
		words := "was tried"
		switch k.Status {
		case http.StatusTooManyRequests:
			words = "is over its limit"
		case http.StatusUnauthorized:
			words = "is not accepted"
		case http.StatusPaymentRequired:
			words = "has no credit left"
		}
		why = append(why, fmt.Sprintf("key %q %s", k.Name, words))
	}
	return fmt.Sprintf("No key of %s can be used now: %s. Try again in %v.", e.Provider, strings.Join(why, ", "), max(time.Second, roundUp(e.RetryAfter, time.Second)))
}
