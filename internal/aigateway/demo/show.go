package demo

import (
	"math/big"
	"strings"
)

// Digits shown after the point: exactly up to exactDigits, else rounded.
const (
	exactDigits = 30
	roundDigits = 10
)

// sentence says what an expression comes to.
func (e expr) sentence() string {
	src := strings.TrimSpace(e.src)
	if e.err != nil {
		return src + " has no value: it divides by zero."
	}
	text, exact := show(e.value)
	if exact {
		return src + " = " + text
	}
	return src + " = " + e.value.RatString() + ", which is about " + text
}

// show writes a number in decimals, and says whether that is all of it.
func show(v *big.Rat) (text string, exact bool) {
	n, exact := v.FloatPrec()
	if !exact || n > exactDigits {
		return v.FloatString(roundDigits), false
	}
	return v.FloatString(n), true
}
