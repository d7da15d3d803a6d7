package otel

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/exemplar"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"

	"github.com/moltworker/moltworker/internal/aigateway/calllog"
)

// maxSeries is how many combinations of attributes one instrument has; the rest is
// summed up in one that has otel.metric.overflow.
const maxSeries = 2000

// The buckets that the conventions name (gen-ai-metrics.md of 1.41): tokens, and
// seconds.
var (
	tokenBounds  = []float64{1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864}
	secondBounds = []float64{0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92}
)

// sums are the metrics: since the start, by names of which there are only so many.
type sums struct {
	reader *sdkmetric.ManualReader
	from   *resourcepb.Resource

	tokens   metric.Int64Histogram
	duration metric.Float64Histogram
	first    metric.Float64Histogram
	cost     metric.Float64Counter

	models, providers, agents, failures *names // belong to who calls add
}

func newSums(from *resourcepb.Resource, version string) (*sums, error) {
	s := &sums{reader: sdkmetric.NewManualReader(), from: from, models: newNames(maxModels, other),
		providers: newNames(maxProviders, other), agents: newNames(maxAgents, other),
		failures: newNames(maxErrors, "_OTHER")} // the conventions' word for it
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(s.reader),
		// What the SDK would otherwise take from the environment.
		sdkmetric.WithCardinalityLimit(maxSeries), sdkmetric.WithExemplarFilter(exemplar.AlwaysOffFilter),
	).Meter(nameOfScope, metric.WithInstrumentationVersion(clean(version, maxName)), metric.WithSchemaURL(schema))
	var errs [4]error
	s.tokens, errs[0] = meter.Int64Histogram("gen_ai.client.token.usage", metric.WithUnit("{token}"),
		metric.WithDescription("Number of input and output tokens used."), metric.WithExplicitBucketBoundaries(tokenBounds...))
	s.duration, errs[1] = meter.Float64Histogram("gen_ai.client.operation.duration", metric.WithUnit("s"),
		metric.WithDescription("GenAI operation duration."), metric.WithExplicitBucketBoundaries(secondBounds...))
	// gen_ai.server.time_to_first_token is for servers of models to tell.
	s.first, errs[2] = meter.Float64Histogram("gen_ai.client.operation.time_to_first_chunk", metric.WithUnit("s"),
		metric.WithDescription("Time to receive the first chunk of a stream."), metric.WithExplicitBucketBoundaries(secondBounds...))
	s.cost, errs[3] = meter.Float64Counter("moltworker.ai.cost", metric.WithUnit("{USD}"),
		metric.WithDescription("What model calls cost, as far as it is known, in US dollars."))
	return s, errors.Join(errs[:]...)
}

// add counts a call, and sets in it what was bounded. A model's name becomes known
// only by a call that succeeds.
func (s *sums) add(t *told) {
	t.clean()
	t.operation = operation(t.endpoint)
	t.shownModel = s.models.of(t.model, t.outcome == calllog.Succeeded)
	provider := s.providers.of(t.provider, true)
	t.failure = s.failures.of(t.errorType(), true)

	base := []attribute.KeyValue{attribute.String("gen_ai.operation.name", t.operation), attribute.String("gen_ai.provider.name", provider)}
	if t.shownModel != "" {
		base = append(base, attribute.String("gen_ai.request.model", t.shownModel))
	}
	ctx := context.Background()
	s.addTokens(ctx, t, base)
	if first := t.firstChunk(); first > 0 {
		s.first.Record(ctx, first.Seconds(), with(base))
	}
	if t.costKnown && t.cost > 0 {
		attrs := with(base, optional("gen_ai.agent.name", s.agents.of(t.agent, true)), optional("moltworker.trigger", t.trigger))
		s.cost.Add(ctx, t.dollars(), attrs)
	}
	s.duration.Record(ctx, t.took.Seconds(), with(base, optional("error.type", t.failure)))
}

// addTokens counts tokens that a provider counted and bills: neither estimates nor
// those of an answer from the gateway's cache.
func (s *sums) addTokens(ctx context.Context, t *told, base []attribute.KeyValue) {
	if !t.known || t.estimated || t.cache == "hit" {
		return
	}
	if t.input > 0 {
		s.tokens.Record(ctx, t.input, with(base, attribute.String("gen_ai.token.type", "input")))
	}
	if t.output > 0 {
		s.tokens.Record(ctx, t.output, with(base, attribute.String("gen_ai.token.type", "output")))
	}
}

// optional is an attribute that with leaves out where it is empty.
func optional(key, value string) attribute.KeyValue {
	if value == "" {
		return attribute.KeyValue{}
	}
	return attribute.String(key, value)
}

func with(base []attribute.KeyValue, more ...attribute.KeyValue) metric.MeasurementOption {
	all := make([]attribute.KeyValue, 0, len(base)+len(more))
	all = append(all, base...)
	for _, kv := range more {
		if kv.Valid() {
			all = append(all, kv)
		}
	}
	return metric.WithAttributeSet(attribute.NewSet(all...))
}

// message is what tells all sums; nil where there are none yet.
func (s *sums) message(ctx context.Context) (proto.Message, error) {
	var now metricdata.ResourceMetrics
	if err := s.reader.Collect(ctx, &now); err != nil {
		return nil, fmt.Errorf("collect sums: %w", err)
	}
	if len(now.ScopeMetrics) == 0 {
		return nil, nil
	}
	return metricsMessage(s.from, now.ScopeMetrics), nil
}
