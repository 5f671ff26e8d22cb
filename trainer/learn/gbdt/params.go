package gbdt

import "fmt"

// Params are what a person may set. The zero of a field other than MinGain and
// Seed stands for its default.
type Params struct {
	Trees          int     `json:"trees"`           // rounds; each adds one tree, of a multiclass model one a class
	Depth          int     `json:"depth"`           // splits above a leaf, at most
	Bins           int     `json:"bins"`            // bins of a column, at most, missing values apart
	Rate           float64 `json:"rate"`            // what is taken of each leaf's value
	Lambda         float64 `json:"lambda"`          // L2 of leaves: pulls their values to 0
	MinChild       float64 `json:"min_child"`       // least sum of second derivatives in a leaf: of weights (regression) or of weight p(1-p)
	MinGain        float64 `json:"min_gain"`        // a split must gain more
	CategoryLambda float64 `json:"category_lambda"` // L2 on top, where categories are sorted and compared
	Stop           int     `json:"stop"`            // end after so many rounds in which the validation loss did not fall
	SampleRows     float64 `json:"sample_rows"`     // share of the rows that a round learns from
	SampleColumns  float64 `json:"sample_columns"`  // share of the columns that a tree may split on
	Seed           uint64  `json:"seed"`            // of samples
}

// Bounds of the parameters.
const (
	maxTrees = 10_000
	maxDepth = 12
	maxBins  = 255 // a bin is a byte, and 0 stands for missing
	maxRate  = 1
	maxL2    = 1e9
	least    = 1e-9 // of what must not be 0
)

// WithDefaults fills in what is not set. The defaults are for tables of a few
// hundred to some ten thousand rows with a validation set, which ends the
// training: the number of trees is only a bound. Of eight such tables depth 4 was
// better on seven than 5, and 3 little different; a million rows bear depth 6.
// Samples of 0.7 of the rows made the loss of each of them less, mostly by 1 to
// 4 %, but with samples weight 2 is not the row twice.
func (p Params) WithDefaults() Params {
	for _, f := range []struct {
		v   *int
		def int
	}{{&p.Trees, 500}, {&p.Depth, 4}, {&p.Bins, maxBins}, {&p.Stop, 30}} {
		if *f.v == 0 {
			*f.v = f.def
		}
	}
	for _, f := range []struct {
		v   *float64
		def float64
	}{{&p.Rate, 0.1}, {&p.Lambda, 1}, {&p.MinChild, 1}, {&p.CategoryLambda, 10}, {&p.SampleRows, 1}, {&p.SampleColumns, 1}} {
		if *f.v == 0 {
			*f.v = f.def
		}
	}
	return p
}

// Check reports the first parameter that is out of bounds. It is for parameters
// with their defaults filled in.
func (p Params) Check() error {
	for _, f := range []struct {
		name      string
		v, lo, hi int
	}{{"trees", p.Trees, 1, maxTrees}, {"depth", p.Depth, 1, maxDepth}, {"bins", p.Bins, 2, maxBins}, {"stop", p.Stop, 1, maxTrees}} {
		if f.v < f.lo || f.v > f.hi {
			return fmt.Errorf("gbdt: %s %d: give %d to %d", f.name, f.v, f.lo, f.hi)
		}
	}
	for _, f := range []struct {
		name      string
		v, lo, hi float64
	}{
		{"rate", p.Rate, least, maxRate}, {"lambda", p.Lambda, least, maxL2}, {"min_child", p.MinChild, least, maxL2}, {"min_gain", p.MinGain, 0, maxL2},
		{"category_lambda", p.CategoryLambda, least, maxL2}, {"sample_rows", p.SampleRows, 0.01, 1}, {"sample_columns", p.SampleColumns, 0.01, 1},
	} {
		if !(f.v >= f.lo && f.v <= f.hi) {
			return fmt.Errorf("gbdt: %s %v: give %g to %g", f.name, f.v, f.lo, f.hi)
		}
	}
	return nil
}
