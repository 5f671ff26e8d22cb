package features_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/featurestest"
)

// histories judges a world and keeps each entity's events.
func histories(p *replay, first, last int64) map[string]*features.History {
	rp := p.plan.NewReplay()
	kept := map[string]*features.History{}
	for i := range p.w.Events {
		e := p.w.Events[i]
		if ok, _ := p.shard.Admit(&e); !ok {
			continue
		}
		key := e.Values[featurestest.Key].Str
		if kept[key] == nil {
			kept[key] = rp.NewHistory(first, last)
		}
		p.shard.Keep(kept[key], &e)
	}
	return kept
}

// TestHistory asks for rows in an order of its own: each is that of the events
// of its moment, as the naive definition has it, and asked again it has the
// same bits whatever was asked in between.
func TestHistory(t *testing.T) {
	for seed := range uint64(seeds) {
		w := featurestest.New(seed)
		p := newReplay(t, w)
		fates, _ := w.Fates()
		first, last := w.Events[0].Time, w.Events[0].Time
		for _, e := range w.Events {
			first, last = min(first, e.Time), max(last, e.Time)
		}
		r := rand.New(rand.NewPCG(seed, 7))
		kept := histories(p, first, last)
		for key, h := range kept {
			var again func() // compares an earlier answer
			for range 12 {
				asOf, knownBy := first+r.Int64N(last-first+1), int64(features.AnyArrival)
				if r.IntN(2) == 0 {
					knownBy = w.Events[r.IntN(len(w.Events))].Arrival
				}
				vector := func() []features.Value {
					return p.plan.Vector(nil, h.Row(asOf, knownBy), features.At{AsOf: asOf}, nil)
				}
				got := vector()
				seen := slices.Clone(fates)
				for i, e := range w.Events {
					if e.Time > asOf || e.Arrival > knownBy {
						seen[i] = featurestest.Dropped
					}
				}
				want := w.Vector(seen, len(w.Events), expr.StringValue(key), asOf)
				for f, x := range w.View.Features {
					if !featurestest.Near(x.Agg, w.Magnitude(x.Name), got[f], want[f]) {
						t.Fatalf("seed %d entity %s at %d known by %d: %+v = %s, want %s", seed, key, asOf, knownBy, x, got[f].Text(), want[f].Text())
					}
				}
				if again != nil {
					again()
				}
				again = func() {
					if now := vector(); !slices.Equal(got, now) {
						t.Fatalf("seed %d entity %s at %d known by %d: %v, asked again %v", seed, key, asOf, knownBy, got, now)
					}
				}
			}
		}
	}
}

// TestKeepCounts compares what Keep counts with what Fold does.
func TestKeepCounts(t *testing.T) {
	duplicates := int64(0)
	for seed := range uint64(seeds) {
		w := featurestest.New(seed)
		for i := range w.View.Features { // Fold also counts values that leave a row early
			w.View.Features[i].Window.MaxValues = min(w.View.Features[i].Window.MaxValues*4096, 4096)
		}
		folded, kept := newReplay(t, w), newReplay(t, w)
		for i := range w.Events {
			folded.apply(i)
		}
		histories(kept, w.Events[0].Time, w.Events[0].Time)
		got, want := kept.shard.Counts, folded.shard.Counts
		if got != want || kept.shard.Newest != folded.shard.Newest {
			t.Fatalf("seed %d: %+v, want %+v", seed, got, want)
		}
		duplicates += got.Duplicates
	}
	if duplicates < seeds/2 {
		t.Fatalf("only %d duplicates", duplicates)
	}
}

func TestHistoryRefusesOtherMoments(t *testing.T) {
	p := newReplay(t, featurestest.New(1))
	h := p.plan.NewReplay().NewHistory(10, 20)
	for _, at := range []int64{9, 21} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a row at %d of a history for 10 to 20", at)
				}
			}()
			h.Row(at, features.AnyArrival)
		}()
	}
	if !h.Row(15, features.AnyArrival).Empty() {
		t.Error("a history without events has a row that is not empty")
	}
}
