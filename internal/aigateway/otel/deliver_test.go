package otel

import (
	"context"
	"errors"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

func status(n int) func(http.ResponseWriter, *http.Request, int) {
	return func(w http.ResponseWriter, _ *http.Request, _ int) {
		w.WriteHeader(n)
		_, _ = w.Write([]byte("REFLECTED"))
	}
}

// addBatch adds a full batch, which is sent without waiting for a tick.
func addBatch(e *Exporter) {
	for range batchSize {
		e.Add(aCall())
	}
}

func await(t *testing.T, c *collector, requests int) {
	t.Helper()
	for range requests {
		select {
		case <-c.got:
		case <-t.Context().Done():
			t.Fatal("no request came")
		}
	}
}

func TestATickSendsWhatThereIs(t *testing.T) {
	c := newCollector(t)
	w := newWaits()
	e := begin(t, Options{Endpoint: c.URL}, w)
	e.Add(aCall())
	// The sums come by the first tick, the span by that after it was handed on.
	for spans := 0; spans == 0; {
		select {
		case w.tick <- time.Time{}:
		case <-c.got:
		}
		c.mu.Lock()
		spans = len(c.traces)
		c.mu.Unlock()
	}
	if got := c.spans(); len(got) != 1 {
		t.Errorf("%d spans", len(got))
	}
}

// 1300 calls are two batches of 512 at once and one of 276 at the end.
func TestBatches(t *testing.T) {
	c := newCollector(t)
	e := begin(t, Options{Endpoint: c.URL}, newWaits())
	for range 1300 {
		for e.Add(aCall()); e.Dropped() > 0; e.Add(aCall()) {
			e.dropped.Store(0) // the intake was full: once more
		}
	}
	closeWell(t, e)
	var sizes []int
	for _, m := range c.traces {
		sizes = append(sizes, len(m.ResourceSpans[0].ScopeSpans[0].Spans))
	}
	if len(sizes) != 3 || sizes[0] != 512 || sizes[1] != 512 || sizes[2] != 276 || e.Dropped() != 0 {
		t.Errorf("batches of %v, %d dropped", sizes, e.Dropped())
	}
}

// The first try waits for half a second to a second, the second for the 7 seconds
// that the collector asks for, the third would be 2 to 4 seconds.
func TestACollectorThatComesBack(t *testing.T) {
	c := newCollector(t)
	c.answer = func(w http.ResponseWriter, _ *http.Request, n int) {
		switch n {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}
	w := newWaits()
	var told failures
	e := begin(t, Options{Endpoint: c.URL, Fail: told.add}, w)
	addBatch(e)
	await(t, c, 3)
	closeWell(t, e)
	if got := w.all(); len(got) != 2 || got[0] < time.Second/2 || got[0] >= time.Second || got[1] != 7*time.Second {
		t.Errorf("waited for %v", got)
	}
	if c.count() != 4 || len(c.traces) != 3 || e.Dropped() != 0 || len(told.list()) != 0 { // the fourth has the sums
		t.Errorf("%d requests, %d with spans, %d dropped, told %q", c.count(), len(c.traces), e.Dropped(), told.list())
	}
}

func TestACollectorThatKeepsFailing(t *testing.T) {
	c := newCollector(t)
	c.answer = status(http.StatusBadGateway)
	var told failures
	now := time.Unix(1000, 0)
	w := newWaits()
	e := begin(t, Options{Endpoint: c.URL, Headers: map[string]string{"Authorization": "Bearer SECRET"}, Fail: told.add,
		Now: func() time.Time { return now }}, w)
	addBatch(e)
	await(t, c, maxTries)
	addBatch(e)
	await(t, c, maxTries)
	err := e.Close(context.Background())
	if e.Dropped() != 2*batchSize || err == nil {
		t.Errorf("%d dropped, Close: %v", e.Dropped(), err)
	}
	got := told.list() // of three failures within a minute one is told
	if len(got) != 1 || got[0] != "tell the collector of calls: it answered with status 502" {
		t.Errorf("told %q", got)
	}
	if strings.Contains(err.Error(), "SECRET") || strings.Contains(err.Error(), "REFLECTED") {
		t.Errorf("Close: %v", err)
	}
	if got := w.all(); len(got) != 2*(maxTries-1) { // and after Close none
		t.Errorf("waited for %v", got)
	}
}

func TestFailureIsToldOnceAMinute(t *testing.T) {
	var told failures
	now := time.Unix(1000, 0)
	e := &Exporter{opts: Options{Fail: told.add, Now: func() time.Time { return now }}, closing: make(chan struct{})}
	for _, after := range []time.Duration{0, 59 * time.Second, time.Second, 30 * time.Second, 30 * time.Second} { // at 0, 59, 60, 90, 120 s
		now = now.Add(after)
		e.fail(errors.New(now.UTC().Format(time.TimeOnly)))
	}
	e.fail(nil)
	if got := strings.Join(told.list(), " "); got != "00:16:40 00:17:40 00:18:40" || e.lost != nil {
		t.Errorf("told %s, lost %v", got, e.lost)
	}
}

// What a collector will never take is not sent again, and a redirection is not
// followed: the headers would go elsewhere.
func TestACollectorThatRefuses(t *testing.T) {
	stranger := newCollector(t)
	for _, code := range []int{400, 401, 404, 413, 500, 307, 301} {
		c := newCollector(t)
		c.answer = func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.Header().Set("Location", stranger.URL+"/v1/traces")
			w.WriteHeader(code)
		}
		w := newWaits()
		e := begin(t, Options{Endpoint: c.URL}, w)
		addBatch(e)
		await(t, c, 1)
		_ = e.Close(context.Background())
		if e.Dropped() != batchSize || len(w.all()) != 0 {
			t.Errorf("%d: %d dropped, waited for %v", code, e.Dropped(), w.all())
		}
	}
	if stranger.count() != 0 {
		t.Error("a redirection was followed")
	}
}

// partial is an answer that n were refused: field 1 is a message whose field 1 is n.
func partial(n int64) []byte {
	inner := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(n))
	inner = protowire.AppendString(protowire.AppendTag(inner, 2, protowire.BytesType), "too old REFLECTED")
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), inner)
}

func TestACollectorThatTakesSome(t *testing.T) {
	c := newCollector(t)
	c.answer = func(w http.ResponseWriter, r *http.Request, _ int) {
		if r.URL.Path == "/v1/traces" {
			_, _ = w.Write(partial(3))
		}
	}
	var told failures
	e := begin(t, Options{Endpoint: c.URL, Fail: told.add}, newWaits())
	for range 10 {
		e.Add(aCall())
	}
	err := e.Close(context.Background())
	if got := told.list(); e.Dropped() != 3 || len(got) != 1 || got[0] != "the collector refused 3 of 10 calls" || err == nil {
		t.Errorf("%d dropped, told %q, Close: %v", e.Dropped(), got, err)
	}
}

func TestAddDoesNotWaitForACollectorThatHangs(t *testing.T) {
	c := newCollector(t)
	over := make(chan struct{})
	t.Cleanup(func() { close(over) }) // before the server's own end
	c.answer = func(_ http.ResponseWriter, r *http.Request, _ int) {
		c.got <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-over:
		}
	}
	e := begin(t, Options{Endpoint: c.URL}, newWaits())
	addBatch(e)
	await(t, c, 1) // it hangs now
	const n = 20_000
	for range n {
		e.Add(aCall())
	}
	// There is room for 4096 and 1024, and for one in hand between them.
	if least := int64(n - queueSize - intakeSize - 1); e.Dropped() < least {
		t.Errorf("%d dropped, want at least %d", e.Dropped(), least)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := e.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v", err)
	}
	if e.Dropped() != n+batchSize {
		t.Errorf("%d dropped, want %d", e.Dropped(), n+batchSize)
	}
}

func TestACollectorThatIsNotThere(t *testing.T) {
	c := newCollector(t)
	url := c.URL
	c.Server.Close()
	var told failures
	e := begin(t, Options{Endpoint: url, Fail: told.add}, newWaits())
	for range 10_000 {
		e.Add(aCall())
	}
	err := e.Close(context.Background())
	if err == nil || e.Dropped() != 10_000 || len(told.list()) != 1 {
		t.Errorf("Close: %v; %d dropped; told %q", err, e.Dropped(), told.list())
	}
}

// Somebody waits between two tries when Close comes: there is one more try, at once.
func TestCloseDoesNotSitOutAWait(t *testing.T) {
	c := newCollector(t)
	c.answer = status(http.StatusServiceUnavailable)
	asked := make(chan time.Duration, 10)
	e, err := start(t.Context(), Options{Endpoint: c.URL}, func(d time.Duration) <-chan time.Time {
		asked <- d
		return nil // never over
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := <-asked; d != sendEvery {
		t.Fatalf("waits for %v", d)
	}
	addBatch(e)
	<-asked
	err = e.Close(context.Background())
	if err == nil || e.Dropped() != batchSize || c.count() != 2 { // of the sums there is no try
		t.Errorf("Close: %v; %d dropped; %d requests", err, e.Dropped(), c.count())
	}
}

func TestAfterClose(t *testing.T) {
	c := newCollector(t)
	e := begin(t, Options{Endpoint: c.URL}, newWaits())
	closeWell(t, e)
	closeWell(t, e)
	e.Add(aCall())
	if e.Dropped() != 1 || c.count() != 0 {
		t.Errorf("%d dropped, %d requests", e.Dropped(), c.count())
	}
}

// What the environment says reaches nobody.
func TestTheEnvironmentHasNoSay(t *testing.T) {
	wrong := newCollector(t)
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": wrong.URL, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": wrong.URL + "/v1/traces",
		"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": wrong.URL + "/v1/metrics", "OTEL_EXPORTER_OTLP_HEADERS": "x-env=1",
		"OTEL_EXPORTER_OTLP_COMPRESSION": "none", "OTEL_EXPORTER_OTLP_CERTIFICATE": "nowhere.pem",
		"OTEL_RESOURCE_ATTRIBUTES": "env=1,service.name=env", "OTEL_SERVICE_NAME": "env", "OTEL_TRACES_SAMPLER": "always_off",
		"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "1", "OTEL_METRICS_EXEMPLAR_FILTER": "always_on",
		"OTEL_GO_X_CARDINALITY_LIMIT": "1", "OTEL_SDK_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	c := newCollector(t)
	e := begin(t, Options{Endpoint: c.URL}, newWaits())
	e.Add(aCall())
	other := aCall()
	other.Asked = "another"
	e.Add(other)
	closeWell(t, e)
	spans := c.spans()
	if wrong.count() != 0 || len(spans) != 2 || attributes(spans[0].Attributes)["gen_ai.provider.name"] != "anthropic" || len(spans[0].Attributes) < 20 {
		t.Errorf("%d requests elsewhere; spans %v", wrong.count(), spans)
	}
	for _, q := range c.requests {
		if q.Header.Get("X-Env") != "" || q.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("headers %v", q.Header)
		}
	}
	for _, r := range [][]any{{attributes(c.traces[0].ResourceSpans[0].Resource.Attributes)}, {attributes(c.metrics[0].ResourceMetrics[0].Resource.Attributes)}} {
		if m := r[0].(map[string]any); len(m) != 1 || m["service.name"] != "moltworker" {
			t.Errorf("resource %v", m)
		}
	}
	if got := models(c.instruments()["gen_ai.client.operation.duration"]); got["another"] != 1 || got["claude-sonnet-4-5"] != 1 {
		t.Errorf("models %v", got)
	}
	for _, p := range c.instruments()["gen_ai.client.operation.duration"].GetHistogram().DataPoints {
		if len(p.Exemplars) != 0 {
			t.Error("there are exemplars")
		}
	}
}

// The SDK's exporters bring all of gRPC along; this package must not.
func TestNoGRPC(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "go.opentelemetry.io/proto/otlp/trace/v1\n") {
		t.Errorf("the list is not that of this package: %.200q", out)
	}
	if strings.Contains(string(out), "grpc") {
		t.Errorf("gRPC is linked:\n%s", out)
	}
}

func BenchmarkAdd(b *testing.B) {
	e, err := start(b.Context(), Options{Endpoint: "http://127.0.0.1:1"}, func(time.Duration) <-chan time.Time { return nil })
	if err != nil {
		b.Fatal(err)
	}
	call := aCall()
	b.ReportAllocs()
	for b.Loop() {
		e.Add(call)
	}
	b.StopTimer()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = e.Close(ctx)
}

// BenchmarkTold is what is done for a call away from it: its part in the sums and in
// a message.
func BenchmarkTold(b *testing.B) {
	from := resourceOf(Options{Service: "moltworker"})
	s, err := newSums(from, "")
	if err != nil {
		b.Fatal(err)
	}
	sp := newSpans(from, "")
	call := aCall()
	batch := make([]told, 0, batchSize)
	b.ReportAllocs()
	for b.Loop() {
		t := tell(&call, time.Now)
		s.add(&t)
		if batch = append(batch, t); len(batch) == batchSize {
			if _, err := pack(sp.message(batch)); err != nil {
				b.Fatal(err)
			}
			batch = batch[:0]
		}
	}
}
