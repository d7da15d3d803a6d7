package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type sink chan<- prometheus.Metric

// measure is one metric: its description and whether it only ever grows.
type measure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) measure {
	return measure{prometheus.NewDesc("moltworker_"+name, help, labels, nil), prometheus.GaugeValue}
}

func counter(name, help string, labels ...string) measure {
	return measure{prometheus.NewDesc("moltworker_"+name, help, labels, nil), prometheus.CounterValue}
}

// one gives the measure a value for these labels.
func (m measure) one(s sink, value float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(m.desc, m.kind, value, labels...)
}

// when gives a point in time, in Unix seconds; none where there is none.
func (m measure) when(s sink, at time.Time, labels ...string) {
	if !at.IsZero() {
		m.one(s, float64(at.UnixMilli())/1000, labels...)
	}
}

func (m measure) yes(s sink, is bool, labels ...string) {
	value := 0.0
	if is {
		value = 1
	}
	m.one(s, value, labels...)
}

// among gives 1 for the state that is the case and 0 for the others, so that each
// can be asked for and none disappears.
func among[S ~string](s sink, m measure, is S, all []S, labels ...string) {
	for _, state := range all {
		m.yes(s, state == is, append(labels[:len(labels):len(labels)], string(state))...)
	}
}
