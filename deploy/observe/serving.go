package observe

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Serving is what a server has of models.
type Serving struct {
	Waiting int64 // predictions on the disk that the log does not have yet
	Spool   int64 // bytes that they take
	Room    int64 // bytes that they may take
	Models  []Model
}

// A Model is one that is served.
type Model struct {
	Name           string
	Version        int // that answers; 0: the base rate
	Shadow         int // beside it; -1: none
	Swaps          int64
	ShadowFailures int64
}

// predictions are what is measured of each prediction.
type predictions struct {
	count metric.Int64Counter
	took  metric.Float64Histogram
}

func newPredictions(meter metric.Meter) (p predictions, err error) {
	if p.count, err = meter.Int64Counter("millrace.predictions", metric.WithUnit("{prediction}"),
		metric.WithDescription("Predictions that were given, by the version that answered.")); err != nil {
		return p, err
	}
	p.took, err = meter.Float64Histogram("millrace.prediction.duration", metric.WithUnit("s"),
		metric.WithDescription("How long predictions took, until the log or the disk had them."),
		metric.WithExplicitBucketBoundaries(requestBuckets...))
	return p, err
}

// Prediction counts a prediction that was given.
func (m *Metrics) Prediction(model string, version int, took time.Duration) {
	ctx := context.Background()
	name := attribute.String("model", model)
	m.predictions.count.Add(ctx, 1, metric.WithAttributeSet(attribute.NewSet(name, attribute.Int("version", version))))
	m.predictions.took.Record(ctx, took.Seconds(), metric.WithAttributeSet(attribute.NewSet(name)))
}

// Serving shows what status returns each time Prometheus asks. It is called
// once.
func (m *Metrics) Serving(status func() Serving) error {
	var all []metric.Observable
	var errs error
	gauge := func(name, unit, text string) metric.Int64ObservableGauge {
		g, err := m.meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(text))
		if err != nil && errs == nil {
			errs = err
		}
		all = append(all, g)
		return g
	}
	counter := func(name, unit, text string) metric.Int64ObservableCounter {
		c, err := m.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(text))
		if err != nil && errs == nil {
			errs = err
		}
		all = append(all, c)
		return c
	}
	waiting := gauge("millrace.spool.predictions", "{prediction}", "Predictions on the disk that the log does not have yet.")
	size := gauge("millrace.spool.size", "By", "Bytes of the spool.")
	room := gauge("millrace.spool.limit", "By", "Bytes that the spool may take; beyond it predictions are refused.")
	version := gauge("millrace.model.version", "{version}", "The version that answers: 0 is the base rate.")
	shadow := gauge("millrace.model.shadow", "{version}", "The version beside it: -1 is none.")
	swaps := counter("millrace.model.swaps", "{swap}", "How often another version came to answer.")
	failures := counter("millrace.model.shadow_failures", "{prediction}", "Predictions for which the version in the shadow had no score.")
	if errs != nil {
		return fmt.Errorf("observe: %w", errs)
	}
	_, err := m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := status()
		o.ObserveInt64(waiting, s.Waiting)
		o.ObserveInt64(size, s.Spool)
		o.ObserveInt64(room, s.Room)
		for _, x := range s.Models {
			name := metric.WithAttributeSet(attribute.NewSet(attribute.String("model", x.Name)))
			o.ObserveInt64(version, int64(x.Version), name)
			o.ObserveInt64(shadow, int64(x.Shadow), name)
			o.ObserveInt64(swaps, x.Swaps, name)
			o.ObserveInt64(failures, x.ShadowFailures, name)
		}
		return nil
	}, all...)
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	return nil
}
