package guest

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxShown bounds guest text that is shown in an error or a log line, in bytes.
const maxShown = 2 << 10

// Clean makes text from inside a sandbox fit to be logged or shown: at most 2 KiB
// of it, no control characters, nothing that steers a terminal or hides text.
func Clean(s string) string { return clean(s, maxShown) }

func clean(s string, limit int) string {
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n':
			return ' '
		case r == utf8.RuneError, unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, s)
}
