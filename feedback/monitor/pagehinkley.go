package monitor

import (
	"cmp"
	"fmt"
	"math"
)

// A Side is which way a mean must go for an alarm.
type Side string

// The sides.
const (
	Up   Side = "up"
	Down Side = "down"
	Both Side = "both"
)

// A PageHinkleyConfig is how a PageHinkley weighs what it sees. The zero value of a
// field stands for its default, which are those of scikit-multiflow and River.
type PageHinkleyConfig struct {
	Min       int     // values before the first alarm. Default: 30
	Delta     float64 // by how much a value may be beyond the mean for nothing. Default: 0.005
	Threshold float64 // of the sum, lambda. Default: 50
	Alpha     float64 // how much of the sum is left after each value; 1 is all of it. Default: 0.9999
	Side      Side    // Default: Both
}

// A PageHinkley tells when the mean of a stream has gone up, or down (Page 1954,
// "Continuous inspection schemes"). Of the readings that there are it is that of
// scikit-multiflow: S = max(0, alpha*S + x - mean - delta), with the mean of all
// values since it began, x included, and an alarm once S is greater than the
// threshold. River keeps the faded sum and its minimum instead, and alarms up to a
// twentieth sooner. Down is the same of values with the other sign. After an alarm
// it begins anew with the next value.
//
// A sum has the unit of the values: the threshold and delta are for errors and
// losses around 1. What it ignores is as for ADWIN. It belongs to one goroutine.
type PageHinkley struct {
	config   PageHinkleyConfig
	n        int64
	mean     float64
	up, down float64 // the sums
}

// NewPageHinkley returns a detector that has seen nothing, or what is wrong with c.
func NewPageHinkley(c PageHinkleyConfig) (*PageHinkley, error) {
	c.Min = cmp.Or(c.Min, 30)
	c.Delta = cmp.Or(c.Delta, 0.005)
	c.Threshold = cmp.Or(c.Threshold, 50)
	c.Alpha = cmp.Or(c.Alpha, 0.9999)
	c.Side = cmp.Or(c.Side, Both)
	switch {
	case c.Min < 1:
		return nil, fmt.Errorf("monitor: Page-Hinkley: min: %d: give at least 1", c.Min)
	case !(c.Delta > 0 && c.Delta <= MaxDetected):
		return nil, fmt.Errorf("monitor: Page-Hinkley: delta: %v: give a number above 0", c.Delta)
	case !(c.Threshold > 0 && c.Threshold <= MaxDetected):
		return nil, fmt.Errorf("monitor: Page-Hinkley: threshold: %v: give a number above 0", c.Threshold)
	case !(c.Alpha > 0 && c.Alpha <= 1):
		return nil, fmt.Errorf("monitor: Page-Hinkley: alpha: %v: give a share above 0, at most 1", c.Alpha)
	case c.Side != Up && c.Side != Down && c.Side != Both:
		return nil, fmt.Errorf("monitor: Page-Hinkley: side: %q: give %s, %s or %s", c.Side, Up, Down, Both)
	}
	return &PageHinkley{config: c}, nil
}

// Add takes the next value and says whether the mean has changed.
func (p *PageHinkley) Add(x float64) (changed bool) {
	if !(math.Abs(x) <= MaxDetected) {
		return false
	}
	p.n++
	p.mean += (x - p.mean) / float64(p.n)
	off := x - p.mean
	if p.config.Side != Down {
		p.up = max(0, float64(p.config.Alpha*p.up)+off-p.config.Delta)
	}
	if p.config.Side != Up {
		p.down = max(0, float64(p.config.Alpha*p.down)-off-p.config.Delta)
	}
	if p.n < int64(p.config.Min) || max(p.up, p.down) <= p.config.Threshold {
		return false
	}
	*p = PageHinkley{config: p.config}
	return true
}
