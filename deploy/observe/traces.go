package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Traces makes spans of what a process does, and sends them to a collector in the
// background: what does not fit into its queue is left out, and a collector that
// is away, or slow, holds nothing up. Its methods may be called concurrently, and
// do nothing with a nil Traces.
//
// A span says what was done and how long it took. It holds no entity, no value of a
// feature, no body and no header.
type Traces struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	root     sdktrace.Sampler // of traces that begin here
	sender   *sender
}

// NewTraces returns what the environment asks for, by the names that OpenTelemetry
// has for it, or nil where that is nothing: spans are made where
// OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set, unless
// OTEL_SDK_DISABLED is true or OTEL_TRACES_EXPORTER is none. They go out as
// OTLP over HTTP. An error says which variable is wrong.
func NewTraces(ctx context.Context, log *slog.Logger) (*Traces, error) {
	to, err := collector()
	if to == nil {
		return nil, err
	}
	root, sampler, err := readSampler()
	if err != nil {
		return nil, err
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("observe: traces: %w; see the variables that begin with OTEL_EXPORTER_OTLP", err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "millrace")), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("observe: traces: OTEL_RESOURCE_ATTRIBUTES: %w; give key=value,key=value", err), exporter.Shutdown(ctx))
	}
	t := &Traces{root: root, sender: newSender(exporter, log)}
	t.provider = sdktrace.NewTracerProvider(
		sdktrace.WithResource(about),
		sdktrace.WithSampler(chosen{sampler}),
		sdktrace.WithIDGenerator(ids{}),
		sdktrace.WithSpanProcessor(counted{sdktrace.NewBatchSpanProcessor(t.sender), &t.sender.ended}),
	)
	t.tracer = t.provider.Tracer(scope)
	log.Info("traces are sent", "to", to.Redacted(), "sampler", sampler.Description())
	return t, nil
}

// sendTimeout is for how long what is left may take to be sent at the end.
const sendTimeout = time.Second

// Close sends what is left, for a second at most, and returns when nothing of the
// traces runs. No spans are made after it.
func (t *Traces) Close() {
	if t == nil {
		return
	}
	ctx, done := context.WithTimeout(context.Background(), sendTimeout)
	defer done()
	err := t.provider.Shutdown(ctx)
	t.sender.cut() // what is under way ends at once
	<-t.sender.closed
	if left := t.sender.ended.Load() - t.sender.sent.Load(); err != nil || left > 0 {
		t.sender.log.Warn("not all traces were sent", "left_out", left)
	}
}

// collector returns where the environment wants traces to go; nil: nowhere. The
// exporter reads the same, and would go elsewhere where it is wrong.
func collector() (*url.URL, error) {
	name, text := endpoint()
	if off, err := strconv.ParseBool(os.Getenv("OTEL_SDK_DISABLED")); err == nil && off || text == "" {
		return nil, nil
	}
	switch x := setting("OTEL_TRACES_EXPORTER"); x {
	case "", "otlp":
	case "none":
		return nil, nil
	default:
		return nil, fmt.Errorf("observe: OTEL_TRACES_EXPORTER=%s: give otlp or none", x)
	}
	protocol := setting("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
	if protocol == "" {
		protocol = setting("OTEL_EXPORTER_OTLP_PROTOCOL")
	}
	switch protocol {
	case "", "http/protobuf", "http/json":
		to, err := url.Parse(text)
		if err != nil || to.Scheme != "http" && to.Scheme != "https" || to.Host == "" {
			return nil, fmt.Errorf("observe: %s is not where a collector is: give a URL, as http://127.0.0.1:4318", name) // it may have a password
		}
		return to, nil
	}
	return nil, fmt.Errorf("observe: OTEL_EXPORTER_OTLP_PROTOCOL=%s: give http/protobuf or http/json, and the collector's port for that, which is 4318 by default", protocol)
}

func setting(name string) string { return strings.ToLower(strings.TrimSpace(os.Getenv(name))) }

// endpoint is where traces go, as the environment has it, and in which variable.
func endpoint() (name, value string) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"} {
		if x := strings.TrimSpace(os.Getenv(name)); x != "" {
			return name, x
		}
	}
	return "", ""
}

// readSampler returns the sampler that OTEL_TRACES_SAMPLER names, and that part of it
// which decides about traces that begin here. The SDK would read the same and put its
// default in the place of what is wrong.
func readSampler() (root, all sdktrace.Sampler, err error) {
	name := setting("OTEL_TRACES_SAMPLER")
	if name == "" {
		name = "parentbased_always_on"
	}
	base, byParent := strings.CutPrefix(name, "parentbased_")
	switch base {
	case "always_on":
		root = sdktrace.AlwaysSample()
	case "always_off":
		root = sdktrace.NeverSample()
	case "traceidratio":
		share := 1.0
		if arg := setting("OTEL_TRACES_SAMPLER_ARG"); arg != "" {
			if share, err = strconv.ParseFloat(arg, 64); err != nil || !(share >= 0 && share <= 1) {
				return nil, nil, fmt.Errorf("observe: OTEL_TRACES_SAMPLER_ARG=%s: give the share of traces, 0 to 1", arg)
			}
		}
		root = sdktrace.TraceIDRatioBased(share)
	default:
		return nil, nil, fmt.Errorf("observe: OTEL_TRACES_SAMPLER=%s: give always_on, always_off, traceidratio, or one of these after parentbased_", name)
	}
	if byParent {
		return root, sdktrace.ParentBased(root), nil
	}
	return root, root, nil
}

// A sender exports spans and says in the log when that begins to fail, and when it
// goes on.
type sender struct {
	exporter sdktrace.SpanExporter
	log      *slog.Logger
	ctx      context.Context // ends by cut
	cut      context.CancelFunc
	closed   chan struct{} // by Shutdown

	ended, sent, failed atomic.Int64
	away                bool // of the one goroutine that exports
}

func newSender(e sdktrace.SpanExporter, log *slog.Logger) *sender {
	s := &sender{exporter: e, log: log, closed: make(chan struct{})}
	s.ctx, s.cut = context.WithCancel(context.Background())
	return s
}

// ExportSpans never returns an error: the SDK would write it to stderr each time.
func (s *sender) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	err := s.exporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && !s.away:
		s.log.Warn("traces cannot be sent; they are left out until they can", "error", err)
	case err == nil && s.away:
		s.log.Info("traces are sent again", "left_out", s.ended.Load()-s.sent.Load()-int64(len(spans)))
	}
	if s.away = err != nil; s.away {
		s.failed.Add(int64(len(spans)))
	} else {
		s.sent.Add(int64(len(spans)))
	}
	return nil
}

// Shutdown is the last call, after all spans.
func (s *sender) Shutdown(context.Context) error {
	defer close(s.closed)
	limit, done := context.WithTimeout(context.Background(), time.Second) // it waits for nothing
	defer done()
	return s.exporter.Shutdown(limit)
}

// counted counts the spans that end.
type counted struct {
	sdktrace.SpanProcessor
	ended *atomic.Int64
}

func (c counted) OnEnd(s sdktrace.ReadOnlySpan) {
	if s.SpanContext().IsSampled() {
		c.ended.Add(1)
	}
	c.SpanProcessor.OnEnd(s)
}
