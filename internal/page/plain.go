package page

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Plain is text of somebody else's as it is safe to show: in one line, without
// colours and other orders to terminals, without characters that cannot be seen or
// that turn the direction of what is around them, at most max bytes long.
func Plain(text string, max int) string {
	cut := len(text) > max
	if cut {
		end := max
		for end > 0 && end > max-utf8.UTFMax && !utf8.RuneStart(text[end]) {
			end-- // do not cut through a character
		}
		text = text[:end]
	}
	var out strings.Builder
	for len(text) > 0 {
		if rest, ok := order(text); ok {
			text = rest
			continue
		}
		r, size := utf8.DecodeRuneInString(text)
		text = text[size:]
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			out.WriteByte(' ')
		case r == utf8.RuneError && size == 1, unruly(r), unicode.Is(unicode.Cf, r) && r != '\u200d', unicode.Is(unicode.Co, r), r == '\u2028' || r == '\u2029':
			out.WriteRune('\ufffd')
		default:
			out.WriteRune(r)
		}
	}
	if cut {
		out.WriteRune('…')
	}
	return out.String()
}

// order takes a terminal's escape sequence off the front of text, which is not empty.
func order(text string) (rest string, ok bool) {
	if text[0] != 0x1b {
		return text, false
	}
	if len(text) == 1 {
		return "", true
	}
	switch text[1] {
	case '[': // up to a final byte
		for i := 2; i < len(text) && i < 64; i++ {
			if text[i] >= 0x40 && text[i] <= 0x7e {
				return text[i+1:], true
			}
		}
	case ']': // up to BEL or ESC \
		for i := 2; i < len(text) && i < 4096; i++ {
			if text[i] == 0x07 {
				return text[i+1:], true
			}
			if text[i] == 0x1b {
				return strings.TrimPrefix(text[i+1:], "\\"), true
			}
		}
	}
	return text[1:], true
}

// unruly says whether a character orders a terminal about or turns the direction
// of what is around it.
func unruly(r rune) bool {
	return unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Bidi_Control, r)
}

// tame replaces unruly characters in a whole page, whichever way they came in.
func tame(body []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && r != '\r' && unruly(r) {
			return utf8.RuneError
		}
		return r
	}, body)
}
