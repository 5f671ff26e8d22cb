package feedback

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"
)

// TestRestartsChangeNothing encodes and decodes the shard and all rows at
// places of each log, in the end after each record, and within ticks.
func TestRestartsChangeNothing(t *testing.T) {
	for seed := range uint64(30) {
		log := generate(rand.New(rand.NewPCG(seed, 2)), 150)
		rng := rand.New(rand.NewPCG(seed, 3))
		plain, restarted := newWorld(t, generatedRules), newWorld(t, generatedRules)
		restarted.halves = seed%2 == 0
		for _, rec := range log {
			plain.take(rec)
			restarted.take(rec)
			if rng.Uint64N(30) <= seed {
				restarted.restart()
			}
		}
		if !bytes.Equal(plain.bytes(), restarted.bytes()) {
			t.Fatalf("seed %d: not the same after restarts", seed)
		}
	}
}

// TestRecordsThroughTheTopicChangeNothing writes and reads each record before it
// is folded.
func TestRecordsThroughTheTopicChangeNothing(t *testing.T) {
	for seed := range uint64(30) {
		plain, read := newWorld(t, generatedRules), newWorld(t, generatedRules)
		for _, rec := range generate(rand.New(rand.NewPCG(seed, 4)), 150) {
			plain.take(rec)
			again, err := Decode(appendRecord(nil, rec))
			if err != nil {
				t.Fatal(err)
			}
			read.take(again)
		}
		if !bytes.Equal(plain.bytes(), read.bytes()) {
			t.Fatalf("seed %d: not the same through the topic", seed)
		}
	}
}

func appendRecord(dst []byte, rec Record) []byte {
	switch {
	case rec.Prediction != nil:
		return rec.Prediction.AppendJSON(dst)
	case rec.Outcome != nil:
		return rec.Outcome.AppendJSON(dst)
	}
	return rec.Tick.AppendJSON(dst)
}

// TestCopiesOfEventsChangeNothing delivers outcomes of events again, each as
// often and as late as it may be: their stage writes what it had written since
// its last commit once more, in the same order.
func TestCopiesOfEventsChangeNothing(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 5))
		once, often := newWorld(t, generatedRules), newWorld(t, generatedRules)
		var events []Record // outcomes with a position, of the stage's last commits
		copies := 0
		for _, rec := range generate(rng, 150) {
			once.take(rec)
			often.take(rec)
			if rec.Outcome != nil && rec.Outcome.At != nil {
				events = append(events, rec)
			}
			if rng.IntN(10) == 0 {
				for _, again := range events[rng.IntN(len(events)+1):] {
					often.take(again)
					once.offset++
					copies++
				}
			}
		}
		if copies == 0 || !bytes.Equal(once.bytes(), often.bytes()) {
			t.Fatalf("seed %d: not the same with %d copies", seed, copies)
		}
	}
}

// TestNumbersGoOnWithAnEmptyState takes a log up to somewhere, and then again with
// an empty state: without its beginning, or without a model. What it gives from
// there on has greater numbers than all before.
func TestNumbersGoOnWithAnEmptyState(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 10))
		log := generate(rng, 150)
		had := 1 + rng.IntN(len(log)-1)
		first := newWorld(t, generatedRules)
		for _, rec := range log[:had] {
			first.take(rec)
		}
		last := int64(0)
		if n := len(first.examples); n > 0 {
			last = first.examples[n-1].Seq
		}
		rules, cut := maps.Clone(generatedRules), rng.IntN(had)
		if seed%2 == 0 {
			cut = 0
			delete(rules, "next")
		}
		again := newWorld(t, rules)
		again.offset = int64(cut)
		for i, rec := range log[cut:] {
			from := len(again.examples)
			again.take(rec)
			for _, e := range again.examples[from:] {
				if cut+i >= had && e.Seq <= last {
					t.Fatalf("seed %d: record %d gives number %d, and the last of the first %d records was %d", seed, cut+i, e.Seq, had, last)
				}
			}
		}
	}
}

// TestOneEventLabelsTwoModels delivers one event's outcomes for two models,
// which have the same position.
func TestOneEventLabelsTwoModels(t *testing.T) {
	w := newWorld(t, generatedRules)
	at := &Position{"prices", 2, 40}
	for _, model := range []string{"next", "next_2", "next", "next_2"} {
		w.take(Record{Outcome: &Outcome{At: at, Model: model, Key: "k", Time: 5}})
	}
	if got := w.shard.Stats().Outcomes; got.Total != 2 || got.Waiting != 2 {
		t.Errorf("outcomes %+v; want two that wait: one of each model", got)
	}
}

// TestLabelsDoNotDependOnTheOrderOfDelivery shuffles predictions and outcomes
// among which no tick closes anything, then ends with one that closes all.
func TestLabelsDoNotDependOnTheOrderOfDelivery(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 6))
		log := withoutRepeats(generate(rng, 120))
		var want *world
		for range 5 {
			w := newWorld(t, generatedRules)
			w.take(Record{Tick: &Tick{1}})
			for _, rec := range log {
				w.fold(rec)
			}
			w.take(Record{Tick: &Tick{1 << 40}})
			if want == nil {
				want = w
			}
			got, first := w.shard.Stats(), want.shard.Stats()
			got.Details.Corrections, first.Details.Corrections = 0, 0
			if got != first || !reflect.DeepEqual(w.last(), want.last()) {
				t.Fatalf("seed %d: %+v\n%v\nin another order %+v\n%v", seed, first, want.last(), got, w.last())
			}
			rng.Shuffle(len(log), func(i, j int) { log[i], log[j] = log[j], log[i] })
		}
	}
}

// withoutRepeats keeps the first record of each id, and no ticks: of two with
// one id it is the first that counts.
func withoutRepeats(log []Record) (kept []Record) {
	type name struct{ model, key, id string }
	seen := map[name]bool{}
	for _, rec := range log {
		n := name{rec.Model(), rec.Key(), ""}
		switch {
		case rec.Tick != nil:
			continue
		case rec.Prediction != nil:
			n.id = "prediction " + rec.Prediction.ID
		default:
			n.id = "outcome " + rec.Outcome.name()
		}
		if !seen[n] {
			kept = append(kept, rec)
		}
		seen[n] = true
	}
	return kept
}

// last is what each prediction ended with, by its place in the log.
func (w *world) last() map[int]string {
	last := map[int]string{}
	for i, all := range w.labels() {
		last[i] = all[len(all)-1]
	}
	return last
}
