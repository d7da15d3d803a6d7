package otel

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// schema is the version of the conventions whose names are used: the last in which
// gen_ai was a part of them. All of gen_ai is still in development; what became of it
// since is in github.com/open-telemetry/semantic-conventions-genai.
const schema = "https://opentelemetry.io/schemas/1.41.0"

// spans makes spans of calls that are over. It is not safe for use at once.
type spans struct {
	tracer   trace.Tracer
	ended    []sdktrace.ReadOnlySpan
	write    *otlptrace.Exporter
	from     *resourcepb.Resource
	resource []*tracepb.ResourceSpans
}

func newSpans(from *resourcepb.Resource, version string) *spans {
	s := &spans{from: from}
	provider := sdktrace.NewTracerProvider(
		// What the SDK would otherwise take from the environment.
		sdktrace.WithSampler(sdktrace.AlwaysSample()),
		sdktrace.WithRawSpanLimits(sdktrace.SpanLimits{AttributeValueLengthLimit: -1, AttributeCountLimit: -1,
			EventCountLimit: -1, LinkCountLimit: -1, AttributePerEventCountLimit: -1, AttributePerLinkCountLimit: -1}),
		sdktrace.WithSpanProcessor((*gatherer)(s)),
	)
	s.tracer = provider.Tracer(nameOfScope, trace.WithInstrumentationVersion(clean(version, maxName)), trace.WithSchemaURL(schema))
	s.write = otlptrace.NewUnstarted((*translator)(s))
	return s
}

// message is what tells of a batch. The message of the protocol is in a package that
// brings gRPC along; TracesData is the same on the wire, as its definition says.
func (s *spans) message(batch []told) proto.Message {
	clear(s.ended)
	s.ended, s.resource = s.ended[:0], nil
	for i := range batch {
		s.add(&batch[i])
	}
	_ = s.write.ExportSpans(context.Background(), s.ended) // translator does not fail
	return &tracepb.TracesData{ResourceSpans: s.resource}
}

// add makes the span of a call. Its kind is client: the gateway is a provider's.
func (s *spans) add(t *told) {
	_, span := s.tracer.Start(context.Background(), spanName(t), trace.WithNewRoot(), trace.WithTimestamp(t.begin),
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(spanAttributes(t)...))
	if t.failed() {
		span.SetStatus(codes.Error, "") // error.type says why
	}
	span.End(trace.WithTimestamp(t.begin.Add(t.took)))
}

// spanName has few values, because collectors and what is behind them index it.
func spanName(t *told) string {
	if t.shownModel == "" {
		return t.operation
	}
	return t.operation + " " + t.shownModel
}

func spanAttributes(t *told) []attribute.KeyValue {
	attrs := make([]attribute.KeyValue, 0, 24)
	text := func(key attribute.Key, value string) {
		if value != "" {
			attrs = append(attrs, key.String(value))
		}
	}
	text("gen_ai.operation.name", t.operation)
	text("gen_ai.provider.name", t.provider)
	text("gen_ai.request.model", t.model)
	text("gen_ai.response.model", t.answers)
	text("gen_ai.agent.name", t.agent)
	text("error.type", t.errorType())
	if t.status >= 100 && t.status <= 599 {
		attrs = append(attrs, attribute.Int("http.response.status_code", t.status))
	}
	if t.stream {
		attrs = append(attrs, attribute.Bool("gen_ai.request.stream", true)) // never said of others
	}
	if first := t.firstChunk(); first > 0 {
		attrs = append(attrs, attribute.Float64("gen_ai.response.time_to_first_chunk", first.Seconds()))
	}
	attrs = append(attrs, tokenAttributes(t)...)
	text("moltworker.trigger", t.trigger)
	text("moltworker.cache", t.cache)
	attrs = append(attrs, attribute.Bool("moltworker.cost_known", t.costKnown))
	if t.costKnown {
		attrs = append(attrs, attribute.Float64("moltworker.cost_usd", t.dollars()))
	}
	attrs = append(attrs, attribute.Int("moltworker.attempts", t.attempts), attribute.Bool("moltworker.stream", t.stream))
	if !t.id.IsZero() {
		text("moltworker.call_id", t.id.String())
	}
	if t.first > 0 {
		attrs = append(attrs, attribute.Float64("moltworker.first_byte_ms", float64(t.first)/float64(time.Millisecond)))
	}
	return attrs
}

// tokenAttributes are what the call consumed. Of the parts, the totals have them in
// them. What is written to a cache is said twice: conventions up to 1.41 call it
// creation, those of gen_ai by itself (0.1.0) write.
func tokenAttributes(t *told) []attribute.KeyValue {
	if !t.known {
		return nil
	}
	attrs := make([]attribute.KeyValue, 0, 7)
	attrs = append(attrs, attribute.Int64("gen_ai.usage.input_tokens", t.input), attribute.Int64("gen_ai.usage.output_tokens", t.output))
	if t.read > 0 {
		attrs = append(attrs, attribute.Int64("gen_ai.usage.cache_read.input_tokens", t.read))
	}
	if t.written > 0 {
		attrs = append(attrs, attribute.Int64("gen_ai.usage.cache_creation.input_tokens", t.written),
			attribute.Int64("gen_ai.usage.cache_write.input_tokens", t.written))
	}
	if t.thought > 0 {
		attrs = append(attrs, attribute.Int64("gen_ai.usage.reasoning.output_tokens", t.thought))
	}
	if t.estimated {
		attrs = append(attrs, attribute.Bool("moltworker.tokens_estimated", true))
	}
	return attrs
}

// gatherer is spans as where the SDK puts spans that end.
type gatherer spans

// OnStart does nothing.
func (*gatherer) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd keeps the span for the message.
func (g *gatherer) OnEnd(s sdktrace.ReadOnlySpan) { g.ended = append(g.ended, s) }

// Shutdown does nothing.
func (*gatherer) Shutdown(context.Context) error { return nil }

// ForceFlush does nothing.
func (*gatherer) ForceFlush(context.Context) error { return nil }

// translator is spans as where the SDK's exporter puts what it has translated.
type translator spans

// Start does nothing.
func (*translator) Start(context.Context) error { return nil }

// Stop does nothing.
func (*translator) Stop(context.Context) error { return nil }

// UploadTraces keeps what is to be sent. Who sends it is said by the options alone,
// where the SDK mixes in what the environment says.
func (w *translator) UploadTraces(_ context.Context, all []*tracepb.ResourceSpans) error {
	for _, r := range all {
		r.Resource, r.SchemaUrl = w.from, schema
	}
	w.resource = all
	return nil
}
