package observe

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// A Span is something under way. Its methods do nothing with a nil Span.
type Span struct{ span trace.Span }

// End ends the span, at once where it failed. What an error says may be about
// whom was asked for, so that it stays out.
func (s *Span) End(failed bool) {
	if s == nil {
		return
	}
	if failed {
		s.span.SetStatus(codes.Error, "")
	}
	s.span.End()
}

// Answered ends the span of a request.
func (s *Span) Answered(status int) {
	if s == nil {
		return
	}
	s.span.SetAttributes(attribute.Int("http.response.status_code", status))
	s.End(status >= http.StatusInternalServerError)
}

// start begins a span.
func (t *Traces) start(ctx context.Context, name string, kind trace.SpanKind, about ...attribute.KeyValue) (context.Context, *Span) {
	ctx, span := t.tracer.Start(ctx, name, trace.WithSpanKind(kind), trace.WithAttributes(about...))
	return ctx, &Span{span}
}

// Request begins the span of a request, below that which the headers of the request
// name. Route is the pattern that its path matched.
func (t *Traces) Request(ctx context.Context, header http.Header, method, route string) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(header))
	return t.start(ctx, method+" "+route, trace.SpanKindServer, attribute.String("http.request.method", method), attribute.String("http.route", route))
}

// Send begins the span of writing records to a topic.
func (t *Traces) Send(ctx context.Context, topic string, records int) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	return t.start(ctx, "send "+topic, trace.SpanKindProducer,
		attribute.String("messaging.system", "kafka"), attribute.String("messaging.operation.type", "send"),
		attribute.String("messaging.destination.name", topic), attribute.Int("messaging.batch.message_count", records))
}

// Inject calls set for each header that a record has of the span of ctx: none where
// that is not sampled.
func (t *Traces) Inject(ctx context.Context, set func(key, value string)) {
	if t == nil || !trace.SpanContextFromContext(ctx).IsSampled() {
		return
	}
	propagation.TraceContext{}.Inject(ctx, carrier(set))
}

// A carrier takes the headers that are injected.
type carrier func(key, value string)

func (c carrier) Set(key, value string) { c(key, value) }
func (carrier) Get(string) string       { return "" }
func (carrier) Keys() []string          { return nil }

// Lookup begins the span of reading features for some entities.
func (t *Traces) Lookup(ctx context.Context, features, entities int) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	return t.start(ctx, "lookup", trace.SpanKindInternal, attribute.Int("millrace.features", features), attribute.Int("millrace.entities", entities))
}

// Predict begins the span of a prediction, from its question until the log or the
// disk has it.
func (t *Traces) Predict(ctx context.Context, model string) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	return t.start(ctx, "predict "+model, trace.SpanKindInternal, attribute.String("millrace.model", model))
}

// Predicted says what came of the span of a prediction, of ctx, and makes the first
// span of the prediction's own trace: see PredictionTrace.
func (t *Traces) Predicted(ctx context.Context, span *Span, model, id string, version int, began time.Time) {
	if t == nil {
		return
	}
	about := []attribute.KeyValue{attribute.String("millrace.model", model), attribute.String("millrace.prediction.id", id), attribute.Int("millrace.model.version", version)}
	span.span.SetAttributes(about...)
	here := span.span.SpanContext()
	if !here.IsSampled() && !t.Follows(model, id) {
		return
	}
	first := PredictionTrace(model, id)
	_, own := t.tracer.Start(choose(ctx, choice{root: first}), "prediction "+model, trace.WithNewRoot(),
		trace.WithTimestamp(began), trace.WithAttributes(about...), trace.WithLinks(trace.Link{SpanContext: here}))
	own.End()
	span.span.AddLink(trace.Link{SpanContext: own.SpanContext()})
}
