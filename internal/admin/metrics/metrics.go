// Package metrics owns /metrics: what the control plane measures, in the form that
// Prometheus reads. Names follow its conventions: base units, and a label for what
// a person would want to tell apart.
//
// It holds no rules: the [admin.Plane] says who may. It must not know where a
// number comes from, and asks for nothing that could wake an agent.
package metrics

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/moltworker/moltworker/internal/admin"
)

// Source says how everything is to a caller who may know.
type Source interface {
	Measures(ctx context.Context) (admin.Measures, error)
}

// Handler answers GET /metrics with one picture of everything, taken when it is
// asked for.
func Handler(from Source, log *slog.Logger) http.Handler {
	self := []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "the metrics are read with GET", http.StatusMethodNotAllowed)
			return
		}
		m, err := from.Measures(r.Context())
		if err != nil {
			e := admin.AsError(err)
			http.Error(w, e.Message+". "+e.Remedy, e.Status)
			return
		}
		seen := prometheus.NewRegistry()
		seen.MustRegister(append(self, picture(m))...)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		promhttp.HandlerFor(seen, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}).ServeHTTP(w, r)
	})
}

// picture is a collector of what was so at one moment.
type picture admin.Measures

// Describe gives no descriptions in advance: which agents there are changes.
func (picture) Describe(chan<- *prometheus.Desc) {}

func (p picture) Collect(out chan<- prometheus.Metric) {
	s := sink(out)
	buildInfo.one(s, 1, p.Version.Moltworker, p.Version.OpenClaw, p.Version.GVisor, p.Version.Go)
	for _, a := range p.Agents {
		ofAgent(s, a)
	}
	ofBackup(s, p.Backup)
	ofModels(s, p.Models)
}
