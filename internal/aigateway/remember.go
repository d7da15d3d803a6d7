package aigateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/cache"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// keptHeaders are those of an answer that are given again with it.
var keptHeaders = []string{"Content-Type", "Openai-Version", "Anthropic-Version"}

// askingHeaders change what an API answers.
var askingHeaders = []string{"Accept", "Anthropic-Version", "Anthropic-Beta", "Openai-Beta", "Openai-Organization", "Openai-Project", "Prefer"}

// recall answers from the cache, if it has the answer; answered says whether. Else it
// gets ready to keep the one that comes.
func (c *call) recall(ctx context.Context, b *body) (answered bool, err error) {
	ttl := c.g.opts.CacheTTL
	if c.wish.ttl > 0 {
		ttl = c.wish.ttl
	}
	if c.g.opts.Cache == nil || !c.to.ep.Paid || c.to.demo || ttl <= 0 || c.r.Method != http.MethodPost {
		return false, nil
	}
	if c.wish.skipCache {
		c.rec.cache = "bypass"
		return false, nil
	}
	scope := cache.Scope{Name: c.from.Name}
	if c.g.opts.CacheScope != nil {
		scope = c.g.opts.CacheScope(c.from.Name)
	}
	custom := c.wish.cacheKey
	if scope.Shared && !c.from.Trusted {
		custom = "" // an agent must not choose which question its answer is given to
	}
	key := (&cache.Request{
		Scope: scope, Method: c.r.Method, Provider: c.to.name, Path: c.up.url.EscapedPath(), Query: c.up.url.RawQuery,
		Credential: c.up.keys[0].Name, Headers: c.asking(), Custom: custom, Body: b.bytes(),
	}).Key()
	if entry, ok := c.g.opts.Cache.Lookup(key, c.start); ok {
		defer entry.Close()
		if cost, known := c.price(c.model); known {
			c.rec.saved, _ = cost.Cost(entry.Usage)
		}
		return true, c.replay(entry.Answer, func() ([]byte, error) {
			piece, after, err := entry.Next()
			if c.wish.timed && err == nil && !c.pause(ctx, min(after, longestPause)) {
				return nil, context.Cause(ctx)
			}
			return piece, err
		})
	}
	lead, follower := c.g.flight.Join(key)
	if follower != nil {
		if answer, ok := follower.Begin(ctx); ok {
			return true, c.replay(answer, func() ([]byte, error) { return follower.Next(ctx) })
		}
	}
	c.lead, c.rec.cache = lead, "miss"
	c.keep = func(answer cache.Answer) *cache.Recorder { return c.g.opts.Cache.Record(key, scope, answer, ttl) }
	c.w.Header().Set("Cf-Aig-Cache-Status", "MISS")
	return false, nil
}

func (c *call) asking() []string {
	all := []string{"form: " + string(c.asked.ep.Kind) + " " + strconv.FormatBool(c.ask.includeUsage) + " " + c.ask.model}
	for _, name := range askingHeaders {
		all = append(all, name+": "+c.r.Header.Get(name))
	}
	return all
}

// longestPause bounds one pause of an answer that is given again as it once came.
const longestPause = 10 * time.Second

// replay gives an answer again that was kept, or that another call is getting at this
// moment: as fast as it can be taken, or, where that is wanted, as it once came.
func (c *call) replay(answer cache.Answer, next func() ([]byte, error)) error {
	c.rec.cache, c.rec.status, c.rec.first = "hit", answer.Status, c.since()
	for name, values := range answer.Header {
		c.w.Header()[name] = values
	}
	c.w.Header().Set("Cf-Aig-Cache-Status", "HIT")
	c.stream = usage.FramingOf(answer.Header.Get("Content-Type")) == usage.SSE
	for {
		c.watch.phase(c.g.opts.Timeouts.Idle, errStuck)
		piece, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return c.because(&failure{status: http.StatusBadGateway, kind: "cache", msg: "the answer that was to be given again broke off", cause: err})
		}
		if err := c.write(piece); err != nil {
			return err
		}
		if err := c.rc.Flush(); err != nil {
			return c.because(gone(err))
		}
	}
}

var errStuck = fail(http.StatusRequestTimeout, "the answer was not taken in time")

// keepAnswer begins to take an answer down that is worth it.
func (c *call) keepAnswer(resp *http.Response) {
	if c.keep == nil || resp.StatusCode != http.StatusOK {
		return
	}
	h := http.Header{}
	for _, name := range keptHeaders {
		if v := c.w.Header().Values(name); len(v) > 0 {
			h[name] = v
		}
	}
	c.recorder = c.keep(cache.Answer{Status: resp.StatusCode, Header: h})
	c.lead.Begin(c.recorder)
}

// kept decides what becomes of the answer that was taken down.
func (c *call) kept(err error) {
	defer c.lead.Release() // whoever waited for it goes its own way, if nothing came
	if err == nil && c.meter != nil && c.meter.Complete() && !c.meter.Failed() {
		c.recorder.Commit(c.meter.Usage())
		return
	}
	c.recorder.Discard()
}

// secondsOf reads a whole number of seconds; 0 when it is none.
func secondsOf(v string) time.Duration { return millis(v) * 1000 }
