package aigateway

import (
	"context"
	"log/slog"
	"strings"
	"time"
)

// record is what is kept of one call: never content, never a header.
type record struct {
	endpoint string
	provider string
	model    string
	status   int
	in, out  int64 // bytes of the bodies
	tokens   usage
	first    time.Duration // until the answer began
}

// log writes the one line of a call.
func (c *call) log(err error) {
	level := slog.LevelInfo
	if err != nil || c.rec.status >= 400 {
		level = slog.LevelWarn
	}
	if !c.g.opts.Log.Enabled(context.Background(), level) {
		return
	}
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs,
		slog.String("agent", c.agent), slog.String("provider", c.rec.provider),
		slog.String("endpoint", c.rec.endpoint), slog.String("model", c.rec.model),
		slog.Int("status", c.rec.status),
		slog.Int64("request_bytes", c.rec.in), slog.Int64("response_bytes", c.rec.out),
		slog.Duration("first_byte", c.rec.first), slog.Duration("duration", time.Since(c.start)))
	if c.rec.tokens.in >= 0 {
		attrs = append(attrs, slog.Int64("input_tokens", c.rec.tokens.in))
	}
	if c.rec.tokens.out >= 0 {
		attrs = append(attrs, slog.Int64("output_tokens", c.rec.tokens.out))
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", c.safe(err.Error())))
	}
	c.g.opts.Log.LogAttrs(context.Background(), level, "model call", attrs...)
}

// safe takes the key out of an error's text, should any library put it there.
func (c *call) safe(s string) string {
	if c.up.key != "" {
		s = strings.ReplaceAll(s, c.up.key, "[key removed]")
	}
	return s
}
