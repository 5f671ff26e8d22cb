// Package clicks is the learners' workload: clicks on advertisements, or rows
// like them, of 13 numbers and 26 categories, some of which have 100,000 values.
package clicks

import (
	"math"
	"math/rand/v2"
	"slices"
	"sort"

	"github.com/millrace/millrace/trainer/learn"
)

// The columns of a row.
const (
	Numbers    = 13
	Categories = 26
)

// A Row is one example as it is in memory before a model's transform.
type Row struct {
	Numbers    [Numbers]float32   // not negative; 0 where missing
	Categories [Categories]uint32 // which value, by its rank: 0 is the most common
	Label      uint8
}

// Encode sets dst to the row as a learner takes it. A number becomes log(1 + x)
// - 1, which is about 0 on average. A category and its value become one place:
// the high bits of their product with a number near 2^64 over the golden ratio
// (Knuth, TAOCP 3, section 6.4).
func (r *Row) Encode(dst *learn.Row) {
	dst.Dense = slices.Grow(dst.Dense[:0], Numbers)[:Numbers]
	dst.Hashed = slices.Grow(dst.Hashed[:0], Categories)[:Categories]
	for i, x := range r.Numbers {
		dst.Dense[i] = math.Log1p(float64(x)) - 1
	}
	for j, c := range r.Categories {
		dst.Hashed[j] = uint32((uint64(j+1)<<32 | uint64(c)) * 0x9E3779B97F4A7C15 >> 40)
	}
}

// The law of the rows, which is that of the benchmarks of other learners.
const (
	missing  = 0.15 // of the numbers
	logMean  = 1.0  // the others are log-normal
	logScale = 1.2
	zipf     = 1.2  // the k-th value of a category is drawn in proportion to k^-zipf
	level    = -1.9 // of the truth's score: a fifth to a third of the labels are 1

	numberEffect   = 0.25 // standard deviations of the truth's weights
	categoryEffect = 0.35
	pairEffect     = 0.3
)

// pairs are categories of few values whose values together have a weight, which
// a linear model of single values cannot learn.
var pairs = [...][2]int{{0, 1}, {2, 3}, {4, 5}}

// cardinality returns the number of values of a category: 10 for the first, then
// more and more, in steps of a constant ratio, up to 100,000.
func cardinality(j int) int { return int(math.Pow(10, 1+4*float64(j)/(Categories-1)) + 1e-9) }

// A Generator makes rows. Two with one seed make the same rows, whose labels
// follow the same truth: a score that is linear in log(1 + number), with a weight
// for each value of a category and for pairs of values.
type Generator struct {
	rand    *rand.Rand
	level   float64
	numbers [Numbers]float64
	values  [Categories][]float64 // weights
	cdf     [Categories][]float64 // not normalised
	pairs   [len(pairs)][]float64
}

// NewGenerator returns a generator at the first row.
func NewGenerator(seed uint64) *Generator {
	r := rand.New(rand.NewPCG(seed, 0))
	g := &Generator{rand: r}
	for i := range g.numbers {
		g.numbers[i] = numberEffect * r.NormFloat64()
	}
	for j := range g.values {
		n := cardinality(j)
		g.values[j] = normals(r, n, categoryEffect)
		g.cdf[j] = make([]float64, n)
		sum := 0.0
		for k := range n {
			sum += math.Pow(float64(k+1), -zipf)
			g.cdf[j][k] = sum
		}
	}
	for i, p := range pairs {
		g.pairs[i] = normals(r, cardinality(p[0])*cardinality(p[1]), pairEffect)
	}
	g.level = level - g.meanOfNumbers()
	return g
}

func normals(r *rand.Rand, n int, deviation float64) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = deviation * r.NormFloat64()
	}
	return x
}

// meanOfNumbers estimates what the numbers add to a score on average.
func (g *Generator) meanOfNumbers() float64 {
	const draws = 10_000
	sum := 0.0
	for range draws {
		for _, w := range g.numbers {
			sum += w * math.Log1p(float64(g.number()))
		}
	}
	return sum / draws
}

// number draws a number, of at most three decimals.
func (g *Generator) number() float32 {
	if g.rand.Float64() < missing {
		return 0
	}
	return float32(math.Round(1e3*math.Exp(logMean+logScale*g.rand.NormFloat64())) / 1e3)
}

// Next sets the row to the next, and returns the true probability of its label.
func (g *Generator) Next(r *Row) float64 {
	score := g.level
	for i := range r.Numbers {
		r.Numbers[i] = g.number()
		score += g.numbers[i] * math.Log1p(float64(r.Numbers[i]))
	}
	for j, cdf := range g.cdf {
		last := len(cdf) - 1
		k := min(sort.SearchFloat64s(cdf, g.rand.Float64()*cdf[last]), last)
		r.Categories[j] = uint32(k)
		score += g.values[j][k]
	}
	for i, p := range pairs {
		score += g.pairs[i][int(r.Categories[p[0]])*cardinality(p[1])+int(r.Categories[p[1]])]
	}
	truth := 1 / (1 + math.Exp(-score))
	r.Label = 0
	if g.rand.Float64() < truth {
		r.Label = 1
	}
	return truth
}
