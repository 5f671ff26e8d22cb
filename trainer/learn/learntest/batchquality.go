package learntest

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/millrace/millrace/trainer/learn"
)

// share returns which part of what there is to learn the model has: 0 is the
// constant, 1 the truth.
func (b *batch) share(m learn.Model, test *Table, truth []float64) float64 {
	b.Helper()
	mean := 0.0
	for _, y := range test.Label {
		mean += y / float64(len(test.Label))
	}
	constant, best, model := 0.0, 0.0, 0.0
	for i, y := range test.Label {
		constant += b.loss(y, mean)
		best += b.loss(y, truth[i])
		model += b.loss(y, b.predict(m, test.Row(i)))
	}
	return (constant - model) / (constant - best)
}

// testPlanted wants over half of what there is to learn of a linear truth, which
// trees only come near to.
func (b *batch) testPlanted() {
	plant := func(seed uint64, n int) (t *Table, truth []float64) {
		t = &Table{Features: b.o.Dense}
		for _, e := range b.plant(seed).take(n) {
			t.X, t.Label = append(t.X, e.row.Dense...), append(t.Label, e.label)
			truth = append(truth, e.truth)
		}
		return t, truth
	}
	t, _ := plant(13, 3000)
	test, truth := plant(14, 2000)
	if share := b.share(b.train(t, 40), test, truth); !(share > 0.55) {
		b.Errorf("the model has %.2f of what there is to learn", share)
	}
}

// told makes rows of which the label is 1 or 0 by what tells of the row's one
// value; one label in ten is wrong.
func (b *batch) told(seed uint64, n int, value func(r *rand.Rand) (v float64, one bool)) (*Table, []float64) {
	t, truth := &Table{Features: 1}, []float64{}
	r := rand.New(rand.NewPCG(seed, 8))
	for range n {
		v, one := value(r)
		p := 0.1
		if one {
			p = 0.9
		}
		y := 0.0
		if r.Float64() < p {
			y = 1
		}
		t.X, t.Label, truth = append(t.X, v), append(t.Label, y), append(truth, p)
	}
	return t, truth
}

func (b *batch) testMissing() {
	value := func(r *rand.Rand) (float64, bool) {
		if r.IntN(3) == 0 {
			return math.NaN(), true
		}
		return r.NormFloat64(), false
	}
	t, _ := b.told(15, 1000, value)
	test, truth := b.told(16, 1000, value)
	if share := b.share(b.train(t, 40), test, truth); !(share > 0.8) {
		b.Errorf("the model has %.2f of what there is to learn", share)
	}
}

// testCategory has odd and even categories, which no threshold tells apart, and
// then predicts categories that it has not seen.
func (b *batch) testCategory() {
	value := func(r *rand.Rand) (float64, bool) {
		k := r.IntN(20)
		return float64(k), k%2 == 1
	}
	t, _ := b.told(17, 2000, value)
	t.Categories = []int{24}
	test, truth := b.told(18, 1000, value)
	m := b.train(t, 40)
	if share := b.share(m, test, truth); !(share > 0.8) {
		b.Errorf("the model has %.2f of what there is to learn", share)
	}
	unseen := b.predict(m, []float64{22})
	for _, v := range []float64{20, 23, 24, 1e9, -1, 0.5} {
		if p := b.predict(m, []float64{v}); p != unseen {
			b.Errorf("%v, which is no category that was seen, is predicted to be %v, and another such %v", v, p, unseen)
		}
	}
}

func (b *batch) testOneLabel() {
	for _, label := range []float64{0, 1} {
		t := b.table(19, 500)
		for i := range t.Label {
			t.Label[i] = label
		}
		m := b.train(t, 20)
		for i := range t.Label {
			if p := b.predict(m, t.Row(i)); !(math.Abs(p-label) < 0.01) {
				b.Fatalf("after labels %v only, %v", label, p)
			}
		}
	}
}

func (b *batch) testEmptyColumn() {
	t := b.table(20, 500)
	want := b.train(t, 8)
	for _, value := range []float64{0, -3, 1e300, math.NaN()} {
		wide := &Table{Features: t.Features + 1, Categories: append(slices.Clone(t.Categories), 0), Label: t.Label}
		for i := range t.Label {
			wide.X = append(append(wide.X, t.Row(i)...), value)
		}
		m := b.train(wide, 8)
		for i := range t.Label {
			p, q := b.predict(m, wide.Row(i)), b.predict(want, t.Row(i))
			if p != q {
				b.Fatalf("row %d is predicted to be %v with a column of %v, without %v", i, p, value, q)
			}
		}
	}
}

func (b *batch) testAllMissing() {
	t := b.table(21, 500)
	mean := 0.0
	for i, y := range t.Label {
		mean += y / float64(len(t.Label))
		for j := range t.Row(i) {
			t.Row(i)[j] = math.NaN()
		}
	}
	m := b.train(t, 20)
	for _, x := range [][]float64{t.Row(0), make([]float64, t.Features)} {
		if p := b.predict(m, x); math.Abs(p-mean) > 1e-6*max(1, mean) {
			b.Errorf("%v, want the mean %v", p, mean)
		}
	}
}

// testExtreme trains on all that is finite, and scores infinities besides.
func (b *batch) testExtreme() {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 3))
		t := b.table(seed, 300)
		for i := range t.X {
			if r.IntN(3) == 0 {
				t.X[i] = extremes[r.IntN(len(extremes))]
			}
		}
		for range t.Label {
			t.Weight = append(t.Weight, []float64{1, 1e-9, 1e9, 0}[r.IntN(4)])
		}
		if b.o.Task == learn.Regression {
			for i := range t.Label {
				if r.IntN(3) == 0 {
					t.Label[i] = []float64{0, 1e-300, -1e-100, 1e30, -1e90, 1e90}[r.IntN(6)]
				}
			}
		}
		m := b.train(t, 5)
		for i := range t.Label {
			b.predict(m, t.Row(i))
			t.Row(i)[r.IntN(t.Features)] = math.Inf(1 - 2*r.IntN(2))
			b.predict(m, t.Row(i))
		}
		if err := b.l.Fresh().UnmarshalBinary(b.bytes(m)); err != nil {
			b.Fatal(err)
		}
	}
}

// testBad wants an error and no panic.
func (b *batch) testBad() {
	for _, c := range []struct {
		name  string
		spoil func(t *Table)
	}{
		{"no rows", func(t *Table) { t.X, t.Label = nil, nil }},
		{"no weights", func(t *Table) { t.Weight = make([]float64, len(t.Label)) }},
		{"a label that is NaN", func(t *Table) { t.Label[3] = math.NaN() }},
		{"a label that is infinite", func(t *Table) { t.Label[3] = math.Inf(1) }},
		{"a negative weight", func(t *Table) { t.Weight = slices.Repeat([]float64{-1}, len(t.Label)) }},
		{"a weight that is NaN", func(t *Table) { t.Weight = slices.Repeat([]float64{math.NaN()}, len(t.Label)) }},
		{"a row without a label", func(t *Table) { t.Label = t.Label[1:] }},
		{"a value too few", func(t *Table) { t.X = t.X[1:] }},
		{"weights of other rows", func(t *Table) { t.Weight = []float64{1} }},
		{"a million categories", func(t *Table) { t.Categories = []int{0, 0, 0, 0, 0, 1e6} }},
	} {
		t := b.table(22, 100)
		c.spoil(t)
		if m, err := b.l.Train(t, 2, 1); err == nil || m != nil {
			b.Errorf("%s: trained, want an error", c.name)
		}
	}
}
