package whatif

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/offline"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/codec"
	"github.com/millrace/millrace/streams/lake"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/eval"
	"github.com/millrace/millrace/trainer/learn"
)

// The benchmark's world: events of symbols by Zipf's law, 29 a second.
const (
	benchEvents   = 1_000_000
	benchSymbols  = 5000
	benchExamples = 10_000
)

// trades returns the view, and events in the order of the log.
func trades(b *testing.B) (*features.Plan, []features.Event) {
	src := features.Source{
		Name: "trades", KeyedBy: []string{"s"}, EventTime: "t",
		Fields: []features.Field{
			{Name: "s", Kind: expr.String}, {Name: "t", Kind: expr.Time, Unit: features.EpochMicros},
			{Name: "p", Kind: expr.Float}, {Name: "v", Kind: expr.Float},
		},
	}
	view := features.View{Name: "trades", Source: "trades", Entity: []string{"s"}}
	for _, size := range []time.Duration{5 * time.Minute, time.Hour, 24 * time.Hour} {
		for _, agg := range []string{"count", "mean", "std", "max"} {
			f := features.Feature{Name: fmt.Sprintf("%s_%s", agg, size), Agg: agg, Of: "p", Window: features.Window{Size: size}}
			f.Name = fmt.Sprintf("%s_%dm", agg, int(size.Minutes()))
			view.Features = append(view.Features, f)
		}
	}
	plan, err := features.Compile(features.EventClock, src, view)
	if err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	share, total := make([]float64, benchSymbols), 0.0
	for i := range share {
		total += math.Pow(float64(i+1), -1.1)
		share[i] = total
	}
	events, now := make([]features.Event, benchEvents), 1_700_000_000_000_000.0
	for i := range events {
		now += r.ExpFloat64() * 34_560
		k, _ := slices.BinarySearch(share, r.Float64()*total)
		events[i] = features.Event{
			Time: int64(now), Arrival: time.Now().UnixMicro(), Order: features.OrderOf(0, int64(i)),
			Values: []features.Value{expr.StringValue(fmt.Sprintf("SYM%04d", k)), expr.TimeValue(int64(now)), expr.FloatValue(50 + r.NormFloat64()), expr.FloatValue(float64(1 + r.IntN(500)))},
		}
	}
	return plan, events
}

// BenchmarkAsk asks with a million events and 10,000 examples in the lake: for
// the first time, of a window's other length, and what was asked before. The
// rows that equal what was served are reported, too.
func BenchmarkAsk(b *testing.B) {
	plan, events := trades(b)
	cfg := tradesLake(b, plan, events)
	for _, past := range []int{DefaultPast, benchExamples} {
		windows := func(i int) map[string]string {
			return map[string]string{"trades.std_60m": fmt.Sprintf("%dm", 61+i%500)}
		}
		do := func(b *testing.B, l *Lab, w map[string]string) {
			a, err := l.Ask(b.Context(), Question{Model: "up", Entity: map[string]string{"s": "SYM0042"}, Windows: w, Past: past}, nil)
			if err != nil || a.Past.Rows != past || !a.feature(b, "trades.std_60m").Changed {
				b.Fatal(a, err)
			}
			b.ReportMetric(float64(a.Past.Equal), "equal")
		}
		b.Run(fmt.Sprintf("past=%d/first", past), func(b *testing.B) {
			for b.Loop() {
				do(b, New(cfg), windows(0))
			}
		})
		l, i := New(cfg), 0
		b.Run(fmt.Sprintf("past=%d/dragged", past), func(b *testing.B) {
			do(b, l, windows(0))
			for b.Loop() {
				i++
				do(b, l, windows(i))
			}
		})
		b.Run(fmt.Sprintf("past=%d/again", past), func(b *testing.B) {
			do(b, l, windows(1))
			for b.Loop() {
				do(b, l, windows(1))
			}
		})
	}
}

// tradesLake writes the events and the examples of what was served after some of
// them, and returns a Lab's config.
func tradesLake(b *testing.B, plan *features.Plan, events []features.Event) Config {
	m := Model{Name: "up", Task: learn.Binary, Entity: plan.Fields()[:1], Label: feedback.Label{Horizon: time.Hour}, Gate: eval.Gate{}.WithDefaults()}
	table := lake.Examples{Project: "bench", Model: m.Name, Entity: []string{"s"}}
	for _, o := range plan.Outputs() {
		in := bundle.Input{Name: "trades." + o.Name, Kind: o.Kind, KindName: o.Kind.String(), Fingerprint: o.Fingerprint}
		m.Inputs, table.Inputs = append(m.Inputs, in), append(table.Inputs, features.Field{Name: in.Name, Kind: in.Kind})
	}
	table.Set = bundle.SetID(m.Inputs)
	var probes []offline.Probe
	r := rand.New(rand.NewPCG(2, 2))
	for len(probes) < benchExamples {
		e := &events[r.IntN(len(events))]
		probes = append(probes, offline.Probe{Entity: e.Values[0].Str, AsOf: e.Time, KnownBy: features.AnyArrival})
	}
	slices.SortFunc(probes, func(x, y offline.Probe) int { return int(x.AsOf - y.AsOf) })
	log := func(yield func(*features.Event, error) bool) {
		for i := range events {
			if !yield(&events[i], nil) {
				return
			}
		}
	}
	shardOf := func(_ *features.Event, entity []byte) int { return streams.PartitionOf(entity, plan.Source.Partitions) }
	served, err := offline.Build(b.Context(), plan, log, shardOf, probes, offline.Options{})
	if err != nil {
		b.Fatal(err)
	}
	var sent, told []streams.Record
	for i := range events {
		e := &events[i]
		sent = append(sent, streams.Record{Key: []byte(e.Values[0].Str), Value: codec.AppendJSON(nil, plan.Fields(), e.Values), Time: e.Arrival, Partition: -1})
	}
	for i, p := range probes {
		x := feedback.Example{Kind: feedback.Labelled, Seq: int64(i + 1), Label: float64(r.IntN(2)), Known: p.AsOf + 1, Happened: p.AsOf + 1, Outcome: "o"}
		x.Prediction = feedback.Prediction{
			ID: fmt.Sprint(i), Model: m.Name, Key: p.Entity, Time: p.AsOf, Set: table.Set, Vector: served.AppendVector(nil, i),
			Entity: []features.Named{{Name: "s", Expr: p.Entity}},
		}
		told = append(told, streams.Record{Key: []byte(p.Entity), Value: x.AppendJSON(nil), Partition: -1})
	}
	root := b.TempDir()
	if err := archive(b.Context(), root, plan.Source, sent, table, told); err != nil {
		b.Fatal(err)
	}
	view := plan.View
	view.Features = slices.Clone(view.Features)
	for i := range view.Features {
		view.Features[i].Window.Hop = 0 // as it was written
	}
	return Config{Project: "bench", Models: []Model{m}, Plans: []*features.Plan{plan}, Views: []features.View{view}, Lake: root, ParseLength: parseLength}
}
