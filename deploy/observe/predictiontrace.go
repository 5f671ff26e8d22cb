package observe

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
)

// PredictionTrace returns the first span of a prediction's own trace. What comes true
// of a prediction comes days later, into another process, and nothing but the
// prediction's record is kept until then. So the ids follow from it: of the
// SHA-256 of "millrace.prediction", the model and the id, each followed by a
// zero byte but the last, the first 16 bytes are the trace's id, and the next 8 the
// span's.
//
// The trace has a first span, linked to the request's; and below it one for each
// example of the prediction, linked to the record that it comes from, as the outcome.
// It is sampled where OTEL_TRACES_SAMPLER would sample a trace with that id that
// begins here, and where the request or, for its own span, the outcome is sampled.
// All processes need the same sampler for that.
func PredictionTrace(model, id string) trace.SpanContext {
	h := sha256.New()
	_, _ = io.WriteString(h, "millrace.prediction\x00"+model+"\x00"+id) // a hash takes all
	sum := h.Sum(nil)
	c := trace.SpanContextConfig{TraceFlags: trace.FlagsSampled, Remote: true}
	copy(c.TraceID[:], sum)
	copy(c.SpanID[:], sum[len(c.TraceID):])
	return trace.NewSpanContext(c)
}

// Follows reports whether the trace of a prediction is sampled whatever the records
// are that it comes from and that come to it. Like Applied and Joined it is not for a
// nil Traces.
func (t *Traces) Follows(model, id string) bool {
	p := sdktrace.SamplingParameters{ParentContext: context.Background(), TraceID: PredictionTrace(model, id).TraceID(), Name: "prediction " + model}
	return t.root.ShouldSample(p).Decision == sdktrace.RecordAndSample
}

// of is a record's trace context as OpenTelemetry has it.
func of(c streams.TraceContext) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: c.Trace, SpanID: c.Span, TraceFlags: trace.FlagsSampled, Remote: true})
}

// Tracer returns t for a pipeline, or nil where t is nil.
func (t *Traces) Tracer() pipeline.Tracer {
	if t == nil {
		return nil
	}
	return t
}

// Applied makes the span of events that can be read now, below the one that wrote
// them.
func (t *Traces) Applied(a pipeline.Applied) {
	ctx := trace.ContextWithRemoteSpanContext(context.Background(), of(a.Trace))
	_, span := t.tracer.Start(ctx, "apply "+a.View, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithTimestamp(a.Begun), trace.WithAttributes(
		attribute.String("millrace.view", a.View), attribute.Int("messaging.batch.message_count", a.Records)), at(a.Topic, a.Partition, a.First))
	span.End(trace.WithTimestamp(a.Committed))
}

// Joined makes the span of an example in the trace of its prediction.
func (t *Traces) Joined(j pipeline.Joined) {
	name := "unanswered "
	if j.Kind == feedback.Labelled {
		name = "outcome "
	}
	about := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithTimestamp(j.Begun), at(j.Topic, j.Partition, j.Offset),
		trace.WithAttributes(attribute.String("millrace.model", j.Model), attribute.String("millrace.prediction.id", j.Prediction),
			attribute.Int("millrace.model.version", j.Version), attribute.Bool("millrace.correction", j.Correction)),
	}
	if j.Cause != (streams.TraceContext{}) {
		about = append(about, trace.WithLinks(trace.Link{SpanContext: of(j.Cause)}))
	}
	ctx := trace.ContextWithRemoteSpanContext(context.Background(), PredictionTrace(j.Model, j.Prediction))
	_, span := t.tracer.Start(choose(ctx, choice{}), name+j.Model, about...)
	span.End(trace.WithTimestamp(j.Committed))
}

// at says where a record is.
func at(topic string, partition int, offset int64) trace.SpanStartEventOption {
	return trace.WithAttributes(attribute.String("messaging.system", "kafka"), attribute.String("messaging.operation.type", "process"),
		attribute.String("messaging.destination.name", topic), attribute.Int("messaging.destination.partition.id", partition), attribute.Int64("messaging.kafka.offset", offset))
}

// A choice is in the context with which a span is started that is sampled for a
// reason of ours, and the first one of a trace may have ids of ours.
type choice struct{ root trace.SpanContext }

type choiceKey struct{}

func choose(ctx context.Context, c choice) context.Context {
	return context.WithValue(ctx, choiceKey{}, c)
}

// chosen samples what is chosen, and asks a sampler about all else.
type chosen struct{ sdktrace.Sampler }

func (s chosen) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if _, ok := p.ParentContext.Value(choiceKey{}).(choice); ok {
		return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample}
	}
	return s.Sampler.ShouldSample(p)
}

// ids are random but for those that are chosen.
type ids struct{}

func (ids) NewIDs(ctx context.Context) (t trace.TraceID, s trace.SpanID) {
	if c, ok := ctx.Value(choiceKey{}).(choice); ok && c.root.IsValid() {
		return c.root.TraceID(), c.root.SpanID()
	}
	t = trace.TraceID(random(16))
	return t, ids{}.NewSpanID(ctx, t)
}

func (ids) NewSpanID(context.Context, trace.TraceID) trace.SpanID {
	return trace.SpanID(random(8))
}

// random returns n random bytes, n being a multiple of 8, which are not all zero:
// that is no id.
func random(n int) (id []byte) {
	for len(id) < n {
		id = binary.NativeEndian.AppendUint64(id, rand.Uint64N(math.MaxUint64)+1)
	}
	return id
}
