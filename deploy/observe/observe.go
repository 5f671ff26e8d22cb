// Package observe measures a process with OpenTelemetry and shows the figures
// to Prometheus, and traces events, predictions and outcomes.
//
// What the pipeline counts is read from its status when Prometheus asks, so
// that applying events pays nothing for being measured.
package observe

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
)

const scope = "github.com/millrace/millrace"

// requestBuckets are the edges of the histogram of requests, in seconds. A
// lookup takes a fraction of a millisecond; waits and events that a broker has
// yet to acknowledge take up to ten seconds.
var requestBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// Metrics are the figures of one process, and the handler that shows them in
// Prometheus' text format. Its methods may be called concurrently.
type Metrics struct {
	http.Handler
	registry *prometheus.Registry
	provider *sdk.MeterProvider
	meter    metric.Meter
	requests metric.Float64Histogram

	predictions predictions
}

// New returns the metrics of a process, with those of the Go runtime and of the
// process itself (CPU, memory, open files).
func New() (*Metrics, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	reader, err := exporter.New(exporter.WithRegisterer(registry), exporter.WithoutScopeInfo())
	if err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	provider := sdk.NewMeterProvider(
		sdk.WithReader(reader),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", "millrace"))),
		// The default of 2,000 would fold the shards beyond it into one. Views,
		// partitions and routes are bounded by the project.
		sdk.WithCardinalityLimit(0),
	)
	m := &Metrics{
		Handler:  promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}),
		registry: registry,
		provider: provider,
		meter:    provider.Meter(scope),
	}
	m.requests, err = m.meter.Float64Histogram("http.server.request.duration",
		metric.WithUnit("s"),
		metric.WithDescription("How long requests took, from their header to the end of the answer."),
		metric.WithExplicitBucketBoundaries(requestBuckets...),
	)
	if err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	if m.predictions, err = newPredictions(m.meter); err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	return m, nil
}

// Close ends the metrics. Nothing is measured after it.
func (m *Metrics) Close(ctx context.Context) error {
	if err := m.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("observe: close: %w", err)
	}
	return nil
}

// methods are those that are told apart; a caller can invent any number of
// others.
var methods = map[string]bool{http.MethodGet: true, http.MethodHead: true, http.MethodPost: true, http.MethodPut: true, http.MethodDelete: true, http.MethodOptions: true, http.MethodPatch: true}

// Request counts a request that was answered. Route is the pattern that its
// path matched, not the path.
func (m *Metrics) Request(method, route string, status int, took time.Duration) {
	if !methods[method] {
		method = "_OTHER"
	}
	m.requests.Record(context.Background(), took.Seconds(), metric.WithAttributeSet(attribute.NewSet(
		attribute.String("http.request.method", method),
		attribute.String("http.route", route),
		attribute.Int("http.response.status_code", status),
	)))
}
