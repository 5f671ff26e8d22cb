package trainer

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/trainer/dataset"
)

// turn is the hour from which a world is another one. Two candidates are made of
// what was before.
const turn = 162

// spoilt is a world in which something happens to the vectors.
func spoilt(spoil func(r *rand.Rand, x []features.Value, label float64)) teller {
	return func(r *rand.Rand, hour int) ([]features.Value, float64) {
		x, label := planted(r, hour)
		if hour >= turn {
			spoil(r, x, label)
		}
		return x, label
	}
}

// TestDataSetStopsCandidates plants what is wrong with a data set: the run says
// which column it is, and no version appears. What was made before is unharmed.
func TestDataSetStopsCandidates(t *testing.T) {
	for _, c := range []struct {
		name, column, kind string
		spoil              func(r *rand.Rand, x []features.Value, label float64)
	}{
		{"leak", "shop.y", dataset.Leak, func(r *rand.Rand, x []features.Value, label float64) {
			x[1] = expr.FloatValue(label + 0.01*r.NormFloat64())
		}},
		{"a hundred times as large", "shop.x", dataset.Drift, func(_ *rand.Rand, x []features.Value, _ float64) { x[0] = expr.FloatValue(100 * x[0].Float()) }},
		{"moved", "shop.x", dataset.Drift, func(_ *rand.Rand, x []features.Value, _ float64) { x[0] = expr.FloatValue(5 + x[0].Float()) }},
		{"missing", "shop.y", dataset.Presence, func(_ *rand.Rand, x []features.Value, _ float64) { x[1] = features.Value{} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := testModel()
			m.Train.Window = m.Train.Every
			r := newRig(t, m, 2)
			w := newWorld(t, &m, 4, 2, 340, spoilt(c.spoil))
			r.write(w, w.hours)
			r.step(r.loop())
			stopped := 0
			for i, run := range r.runs() {
				var s spec
				if err := json.Unmarshal(run.Spec, &s); err != nil {
					t.Fatal(err)
				}
				if run.Status == registry.Trained {
					if i > 1 {
						t.Errorf("run %d is trained", run.ID)
					}
					continue
				}
				stopped++
				var anomalies []dataset.Anomaly
				if err := json.Unmarshal(run.Anomalies, &anomalies); err != nil {
					t.Fatal(err)
				}
				named := slices.ContainsFunc(anomalies, func(a dataset.Anomaly) bool {
					return a.Level == dataset.Error && a.Kind == c.kind && a.Column == c.column
				})
				if run.Status != registry.Stopped || run.Version != 0 || run.Bundle != "" || !named || !strings.Contains(run.Error, c.column) {
					t.Errorf("run %d: %s, version %d, %q, %s", run.ID, run.Status, run.Version, run.Error, run.Anomalies)
				}
			}
			if stopped == 0 || len(r.runs())-len(r.versions()) != stopped {
				t.Errorf("%d of %d runs are stopped, with %d versions", stopped, len(r.runs()), len(r.versions()))
			}
		})
	}
}

// TestSwappedColumnsStopCandidates puts two columns in each other's place.
func TestSwappedColumnsStopCandidates(t *testing.T) {
	m := testModel()
	m.Train.Window = m.Train.Every
	r := newRig(t, m, 1)
	w := newWorld(t, &m, 4, 1, 340, func(r *rand.Rand, hour int) ([]features.Value, float64) {
		x, label := planted(r, hour)
		x[1] = expr.FloatValue(10 + 3*x[1].Float())
		if hour >= turn {
			x[0], x[1] = x[1], x[0]
		}
		return x, label
	})
	r.write(w, w.hours)
	r.step(r.loop())
	last := r.runs()[len(r.runs())-1]
	if last.Status != registry.Stopped || !strings.Contains(last.Error, dataset.Swapped) || !strings.Contains(last.Error, "shop.x") || !strings.Contains(last.Error, "shop.y") {
		t.Errorf("%s: %s", last.Status, last.Error)
	}
}

// TestOneClassWaitsForMore is stopped while all labels are equal, and is not
// tried again before as many new examples have come.
func TestOneClassWaitsForMore(t *testing.T) {
	m := testModel()
	m.Train.Window = m.Train.Every
	r := newRig(t, m, 2)
	w := newWorld(t, &m, 5, 2, 260, func(r *rand.Rand, hour int) ([]features.Value, float64) {
		x, label := planted(r, hour)
		if hour < 90 {
			label = 0
		}
		return x, label
	})
	for p := range w.records { // nor do corrections make another class
		w.records[p] = slices.DeleteFunc(w.records[p], func(e written) bool { return e.Kind == "example" && e.hour < 90 && e.Label == 1 })
	}
	r.replay(w, r.loop(), 5)
	runs := r.runs()
	if len(runs) != 2 && len(runs) != 3 {
		t.Fatalf("%d runs", len(runs))
	}
	if runs[0].Status != registry.Stopped || !strings.Contains(runs[0].Error, dataset.LabelOneClass) || runs[len(runs)-1].Status != registry.Trained {
		t.Errorf("%s: %s, then %s: %s", runs[0].Status, runs[0].Error, runs[len(runs)-1].Status, runs[len(runs)-1].Error)
	}
}

// TestSchemaIsObeyed lets a person say what is allowed and what is not.
func TestSchemaIsObeyed(t *testing.T) {
	m := testModel()
	m.Train.Window = m.Train.Every
	r := newRig(t, m, 1)
	file := r.config().SchemaFile(m.Name)
	edit := func(old, now string) {
		t.Helper()
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), old) {
			t.Fatalf("%q is not in the schema: %v\n%s", old, err, text)
		}
		if err := os.WriteFile(file, []byte(strings.Replace(string(text), old, now, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	leak := func(r *rand.Rand, hour int) ([]features.Value, float64) {
		x, label := planted(r, hour)
		x[1] = expr.FloatValue(label)
		return x, label
	}
	w := newWorld(t, &m, 6, 1, 300, leak)
	l := r.loop()
	r.write(w, 100)
	r.step(l)
	if runs := r.runs(); len(runs) != 1 || runs[0].Status != registry.Stopped || !strings.Contains(runs[0].Error, "shop.y: leak") {
		t.Fatalf("%+v", runs)
	}
	edit("name: shop.y\n    type: float\n    presence: 1.0\n    drift: {warn: 0.2, error: 0.7}\n    leak: 0.98\n", "name: shop.y\n    type: float\n    presence: 1.0\n")
	r.write(w, 200)
	r.step(l)
	if runs := r.runs(); len(runs) != 2 || runs[1].Status != registry.Trained {
		t.Fatalf("%+v", runs)
	}
	edit("name: shop.x\n    type: float\n    presence: 1.0\n", "name: shop.x\n    type: float\n    presence: 1.0\n    max: 0.5\n")
	r.write(w, 300)
	r.step(l)
	if runs := r.runs(); len(runs) != 3 || runs[2].Status != registry.Stopped || !strings.Contains(runs[2].Error, "shop.x: range") {
		t.Fatalf("%+v", runs)
	}
	edit("rows:", "rowz:")
	b := l.books[0]
	if _, err := l.validate(b, summarise(&m, b.newest())); err == nil || !strings.Contains(err.Error(), "rowz") {
		t.Error(err)
	}
}

// TestTwoTrainersAtOnce lets three work on one project at once: what comes of it
// is what one makes.
func TestTwoTrainersAtOnce(t *testing.T) {
	m := testModel()
	w := newWorld(t, &m, 7, 3, 300, planted)
	one := newRig(t, m, 3)
	one.write(w, w.hours)
	one.step(one.loop())
	many := newRig(t, m, 3)
	var all sync.WaitGroup
	defer all.Wait()
	stop := make(chan struct{})
	defer close(stop)
	for range 2 {
		c := many.config()
		c.Registry = openRegistry(t, many.dir)
		c.Log = one.config().Log
		l := New(c)
		all.Go(func() {
			defer l.Close()
			for {
				select {
				case <-stop:
					return
				default:
					if err := l.Step(t.Context()); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	c := many.config()
	l := New(c)
	defer l.Close()
	for h := 0; h < w.hours; h += 20 {
		many.write(w, h+20)
		many.step(l)
	}
	if got, want := many.outcome(), one.outcome(); !slices.Equal(got, want) || len(want) < 6 {
		t.Errorf("%.3000q\nwant\n%.3000q", got, want)
	}
}
