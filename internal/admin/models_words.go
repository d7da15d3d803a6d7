package admin

import (
	"fmt"
	"strings"

	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// Dollars is an amount with the digits that matter to a person: "$12.34", "$1,234.50",
// "$0.0042". What is below a dollar has two digits that are not zero.
func Dollars(m price.Money) string {
	sign, n := "", uint64(m)
	if m < 0 {
		sign, n = "-", -n
	}
	const dollar = uint64(price.Dollar)
	if n == 0 {
		return "$0"
	}
	unit := dollar / 100 // what is rounded to
	for unit > 1 && n < 10*unit {
		unit /= 10
	}
	n = (n + unit/2) / unit * unit
	whole, rest := n/dollar, n%dollar
	text := fmt.Sprintf("%012d", rest)
	digits := 2
	for u := dollar / 100; u > unit; u /= 10 {
		digits++
	}
	text = text[:digits]
	for len(text) > 2 && strings.HasSuffix(text, "0") {
		text = text[:len(text)-1]
	}
	return sign + "$" + Thousands(int64(whole)) + "." + text
}

// Spent is what calls cost, in words: amounts that are not known are said, never taken
// for zero.
func (s ModelSums) Spent() string { return SpentWords(s.Cost, s.Unpriced, s.Calls) }

// SpentWords is the cost of calls of which some may have none that is known.
func SpentWords(cost price.Money, unpriced, calls int64) string {
	switch {
	case unpriced == 0:
		return Dollars(cost)
	case unpriced >= calls && cost == 0:
		return "unknown"
	}
	return fmt.Sprintf("%s + %s unknown", Dollars(cost), Thousands(unpriced))
}

// Spent is what the call cost, in words.
func (c ModelCall) Spent() string {
	if c.Cost == nil {
		return "unknown"
	}
	return Dollars(*c.Cost)
}

// Thousands writes a number with its thousands apart.
func Thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
