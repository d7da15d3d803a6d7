package telemetry

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// MinSecret is the length in bytes from which a value is redacted. Shorter ones
// would blot out ordinary words.
const MinSecret = 8

// Redactor replaces registered secrets in text by "[redacted:NAME]". Its methods
// may be called concurrently.
type Redactor struct {
	replacer atomic.Pointer[strings.Replacer] // nil while nothing is registered

	mu    sync.Mutex        // guards names and orders the making of replacers
	names map[string]string // by what must not be shown
}

// NewRedactor returns a Redactor that knows no secret yet.
func NewRedactor() *Redactor { return &Redactor{names: map[string]string{}} }

// Register makes the redactor hide value, and the usual encodings of it (JSON
// and Go quoting, URL escapes, base64, hex), from now on and for good: a value
// that was replaced by another is still a secret. It returns false, and hides
// nothing, when value is shorter than [MinSecret].
func (r *Redactor) Register(name, value string) bool {
	if len(value) < MinSecret {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.names[value]; known {
		return true
	}
	for _, form := range forms(value) {
		if _, known := r.names[form]; !known {
			r.names[form] = safeName(name)
		}
	}
	r.replacer.Store(r.build())
	return true
}

// Redact returns s with every registered secret replaced.
func (r *Redactor) Redact(s string) string {
	if rep := r.replacer.Load(); rep != nil {
		return rep.Replace(s)
	}
	return s
}

func (r *Redactor) build() *strings.Replacer {
	type pair struct{ text, name string }
	pairs := make([]pair, 0, len(r.names))
	for text, name := range r.names {
		pairs = append(pairs, pair{text, name})
	}
	// Where one secret begins with another, the longer one must be tried first.
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(len(b.text), len(a.text)), cmp.Compare(a.text, b.text))
	})
	args := make([]string, 0, 2*len(pairs))
	for _, p := range pairs {
		args = append(args, p.text, "[redacted:"+p.name+"]")
	}
	return strings.NewReplacer(args...)
}

// forms are the ways in which value may appear in a line, itself first. Forms
// shorter than MinSecret are left out.
func forms(value string) []string {
	quotedJSON, _ := json.Marshal(value) // a string always encodes
	var plainJSON strings.Builder
	enc := json.NewEncoder(&plainJSON)
	enc.SetEscapeHTML(false)
	enc.Encode(value)
	all := []string{
		value,
		strings.TrimSpace(value),
		strings.Trim(string(quotedJSON), `"`),
		strings.Trim(strings.TrimSpace(plainJSON.String()), `"`),
		inner(strconv.Quote(value)),
		inner(strconv.QuoteToASCII(value)),
		inner(strconv.Quote(inner(string(quotedJSON)))), // JSON in a quoted string
		url.QueryEscape(value),
		url.PathEscape(value),
		hex.EncodeToString([]byte(value)),
		strings.ToUpper(hex.EncodeToString([]byte(value))),
		strings.Trim(fmt.Sprint([]byte(value)), "[]"),
	}
	all = append(all, base64Forms(value)...)
	all = slices.DeleteFunc(all, func(s string) bool { return len(s) < MinSecret })
	slices.Sort(all[1:])
	return slices.Compact(all)
}

// base64Forms are the characters that value gives within the base64 of any text
// that contains it: they depend on where in a group of three bytes it begins.
func base64Forms(value string) []string {
	var all []string
	for shift := range 3 {
		raw := append(make([]byte, shift), value...)
		whole := len(raw) / 3 * 4 // characters that do not depend on what follows
		begin := []int{0, 2, 3}[shift]
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			all = append(all, enc.EncodeToString(raw)[begin:whole])
		}
	}
	return all
}

func inner(quoted string) string { return quoted[1 : len(quoted)-1] }

// safeName keeps a name from breaking the line it is put in.
func safeName(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.ContainsRune("_-/.", c):
			return c
		}
		return '_'
	}, name)
}

// lineWriter redacts each line that a log handler writes. slog's handlers make
// one Write per record.
type lineWriter struct {
	w        io.Writer
	redactor *Redactor
	json     bool
}

func (l *lineWriter) Write(line []byte) (int, error) {
	rep := l.redactor.replacer.Load()
	if rep == nil {
		return l.w.Write(line)
	}
	clean := rep.Replace(string(line))
	if l.json && clean != string(line) && !json.Valid([]byte(clean)) {
		clean = asMessage(clean)
	}
	if _, err := io.WriteString(l.w, clean); err != nil {
		return 0, err
	}
	return len(line), nil
}

// asMessage makes a JSON line again of one that redaction broke: a secret of
// digits may stand in a number.
func asMessage(text string) string {
	b, _ := json.Marshal(map[string]string{"level": "WARN", "msg": strings.TrimSpace(text)})
	return string(b) + "\n"
}
