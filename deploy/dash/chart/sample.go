package chart

import (
	"math"
	"sort"
)

// A point is one value of a series; what is missing is NaN.
type point struct{ x, y, lo, hi float64 }

var none = math.NaN()

// pointsOf returns the points of a series by X, with all that is missing as NaN.
// Points without an X, and what is longer than the shortest of x and y, are left
// out. keep says which X there are.
func pointsOf(x, y, lo, hi []float64, keep func(float64) bool, value func(float64) float64) []point {
	n := min(len(x), len(y))
	points := make([]point, 0, n)
	sorted := true
	for i := range n {
		if missing(x[i]) || !keep(x[i]) {
			continue
		}
		p := point{x[i], value(y[i]), none, none}
		if i < len(lo) && i < len(hi) {
			p.lo, p.hi = value(lo[i]), value(hi[i])
			if math.IsNaN(p.lo) || math.IsNaN(p.hi) {
				p.lo, p.hi = none, none
			} else if p.lo > p.hi {
				p.lo, p.hi = p.hi, p.lo
			}
		}
		if len(points) > 0 && p.x < points[len(points)-1].x {
			sorted = false
		}
		points = append(points, p)
	}
	if !sorted {
		sort.SliceStable(points, func(i, j int) bool { return points[i].x < points[j].x })
	}
	return points
}

// runs cuts points where a value is missing and where neighbours are farther apart
// than gap (0: however far).
func runs(points []point, gap float64) [][]point {
	var out [][]point
	var run []point
	for _, p := range points {
		if math.IsNaN(p.y) || gap > 0 && len(run) > 0 && p.x-run[len(run)-1].x > gap {
			if len(run) > 0 {
				out = append(out, run)
			}
			run = nil
		}
		if !math.IsNaN(p.y) {
			run = append(run, p)
		}
	}
	if len(run) > 0 {
		out = append(out, run)
	}
	return out
}

// sample returns runs of at most about two points for each of the columns of width 1
// that x is drawn into: the least and the greatest of each, in their order, and the
// first and the last of all. Of areas these are the least Lo and the greatest Hi. Up
// to twice as many points as there are columns are returned as they are.
func sample(all [][]point, x scale, area bool) [][]point {
	n := 0
	for _, run := range all {
		n += len(run)
	}
	columns := int(math.Abs(x.b-x.a)) + 1
	if n <= 2*columns {
		return all
	}
	s := sampler{area: area}
	for _, run := range all {
		for i, p := range run {
			s.add(p, int(math.Floor(x.at(p.x))), i == 0)
		}
	}
	s.flush()
	return s.ended(all)
}

// A sampler gathers the points of one column at a time.
type sampler struct {
	area     bool
	out      [][]point
	column   int
	any      bool
	cut      bool // the column's first point does not join what is before it
	min, max point
}

func (s *sampler) add(p point, column int, cut bool) {
	if s.any && column == s.column {
		// A gap within a column is narrower than what can be seen.
		if s.low(p) < s.low(s.min) {
			s.min = p
		}
		if s.high(p) > s.high(s.max) {
			s.max = p
		}
		return
	}
	s.flush()
	s.column, s.any, s.cut, s.min, s.max = column, true, cut, p, p
}

func (s *sampler) low(p point) float64 {
	if s.area {
		return p.lo
	}
	return p.y
}

func (s *sampler) high(p point) float64 {
	if s.area {
		return p.hi
	}
	return p.y
}

func (s *sampler) flush() {
	if !s.any {
		return
	}
	a, b := s.min, s.max
	if b.x < a.x {
		a, b = b, a
	}
	if s.cut || len(s.out) == 0 {
		s.out = append(s.out, nil)
	}
	last := len(s.out) - 1
	s.out[last] = append(s.out[last], a)
	if a.x != b.x || a.y != b.y {
		s.out[last] = append(s.out[last], b)
	}
	s.any = false
}

// ended puts the first and the last of all points back, which are what people look at.
func (s *sampler) ended(all [][]point) [][]point {
	first, lastRun := all[0][0], all[len(all)-1]
	last := lastRun[len(lastRun)-1]
	if got := s.out[0][0]; got.x > first.x {
		s.out[0] = append([]point{first}, s.out[0]...)
	}
	end := len(s.out) - 1
	if got := s.out[end][len(s.out[end])-1]; got.x < last.x {
		s.out[end] = append(s.out[end], last)
	}
	return s.out
}
