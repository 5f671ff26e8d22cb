package observe

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams/pipeline"
)

// Host shows what a host does each time that Prometheus asks: its shards, how long
// records took to become readable, and what became of predictions and outcomes. It
// is called once, and Pipeline not at all.
func (m *Metrics) Host(h *pipeline.Host) error {
	if err := m.Pipeline(func() []Shard { return Shards(h.Status()) }); err != nil {
		return err
	}
	if err := m.join(h); err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	if err := m.registry.Register(newReadable(h.Readable)); err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	return nil
}

// Shards returns the figures of a pipeline.
func Shards(all []pipeline.Status) []Shard {
	out := make([]Shard, len(all))
	for i := range all {
		s, c := &all[i], &all[i].Progress.Counts
		out[i] = Shard{
			Stage: s.Stage, View: s.View, Topic: s.Topic, Partition: s.Partition,
			Running: s.Phase == pipeline.Running, Lag: s.Lag(), Newest: s.Progress.Newest,
			Applied: c.Applied, Dropped: c.Dropped, Duplicates: c.Duplicates, Dead: c.Dead,
			Truncated: c.Truncated, Nonfinite: c.Nonfinite,
		}
	}
	return out
}

// predictionStates and outcomeStates are what can have become of them: see feedback.Stats.
var predictionStates = []struct {
	name string
	of   func(*feedback.Stats) int64
}{
	{"pending", func(s *feedback.Stats) int64 { return s.Predictions.Pending }},
	{"matched", func(s *feedback.Stats) int64 { return s.Predictions.Matched }},
	{"unanswered", func(s *feedback.Stats) int64 { return s.Predictions.Unanswered }},
}

var outcomeStates = []struct {
	name string
	of   func(*feedback.Stats) int64
}{
	{"effective", func(s *feedback.Stats) int64 { return s.Outcomes.Effective }},
	{"superseded", func(s *feedback.Stats) int64 { return s.Outcomes.Superseded }},
	{"duplicate", func(s *feedback.Stats) int64 { return s.Outcomes.Duplicate }},
	{"late", func(s *feedback.Stats) int64 { return s.Outcomes.Late }},
	{"invalid", func(s *feedback.Stats) int64 { return s.Outcomes.Invalid }},
	{"orphan", func(s *feedback.Stats) int64 { return s.Outcomes.Orphan }},
	{"waiting", func(s *feedback.Stats) int64 { return s.Outcomes.Waiting }},
}

// join shows what became of predictions and outcomes, by the partition of the
// feedback topic: each is with one process.
func (m *Metrics) join(h *pipeline.Host) error {
	predictions, err := m.meter.Int64ObservableGauge("millrace.join.predictions", metric.WithUnit("{prediction}"),
		metric.WithDescription("Predictions by what became of them: pending, matched or unanswered."))
	if err != nil {
		return err
	}
	outcomes, err := m.meter.Int64ObservableGauge("millrace.join.outcomes", metric.WithUnit("{outcome}"),
		metric.WithDescription("Outcomes by what became of them: effective ones are labels."))
	if err != nil {
		return err
	}
	_, err = m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for _, s := range h.Status() {
			if s.Join == nil {
				continue
			}
			partition := attribute.Int("partition", s.Partition)
			for _, x := range predictionStates {
				o.ObserveInt64(predictions, x.of(s.Join), metric.WithAttributeSet(attribute.NewSet(partition, attribute.String("state", x.name))))
			}
			for _, x := range outcomeStates {
				o.ObserveInt64(outcomes, x.of(s.Join), metric.WithAttributeSet(attribute.NewSet(partition, attribute.String("state", x.name))))
			}
		}
		return nil
	}, predictions, outcomes)
	return err
}

// A readable shows the histogram that hosts count into. OpenTelemetry has none
// that is read when it is asked for, and to record each event would cost more than
// some of them cost to apply.
type readable struct {
	counts func() []pipeline.Readable
	about  *prometheus.Desc
	edges  []float64
}

func newReadable(counts func() []pipeline.Readable) *readable {
	return &readable{counts, prometheus.NewDesc("millrace_event_readable_seconds",
		"How long it took from a record's arrival in its topic until lookups see it: to the end of the commit that has it.",
		[]string{"view"}, nil), pipeline.ReadableEdges()}
}

// Describe implements prometheus.Collector.
func (r *readable) Describe(out chan<- *prometheus.Desc) { out <- r.about }

// Collect implements prometheus.Collector.
func (r *readable) Collect(out chan<- prometheus.Metric) {
	for _, v := range r.counts() {
		total, buckets := int64(0), make(map[float64]uint64, len(r.edges))
		for i, n := range v.Counts {
			total += n
			if i < len(r.edges) {
				buckets[r.edges[i]] = uint64(total)
			}
		}
		out <- prometheus.MustNewConstHistogram(r.about, uint64(total), v.Seconds, buckets, v.View)
	}
}
