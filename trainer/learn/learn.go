// Package learn says what a learner is. Each learner has a package below, and
// goes through the suite in learntest.
package learn

import "encoding"

// A Row is one encoded example, made by a bundle's transform. A learner
// changes nothing in it and keeps nothing of it.
type Row struct {
	Dense  []float64 // no NaN: what is missing has been filled in
	Hashed []uint32  // places in the hash space whose value is 1
}

// A Learner is an online model. It learns deterministically: the same rows in
// the same order give the same bytes. It is not safe for concurrent use, but
// Predict calls may run at once where nothing learns.
type Learner interface {
	// Predict returns a probability (binary) or a mean (regression).
	Predict(r Row) float64
	// Learn takes one example. The weight is not negative; 0 changes nothing.
	Learn(r Row, label, weight float64)
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}

// A Task is what a model predicts.
type Task string

// The tasks.
const (
	Binary     Task = "binary"     // labels 0 and 1
	Regression Task = "regression" // any number
)
