package observe_test

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/millrace/millrace/deploy/observe"
)

// A receiver takes spans as an OpenTelemetry collector does.
type receiver struct {
	*httptest.Server
	t       *testing.T
	mu      sync.Mutex
	spans   []*otlp.Span
	service string // of the last request
	more    chan struct{}
}

// receive starts a receiver and names it in the environment.
func receive(t *testing.T) *receiver {
	r := &receiver{t: t, more: make(chan struct{}, 1)}
	r.Server = httptest.NewServer(http.HandlerFunc(r.take))
	t.Cleanup(r.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", r.URL)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
	return r
}

func (r *receiver) take(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if req.Header.Get("Content-Encoding") == "gzip" && err == nil {
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(body)); err == nil {
			body, err = io.ReadAll(z)
		}
	}
	var sent collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &sent)
	}
	if err != nil || req.URL.Path != "/v1/traces" {
		r.t.Errorf("%s: %v", req.URL.Path, err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	for _, of := range sent.ResourceSpans {
		r.service = attribute(of.Resource.Attributes, "service.name").GetStringValue()
		for _, scope := range of.ScopeSpans {
			r.spans = append(r.spans, scope.Spans...)
		}
	}
	r.mu.Unlock()
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// all returns the spans that are there.
func (r *receiver) all() []*otlp.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*otlp.Span(nil), r.spans...)
}

// span waits for a span of that name, in a trace where that is not empty.
func (r *receiver) span(trace, name string) *otlp.Span {
	r.t.Helper()
	patience := time.After(time.Minute)
	for {
		for _, s := range r.all() {
			if s.Name == name && (trace == "" || hex.EncodeToString(s.TraceId) == trace) {
				return s
			}
		}
		select {
		case <-r.more:
		case <-patience:
			r.t.Fatalf("no span %q came in trace %s", name, trace)
		}
	}
}

func attribute(of []*common.KeyValue, key string) *common.AnyValue {
	for _, a := range of {
		if a.Key == key {
			return a.Value
		}
	}
	return nil
}

// links reports whether a span is linked to another.
func links(from, to *otlp.Span) bool {
	for _, l := range from.Links {
		if bytes.Equal(l.TraceId, to.TraceId) && bytes.Equal(l.SpanId, to.SpanId) {
			return true
		}
	}
	return false
}

func newTraces(t *testing.T, log io.Writer) *observe.Traces {
	t.Helper()
	traces, err := observe.NewTraces(t.Context(), slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(traces.Close)
	return traces
}

// TestAway sends spans to a collector that is not there, that never answers, and
// that refuses them: nothing waits, and the log says so once.
func TestAway(t *testing.T) {
	release := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer hangs.Close()
	defer close(release)
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }))
	defer refuses.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "20")
	t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
	for name, url := range map[string]string{"hangs": hangs.URL, "refuses": refuses.URL, "gone": gone.URL} {
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
		var log bytes.Buffer
		traces := newTraces(t, &log)
		for range 1000 {
			_, span := traces.Request(t.Context(), nil, "POST", "/v1/events/{source}")
			span.Answered(200)
		}
		traces.Close()
		if n := strings.Count(log.String(), "traces cannot be sent"); n != 1 {
			t.Errorf("%s: %d lines about what cannot be sent:\n%s", name, n, &log)
		}
		if !strings.Contains(log.String(), "left_out=1000") {
			t.Errorf("%s: the log does not say how many are left out:\n%s", name, &log)
		}
	}
}

// TestBack sends to a collector that refuses the first spans.
func TestBack(t *testing.T) {
	r := receive(t)
	take := r.Config.Handler
	first := make(chan struct{})
	var once sync.Once
	r.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		refused := false
		once.Do(func() { refused = true })
		if refused {
			w.WriteHeader(http.StatusBadRequest)
			close(first)
			return
		}
		take.ServeHTTP(w, req)
	})
	var log bytes.Buffer
	traces := newTraces(t, &log)
	end := func(route string) {
		_, span := traces.Request(t.Context(), nil, "POST", route)
		span.Answered(200)
	}
	end("a")
	<-first
	end("b")
	r.span("", "POST b")
	m, err := observe.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Traces(traces); err != nil {
		t.Fatal(err)
	}
	traces.Close()
	page := httptest.NewRecorder()
	m.ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, line := range []string{"millrace_spans_ended_total 2\n", "millrace_spans_sent_total 1\n", "millrace_spans_failed_total 1\n"} {
		if !strings.Contains(page.Body.String(), line) {
			t.Errorf("no %q in:\n%s", line, page.Body)
		}
	}
	if text := log.String(); !strings.Contains(text, "traces are sent again") {
		t.Errorf("the log does not say that traces are sent again:\n%s", text)
	}
}

// TestEnvironment reads what OpenTelemetry's variables say.
func TestEnvironment(t *testing.T) {
	const at = "OTEL_EXPORTER_OTLP_ENDPOINT"
	for _, c := range []struct {
		name string
		env  map[string]string
		want string // of the error; "on" or "off" where there is none
	}{
		{"nothing", nil, "off"},
		{"endpoint", map[string]string{at: "http://127.0.0.1:1"}, "on"},
		{"of traces", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, "on"},
		{"disabled", map[string]string{at: "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}, "off"},
		{"none", map[string]string{at: "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}, "off"},
		{"another exporter", map[string]string{at: "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "zipkin"}, "give otlp or none"},
		{"json", map[string]string{at: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "on"},
		{"grpc", map[string]string{at: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "give http/protobuf or http/json"},
		{"no URL", map[string]string{at: "127.0.0.1:4318"}, "give a URL, as http://127.0.0.1:4318"},
		{"another scheme", map[string]string{at: "ftp://127.0.0.1:4318"}, "give a URL"},
		{"ratio", map[string]string{at: "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}, "on"},
		{"bad ratio", map[string]string{at: "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "10%"}, "give the share of traces, 0 to 1"},
		{"NaN", map[string]string{at: "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "NaN"}, "give the share of traces, 0 to 1"},
		{"bad sampler", map[string]string{at: "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "sometimes"}, "give always_on"},
		{"bad resource", map[string]string{at: "http://127.0.0.1:1", "OTEL_RESOURCE_ATTRIBUTES": "a"}, "give key=value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			traces, err := observe.NewTraces(t.Context(), slog.New(slog.DiscardHandler))
			got := "off"
			switch {
			case err != nil:
				got = err.Error()
			case traces != nil:
				traces.Close()
				got = "on"
			}
			if !strings.Contains(got, c.want) || (c.want == "on" || c.want == "off") != (err == nil) {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// TestSecrets names a collector with a password.
func TestSecrets(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:geheim@127.0.0.1:1")
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=geheim")
	var log bytes.Buffer
	traces := newTraces(t, &log)
	_, span := traces.Request(t.Context(), nil, "POST", "a")
	span.Answered(200)
	traces.Close()
	if text := log.String(); strings.Contains(text, "geheim") || !strings.Contains(text, "cannot be sent") {
		t.Errorf("the log:\n%s", text)
	}
}
