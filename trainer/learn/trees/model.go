package trees

import (
	"fmt"

	"github.com/millrace/millrace/trainer/learn"
)

var (
	_ learn.Model     = (*Model)(nil)
	_ learn.Explainer = (*Model)(nil)
)

// A Model scores rows by an ensemble. Its methods may be called at once, but for
// UnmarshalBinary. It implements learn.Model and learn.Explainer over the dense
// values of a row, as they are, NaN where missing.
type Model struct {
	ensemble *Ensemble
	task     learn.Task
	walks    []walk // of the trees, in their order
	steps    []step
	values   []float64 // of the leaves, in the places of the steps
	columns  []column
	sets     [][]uint64
	shap     shap
	fast     bool // rows are laid out in columns before trees are walked
}

// New lays an ensemble out for a task: binary takes link Logistic, regression
// Identity or Exp, multiclass Softmax. The model keeps the ensemble, which nobody
// may change any more. New fails where the ensemble does not pass Check.
func New(e *Ensemble, task learn.Task) (*Model, error) {
	if err := e.Check(); err != nil {
		return nil, err
	}
	if err := checkTask(e.Link, task); err != nil {
		return nil, err
	}
	m := &Model{ensemble: e, task: task}
	m.layout()
	m.shap = newShap(e, m.walks)
	return m, nil
}

// checkTask says whether an ensemble of a link can do a task.
func checkTask(l Link, task learn.Task) error {
	want := learn.Regression
	switch l {
	case Logistic:
		want = learn.Binary
	case Softmax:
		want = learn.Multiclass
	}
	if task != want {
		return fmt.Errorf("trees: an ensemble with link %q is for task %q and not %q", l, want, task)
	}
	return nil
}

// Ensemble returns what the model was made of. It must not be changed.
func (m *Model) Ensemble() *Ensemble { return m.ensemble }

// Task returns the task that the model was made for.
func (m *Model) Task() learn.Task { return m.task }

// Features returns how many values a row has.
func (m *Model) Features() int { return m.ensemble.Features }

// Predict returns the probability of label 1 (binary) or the mean (regression).
// It panics where the row has not Features dense values, and for a multiclass
// model, which has Probabilities.
func (m *Model) Predict(r learn.Row) float64 {
	if len(m.ensemble.Base) != 1 {
		panic("trees: Predict of a model of several classes: call Probabilities")
	}
	var margin [1]float64
	m.margins(margin[:], r.Dense)
	return m.ensemble.Link.Predict(margin[0])
}

// PredictAll predicts rows that lie one after another in x, Features values
// each, into dst, a prediction a row. It panics where x has not so many values,
// and where Predict does.
func (m *Model) PredictAll(dst, x []float64) {
	if len(m.ensemble.Base) != 1 {
		panic("trees: PredictAll of a model of several classes: call Probabilities for each row")
	}
	if len(x) != len(dst)*m.ensemble.Features {
		panic(fmt.Sprintf("trees: %d values for %d rows of %d", len(x), len(dst), m.ensemble.Features))
	}
	m.predictAll(dst, x)
	for i, margin := range dst {
		dst[i] = m.ensemble.Link.Predict(margin)
	}
}

// Margins appends to dst the margin of each class for the row x of Features
// values: the base and the leaves of that class, added in the order of the trees.
func (m *Model) Margins(dst, x []float64) []float64 {
	n := len(dst)
	dst = append(dst, m.ensemble.Base...)
	m.margins(dst[n:], x)
	return dst
}

// Probabilities appends to dst the probability of each class for the row x of a
// multiclass model, and for another model its one prediction.
func (m *Model) Probabilities(dst, x []float64) []float64 {
	n := len(dst)
	dst = m.Margins(dst, x)
	if m.ensemble.Link == Softmax {
		softmax(dst[n:])
	} else {
		dst[n] = m.ensemble.Link.Predict(dst[n])
	}
	return dst
}
