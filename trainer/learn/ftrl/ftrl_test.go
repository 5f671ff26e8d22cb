package ftrl

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

// A naive model is the paper's algorithm: z and n by name of the feature, and
// every square root taken anew. It tells nothing apart but the bias.
type naive struct {
	task learn.Task
	p    Params
	z, n map[string]float64
}

func newNaive(task learn.Task, p Params) *naive {
	return &naive{task: task, p: p, z: make(map[string]float64), n: make(map[string]float64)}
}

func features(r learn.Row, bits int) (x map[string]float64, order []string) {
	x = make(map[string]float64)
	add := func(name string, v float64) { x[name], order = x[name]+v, append(order, name) }
	for i, v := range r.Dense {
		add(fmt.Sprint("dense ", i), v)
	}
	for _, h := range r.Hashed {
		add(fmt.Sprint("hashed ", h%(1<<bits)), 1)
	}
	add("bias", 1)
	return x, order
}

func (m *naive) weight(name string) float64 {
	l1, l2 := m.p.L1, m.p.L2
	if name == "bias" {
		l1, l2 = 0, 0
	}
	z := m.z[name]
	if math.Abs(z) <= l1 {
		return 0
	}
	return -(z - math.Copysign(l1, z)) / ((m.p.Beta+math.Sqrt(m.n[name]))/m.p.Alpha + l2)
}

func (m *naive) predict(r learn.Row) float64 {
	score := 0.0
	x, _ := features(r, m.p.HashBits)
	for name, v := range x {
		score += m.weight(name) * v
	}
	if m.task == learn.Binary {
		return 1 / (1 + math.Exp(-score))
	}
	return score
}

func (m *naive) learn(r learn.Row, label, weight float64) {
	s := weight * (m.predict(r) - label)
	if m.task == learn.Regression {
		s *= 2
	}
	x, names := features(r, m.p.HashBits)
	weights := make(map[string]float64)
	for name := range x {
		weights[name] = m.weight(name)
	}
	for _, name := range names { // a place that is named twice makes two steps
		g := s * x[name]
		if strings.HasPrefix(name, "hashed") {
			g = s
		}
		sigma := (math.Sqrt(m.n[name]+g*g) - math.Sqrt(m.n[name])) / m.p.Alpha
		m.z[name] += g - sigma*weights[name]
		m.n[name] += g * g
	}
}

func TestAsThePaper(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 0))
		task := []learn.Task{learn.Binary, learn.Regression}[seed%2]
		p := Params{Alpha: 0.05 + r.Float64(), Beta: r.Float64() * 2, HashBits: 1 + r.IntN(6), Epochs: 1, RawLabels: true}
		if seed%3 != 0 {
			p.L1, p.L2 = r.Float64()*3, r.Float64()*3
		}
		m, want := New(task, 4, p), newNaive(task, p)
		row := learn.Row{Dense: make([]float64, 4), Hashed: make([]uint32, 3)}
		for n := range 1000 {
			for i := range row.Dense {
				row.Dense[i] = float64(r.IntN(3)) * r.NormFloat64()
			}
			for i := range row.Hashed {
				row.Hashed[i] = r.Uint32N(100)
			}
			label := float64(r.IntN(2))
			if got, want := m.Predict(row), want.predict(row); math.Abs(got-want) > 1e-9*(1+math.Abs(want)) {
				t.Fatalf("seed %d, %+v: after %d rows %v, want %v", seed, p, n, got, want)
			}
			weight := float64(r.IntN(4)) / 2
			m.Learn(row, label, weight)
			want.learn(row, label, weight)
		}
	}
}

func TestBiasIsNotPulled(t *testing.T) {
	m := New(learn.Binary, 1, Params{Alpha: 0.1, Beta: 1, L1: 100, L2: 100, HashBits: 1, Epochs: 1})
	r := rand.New(rand.NewPCG(1, 0))
	for range 20_000 {
		label := 0.0
		if r.IntN(4) == 0 {
			label = 1
		}
		m.Learn(learn.Row{Dense: []float64{r.NormFloat64()}, Hashed: []uint32{0}}, label, 1)
	}
	if p := m.Predict(learn.Row{Dense: []float64{2}, Hashed: []uint32{1}}); math.Abs(p-0.25) > 0.02 {
		t.Errorf("one label in four is 1, and the prediction %v", p)
	}
}

// TestLabelsOfAnyScale holds that labels in other units give the same model.
func TestLabelsOfAnyScale(t *testing.T) {
	for _, scale := range []float64{1e-6, 1, 1e9} {
		for _, shift := range []float64{0, -3, 1000} {
			r := rand.New(rand.NewPCG(2, 0))
			p := Params{}.WithDefaults()
			m, scaled := New(learn.Regression, 2, p), New(learn.Regression, 2, p)
			for range 500 {
				row := learn.Row{Dense: []float64{r.NormFloat64(), r.NormFloat64()}}
				label := row.Dense[0] - row.Dense[1] + r.NormFloat64()
				m.Learn(row, label, 1)
				scaled.Learn(row, (label+shift)*scale, 1)
				want := (m.Predict(row) + shift) * scale
				if got := scaled.Predict(row); math.Abs(got-want) > 1e-8*scale*(1+math.Abs(shift)) {
					t.Fatalf("labels plus %v, times %v: %v, want %v", shift, scale, got, want)
				}
			}
		}
	}
}

func TestWeightScalesTheGradient(t *testing.T) {
	p := Params{RawLabels: true}.WithDefaults()
	heavy, far := New(learn.Regression, 1, p), New(learn.Regression, 1, p)
	row := learn.Row{Dense: []float64{0.5}}
	heavy.Learn(row, 3, 2)
	far.Learn(row, 6, 1) // the first prediction is 0: twice the error
	if a, b := heavy.Predict(row), far.Predict(row); a != b || a == 0 {
		t.Errorf("%v with weight 2, %v with twice the error", a, b)
	}
}

func TestPredictionsAreWithinZeroAndOne(t *testing.T) {
	m := New(learn.Binary, 1, Params{}.WithDefaults())
	for range 100 {
		m.Learn(learn.Row{Dense: []float64{1}}, 1, 1)
	}
	for _, x := range []float64{1e3, 1e300, -1e3, -1e300} {
		if p := m.Predict(learn.Row{Dense: []float64{x}}); p <= 0 || p >= 1 {
			t.Errorf("x %v is predicted to be %v", x, p)
		}
	}
	if p := m.Predict(learn.Row{Dense: []float64{math.NaN()}}); !math.IsNaN(p) {
		t.Errorf("NaN is predicted to be %v", p)
	}
}

func TestBrokenInvariantsPanic(t *testing.T) {
	one := learn.Row{Dense: []float64{1}}
	nan := math.NaN()
	for name, call := range map[string]func(*Model){
		"weight -1":    func(m *Model) { m.Learn(one, 1, -1) },
		"weight NaN":   func(m *Model) { m.Learn(one, 1, nan) },
		"label NaN":    func(m *Model) { m.Learn(one, nan, 1) },
		"label 2":      func(m *Model) { m.Learn(one, 2, 1) },
		"value NaN":    func(m *Model) { m.Learn(learn.Row{Dense: []float64{nan}}, 1, 1) },
		"no value":     func(m *Model) { m.Learn(learn.Row{}, 1, 1) },
		"two to ask":   func(m *Model) { m.Predict(learn.Row{Dense: []float64{1, 2}}) },
		"unknown task": func(*Model) { New("ranking", 1, Params{}.WithDefaults()) },
		"no defaults":  func(*Model) { New(learn.Binary, 1, Params{}) },
		"dense -1":     func(*Model) { New(learn.Binary, -1, Params{}.WithDefaults()) },
	} {
		m := New(learn.Binary, 1, Params{}.WithDefaults())
		m.Learn(one, 1, 1)
		before := m.Predict(one)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s is taken", name)
				}
			}()
			call(m)
		}()
		if m.Predict(one) != before {
			t.Errorf("%s changes the model", name)
		}
	}
}

func TestParams(t *testing.T) {
	if err := (Params{}).WithDefaults().Check(); err != nil {
		t.Error(err)
	}
	set := Params{Alpha: 1, Beta: 2, L1: 3, L2: 4, HashBits: 5, Epochs: 6, RawLabels: true}
	if got := set.WithDefaults(); got != set {
		t.Errorf("%+v, want what was set", got)
	}
	for want, change := range map[string]func(*Params){
		"ftrl: alpha 0: give 1e-09 to 1000":     func(p *Params) { p.Alpha = 0 },
		"ftrl: alpha NaN: give 1e-09 to 1000":   func(p *Params) { p.Alpha = math.NaN() },
		"ftrl: beta -1: give 0 to 1000":         func(p *Params) { p.Beta = -1 },
		"ftrl: l1 +Inf: give 0 to 1000":         func(p *Params) { p.L1 = math.Inf(1) },
		"ftrl: l2 1001: give 0 to 1000":         func(p *Params) { p.L2 = 1001 },
		"ftrl: hash_bits 25: give 1 to 24":      func(p *Params) { p.HashBits = 25 },
		"ftrl: epochs 1001: give 1 to 1000":     func(p *Params) { p.Epochs = 1001 },
		"ftrl: epochs -1: give 1 to 1000":       func(p *Params) { p.Epochs = -1 },
		"ftrl: hash_bits 0: give 1 to 24":       func(p *Params) { p.HashBits = 0 },
		"ftrl: alpha 1e-10: give 1e-09 to 1000": func(p *Params) { p.Alpha = 1e-10 },
	} {
		p := Params{}.WithDefaults()
		change(&p)
		if err := p.Check(); err == nil || err.Error() != want {
			t.Errorf("%+v: %v, want %s", p, err, want)
		}
	}
}
