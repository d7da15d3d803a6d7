package aigateway

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// record is what is kept of one call: never content, never a header.
type record struct {
	status   int
	in, out  int64         // bytes of the bodies
	first    time.Duration // until the answer began
	attempts int
	usage    usage.Usage
	cost     price.Money
	priced   bool          // cost is known
	missing  price.Missing // parts of the usage that cost says nothing of
	cache    string        // "hit", "miss", "bypass"; "" not asked
	saved    price.Money   // what an answer from the cache would have cost
	notes    []string      // what guardrails found, and which steps failed
	refused  *failure      // why no model was asked, where the gateway answered itself
}

// maxNotes bounds the notes of one call.
const maxNotes = 32

func (c *call) note(what string) {
	if len(c.rec.notes) < maxNotes {
		c.rec.notes = append(c.rec.notes, what)
	}
}

// stepNumber is which step of the plan was the last one, from 0.
func (c *call) stepNumber() int { return max(c.step.Number-1, 0) }

func (c *call) since() time.Duration { return c.g.opts.Now().Sub(c.start) }

// log keeps what happened: a row in the record of calls, and a line.
func (c *call) log(f *failure) {
	took := c.since()
	if c.g.opts.Calls != nil && !c.wish.unlogged {
		row := c.row(f, took)
		if c.g.opts.Export != nil {
			c.g.opts.Export(row)
		}
		row.Payload = c.payload()
		c.g.opts.Calls.Add(row)
	}
	level := slog.LevelInfo
	if f != nil || c.rec.status >= 400 {
		level = slog.LevelWarn
	}
	if !c.g.opts.Log.Enabled(context.Background(), level) {
		return
	}
	attrs := make([]slog.Attr, 0, 16)
	attrs = append(attrs,
		slog.String("agent", c.from.Name), slog.String("trigger", c.trigger), slog.String("provider", c.to.name),
		slog.String("endpoint", c.to.logPath), slog.String("model", c.model),
		slog.Int("status", c.rec.status),
		slog.Int64("request_bytes", c.rec.in), slog.Int64("response_bytes", c.rec.out),
		slog.Duration("first_byte", c.rec.first), slog.Duration("duration", took))
	if used := c.rec.usage; used.Known || used.Estimated {
		attrs = append(attrs, slog.Int64("input_tokens", used.Prompt()), slog.Int64("output_tokens", used.Output+used.AudioOutput))
		if c.rec.priced {
			attrs = append(attrs, slog.String("cost", c.rec.cost.String()))
		}
	}
	if f != nil {
		attrs = append(attrs, slog.String("error", c.safe(f.Error())))
	}
	c.g.opts.Log.LogAttrs(context.Background(), level, "model call", attrs...)
}

// row is the call as the record of calls has it.
func (c *call) row(f *failure, took time.Duration) calllog.Call {
	row := calllog.Call{
		ID: c.id, Agent: c.from.Name, Trigger: c.trigger, Provider: c.to.name, Model: c.counted(), Asked: c.ask.model,
		Endpoint: c.to.logPath, Status: c.rec.status, Stream: c.stream || c.ask.stream, Usage: c.rec.usage,
		Cost: c.rec.cost, CostKnown: c.rec.priced, Took: took, FirstByte: c.rec.first, Attempts: c.rec.attempts,
		Key: c.key.Name, Cache: c.rec.cache, Saved: c.rec.saved, Metadata: c.wish.metadata, Event: c.wish.event,
		RequestBytes: c.rec.in, ResponseBytes: c.rec.out, Step: c.stepNumber(),
	}
	row.Guards = c.rec.notes
	if c.tr != nil {
		c.lost = append(c.lost, c.tr.Losses()...)
	}
	if len(c.lost) > 0 {
		slices.Sort(c.lost)
		row.Guards = append(row.Guards, "not translated: "+strings.Join(slices.Compact(c.lost), ", "))
	}
	if c.rec.missing != 0 {
		row.Guards = append(row.Guards, "unpriced: "+c.rec.missing.String())
	}
	if f == nil {
		f = c.rec.refused
	}
	if f != nil {
		if row.Error = f.kind; row.Error == "" {
			row.Error = "http_" + strconv.Itoa(f.status)
		}
	}
	return row
}

// safe takes keys out of an error's text, should any library put them there.
func (c *call) safe(s string) string {
	for _, key := range c.up.withheld {
		if key != "" {
			s = strings.ReplaceAll(s, key, "[key removed]")
		}
	}
	return s
}
