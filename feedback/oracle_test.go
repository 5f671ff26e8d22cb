package feedback

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/millrace/millrace/features"
)

// A told is a record that counts once, and where the clock stood.
type told struct {
	Record
	i           int
	clock, time int64
	id          string
}

// naive says by definition what became of the records of a log, and for each
// prediction, by its place in the log, the examples that it gave.
func naive(log []Record, rules map[string]Rules) (stats Stats, examples map[int][]string) {
	asked, heard, clock := tell(log, rules, &stats)
	examples = map[int][]string{}
	status := make([]status, len(log)) // of outcomes; waiting at first
	for _, a := range asked {
		r := rules[a.Model()]
		wait := (r.Horizon + r.Grace).Microseconds()
		var counting []told
		why := WhyNone
		for _, h := range heard {
			verdict, early := naiveVerdict(r, h.time-a.time), h.i < a.i
			switch {
			case h.Model() != a.Model() || h.Key() != a.Key() || verdict == waiting:
				continue
			case early && a.clock > h.time+wait, !early && h.clock > a.time+2*wait:
				continue // the first of the two was final or forgotten
			case !early && h.clock > a.time+wait:
				verdict = min(verdict, late) // closed
			case verdict == effective:
				counting = append(counting, h)
				verdict = superseded
			case verdict == late || why == WhyNone:
				why = map[bool]string{true: WhyLate, false: WhyInvalid}[verdict == late]
			}
			status[h.i] = max(status[h.i], verdict)
		}
		stats.Predictions.Total++
		switch closed := clock > a.time+wait; {
		case len(counting) > 0:
			stats.Predictions.Matched++
			status[naiveBest(r, counting).i] = effective
			examples[a.i] = naiveLabels(r, a, counting, &stats)
		case closed:
			stats.Predictions.Unanswered++
			*map[string]*int64{WhyNone: &stats.Details.Unanswered.None, WhyLate: &stats.Details.Unanswered.Late, WhyInvalid: &stats.Details.Unanswered.Invalid}[why]++
			examples[a.i] = []string{why}
		default:
			stats.Predictions.Pending++
		}
	}
	for _, h := range heard {
		r := rules[h.Model()]
		if status[h.i] == waiting && clock > h.time+(r.Horizon+r.Grace).Microseconds() {
			status[h.i] = orphan
		}
		stats.Outcomes.Total++
		*stats.Outcomes.count(status[h.i])++
	}
	return stats, examples
}

// tell returns the predictions and outcomes without those whose id is
// remembered, which it counts, and predictions that are too late, and the clock
// at the end.
func tell(log []Record, rules map[string]Rules, stats *Stats) (asked, heard []told, clock int64) {
	clock = features.NoTime
	for i, rec := range log {
		if rec.Tick != nil {
			clock = max(clock, rec.Tick.Time)
			continue
		}
		r, ok := rules[rec.Model()]
		if !ok {
			continue
		}
		now := told{Record: rec, i: i, clock: clock}
		list := &heard
		if p := rec.Prediction; p != nil && clock > p.Time+2*(r.Horizon+r.Grace).Microseconds() {
			continue
		}
		if rec.Prediction != nil {
			list, now.time, now.id = &asked, rec.Prediction.Time, rec.Prediction.ID
		} else {
			now.time, now.id = rec.Outcome.Time, rec.Outcome.name()
		}
		remembered := slices.ContainsFunc(*list, func(b told) bool {
			return b.Model() == rec.Model() && b.Key() == rec.Key() && b.id == now.id && clock <= b.time+2*(r.Horizon+r.Grace).Microseconds()
		})
		switch {
		case !remembered:
			*list = append(*list, now)
		case rec.Prediction != nil:
			stats.Details.RepeatedPredictions++
		default:
			stats.Outcomes.Total++
			stats.Outcomes.Duplicate++
		}
	}
	return asked, heard, clock
}

func naiveVerdict(r Rules, dt int64) status {
	within := dt <= r.Horizon.Microseconds()
	switch {
	case r.Join == ByPrediction && dt < 0:
		return invalid
	case r.Join == ByPrediction && !within:
		return late
	case r.Join == ByPrediction, r.Join == NextEvent && dt > 0 && within, r.Join == At && dt == 0:
		return effective
	}
	return waiting
}

// naiveBest returns the outcome of several that is the label.
func naiveBest(r Rules, counting []told) told {
	return slices.MaxFunc(counting, func(a, b told) int {
		byTime := cmp.Compare(a.time, b.time)
		if r.Join == NextEvent {
			byTime = -byTime
		}
		return cmp.Or(byTime, naiveIDs(a.Outcome, b.Outcome))
	})
}

// naiveIDs compares ids: texts are below positions.
func naiveIDs(a, b *Outcome) int {
	if a.At == nil || b.At == nil {
		return cmp.Or(cmp.Compare(fmt.Sprint(a.At != nil), fmt.Sprint(b.At != nil)), cmp.Compare(a.ID, b.ID))
	}
	return cmp.Or(cmp.Compare(a.At.Topic, b.At.Topic), cmp.Compare(a.At.Partition, b.At.Partition), cmp.Compare(a.At.Offset, b.At.Offset))
}

// naiveLabels returns the examples of a prediction: one of all that was there
// before it, then one for each outcome that is better than all before.
func naiveLabels(r Rules, a told, counting []told, stats *Stats) (labels []string) {
	for n := range counting {
		best := naiveBest(r, counting[:n+1])
		early := n+1 < len(counting) && counting[n+1].i < a.i
		if early || best.i != counting[n].i && counting[n].i > a.i {
			continue
		}
		labels = append(labels, fmt.Sprintf("%v of %s", best.Outcome.Label, best.id))
	}
	stats.Details.Corrections += int64(len(labels) - 1)
	return labels
}

// TestFoldAgreesWithTheDefinition folds generated logs and compares statuses
// and examples with the naive definition, at several places of each log.
func TestFoldAgreesWithTheDefinition(t *testing.T) {
	var sum Stats
	tooLate := 0
	for seed := range uint64(200) {
		log := generate(rand.New(rand.NewPCG(seed, 1)), 150)
		w := newWorld(t, generatedRules)
		for i, rec := range log {
			w.take(rec)
			if i%25 != 24 {
				continue
			}
			stats, examples := naive(log[:i+1], generatedRules)
			if got := w.shard.Stats(); got != stats {
				t.Fatalf("seed %d, %d records: stats\n%+v, by definition\n%+v", seed, i+1, got, stats)
			}
			if got := w.labels(); !reflect.DeepEqual(got, examples) {
				t.Fatalf("seed %d, %d records: examples\n%v, by definition\n%v", seed, i+1, got, examples)
			}
		}
		sum = sum.Add(w.shard.Stats())
		for _, reason := range w.rejected {
			if reason == RejectLate {
				tooLate++
			}
		}
	}
	if tooLate < 50 {
		t.Errorf("only %d predictions are too late; the generator makes too few", tooLate)
	}
	for i, n := range sum.counters() {
		if *n < 50 {
			t.Errorf("counter %d is only %d over all logs; the generator makes too little of it: %+v", i, *n, sum)
		}
	}
}

// labels returns the examples of each prediction, by its place in the log.
func (w *world) labels() map[int][]string {
	all := map[int][]string{}
	for _, e := range w.examples {
		i := int(e.Prediction.Score.Value)
		switch e.Kind {
		case Labelled:
			if e.Correction != (len(all[i]) > 0) {
				w.t.Fatalf("%+v comes after %v", e, all[i])
			}
			all[i] = append(all[i], fmt.Sprintf("%v of %s", e.Label, e.Outcome))
		case Unanswered:
			all[i] = append(all[i], e.Why)
		}
	}
	return all
}
