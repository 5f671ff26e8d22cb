// Package ftrl is FTRL-Proximal: logistic and linear regression learned online,
// one step for each example, with a learning rate for each weight.
//
// Source: McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD
// 2013, algorithm 1. A weight has two numbers of state, z and n. The weight is
//
//	w = 0                                             if |z| <= L1
//	w = (sgn(z) L1 - z) / ((Beta + sqrt(n))/Alpha + L2)   otherwise
//
// The score of a row is the sum of w x over its dense values, its hashed places
// (x = 1) and the bias (x = 1). With the gradient g = s x, an example makes
//
//	z += g - (sqrt(n + g^2) - sqrt(n))/Alpha w
//	n += g^2
//
// Logistic regression predicts p = 1/(1 + exp(-score)) and has s = weight (p -
// label). Linear regression has s = 2 weight (score - label), the gradient of
// the squared error as Vowpal Wabbit takes it.
//
// What the paper leaves open is here as follows.
//
//   - The bias has neither L1 nor L2: they would pull predictions to 0.5 or 0
//     and not to the mean.
//   - A step hardly depends on how large a gradient is, so what is learned must
//     be of the size of 1. Dense values should be scaled. Labels of a regression
//     are: the model learns (label - mean)/deviation of those so far, unless
//     Params.RawLabels is set.
//   - A weight of an example scales its gradient. It is not the same as so many
//     examples: those would predict anew between their steps.
//   - What shares a hashed place shares its weight. A place that a row names
//     twice counts twice. Nothing is kept of what was hashed.
//   - A missing value is the transform's business: it has filled in dense values,
//     and a missing category is a place like others, or none.
//
// The root of n is kept in place of n, which saves a square root for each place
// of a row. All numbers are float64. Each product is rounded before it is added,
// and exp is our own, so that the same rows give the same bytes on each machine.
package ftrl

import (
	"fmt"
	"math"

	"github.com/millrace/millrace/trainer/learn"
)

// Params are what a person may set. The zero of a field other than L1 and
// RawLabels stands for its default.
type Params struct {
	Alpha     float64 `json:"alpha"`      // size of a step
	Beta      float64 `json:"beta"`       // keeps first steps small
	L1        float64 `json:"l1"`         // a weight whose |z| is not above stays exactly 0
	L2        float64 `json:"l2"`         // pulls weights to 0
	HashBits  int     `json:"hash_bits"`  // 2^HashBits hashed places, 16 bytes each
	Epochs    int     `json:"epochs"`     // how often a trainer shows the rows; the model does not count
	RawLabels bool    `json:"raw_labels"` // regression: learn labels as they are
}

// Bounds of the parameters.
const (
	maxRate     = 1e3 // of Alpha, Beta, L1 and L2: far beyond what learns
	minAlpha    = 1e-9
	maxHashBits = 24 // 256 MiB
	maxEpochs   = 1000
	maxDense    = 1 << 16
)

// WithDefaults fills in what is not set. Alpha and Beta are those with the least
// loss of predictions made before each step, over 3,000 to 1,000,000 training
// rows of loadtest/clicks; half or twice of either is little worse.
func (p Params) WithDefaults() Params {
	if p.Alpha == 0 {
		p.Alpha = 0.12
	}
	if p.Beta == 0 {
		p.Beta = 0.5
	}
	if p.HashBits == 0 {
		p.HashBits = 18
	}
	if p.Epochs == 0 {
		p.Epochs = 1
	}
	return p
}

// Check reports the first parameter that is out of bounds. It is for parameters
// with their defaults filled in.
func (p Params) Check() error {
	for _, f := range []struct {
		name   string
		v, min float64
	}{{"alpha", p.Alpha, minAlpha}, {"beta", p.Beta, 0}, {"l1", p.L1, 0}, {"l2", p.L2, 0}} {
		if !(f.v >= f.min && f.v <= maxRate) {
			return fmt.Errorf("ftrl: %s %v: give %g to %g", f.name, f.v, f.min, float64(maxRate))
		}
	}
	if p.HashBits < 1 || p.HashBits > maxHashBits {
		return fmt.Errorf("ftrl: hash_bits %d: give 1 to %d", p.HashBits, maxHashBits)
	}
	if p.Epochs < 1 || p.Epochs > maxEpochs {
		return fmt.Errorf("ftrl: epochs %d: give 1 to %d", p.Epochs, maxEpochs)
	}
	return nil
}

// limit is the greatest magnitude of a dense value, a label, an example's
// weight and a gradient; what is beyond is taken to be at it. It keeps the state
// finite. With it a root grows to at most limit times the root of the number of
// steps. And |z| is at most the root times the number of steps, because a step
// takes |z|/root to at most |z|/root + 1: no weight exceeds Alpha times the
// number of steps, and no score overflows.
const limit = 1e90

// least is the least magnitude of a gradient. A smaller one is no step: its
// square would vanish while z moved, and the bound above would not hold.
const least = 1e-150

// A place is the state of one weight.
type place struct {
	z    float64
	root float64 // of n, the sum of squared gradients
}

// A Model is a learner. Make it with New.
type Model struct {
	task   learn.Task
	params Params
	labels scale // of a regression
	bias   place
	dense  []place
	hashed []place
	buffer []float64 // weights of the row that is learned
}

// New returns a model that has learned nothing, for rows with so many dense
// values. It panics where the task is not known, dense is not within 0 to 65,536
// or the parameters fail Check.
func New(task learn.Task, dense int, p Params) *Model {
	if err := p.Check(); err != nil {
		panic(err)
	}
	if task != learn.Binary && task != learn.Regression || dense < 0 || dense > maxDense {
		panic(fmt.Sprintf("ftrl: no model for task %q with %d dense values", task, dense))
	}
	return &Model{task: task, params: p, dense: make([]place, dense), hashed: make([]place, 1<<p.HashBits)}
}

// weight returns the weight at a place. bend is Beta + Alpha L2.
func weight(s place, alpha, bend, l1 float64) float64 {
	if math.Abs(s.z) <= l1 {
		return 0
	}
	return float64((math.Copysign(l1, s.z)-s.z)*alpha) / (bend + s.root)
}

// step returns the place after a gradient. by is 1/Alpha.
func step(s place, g, w, by float64) place {
	if math.Abs(g) < least {
		return s
	}
	root := math.Sqrt(float64(s.root*s.root) + float64(g*g))
	return place{z: s.z + (g - float64(float64((root-s.root)*by)*w)), root: root}
}

func clamp(x float64) float64 { return min(max(x, -limit), limit) }

// Predict returns a probability within 0 to 1, both excluded, or a mean. It is
// 0.5 or 0 before the first example. A NaN in the row gives NaN. It panics where
// the row has another number of dense values than the model.
func (m *Model) Predict(r learn.Row) float64 {
	m.checkRow(r)
	alpha, l1 := m.params.Alpha, m.params.L1
	bend := m.params.Beta + float64(alpha*m.params.L2)
	score := 0.0
	for i, x := range r.Dense {
		score += float64(weight(m.dense[i], alpha, bend, l1) * clamp(x))
	}
	mask := uint32(len(m.hashed) - 1)
	for _, h := range r.Hashed {
		score += weight(m.hashed[h&mask], alpha, bend, l1)
	}
	score += weight(m.bias, alpha, m.params.Beta, 0)
	if m.task == learn.Binary {
		return learn.Sigmoid(score)
	}
	return m.labels.up(score)
}

// Learn takes one step. Only the low HashBits bits of a hashed place count. It
// panics where the label, a dense value or the weight is NaN, where the weight
// is negative, where a binary label is neither 0 nor 1, and where the row has
// another number of dense values than the model: data sets are checked before.
func (m *Model) Learn(r learn.Row, label, weight float64) {
	m.checkRow(r)
	if !(weight >= 0) || math.IsNaN(label) || m.task == learn.Binary && label != 0 && label != 1 {
		panic(fmt.Sprintf("ftrl: a %s model was given label %v with weight %v", m.task, label, weight))
	}
	if weight == 0 {
		return
	}
	weight, label = min(weight, limit), clamp(label)
	score := m.score(r)
	if math.IsNaN(score) {
		panic("ftrl: a row to learn has a dense value that is NaN")
	}
	if m.task == learn.Binary {
		m.step(r, float64(weight*(learn.Sigmoid(score)-label)))
		return
	}
	if !m.params.RawLabels {
		m.labels.add(label, weight)
	}
	m.step(r, float64(2*weight*(score-m.labels.down(label))))
}

func (m *Model) checkRow(r learn.Row) {
	if len(r.Dense) != len(m.dense) {
		panic(fmt.Sprintf("ftrl: a row of %d dense values for a model of %d", len(r.Dense), len(m.dense)))
	}
}

// score is that of Predict, and leaves the weights in the buffer: dense ones,
// hashed ones, the bias.
func (m *Model) score(r learn.Row) float64 {
	n := len(r.Dense) + len(r.Hashed) + 1
	if len(m.buffer) < n {
		m.buffer = make([]float64, n)
	}
	alpha, l1 := m.params.Alpha, m.params.L1
	bend := m.params.Beta + float64(alpha*m.params.L2)
	score := 0.0
	dense := m.buffer[:len(r.Dense)]
	for i, x := range r.Dense {
		dense[i] = weight(m.dense[i], alpha, bend, l1)
		score += float64(dense[i] * clamp(x))
	}
	mask := uint32(len(m.hashed) - 1)
	hashed := m.buffer[len(r.Dense):][:len(r.Hashed)]
	for i, h := range r.Hashed {
		hashed[i] = weight(m.hashed[h&mask], alpha, bend, l1)
		score += hashed[i]
	}
	bias := weight(m.bias, alpha, m.params.Beta, 0)
	m.buffer[n-1] = bias
	return score + bias
}

// step moves the weights of the row whose weights are in the buffer.
func (m *Model) step(r learn.Row, slope float64) {
	slope = clamp(slope)
	by := 1 / m.params.Alpha
	dense := m.buffer[:len(r.Dense)]
	for i, x := range r.Dense {
		m.dense[i] = step(m.dense[i], clamp(slope*x), dense[i], by)
	}
	mask := uint32(len(m.hashed) - 1)
	hashed := m.buffer[len(r.Dense):][:len(r.Hashed)]
	for i, h := range r.Hashed {
		at := &m.hashed[h&mask]
		*at = step(*at, slope, hashed[i], by)
	}
	m.bias = step(m.bias, slope, m.buffer[len(r.Dense)+len(r.Hashed)], by)
}
