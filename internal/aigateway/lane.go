package aigateway

import (
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/limit"
	"github.com/moltworker/moltworker/internal/aigateway/provider"
	"github.com/moltworker/moltworker/internal/aigateway/route"
)

// lane is the way to one provider: which of its keys are fit for use, and whether it
// answers at all.
type lane struct {
	name string // of the provider
	now  func() time.Time

	mu       sync.Mutex
	pools    map[string]*pool          // guarded by mu: one for each caller
	breakers map[string]*limit.Breaker // guarded by mu: one for each caller
}

// pool is what a caller's calls have met of a provider's keys. Each caller has its own:
// one whose calls are refused, for what it asks, must not take a key from others.
type pool struct {
	names []string // of the keys
	keys  *limit.Pool
}

// laneTo returns the one lane to a provider.
func (g *Gateway) laneTo(name string) *lane {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lanes[name] == nil {
		g.lanes[name] = &lane{name: name, now: g.opts.Now, pools: map[string]*pool{}, breakers: map[string]*limit.Breaker{}}
	}
	return g.lanes[name]
}

// breaker keeps a caller's calls from a provider that is broken. Each caller has its
// own: one that makes a provider fail, by what it asks, must not keep others away.
func (l *lane) breaker(who string) *limit.Breaker {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.breakers[who] == nil {
		l.breakers[who] = limit.NewBreaker(limit.BreakerOptions{Name: l.name, Now: l.now})
	}
	return l.breakers[who]
}

// pick chooses a key for an agent's call, of those that were not tried yet. An agent
// keeps its key while that is fit: the provider's prompt cache belongs to it.
func (l *lane) pick(who string, keys []provider.Credential, tried []string) (provider.Credential, error) {
	if len(keys) == 1 {
		return keys[0], nil // if it is not fit, the provider says so best
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	names := make([]string, len(keys))
	pooled := make([]limit.PoolKey, len(keys))
	for i, k := range keys {
		names[i], pooled[i] = k.Name, limit.PoolKey{Name: k.Name}
	}
	own := l.pools[who]
	switch {
	case own == nil:
		all, err := limit.NewPool(limit.PoolOptions{Keys: pooled, Sticky: true, Now: l.now})
		if err != nil {
			return provider.Credential{}, err
		}
		own = &pool{names: names, keys: all}
		l.pools[who] = own
	case !slices.Equal(names, own.names):
		if err := own.keys.SetKeys(pooled); err != nil {
			return provider.Credential{}, err
		}
		own.names = names
	}
	name, err := own.keys.Pick(who, tried...)
	if err != nil {
		return provider.Credential{}, err
	}
	return keys[slices.Index(names, name)], nil
}

// report says what a caller's call with a key was answered.
func (l *lane) report(who string, key provider.Credential, status int, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if own := l.pools[who]; own != nil && slices.Contains(own.names, key.Name) {
		own.keys.Report(key.Name, status, wait)
	}
}

// unfit puts a lane's word that no call goes now into an answer.
func unfit(err error) error {
	f := &failure{status: http.StatusServiceUnavailable, kind: "upstream_down", why: route.Unavailable, msg: err.Error()}
	var away *limit.Unavailable
	var spent *limit.Exhausted
	switch {
	case errors.As(err, &away):
		f.retryAfter = seconds(away.RetryAfter)
		if away.Limited {
			f.status, f.kind, f.why = http.StatusTooManyRequests, "upstream_limited", route.Limited
		}
	case errors.As(err, &spent):
		f.status, f.kind, f.why, f.retryAfter = http.StatusTooManyRequests, "keys_limited", route.Limited, seconds(spent.RetryAfter)
	}
	return f
}
