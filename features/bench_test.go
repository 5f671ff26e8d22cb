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

// A trade is an event of the benchmark, as small as a record is: the memory that
// it is read from must not be what is measured.
type trade struct {
	symbol      string
	at, arrival int64
	price, size float64
}

// event decodes t into e, which is used again and again, as the pipeline's are.
func (t *trade) event(e *features.Event, shift int64) {
	e.Time, e.Arrival = t.at+shift, t.arrival+shift
	e.Values = append(e.Values[:0], expr.StringValue(t.symbol), expr.TimeValue(e.Time), expr.FloatValue(t.price), expr.FloatValue(t.size))
}

// trades returns trades of 5,000 symbols by Zipf's law, 29 a second of event
// time, one in five late by up to ten seconds.
func trades(n int) []trade {
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
	events := make([]trade, n)
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
		events[i] = trade{names[k], int64(at), int64(now), 50 + r.NormFloat64(), float64(1 + r.IntN(500))}
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
	var event features.Event
	apply := func(t *trade, shift int64) {
		t.event(&event, shift)
		event.Order++
		key, _ = plan.AppendEntity(key[:0], event.Values)
		r := rows[string(key)]
		if r == nil {
			r = plan.NewRow()
			rows[string(key)] = r
		}
		if ok, _ := shard.Admit(&event); ok {
			shard.Fold(r, &event)
		}
	}
	span := events[len(events)-1].at - events[0].at
	for round := range int64(3) { // more than a day, so that rows have their final size
		for i := range events {
			apply(&events[i], round*span)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		apply(&events[i%len(events)], int64(3+i/len(events))*span)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkVector reads the 28 features of one row.
func BenchmarkVector(b *testing.B) {
	plan := tradesPlan(b)
	row := plan.NewRow()
	shard := plan.NewShard(features.NoTime, features.Counts{})
	events := trades(200_000)
	var e features.Event
	for i := range events {
		events[i].event(&e, 0)
		if ok, _ := shard.Admit(&e); ok && events[i].symbol == "SYM0000" {
			shard.Fold(row, &e)
		}
	}
	var vector []features.Value
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		vector = plan.Vector(vector[:0], row, features.At{AsOf: shard.Newest}, nil)
	}
}
