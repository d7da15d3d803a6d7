package otel

import (
	"fmt"
	"slices"
	"testing"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"

	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

const cumulative = metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE

// pointsBy are the points of a histogram by the values of their attributes.
func pointsBy(t *testing.T, m *metricspb.Metric) map[string]*metricspb.HistogramDataPoint {
	t.Helper()
	h := m.GetHistogram()
	if h == nil || h.AggregationTemporality != cumulative {
		t.Fatalf("%s is %v", m.GetName(), m)
	}
	points := make(map[string]*metricspb.HistogramDataPoint)
	for _, p := range h.DataPoints {
		points[fmt.Sprint(attributes(p.Attributes))] = p
	}
	return points
}

// checkPoint checks a point of a histogram; buckets are the ones that hold something.
func checkPoint(t *testing.T, p *metricspb.HistogramDataPoint, count uint64, sum, least, most float64, bounds []float64, buckets map[int]uint64) {
	t.Helper()
	if p == nil {
		t.Fatal("there is no such point")
	}
	if p.Count != count || p.GetSum() != sum || p.GetMin() != least || p.GetMax() != most || !slices.Equal(p.ExplicitBounds, bounds) {
		t.Errorf("point %v", p)
	}
	if len(p.BucketCounts) != len(bounds)+1 {
		t.Fatalf("%d buckets for %d bounds", len(p.BucketCounts), len(bounds))
	}
	for i, n := range p.BucketCounts {
		if n != buckets[i] {
			t.Errorf("bucket %d has %d, want %d", i, n, buckets[i])
		}
	}
	if p.StartTimeUnixNano == 0 || p.TimeUnixNano < p.StartTimeUnixNano {
		t.Errorf("from %d to %d", p.StartTimeUnixNano, p.TimeUnixNano)
	}
}

// Two good calls of 249 and 67 tokens each, of 2.5 s and 4 s, whose streams began
// after 0.32 s and 0.64 s, at $0.25 each; one that the provider refused in 0.5 s; one
// from the cache, which costs nothing, and whose tokens nobody bills; one estimated.
//
// Tokens: 249 is in (64, 256], bucket 4; 67 as well. Seconds: 2.5 is in (1.28, 2.56],
// bucket 8; 4 in (2.56, 5.12], 9; 0.5 in (0.32, 0.64], 6; 0.32 in (0.16, 0.32], 5;
// 0.64 in (0.32, 0.64], 6; 0 in bucket 0.
func TestSums(t *testing.T) {
	c := newCollector(t)
	e := begin(t, Options{Endpoint: c.URL, Service: "fleet"}, newWaits())
	good, slow := aCall(), aCall()
	slow.Took, slow.FirstByte = 4*time.Second, 640*time.Millisecond
	refused := calllog.Call{ID: idAt(2), Agent: "ada", Provider: "anthropic", Asked: "claude-sonnet-4-5", Endpoint: "/v1/messages",
		Status: 529, Error: "http_529", Took: 500 * time.Millisecond}
	hit := aCall()
	hit.Cache, hit.Cost, hit.Took, hit.Stream = "hit", 0, 0, false
	guess := aCall()
	guess.Usage, guess.Took, guess.Stream, guess.CostKnown = usage.Usage{Input: 1, Output: 1, Estimated: true}, 0, false, false
	for _, call := range []calllog.Call{good, slow, refused, hit, guess} {
		e.Add(call)
	}
	closeWell(t, e)
	all := c.instruments()

	const base = "gen_ai.operation.name:chat gen_ai.provider.name:anthropic gen_ai.request.model:claude-sonnet-4-5"
	tokens := pointsBy(t, all["gen_ai.client.token.usage"])
	if len(tokens) != 2 || all["gen_ai.client.token.usage"].Unit != "{token}" {
		t.Errorf("tokens %v", tokens)
	}
	checkPoint(t, tokens["map["+base+" gen_ai.token.type:input]"], 2, 498, 249, 249, tokenBounds, map[int]uint64{4: 2})
	checkPoint(t, tokens["map["+base+" gen_ai.token.type:output]"], 2, 134, 67, 67, tokenBounds, map[int]uint64{4: 2})

	took := pointsBy(t, all["gen_ai.client.operation.duration"])
	if len(took) != 2 || all["gen_ai.client.operation.duration"].Unit != "s" {
		t.Errorf("durations %v", took)
	}
	checkPoint(t, took["map["+base+"]"], 4, 6.5, 0, 4, secondBounds, map[int]uint64{0: 2, 8: 1, 9: 1})
	checkPoint(t, took["map[error.type:529 "+base+"]"], 1, 0.5, 0.5, 0.5, secondBounds, map[int]uint64{6: 1})

	first := pointsBy(t, all["gen_ai.client.operation.time_to_first_chunk"])
	checkPoint(t, first["map["+base+"]"], 2, 0.96, 0.32, 0.64, secondBounds, map[int]uint64{5: 1, 6: 1})

	cost := all["moltworker.ai.cost"].GetSum()
	if cost == nil || !cost.IsMonotonic || cost.AggregationTemporality != cumulative || len(cost.DataPoints) != 1 || all["moltworker.ai.cost"].Unit != "{USD}" {
		t.Fatalf("cost %v", all["moltworker.ai.cost"])
	}
	p := cost.DataPoints[0]
	if got := fmt.Sprint(attributes(p.Attributes)); p.GetAsDouble() != 0.5 || p.TimeUnixNano < p.StartTimeUnixNano ||
		got != "map[gen_ai.agent.name:ada "+base+" moltworker.trigger:cron]" {
		t.Errorf("cost %v, of %s", p, got)
	}
	if r := c.metrics[0].ResourceMetrics[0]; attributes(r.Resource.Attributes)["service.name"] != "fleet" || r.SchemaUrl != schema ||
		r.ScopeMetrics[0].Scope.Name != nameOfScope {
		t.Errorf("resource %v, scope %v", r.Resource, r.ScopeMetrics[0].Scope)
	}
}

// models are the models of a metric.
func models(m *metricspb.Metric) map[any]uint64 {
	counts := make(map[any]uint64)
	for _, p := range m.GetHistogram().DataPoints {
		counts[attributes(p.Attributes)["gen_ai.request.model"]] += p.Count
	}
	return counts
}

// An agent makes up 300 models that no provider has, which are all "other" and take
// nobody's place; then 250 that do succeed, after a real one: of those 199 become
// known, and 300+51 = 351 calls are of others.
func TestMadeUpModelsAreNotToldApart(t *testing.T) {
	c := newCollector(t)
	e := begin(t, Options{Endpoint: c.URL}, newWaits())
	call := aCall()
	say := func(model string, status int) {
		call.Asked, call.Status = model, status
		e.Add(call)
	}
	for i := range 300 {
		say(fmt.Sprintf("bogus-%d", i), 404)
	}
	say("real", 200)
	for i := range 250 {
		say(fmt.Sprintf("odd-%d", i), 200)
	}
	closeWell(t, e)

	got := models(c.instruments()["gen_ai.client.operation.duration"])
	if len(got) != maxModels+1 || got["real"] != 1 || got["odd-198"] != 1 || got["odd-199"] != 0 || got["other"] != 351 {
		t.Errorf("%d models; real %d, odd-198 %d, odd-199 %d, other %d", len(got), got["real"], got["odd-198"], got["odd-199"], got["other"])
	}
	names := make(map[string]int)
	for _, s := range c.spans() {
		names[s.Name]++
	}
	if len(names) != maxModels+1 || names["chat other"] != 351 {
		t.Errorf("%d names of spans, %d of others", len(names), names["chat other"])
	}
	if got := attributes(c.spans()[0].Attributes)["gen_ai.request.model"]; got != "bogus-0" {
		t.Errorf("the span itself says %v", got)
	}
}

// 5000 calls of 499 agents and 149 models differ all; an instrument has fewer
// series. The sum of all still is that of all.
func TestSeriesAreBounded(t *testing.T) {
	s, err := newSums(nil, "")
	if err != nil {
		t.Fatal(err)
	}
	const n = 5000
	for i := range n {
		call := calllog.Call{Agent: fmt.Sprint("agent-", i%499), Asked: fmt.Sprint("model-", i%149), Trigger: []string{"user", "cron", "made up"}[i%3],
			Provider: fmt.Sprint("provider-", i%100), Status: 200, Cost: price.Dollar, CostKnown: true, Endpoint: "/v1/messages"}
		if i%7 == 0 {
			call.Status, call.Error = 500, fmt.Sprint("error-", i)
		}
		told := tell(&call, time.Now)
		s.add(&told)
	}
	m, err := s.message(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	total, overflow := 0.0, false
	for _, m := range m.(*metricspb.MetricsData).ResourceMetrics[0].ScopeMetrics[0].Metrics {
		if len(m.GetSum().GetDataPoints()) > maxSeries || len(m.GetHistogram().GetDataPoints()) > maxSeries {
			t.Errorf("%s has too many series", m.Name)
		}
		for _, p := range m.GetSum().GetDataPoints() {
			total += p.GetAsDouble()
			overflow = overflow || attributes(p.Attributes)["otel.metric.overflow"] == true
		}
	}
	if total != n || !overflow {
		t.Errorf("cost is %v, overflow %v", total, overflow)
	}
	if len(s.providers.known) != maxProviders || len(s.agents.known) != maxAgents || len(s.failures.known) != maxErrors {
		t.Errorf("%d providers, %d agents, %d errors are known", len(s.providers.known), len(s.agents.known), len(s.failures.known))
	}
}
