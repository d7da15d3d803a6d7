package otel

import (
	"strconv"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// told is what is told of one call. Content and metadata have no place in it.
type told struct {
	id                                       calllog.ID
	begin                                    time.Time
	agent, trigger, provider, model, answers string // answers: the model that did
	endpoint, kind, cache                    string
	status, attempts                         int
	outcome                                  calllog.Outcome
	stream, known, estimated, costKnown      bool
	input, output, read, written, thought    int64 // tokens
	cost                                     price.Money
	took, first                              time.Duration

	// Set by the sums, which bound how many there are.
	operation, shownModel, failure string
}

// Bounds of numbers: beyond them somebody errs or lies.
const (
	maxTokens   = int64(1e12) // of one kind in one call
	maxTook     = 30 * 24 * time.Hour
	maxCost     = 1_000_000 * price.Dollar
	maxAttempts = 1000
)

// tell takes from a call what is told of it. It is all that a call waits for: strings
// are cut, but not looked at yet.
func tell(c *calllog.Call, now func() time.Time) told {
	model := c.Asked
	if model == "" {
		model = c.Model
	}
	u := &c.Usage
	t := told{
		id: c.ID, agent: cut(c.Agent, maxName), trigger: cut(c.Trigger, maxName), provider: cut(c.Provider, maxName),
		model: cut(model, maxName), answers: cut(u.Model, maxName),
		endpoint: tail(c.Endpoint, maxEndpoint), kind: cut(c.Error, maxError), cache: cut(c.Cache, maxError),
		status: c.Status, attempts: min(max(c.Attempts, 0), maxAttempts), outcome: c.Outcome(),
		stream: c.Stream, known: u.Known || u.Estimated, estimated: u.Estimated, costKnown: c.CostKnown,
		took: min(max(c.Took, 0), maxTook), first: min(max(c.FirstByte, 0), maxTook),
	}
	if t.begin = c.ID.Time(); c.ID.IsZero() {
		t.begin = now().Add(-t.took)
	}
	if t.known {
		t.read, t.written = tokens(u.CacheRead), min(tokens(u.CacheWrite5m)+tokens(u.CacheWrite1h), maxTokens)
		t.input = min(tokens(u.Input)+t.read+t.written+tokens(u.AudioInput), maxTokens)
		t.output = min(tokens(u.Output)+tokens(u.AudioOutput), maxTokens)
		t.thought = min(tokens(u.Reasoning), t.output)
	}
	if t.costKnown {
		t.cost = min(max(c.Cost, 0), maxCost)
	}
	return t
}

func tokens(n int64) int64 { return min(max(n, 0), maxTokens) }

// tail is the end of a path, which says what it is, where it is too long.
func tail(s string, n int) string {
	if len(s) > n {
		s = strings.Clone(s[len(s)-n:])
	}
	return s
}

// clean makes strings that others chose fit to be told.
func (t *told) clean() {
	for _, s := range []*string{&t.agent, &t.provider, &t.model, &t.answers} {
		*s = clean(*s, maxName)
	}
	t.kind, t.cache = clean(t.kind, maxError), clean(t.cache, maxError)
	t.trigger, t.provider = triggerName(t.trigger), providerName(t.provider)
}

// failed reports whether the call ended in an error.
func (t *told) failed() bool {
	return t.outcome == calllog.Unanswered || t.outcome >= calllog.Refused
}

// errorType is error.type of a call that failed: the gateway's word for it, or the
// status, which the conventions of HTTP spans write as the bare number.
func (t *told) errorType() string {
	if !t.failed() {
		return ""
	}
	if status, ok := strings.CutPrefix(t.kind, "http_"); ok {
		if _, err := strconv.Atoi(status); err == nil {
			return status
		}
	}
	switch {
	case t.kind != "":
		return t.kind
	case t.outcome == calllog.Unanswered:
		return "unanswered"
	}
	return strconv.Itoa(t.status)
}

// firstChunk is how long the answer's beginning took, 0 where it is not of a stream
// that succeeded: only of those the conventions want it.
func (t *told) firstChunk() time.Duration {
	if !t.stream || t.failed() {
		return 0
	}
	return t.first
}

func (t *told) dollars() float64 { return float64(t.cost) / float64(price.Dollar) }
