package whatif

import (
	"hash/fnv"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/featurestest"
	"github.com/millrace/millrace/features/offline"
	"github.com/millrace/millrace/streams/lake"
)

// partitionOf is some partition function of three.
func partitionOf(key string) int {
	h := fnv.New32()
	h.Write([]byte(key))
	return int(h.Sum32() % 3)
}

// rowsOf yields a world's events as the lake would: by partition, with values
// that do not outlive their turn.
func rowsOf(w *featurestest.World) iter.Seq2[lake.Row, error] {
	return func(yield func(lake.Row, error) bool) {
		var row lake.Row
		for row.Partition = range 3 {
			for i := range w.Events {
				if partitionOf(w.Events[i].Values[featurestest.Key].Str) != row.Partition {
					continue
				}
				values := append(row.Event.Values[:0], w.Events[i].Values...)
				row.Event, row.Offset = w.Events[i], int64(i)
				row.Event.Values = values
				if !yield(row, nil) {
					return
				}
			}
		}
	}
}

// resized is a view with other window lengths.
func resized(r *rand.Rand, v features.View) features.View {
	v.Features = slices.Clone(v.Features)
	for i := range v.Features {
		w := &v.Features[i].Window
		factor := time.Duration(1 + r.IntN(6))
		switch {
		case w.Kind == features.Lifetime || r.IntN(3) == 0:
		case r.IntN(2) == 0:
			w.Size *= factor
		case w.Kind == features.Sliding && w.Hop > 0:
			w.Size = w.Hop * factor
		case w.Offset < w.Size/factor:
			w.Size = (w.Size / factor).Truncate(time.Microsecond)
		}
	}
	return v
}

// TestReplayEqualsTheWholeLog computes features under windows of other lengths
// from the events of some entities alone. They have the bits of those that are
// computed from all events, among them late ones, repeats and wrong clocks.
func TestReplayEqualsTheWholeLog(t *testing.T) {
	compared, present, other := 0, 0, 0
	for seed := range uint64(150) {
		w := featurestest.New(seed)
		r := rand.New(rand.NewPCG(seed, 9))
		plan, err := features.Compile(w.Clock, w.Source, w.View)
		if err != nil {
			t.Fatal(err)
		}
		changed, err := features.Compile(w.Clock, w.Source, resized(r, w.View))
		if err != nil {
			continue // too long, or not a multiple of its hop
		}
		var probes []offline.Probe
		asked, along := map[string]bool{}, map[string]bool{}
		for len(probes) < 40 {
			e := &w.Events[r.IntN(len(w.Events))]
			key := e.Values[featurestest.Key].Str
			if key == "" {
				continue
			}
			if !asked[key] && len(asked) > 1 { // of some entities only
				along[key] = true
				continue
			}
			asked[key] = true
			known := int64(features.AnyArrival)
			if r.IntN(2) == 0 {
				known = e.Arrival
			}
			probes = append(probes, offline.Probe{Entity: key, AsOf: e.Time + r.Int64N(1e9), KnownBy: known})
		}
		events := func(yield func(*features.Event, error) bool) {
			for row := range rowsOf(w) {
				if !yield(&row.Event, nil) {
					return
				}
			}
		}
		shardOf := func(_ *features.Event, entity []byte) int { return partitionOf(string(entity)) }
		set, err := offline.Build(t.Context(), changed, events, shardOf, probes, offline.Options{})
		if err != nil {
			t.Fatal(err)
		}
		reading := &reading{most: 1 << 30}
		s, err := reading.gather(rowsOf(w), plan, "", asked, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !s.has(asked) || len(along) > 0 && s.has(along) {
			t.Fatalf("seed %d: the stream is of %d entities, asked for were %d", seed, len(s.tracks), len(asked))
		}
		got := make([][]features.Value, len(probes))
		for key := range asked {
			var mine []probe
			for i, p := range probes {
				if p.Entity == key {
					mine = append(mine, probe{asOf: p.AsOf, knownBy: p.KnownBy, row: i})
				}
			}
			slices.SortFunc(mine, byMoment)
			put := func(row int, vector []features.Value) { got[row] = slices.Clone(vector) }
			if err := s.replay(t.Context(), changed, changed.NewReplay(), s.tracks[key], mine, put); err != nil {
				t.Fatal(err)
			}
		}
		for i, p := range probes {
			want := set.AppendVector(nil, i)
			if !slices.Equal(got[i], want) {
				t.Fatalf("seed %d, entity %s at %d:\n%v\nof all events:\n%v", seed, p.Entity, p.AsOf, got[i], want)
			}
			compared++
			for _, v := range want {
				if v.Kind != 0 {
					present++
				}
			}
		}
		if changed.ID != plan.ID {
			other++
		}
	}
	if compared < 2000 || present < compared || other < 50 {
		t.Errorf("compared only %d vectors with %d values; the windows of %d worlds were changed", compared, present, other)
	}
}

// TestStreamsAreBounded has more events than memory: what is not needed goes
// first, and then there is an error.
func TestStreamsAreBounded(t *testing.T) {
	w := featurestest.New(3)
	plan, err := features.Compile(w.Clock, w.Source, w.View)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, e := range w.Events {
		if key := e.Values[featurestest.Key].Str; key != "" {
			all[key] = true
		}
	}
	whole, err := (&reading{most: 1 << 30}).gather(rowsOf(w), plan, "", all, nil)
	if err != nil {
		t.Fatal(err)
	}
	var one string
	for key, track := range whole.tracks {
		if len(track.words) > 0 {
			one = key
		}
	}
	must := map[string]bool{one: true}
	s, err := (&reading{most: whole.bytes - 1}).gather(rowsOf(w), plan, "", must, all)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.tracks) != 1 || !slices.Equal(s.tracks[one].words[:eventKinds], whole.tracks[one].words[:eventKinds]) || len(s.tracks[one].words) != len(whole.tracks[one].words) {
		t.Errorf("%d entities are left, and %s has %d words of %d", len(s.tracks), one, len(s.tracks[one].words), len(whole.tracks[one].words))
	}
	if _, err := (&reading{most: whole.bytes - 1}).gather(rowsOf(w), plan, "", all, nil); err == nil {
		t.Error("it holds more than it may")
	}
}
