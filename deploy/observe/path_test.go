package observe_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	otlp "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/millrace/millrace/deploy/observe"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/deploy/serve"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
	"github.com/millrace/millrace/streams/pipeline"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
)

const project = "shop"

// A loop is all of a small project in this process: a source of orders, a view, and
// two models, whose outcomes come over HTTP and from the orders.
type loop struct {
	t       *testing.T
	server  *serve.Server
	host    *pipeline.Host
	metrics *observe.Metrics
	cluster *streams.Cluster
}

func startLoop(t *testing.T, traces *observe.Traces) *loop {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	kafka, err := broker.Start(broker.Options{Log: quiet})
	must(err)
	t.Cleanup(func() { kafka.Close() })
	cluster, err := streams.Connect(streams.Options{Addresses: []string{kafka.Addr()}})
	must(err)
	t.Cleanup(cluster.Close)
	producer := streams.NewProducer(cluster)
	t.Cleanup(producer.Close)
	store, err := pebble.Open(t.TempDir())
	must(err)
	t.Cleanup(func() { store.Close() })
	orders := features.Source{
		Name: "orders", Topic: "orders", KeyedBy: []string{"customer"}, EventTime: "at", Format: "json", Partitions: 1,
		Fields: []features.Field{{Name: "customer", Kind: expr.String}, {Name: "amount", Kind: expr.Float}, {Name: "at", Kind: expr.Time}},
	}.WithDefaults()
	plan, err := features.Compile(features.WallClock, orders, features.View{
		Name: "spend", Source: "orders", Entity: []string{"customer"},
		Features: []features.Feature{{Name: "n", Agg: "count", Of: "*", Window: features.Window{Kind: features.Lifetime}}},
	})
	must(err)
	c := pipeline.Config{Project: project, Plans: []*features.Plan{plan}, Sources: []features.Source{orders}, Clock: features.WallClock, Cluster: cluster, Producer: producer, Store: store, Log: quiet, Tracer: traces.Tracer()}
	out := plan.Outputs()[0]
	var models []serve.ModelConfig
	for name, label := range map[string]feedback.Label{
		"large": {Join: feedback.ByPrediction, Horizon: time.Hour, Binary: true},
		"next":  {Source: "orders", Join: feedback.NextEvent, Value: "amount > 10.0", Horizon: time.Hour, Binary: true},
	} {
		var of *features.Source
		if label.Source != "" {
			of = &orders
		}
		labeler, err := feedback.Compile(name, label, of, []string{"customer"})
		must(err)
		c.Labels = append(c.Labels, labeler)
		models = append(models, serve.ModelConfig{
			Name: name, Task: learn.Binary, Entity: []features.Field{{Name: "customer", Kind: expr.String}}, Labeler: labeler,
			Inputs: []bundle.Input{{Name: "spend.n", Kind: out.Kind, KindName: out.Kind.String(), Fingerprint: out.Fingerprint}},
		})
	}
	l := &loop{t: t, host: pipeline.New(c), cluster: cluster}
	must(l.host.Prepare(t.Context())) // the server must find the topics
	versions, err := registry.Open(filepath.Join(t.TempDir(), "registry.db"))
	must(err)
	t.Cleanup(func() { versions.Close() })
	served, err := serve.NewModels(versions, t.TempDir(), func() ([]ed25519.PublicKey, error) { return nil, nil }, models, quiet)
	must(err)
	must(served.Refresh(t.Context()))
	spool, err := serve.OpenSpool(t.TempDir(), 0, quiet)
	must(err)
	t.Cleanup(func() { spool.Close() })
	l.metrics, err = observe.New()
	must(err)
	must(l.metrics.Host(l.host))
	must(l.metrics.Traces(traces))
	l.server, err = serve.New(serve.Config{Project: project, Sources: c.Sources, Plans: c.Plans, Store: store, Producer: producer, Log: quiet, Models: served, Spool: spool, Metrics: l.metrics, Traces: traces})
	must(err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.host.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l
}

// post sends a body below a span of the caller, which is sampled or not, and returns
// what is answered.
func (l *loop) post(path, parent, body string) map[string]any {
	l.t.Helper()
	w := httptest.NewRecorder()
	for range 12 { // a read that waits takes 5 s, and the machine may be busy
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		r.Header.Set("traceparent", parent)
		r.Header.Set("authorization", "geheim")
		w = httptest.NewRecorder()
		if l.server.ServeHTTP(w, r); w.Code != http.StatusGatewayTimeout {
			break
		}
	}
	answer := map[string]any{}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
		l.t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	return answer
}

// order sends an event and waits until it can be read.
func (l *loop) order(parent string, amount int) {
	l.t.Helper()
	body := fmt.Sprintf(`{"customer": "anna", "amount": %d, "at": %q}`, amount, time.Now().UTC().Format(time.RFC3339Nano))
	positions, err := json.Marshal(l.post("/v1/events/orders", parent, body)["positions"])
	if err != nil {
		l.t.Fatal(err)
	}
	l.post("/get-online-features", parent, `{"features": ["spend:n"], "entities": {"customer": ["anna"]}, "wait_ms": 5000, "at_least": `+string(positions)+`}`)
}

// headers returns the traceparents of a topic's records.
func (l *loop) headers(topic string, partitions int) (all []string) {
	l.t.Helper()
	for p := range partitions {
		r := l.cluster.Reader(topic, p, 0)
		for {
			batch, err := r.Poll(l.t.Context())
			if err != nil {
				l.t.Fatal(err)
			}
			for _, rec := range batch.Records {
				for _, h := range rec.Headers {
					all = append(all, h.Key+"="+string(h.Value))
				}
			}
			if batch.Next >= batch.HighWater {
				break
			}
		}
		r.Close()
	}
	return all
}

const (
	traceA = "0af7651916cd43dd8448eb211c80319c"
	traceB = "1bf7651916cd43dd8448eb211c80319c"
	traceC = "2cf7651916cd43dd8448eb211c80319c"
	spanA  = "b7ad6b7169203331"
)

func below(t *testing.T, child, parent *otlp.Span) {
	t.Helper()
	if !bytes.Equal(child.ParentSpanId, parent.SpanId) || !bytes.Equal(child.TraceId, parent.TraceId) {
		t.Errorf("%q is not below %q", child.Name, parent.Name)
	}
	if child.EndTimeUnixNano < child.StartTimeUnixNano {
		t.Errorf("%q ends before it begins", child.Name)
	}
}

// TestPath follows an event, a lookup, a prediction and its outcome.
func TestPath(t *testing.T) {
	r := receive(t)
	l := startLoop(t, newTraces(t, io.Discard))
	l.order("00-"+traceA+"-"+spanA+"-01", 1)
	l.post("/v1/predict/large", "00-"+traceB+"-"+spanA+"-01", `{"id": "p1", "entity": {"customer": "anna"}}`)
	l.post("/v1/outcomes/large", "00-"+traceC+"-"+spanA+"-01", fmt.Sprintf(`{"id": "p1", "value": true, "time": %q}`, time.Now().UTC().Add(time.Second).Format(time.RFC3339)))

	in := r.span(traceA, "POST /v1/events/{source}")
	if hex.EncodeToString(in.ParentSpanId) != spanA || in.Kind != otlp.Span_SPAN_KIND_SERVER || attribute(in.Attributes, "http.response.status_code").GetIntValue() != 200 {
		t.Errorf("the request's span is %v", in)
	}
	sent := r.span(traceA, "send orders")
	below(t, sent, in)
	applied := r.span(traceA, "apply spend")
	below(t, applied, sent)
	if got := attribute(applied.Attributes, "messaging.batch.message_count").GetIntValue(); got != 1 || attribute(applied.Attributes, "messaging.kafka.offset").GetIntValue() != 0 {
		t.Errorf("the events that were applied: %v", applied.Attributes)
	}
	below(t, r.span(traceA, "lookup"), r.span(traceA, "POST /get-online-features"))

	predict := r.span(traceB, "predict large")
	below(t, predict, r.span(traceB, "POST /v1/predict/{model}"))
	below(t, r.span(traceB, "lookup"), predict)
	below(t, r.span(traceB, "send shop.feedback"), predict)
	own := observe.PredictionTrace("large", "p1")
	// As others compute it: printf 'millrace.prediction\0large\0p1' | sha256sum
	if got := own.TraceID().String() + own.SpanID().String(); got != "b3dc07ee83c5d495947858b420d857a57d1cf74d8ef0796b" {
		t.Errorf("the trace and span of the prediction are %s", got)
	}
	first := r.span(own.TraceID().String(), "prediction large")
	if hex.EncodeToString(first.SpanId) != own.SpanID().String() || len(first.ParentSpanId) != 0 || !links(first, predict) || !links(predict, first) {
		t.Errorf("the prediction's first span is %v", first)
	}
	if attribute(predict.Attributes, "millrace.prediction.id").GetStringValue() != "p1" || attribute(predict.Attributes, "millrace.model.version") == nil || attribute(predict.Attributes, "millrace.model").GetStringValue() != "large" {
		t.Errorf("the prediction's attributes are %v", predict.Attributes)
	}

	outcome := r.span(own.TraceID().String(), "outcome large")
	below(t, outcome, first)
	if !links(outcome, r.span(traceC, "send shop.feedback")) {
		t.Errorf("the span of the outcome is not linked to where it came from: %v", outcome.Links)
	}
	if r.service != "millrace" {
		t.Errorf("the service is %q", r.service)
	}
	for _, s := range r.all() {
		if text := s.String(); strings.Contains(text, "anna") || strings.Contains(text, "geheim") {
			t.Errorf("a span says more than what was done: %s", text)
		}
	}
}

// TestPathOfEvents has outcomes that are events.
func TestPathOfEvents(t *testing.T) {
	r := receive(t)
	l := startLoop(t, newTraces(t, io.Discard))
	l.order("00-"+traceA+"-"+spanA+"-01", 1)
	l.post("/v1/predict/next", "00-"+traceB+"-"+spanA+"-01", `{"id": "p1", "entity": {"customer": "anna"}}`)
	l.order("00-"+traceC+"-"+spanA+"-01", 20)
	outcome := r.span(observe.PredictionTrace("next", "p1").TraceID().String(), "outcome next")
	if !links(outcome, r.span(traceC, "send orders")) {
		t.Errorf("the span of the outcome is not linked to the event: %v", outcome.Links)
	}
}

// TestNotSampled has callers who do not want their requests traced: their records
// have no headers. A prediction has a trace of its own where the sampler says so, and
// its outcome the same.
func TestNotSampled(t *testing.T) {
	r := receive(t)
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
	t.Setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
	traces := newTraces(t, io.Discard)
	l := startLoop(t, traces)
	no := "00-" + traceA + "-" + spanA + "-00"
	l.order(no, 1)
	const n = 20
	followed := 0
	for i := range n {
		id := fmt.Sprint("p", i)
		l.post("/v1/predict/large", no, fmt.Sprintf(`{"id": %q, "entity": {"customer": "anna"}}`, id))
		l.post("/v1/outcomes/large", no, fmt.Sprintf(`{"id": %q, "value": true, "time": %q}`, id, time.Now().UTC().Add(time.Second).Format(time.RFC3339)))
		if !traces.Follows("large", id) {
			continue
		}
		followed++
		trace := observe.PredictionTrace("large", id).TraceID().String()
		below(t, r.span(trace, "outcome large"), r.span(trace, "prediction large"))
	}
	if followed == 0 || followed == n {
		t.Fatalf("%d of %d predictions are followed", followed, n)
	}
	traces.Close()
	if all := r.all(); len(all) != 2*followed {
		t.Errorf("%d spans, want %d", len(all), 2*followed)
	}
	if h := append(l.headers("orders", 1), l.headers(feedback.Topic(project), 4)...); len(h) != 0 {
		t.Errorf("records have the headers %v", h)
	}
}

// TestOff has a caller whose requests are traced, and nobody to send spans to.
func TestOff(t *testing.T) {
	traces := newTraces(t, io.Discard)
	if traces != nil || traces.Tracer() != nil {
		t.Fatal("traces are on")
	}
	l := startLoop(t, nil)
	l.order("00-"+traceA+"-"+spanA+"-01", 1)
	l.post("/v1/predict/large", "00-"+traceB+"-"+spanA+"-01", `{"id": "p1", "entity": {"customer": "anna"}}`)
	if h := append(l.headers("orders", 1), l.headers(feedback.Topic(project), 4)...); len(h) != 0 {
		t.Errorf("records have the headers %v", h)
	}
}
