package access

import (
	"net/netip"
	"sync"
	"time"
)

// Limits on failed attempts. A token of ours cannot be guessed at any rate; the
// limit keeps logs and CPUs quiet and protects tokens that people chose. The
// owner's own machine gets more patience: its loopback address may also stand
// for everybody behind a local proxy.
const (
	burst          = 10
	refill         = 6 * time.Second
	loopbackBurst  = 60
	loopbackRefill = time.Second
	maxAddresses   = 8192
)

// limiter is a bounded set of token buckets, one per client address. A bucket is
// kept as the time at which it is full again.
type limiter struct {
	now func() time.Time

	mu   sync.Mutex // guards full
	full map[netip.Prefix]time.Time
}

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, full: map[netip.Prefix]time.Time{}}
}

// take pays for one attempt, or says how long to wait for the next one.
func (l *limiter) take(client netip.Addr) (wait time.Duration, ok bool) {
	key, size, per := bucketOf(client)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	full, known := l.full[key]
	if !known {
		l.makeRoom(now)
	}
	if full.Before(now) {
		full = now
	}
	full = full.Add(per)
	if over := full.Sub(now) - time.Duration(size)*per; over > 0 {
		return over, false
	}
	l.full[key] = full
	return 0, true
}

// giveBack undoes one take: the attempt was no failure.
func (l *limiter) giveBack(client netip.Addr) {
	key, _, per := bucketOf(client)
	l.mu.Lock()
	defer l.mu.Unlock()
	if full, known := l.full[key]; known {
		l.full[key] = full.Add(-per)
	}
}

// makeRoom forgets buckets that are full again and, when that is not enough,
// any, down to three quarters: it is rarely called, however many addresses come.
// Callers hold mu.
func (l *limiter) makeRoom(now time.Time) {
	if len(l.full) < maxAddresses {
		return
	}
	for key, full := range l.full {
		if !full.After(now) {
			delete(l.full, key)
		}
	}
	for key := range l.full {
		if len(l.full) <= maxAddresses*3/4 {
			return
		}
		delete(l.full, key)
	}
}

// Network is what whoever has an address commands: an IPv6 caller has a whole /64.
// It is the zero Prefix for an unknown address.
func Network(client netip.Addr) netip.Prefix {
	client = client.Unmap().WithZone("")
	bits := client.BitLen()
	if client.Is6() {
		bits = 64
	}
	network, _ := client.Prefix(bits)
	return network
}

// bucketOf names the bucket of an address and its size.
func bucketOf(client netip.Addr) (key netip.Prefix, size int, per time.Duration) {
	size, per = burst, refill
	if client.Unmap().IsLoopback() {
		size, per = loopbackBurst, loopbackRefill
	}
	return Network(client), size, per
}
