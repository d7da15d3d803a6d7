package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/moltworker/moltworker/internal/openclaw"
	openclawruntime "github.com/moltworker/moltworker/internal/openclaw/runtime"
	"github.com/moltworker/moltworker/internal/sandbox/gvisor"
)

// report is all that a run found, and where.
type report struct {
	Date     time.Time `json:"date"`
	Machine  machine   `json:"machine"`
	Short    bool      `json:"short,omitempty"`
	Versions versions  `json:"versions"`
	Load     [2]string `json:"load"` // average over 1, 5 and 15 minutes, at the start and at the end
	Seconds  float64   `json:"seconds"`
	Tables   []table   `json:"tables"`
}

type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
}

type versions struct {
	Go       string `json:"go"`
	GVisor   string `json:"gvisor"`
	OpenClaw string `json:"openclaw"`
	Node     string `json:"node"`
}

// table is one measurement's outcome. Numbers are medians unless it says
// otherwise.
type table struct {
	Title   string   `json:"title"`
	Columns []string `json:"columns"` // with their units
	Rows    []row    `json:"rows"`
	Notes   []string `json:"notes,omitempty"`
}

// row has a value for each column that applies to it.
type row struct {
	Name   string             `json:"name"`
	Values map[string]float64 `json:"values"`
}

func newReport(o options) *report {
	return &report{
		Date:    time.Now().UTC().Truncate(time.Second),
		Machine: machine{CPU: field("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), Memory: field("/proc/meminfo", "MemTotal"), Kernel: firstWord("/proc/sys/kernel/osrelease")},
		Short:   o.short,
		Versions: versions{
			Go: runtime.Version(), GVisor: gvisor.Version(),
			OpenClaw: openclawruntime.Version, Node: openclawruntime.NodeVersion,
		},
		Load: [2]string{loadAverage(), ""},
	}
}

// add takes a measurement's tables and shows them.
func (r *report) add(w io.Writer, tables []table) {
	for _, t := range tables {
		r.Tables = append(r.Tables, t)
		t.print(w)
	}
}

func (r *report) finish(w io.Writer, file string) error {
	r.Load[1] = loadAverage()
	r.Seconds = time.Since(r.Date).Round(time.Second).Seconds()
	fmt.Fprintf(w, "\n%s, %.0f s; %s, %d cores, %s, Linux %s\n", r.Date.Format(time.RFC3339), r.Seconds, r.Machine.CPU, r.Machine.Cores, r.Machine.Memory, r.Machine.Kernel)
	fmt.Fprintf(w, "%s, gVisor %s, OpenClaw %s, Node %s\n", r.Versions.Go, r.Versions.GVisor, r.Versions.OpenClaw, r.Versions.Node)
	fmt.Fprintf(w, "load average %s at the start, %s at the end\n", r.Load[0], r.Load[1])
	if file == "" {
		return nil
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the results: %w", err)
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}

func (t table) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n", t.Title)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "\t%s\t\n", strings.Join(t.Columns, "\t"))
	width := 0
	for _, r := range t.Rows {
		width = max(width, len(r.Name))
	}
	for _, r := range t.Rows {
		fmt.Fprintf(tw, "%-*s\t", width, r.Name)
		for _, c := range t.Columns {
			if v, ok := r.Values[c]; ok {
				fmt.Fprintf(tw, "%s", number(v))
			}
			fmt.Fprint(tw, "\t")
		}
		fmt.Fprintln(tw)
	}
	tw.Flush()
	for _, n := range t.Notes {
		fmt.Fprintln(w, " ", n)
	}
}

// number shows three digits or so.
func number(v float64) string {
	switch {
	case v >= 100 || v <= -100 || v == 0:
		return fmt.Sprintf("%.0f", v)
	case v >= 10 || v <= -10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// samples collects repeated measurements of rows, in the order they came up.
type samples struct {
	names  []string
	values map[string]map[string][]float64 // row, column
}

func (s *samples) add(name string, values map[string]float64) {
	if s.values == nil {
		s.values = map[string]map[string][]float64{}
	}
	if s.values[name] == nil {
		s.values[name] = map[string][]float64{}
		s.names = append(s.names, name)
	}
	for column, v := range values {
		s.values[name][column] = append(s.values[name][column], v)
	}
}

// medians are the rows of a table.
func (s *samples) medians() []row {
	var rows []row
	for _, name := range s.names {
		r := row{Name: name, Values: map[string]float64{}}
		for column, vs := range s.values[name] {
			r.Values[column] = quantile(vs, 0.5)
		}
		rows = append(rows, r)
	}
	return rows
}

// spreads are the rows of a table about one column in seconds, beyond medians.
func (s *samples) spreads(column string) []row {
	var rows []row
	for _, name := range s.names {
		vs := s.values[name][column]
		if len(vs) == 0 {
			continue
		}
		rows = append(rows, row{Name: name, Values: map[string]float64{
			"times": float64(len(vs)), "p50 " + column: quantile(vs, 0.5), "p99 " + column: quantile(vs, 0.99), "max " + column: slices.Max(vs),
		}})
	}
	return rows
}

// quantile is the value below which the share q of vs lies.
func quantile(vs []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(vs))
	n := len(sorted)
	switch {
	case n == 0:
		return 0
	case q == 0.5 && n%2 == 0:
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[min(int(float64(n)*q), n-1)]
}

func loadAverage() string {
	data, _ := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(data))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

func firstWord(file string) string {
	data, _ := os.ReadFile(file)
	return strings.TrimSpace(string(data))
}

// field is the value of the first line "name: value" of a file.
func field(file, name string) string {
	data, _ := os.ReadFile(file)
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// settings are OpenClaw's in every world that is measured, the port aside.
func settings(port int) openclaw.Settings {
	return openclaw.Settings{
		Port: port, Token: token,
		AllowedOrigins: []string{"http://localhost:8787"},
		Providers:      openclaw.Providers(false, false),
	}
}

// token opens the gateways and edges of a run, which listen on loopback only.
const token = "bench-bench-bench-bench-bench-32"
