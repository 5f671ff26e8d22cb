package gbdt

import (
	"bytes"
	"cmp"
	"math"
	"slices"
)

// binRows is how many rows the bins are fitted on. With more rows in the data,
// these are one of each of so many runs of rows.
const binRows = 200_000

// A column is how the values of a feature become bins. Bin 0 is missing.
//
// Of a number, bin b has the values that are at most upper[b-1] and not in a
// bin before, and the last bin the rest. A threshold is one of upper: it is the
// same comparison, of the same float64, so that a row is never on another side
// in training than when it is scored.
//
// Of a category, bins are the categories with the most weight; the others share
// the last bin, which is never in a set.
type column struct {
	feature int
	bins    int // in use, with bin 0
	missing bool
	upper   []float64
	inf     bool   // +Inf is a value: it exceeds every threshold
	names   []int  // of a category: which one a bin from 1 on is
	bin     []byte // of a category
	other   int    // the bin of rare categories; 0: there is none
}

// A point is a distinct value and its weight.
type point struct {
	v, w float64
}

// fit makes the column of a feature. It reports whether there is anything to
// split on.
func fit(s *sample, feature, bins int) (column, bool) {
	c := column{feature: feature}
	points := s.points(feature, &c)
	if s.d.Categories != nil && s.d.Categories[feature] > 0 {
		return c, c.categories(points, s.d.Categories[feature], bins)
	}
	c.upper = cuts(points, bins)
	c.bins = len(c.upper) + 2
	c.inf = len(points) > 0 && math.IsInf(points[len(points)-1].v, 1)
	return c, len(c.upper) > 0 || len(points) > 0 && c.missing
}

// points returns the distinct values of a feature in ascending order.
func (s *sample) points(feature int, c *column) []point {
	n := len(s.label)
	take := min(n, binRows)
	points := make([]point, 0, take)
	for i := range take {
		row := i
		if n > binRows {
			lo, hi := i*n/take, (i+1)*n/take
			row = lo + int(mix(uint64(i))%uint64(hi-lo))
		}
		if v := s.x(row)[feature]; v == v {
			points = append(points, point{v + 0, s.weightOf(row)}) // -0 becomes 0
		} else {
			c.missing = true
		}
	}
	if n > take && !c.missing {
		for i := 0; i < n && !c.missing; i++ {
			c.missing = math.IsNaN(s.x(i)[feature])
		}
	}
	slices.SortFunc(points, func(a, b point) int { return cmp.Compare(a.v, b.v) })
	distinct := 0
	for i, p := range points {
		if i > 0 && p.v == points[distinct-1].v {
			points[distinct-1].w += p.w
			continue
		}
		points[distinct] = p
		distinct++
	}
	return points[:distinct]
}

// cuts returns the upper ends of all bins but the last. Bins have about equal
// weights, but a value is never in two.
func cuts(points []point, bins int) []float64 {
	rest := 0.0
	for _, p := range points {
		rest += p.w
	}
	var upper []float64
	in := 0.0
	for i, p := range points[:max(len(points)-1, 0)] {
		in += p.w
		left := bins - len(upper)
		if left < 2 {
			break
		}
		// With a bin for each value that is left, each gets its own. Else a bin ends
		// when it is full, or when the next value would fill more than what is missing.
		target := rest / float64(left)
		if len(points)-i > left && in < target && in+float64(points[i+1].w/2) < target {
			continue
		}
		if t, ok := between(p.v, points[i+1].v); ok {
			upper = append(upper, t)
			rest, in = rest-in, 0
		}
	}
	return upper
}

// between returns a finite t with a <= t < b, the middle if it can.
func between(a, b float64) (float64, bool) {
	a, b = max(a, -math.MaxFloat64), min(b, math.MaxFloat64)
	t := a + (b-a)/2
	if math.IsInf(b-a, 0) {
		t = a/2 + b/2
	}
	if !(a <= t && t < b) {
		t = a
	}
	return t, t < b
}

// categories makes bins of categories. Ties of weight go to the lower category.
func (c *column) categories(points []point, k, bins int) bool {
	var known []point
	for _, p := range points {
		if p.v >= 0 && p.v < float64(k) && p.v == math.Trunc(p.v) {
			known = append(known, p)
		}
	}
	slices.SortStableFunc(known, func(a, b point) int { return cmp.Compare(b.w, a.w) })
	known = known[:min(len(known), bins-1)]
	others := len(points) > len(known)
	slices.SortFunc(known, func(a, b point) int { return cmp.Compare(a.v, b.v) })
	c.other = len(known) + 1
	c.bins = c.other + 1
	c.bin = bytes.Repeat([]byte{byte(c.other)}, k)
	c.names = []int{-1}
	for i, p := range known {
		c.bin[int(p.v)] = byte(1 + i)
		c.names = append(c.names, int(p.v))
	}
	return len(known) > 1 || len(known) == 1 && (others || c.missing)
}

// binOf returns the bin of a value.
func (c *column) binOf(v float64) byte {
	if v != v {
		return 0
	}
	if c.bin != nil {
		if v >= 0 && v < float64(len(c.bin)) && v == math.Trunc(v) {
			return c.bin[int(v)]
		}
		return byte(c.other)
	}
	lo, n := 0, len(c.upper)
	for n > 0 {
		half := (n + 1) / 2
		if c.upper[lo+half-1] < v {
			lo += half
			n -= half
		} else {
			n = half - 1
		}
	}
	return byte(lo + 1)
}

// mix is the finaliser of splitmix64: a hash whose every bit depends on all of x.
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}
