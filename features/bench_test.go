package features_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// tradesPlan is seven statistics over four windows of trades.
func tradesPlan(tb testing.TB) *features.Plan {
	src := features.Source{
		Name: "trades", KeyedBy: []string{"s"}, EventTime: "t",
		Fields: []features.Field{
			{Name: "s", Kind: expr.String}, {Name: "t", Kind: expr.Time, Unit: features.EpochMillis},
			{Name: "p", Kind: expr.Float}, {Name: "v", Kind: expr.Float},
		},
	}
	view := features.View{Name: "trades", Source: "trades", Entity: []string{"s"}}
	for _, size := range []time.Duration{time.Minute, 5 * time.Minute, time.Hour, 24 * time.Hour} {
		for _, f := range [][2]string{{"count", "*"}, {"sum", "p"}, {"mean", "p"}, {"std", "p"}, {"min", "p"}, {"max", "p"}, {"sum", "v"}} {
			name := fmt.Sprintf("%s_%s_%.0fs", f[0], map[string]string{"*": "all", "p": "price", "v": "size"}[f[1]], size.Seconds())
			view.Features = append(view.Features, features.Feature{Name: name, Agg: f[0], Of: f[1], Window: features.Window{Size: size}})
		}
	}
	plan, err := features.Compile(features.EventClock, src, view)
	if err != nil {
		tb.Fatal(err)
	}
	return plan
}

// trades returns events of 5,000 symbols by Zipf's law, 29 a second of event
// time, one in five late by up to ten seconds.
func trades(n int) []features.Event {
	r := rand.New(rand.NewPCG(1, 1))
	cdf := make([]float64, 5000)
	total := 0.0
	for i := range cdf {
		total += math.Pow(float64(i+1), -1.1)
		cdf[i] = total
	}
	names := make([]string, len(cdf))
	for i := range names {
		names[i] = fmt.Sprintf("SYM%04d", i)
	}
	events := make([]features.Event, n)
	now := 1_700_000_000_000_000.0
	for i := range events {
		now += r.ExpFloat64() * 34_560
		at := now
		if r.IntN(5) == 0 {
			at -= r.Float64() * 9_999_000
		}
		k, x := 0, r.Float64()*total
		for lo, hi := 0, len(cdf); lo < hi; {
			if k = (lo + hi) / 2; cdf[k] < x {
				lo = k + 1
			} else {
				hi = k
			}
			k = lo
		}
		k = min(k, len(cdf)-1)
		events[i] = features.Event{
			Time: int64(at), Arrival: int64(now), Order: features.OrderOf(0, int64(i)),
			Values: []features.Value{expr.StringValue(names[k]), expr.TimeValue(int64(at)), expr.FloatValue(50 + r.NormFloat64()), expr.FloatValue(float64(1 + r.IntN(500)))},
		}
	}
	return events
}

// BenchmarkApply is the core alone: entity, row, judgement and fold of one
// event, 28 features. An operation is an event.
func BenchmarkApply(b *testing.B) {
	plan := tradesPlan(b)
	events := trades(1_000_000)
	rows := map[string]*features.Row{}
	shard := plan.NewShard(features.NoTime, features.Counts{})
	var key []byte
	apply := func(e *features.Event) {
		key, _ = plan.AppendEntity(key[:0], e.Values)
		r := rows[string(key)]
		if r == nil {
			r = plan.NewRow()
			rows[string(key)] = r
		}
		if ok, _ := shard.Admit(e); ok {
			shard.Fold(r, e)
		}
	}
	for i := range events { // a day of tiles, so that rows have their final size
		apply(&events[i])
	}
	span := events[len(events)-1].Time - events[0].Time
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		e := &events[i%len(events)]
		e.Time += span
		e.Arrival += span
		apply(e)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkVector reads the 28 features of one row.
func BenchmarkVector(b *testing.B) {
	plan := tradesPlan(b)
	row := plan.NewRow()
	shard := plan.NewShard(features.NoTime, features.Counts{})
	events := trades(200_000)
	for i := range events {
		e := &events[i]
		if ok, _ := shard.Admit(e); ok && e.Values[0].Str == "SYM0000" {
			shard.Fold(row, e)
		}
	}
	var vector []features.Value
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		vector = plan.Vector(vector[:0], row, features.At{AsOf: shard.Newest}, nil)
	}
}
