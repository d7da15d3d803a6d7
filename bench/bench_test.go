package main

import (
	"slices"
	"strings"
	"testing"
)

func TestQuantile(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		q      float64
		want   float64
	}{
		{nil, 0.5, 0},
		{[]float64{7}, 0.99, 7},
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{4, 1, 3, 2}, 0.5, 2.5},
		{[]float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 0.9, 10},
	} {
		if got := quantile(tt.values, tt.q); got != tt.want {
			t.Errorf("quantile(%v, %v) = %v, want %v", tt.values, tt.q, got, tt.want)
		}
	}
}

func TestMedianRowsKeepTheirOrderAndGaps(t *testing.T) {
	var s samples
	s.add("slow", map[string]float64{"ms": 9, "MiB": 1})
	s.add("fast", map[string]float64{"ms": 2})
	s.add("slow", map[string]float64{"ms": 7})
	s.add("slow", map[string]float64{"ms": 8})
	rows := s.medians()
	if len(rows) != 2 || rows[0].Name != "slow" || rows[0].Values["ms"] != 8 || rows[0].Values["MiB"] != 1 {
		t.Fatalf("rows %v", rows)
	}
	var out strings.Builder
	table{Title: "T", Columns: []string{"ms", "MiB"}, Rows: rows, Notes: []string{"note"}}.print(&out)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 5 || !slices.Equal(strings.Fields(lines[2]), []string{"slow", "8.00", "1.00"}) ||
		!slices.Equal(strings.Fields(lines[3]), []string{"fast", "2.00"}) {
		t.Errorf("printed:\n%s", out.String())
	}
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"memory", "-short", "boot", "-json", "f"})
	if err != nil || !slices.Equal(o.names, []string{"memory", "boot"}) || !o.short || o.json != "f" {
		t.Errorf("parsed %+v, %v", o, err)
	}
	if o, err := parse(nil); err != nil || !slices.Equal(o.names, order) {
		t.Errorf("without names: %+v, %v", o, err)
	}
	if _, err := parse([]string{"speed"}); err == nil {
		t.Error("took a measurement that is none")
	}
	if len(order) != len(measurements) {
		t.Errorf("%v are in order, %d measurements exist", order, len(measurements))
	}
}
