package cfaccess

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

const (
	fetchTimeout = 5 * time.Second
	maxKeySet    = 1 << 20 // bytes
	maxKeys      = 64      // Access has two at a time

	freshFor   = time.Hour       // after it, keys that are used are fetched again in the background
	usableFor  = 24 * time.Hour  // after it, keys count no more when they cannot be fetched again
	fetchEvery = time.Minute     // at most, whatever callers send
	retryAfter = 5 * time.Second // where there are no keys at all
)

// errUnknownKey says that the team has no such key.
var errUnknownKey = errors.New("no such key")

// keys are a team's signing keys, which it changes every few weeks.
type keys struct {
	url  string
	http *http.Client
	now  func() time.Time
	log  *slog.Logger

	mu       sync.Mutex
	byID     map[string]*rsa.PublicKey // guarded by mu; never changed, only replaced
	fetched  time.Time                 // guarded by mu: when byID came
	tried    time.Time                 // guarded by mu: when the last fetch began
	failed   error                     // guarded by mu: of the last fetch
	underWay chan struct{}             // guarded by mu: closed when the fetch under way is over; nil without one
}

func newKeys(url string, o Options) *keys {
	client := http.Client{}
	if o.HTTP != nil {
		client = *o.HTTP
	}
	// The address of the keys is the root of all trust here: nobody redirects it.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &keys{url: url, http: &client, now: o.Now, log: o.Log}
}

// find returns the key of that ID, fetching the team's keys when that may help.
// The error is errUnknownKey when the team has no such key, and another when its
// keys cannot be fetched.
func (k *keys) find(ctx context.Context, id string) (*rsa.PublicKey, error) {
	key, wait, err := k.look(id)
	if wait == nil {
		return key, err
	}
	select {
	case <-wait:
		return k.cached(id)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// look is what is known of a key without waiting, or the fetch to wait for.
func (k *keys) look(id string) (key *rsa.PublicKey, wait <-chan struct{}, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	key, err = k.cachedLocked(id, now)
	if err == nil && now.Sub(k.fetched) < freshFor {
		return key, nil, nil
	}
	if k.underWay == nil && k.mayFetch(now) {
		k.underWay = make(chan struct{})
		k.tried = now
		go k.refresh(k.underWay)
	}
	if err == nil || k.underWay == nil {
		return key, nil, err
	}
	return nil, k.underWay, nil
}

// mayFetch says whether the last fetch is long enough ago. Called with mu held.
func (k *keys) mayFetch(now time.Time) bool {
	pause := fetchEvery
	if k.byID == nil {
		pause = retryAfter
	}
	since := now.Sub(k.tried)
	return k.tried.IsZero() || since >= pause || since < 0 // a clock set back must not stop it
}

func (k *keys) cached(id string) (*rsa.PublicKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.cachedLocked(id, k.now())
}

// cachedLocked is the key among those there are. Called with mu held.
func (k *keys) cachedLocked(id string, now time.Time) (*rsa.PublicKey, error) {
	if k.byID != nil && now.Sub(k.fetched) < usableFor {
		if key, ok := k.byID[id]; ok {
			return key, nil
		}
		if k.failed == nil {
			return nil, errUnknownKey
		}
	}
	if k.failed != nil {
		return nil, k.failed
	}
	return nil, errors.New("the keys have not been fetched for a day")
}

// refresh replaces the keys by those that the team has now. A fetch that fails
// leaves them as they are.
func (k *keys) refresh(done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	found, err := k.fetch(ctx)

	k.mu.Lock()
	defer k.mu.Unlock()
	again := k.failed != nil
	if k.failed = err; err == nil {
		k.byID, k.fetched = found, k.now()
	}
	k.underWay = nil
	close(done)
	switch {
	case err != nil:
		k.log.Warn("the keys of Cloudflare Access cannot be fetched: look whether this machine reaches them, and whether CF_ACCESS_TEAM_DOMAIN is right",
			"url", k.url, "err", err, "keys_left", len(k.byID), "fetched", k.fetched)
	case again:
		k.log.Warn("the keys of Cloudflare Access can be fetched again", "url", k.url)
	}
}

func (k *keys) fetch(ctx context.Context) (map[string]*rsa.PublicKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := k.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySet+1))
	if err != nil {
		return nil, fmt.Errorf("read the keys: %w", err)
	}
	if len(body) > maxKeySet {
		return nil, fmt.Errorf("it answers more than %d bytes", maxKeySet)
	}
	return parseKeys(body)
}

// parseKeys takes the keys that can sign with RS256 out of a key set. Others are
// passed over, so that a new kind of key does not spoil those of the kind in use.
func parseKeys(set []byte) (map[string]*rsa.PublicKey, error) {
	var all struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(set, &all); err != nil {
		return nil, fmt.Errorf("it answers no set of keys: %w", err)
	}
	found := map[string]*rsa.PublicKey{}
	for i, raw := range all.Keys {
		var one jose.JSONWebKey
		if i >= maxKeys || json.Unmarshal(raw, &one) != nil {
			continue
		}
		key, ok := one.Key.(*rsa.PublicKey)
		if !ok || one.KeyID == "" || one.Use != "" && one.Use != "sig" || one.Algorithm != "" && one.Algorithm != string(jose.RS256) {
			continue
		}
		if bits := key.N.BitLen(); bits < 2048 || bits > 8192 || found[one.KeyID] != nil {
			continue
		}
		found[one.KeyID] = key
	}
	if len(found) == 0 {
		return nil, errors.New("it has no RSA key that signs with RS256")
	}
	return found, nil
}
