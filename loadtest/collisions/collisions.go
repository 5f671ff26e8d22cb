// Package collisions is the workload of trees: rows of 28 numbers like those of
// the HIGGS data set, of which each describes a collision of particles and the
// label says whether a new particle was in it.
package collisions

import (
	"math"
	"math/rand/v2"
)

// Features are the numbers of a row.
const Features = 28

// The last numbers are made of the others, as masses are of momenta.
const (
	momenta = 21
	masses  = Features - momenta
)

// A Row is one example: 1 or 0, and its numbers. It is in memory as it is in a
// file, 116 bytes.
type Row struct {
	Label float32
	X     [Features]float32
}

// A Generator makes rows. Two with one seed make the same rows.
//
// The law is that of the benchmarks of other learners (Baldi et al., "Searching
// for exotic particles in high-energy physics with deep learning", 2014, has the
// data that it imitates). Numbers are normal, or the absolute value of the product
// of two with another added. The truth is a logistic function of products, waves
// and steps of some of them, and the others are noise.
type Generator struct{ rand *rand.Rand }

// NewGenerator returns a generator at the first row.
func NewGenerator(seed uint64) *Generator {
	return &Generator{rand.New(rand.NewPCG(seed, 0))}
}

// steepness is how much the truth's log-odds follow its score.
const steepness = 1.2

// Next sets the row to the next, and returns the true probability of its label.
func (g *Generator) Next(r *Row) float64 {
	for i := range r.X {
		r.X[i] = float32(g.rand.NormFloat64())
	}
	for i := range masses {
		r.X[momenta+i] = float32(math.Abs(float64(float64(r.X[i])*float64(r.X[masses+i])) + 0.5*float64(r.X[momenta+i])))
	}
	truth := 1 / (1 + math.Exp(-steepness*score(&r.X)))
	r.Label = 0
	if g.rand.Float64() < truth {
		r.Label = 1
	}
	return truth
}

// score is the truth's score of a row. Its mean over all rows is 0: all terms but
// the absolute value have that mean, and a normal number's is the root of 2/pi.
func score(numbers *[Features]float32) float64 {
	x := func(i int) float64 { return float64(numbers[i]) }
	z := 0.6*x(0)*x(1) + 0.5*math.Sin(2*x(2)) + 0.4*(x(3)*x(3)-1)
	z -= 0.5 * (math.Abs(x(4)) - math.Sqrt(2/math.Pi))
	if x(6) > 0 {
		z += 0.4 * x(5)
	}
	z += 0.3*x(8) - 0.3*math.Tanh(x(9)*x(10))
	return z + 0.3*(x(21)-x(22)) + 0.25*x(23)*x(11)
}
