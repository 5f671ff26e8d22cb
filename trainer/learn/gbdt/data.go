package gbdt

import (
	"errors"
	"fmt"
	"math"

	"github.com/millrace/millrace/trainer/learn"
)

// Data are rows to learn from. Nothing in it is changed or kept.
type Data struct {
	Features   int
	Names      []string  // of the features, for the ensemble; nil: none
	Categories []int     // of each feature: how many categories it has, 0: it is a number; nil: all are numbers
	X          []float64 // row after row, Features values each; NaN is missing
	Label      []float64 // as the task has them
	Weight     []float64 // nil: all 1. A row of weight 0 is as if it were not there
}

// Limits of the data. Beyond X, labels and weights, which are the caller's, the
// memory of a training is bounded by
//
//	rows x features x 2 bytes, features being rounded up to eights: bins, twice
//	rows x (48 + 16 x classes) bytes: gradients, in units too, margins, order
//	(Depth + threads) x features x 4 KiB: histograms
//	threads x 30 MB: samples that bins are fitted on
//
// and half of the histograms with 65,536 rows or more. Without constant columns
// it is less. Validation rows take 8 x classes bytes each.
const (
	maxFeatures   = 4096
	maxRows       = 1 << 26
	maxValues     = 1 << 31 // of rows x features
	maxCategories = 1 << 16 // of a feature
	maxClasses    = 256
	maxMargins    = 1 << 28 // of rows x classes
	maxThreads    = 256
	maxAllTrees   = 1 << 17 // of an ensemble, as package trees has it
	maxAllNodes   = 1 << 22 // 0.4 GB while they grow
	maxLabel      = 1e90
	minWeight     = 1e-9
	maxWeight     = 1e9
)

// check looks at all but the values of X. It returns the number of classes.
func (d *Data) check(task learn.Task, name string) (int, error) {
	if err := d.checkShape(); err != nil {
		return 0, fmt.Errorf("gbdt: %s rows: %w", name, err)
	}
	total, top := 0.0, 1.0 // two classes at least
	for i, y := range d.Label {
		if err := checkLabel(task, y); err != nil {
			return 0, fmt.Errorf("gbdt: %s row %d: %w", name, i, err)
		}
		w := 1.0
		if d.Weight != nil {
			w = d.Weight[i]
		}
		if w != 0 && !(w >= minWeight && w <= maxWeight) {
			return 0, fmt.Errorf("gbdt: %s row %d: weight %v: give 0 or %g to %g", name, i, w, minWeight, float64(maxWeight))
		}
		total += w
		if w > 0 {
			top = max(top, y)
		}
	}
	if total == 0 {
		return 0, fmt.Errorf("gbdt: no %s row has a weight: give one row at least", name)
	}
	if task != learn.Multiclass {
		return 1, nil
	}
	return int(top) + 1, nil
}

func checkLabel(task learn.Task, y float64) error {
	switch {
	case task == learn.Regression && !(math.Abs(y) <= maxLabel):
		return fmt.Errorf("label %v: give a number within %g", y, float64(maxLabel))
	case task == learn.Binary && y != 0 && y != 1:
		return fmt.Errorf("label %v: give 0 or 1", y)
	case task == learn.Multiclass && !(y >= 0 && y < maxClasses && y == math.Trunc(y)):
		return fmt.Errorf("label %v: give the number of a class, 0 to %d", y, maxClasses-1)
	}
	return nil
}

func tooMany(rows, features int) bool {
	return rows > maxRows || rows > maxValues/features
}

func (d *Data) checkShape() error {
	if d.Features < 1 || d.Features > maxFeatures {
		return fmt.Errorf("%d features: give 1 to %d", d.Features, maxFeatures)
	}
	rows := len(d.Label)
	switch {
	case len(d.X)%d.Features != 0 || len(d.X)/d.Features != rows:
		return fmt.Errorf("%d values for %d rows of %d features", len(d.X), rows, d.Features)
	case tooMany(rows, d.Features):
		return fmt.Errorf("%d rows of %d features: at most %d rows and %d values in all are trained on, give a sample", rows, d.Features, maxRows, maxValues)
	case d.Weight != nil && len(d.Weight) != rows:
		return fmt.Errorf("%d weights for %d rows", len(d.Weight), rows)
	case d.Names != nil && len(d.Names) != d.Features:
		return fmt.Errorf("%d names for %d features", len(d.Names), d.Features)
	case d.Categories != nil && len(d.Categories) != d.Features:
		return fmt.Errorf("categories of %d features, of %d", len(d.Categories), d.Features)
	}
	for j, k := range d.Categories {
		if k < 0 || k > maxCategories {
			return fmt.Errorf("feature %d has %d categories: at most %d are learned, leave out rare ones", j, k, maxCategories)
		}
	}
	return nil
}

// A sample is rows that have a weight.
type sample struct {
	d       *Data
	rows    []uint32  // of d; nil: all
	label   []float64 // of rows
	weight  []float64 // nil: all 1
	classes int
	total   float64 // of the weights
}

// weighted leaves out the rows of d that have none.
func (d *Data) weighted(classes int) (*sample, error) {
	s := &sample{d: d, label: d.Label, weight: d.Weight, classes: classes}
	n := 0
	for _, w := range d.Weight {
		if w > 0 {
			n++
		}
	}
	if d.Weight != nil && n < len(d.Label) {
		s.rows, s.label, s.weight = make([]uint32, 0, n), make([]float64, 0, n), make([]float64, 0, n)
		for i, w := range d.Weight {
			if w > 0 {
				s.rows = append(s.rows, uint32(i))
				s.label = append(s.label, d.Label[i])
				s.weight = append(s.weight, w)
			}
		}
	}
	if len(s.label) > maxMargins/classes {
		return nil, errors.New("gbdt: too many rows for so many classes: rows x classes is at most " + fmt.Sprint(maxMargins))
	}
	s.total = float64(len(s.label))
	if s.weight != nil {
		s.total = 0
		for _, w := range s.weight {
			s.total += w
		}
	}
	return s, nil
}

// x returns the values of a row.
func (s *sample) x(i int) []float64 {
	if s.rows != nil {
		i = int(s.rows[i])
	}
	f := s.d.Features
	return s.d.X[i*f : i*f+f]
}

// weights returns those of rows lo to hi; nil: all 1.
func (s *sample) weights(lo, hi int) []float64 {
	if s.weight == nil {
		return nil
	}
	return s.weight[lo:hi]
}

func (s *sample) weightOf(i int) float64 {
	if s.weight == nil {
		return 1
	}
	return s.weight[i]
}
