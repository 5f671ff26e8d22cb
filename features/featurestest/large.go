package featurestest

import (
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/features"
)

// Large returns the world of a seed with n events of the given number of
// entities, for long runs through real topics: event times from 2024 on, and
// arrivals in whole milliseconds, as Kafka keeps them. Its view has a window of
// every kind, where, a derivation and texts, and its source remembers ids.
// Nothing is too late for it, since a lifetime has no horizon.
func Large(seed uint64, n, entities int) *World {
	const unit = time.Minute
	w := &World{
		Clock: features.EventClock,
		r:     rand.New(rand.NewPCG(seed, 0x6c617267)),
		where: whereAbove2,
	}
	w.source(unit)
	w.Source.ID, w.Source.Dedup = "id", 40*unit
	w.Source.MaxAhead, w.Source.MaxJump = 20*unit, 100*unit
	w.View = features.View{
		Name: "view", Source: "source", Entity: []string{"key"}, Where: "n > 2",
		Derive:   []features.Named{{Name: "d", Expr: "x * 2 - n"}},
		Features: largeFeatures(unit),
	}
	w.generate(unit, time.Date(2024, 2, 28, 22, 0, 0, 0, time.UTC).UnixMicro(), n, entities, unit.Microseconds()/8, 1)
	for i := range w.Events {
		e := &w.Events[i]
		e.Arrival -= e.Arrival % 1000
	}
	return w
}

func largeFeatures(unit time.Duration) []features.Feature {
	sliding := features.Window{Size: 30 * unit, Hop: 2 * unit}
	exact := features.Window{Size: 25 * unit, Exact: true, MaxValues: 20}
	tumbling := features.Window{Kind: features.Tumbling, Size: 15 * unit, Offset: 7 * time.Second}
	open := tumbling
	open.Open = true
	lifetime := features.Window{Kind: features.Lifetime}
	return []features.Feature{
		{Name: "count", Agg: "count", Of: "*", Window: sliding},
		{Name: "sum", Agg: "sum", Of: "d", Window: sliding},
		{Name: "std", Agg: "std", Of: "x", Window: sliding},
		{Name: "exact_mean", Agg: "mean", Of: "d", Window: exact},
		{Name: "exact_last", Agg: "last", Of: "s", Window: exact},
		{Name: "exact_delta", Agg: "delta", Of: "n", Window: exact},
		{Name: "closed_max", Agg: "max", Of: "x", Window: tumbling},
		{Name: "open_sum", Agg: "sum", Of: "n", Window: open},
		{Name: "first", Agg: "first", Of: "s", Window: lifetime},
		{Name: "last", Agg: "last", Of: "s", Window: lifetime},
		{Name: "variance", Agg: "variance", Of: "d", Window: lifetime},
	}
}

// Split returns the world of each shard when the events lie in so many
// partitions by partitionOf their key. An event's Order is its place in its
// partition.
func (w *World) Split(partitions int, partitionOf func(key string) int) []*World {
	shards := make([]*World, partitions)
	for i := range shards {
		shards[i] = &World{Clock: w.Clock, Source: w.Source, View: w.View, where: w.where}
	}
	for _, e := range w.Events {
		p := partitionOf(e.Values[Key].Str)
		e.Order = features.OrderOf(p, int64(len(shards[p].Events)))
		shards[p].Events = append(shards[p].Events, e)
	}
	return shards
}
