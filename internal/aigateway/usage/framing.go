package usage

import "strings"

// Framing is how an answer's bytes are cut into JSON documents.
type Framing int

// The framings that are understood.
const (
	Unframed    Framing = iota // anything else, which is not looked into
	JSON                       // one document
	SSE                        // server-sent events, a document or "[DONE]" in each
	NDJSON                     // a document a line, as Ollama streams
	EventStream                // Amazon's binary messages, a document in each
)

// FramingOf tells the framing by a Content-Type header's value.
func FramingOf(contentType string) Framing {
	t, _, _ := strings.Cut(contentType, ";")
	switch t = strings.ToLower(strings.TrimSpace(t)); t {
	case "application/json", "text/json":
		return JSON
	case "text/event-stream":
		return SSE
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines",
		"application/stream+json": // the last is Cohere's first API
		return NDJSON
	case "application/vnd.amazon.eventstream":
		return EventStream
	}
	if strings.HasPrefix(t, "application/") && strings.HasSuffix(t, "+json") {
		return JSON
	}
	return Unframed
}
