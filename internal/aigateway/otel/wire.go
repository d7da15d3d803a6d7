package otel

import (
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
)

// The forms are those of opentelemetry/proto/metrics/v1/metrics.proto. Only what the
// instruments of this package make is written.

// resourceOf says who tells.
func resourceOf(opts Options) *resourcepb.Resource {
	r := &resourcepb.Resource{Attributes: []*commonpb.KeyValue{stringAttribute("service.name", clean(opts.Service, maxName))}}
	if opts.Version != "" {
		r.Attributes = append(r.Attributes, stringAttribute("service.version", clean(opts.Version, maxName)))
	}
	return r
}

func stringAttribute(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}

// metricsMessage is all sums. As with spans, MetricsData is the protocol's message on
// the wire.
func metricsMessage(from *resourcepb.Resource, scopes []metricdata.ScopeMetrics) *metricspb.MetricsData {
	all := &metricspb.ResourceMetrics{Resource: from, SchemaUrl: schema}
	for _, scope := range scopes {
		out := &metricspb.ScopeMetrics{SchemaUrl: scope.Scope.SchemaURL,
			Scope: &commonpb.InstrumentationScope{Name: scope.Scope.Name, Version: scope.Scope.Version}}
		for _, m := range scope.Metrics {
			if w := metricOf(m); w != nil {
				out.Metrics = append(out.Metrics, w)
			}
		}
		all.ScopeMetrics = append(all.ScopeMetrics, out)
	}
	return &metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{all}}
}

// metricOf is one instrument; nil for kinds that this package does not make.
func metricOf(m metricdata.Metrics) *metricspb.Metric {
	w := &metricspb.Metric{Name: m.Name, Description: m.Description, Unit: m.Unit}
	switch data := m.Data.(type) {
	case metricdata.Histogram[int64]:
		w.Data = histogramOf(data)
	case metricdata.Histogram[float64]:
		w.Data = histogramOf(data)
	case metricdata.Sum[float64]:
		sum := &metricspb.Sum{AggregationTemporality: temporality(data.Temporality), IsMonotonic: data.IsMonotonic}
		for _, p := range data.DataPoints {
			sum.DataPoints = append(sum.DataPoints, &metricspb.NumberDataPoint{Attributes: attributesOf(p.Attributes),
				StartTimeUnixNano: nanos(p.StartTime), TimeUnixNano: nanos(p.Time),
				Value: &metricspb.NumberDataPoint_AsDouble{AsDouble: p.Value}})
		}
		w.Data = &metricspb.Metric_Sum{Sum: sum}
	default:
		return nil
	}
	return w
}

func histogramOf[N int64 | float64](data metricdata.Histogram[N]) *metricspb.Metric_Histogram {
	h := &metricspb.Histogram{AggregationTemporality: temporality(data.Temporality)}
	for _, p := range data.DataPoints {
		sum := float64(p.Sum)
		point := &metricspb.HistogramDataPoint{Attributes: attributesOf(p.Attributes),
			StartTimeUnixNano: nanos(p.StartTime), TimeUnixNano: nanos(p.Time),
			Count: p.Count, Sum: &sum, BucketCounts: p.BucketCounts, ExplicitBounds: p.Bounds}
		if v, ok := p.Min.Value(); ok {
			least := float64(v)
			point.Min = &least
		}
		if v, ok := p.Max.Value(); ok {
			most := float64(v)
			point.Max = &most
		}
		h.DataPoints = append(h.DataPoints, point)
	}
	return &metricspb.Metric_Histogram{Histogram: h}
}

func temporality(t metricdata.Temporality) metricspb.AggregationTemporality {
	if t == metricdata.DeltaTemporality {
		return metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA
	}
	return metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
}

// attributesOf writes the attributes of sums: strings, and the SDK's mark of an
// overflow, which is a boolean.
func attributesOf(set attribute.Set) []*commonpb.KeyValue {
	attrs := make([]*commonpb.KeyValue, 0, set.Len())
	for _, kv := range set.ToSlice() {
		if kv.Value.Type() == attribute.BOOL {
			attrs = append(attrs, &commonpb.KeyValue{Key: string(kv.Key),
				Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: kv.Value.AsBool()}}})
			continue
		}
		attrs = append(attrs, stringAttribute(string(kv.Key), kv.Value.AsString()))
	}
	return attrs
}

// nanos is a time as OTLP writes it; 0 where it has none for it.
func nanos(t time.Time) uint64 { return uint64(max(t.UnixNano(), 0)) }
