// Package telemetry owns how moltworker speaks of itself: the log handler, its
// two forms, and the redactor that keeps secrets out of every line. It must not
// know what is logged or where secrets come from; those who hold a secret
// register it.
package telemetry

import (
	"io"
	"log/slog"
)

// Options shape the log.
type Options struct {
	// Level is the lowest level written; slog.LevelInfo when nil. A
	// *slog.LevelVar may change it while running.
	Level slog.Leveler
	// JSON writes one JSON object per line instead of text for people.
	JSON bool
	// Redactor hides the secrets registered with it, at any time. Required:
	// a log without one is a mistake.
	Redactor *Redactor
}

// NewLogger makes the program's logger, writing to w. Every line reaches w in
// one Write, with no registered secret in it.
func NewLogger(w io.Writer, o Options) *slog.Logger {
	return slog.New(NewHandler(w, o))
}

// NewHandler is the handler of [NewLogger]. Redaction works on the finished line,
// so that messages, attributes, groups, errors, [slog.LogValuer]s and whatever is
// nested in values are all covered, by every handler derived from this one.
func NewHandler(w io.Writer, o Options) slog.Handler {
	ho := &slog.HandlerOptions{Level: o.Level}
	out := &lineWriter{w: w, redactor: o.Redactor, json: o.JSON}
	if o.JSON {
		return slog.NewJSONHandler(out, ho)
	}
	return slog.NewTextHandler(out, ho)
}
