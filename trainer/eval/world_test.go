package eval

import (
	"math"
	"math/rand/v2"
	"slices"
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
// The others weigh nothing.
func fit(p panel, features ...int) (m logistic) {
	for range 5 {
		var gradient [3]float64
		var hessian [3][3]float64
		for i, x := range p.x {
			q := m.score(x)
			for a := range 3 {
				gradient[a] += (p.y[i] - q) * x[a]
				for b := range a + 1 {
					hessian[a][b] += q * (1 - q) * x[a] * x[b]
				}
			}
		}
		for a := range 3 {
			for b := range a {
				hessian[b][a] = hessian[a][b]
			}
			hessian[a][a]++
			gradient[a] -= m[a]
			if !slices.Contains(features, a) {
				gradient[a] = 0
				hessian[a] = [3]float64{}
				hessian[a][a] = 1
			}
		}
		for a, step := range solve(hessian, gradient) {
			m[a] += step
		}
	}
	return m
}

// solve returns a\b by elimination without pivots.
func solve(a [3][3]float64, b [3]float64) [3]float64 {
	for i := range 3 {
		for k := i + 1; k < 3; k++ {
			f := a[k][i] / a[i][i]
			for c := i; c < 3; c++ {
				a[k][c] -= f * a[i][c]
			}
			b[k] -= f * b[i]
		}
	}
	for i := 2; i >= 0; i-- {
		for c := i + 1; c < 3; c++ {
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

// first returns the first n rows.
func (p panel) first(n int) panel {
	return panel{p.times[:n], p.x[:n], p.y[:n], p.symbol[:n]}
}

func (p panel) cohort(candidate, champion logistic) *Cohort {
	c := &Cohort{Time: p.times, Label: p.y, Slices: map[string][]string{"symbol": p.symbol}}
	for _, x := range p.x {
		c.Candidate = append(c.Candidate, candidate.score(x))
		c.Champion = append(c.Champion, champion.score(x))
	}
	return c
}

// lossDifferences returns the new model's loss less the old one's, row by row.
func (p panel) lossDifferences(newer, older logistic) []float64 {
	diffs := make([]float64, len(p.y))
	for i, y := range p.y {
		diffs[i] = RowLoss(binary, y, newer.score(p.x[i])) - RowLoss(binary, y, older.score(p.x[i]))
	}
	return diffs
}

// TestPromotionsAndRollbacks fits models on two exchangeable halves of the
// past, of all features and without one, in 200 worlds.
//
// The gate judges on 1,000 rows of 200 days, which are 10 blocks. At 95 % it may
// promote 5 % of models that are no better: more than 16 come once in a hundred
// times. Of those with a feature more, worth 0.024 nats, it promotes 80 %.
//
// The watch takes 2,000 answers of 400 days. It may roll back 5 % of models that
// are no worse, and does so with 90 % of those that lack the feature.
func TestPromotionsAndRollbacks(t *testing.T) {
	const worlds = 200
	var lucky, earned, alarms int
	var gain float64
	var answers []int // until a rollback
	for seed := range uint64(worlds) {
		w := newWorld(seed)
		train, after := w.days(800), w.days(400)
		a, b := train.halves(w.random)
		good, equal, poor := fit(a, 0, 1, 2), fit(b, 0, 1, 2), fit(b, 0, 1)
		gate := Gate{Seed: seed, Replicates: 400, Slices: []string{"symbol"}}
		judged := after.first(1000)
		if j := Judge(binary, gate, 0, judged.cohort(good, equal)); j.Verdict == Promote {
			lucky++
		}
		j := Judge(binary, gate, 0, judged.cohort(good, poor))
		gain += float64(j.Gain.Mean) / worlds
		if j.Verdict == Promote {
			earned++
		}
		if w := watched(t, WatchConfig{}, after.times, after.lossDifferences(equal, good)); w.worse {
			alarms++
		}
		answers = append(answers, rolledBack(t, after.times, after.lossDifferences(poor, good)))
	}
	slices.Sort(answers)
	seen, _ := slices.BinarySearch(answers, math.MaxInt)
	half := answers[worlds/2]
	t.Logf("promoted: %d of %d that are no better, %d that are better by %.4f nats", lucky, worlds, earned, gain)
	t.Logf("rolled back: %d of %d that are no worse, %d that are worse, half of them within %d answers", alarms, worlds, seen, half)
	if lucky > 16 || alarms > worlds/20 {
		t.Errorf("%d of %d that are no better are promoted, %d that are no worse are rolled back", lucky, worlds, alarms)
	}
	if earned < worlds*8/10 || gain > 0.03 {
		t.Errorf("%d of %d candidates that are better by %.4f nats are promoted", earned, worlds, gain)
	}
	if seen < worlds*9/10 || half > 900 {
		t.Errorf("%d of %d models that are worse are rolled back, half of them within %d answers", seen, worlds, half)
	}
}

// rolledBack returns the row at which a watch that is looked at after each
// calls the new model worse, counted from 1, or the greatest int.
func rolledBack(t *testing.T, times []int64, diffs []float64) int {
	t.Helper()
	w := NewWatch(WatchConfig{})
	for i, at := range times {
		if err := w.Add(at, diffs[i]); err != nil {
			t.Fatal(err)
		}
		if w.worse { // Verdict would compute a bound for each block
			return i + 1
		}
	}
	return math.MaxInt
}
