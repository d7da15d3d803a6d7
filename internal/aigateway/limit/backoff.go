package limit

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Growth is how the delay before tries grows.
type Growth string

// The growths, by the names that cf-aig-backoff has for them.
const (
	Constant    Growth = "constant"
	Linear      Growth = "linear"      // the delay, twice, three times ...
	Exponential Growth = "exponential" // the delay, twice, four times ...
)

const (
	maxTries      = 5               // of cf-aig-max-attempts
	maxDelay      = 5 * time.Second // of cf-aig-retry-delay
	defaultDelay  = time.Second     // where only the number of tries is given
	maxWait       = 30 * time.Second
	maxRetryAfter = 24 * time.Hour // longer ones are taken for this
)

// Backoff says how often and when a call that failed is tried again.
type Backoff struct {
	Tries  int           // after the first; 0 to 5
	Delay  time.Duration // 0 to 5 s
	Growth Growth        // Constant when ""
}

// ParseBackoff reads the values of the headers cf-aig-max-attempts, cf-aig-retry-delay
// (milliseconds) and cf-aig-backoff of Cloudflare's AI Gateway
// (developers.cloudflare.com/ai-gateway/configuration/request-handling). Empty ones
// leave what def has. More tries and longer delays than there may be become the most;
// what is no number and no name is an error.
func ParseBackoff(attempts, delay, growth string, def Backoff) (Backoff, error) {
	b := def
	if attempts != "" {
		n, err := whole(attempts)
		if err != nil {
			return def, fmt.Errorf("cf-aig-max-attempts: %w", err)
		}
		if b.Tries = int(min(n, maxTries)); delay == "" && b.Delay == 0 {
			b.Delay = defaultDelay
		}
	}
	if delay != "" {
		n, err := whole(delay)
		if err != nil {
			return def, fmt.Errorf("cf-aig-retry-delay: %w", err)
		}
		b.Delay = min(time.Duration(min(n, 1<<30))*time.Millisecond, maxDelay)
	}
	switch g := Growth(growth); g {
	case "":
	case Constant, Linear, Exponential:
		b.Growth = g
	default:
		return def, fmt.Errorf("cf-aig-backoff: it is constant, linear or exponential, not %q", growth)
	}
	return b, nil
}

func whole(s string) (int64, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 62)
	if err != nil {
		return 0, fmt.Errorf("%q is no whole number", s)
	}
	return int64(n), nil
}

// Wait is how long to wait before try number try, 1 being the first after the call
// failed; false when there is none. It is any time up to the delay, by chance (0 to
// below 1), so that callers that failed together do not come back together. What
// Retry-After asked for (0: nothing) comes before that; when it is more than half a
// minute there is no try, as nobody waits that long.
func (b Backoff) Wait(try int, retryAfter time.Duration, chance float64) (time.Duration, bool) {
	if try < 1 || try > min(b.Tries, maxTries) || retryAfter > maxWait {
		return 0, false
	}
	d := max(0, min(b.Delay, maxDelay))
	switch b.Growth {
	case Linear:
		d *= time.Duration(try)
	case Exponential:
		d <<= try - 1
	}
	jitter := time.Duration(max(0, min(chance, 1)) * float64(min(d, maxWait)))
	return min(max(0, retryAfter)+jitter, maxWait), true
}

// RetryAfter reads a Retry-After header (RFC 9110, section 10.2.3): seconds, or a date
// in one of the three forms of HTTP. A date that is past is 0; more than a day is a
// day. false when it is neither.
func RetryAfter(value string, now time.Time) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	if value == "" || len(value) > 64 {
		return 0, false
	}
	if strings.Trim(value, "0123456789") == "" {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n > int64(maxRetryAfter/time.Second) { // too many digits
			return maxRetryAfter, true
		}
		return time.Duration(n) * time.Second, true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return max(0, min(at.Sub(now), maxRetryAfter)), true
}
