package deploy

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams/pipeline"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/eval"
	"github.com/millrace/millrace/trainer/learn"
)

// A scorer answers a vector, at random where it likes.
type scorer func(r *rand.Rand, x []features.Value) float64

func scores(t *testing.T, b *bundle.Bundle) scorer {
	return func(_ *rand.Rand, x []features.Value) float64 {
		p, err := b.Score(x)
		must(t, err)
		return p
	}
}

// unsure answers another thing each time. Two of it are equally good.
func unsure(r *rand.Rand, x []features.Value) float64 {
	return 1 / (1 + math.Exp(1-2*signal(x)+r.NormFloat64()))
}

// answers is an examples topic, by partition: for so many hours version 2 has
// answered, with version 1 in shadow. Each time two labels become known, and each
// hour ends with a Passed record.
func answers(seed uint64, hours int, a, b scorer) (topic [partitions][]pipeline.ExampleAt) {
	r := rand.New(rand.NewPCG(seed, 9))
	add := func(e feedback.Example, part int) {
		at := int64(len(topic[part]))
		e.Seq = at + 1
		topic[part] = append(topic[part], pipeline.ExampleAt{Example: e, Partition: part, Offset: at})
	}
	for h := range int64(hours) {
		for i := range int64(perHour) {
			x := randomVector(r)
			at := h*hour + i/2*2*hour/perHour
			p := feedback.Prediction{
				ID: fmt.Sprint(h, ".", i), Model: model, Time: at - hour, Vector: x,
				Score: feedback.Score{Version: 2, Value: a(r, x)}, Shadow: &feedback.Score{Version: 1, Value: b(r, x)},
			}
			e := feedback.Example{Kind: feedback.Labelled, Prediction: p, Label: coin(r, truth(x)), Known: at}
			part := r.IntN(partitions)
			add(e, part)
			if r.IntN(10) == 0 {
				e.Correction, e.Label, e.Known = true, 1-e.Label, at+r.Int64N(hour/perHour)
				add(e, part)
			}
		}
		for part := range partitions {
			add(feedback.Example{Kind: feedback.Passed, Known: (h + 1) * hour}, part)
		}
	}
	return topic
}

func watchOf(steps Steps) *watch {
	m := &Model{Name: model, Task: learn.Binary, Horizon: time.Hour, Steps: steps.WithDefaults()}
	return newWatch(m, 2, 1)
}

// whole gives all of a topic to a watch, at once.
func whole(t *testing.T, steps Steps, topic [partitions][]pipeline.ExampleAt) *watch {
	t.Helper()
	w := watchOf(steps)
	for part := range topic {
		for i := range topic[part] {
			w.take(&topic[part][i])
		}
	}
	must(t, w.feed(partitions))
	return w
}

// TestWatchIsAFunctionOfTheTopic reads it in other portions each time, the
// partitions far apart: the verdict is the same, after the same answers.
func TestWatchIsAFunctionOfTheTopic(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	good, bad := scores(t, s.train(1, inputs, right)), scores(t, s.train(2, inputs, subtle))
	for seed := range uint64(30) {
		topic := answers(seed, 60, unsure, unsure)
		if seed%3 == 0 {
			topic = answers(seed, 60, bad, good)
		}
		want := whole(t, Steps{Watch: 800}, topic)
		r := rand.New(rand.NewPCG(seed, 10))
		w := watchOf(Steps{Watch: 800})
		var read [partitions]int
		for read != [partitions]int{len(topic[0]), len(topic[1]), len(topic[2])} {
			part := r.IntN(partitions)
			for range r.IntN(30) {
				if read[part] < len(topic[part]) {
					w.take(&topic[part][read[part]])
					read[part]++
				}
			}
			must(t, w.feed(partitions))
		}
		worse, over := w.verdict()
		wantWorse, wantOver := want.verdict()
		if worse != wantWorse || over != wantOver || string(w.report()) != string(want.report()) || worse == "" && !over {
			t.Errorf("seed %d: %q, %v, %s\nwant %q, %v, %s", seed, worse, over, w.report(), wantWorse, wantOver, want.report())
		}
	}
}

// TestEqualModelsStay: where neither of two models is better, at most one watch in
// twenty ends in a rollback, however long it is, and none where they are the same.
func TestEqualModelsStay(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	same := scores(t, s.train(1, inputs, right))
	const seeds = 100
	rollbacks := 0
	for seed := range uint64(seeds) {
		if worse, over := whole(t, Steps{Watch: 2000}, answers(seed, 110, unsure, unsure)).verdict(); worse != "" {
			rollbacks++
		} else if !over {
			t.Fatalf("seed %d: it is not over", seed)
		}
		if seed < 5 {
			if worse, over := whole(t, Steps{}, answers(seed, 60, same, same)).verdict(); worse != "" || !over {
				t.Errorf("seed %d: the same model: %q, over %v", seed, worse, over)
			}
		}
	}
	t.Logf("%d of %d rolled back", rollbacks, seeds)
	if rollbacks > seeds/20 {
		t.Errorf("%d of %d rolled back", rollbacks, seeds)
	}
}

// TestHowSoonWorseModelsShow says after how many answers half of the rollbacks
// come, of models that are as much worse as their names say.
func TestHowSoonWorseModelsShow(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	good := s.train(1, inputs, right)
	for _, test := range []struct {
		name     string
		chance   func([]features.Value) float64
		lo, hi   float64 // worse by
		hours    int     // that are watched at most
		at, most int     // answers of half of the rollbacks
	}{
		{"inverted", inverted, 1, 2, 15, 90, 130},
		{"constant", constant, 0.7, 1.3, 15, 90, 150},
		{"subtle", subtle, 0.08, 0.12, 150, 100, 600},
	} {
		bad := s.train(2, inputs, test.chance)
		var after []int
		sum := 0.0
		const seeds = 20
		for seed := range uint64(seeds) {
			w := whole(t, Steps{Watch: 4000}, answers(seed, test.hours, scores(t, bad), scores(t, good)))
			_, _, _, rows := w.differs.Verdict()
			worse, _ := w.verdict()
			if worse == "" {
				t.Errorf("%s, seed %d: it stays", test.name, seed)
			}
			after = append(after, rows)
			sum += expectedLoss(t, seed, bad) - expectedLoss(t, seed, good)
		}
		slices.Sort(after)
		t.Logf("%s: worse by %.3f; half of %d are rolled back within %d answers, all within %d", test.name, sum/seeds, seeds, after[seeds/2], after[seeds-1])
		if by := sum / seeds; by < test.lo || by > test.hi || after[seeds/2] < test.at || after[seeds/2] > test.most {
			t.Errorf("%s: worse by %v, half within %d answers", test.name, by, after[seeds/2])
		}
		// What is put up with is no reason.
		if worse, over := whole(t, Steps{Watch: 1000, WorseBy: 2}, answers(1, 60, scores(t, bad), scores(t, good))).verdict(); worse != "" || !over {
			t.Errorf("%s: %q, over %v, where a loss worse by 2 is put up with", test.name, worse, over)
		}
	}
}

// expectedLoss is a bundle's log loss over vectors, whatever their labels are.
func expectedLoss(t *testing.T, seed uint64, b *bundle.Bundle) float64 {
	r := rand.New(rand.NewPCG(seed, 11))
	sum := 0.0
	const n = 500
	for range n {
		x := randomVector(r)
		p, err := b.Score(x)
		must(t, err)
		sum += truth(x)*eval.RowLoss("binary", 1, p) + (1-truth(x))*eval.RowLoss("binary", 0, p)
	}
	return sum / n
}

// TestWhatTheWatchCounts is read by hand.
func TestWhatTheWatchCounts(t *testing.T) {
	score := func(version int, value float64) feedback.Score { return feedback.Score{Version: version, Value: value} }
	before, base := score(1, 0.5), score(0, 0.5)
	e := func(of string, s feedback.Score, beside *feedback.Score, kind feedback.ExampleKind, correction bool) feedback.Example {
		return feedback.Example{Kind: kind, Prediction: feedback.Prediction{Model: of, Score: s, Shadow: beside}, Label: 1, Known: 5, Correction: correction}
	}
	for name, test := range map[string]struct {
		feedback.Example
		want watchReport
	}{
		"both have scored":              {e(model, score(2, 0.5), &before, feedback.Labelled, false), watchReport{Answers: 1}},
		"a correction":                  {e(model, score(2, 0.5), &before, feedback.Labelled, true), watchReport{}},
		"no label":                      {e(model, score(2, 0.5), &before, feedback.Unanswered, false), watchReport{Unanswered: 1}},
		"another model":                 {e("other", score(2, 0.5), &before, feedback.Labelled, false), watchReport{}},
		"of the champion before":        {e(model, before, &base, feedback.Labelled, false), watchReport{}},
		"nothing beside":                {e(model, score(2, 0.5), nil, feedback.Labelled, false), watchReport{Unpaired: 1}},
		"something else beside":         {e(model, score(2, 0.5), &base, feedback.Labelled, false), watchReport{Unpaired: 1}},
		"no label of another's":         {e("other", score(2, 0.5), &before, feedback.Unanswered, false), watchReport{}},
		"no label, of the one before's": {e(model, before, nil, feedback.Unanswered, false), watchReport{}},
	} {
		w := watchOf(Steps{Watch: 10})
		for part := range partitions {
			w.take(&pipeline.ExampleAt{Example: feedback.Example{Kind: feedback.Passed, Known: 4}, Partition: part})
		}
		w.take(&pipeline.ExampleAt{Example: test.Example, Partition: 1})
		must(t, w.feed(partitions))
		if _, _, _, rows := w.differs.Verdict(); rows != 0 {
			t.Errorf("%s: it did not wait for the other partitions", name)
		}
		for part := range partitions {
			w.take(&pipeline.ExampleAt{Example: feedback.Example{Kind: feedback.Passed, Known: 6}, Partition: part})
		}
		must(t, w.feed(partitions))
		test.want.Awaited = 10 - test.want.Answers
		var got watchReport
		must(t, json.Unmarshal(w.report(), &got))
		got.Worse = nil
		wantEqual(t, name, got, test.want)
	}
}

// TestNothingIsFedBeforeAllPartitionsArePassed: partitions that have no record
// yet are waited for as well.
func TestNothingIsFedBeforeAllPartitionsArePassed(t *testing.T) {
	topic := answers(1, 30, unsure, unsure)
	w := watchOf(Steps{})
	for part := range 2 {
		for i := range topic[part] {
			w.take(&topic[part][i])
		}
	}
	must(t, w.feed(partitions))
	if _, _, _, rows := w.differs.Verdict(); rows != 0 || len(w.waiting) == 0 {
		t.Errorf("%d answers, and %d wait", rows, len(w.waiting))
	}
}

// TestWatchIsNotOverBeforeItCanSee: answers enough within one horizon are no
// watch.
func TestWatchIsNotOverBeforeItCanSee(t *testing.T) {
	w := whole(t, Steps{Watch: 40}, answers(1, 4, unsure, unsure))
	var got watchReport
	must(t, json.Unmarshal(w.report(), &got))
	worse, over := w.verdict()
	if worse != "" || over || got.Answers != 80 || got.Awaited != 0 {
		t.Errorf("%q, %v, %+v", worse, over, got)
	}
	wantText(t, got.Waits, "it takes more blocks, each of 1h0m0s or longer")
	w = whole(t, Steps{Watch: 40}, answers(1, 10, unsure, unsure))
	must(t, json.Unmarshal(w.report(), &got))
	if _, over := w.verdict(); !over || got.Blocks != 5 || got.AtLeast == nil {
		t.Errorf("over %v, %+v", over, got)
	}
}

// TestAnswersThatOverflow: squared errors of a regression that has gone mad.
func TestAnswersThatOverflow(t *testing.T) {
	for _, test := range []struct {
		after, before float64
		worse         string
		want          watchReport
	}{
		{1e200, 1, "an answer's loss is greater than that of version 1 by +Inf", watchReport{Awaited: 10}},
		{1e60, 1, "an answer's loss is greater than that of version 1 by 1e+120", watchReport{Awaited: 10}},
		{1, 1e200, "", watchReport{Awaited: 10, Unpaired: 1}},
		{1e200, -1e200, "", watchReport{Awaited: 10, Unpaired: 1}},
	} {
		w := watchOf(Steps{Watch: 10})
		w.model.Task = learn.Regression
		p := feedback.Prediction{Model: model, Score: feedback.Score{Version: 2, Value: test.after}, Shadow: &feedback.Score{Version: 1, Value: test.before}}
		for part := range partitions {
			w.take(&pipeline.ExampleAt{Example: feedback.Example{Kind: feedback.Passed, Known: 6}, Partition: part})
		}
		w.take(&pipeline.ExampleAt{Example: feedback.Example{Kind: feedback.Labelled, Prediction: p, Known: 5}})
		must(t, w.feed(partitions))
		worse, over := w.verdict()
		var got watchReport
		must(t, json.Unmarshal(w.report(), &got))
		if worse != test.worse || over || got != test.want {
			t.Errorf("%v after %v: %q, %v, %+v", test.after, test.before, worse, over, got)
		}
	}
}

// TestWhatWaitsIsBounded: where a partition is behind, the oldest of too many
// answers no longer wait for it.
func TestWhatWaitsIsBounded(t *testing.T) {
	t.Parallel()
	w := watchOf(Steps{Watch: maxSteps})
	for i := range int64(maxWaiting + 7) {
		w.waiting = append(w.waiting, answer{known: i})
	}
	must(t, w.feed(partitions))
	if _, _, _, rows := w.differs.Verdict(); rows != 7 || len(w.waiting) != maxWaiting {
		t.Errorf("%d were taken, and %d wait", rows, len(w.waiting))
	}
	w.waiting = append(w.waiting, answer{known: 3}) // of the partition that was behind
	must(t, w.feed(partitions))
	if _, _, _, rows := w.differs.Verdict(); rows != 8 {
		t.Errorf("%d were taken", rows)
	}
}

// TestTrialOnVectorsAsTheLogHasThem scores vectors of all kinds as the server
// does, and judges them as they read back.
func TestTrialOnVectorsAsTheLogHasThem(t *testing.T) {
	s := newSchool(t)
	b := s.train(1, inputs, right)
	m := &Model{Name: model, Task: learn.Binary, Steps: Steps{Shadow: 1000}.WithDefaults()}
	trial := &trial{model: m, version: 2, bundle: b}
	numbers := []features.Value{
		{}, expr.FloatValue(math.NaN()), expr.FloatValue(math.Inf(1)), expr.FloatValue(math.Inf(-1)), expr.FloatValue(math.Copysign(0, -1)),
		expr.FloatValue(1e-320), expr.FloatValue(math.Nextafter(1, 2)), expr.FloatValue(math.MaxFloat64),
	}
	texts := []features.Value{{}, expr.StringValue(""), expr.StringValue("a\x00\u2028<&>\"\\"), expr.StringValue("\ufffd"), expr.StringValue("cut \xe2\x82"), expr.StringValue("Oslo")}
	n := 0
	for _, number := range numbers {
		for _, text := range texts {
			x := []features.Value{number, text}
			value, err := b.Score(x)
			must(t, err)
			p := feedback.Prediction{
				ID: fmt.Sprint(n), Key: "k", Model: model, Set: bundle.SetID(inputs), Vector: x,
				Score: feedback.Score{Value: 0.5}, Shadow: &feedback.Score{Version: 2, Bundle: b.ID(), Value: value},
			}
			rec, err := feedback.Decode(p.AppendJSON(nil))
			must(t, err)
			trial.take(rec.Prediction)
			n++
		}
	}
	if trial.fault != "" || trial.scored != n {
		t.Errorf("%d of %d, fault %q", trial.scored, n, trial.fault)
	}
	trial.take(&feedback.Prediction{ID: "short", Model: model, Vector: numbers[:1], Shadow: &feedback.Score{Version: 2, Bundle: b.ID()}})
	wantText(t, trial.fault, "prediction short: the server scored 0, and the bundle has no score: ")
}
