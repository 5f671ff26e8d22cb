package offline

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// tradesPlan is seven statistics over four windows of trades.
func tradesPlan(b *testing.B) *features.Plan {
	src := features.Source{
		Name: "trades", KeyedBy: []string{"s"}, EventTime: "t",
		Fields: []features.Field{
			{Name: "s", Kind: expr.String}, {Name: "t", Kind: expr.Time},
			{Name: "p", Kind: expr.Float}, {Name: "v", Kind: expr.Float},
		},
	}
	view := features.View{Name: "trades", Source: "trades", Entity: []string{"s"}}
	for _, size := range []time.Duration{time.Minute, 5 * time.Minute, time.Hour, 24 * time.Hour} {
		for _, f := range [][2]string{{"count", "*"}, {"sum", "p"}, {"mean", "p"}, {"std", "p"}, {"min", "p"}, {"max", "p"}, {"sum", "v"}} {
			name := fmt.Sprintf("f%d", len(view.Features))
			view.Features = append(view.Features, features.Feature{Name: name, Agg: f[0], Of: f[1], Window: features.Window{Size: size}})
		}
	}
	plan, err := features.Compile(features.EventClock, src, view)
	if err != nil {
		b.Fatal(err)
	}
	return plan
}

// trades returns events of 5,000 symbols by Zipf's law, 29 a second of event
// time, one in five late by up to ten seconds, and probes of theirs.
func trades(events, probes int) ([]features.Event, []Probe) {
	r := rand.New(rand.NewPCG(1, 1))
	share := make([]float64, 5000)
	total := 0.0
	for i := range share {
		total += math.Pow(float64(i+1), -1.1)
		share[i] = total
	}
	out := make([]features.Event, events)
	now := 1_700_000_000_000_000.0
	for i := range out {
		now += r.ExpFloat64() * 34_560
		at := now
		if r.IntN(5) == 0 {
			at -= r.Float64() * 9_999_000
		}
		k, _ := slices.BinarySearch(share, r.Float64()*total)
		out[i] = features.Event{
			Time: int64(at), Arrival: int64(now), Order: features.OrderOf(0, int64(i)),
			Values: []features.Value{expr.StringValue(fmt.Sprintf("SYM%04d", k)), expr.TimeValue(int64(at)), expr.FloatValue(50 + r.NormFloat64()), expr.FloatValue(float64(1 + r.IntN(500)))},
		}
	}
	asked := make([]Probe, probes)
	for i := range asked {
		e := &out[r.IntN(events)]
		asked[i] = Probe{Entity: e.Values[0].Str, AsOf: e.Time, KnownBy: features.AnyArrival}
	}
	return out, asked
}

// BenchmarkBuild makes a set of 100,000 probes from a million decoded events,
// 28 features each. The figures are by CPU time, of all threads.
func BenchmarkBuild(b *testing.B) {
	plan := tradesPlan(b)
	events, probes := trades(1_000_000, 100_000)
	for _, arrived := range []bool{false, true} {
		b.Run(fmt.Sprintf("known_by_arrival=%v", arrived), func(b *testing.B) {
			for i := range probes {
				if probes[i].KnownBy = features.AnyArrival; arrived {
					probes[i].KnownBy = probes[i].AsOf
				}
			}
			b.ReportAllocs()
			used := cpuTime(b)
			for b.Loop() {
				if _, err := Build(b.Context(), plan, pointers(events), oneShard, probes, Options{}); err != nil {
					b.Fatal(err)
				}
			}
			used = cpuTime(b) - used
			b.ReportMetric(float64(b.N*len(events))/used.Seconds(), "events/cpu-s")
			b.ReportMetric(float64(b.N*len(probes))/used.Seconds(), "probes/cpu-s")
		})
	}
}

// pointers yields the events themselves.
func pointers(events []features.Event) func(func(*features.Event, error) bool) {
	return func(yield func(*features.Event, error) bool) {
		for i := range events {
			if !yield(&events[i], nil) {
				return
			}
		}
	}
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
