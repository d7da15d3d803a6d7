package guardrail

import "bytes"

// Classes of bytes. They are looked up, since every byte of every text is.
const (
	alnum uint8 = 1 << iota
	token       // alnum, _ and -
	base64Byte
)

var class = func() (t [256]uint8) {
	for c := range t {
		b := byte(c)
		if '0' <= b && b <= '9' || 'A' <= b && b <= 'Z' || 'a' <= b && b <= 'z' {
			t[c] = alnum | token | base64Byte
		}
	}
	t['_'], t['-'] = token, token
	t['+'], t['/'] = base64Byte, base64Byte
	return t
}()

func isAlnum(c byte) bool  { return class[c]&alnum != 0 }
func isToken(c byte) bool  { return class[c]&token != 0 }
func isBase64(c byte) bool { return class[c]&base64Byte != 0 }
func isDotted(c byte) bool { return isToken(c) || c == '.' }
func isSlack(c byte) bool  { return isAlnum(c) || c == '-' || c == '.' }
func isUpper(c byte) bool  { return 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLocal(c byte) bool  { return isToken(c) || c == '.' || c == '%' || c == '+' }

// literals are looked for all at once, in one walk over the text.
type literals struct {
	fold    bool // case does not count; the literals are in lower case
	byFirst [256][]literal
}

type literal struct {
	text []byte
	of   int // what it belongs to
}

func (l *literals) add(text string, of int) {
	c := text[0]
	l.byFirst[c] = append(l.byFirst[c], literal{[]byte(text), of})
	if l.fold && 'a' <= c && c <= 'z' {
		c -= 'a' - 'A'
		l.byFirst[c] = append(l.byFirst[c], literal{[]byte(text), of})
	}
}

// each calls f with every place where a literal begins, and is not within a word. The
// letter of an escape is none: arguments of tools are JSON in a text, so that a key on a
// line of its own has the two letters of a line break before it.
func (l *literals) each(text []byte, f func(of, i, size int)) {
	within := false
	for i, c := range text {
		if !within && l.byFirst[c] != nil {
			for _, lit := range l.byFirst[c] {
				if n := len(lit.text); n <= len(text)-i && (bytes.Equal(text[i:i+n], lit.text) || l.fold && bytes.EqualFold(text[i:i+n], lit.text)) {
					f(lit.of, i, n)
				}
			}
		}
		within = class[c]&token != 0 && (i == 0 || text[i-1] != '\\')
	}
}

// run is how many bytes from i on are of a class, at most most+1.
func run(b []byte, i int, of func(byte) bool, most int) int {
	n := 0
	for n <= most && i+n < len(b) && of(b[i+n]) {
		n++
	}
	return n
}

// eachIndex calls f with every place of a literal.
func eachIndex(text []byte, literal string, f func(i int)) {
	for at := 0; ; {
		n := bytes.Index(text[at:], []byte(literal))
		if n < 0 {
			return
		}
		f(at + n)
		at += n + len(literal)
	}
}
