package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/moltworker/moltworker/internal/store"
)

// maxField bounds each field of an event, in bytes.
const maxField = 1 << 10

// maxEntry bounds an encoded entry, in bytes: the nine fields of an event at six
// bytes for one, and the rest.
const maxEntry = store.MaxAuditEntry

// Entry is an event as it was recorded.
type Entry struct {
	Seq  int64     `json:"seq"`
	Time time.Time `json:"time"`
	Event
	Prev string `json:"prev"` // the hash of the entry before, 64 hex digits
	Hash string `json:"hash"` // of this entry, 64 hex digits
	// Damaged says that the entry is not what was recorded. Only Seq is sure then.
	Damaged bool `json:"damaged,omitempty"`
}

// timeFormat is RFC 3339 in UTC with three digits of a second's fraction.
const timeFormat = "2006-01-02T15:04:05.000Z"

// fields are an event's, in the order in which they are encoded.
func (e *Event) fields() []struct {
	name  string
	value *string
} {
	return []struct {
		name  string
		value *string
	}{
		{"action", &e.Action}, {"actor", &e.Actor}, {"via", &e.Via}, {"from", &e.From}, {"agent", &e.Agent},
		{"target", &e.Target}, {"old", &e.Old}, {"new", &e.New}, {"detail", &e.Detail},
	}
}

// encode returns the bytes that are hashed; see the package comment.
func (e *Entry) encode() []byte {
	b := fmt.Appendf(nil, `{"seq":%d,"time":%q,"prev":%q`, e.Seq, e.Time.UTC().Format(timeFormat), e.Prev)
	for _, f := range e.fields() {
		if *f.value != "" || f.name == "action" {
			b = append(b, `,"`+f.name+`":`...)
			b = appendString(b, *f.value)
		}
	}
	return append(b, '}')
}

// appendString appends a JSON string of ASCII characters. It is our own because
// what is hashed must not change with the encoder of a library.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r >= ' ' && r <= '~':
			b = append(b, byte(r))
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return append(b, '"')
}

// errDamaged says that bytes are no entry of ours.
var errDamaged = errors.New("not an entry")

// decode reads what encode wrote, and nothing else: another spelling of the same
// content is an error too.
func decode(body []byte) (Entry, error) {
	if len(body) > maxEntry {
		return Entry{}, fmt.Errorf("%w: longer than %d bytes", errDamaged, maxEntry)
	}
	var wire struct {
		Seq        int64
		Time, Prev string
		Event
	}
	if err := json.Unmarshal(body, &wire); err != nil {
		return Entry{}, fmt.Errorf("%w: %v", errDamaged, err)
	}
	at, err := time.Parse(timeFormat, wire.Time)
	if err != nil || !isHash(wire.Prev) {
		return Entry{}, fmt.Errorf("%w: its time or the hash before it cannot be read", errDamaged)
	}
	e := Entry{Seq: wire.Seq, Time: at, Prev: wire.Prev, Event: wire.Event}
	if !bytes.Equal(e.encode(), body) {
		return Entry{}, fmt.Errorf("%w: it is spelled otherwise than we do", errDamaged)
	}
	return e, nil
}

type hash [sha256.Size]byte

func sum(body []byte) hash      { return sha256.Sum256(body) }
func (h hash) String() string   { return hex.EncodeToString(h[:]) }
func (h hash) is(b []byte) bool { return bytes.Equal(h[:], b) }
func entryOf(r store.AuditRow) Entry {
	e, err := decode(r.Entry)
	e.Hash = hex.EncodeToString(r.Hash)
	if e.Seq != r.Seq || err != nil || !sum(r.Entry).is(r.Hash) || !found(r, e) {
		e.Seq, e.Damaged = r.Seq, true
	}
	return e
}

// found says whether a row is found by what its entry says.
func found(r store.AuditRow, e Entry) bool {
	at := r.At.Equal(e.Time) || r.At.IsZero() && (e.Time.IsZero() || e.Time.UnixMilli() == 0)
	return at && r.Action == e.Action && r.Actor == e.Actor && r.Agent == e.Agent
}

// clean is the event as it is recorded: redacted, in valid UTF-8, and cut.
func (e Event) clean(redact func(string) string) Event {
	for _, f := range e.fields() {
		s := *f.value
		if s == "" {
			continue
		}
		if len(s) > 64*maxField {
			s = s[:64*maxField]
		}
		s = strings.ToValidUTF8(s, string(utf8.RuneError))
		if redact != nil {
			s = strings.ToValidUTF8(redact(s), string(utf8.RuneError))
		}
		// SQLite's texts end at a zero.
		*f.value = cut(strings.ReplaceAll(s, "\x00", string(utf8.RuneError)))
	}
	return e
}

// cut shortens s to maxField bytes, of which the last say so.
func cut(s string) string {
	const mark = "…"
	if len(s) <= maxField {
		return s
	}
	end := maxField - len(mark)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + mark
}

// Visible returns s with everything escaped that a terminal or a page would not
// show as itself: control characters, line breaks, marks that turn text around.
func Visible(s string) string {
	if strings.IndexFunc(s, hidden) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if hidden(r) {
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func hidden(r rune) bool { return !unicode.IsPrint(r) }
