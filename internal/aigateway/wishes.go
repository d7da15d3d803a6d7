package aigateway

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/limit"
)

// ownPrefix begins the headers of Cloudflare's AI Gateway, which are honoured and
// answered here, so that its clients need no other ones.
const ownPrefix = "Cf-Aig-"

// wishes are what a request's headers ask of the gateway itself. Those that would
// let a call hide, or count less than it costs, are heard from programs with a token
// only: an agent does what it was talked into.
type wishes struct {
	timeout  time.Duration // cf-aig-request-timeout, until the answer begins; 0: the usual
	backoff  limit.Backoff // cf-aig-max-attempts, cf-aig-retry-delay, cf-aig-backoff
	metadata map[string]string
	event    string // cf-aig-event-id
	unlogged bool   // cf-aig-collect-log: false
	private  bool   // cf-aig-collect-log-payload: false

	skipCache bool          // cf-aig-skip-cache: true
	ttl       time.Duration // cf-aig-cache-ttl, in seconds: the answer may be kept so long; 0: the usual
	cacheKey  string        // cf-aig-cache-key, in place of the body
	timed     bool          // cf-aig-cache-timing: true (ours): as slowly as it once came
	cost      string        // cf-aig-custom-cost
}

const maxWish = 4 << 10 // bytes of a header that is read

// readWishes reads the headers; what makes no sense is no wish.
func readWishes(h http.Header, trusted bool) wishes {
	w := wishes{
		timeout:   min(millis(h.Get("Cf-Aig-Request-Timeout")), time.Hour),
		metadata:  readMetadata(h.Get("Cf-Aig-Metadata")),
		event:     short(h.Get("Cf-Aig-Event-Id")),
		skipCache: h.Get("Cf-Aig-Skip-Cache") == "true",
		ttl:       secondsOf(h.Get("Cf-Aig-Cache-Ttl")),
		timed:     h.Get("Cf-Aig-Cache-Timing") == "true",
		cacheKey:  short(h.Get("Cf-Aig-Cache-Key")),
		private:   h.Get("Cf-Aig-Collect-Log-Payload") == "false",
	}
	if backoff, err := limit.ParseBackoff(h.Get("Cf-Aig-Max-Attempts"), h.Get("Cf-Aig-Retry-Delay"), h.Get("Cf-Aig-Backoff"), limit.Backoff{}); err == nil {
		w.backoff = backoff
	}
	if trusted {
		w.unlogged = h.Get("Cf-Aig-Collect-Log") == "false"
		w.cost = short(h.Get("Cf-Aig-Custom-Cost"))
	}
	return w
}

func short(v string) string {
	if len(v) > maxWish {
		return ""
	}
	return v
}

// millis reads a number of milliseconds; 0 when it is none.
func millis(v string) time.Duration {
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(n) * time.Millisecond
}

// readMetadata reads entries whose values are texts, numbers or truths.
func readMetadata(v string) map[string]string {
	var all map[string]any
	if v == "" || len(v) > maxWish || json.Unmarshal([]byte(v), &all) != nil {
		return nil
	}
	kept := map[string]string{}
	for key, value := range all {
		switch value := value.(type) {
		case string:
			kept[key] = value
		case bool:
			kept[key] = strconv.FormatBool(value)
		case float64:
			kept[key] = strconv.FormatFloat(value, 'g', -1, 64)
		}
	}
	return kept
}
