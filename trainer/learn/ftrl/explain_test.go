package ftrl

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

// TestContributions adds them up to the score, and leaves a value out: the score
// falls by what it contributed.
func TestContributions(t *testing.T) {
	for _, task := range []learn.Task{learn.Binary, learn.Regression} {
		m := New(task, 13, Params{L2: 0.01}.WithDefaults())
		r := rand.New(rand.NewPCG(8, 0))
		many := rows(500)
		for _, x := range many {
			label := float64(r.IntN(2))
			if task == learn.Regression {
				label = 1000 + 50*x.Dense[0] + r.NormFloat64()
			}
			m.Learn(x, label, 1)
		}
		score := func(x learn.Row) float64 {
			p := m.Predict(x)
			if task == learn.Binary {
				return math.Log(p / (1 - p))
			}
			return p
		}
		for _, x := range many[:50] {
			parts := m.Contributions([]float64{7}, x)
			if len(parts) != 1+len(x.Dense)+len(x.Hashed)+1 || parts[0] != 7 {
				t.Fatalf("%s: %d contributions of %d values and %d places", task, len(parts)-1, len(x.Dense), len(x.Hashed))
			}
			sum := 0.0
			for _, c := range parts[1:] {
				sum += c
			}
			if want := score(x); math.Abs(sum-want) > 1e-9*(1+math.Abs(want)) {
				t.Errorf("%s: contributions add up to %v, and the score is %v", task, sum, want)
			}
			without := learn.Row{Dense: append([]float64{}, x.Dense...), Hashed: x.Hashed[1:]}
			without.Dense[2] = 0
			if fell, want := score(x)-score(without), parts[1+2]+parts[1+len(x.Dense)]; math.Abs(fell-want) > 1e-9*(1+math.Abs(score(x))) {
				t.Errorf("%s: without two values the score falls by %v, and they contributed %v", task, fell, want)
			}
		}
	}
}
