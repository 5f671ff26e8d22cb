package monitor

import (
	"fmt"
	"math"
	"slices"
)

// MaxDetected is the greatest magnitude of a value that detectors take: the square
// of what is beyond it could blind them for ever. They ignore such values, NaN and
// infinities included, as if they had not been added.
const MaxDetected = 1e100

// An ADWINConfig is how an ADWIN looks at its window. The zero value of a field
// stands for its default, which is River's.
type ADWINConfig struct {
	// Delta is how unlikely a change must be to be chance. Default: 0.002. The paper
	// bounds by it the chance of a false alarm at one look, not over a stream: a
	// detector is not a contract as a Config is.
	Delta float64

	// Clock is at each how many values the window is looked at: 1 is soonest and
	// dearest. Default: 32.
	Clock int

	// Grace is how many values the window has without being looked at. Default: 10.
	Grace int

	// MinWindow is the least number of values on each side of a cut. Default: 5.
	MinWindow int
}

// An ADWIN tells when the mean of a stream has changed (Bifet & Gavaldà 2007,
// "Learning from time-changing data with adaptive windowing", there ADWIN2). It
// keeps the longest window that no cut divides into two of different means. The
// window is an exponential histogram: of each size that is a power of two it has
// at most five buckets, so that its memory grows with the logarithm of its length.
//
// All cuts between buckets count, the variance is that of the window, and MinWindow
// shortens both sides in the bound, as in River 0.26, with whose alarms these agree.
// As there, an alarm begins a new window. The paper goes on with the newer part, and
// what it drops later is often the same change once more.
//
// The bound is for values that are in an interval of length 1 or not far beyond it.
// An ADWIN belongs to one goroutine.
type ADWIN struct {
	config  ADWINConfig
	rows    []bucketRow // row i has the buckets of 2^i values
	seen    int64       // values since the window began, dropped ones too
	origin  float64     // the first of them, which all are less by: no digits are lost to an offset
	changed bool
}

const bucketsOfASize = 5

// A bucketRow is the buckets of one size, the oldest first.
type bucketRow struct {
	n  int
	at [bucketsOfASize + 1]moments // size and mean and so on of a bucket
}

// Moments are the sum of squares around the mean of n values.
type moments struct {
	n             int64
	mean, squares float64
}

// and returns the moments of both (Chan, Golub & LeVeque 1979).
func (m moments) and(o moments) moments {
	n := m.n + o.n
	off, share := o.mean-m.mean, float64(o.n)/float64(n)
	return moments{n, m.mean + float64(off*share), m.squares + o.squares + float64(off*off*share*float64(m.n))}
}

// NewADWIN returns a detector that has seen nothing, or what is wrong with c.
func NewADWIN(c ADWINConfig) (*ADWIN, error) {
	if c.Delta == 0 {
		c.Delta = 0.002
	}
	for _, f := range []struct {
		name  string
		value *int
		or    int
	}{{"clock", &c.Clock, 32}, {"grace", &c.Grace, 10}, {"min window", &c.MinWindow, 5}} {
		if *f.value == 0 {
			*f.value = f.or
		}
		if *f.value < 1 {
			return nil, fmt.Errorf("monitor: ADWIN: %s: %d: give at least 1", f.name, *f.value)
		}
	}
	if !(c.Delta > 0 && c.Delta < 1) {
		return nil, fmt.Errorf("monitor: ADWIN: delta: %v: give a chance between 0 and 1", c.Delta)
	}
	return &ADWIN{config: c}, nil
}

// Add takes the next value and says whether the mean has changed. At an alarm the
// oldest buckets go until no cut is left, which may leave values from before the
// change; the next value begins anew.
func (a *ADWIN) Add(x float64) (changed bool) {
	if !(math.Abs(x) <= MaxDetected) {
		return false
	}
	if a.changed {
		a.rows, a.seen, a.changed = a.rows[:0], 0, false
	}
	if a.seen == 0 {
		a.origin = x
	}
	a.seen++
	a.insert(moments{n: 1, mean: x - a.origin})
	if a.seen%int64(a.config.Clock) != 0 || a.Width() <= int64(a.config.Grace) {
		return false
	}
	for a.cut() {
		a.drop()
		a.changed = true
	}
	return a.changed
}

// insert puts in the newest bucket. Where a size has too many, its two oldest
// become one of the next size.
func (a *ADWIN) insert(b moments) {
	for i := 0; ; i++ {
		if i == len(a.rows) {
			a.rows = append(a.rows, bucketRow{})
		}
		row := &a.rows[i]
		row.at[row.n] = b
		row.n++
		if row.n <= bucketsOfASize {
			return
		}
		b = row.at[0].and(row.at[1])
		row.n = copy(row.at[:], row.at[2:])
	}
}

// drop forgets the oldest bucket.
func (a *ADWIN) drop() {
	row := &a.rows[len(a.rows)-1]
	copy(row.at[:], row.at[1:])
	row.n--
	for len(a.rows) > 0 && a.rows[len(a.rows)-1].n == 0 {
		a.rows = a.rows[:len(a.rows)-1]
	}
}

// total returns the moments of the window. They are added up each time, so that no
// rounding gathers over a stream and nothing is ever taken away from a sum.
func (a *ADWIN) total() (all moments) {
	for _, row := range slices.Backward(a.rows) {
		for _, b := range row.at[:row.n] {
			all = all.and(b)
		}
	}
	return all
}

// cut reports whether the means on the two sides of any cut, from the oldest on,
// are farther apart than chance has it.
func (a *ADWIN) cut() bool {
	all := a.total()
	variance := all.squares / float64(all.n)
	unlikely := math.Log(2 * math.Log(float64(all.n)) / a.config.Delta)
	least := int64(a.config.MinWindow)
	var old moments
	for _, row := range slices.Backward(a.rows) {
		for _, b := range row.at[:row.n] {
			old = old.and(b)
			rest := all.n - old.n
			if rest < least {
				return false
			}
			if old.n < least {
				continue
			}
			// The two means, weighed, have the mean of all between them.
			apart := math.Abs(old.mean-all.mean) * float64(all.n) / float64(rest)
			sizes := 1/float64(old.n-least+1) + 1/float64(rest-least+1)
			if apart > math.Sqrt(2*sizes*variance*unlikely)+2.0/3*sizes*unlikely {
				return true
			}
		}
	}
	return false
}

// Width returns how many values the window has.
func (a *ADWIN) Width() int64 {
	n := int64(0)
	for i, row := range a.rows {
		n += int64(row.n) << i
	}
	return n
}

// Mean returns the mean of the window; NaN if it has no values.
func (a *ADWIN) Mean() float64 {
	if len(a.rows) == 0 {
		return math.NaN()
	}
	return a.origin + a.total().mean
}

// Variance returns the variance of the window, that of a population, from the
// buckets; NaN if it has no values.
func (a *ADWIN) Variance() float64 {
	all := a.total()
	return all.squares / float64(all.n) // 0/0 is NaN
}
