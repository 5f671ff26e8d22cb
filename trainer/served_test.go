package trainer

import (
	"math"
	"testing"

	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/trainer/eval"
	"github.com/millrace/millrace/trainer/learn"
)

func lossOf(task learn.Task, label, score float64) float64 {
	return eval.RowLoss(string(task), label, score)
}

// TestServed measures what champions have answered, by the definition: on final
// labels, from the first answer on.
func TestServed(t *testing.T) {
	m := testModel()
	r := newRig(t, m, 2)
	w := newWorld(t, &m, 51, 2, 240, planted)
	const from = 140 * hour
	for p := range w.records {
		for i := range w.records[p] {
			if e := &w.records[p][i]; e.Prediction.Time > from && e.Kind == feedback.Labelled {
				e.Prediction.Score = feedback.Score{Version: 1, Bundle: "b", Value: 0.25 + 0.5*e.Label}
			}
		}
	}
	l := r.loop()
	if s, err := l.Served(t.Context(), m.Name); err != nil || s.Rows != 0 || l.Passed(m.Name) != math.MinInt64 {
		t.Fatal(s, err)
	}
	r.write(w, w.hours)
	r.step(l)
	if at := l.Passed(m.Name); at != 240*hour {
		t.Errorf("passed %d", at)
	}
	s, err := l.Served(t.Context(), m.Name)
	if err != nil {
		t.Fatal(err)
	}
	one, err := l.open(r.versions()[0].Bundle)
	if err != nil {
		t.Fatal(err)
	}
	all := labelsOf(w, math.MaxInt64)
	var rows, champion, base, first float64
	for _, x := range all {
		p := x.Prediction
		if p.Score.Version == 0 || p.Time+7*hour >= 240*hour {
			continue
		}
		rows++
		champion += lossOf(m.Task, x.Label, p.Score.Value)
		asked := &row{Prediction: p}
		rate, _ := naiveBaselines(all, m.Task, asked)
		base += lossOf(m.Task, x.Label, rate)
		stayed, err := one.Score(p.Vector)
		if err != nil {
			t.Fatal(err)
		}
		first += lossOf(m.Task, x.Label, stayed)
	}
	near := func(a eval.Number, b float64) bool { return math.Abs(float64(a)-b) < 1e-9 }
	if float64(s.Rows) != rows || rows < 600 || !near(s.Champion, champion/rows) || !near(s.BaseRate, base/rows) || !near(s.First, first/rows) || s.FirstVersion != 1 {
		t.Errorf("%+v; want %v rows, %v, %v, %v", s, rows, champion/rows, base/rows, first/rows)
	}
	if !near(s.Gain.Mean, (base-champion)/rows) || !near(s.GainOfFirst.Mean, (first-champion)/rows) || s.Gain.Lo >= s.Gain.Mean || s.Gain.Hi <= s.Gain.Mean || s.Gain.Lo <= 0 {
		t.Errorf("%+v, %+v", s.Gain, s.GainOfFirst)
	}
}
