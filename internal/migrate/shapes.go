package migrate

import (
	"bytes"
	"regexp"
)

// A shape is the form of some service's secrets.
type shape struct {
	name    string // of the secret
	literal string // is in each of them
	before  int    // most bytes that stand before it
	form    *regexp.Regexp
	check   func([]byte) bool // nil: none needed
}

// maxShape is more than any shape is long, so that a match ends within the carry of a
// scrubber.
const maxShape = 400

// The first shape that fits counts.
var shapes = []shape{
	begins("ANTHROPIC_API_KEY", `sk-ant-`, `[A-Za-z0-9_-]{16,300}`, nil),
	begins("OPENROUTER_API_KEY", `sk-or-`, `[A-Za-z0-9_-]{16,300}`, nil),
	begins("OPENAI_API_KEY", `sk-`, `[A-Za-z0-9_-]{20,300}`, looksRandom),
	begins("SLACK_BOT_TOKEN", `xoxb-`, `[A-Za-z0-9-]{10,300}`, nil),
	begins("SLACK_USER_TOKEN", `xox`, `[aeprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,300}`, nil),
	begins("SLACK_APP_TOKEN", `xapp-`, `[A-Za-z0-9-]{10,300}`, nil),
	{"TELEGRAM_BOT_TOKEN", `:`, 12, regexp.MustCompile(`^[0-9]{7,12}:[A-Za-z0-9_-]{35}`), looksRandom},
	{"DISCORD_BOT_TOKEN", `.`, 29, regexp.MustCompile(`^[MNO][A-Za-z0-9_-]{23,28}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,45}`), looksRandom},
	begins("GITHUB_TOKEN", `gh`, `[pousr]_[A-Za-z0-9]{36,255}`, nil),
	begins("GITHUB_TOKEN", `github_pat_`, `[A-Za-z0-9_]{22,255}`, nil),
	begins("GEMINI_API_KEY", `AIza`, `[A-Za-z0-9_-]{35}`, nil),
	begins("GROQ_API_KEY", `gsk_`, `[A-Za-z0-9]{40,200}`, nil),
	begins("XAI_API_KEY", `xai-`, `[A-Za-z0-9]{40,200}`, nil),
}

func begins(name, literal, rest string, check func([]byte) bool) shape {
	return shape{name, literal, 0, regexp.MustCompile(`^` + regexp.QuoteMeta(literal) + rest), check}
}

// looksRandom tells a key from words that are joined: it has digits and capitals.
func looksRandom(b []byte) bool {
	return bytes.ContainsAny(b, "0123456789") && bytes.ContainsAny(b, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
}

func isTokenByte(c byte) bool {
	return c == '_' || c == '-' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// A hit is a stretch of bytes that is, or looks like, a secret.
type hit struct {
	from, to int
	name     string // of the shape; "" for a secret known already
	order    int    // of the shape, from 1: the first that fits counts
}

// shapeHits finds stretches that have a shape, in no order.
func shapeHits(b []byte) (hits []hit) {
	for order, s := range shapes {
		for at := 0; at < len(b); {
			i := bytes.Index(b[at:], []byte(s.literal))
			if i < 0 {
				break
			}
			i += at
			at = i + len(s.literal)
			from := i
			for from > 0 && i-from < s.before && isTokenByte(b[from-1]) {
				from--
			}
			if from > 0 && isTokenByte(b[from-1]) || s.before > 0 && from == i {
				continue // within a word, or without what stands before
			}
			found := s.form.Find(b[from:min(from+maxShape, len(b))])
			if found != nil && (s.check == nil || s.check(found)) {
				hits = append(hits, hit{from, from + len(found), s.name, order + 1})
				at = max(at, from+len(found))
			}
		}
	}
	return hits
}

// shapeOf names the shape that a whole value has; "" for none.
func shapeOf(value string) string {
	for _, h := range shapeHits([]byte(value)) {
		if h.from == 0 && h.to == len(value) {
			return h.name
		}
	}
	return ""
}

func replaceShapes(b []byte) []byte {
	for _, h := range sorted(shapeHits(b)) {
		b = append(b[:h.from:h.from], append([]byte(Placeholder), b[h.to:]...)...)
	}
	return b
}
