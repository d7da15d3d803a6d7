package demo

import (
	"math/big"
	"strings"
	"testing"
)

func TestArithmetic(t *testing.T) {
	tests := []struct{ prompt, want string }{ // want "": nothing to work out
		{"What is 847293 + 651824?", "847293 + 651824 = 1499117"},
		{"1+1", "1+1 = 2"},
		{"2+3*4", "2+3*4 = 14"},
		{"(2+3)*4", "(2+3)*4 = 20"},
		{"10 - 2 - 3", "10 - 2 - 3 = 5"},
		{"100/10/5", "100/10/5 = 2"},
		{"6 x 7, please", "6 x 7 = 42"},
		{"6×7", "6×7 = 42"},
		{"42 ÷ 8 =", "42 ÷ 8 = 5.25"},
		{"5 − 8", "5 − 8 = -3"},
		{"-3 * -4", "-3 * -4 = 12"},
		{"- 3 + 4", "3 + 4 = 7"},
		{"1,000.5 * 3", "1,000.5 * 3 = 3001.5"},
		{"1,234,567 + 1", "1,234,567 + 1 = 1234568"},
		{"0.1 + 0.2", "0.1 + 0.2 = 0.3"},
		{".5*.5", ".5*.5 = 0.25"},
		{"3 + 4.", "3 + 4 = 7"},
		{"10 / 3", "10 / 3 = 10/3, which is about 3.3333333333"},
		{"1 / 0", "1 / 0 has no value: it divides by zero."},
		{"5 / (3 - 3)", "5 / (3 - 3) has no value: it divides by zero."},
		{"99999999999999999999 * 99999999999999999999", "99999999999999999999 * 99999999999999999999 = 9999999999999999999800000000000000000001"},
		{"計算して 12+30 は?", "12+30 = 42"},
		{"5+5は?", "5+5 = 10"},
		{"first 1+1, then 100 + 200", "100 + 200 = 300"},
		{"((((1+2))))", "((((1+2)))) = 3"},
		{"(1+2", "1+2 = 3"},
		{"1+2)", "1+2 = 3"},
		{"3 + 4 - what", "3 + 4 = 7"},
		{"2 * (3 + ", ""},
		{"hello", ""},
		{"", ""},
		{"42", ""},
		{"on 2026-11-22 we met", ""},
		{"version 1.2.3 of x", ""},
		{"file3-4 and 3 * 4px", ""},
		{"a - b", ""},
		{"x", ""},
		{"1,2345 and 1, 2", ""},
	}
	for _, tt := range tests {
		got, ok := find(tt.prompt)
		if tt.want == "" {
			if ok {
				t.Errorf("%q: found %q", tt.prompt, got.sentence())
			}
			continue
		}
		if !ok || got.sentence() != tt.want {
			t.Errorf("%q: %q, want %q", tt.prompt, got.sentence(), tt.want)
		}
	}
}

// Nesting and length are bounded: what lies beyond is not followed.
func TestArithmeticIsBounded(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("(", n) + "1+1" + strings.Repeat(")", n) }
	if e, ok := find(nested(maxDepth - 2)); !ok || e.src != nested(maxDepth-2) {
		t.Errorf("nesting within bounds: found %q", e.src)
	}
	for _, text := range []string{nested(5000), strings.Repeat("-", 5000) + "1", "1" + strings.Repeat("+1", 5000)} {
		if e, _ := find(text); len(e.src) > maxExprLen {
			t.Errorf("%.20s...: took %d bytes", text, len(e.src))
		}
	}
}

// Of any text, find takes a part, and works it out again to the same value.
func FuzzFind(f *testing.F) {
	for _, s := range []string{"What is 847293 + 651824?", "((1+2)*3-4)/5", "1,000.5 x -3 ÷ .25", "1/0", "2026-11-22", "((((", "1+-+-+-1", "−5 – 3 · 2", "1..2,,3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, ok := find(text)
		if !ok {
			return
		}
		if !strings.Contains(text, e.src) || len(e.src) > maxExprLen {
			t.Fatalf("%q is no part of %q", e.src, text)
		}
		if e.sentence() == "" {
			t.Fatalf("%q: says nothing", text)
		}
		p := parser{in: e.src}
		v, err := p.sum()
		if (err == nil) != (e.err == nil) || err == nil && (p.pos != len(e.src) || v.Cmp(e.value) != 0) {
			t.Fatalf("%q: %v %v, then %v %v", e.src, e.value, e.err, v, err)
		}
	})
}

// The parser agrees with direct computation.
func FuzzSum(f *testing.F) {
	f.Add(int64(847293), int64(651824), int64(7))
	f.Add(int64(-1), int64(0), int64(-9))
	f.Fuzz(func(t *testing.T, a, b, c int64) {
		num := func(n int64) string { return "(" + big.NewInt(n).String() + ")" }
		text := num(a) + "+" + num(b) + "*" + num(c)
		want := new(big.Int).Mul(big.NewInt(b), big.NewInt(c))
		want.Add(want, big.NewInt(a))
		e, ok := find(text)
		if !ok || e.src != text || !e.value.IsInt() || e.value.Num().Cmp(want) != 0 {
			t.Fatalf("%s: %+v, want %v", text, e, want)
		}
	})
}
