package learntest

import (
	"math"
	"math/rand/v2"

	"github.com/millrace/millrace/trainer/learn"
)

// An example is what one call of Learn is given.
type example struct {
	row    learn.Row
	label  float64
	weight float64
	truth  float64 // the best prediction of the label
}

// A plant makes examples of a linear truth. Dense values are standard normal.
// Each row has a few hashed places, if any, out of 40. A regression's labels are
// far from 0 and of another size than 1, as prices are.
type plant struct {
	o      Options
	rand   *rand.Rand
	dense  []float64
	places []uint32
	effect map[uint32]float64 // of places
}

func (s *suite) plant(seed uint64) *plant {
	truth := rand.New(rand.NewPCG(2, 0)) // the same for all seeds
	p := &plant{o: s.o, rand: rand.New(rand.NewPCG(seed, 1)), effect: make(map[uint32]float64)}
	for range s.o.Dense {
		p.dense = append(p.dense, truth.NormFloat64())
	}
	for range min(40, s.o.Places) {
		place := truth.Uint32N(s.o.Places)
		p.places = append(p.places, place)
		p.effect[place] = truth.NormFloat64()
	}
	return p
}

func (p *plant) next() example {
	e := example{row: learn.Row{Dense: make([]float64, p.o.Dense)}, weight: 1}
	score := 0.5
	for i := range e.row.Dense {
		e.row.Dense[i] = p.rand.NormFloat64()
		score += p.dense[i] * e.row.Dense[i]
	}
	for range min(3, len(p.places)) {
		place := p.places[p.rand.IntN(len(p.places))]
		e.row.Hashed = append(e.row.Hashed, place)
		score += p.effect[place]
	}
	if p.o.Task == learn.Regression {
		e.truth = 700 + 40*score
		e.label = e.truth + 20*p.rand.NormFloat64()
		return e
	}
	e.truth = 1 / (1 + math.Exp(-score))
	if p.rand.Float64() < e.truth {
		e.label = 1
	}
	return e
}

func (p *plant) take(n int) []example {
	examples := make([]example, n)
	for i := range examples {
		examples[i] = p.next()
	}
	return examples
}

// loss is the log loss or the squared error.
func (s *suite) loss(label, p float64) float64 {
	if s.o.Task == learn.Regression {
		return (label - p) * (label - p)
	}
	return -math.Log(1 - math.Abs(label-p))
}

// testPlanted wants four fifths of what there is to learn.
func (s *suite) testPlanted() {
	m := s.learned(s.plant(18).take(4000))
	test := s.plant(19).take(2000)
	mean := 0.0
	for _, e := range test {
		mean += e.label / float64(len(test))
	}
	constant, truth, model := 0.0, 0.0, 0.0
	for _, e := range test {
		constant += s.loss(e.label, mean)
		truth += s.loss(e.label, e.truth)
		model += s.loss(e.label, m.Predict(e.row))
	}
	if share := (constant - model) / (constant - truth); !(share > 0.8) {
		s.Errorf("the model has %.2f of what there is to learn: loss %.1f, the constant's %.1f, the truth's %.1f", share, model, constant, truth)
	}
}

// testOneLabel learns the same label again and again, and then only there.
func (s *suite) testOneLabel() {
	for _, label := range []float64{0, 1} {
		examples := s.plant(20).take(1000)
		for i := range examples {
			examples[i].label = label
		}
		m := s.learned(examples)
		for _, e := range examples {
			if p := m.Predict(e.row); !(math.Abs(p-label) < 0.3) {
				s.Fatalf("after labels %v only, %v", label, p)
			}
		}
		s.wantSame(s.load(s.save(m)), m)
	}
}

// testConstant gives a column and a place to each row that tell nothing.
func (s *suite) testConstant() {
	for _, value := range []float64{0, 1, -3} {
		constant := func(seed uint64, n int) []example {
			examples := s.plant(seed).take(n)
			for i, e := range examples {
				e.row.Dense[0] = value
				if s.o.Places > 0 {
					examples[i].row.Hashed = append(e.row.Hashed, 0)
				}
			}
			return examples
		}
		m := s.learned(constant(21, 2000))
		for _, e := range constant(22, 200) {
			s.wantFinite(m, e.row)
		}
		s.wantSame(s.load(s.save(m)), m)
	}
}

var extremes = []float64{0, 1, -1, 1e-320, -1e-200, 1e-160, 1e-100, -1e-12, 1e12, 1e99, -1e160, 1e300, math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64}

// testExtreme teaches all that is finite, in any order. What was then learned
// must also load: it is within the bounds that loading checks.
func (s *suite) testExtreme() {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		extreme := func() float64 { return extremes[r.IntN(len(extremes))] }
		m := s.fresh()
		p := s.plant(seed)
		for range 300 {
			e := p.next()
			for i := range e.row.Dense {
				if r.IntN(2) == 0 {
					e.row.Dense[i] = extreme()
				}
			}
			if s.o.Task == learn.Regression && r.IntN(2) == 0 {
				e.label = extreme()
			}
			if r.IntN(2) == 0 {
				e.weight = math.Abs(extreme())
			}
			s.wantFinite(m, e.row)
			m.Learn(e.row, e.label, e.weight)
			s.wantFinite(m, e.row)
			s.wantFinite(m, p.next().row)
		}
		s.wantSame(s.load(s.save(m)), m)
	}
}

func (s *suite) wantFinite(m learn.Learner, r learn.Row) {
	s.Helper()
	p := m.Predict(r)
	if math.IsNaN(p) || math.IsInf(p, 0) || s.o.Task == learn.Binary && (p < 0 || p > 1) {
		s.Fatalf("%+v is predicted to be %v", r, p)
	}
}
