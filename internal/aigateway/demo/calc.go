package demo

import (
	"errors"
	"math/big"
	"regexp"
	"strings"
)

// Bounds of one expression.
const (
	maxDepth     = 50 // nesting
	maxOperators = 200
	maxExprLen   = 1024 // bytes
)

var errZero = errors.New("division by zero")

// expr is an expression found in a text, and its value.
type expr struct {
	src   string
	value *big.Rat
	err   error // errZero
}

// find returns the longest arithmetic expression of a text that has at least
// one operator; among equals, the last.
func find(text string) (expr, bool) {
	var best expr
	for at := 0; at < len(text); {
		if !startsAt(text, at) {
			at++
			continue
		}
		p := parser{in: text[at:min(len(text), at+maxExprLen)]}
		v, err := p.sum()
		if errors.Is(err, errSyntax) { // no expression here, but perhaps within
			at++
			continue
		}
		src := p.in[:p.pos]
		fits := (err == nil || errors.Is(err, errZero)) && p.ops > 0 && !runsOn(text, at+p.pos)
		if fits && !isDate(src) && len(src) >= len(best.src) {
			best = expr{src, v, err}
		}
		at += max(1, p.pos)
	}
	return best, best.src != ""
}

var date = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}$`)

func isDate(src string) bool { return date.MatchString(src) }

// startsAt reports whether an expression may begin at a place: not within a
// word, number or version, and not with the dash of a list.
func startsAt(text string, at int) bool {
	if strings.IndexByte("0123456789(.-+", text[at]) < 0 {
		return false
	}
	if (text[at] == '-' || text[at] == '+') && (at+1 == len(text) || strings.IndexByte("0123456789(.", text[at+1]) < 0) {
		return false
	}
	if at > 1 && text[at-1] == '.' && isDigit(text[at-2]) {
		return false
	}
	return at == 0 || !isWordByte(text[at-1])
}

// runsOn reports whether a word goes on where an expression ended ("3 * 4px").
func runsOn(text string, at int) bool {
	return at < len(text) && isWordByte(text[at])
}

func isWordByte(c byte) bool {
	return c == '_' || isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// parser reads an expression by recursive descent. It stops where the text no
// longer goes on as one; pos is then behind the last thing that belonged to it.
type parser struct {
	in    string
	pos   int
	depth int
	ops   int
}

var (
	errSyntax = errors.New("no expression")
	errBounds = errors.New("expression too large")
)

func (p *parser) sum() (*big.Rat, error) { return p.chain("+-", (*parser).product) }

func (p *parser) product() (*big.Rat, error) { return p.chain("*/", (*parser).unary) }

// chain reads operands joined by operators of one rank, left to right. An
// operator with no operand behind it does not belong to the expression.
func (p *parser) chain(ranks string, operand func(*parser) (*big.Rat, error)) (*big.Rat, error) {
	left, err := operand(p)
	if err != nil {
		return nil, err
	}
	for {
		before := *p
		op, ok := p.operator(ranks)
		if !ok {
			*p = before
			return left, nil
		}
		if p.ops++; p.ops > maxOperators {
			return nil, errBounds
		}
		right, err := operand(p)
		if errors.Is(err, errSyntax) {
			*p = before
			return left, nil
		}
		if err != nil {
			return nil, err
		}
		if left, err = apply(op, left, right); err != nil {
			return nil, err
		}
	}
}

func apply(op byte, a, b *big.Rat) (*big.Rat, error) {
	z := new(big.Rat)
	switch op {
	case '+':
		return z.Add(a, b), nil
	case '-':
		return z.Sub(a, b), nil
	case '*':
		return z.Mul(a, b), nil
	}
	if b.Sign() == 0 {
		return nil, errZero
	}
	return z.Quo(a, b), nil
}

// operators and the sign each stands for.
var operators = []struct {
	sign string
	op   byte
}{
	{"+", '+'}, {"-", '-'}, {"\u2212", '-'}, {"\u2013", '-'},
	{"*", '*'}, {"x", '*'}, {"X", '*'}, {"\u00d7", '*'}, {"\u00b7", '*'},
	{"/", '/'}, {"\u00f7", '/'},
}

func (p *parser) operator(ranks string) (byte, bool) {
	p.space()
	for _, o := range operators {
		if strings.IndexByte(ranks, o.op) >= 0 && strings.HasPrefix(p.in[p.pos:], o.sign) {
			p.pos += len(o.sign)
			return o.op, true
		}
	}
	return 0, false
}

func (p *parser) unary() (*big.Rat, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, errBounds
	}
	defer func() { p.depth-- }()
	switch op, _ := p.operator("+-"); op {
	case '-':
		v, err := p.unary()
		if err != nil {
			return nil, err
		}
		return v.Neg(v), nil
	case '+':
		return p.unary()
	}
	if strings.HasPrefix(p.in[p.pos:], "(") {
		return p.group()
	}
	return p.number()
}

func (p *parser) group() (*big.Rat, error) {
	p.pos++
	v, err := p.sum()
	if err != nil {
		return nil, err
	}
	p.space()
	if !strings.HasPrefix(p.in[p.pos:], ")") {
		return nil, errSyntax
	}
	p.pos++
	return v, nil
}

func (p *parser) space() {
	for p.pos < len(p.in) && (p.in[p.pos] == ' ' || p.in[p.pos] == '\t') {
		p.pos++
	}
}

// number reads 12, 1,234,567, 3.5 or .5.
func (p *parser) number() (*big.Rat, error) {
	p.space()
	whole := p.whole()
	frac := ""
	if rest := p.in[p.pos:]; len(rest) > 1 && rest[0] == '.' && isDigit(rest[1]) {
		frac = digits(rest[1:])
		p.pos += 1 + len(frac)
	}
	if whole == "" && frac == "" {
		return nil, errSyntax
	}
	v, ok := new(big.Rat).SetString("0" + whole + "." + frac + "0")
	if !ok {
		return nil, errSyntax
	}
	return v, nil
}

// whole reads the digits before the point; commas count only between groups of
// three.
func (p *parser) whole() string {
	s := digits(p.in[p.pos:])
	p.pos += len(s)
	if len(s) == 0 || len(s) > 3 {
		return s
	}
	for {
		rest := p.in[p.pos:]
		if len(rest) == 0 || rest[0] != ',' || len(digits(rest[1:])) != 3 {
			return s
		}
		s += rest[1:4]
		p.pos += 4
	}
}

func digits(s string) string {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return s[:n]
}
