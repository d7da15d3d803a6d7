package price

import (
	"errors"
	"math"
	"strings"
)

// maxDecimal bounds the length of a number that is read.
const maxDecimal = 64

var (
	errNumber = errors.New("not a decimal number")
	errRange  = errors.New("too large")
	errExact  = errors.New("too many decimals")
)

// parseDecimal reads a decimal number as JSON writes it, times ten to the power of
// decimals, exactly: it fails where that is not a whole number of 64 bits.
func parseDecimal(s string, decimals int) (int64, error) {
	digits, exponent, negative, err := splitDecimal(s)
	if err != nil {
		return 0, err
	}
	exponent += decimals
	for exponent < 0 && strings.HasSuffix(digits, "0") {
		digits, exponent = digits[:len(digits)-1], exponent+1
	}
	if digits == "" {
		return 0, nil
	}
	if exponent < 0 {
		return 0, errExact
	}
	var u uint64
	for i := range len(digits) + exponent {
		d := uint64(0)
		if i < len(digits) {
			d = uint64(digits[i] - '0')
		}
		if u > (math.MaxInt64-d)/10 {
			return 0, errRange
		}
		u = u*10 + d
	}
	if negative {
		return -int64(u), nil
	}
	return int64(u), nil
}

// splitDecimal takes a number apart: it is digits, without zeroes in front, times
// ten to the power of exponent.
func splitDecimal(s string) (digits string, exponent int, negative bool, err error) {
	if len(s) > maxDecimal {
		return "", 0, false, errNumber
	}
	s, negative = strings.CutPrefix(s, "-")
	mantissa, power := s, ""
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa, power = s[:i], s[i+1:]
		if exponent, err = parsePower(power); err != nil {
			return "", 0, false, err
		}
	}
	whole, part, dot := strings.Cut(mantissa, ".")
	if whole == "" || dot && part == "" || !allDigits(whole) || !allDigits(part) {
		return "", 0, false, errNumber
	}
	return strings.TrimLeft(whole+part, "0"), exponent - len(part), negative, nil
}

// parsePower reads an exponent of at most two digits.
func parsePower(s string) (int, error) {
	s, negative := strings.CutPrefix(s, "-")
	if !negative {
		s = strings.TrimPrefix(s, "+")
	}
	if s == "" || len(s) > 2 || !allDigits(s) {
		return 0, errNumber
	}
	n := 0
	for _, c := range []byte(s) {
		n = n*10 + int(c-'0')
	}
	if negative {
		n = -n
	}
	return n, nil
}

func allDigits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
