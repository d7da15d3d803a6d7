// Package price owns what model calls cost: the tables of prices, which row of them
// a model is, and the sum for a usage. A model that no table knows has no price,
// which is not a price of zero.
//
// It must not know how usage is measured, who calls, or what may be spent.
package price

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// Money is an amount of United States dollars in millionths of a millionth of one:
// a price per million tokens in millionths of a dollar is whole Money per token. It
// reaches from -9.2 to 9.2 million dollars.
type Money int64

// Dollar is one dollar.
const Dollar Money = 1_000_000_000_000

// moneyDecimals are the decimals of a dollar that Money has.
const moneyDecimals = 12

// maxMoney is where sums stop.
const maxMoney = Money(math.MaxInt64)

// Add is m and n, or the most or least that Money holds where the sum is beyond.
func (m Money) Add(n Money) Money {
	sum := m + n
	switch {
	case m > 0 && n > 0 && sum < 0:
		return maxMoney
	case m < 0 && n < 0 && sum >= 0:
		return math.MinInt64
	}
	return sum
}

// String is exact, in dollars with two decimals or as many as it needs:
// "$12.50", "$0.001234", "-$0.10".
func (m Money) String() string {
	s := m.decimal()
	whole, part, _ := strings.Cut(s, ".")
	for len(part) < 2 {
		part += "0"
	}
	if whole, negative := strings.CutPrefix(whole, "-"); negative {
		return "-$" + whole + "." + part
	}
	return "$" + whole + "." + part
}

// MarshalJSON writes an exact number of dollars: 12.5, 0.001234.
func (m Money) MarshalJSON() ([]byte, error) { return []byte(m.decimal()), nil }

// UnmarshalJSON reads a number of dollars, or a string with one.
func (m *Money) UnmarshalJSON(data []byte) error {
	s := string(data)
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	v, err := ParseMoney(s)
	if err == nil {
		*m = v
	}
	return err
}

// ParseMoney reads dollars: "12.50", "$0.001234", "-1e-3". It fails for what has
// more than 12 decimals or is beyond the range of Money.
func ParseMoney(s string) (Money, error) {
	t := strings.TrimSpace(s)
	sign := ""
	if rest, ok := strings.CutPrefix(t, "-$"); ok {
		t, sign = rest, "-"
	} else {
		t = strings.TrimPrefix(t, "$")
	}
	if sign != "" && strings.HasPrefix(t, "-") {
		return 0, fmt.Errorf("%q is not an amount of dollars", clip(s))
	}
	v, err := parseDecimal(sign+t, moneyDecimals)
	if err != nil {
		return 0, fmt.Errorf("%q is not an amount of dollars: %w", clip(s), err)
	}
	return Money(v), nil
}

// decimal is m in dollars without needless digits.
func (m Money) decimal() string { return formatDecimal(int64(m), moneyDecimals) }

// formatDecimal is v with so many of its digits after the point, without needless
// zeroes.
func formatDecimal(v int64, decimals int) string {
	sign, u := "", uint64(v)
	if v < 0 {
		sign, u = "-", -u
	}
	s := strconv.FormatUint(u, 10)
	for len(s) <= decimals {
		s = "0" + s
	}
	whole, part := s[:len(s)-decimals], strings.TrimRight(s[len(s)-decimals:], "0")
	if part == "" {
		return sign + whole
	}
	return sign + whole + "." + part
}

// clip shortens what is shown of somebody's input.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

// scale is a*b/div, rounded up to a whole number, or the most that Money holds.
// Negative a and b count as nothing.
func scale(a, b, div int64) Money {
	if a <= 0 || b <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if hi >= uint64(div) {
		return maxMoney
	}
	q, r := bits.Div64(hi, lo, uint64(div))
	if r > 0 {
		q++
	}
	if q > math.MaxInt64 {
		return maxMoney
	}
	return Money(q)
}
