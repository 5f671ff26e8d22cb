package observe

import (
	"context"
	"fmt"
	"math"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// A Shard is where the work on one partition stands.
type Shard struct {
	Stage     string // pipeline or rekey
	View      string
	Topic     string
	Partition int
	Running   bool  // false: it starts, waits or has stopped
	Lag       int64 // records that are in the log and not yet committed
	Newest    int64 // newest event time, microseconds since the Unix epoch; math.MinInt64: none yet

	// Totals since the beginning of the log.
	Applied, Dropped, Duplicates, Dead, Truncated, Nonfinite int64
}

// totals are the counters of a shard.
var totals = []struct {
	name, unit, text string
	of               func(*Shard) int64
}{
	{"millrace.events.applied", "{event}", "Events folded into a row.", func(s *Shard) int64 { return s.Applied }},
	{"millrace.events.dropped", "{event}", "Events that the view's where left out.", func(s *Shard) int64 { return s.Dropped }},
	{"millrace.events.duplicate", "{event}", "Events whose id was there already.", func(s *Shard) int64 { return s.Duplicates }},
	{"millrace.events.dead", "{event}", "Records that went to the dead letters.", func(s *Shard) int64 { return s.Dead }},
	{"millrace.values.truncated", "{value}", "Values that left a row before their time because there were too many.", func(s *Shard) int64 { return s.Truncated }},
	{"millrace.values.nonfinite", "{value}", "Results of expressions that were not finite and count as missing.", func(s *Shard) int64 { return s.Nonfinite }},
}

// Pipeline shows the shards that status returns each time Prometheus asks. It
// is called once.
func (m *Metrics) Pipeline(status func() []Shard) error {
	var all []metric.Observable
	counters := make([]metric.Int64ObservableCounter, len(totals))
	var err error
	for i, t := range totals {
		if counters[i], err = m.meter.Int64ObservableCounter(t.name, metric.WithUnit(t.unit), metric.WithDescription(t.text)); err != nil {
			return fmt.Errorf("observe: %w", err)
		}
		all = append(all, counters[i])
	}
	gauge := func(name, unit, text string) metric.Float64ObservableGauge {
		g, bad := m.meter.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(text))
		if bad != nil && err == nil {
			err = bad
		}
		all = append(all, g)
		return g
	}
	running := gauge("millrace.shard.running", "{shard}", "Whether the shard is at work: 1, or 0 while it starts, waits or is stopped.")
	lag := gauge("millrace.shard.lag", "{record}", "Records that are in the log and not yet committed.")
	newest := gauge("millrace.shard.newest_event_time", "s", "Newest event time applied, seconds since 1970.")
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	_, err = m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		shards := status()
		for i := range shards {
			s := &shards[i]
			labels := metric.WithAttributeSet(s.labels())
			for k, t := range totals {
				o.ObserveInt64(counters[k], t.of(s), labels)
			}
			at := 0.0
			if s.Running {
				at = 1
			}
			o.ObserveFloat64(running, at, labels)
			o.ObserveFloat64(lag, float64(s.Lag), labels)
			if s.Newest != math.MinInt64 {
				o.ObserveFloat64(newest, float64(s.Newest)/1e6, labels)
			}
		}
		return nil
	}, all...)
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	return nil
}

func (s *Shard) labels() attribute.Set {
	return attribute.NewSet(
		attribute.String("stage", s.Stage),
		attribute.String("view", s.View),
		attribute.String("topic", s.Topic),
		attribute.Int("partition", s.Partition),
	)
}
