package bundle

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/trainer/learn"
)

// A scorer is a transform with a model. Training and serving score by it.
type scorer struct {
	task      learn.Task
	transform *Transform
	model     learn.Model
	rows      sync.Pool // of *learn.Row
}

// Score returns what the model predicts for a vector.
func (s *scorer) Score(x []features.Value) (float64, error) {
	row, err := s.row(x)
	if err != nil {
		return 0, err
	}
	score := s.model.Predict(*row)
	s.rows.Put(row)
	if math.IsNaN(score) || math.IsInf(score, 0) || s.task == learn.Binary && (score < 0 || score > 1) {
		return 0, fmt.Errorf("bundle: the model predicts %v, which is no answer to a %s task", score, s.task)
	}
	return score, nil
}

func (s *scorer) row(x []features.Value) (*learn.Row, error) {
	if err := s.transform.Check(x); err != nil {
		return nil, err
	}
	row, ok := s.rows.Get().(*learn.Row)
	if !ok {
		row = new(learn.Row)
	}
	s.transform.Row(row, x)
	return row, nil
}

// An Explanation says what made a prediction: Base and ByInput add up to Score.
type Explanation struct {
	Score   float64   // log-odds (binary), or the prediction (regression); its logarithm where trees have the link exp
	Base    float64   // the score of no vector in particular
	ByInput []float64 // what each input has added, in the order of the inputs
}

// ErrNoExplanation is wrapped by the error of Explain for a model that cannot say
// what made its predictions.
var ErrNoExplanation = errors.New("has no contributions: only models of FTRL and of trees have them")

func (s *scorer) Explain(x []features.Value) (*Explanation, error) {
	model, ok := s.model.(learn.Explainer)
	if !ok {
		return nil, fmt.Errorf("bundle: this model %w", ErrNoExplanation)
	}
	row, err := s.row(x)
	if err != nil {
		return nil, err
	}
	parts := model.Contributions(nil, *row)
	s.rows.Put(row)
	e := &Explanation{Base: parts[len(parts)-1], ByInput: s.transform.byInput(parts)}
	e.Score = e.Base
	for _, c := range e.ByInput {
		e.Score += c
	}
	if math.IsNaN(e.Score) || math.IsInf(e.Score, 0) {
		return nil, fmt.Errorf("bundle: the contributions of a prediction add up to %v", e.Score)
	}
	return e, nil
}

// Score returns what the model predicts for a vector of Manifest().Inputs: a
// probability, or with a regression a mean. A missing value, and NaN, is one
// that the transform fills in. The error is that of a vector of other inputs, or
// of a prediction that is not finite.
func (b *Bundle) Score(x []features.Value) (float64, error) { return b.scorer.Score(x) }

// Explain says what made the prediction for a vector. For trees the contributions
// are the Shapley values of the inputs, exactly, and Base is the mean score over
// the training set; for FTRL they are weight times value, and Base is the score
// where every input is at its mean and no text is known.
func (b *Bundle) Explain(x []features.Value) (*Explanation, error) { return b.scorer.Explain(x) }
