package observe

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// A MonitorStatus is where the monitors of one model stand, and its alarms.
type MonitorStatus struct {
	Model          string
	Open           int // alarms that are not over
	Unacknowledged int // of these and of those that are over: nobody has acknowledged them
	Undelivered    int // alarms that the webhook has not taken yet
	Monitors       int
	Alarmed        int     // monitors that are beyond their threshold
	Behind         int64   // records of the log that the monitors have not read
	Look           float64 // when they last looked: the event time, seconds since 1970; 0: never
}

// Monitors shows what status returns each time Prometheus asks. It is called once.
func (m *Metrics) Monitors(status func() []MonitorStatus) error {
	figures := []struct {
		name, unit, text string
		of               func(*MonitorStatus) float64
	}{
		{"millrace.alarms.open", "{alarm}", "Alarms that are not over.", func(s *MonitorStatus) float64 { return float64(s.Open) }},
		{"millrace.alarms.unacknowledged", "{alarm}", "Alarms that nobody has acknowledged.", func(s *MonitorStatus) float64 { return float64(s.Unacknowledged) }},
		{"millrace.alarms.undelivered", "{alarm}", "Alarms that the webhook has not taken yet.", func(s *MonitorStatus) float64 { return float64(s.Undelivered) }},
		{"millrace.monitors", "{monitor}", "Monitors of the model.", func(s *MonitorStatus) float64 { return float64(s.Monitors) }},
		{"millrace.monitors.alarmed", "{monitor}", "Monitors that are beyond their threshold.", func(s *MonitorStatus) float64 { return float64(s.Alarmed) }},
		{"millrace.monitors.lag", "{record}", "Records of the log that the monitors have not read.", func(s *MonitorStatus) float64 { return float64(s.Behind) }},
	}
	var all []metric.Observable
	gauges := make([]metric.Float64ObservableGauge, len(figures))
	for i, f := range figures {
		g, err := m.meter.Float64ObservableGauge(f.name, metric.WithUnit(f.unit), metric.WithDescription(f.text))
		if err != nil {
			return fmt.Errorf("observe: %w", err)
		}
		gauges[i], all = g, append(all, g)
	}
	look, err := m.meter.Float64ObservableGauge("millrace.monitors.look_event_time", metric.WithUnit("s"),
		metric.WithDescription("Event time of the last look of the model's monitors, seconds since 1970."))
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	_, err = m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		models := status()
		for i := range models {
			s := &models[i]
			model := metric.WithAttributeSet(attribute.NewSet(attribute.String("model", s.Model)))
			for k, f := range figures {
				o.ObserveFloat64(gauges[k], f.of(s), model)
			}
			if s.Look != 0 {
				o.ObserveFloat64(look, s.Look, model)
			}
		}
		return nil
	}, append(all, look)...)
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	return nil
}
