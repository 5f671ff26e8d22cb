package trainer

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/eval"
	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/gbdt"
	"github.com/millrace/millrace/trainer/learn/trees"
)

func twoLearners() Model {
	m := testModel()
	m.Learners = append(m.Learners, Learner{GBDT: &gbdt.Params{Depth: 3}}.WithDefaults())
	return m
}

// specs are those of the runs, oldest first.
func (r *rig) specs() []spec {
	r.t.Helper()
	specs := make([]spec, len(r.runs()))
	for i, run := range r.runs() {
		if err := json.Unmarshal(run.Spec, &specs[i]); err != nil {
			r.t.Fatal(err)
		}
	}
	return specs
}

// TestEachLearnerMakesACandidate wants a candidate of each learner of the same
// examples, both judged and both reproduced to the byte, trees by slice explained.
func TestEachLearnerMakesACandidate(t *testing.T) {
	m := twoLearners()
	r := newRig(t, m, 2)
	w := newWorld(t, &m, 61, 2, 400, planted)
	r.replay(w, r.loop(), 50)
	c := r.config()
	specs := r.specs()
	if len(specs) < 6 || len(specs)%2 != 0 {
		t.Fatalf("%d runs", len(specs))
	}
	for i := 0; i < len(specs); i += 2 {
		if a, b := specs[i], specs[i+1]; a.Learner != "ftrl" || b.Learner != "gbdt" || a.Known != b.Known || !slices.Equal(a.Ranges, b.Ranges) {
			t.Errorf("runs %d and %d are of %s as of %d and %s as of %d", i, i+1, a.Learner, a.Known, b.Learner, b.Known)
		}
	}
	for _, run := range r.runs() {
		got, err := Reproduce(t.Context(), &c, &m, &run, t.TempDir())
		if err != nil || !got.Identical {
			t.Errorf("run %d: %+v, %v", run.ID, got, err)
		}
	}
	judged := 0
	for _, v := range r.versions() {
		var j eval.Judgement
		if v.Report == nil || json.Unmarshal(v.Report, &j) != nil {
			continue
		}
		judged++
		if len(j.Inputs) != 3 || len(j.Importance) != 3 || j.Importance[0].Rows != j.Rows || j.Importance[1].Column != "shop.city" || j.Importance[0].Ranked()[0] != 0 {
			t.Errorf("version %d: inputs %v matter %+v", v.Number, j.Inputs, j.Importance)
		}
	}
	if judged < 4 {
		t.Errorf("%d versions are judged", judged)
	}
}

// TestOneLearnerWasCutShort has a trainer that has made one of two candidates and
// died: the next one makes the other of the same examples, and no third.
func TestOneLearnerWasCutShort(t *testing.T) {
	m := twoLearners()
	r := newRig(t, m, 1)
	w := newWorld(t, &m, 62, 1, 120, planted)
	r.model.Learners = m.Learners[:1]
	r.write(w, w.hours)
	r.step(r.loop())
	if s := r.specs(); len(s) != 1 || s[0].Learner != "ftrl" {
		t.Fatalf("%+v", s)
	}
	r.model.Learners = m.Learners
	for range 2 {
		r.step(r.loop())
		if s := r.specs(); len(s) != 2 || s[1].Learner != "gbdt" || s[1].Known != s[0].Known {
			t.Fatalf("%+v", s)
		}
	}
}

// TestTreesAreOfAllRows wants as many rounds as were best on the newest fifth,
// grown on all rows, and the loss of that fifth by what was known before it.
func TestTreesAreOfAllRows(t *testing.T) {
	for _, task := range []learn.Task{learn.Binary, learn.Regression} {
		m := twoLearners()
		m.Task, m.Label.Binary = task, task == learn.Binary
		b := newBook(&m, 1)
		feed(b, newWorld(t, &m, 63, 1, 120, planted), rand.New(rand.NewPCG(1, 9)), func() {})
		rows := b.newest()
		f, err := fitTrees(t.Context(), &m, m.Learners[1].GBDT, rows)
		if err != nil {
			t.Fatal(err)
		}
		tr := bundle.FitCategories(m.Inputs, vectors(rows))
		past, held := split(rows)
		for _, p := range past {
			for _, h := range held {
				if p.known > h.Time {
					t.Fatalf("row %s was known at %d, after %s was asked at %d", p.ID, p.known, h.ID, h.Time)
				}
			}
		}
		if n := len(held); n < len(rows)/5 || n > len(rows)/5+10 {
			t.Errorf("%d of %d rows are held out", n, len(rows))
		}
		p := *m.Learners[1].GBDT
		_, seen, err := gbdt.Train(t.Context(), p, task, matrix(&m, tr, past), matrix(&m, tr, held), 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if f.report.Rounds != max(1, seen.Rounds) || math.Abs(float64(*f.report.HeldOut)-seen.Loss()) > 1e-9 {
			t.Errorf("%s: %d rounds with a loss of %v, want %d and %v", task, f.report.Rounds, *f.report.HeldOut, seen.Rounds, seen.Loss())
		}
		p.Trees = f.report.Rounds
		all, _, err := gbdt.Train(t.Context(), p, task, matrix(&m, tr, rows), nil, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		x := matrix(&m, tr, rows)
		for i := range rows {
			row := learn.Row{Dense: x.X[3*i : 3*i+3]}
			if got, want := f.model.Predict(row), predictOf(t, all, task, row); got != want {
				t.Fatalf("%s: row %d is %v, want %v", task, i, got, want)
			}
		}
		if *f.report.HeldOut >= *f.report.BaseRate {
			t.Errorf("%s: the held-out loss is %v, that of the base rate %v", task, *f.report.HeldOut, *f.report.BaseRate)
		}
	}
}

// TestTooFewForTrees wants a failed run that says why, and FTRL's candidate all
// the same.
func TestTooFewForTrees(t *testing.T) {
	m := twoLearners()
	m.Train = Schedule{Every: 100, Window: 100}.WithDefaults()
	r := newRig(t, m, 1)
	w := newWorld(t, &m, 64, 1, 20, planted)
	r.write(w, w.hours)
	r.step(r.loop())
	runs := r.runs()
	if len(runs) != 2 || runs[0].Status != registry.Trained || runs[1].Status != registry.Failed || runs[1].Version != 0 {
		t.Fatalf("%+v", runs)
	}
}

func predictOf(t *testing.T, e *trees.Ensemble, task learn.Task, row learn.Row) float64 {
	t.Helper()
	m, err := trees.New(e, task)
	if err != nil {
		t.Fatal(err)
	}
	return m.Predict(row)
}

// TestWhereLearnersAreCutShort has trainers die between two learners' runs of a data
// set that has moved: what is noted of it is the same, and so is all that follows.
func TestWhereLearnersAreCutShort(t *testing.T) {
	m := twoLearners()
	m.Train.Window = m.Train.Every
	w := newWorld(t, &m, 66, 1, 250, spoilt(func(_ *rand.Rand, x []features.Value, _ float64) { x[1] = expr.FloatValue(x[1].Float() + 1.5) }))
	want := newRig(t, m, 1)
	want.write(w, w.hours)
	want.step(want.loop())
	runs := want.runs()
	if !slices.ContainsFunc(runs, func(r registry.Run) bool { return r.Anomalies != nil }) {
		t.Fatalf("%d runs of nothing that has moved", len(runs))
	}
	r := newRig(t, m, 1)
	r.write(w, w.hours)
	for range runs { // each of which makes one run, and is cut short
		ctx, cancel := context.WithCancel(t.Context())
		c := r.config()
		c.Log = slog.New(cancelling{c.Log.Handler(), cancel})
		l := New(c)
		if err := l.Step(ctx); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		l.Close()
	}
	r.step(r.loop())
	if got := r.outcome(); !slices.Equal(got, want.outcome()) {
		t.Errorf("%.3000q\nwant\n%.3000q", got, want.outcome())
	}
}

// A cancelling ends a context when a candidate is logged.
type cancelling struct {
	slog.Handler
	cancel func()
}

func (c cancelling) Handle(ctx context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "a candidate is trained") {
		c.cancel()
	}
	return c.Handler.Handle(ctx, r)
}

func (c cancelling) WithAttrs(attrs []slog.Attr) slog.Handler {
	return cancelling{c.Handler.WithAttrs(attrs), c.cancel}
}

// TestNothingIsDueForNothing wants a book that takes in rows to ask for nothing
// that grows with the runs, where nothing is due: it does so with each row.
func TestNothingIsDueForNothing(t *testing.T) {
	m := twoLearners()
	b := newBook(&m, 1)
	b.known = 0
	for i := range 1000 {
		b.runs = append(b.runs, pastRun{known: 1e15 - int64(i), learner: "ftrl"})
	}
	if n := testing.AllocsPerRun(10, func() {
		if len(b.due()) != 0 {
			t.Fatal("something is due")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestOtherExamplesAreNotMadeUpFor has a learner come to the project after the last
// run, whose examples are partly lost, or would be others by the window of now: it
// makes none of what is left of them, and waits for the next time.
func TestOtherExamplesAreNotMadeUpFor(t *testing.T) {
	for name, change := range map[string]func(r *rig, last *spec){
		"lost":   func(r *rig, last *spec) { r.deleteBefore(0, last.Ranges[0].Next-20) },
		"window": func(r *rig, _ *spec) { r.model.Train.Window = 700 },
	} {
		t.Run(name, func(t *testing.T) {
			m := twoLearners()
			r := newRig(t, m, 1)
			w := newWorld(t, &m, 62, 1, 200, planted)
			r.model.Learners = m.Learners[:1]
			r.write(w, w.hours)
			r.step(r.loop())
			before := r.specs()
			change(r, &before[len(before)-1])
			r.model.Learners = m.Learners
			r.step(r.loop())
			if after := r.specs(); len(after) != len(before) {
				t.Errorf("%+v", after[len(before):])
			}
		})
	}
}
