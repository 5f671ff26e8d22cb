package trees

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

// kinds are makers of ensembles that take all ways of scoring.
func kinds(seed uint64) map[string]maker {
	r := rand.New(rand.NewPCG(seed, 0))
	return map[string]maker{
		"full":         {Rand: r, features: 28, trees: 20, depth: 6},
		"ragged":       {Rand: r, features: 5, trees: 20, depth: 12, stop: 0.3},
		"deep":         {Rand: r, features: 5, trees: 3, depth: 60, stop: 0.45},
		"by leaves":    {Rand: r, features: 5, trees: 9, leaves: 80},
		"sets":         {Rand: r, features: 5, trees: 20, depth: 5, sets: true, zeros: true},
		"few sets":     {Rand: r, features: 5, trees: 60, depth: 1, sets: true},
		"classes":      {Rand: r, features: 5, trees: 20, depth: 5, classes: 3},
		"many columns": {Rand: r, features: 400, trees: 20, depth: 6, zeros: true},
		"leaves":       {Rand: r, features: 1, trees: 3, depth: 0},
		"no trees":     {Rand: r, features: 2},
		"no features":  {Rand: r, trees: 2},
	}
}

func (m maker) model(t testing.TB) *Model {
	t.Helper()
	task := learn.Binary
	if m.classes > 1 {
		task = learn.Multiclass
	}
	made, err := New(m.ensemble(), task)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func patterns(x []float64) []uint64 {
	b := make([]uint64, len(x))
	for i := range x {
		b[i] = math.Float64bits(x[i])
	}
	return b
}

func TestMarginsAreThoseOfTheDefinition(t *testing.T) {
	for seed := range uint64(5) {
		for name, k := range kinds(seed) {
			m := k.model(t)
			const rows = 150
			x := k.rows(rows)
			all := make([]float64, rows)
			if k.classes < 2 {
				m.PredictAll(all, x)
			}
			for i := range rows {
				row := x[i*k.features : (i+1)*k.features]
				want := naive(m.Ensemble(), row)
				if got := m.Margins(nil, row); !slices.Equal(patterns(got), patterns(want)) {
					t.Fatalf("%s, seed %d: row %v has margins %v, want %v", name, seed, row, got, want)
				}
				if k.classes < 2 {
					one := m.Predict(learn.Row{Dense: row})
					if want := Logistic.Predict(want[0]); one != want || all[i] != want {
						t.Fatalf("%s, seed %d: %v alone and %v among others, want %v", name, seed, one, all[i], want)
					}
				}
			}
		}
	}
}
