package otel

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/moltworker/moltworker/internal/aigateway/calllog"
)

// collector is a receiver of OTLP over HTTP.
type collector struct {
	*httptest.Server
	t      *testing.T
	got    chan struct{}                                       // one for each request, as far as there is room
	answer func(w http.ResponseWriter, r *http.Request, n int) // to the nth request, from 1; nil: 200

	mu       sync.Mutex
	requests []*http.Request
	raw      [][]byte // bodies, unpacked
	traces   []*tracepb.TracesData
	metrics  []*metricspb.MetricsData
}

func newCollector(t *testing.T) *collector {
	c := &collector{t: t, got: make(chan struct{}, 1000)}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client gave up
	}
	n := c.keep(r, body)
	if c.answer != nil {
		c.answer(w, r, n)
	}
	select {
	case c.got <- struct{}{}:
	default:
	}
}

func (c *collector) keep(r *http.Request, body []byte) int {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err == nil {
		body, err = io.ReadAll(z)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests, c.raw = append(c.requests, r), append(c.raw, body)
	switch {
	case err != nil:
	case r.URL.Path == "/v1/traces":
		m := new(tracepb.TracesData)
		err = proto.Unmarshal(body, m)
		c.traces = append(c.traces, m)
	case r.URL.Path == "/v1/metrics":
		m := new(metricspb.MetricsData)
		err = proto.Unmarshal(body, m)
		c.metrics = append(c.metrics, m)
	default:
		c.t.Errorf("request to %s", r.URL.Path)
	}
	if err != nil {
		c.t.Errorf("body of %s: %v", r.URL.Path, err)
	}
	return len(c.requests)
}

// spans are all that came, in order. None may come any more.
func (c *collector) spans() (all []*tracepb.Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.traces {
		for _, r := range m.ResourceSpans {
			for _, s := range r.ScopeSpans {
				all = append(all, s.Spans...)
			}
		}
	}
	return all
}

// instruments are the last sums that came.
func (c *collector) instruments() map[string]*metricspb.Metric {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.metrics) == 0 {
		c.t.Fatal("no sums came")
	}
	all := make(map[string]*metricspb.Metric)
	for _, r := range c.metrics[len(c.metrics)-1].ResourceMetrics {
		for _, s := range r.ScopeMetrics {
			for _, m := range s.Metrics {
				all[m.Name] = m
			}
		}
	}
	return all
}

func (c *collector) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.requests)
}

// waits stands in for time.After: ticks come when the test says so, and other waits
// are over at once.
type waits struct {
	tick chan time.Time

	mu    sync.Mutex
	asked []time.Duration
}

func newWaits() *waits { return &waits{tick: make(chan time.Time)} }

func (w *waits) after(d time.Duration) <-chan time.Time {
	if d == sendEvery {
		return w.tick
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, d)
	over := make(chan time.Time, 1)
	over <- time.Time{}
	return over
}

func (w *waits) all() []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]time.Duration(nil), w.asked...)
}

// failures keeps what Fail is told.
type failures struct {
	mu  sync.Mutex
	all []string
}

func (f *failures) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, err.Error())
}

func (f *failures) list() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.all...)
}

func begin(t *testing.T, opts Options, w *waits) *Exporter {
	t.Helper()
	e, err := start(t.Context(), opts, w.after)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = e.Close(ctx) // for tests that do not
	})
	return e
}

func closeWell(t *testing.T, e *Exporter) {
	t.Helper()
	if err := e.Close(context.Background()); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// idAt is the ID of a call that began at a time in Unix milliseconds: the time is the
// upper 42 of the first 63 bits.
func idAt(millis int64) (id calllog.ID) {
	v := uint64(millis) << 21
	for i := range 8 {
		id[i] = byte(v >> (56 - 8*i))
	}
	id[15] = 7
	return id
}

// attributes are values by key.
func attributes(all []*commonpb.KeyValue) map[string]any {
	values := make(map[string]any)
	for _, kv := range all {
		switch v := kv.Value.Value.(type) {
		case *commonpb.AnyValue_StringValue:
			values[kv.Key] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			values[kv.Key] = v.IntValue
		case *commonpb.AnyValue_DoubleValue:
			values[kv.Key] = v.DoubleValue
		case *commonpb.AnyValue_BoolValue:
			values[kv.Key] = v.BoolValue
		}
	}
	return values
}
