package trees

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

func TestNewTakesATaskOfTheLink(t *testing.T) {
	for link, fit := range tasksOf {
		e := &Ensemble{Link: link, Base: []float64{0}}
		if link == Softmax {
			e.Base = []float64{0, 0}
		}
		for _, task := range []learn.Task{learn.Binary, learn.Regression, learn.Multiclass, "other"} {
			m, err := New(e, task)
			switch {
			case task == fit && (err != nil || m.Task() != task || m.Ensemble() != e):
				t.Errorf("link %s, task %s: %v", link, task, err)
			case task != fit && (err == nil || !strings.Contains(err.Error(), string(fit))):
				t.Errorf("link %s, task %s: %v", link, task, err)
			}
		}
	}
}

func TestLinks(t *testing.T) {
	for _, c := range []struct {
		link         Link
		margin, want float64
	}{
		{Identity, -3.5, -3.5},
		{Logistic, 0, 0.5},
		{Logistic, math.Log(3), 0.75},
		{Logistic, -math.Log(3), 0.25},
		{Logistic, 1e100, 1 / (1 + math.Exp(-35))},
		{Logistic, -1e100, 1 / (1 + math.Exp(35))},
		{Exp, 0, 1},
		{Exp, 2, math.Exp(2)},
		{Exp, 1e100, math.Exp(700)},
		{Exp, -1e100, math.Exp(-700)},
	} {
		if got := c.link.Predict(c.margin); math.Abs(got/c.want-1) > 1e-15 {
			t.Errorf("%s of %v: %v, want %v", c.link, c.margin, got, c.want)
		}
	}
}

func TestProbabilitiesOfClasses(t *testing.T) {
	m, err := New(&Ensemble{Link: Softmax, Base: []float64{math.Log(1), math.Log(2), math.Log(5)}}, learn.Multiclass)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "thirds", m.Probabilities([]float64{9}, nil), []float64{9, 0.125, 0.25, 0.625})
	m.ensemble.Base = []float64{1e100, -1e100, 1e100}
	near(t, "extreme", m.Probabilities(nil, nil), []float64{0.5, 0, 0.5})
}

func TestMisuseIsToldInAPanic(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 0))
	one := maker{Rand: r, features: 3, trees: 1, depth: 2}.model(t)
	many := maker{Rand: r, features: 3, trees: 2, depth: 2, classes: 2}.model(t)
	row := make([]float64, 3)
	for name, call := range map[string]func(){
		"2 values for a model of 3":  func() { one.Margins(nil, row[:2]) },
		"4 values for 1 rows of 3":   func() { one.PredictAll(row[:1], make([]float64, 4)) },
		"0 values for a model of 3":  func() { one.Predict(learn.Row{}) },
		"1 values for a model of 3":  func() { one.Contributions(nil, learn.Row{Dense: row[:1]}) },
		"class 1 of 1":               func() { one.ContributionsOf(1, nil, row) },
		"class -1 of 2":              func() { many.ContributionsOf(-1, nil, row) },
		"call Probabilities":         func() { many.Predict(learn.Row{Dense: row}) },
		"Probabilities for each row": func() { many.PredictAll(row[:1], row) },
		"call ContributionsOf":       func() { many.Contributions(nil, learn.Row{Dense: row}) },
	} {
		func() {
			defer func() {
				if said, ok := recover().(string); !ok || !strings.Contains(said, name) {
					t.Errorf("%q, want one with %q", said, name)
				}
			}()
			call()
		}()
	}
}

func TestScoringAllocatesNothing(t *testing.T) {
	for name, k := range kinds(1) {
		if k.classes > 1 {
			continue
		}
		m := k.model(t)
		x := k.rows(100)
		dst := make([]float64, 100)
		margins := make([]float64, 1)
		if n := testing.AllocsPerRun(5, func() {
			m.PredictAll(dst, x)
			for i := range dst {
				row := x[i*k.features : (i+1)*k.features]
				dst[i] = m.Predict(learn.Row{Dense: row})
				margins = m.Margins(margins[:0], row)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations in 100 rows", name, n)
		}
	}
}

// TestCallsAtOnce is for the race detector, and for what calls share.
func TestCallsAtOnce(t *testing.T) {
	k := maker{Rand: rand.New(rand.NewPCG(8, 0)), features: 6, trees: 10, depth: 5, sets: true}
	m := k.model(t)
	x := k.rows(50)
	all := func() []float64 {
		dst := make([]float64, 50)
		m.PredictAll(dst, x)
		for i := range 50 {
			dst = m.Contributions(dst, learn.Row{Dense: x[i*6 : i*6+6]})
		}
		return dst
	}
	want := all()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if !slices.Equal(all(), want) {
				t.Error("calls at once give other numbers than one alone")
			}
		})
	}
	wg.Wait()
}
