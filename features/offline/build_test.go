package offline

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/featurestest"
)

const seeds = 300

func compile(t testing.TB, w *featurestest.World) *features.Plan {
	t.Helper()
	plan, err := features.Compile(w.Clock, w.Source, w.View)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// logOf yields the events with values that do not outlive their turn.
func logOf(events []features.Event) iter.Seq2[*features.Event, error] {
	return func(yield func(*features.Event, error) bool) {
		var e features.Event
		for i := range events {
			values := append(e.Values[:0], events[i].Values...)
			e = events[i]
			e.Values = values
			if !yield(&e, nil) {
				return
			}
		}
	}
}

func oneShard(*features.Event, []byte) int { return 0 }

// threeShards is some other partition function.
func threeShards(_ *features.Event, entity []byte) int {
	h := fnv.New32()
	h.Write(entity)
	return int(h.Sum32() % 3)
}

func buildWorld(t testing.TB, w *featurestest.World, shardOf func(*features.Event, []byte) int, probes []Probe, o Options) *Set {
	t.Helper()
	set, err := Build(t.Context(), compile(t, w), logOf(w.Events), shardOf, probes, o)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// inTimeOrder makes the log one without late events.
func inTimeOrder(w *featurestest.World) {
	slices.SortStableFunc(w.Events, func(a, b features.Event) int { return int(a.Time - b.Time) })
	for i := range w.Events {
		w.Events[i].Order = features.OrderOf(0, int64(i))
	}
}

// TestEqualsOnline folds a log in the order of event time as the pipeline does,
// in three shards, and asks for rows on the way. The offline vectors have the
// same bits.
func TestEqualsOnline(t *testing.T) {
	compared := 0
	for seed := range uint64(seeds) {
		w := featurestest.New(seed)
		inTimeOrder(w)
		probes, want := served(t, w, seed)
		set := buildWorld(t, w, threeShards, probes, Options{})
		for i, p := range probes {
			if got := set.AppendVector(nil, i); !slices.Equal(got, want[i]) {
				t.Fatalf("seed %d entity %s at %d:\n%v\nonline:\n%v", seed, p.Entity, p.AsOf, texts(got), texts(want[i]))
			}
			compared++
		}
	}
	if compared < 100*seeds {
		t.Fatalf("compared only %d vectors", compared)
	}
}

// served replays a world and returns what was asked and answered, in an order
// that is not that of time.
func served(t *testing.T, w *featurestest.World, seed uint64) (probes []Probe, vectors [][]features.Value) {
	plan := compile(t, w)
	r := rand.New(rand.NewPCG(seed, 4))
	shards, rows := map[int]*features.Shard{}, map[string]*features.Row{}
	for i := range w.Events {
		e := &w.Events[i]
		key := e.Values[featurestest.Key].Str
		at := threeShards(e, []byte(key))
		s := shards[at]
		if s == nil {
			s = plan.NewShard(features.NoTime, features.Counts{})
			shards[at] = s
		}
		if rows[key] == nil {
			rows[key] = plan.NewRow()
		}
		if ok, _ := s.Admit(e); ok {
			s.Fold(rows[key], e)
		}
		until := e.Time + 1e6
		if i+1 < len(w.Events) {
			until = w.Events[i+1].Time
		}
		if s.Newest == features.NoTime || s.Newest >= until {
			continue // more events of this moment come
		}
		asOf := s.Newest + r.Int64N(until-s.Newest)
		probes = append(probes, Probe{Entity: key, AsOf: asOf, KnownBy: features.AnyArrival})
		vectors = append(vectors, plan.Vector(nil, rows[key], features.At{AsOf: asOf}, nil))
	}
	r.Shuffle(len(probes), func(i, j int) {
		probes[i], probes[j] = probes[j], probes[i]
		vectors[i], vectors[j] = vectors[j], vectors[i]
	})
	return probes, vectors
}

func texts(values []features.Value) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = fmt.Sprintf("%v(%s)", v.Kind, v.Text())
	}
	return out
}

// randomProbes asks for moments and arrivals around those of the events.
func randomProbes(w *featurestest.World, r *rand.Rand, n int) []Probe {
	probes := make([]Probe, n)
	for i := range probes {
		e := w.Events[r.IntN(len(w.Events))]
		p := Probe{Entity: e.Values[featurestest.Key].Str, AsOf: e.Time, KnownBy: features.AnyArrival}
		switch r.IntN(4) {
		case 0:
			p.AsOf += r.Int64N(1 + w.View.Features[0].Window.Size.Microseconds())
		case 1:
			p.AsOf--
		}
		switch r.IntN(5) {
		case 0:
			p.KnownBy = p.AsOf
		case 1:
			p.KnownBy = w.Events[r.IntN(len(w.Events))].Arrival
		}
		probes[i] = p
	}
	return append(probes, Probe{Entity: "nobody", AsOf: w.Events[0].Time, KnownBy: features.AnyArrival})
}

// TestOracle asks for any moments, with and without a known-by time and the
// current event, of logs with late, future, repeated and tied events.
func TestOracle(t *testing.T) {
	for seed := range uint64(seeds) {
		w := featurestest.New(seed)
		r := rand.New(rand.NewPCG(seed, 5))
		probes := randomProbes(w, r, 60)
		o := Options{ExcludeCurrent: seed%3 == 0}
		set := buildWorld(t, w, oneShard, probes, o)
		fates, _ := w.Fates()
		checkCounts(t, seed, set.Counts, w, fates, probes)
		for i, p := range probes {
			seen := slices.Clone(fates)
			for j, e := range w.Events {
				if e.Time > p.AsOf || e.Time == p.AsOf && o.ExcludeCurrent || e.Arrival > p.KnownBy {
					seen[j] = featurestest.Dropped
				}
			}
			want := w.Vector(seen, len(w.Events), expr.StringValue(p.Entity), p.AsOf)
			got := set.AppendVector(nil, i)
			for f, x := range w.View.Features {
				if !featurestest.Near(x.Agg, w.Magnitude(x.Name), got[f], want[f]) {
					t.Fatalf("seed %d probe %+v: %+v = %s, want %s", seed, p, x, got[f].Text(), want[f].Text())
				}
			}
		}
	}
}

func checkCounts(t *testing.T, seed uint64, got Counts, w *featurestest.World, fates []featurestest.Fate, probes []Probe) {
	t.Helper()
	asked := map[string]bool{}
	for _, p := range probes {
		asked[p.Entity] = true
	}
	want := Counts{Events: int64(len(fates)), Rejected: map[string]int64{}}
	for i, fate := range fates {
		switch fate {
		case featurestest.Dropped:
			want.Dropped++
		case featurestest.Duplicate:
			if asked[w.Events[i].Values[featurestest.Key].Str] {
				want.Duplicates++
			}
		case featurestest.Late, featurestest.Future:
			want.Rejected[string(fate)]++
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("seed %d: counts %+v, want %+v", seed, got, want)
	}
}

// TestProbesStandAlone asks each probe by itself and all of them in another
// order: the bits are the same, whatever else is asked.
func TestProbesStandAlone(t *testing.T) {
	for seed := range uint64(seeds / 5) {
		w := featurestest.New(seed)
		r := rand.New(rand.NewPCG(seed, 6))
		probes := randomProbes(w, r, 60)
		all := buildWorld(t, w, oneShard, probes, Options{})
		for i, p := range probes {
			alone := buildWorld(t, w, oneShard, []Probe{p}, Options{})
			if a, b := all.AppendVector(nil, i), alone.AppendVector(nil, 0); !slices.Equal(a, b) {
				t.Fatalf("seed %d probe %+v:\n%v\nalone:\n%v", seed, p, texts(a), texts(b))
			}
		}
	}
}

func TestRequest(t *testing.T) {
	src := features.Source{
		Name: "s", EventTime: "t", KeyedBy: []string{"k"},
		Fields: []features.Field{{Name: "k", Kind: expr.String}, {Name: "t", Kind: expr.Time}, {Name: "x", Kind: expr.Float}},
	}
	view := features.View{
		Name: "v", Source: "s", Entity: []string{"k"},
		Features: []features.Feature{{Name: "last", Agg: "last", Of: "x", Window: features.Window{Kind: features.Lifetime}}},
		OnDemand: []features.Named{{Name: "over", Expr: "request.b + 2 * last - request.a"}},
	}
	plan, err := features.Compile(features.EventClock, src, view)
	if err != nil {
		t.Fatal(err)
	}
	events := []features.Event{{Time: 5, Arrival: 5, Values: []features.Value{expr.StringValue("k"), expr.TimeValue(5), expr.FloatValue(10)}}}
	request := []features.Value{expr.FloatValue(1), expr.FloatValue(4)} // a, b
	probes := []Probe{
		{Entity: "k", AsOf: 5, KnownBy: features.AnyArrival, Request: request},
		{Entity: "k", AsOf: 4, KnownBy: features.AnyArrival, Request: request},
		{Entity: "k", AsOf: 5, KnownBy: features.AnyArrival},
	}
	set, err := Build(t.Context(), plan, logOf(events), oneShard, probes, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"[float(10) float(23)]", "[missing() missing()]", "[float(10) missing()]"} {
		if got := fmt.Sprint(texts(set.AppendVector(nil, i))); got != want {
			t.Errorf("probe %d: %s, want %s", i, got, want)
		}
	}
	probes[0].Request = append(request, request...)
	if _, err := Build(t.Context(), plan, logOf(events), oneShard, probes, Options{}); err == nil || !strings.Contains(err.Error(), "probe 0 has 4 request values") {
		t.Errorf("too many request values: %v", err)
	}
}

func TestBuildEndsWithTheLog(t *testing.T) {
	w := featurestest.New(1)
	broken := errors.New("broken")
	log := func(yield func(*features.Event, error) bool) {
		if yield(&w.Events[0], nil) {
			yield(nil, broken)
		}
	}
	probes := []Probe{{Entity: "k0", AsOf: w.Events[0].Time, KnownBy: features.AnyArrival}}
	if _, err := Build(t.Context(), compile(t, w), log, oneShard, probes, Options{}); !errors.Is(err, broken) {
		t.Errorf("a broken log: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Build(ctx, compile(t, w), logOf(w.Events), oneShard, probes, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled build: %v", err)
	}
}

func TestProgressAndRejected(t *testing.T) {
	w := featurestest.New(0)
	w.Events[7].Time += 1000 * 3600e6 // far ahead of its arrival
	probes := randomProbes(w, rand.New(rand.NewPCG(1, 1)), 50)
	var events, answered, rejected int64
	set := buildWorld(t, w, oneShard, probes, Options{
		Progress: func(e, a int64) {
			if e < events || a < answered {
				t.Errorf("progress went from %d, %d back to %d, %d", events, answered, e, a)
			}
			events, answered = e, a
		},
		Rejected: func(e *features.Event, why error) {
			var r *features.Rejection
			if !errors.As(why, &r) || e == nil {
				t.Errorf("rejected %v: %v", e, why)
			}
			rejected++
		},
	})
	if events != int64(len(w.Events)) || answered != int64(len(probes)) {
		t.Errorf("the last report was %d events, %d probes", events, answered)
	}
	want := int64(0)
	for _, n := range set.Counts.Rejected {
		want += n
	}
	if rejected != want || want == 0 {
		t.Errorf("%d events were reported as rejected, %d counted", rejected, want)
	}
}
