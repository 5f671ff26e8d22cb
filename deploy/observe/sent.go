package observe

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/metric"
)

// Traces shows how many spans were made and what became of them; with nil, nothing.
// It is called once.
func (m *Metrics) Traces(t *Traces) error {
	if t == nil {
		return nil
	}
	var all [3]metric.Int64ObservableCounter
	var err error
	for i, c := range []struct{ name, text string }{
		{"millrace.spans.ended", "Sampled spans that ended. Those that are neither sent nor failed wait, or found the queue full and were left out."},
		{"millrace.spans.sent", "Spans that the collector has taken."},
		{"millrace.spans.failed", "Spans that the collector did not take."},
	} {
		if all[i], err = m.meter.Int64ObservableCounter(c.name, metric.WithUnit("{span}"), metric.WithDescription(c.text)); err != nil {
			return fmt.Errorf("observe: %w", err)
		}
	}
	_, err = m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(all[0], t.sender.ended.Load())
		o.ObserveInt64(all[1], t.sender.sent.Load())
		o.ObserveInt64(all[2], t.sender.failed.Load())
		return nil
	}, all[0], all[1], all[2])
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	return nil
}
