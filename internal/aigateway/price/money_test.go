package price

import (
	"encoding/json"
	"math"
	"testing"
)

func TestMoneyString(t *testing.T) {
	for _, c := range []struct {
		m         Money
		text, num string
	}{
		{0, "$0.00", "0"},
		{Dollar, "$1.00", "1"},
		{12*Dollar + Dollar/2, "$12.50", "12.5"},
		{Dollar / 1_000_000 * 1234, "$0.001234", "0.001234"},
		{1, "$0.000000000001", "0.000000000001"},
		{-Dollar / 10, "-$0.10", "-0.1"},
		{math.MaxInt64, "$9223372.036854775807", "9223372.036854775807"},
		{math.MinInt64, "-$9223372.036854775808", "-9223372.036854775808"},
	} {
		if got := c.m.String(); got != c.text {
			t.Errorf("%d: %s, want %s", c.m, got, c.text)
		}
		if got, err := json.Marshal(c.m); string(got) != c.num || err != nil {
			t.Errorf("%d: %s %v, want %s", c.m, got, err, c.num)
		}
	}
}

func TestParseMoney(t *testing.T) {
	for s, want := range map[string]Money{
		"12.50": 12*Dollar + Dollar/2, "$12.50": 12*Dollar + Dollar/2, "-$0.10": -Dollar / 10, "0": 0, "-0": 0, " 7 ": 7 * Dollar,
		"1e-12": 1, "2.5E3": 2500 * Dollar, "0.000000000001000": 1, "9223372.036854775807": math.MaxInt64, "00.5": Dollar / 2, "0e99": 0,
	} {
		if got, err := ParseMoney(s); got != want || err != nil {
			t.Errorf("%q: %d %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "$", "-", ".5", "5.", "1,5", "1_000", "0x10", "NaN", "Inf", "1e", "1e+", "1e100", "--1", "-$-1", "+1", "1 2", "0.0000000000001",
		"9223372.036854775808", "1e30", "€5", "1e-99",
	} {
		if got, err := ParseMoney(s); err == nil {
			t.Errorf("%q is taken as %v", s, got)
		}
	}
}

func TestMoneyJSON(t *testing.T) {
	for s, want := range map[string]Money{`1.5`: Dollar * 3 / 2, `"1.5"`: Dollar * 3 / 2, `"$2"`: 2 * Dollar} {
		var m Money
		if err := json.Unmarshal([]byte(s), &m); m != want || err != nil {
			t.Errorf("%s: %v %v", s, m, err)
		}
	}
	for _, s := range []string{`true`, `{}`, `"`, `""`, `[1]`} {
		var m Money
		if err := json.Unmarshal([]byte(s), &m); err == nil {
			t.Errorf("%s is taken as %v", s, m)
		}
	}
}

func TestAdd(t *testing.T) {
	for _, c := range [][3]Money{
		{1, 2, 3}, {5, -7, -2}, {math.MaxInt64, 1, math.MaxInt64}, {math.MaxInt64, math.MaxInt64, math.MaxInt64},
		{math.MinInt64, -1, math.MinInt64}, {math.MinInt64, math.MinInt64, math.MinInt64}, {math.MinInt64, math.MaxInt64, -1},
	} {
		if got := c[0].Add(c[1]); got != c[2] {
			t.Errorf("%d + %d is %d, want %d", c[0], c[1], got, c[2])
		}
	}
}

func TestScale(t *testing.T) {
	for _, c := range []struct {
		a, b, div int64
		want      Money
	}{
		{3, 4, 1, 12}, {3, 4, 5, 3}, {10, 10, 100, 1}, {1, 1, 100, 1}, {0, 5, 3, 0}, {-1, 5, 3, 0}, {5, -1, 3, 0},
		{math.MaxInt64, 50, 100, math.MaxInt64/2 + 1}, {math.MaxInt64, math.MaxInt64, 1, math.MaxInt64}, {math.MaxInt64, 2, 1, math.MaxInt64},
	} {
		if got := scale(c.a, c.b, c.div); got != c.want {
			t.Errorf("%d x %d / %d is %d, want %d", c.a, c.b, c.div, got, c.want)
		}
	}
}

func FuzzMoney(f *testing.F) {
	for _, s := range []string{"12.50", "$0.001234", "-$1e-3", "9223372.036854775807", "1e", "-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMoney(s)
		if err != nil {
			return
		}
		if again, err := ParseMoney(m.String()); again != m || err != nil {
			t.Errorf("%q is %d, written %s, and read again %d (%v)", s, m, m, again, err)
		}
	})
}
