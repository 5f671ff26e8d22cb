package trees

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

// A size is what a benchmark takes.
type size struct {
	trees, depth, leaves int
	stop, missing        float64
}

var sizes = map[string]size{
	"trees=100/depth=6":         {trees: 100, depth: 6},
	"trees=100/depth=6/missing": {trees: 100, depth: 6, missing: 0.05},
	"trees=100/ragged":          {trees: 100, depth: 14, stop: 0.35},
	"trees=1000/depth=8":        {trees: 1000, depth: 8},
	"trees=100/leaves=255":      {trees: 100, leaves: 255},
}

// benchRows is how many rows the benchmarks go around: more than caches or branch
// predictors can know by heart.
const benchRows = 1 << 14

// model returns a model of trees of 28 features, whose splits are where rows
// are, and rows of which so many have missing values.
func (s size) model(b testing.TB) (*Model, []float64) {
	k := maker{Rand: rand.New(rand.NewPCG(7, 7)), features: 28, trees: s.trees, depth: s.depth, leaves: s.leaves, stop: s.stop}
	m := k.model(b)
	for i := range m.ensemble.Trees {
		for j := range m.ensemble.Trees[i].Nodes {
			if n := &m.ensemble.Trees[i].Nodes[j]; n.Feature >= 0 {
				n.Threshold = k.NormFloat64()
			}
		}
	}
	m, err := New(m.ensemble, learn.Binary)
	if err != nil {
		b.Fatal(err)
	}
	x := make([]float64, benchRows*28)
	for i := range x {
		x[i] = k.NormFloat64()
		if k.Float64() < s.missing {
			x[i] = math.NaN()
		}
	}
	return m, x
}

// perRow reports the time of a row.
func perRow(b *testing.B, rows int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rows), "ns/row")
}

func BenchmarkPredict(b *testing.B) {
	for name, s := range sizes {
		b.Run(name, func(b *testing.B) {
			m, x := s.model(b)
			b.ReportAllocs()
			sum := 0.0
			for i := 0; b.Loop(); i++ {
				at := i % benchRows * 28
				sum += m.Predict(learn.Row{Dense: x[at : at+28]})
			}
		})
	}
}

func BenchmarkPredictAll(b *testing.B) {
	for name, s := range sizes {
		b.Run(name, func(b *testing.B) {
			m, x := s.model(b)
			dst := make([]float64, benchRows)
			b.ReportAllocs()
			for b.Loop() {
				m.PredictAll(dst, x)
			}
			perRow(b, benchRows)
		})
	}
}

func BenchmarkContributions(b *testing.B) {
	m, x := size{trees: 100, depth: 6, missing: 0.05}.model(b)
	b.ReportAllocs()
	var dst []float64
	for i := 0; b.Loop(); i++ {
		at := i % benchRows * 28
		dst = m.Contributions(dst[:0], learn.Row{Dense: x[at : at+28]})
	}
}
