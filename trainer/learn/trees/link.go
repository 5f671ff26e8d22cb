package trees

import (
	"math"

	"github.com/millrace/millrace/trainer/learn"
)

// maxExp bounds the margins whose exp is taken, so that a mean is finite and not
// 0: learn.Exp takes no others.
const maxExp = 700

// Predict returns the prediction for a margin of a link with one margin: the
// margin itself, learn.Sigmoid of it, or exp(margin) with the margin held within
// 700. It has the same bits on each machine.
func (l Link) Predict(margin float64) float64 {
	switch l {
	case Logistic:
		return learn.Sigmoid(margin)
	case Exp:
		return learn.Exp(min(max(margin, -maxExp), maxExp))
	}
	return margin
}

// softmax turns margins into probabilities in place.
func softmax(m []float64) {
	top := math.Inf(-1)
	for _, v := range m {
		top = max(top, v)
	}
	sum := 0.0
	for k, v := range m {
		m[k] = learn.Exp(max(v-top, -maxExp))
		sum += m[k]
	}
	for k := range m {
		m[k] /= sum
	}
}
