// Package learn says what a model is and what a learner is. Each learner has a
// package below, and goes through the suite in learntest.
package learn

import "encoding"

// A Row is one encoded example, made by a bundle's transform. A model changes
// nothing in it and keeps nothing of it.
type Row struct {
	// Dense are numbers. To an online learner none is NaN: what is missing has been
	// filled in. To trees and to models of other programs NaN is what is missing.
	Dense  []float64
	Hashed []uint32 // places in the hash space whose value is 1
	Texts  []string // as they are, for models that take them; "" where missing
}

// A Model is what has learned. Its methods may be called at once, but for
// UnmarshalBinary and, of a Learner, Learn.
type Model interface {
	// Predict returns a probability (binary) or a mean (regression).
	Predict(r Row) float64
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}

// A Learner is an online model. It learns deterministically: the same rows in
// the same order give the same bytes. It is not safe for concurrent use, but
// Predict calls may run at once where nothing learns.
type Learner interface {
	Model
	// Learn takes one example. The weight is not negative; 0 changes nothing.
	Learn(r Row, label, weight float64)
}

// An Explainer is a model that can say what made a prediction.
type Explainer interface {
	// Contributions appends to dst what each dense value of the row has added to the
	// score, then each hashed place, and last the score of no row in particular. They
	// add up to the score, which is a log-odds (binary) or the prediction itself
	// (regression), or its logarithm where the model takes the exponential, as trees
	// of counts do.
	Contributions(dst []float64, r Row) []float64
}

// A Task is what a model predicts.
type Task string

// The tasks.
const (
	Binary     Task = "binary"     // labels 0 and 1
	Regression Task = "regression" // any number
	Multiclass Task = "multiclass" // labels 0, 1, ... k-1
)
