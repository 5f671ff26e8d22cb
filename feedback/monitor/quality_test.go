package monitor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/trainer/eval"
)

// TestQualityIsWhatAllRowsGive computes losses, base rates and slices anew.
func TestQualityIsWhatAllRowsGive(t *testing.T) {
	for _, binary := range []bool{true, false} {
		w := gaps(2)
		m := w.model()
		m.Binary = binary
		m.Slices = []string{"a.text", "who"}
		task := map[bool]string{true: "binary", false: "regression"}[binary]
		f := newFleet(t, plain(), m)
		h := w.tell(f, 120)
		decided := 120 - 3 // the horizon is two hours, the grace one
		for _, version := range []int{0, 1} {
			for _, slice := range []string{"", "a.text=red", "who=w2"} {
				i := slices.IndexFunc(f.Quality(slice), func(q Quality) bool { return q.Version == version })
				got := f.Quality(slice)[i]
				sum, n, at := 0.0, 0, 0
				for hourAt := range decided {
					want := naiveUnit(&h, task, hourAt, version, slice)
					if want.Rows == 0 {
						continue
					}
					sum, n = sum+want.Loss, n+1
					p := got.Points[at]
					at++
					if p.Time != want.Time || p.Rows != want.Rows || !same(p.Loss, want.Loss) || !same(p.Base, want.Base) || !same(p.Score, want.Score) || !same(p.Label, want.Label) || !same(p.Mean, sum/float64(n)) {
						t.Fatalf("%s, version %d, %q at %d: %+v, want %+v", task, version, slice, hourAt, p, want)
					}
				}
				if at != len(got.Points) || at == 0 {
					t.Fatalf("%q: %d points, want %d", slice, len(got.Points), at)
				}
			}
		}
	}
}

func naiveUnit(h *history, task string, at, version int, slice string) QualityPoint {
	base := tally{}
	for _, e := range h.es {
		if e.Known <= int64(at)*hour {
			base.count++
			base.sum += e.Label
		}
	}
	p := QualityPoint{Time: int64(at+1) * hour}
	for _, e := range h.es {
		x := e.Prediction
		in := slice == "" || slice == "a.text="+x.Vector[0].Str || slice == "who="+x.Entity[0].Expr
		if x.Time/hour != int64(at) || x.Score.Version != version || !in {
			continue
		}
		p.Rows++
		p.Loss += eval.RowLoss(task, e.Label, x.Score.Value)
		p.Base += eval.RowLoss(task, e.Label, base.rate(task == "binary"))
		p.Score += x.Score.Value
		p.Label += e.Label
	}
	n := float64(p.Rows)
	p.Loss, p.Base, p.Score, p.Label = p.Loss/n, p.Base/n, p.Score/n, p.Label/n
	return p
}

// TestBoundsHoldAtAllTimes: the true mean loss is outside the bounds at any time
// in no more than one world in twenty.
func TestBoundsHoldAtAllTimes(t *testing.T) {
	const worlds = 200
	missed := 0
	for seed := range uint64(worlds) {
		rng := rand.New(rand.NewPCG(seed, 3))
		f := newFleet(t, plain(), Model{Name: "m", Horizon: time.Hour, Grace: time.Hour})
		f.Hurry(1)
		wide, ever := 0.0, false
		for at := range int64(60) {
			for range 3 {
				f.Known(answerAt(at, 1, 0, rng.NormFloat64(), rng)) // squared error: the mean is 1
			}
			f.Passed((at + 3) * hour)
		}
		for _, p := range f.Quality("")[0].Points {
			if p.Lo > 1 || p.Hi < 1 {
				ever = true
			}
			wide = p.Hi - p.Lo
		}
		if ever {
			missed++
		}
		if !(wide < 1.5 && wide > 0.1) {
			t.Fatalf("after 60 units the bounds are %v wide", wide)
		}
	}
	if lo, _ := eval.Wilson(missed, worlds, 0.95); lo > 0.05 {
		t.Errorf("the mean was outside the bounds in %d of %d worlds", missed, worlds)
	}
}

func answerAt(at int64, version int, score, label float64, rng *rand.Rand) *feedback.Example {
	p := feedback.Prediction{ID: fmt.Sprint(rng.Uint64()), Time: at * hour, Score: feedback.Score{Version: version, Value: score}}
	return &feedback.Example{Kind: feedback.Labelled, Prediction: p, Label: label, Known: at*hour + hour/2, Seq: at}
}

// TestWorseThanTheBaseRate: a champion that comes to be worse alarms, until it is
// better again or is replaced; one that is no worse does not.
func TestWorseThanTheBaseRate(t *testing.T) {
	c := plain()
	c.Window, c.Reference, c.Per = 48*time.Hour, 480*time.Hour, 4800*time.Hour
	run := func(seed uint64, score func(at int64, rate float64) (version int, p float64)) (all map[string]Alarm, f *Fleet) {
		rng := rand.New(rand.NewPCG(seed, 7))
		f = newFleet(t, c, Model{Name: "m", Binary: true, Horizon: time.Hour, Grace: time.Hour})
		f.Hurry(1)
		all = make(map[string]Alarm)
		for at := range int64(900) {
			for range 5 {
				rate := 0.2 + 0.6*rng.Float64()
				label := 0.0
				if rng.Float64() < rate {
					label = 1
				}
				version, p := score(at, rate)
				f.Known(answerAt(at, version, p, label, rng))
			}
			for _, a := range f.Passed((at + 3) * hour) {
				if a.Kind == QualityMonitor {
					all[a.ID] = a
				}
			}
		}
		return all, f
	}
	for seed := range uint64(20) {
		if all, _ := run(seed, func(_ int64, rate float64) (int, float64) { return 1, rate }); len(all) > 0 {
			t.Errorf("a good champion: %v", all)
		}
	}
	all, f := run(1, func(_ int64, rate float64) (int, float64) { return 1, 1 - rate })
	if len(all) != 1 || len(f.Open()) == 0 {
		t.Fatalf("a bad champion: %v", all)
	}
	for _, a := range all {
		if a.Column != ScoreColumn || a.Version != 1 || a.Over != 0 || !(a.Worst > 0) || !strings.Contains(a.Text, "log loss of version 1 is greater than that of the base rate") {
			t.Errorf("%+v", a)
		}
	}
	if r, ok := f.Reading(QualityMonitor, ScoreColumn); !ok || r.State != Alarmed || !(r.Value > 0) || r.Rows < 4000 {
		t.Errorf("%+v", r)
	}
	all, f = run(1, func(at int64, rate float64) (int, float64) {
		if at < 400 {
			return 1, 1 - rate
		}
		return 2, rate
	})
	for _, a := range all {
		if a.Over != 401*hour {
			t.Errorf("the champion was replaced: %+v", a)
		}
	}
	if r, _ := f.Reading(QualityMonitor, ScoreColumn); len(all) != 1 || r.State != Fine {
		t.Errorf("%v, %+v", all, r)
	}
	all, _ = run(1, func(at int64, rate float64) (int, float64) {
		if at < 400 {
			return 1, 1 - rate
		}
		return 1, rate
	})
	for _, a := range all {
		if a.Over <= 400*hour || a.Over > 600*hour {
			t.Errorf("the champion was good again: %+v", a)
		}
	}
	if len(all) != 1 {
		t.Error(all)
	}
}

// TestBaseRateHasNoQualityMonitor: it cannot be worse than itself.
func TestBaseRateHasNoQualityMonitor(t *testing.T) {
	w := &world{columns: 1, rows: 3, learned: 1000}
	f := newFleet(t, small(), w.model())
	f.Hurry(1)
	w.feed(f, 100)
	if r, ok := f.Reading(QualityMonitor, ScoreColumn); !ok || r.State != NoReference {
		t.Errorf("%+v", r)
	}
	if q := f.Quality(""); len(q) != 1 || q[0].Version != 0 || len(q[0].Points) != 97 {
		t.Errorf("%d", len(q))
	}
}

// TestLossThatChangesIsSeen: ADWIN finds the hour.
func TestLossThatChangesIsSeen(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 7))
	f := newFleet(t, plain(), Model{Name: "m", Binary: true, Horizon: time.Hour, Grace: time.Hour})
	f.Hurry(1)
	for at := range int64(800) {
		score := 0.5
		if at >= 500 {
			score = 0.1
		}
		for range 5 {
			f.Known(answerAt(at, 1, score, float64(rng.IntN(2)), rng))
		}
		f.Passed((at + 3) * hour)
	}
	changes := f.Quality("")[0].Changes
	if len(changes) == 0 || changes[0] < 500*hour || changes[0] > 600*hour {
		t.Errorf("changes at %v", changes)
	}
}

func TestCalibrationBins(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 7))
	f := newFleet(t, plain(), Model{Name: "m", Binary: true})
	for i := range 1000 {
		score := float64(i) / 1000
		label := 0.0
		if score > 0.5 {
			label = 1
		}
		f.Known(answerAt(0, 4, score, label, rng))
	}
	f.Known(answerAt(0, 4, 1, 1, rng))
	f.Passed(2 * hour)
	bins := f.Calibration(4)
	if len(bins) != 20 || bins[0].Rows != 50 || bins[19].Rows != 51 || bins[0].Label != 0 || bins[19].Label != 1 || math.Abs(bins[3].Score-0.1745) > 1e-9 {
		t.Fatalf("%+v", bins)
	}
	if lo, hi := eval.Wilson(0, 50, 0.95); bins[0].Lo != lo || bins[0].Hi != hi {
		t.Errorf("%+v", bins[0])
	}
	if f.Calibration(5) != nil {
		t.Error("bins of a version that never answered")
	}
}

// TestCorrectedLabel: the newest word on a prediction stands, until its unit is
// decided.
func TestCorrectedLabel(t *testing.T) {
	w := &world{columns: 1, rows: 1, learned: 5}
	f := newFleet(t, small(), w.model())
	ps, es := w.next()
	f.Predicted(&ps[0])
	e := es[0]
	e.Label = 0
	f.Known(&e)
	fixed := e
	fixed.Label, fixed.Correction, fixed.Seq, fixed.Known = 1, true, e.Seq+1, e.Known+hour
	f.Known(&fixed)
	f.Known(&e)
	f.Tick(hour)
	if p := f.EntitySeries("w0", "a.x0"); len(p) != 1 || p[0].Label != 1 || !math.IsNaN(p[0].Score) {
		t.Errorf("%+v", p)
	}
	f.Passed(4 * hour)
	if p := f.EntitySeries("w0", LabelColumn); len(p) != 1 || p[0].Label != 1 || p[0].Value != 1 {
		t.Errorf("%+v", p)
	}
	if s := f.Series(LabelColumn, 0, 10*hour); len(s) != 1 || s[0].Mean != 1 || s[0].Rows != 1 {
		t.Errorf("%+v", s)
	}
	fixed.Label, fixed.Seq = 0, e.Seq+2
	f.Known(&fixed)
	if c := f.Counts(); c.Late != 1 || c.Answered != 2 || c.Predictions != 1 {
		t.Errorf("%+v", c)
	}
}

func TestSlicesAreBounded(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 7))
	m := Model{Name: "m", Binary: true, Entity: []string{"who"}, Slices: []string{"who"}}
	f := newFleet(t, plain(), m)
	for at := range int64(3) {
		for i := range 50 {
			e := answerAt(at, 1, 0.5, 1, rng)
			e.Prediction.Entity = append(e.Prediction.Entity, features.Named{Name: "who", Expr: fmt.Sprintf("w%02d", i)})
			f.Known(e)
		}
	}
	f.Passed(9 * hour)
	names := f.SliceNames()
	if len(names) != 1+sliceValues+1 || names[0] != "" || names[1] != "who=(others)" {
		t.Errorf("%v", names)
	}
	if q := f.Quality("who=(others)"); len(q) != 1 || q[0].Rows != 3*30 {
		t.Errorf("%+v", q)
	}
	if f.Quality("who=w49") != nil {
		t.Error("a slice of the others has its own quality")
	}
}

// plain is a small config for models without features.
func plain() Config {
	c := small()
	c.Std = nil
	return c
}
