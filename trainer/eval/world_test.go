package eval

import (
	"math"
	"math/rand/v2"
	"testing"
)

// A world is days of five entities whose labels share a common shock with
// heavy tails that lasts for days, as prices do.
type world struct {
	random *rand.Rand
	day    int64
	shock  float64
	common float64 // of the features
}

func newWorld(seed uint64) *world {
	return &world{random: rand.New(rand.NewPCG(seed, 77))}
}

// A panel is rows of a world. The first feature is 1.
type panel struct {
	times  []int64
	x      [][3]float64
	y      []float64
	symbol []string
}

const entities = "ABCDE"

// The labels' log odds are -0.3 + 0.7 x1 + 0.5 x2 + shock.
const strength = 0.5 // of the feature that the weaker model lacks

func (w *world) days(n int) (p panel) {
	for range n {
		w.shock = 0.5*w.shock + 0.5*student3(w.random)
		w.common = 0.8*w.common + 0.4*w.random.NormFloat64()
		for _, symbol := range entities {
			x := [3]float64{1, w.common + w.random.NormFloat64(), w.common/2 + w.random.NormFloat64()}
			odds := -0.3 + 0.7*x[1] + strength*x[2] + w.shock
			y := 0.0
			if w.random.Float64() < 1/(1+math.Exp(-odds)) {
				y = 1
			}
			p.times = append(p.times, w.day*day)
			p.x = append(p.x, x)
			p.y = append(p.y, y)
			p.symbol = append(p.symbol, string(symbol))
		}
		w.day++
	}
	return p
}

// student3 draws from Student's t of three degrees of freedom with variance 1.
func student3(random *rand.Rand) float64 {
	z, squares := random.NormFloat64(), 0.0
	for range 3 {
		v := random.NormFloat64()
		squares += v * v
	}
	return z / math.Sqrt(squares)
}

// A logistic is a logistic regression on three features.
type logistic [3]float64

func (m logistic) score(x [3]float64) float64 {
	return 1 / (1 + math.Exp(-(m[0]*x[0] + m[1]*x[1] + m[2]*x[2])))
}

// fit returns the regression on the given features, by five of Newton's steps.
func fit(p panel, features ...int) (m logistic) {
	for range 5 {
		n := len(features)
		gradient, hessian := make([]float64, n), make([][]float64, n)
		for a := range hessian {
			hessian[a] = make([]float64, n)
			hessian[a][a] = 1
			gradient[a] = -m[features[a]]
		}
		for i, x := range p.x {
			q := m.score(x)
			for a, f := range features {
				gradient[a] += (p.y[i] - q) * x[f]
				for b, g := range features {
					hessian[a][b] += q * (1 - q) * x[f] * x[g]
				}
			}
		}
		for a, step := range solve(hessian, gradient) {
			m[features[a]] += step
		}
	}
	return m
}

// solve returns a\b by elimination. The matrix is positive definite.
func solve(a [][]float64, b []float64) []float64 {
	n := len(b)
	for i := range n {
		for k := i + 1; k < n; k++ {
			f := a[k][i] / a[i][i]
			for c := i; c < n; c++ {
				a[k][c] -= f * a[i][c]
			}
			b[k] -= f * b[i]
		}
	}
	for i := n - 1; i >= 0; i-- {
		for c := i + 1; c < n; c++ {
			b[i] -= a[i][c] * b[c]
		}
		b[i] /= a[i][i]
	}
	return b
}

// halves deals the days of a panel out to two at random, so that what is fitted
// on either is exchangeable.
func (p panel) halves(random *rand.Rand) (a, b panel) {
	first := true
	for i, at := range p.times {
		if i == 0 || at != p.times[i-1] {
			first = random.IntN(2) == 0
		}
		half := &b
		if first {
			half = &a
		}
		half.times, half.x, half.y = append(half.times, at), append(half.x, p.x[i]), append(half.y, p.y[i])
	}
	return a, b
}

func (p panel) cohort(candidate, champion logistic) *Cohort {
	c := &Cohort{Time: p.times, Label: p.y, Slices: map[string][]string{"symbol": p.symbol}}
	for _, x := range p.x {
		c.Candidate = append(c.Candidate, candidate.score(x))
		c.Champion = append(c.Champion, champion.score(x))
	}
	return c
}

// TestPromotions judges on 1,000 rows: 200 days, 10 blocks. Between models of
// exchangeable halves at most 16 of 200 are promoted, which 5 % exceed once in
// a hundred times; and with a feature more at least 160.
func TestPromotions(t *testing.T) {
	var lucky, earned int
	var gained float64
	for seed := range uint64(200) {
		w := newWorld(seed)
		train, judged := w.days(1000), w.days(200)
		a, b := train.halves(w.random)
		gate := Gate{Seed: seed, Replicates: 500, Slices: []string{"symbol"}}
		candidate := fit(a, 0, 1, 2)
		if j := Judge(binary, gate, 0, judged.cohort(candidate, fit(b, 0, 1, 2))); j.Verdict == Promote {
			lucky++
		}
		j := Judge(binary, gate, 0, judged.cohort(candidate, fit(b, 0, 1)))
		gained += float64(j.Gain.Mean) / 200
		if j.Verdict == Promote {
			earned++
		}
	}
	t.Logf("promoted: %d of 200 that are no better, %d of 200 that are better by %.4f nats", lucky, earned, gained)
	if lucky > 16 {
		t.Errorf("%d of 200 candidates that are no better are promoted", lucky)
	}
	if earned < 160 || gained > 0.04 {
		t.Errorf("%d of 200 candidates that are better by %.4f nats are promoted", earned, gained)
	}
}
