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
	upper   []float64
	ladder  [256]float64 // upper, and then +Inf
	inf     bool         // +Inf is a value: it exceeds every threshold
	names   []int        // of a category: which one a bin from 1 on is
	bin     []byte       // of a category
	other   int          // the bin of rare categories; 0: there is none
}

// A point is a distinct value and its weight.
type point struct {
	v, w float64
}

// fit makes the columns of features first to first+n-1, and says which of them
// there is anything to split on.
func fit(s *sample, first, n, bins int) (columns []column, use []bool) {
	points, missing := s.points(first, n)
	spare := make([]point, 0, min(len(s.label), binRows))
	for j := range n {
		c := column{feature: first + j}
		values := distinct(points[j], spare)
		some := false
		if s.d.Categories != nil && s.d.Categories[first+j] > 0 {
			some = c.categories(values, s.d.Categories[first+j], bins, missing[j])
		} else {
			c.numbers(values, bins)
			some = len(c.upper) > 0 || len(values) > 0 && missing[j]
		}
		columns, use = append(columns, c), append(use, some)
	}
	return columns, use
}

// points returns the values of features from the rows that bins are fitted on,
// and whether any row, of those or not, has none.
func (s *sample) points(first, n int) (points [][]point, missing []bool) {
	rows := len(s.label)
	take := min(rows, binRows)
	points, missing = make([][]point, n), make([]bool, n)
	for j := range points {
		points[j] = make([]point, 0, take)
	}
	for i := range take {
		row := i
		if rows > binRows {
			lo, hi := i*rows/take, (i+1)*rows/take
			row = lo + int(mix(uint64(i))%uint64(hi-lo))
		}
		w := s.weightOf(row)
		for j, v := range s.x(row)[first : first+n] {
			if v == v {
				points[j] = append(points[j], point{v + 0, w}) // -0 becomes 0
			} else {
				missing[j] = true
			}
		}
	}
	for i := 0; i < rows && rows > take; i++ {
		for j, v := range s.x(i)[first : first+n] {
			if v != v {
				missing[j] = true
			}
		}
	}
	return points, missing
}

// distinct sorts points, and makes those of one value one.
func distinct(points, spare []point) []point {
	points = sorted(points, spare[:len(points)])
	n := 0
	for i, p := range points {
		if i > 0 && p.v == points[n-1].v {
			points[n-1].w += p.w
			continue
		}
		points[n] = p
		n++
	}
	return points[:n]
}

// sorted returns the points in ascending order, in either of the two slices: for
// many it is a radix sort, of 11 bits at a time.
func sorted(points, spare []point) []point {
	if len(points) < 1<<10 {
		slices.SortStableFunc(points, func(a, b point) int { return cmp.Compare(a.v, b.v) })
		return points
	}
	const digit = 11
	var counts [6][1 << digit]uint32
	for _, p := range points {
		for k, key := 0, key(p.v); k < len(counts); k++ {
			counts[k][key>>(digit*k)&(1<<digit-1)]++
		}
	}
	for k := range counts {
		at := &counts[k]
		if at[key(points[0].v)>>(digit*k)&(1<<digit-1)] == uint32(len(points)) {
			continue // all have the same digit
		}
		sum := uint32(0)
		for i, n := range at {
			at[i], sum = sum, sum+n
		}
		for _, p := range points {
			to := &at[key(p.v)>>(digit*k)&(1<<digit-1)]
			spare[*to] = p
			*to++
		}
		points, spare = spare, points
	}
	return points
}

// key returns bits that are in the order of the numbers.
func key(v float64) uint64 {
	b := math.Float64bits(v)
	return b ^ (uint64(int64(b)>>63) | 1<<63)
}

// numbers makes the bins of distinct values in ascending order.
func (c *column) numbers(values []point, bins int) {
	c.upper = cuts(values, bins)
	c.bins = len(c.upper) + 2
	c.inf = len(values) > 0 && math.IsInf(values[len(values)-1].v, 1)
	for i := range c.ladder {
		c.ladder[i] = math.Inf(1)
	}
	copy(c.ladder[:], c.upper)
}

// cuts returns the upper ends of all bins but the last. A value is never in two
// bins. One that weighs as much as a bin should has one for itself, if its
// neighbours fill bins; the others have bins of about equal weights.
func cuts(points []point, bins int) []float64 {
	total := 0.0
	for _, p := range points {
		total += p.w
	}
	heavy := total / float64(bins)
	rest, reserved := 0.0, 0 // weight of values that are not heavy, bins for those that are
	for _, p := range points {
		if p.w >= heavy {
			reserved++
		} else {
			rest += p.w
		}
	}
	var upper []float64
	in := 0.0 // weight in the bin, of values that are not heavy
	for i, p := range points {
		left := bins - len(upper)
		if left < 2 || i+1 == len(points) {
			break
		}
		next := points[i+1]
		target := rest / float64(max(left-reserved, 1))
		full := len(points)-i <= left // each value has a bin
		switch {
		case p.w >= heavy:
			reserved--
			full = true
		case next.w >= heavy:
			in += p.w
			full = full || in >= target/2
		default:
			in += p.w
			full = full || in+float64(next.w/2) >= target
		}
		if t, ok := between(p.v, next.v); full && ok {
			upper = append(upper, t)
			rest, in = rest-in, 0
		}
	}
	return upper
}

// between returns a finite t with a <= t < b, the middle if it can.
func between(a, b float64) (float64, bool) {
	a, b = max(a, -math.MaxFloat64), min(b, math.MaxFloat64)
	t := a + float64((b-a)/2)
	if math.IsInf(b-a, 0) {
		t = float64(a/2) + float64(b/2)
	}
	if !(a <= t && t < b) {
		t = a
	}
	return t, t < b
}

// categories makes bins of categories. Ties of weight go to the lower category.
func (c *column) categories(points []point, k, bins int, missing bool) bool {
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
	return len(known) > 1 || len(known) == 1 && (others || missing)
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
	// A binary search without a branch: the next value does not wait for this one.
	below := 0
	for step := 128; step > 0; step /= 2 {
		more := 0
		if c.ladder[(below+step-1)&255] < v {
			more = step
		}
		below += more
	}
	return byte(below + 1)
}

// mix is the finaliser of splitmix64: a hash whose every bit depends on all of x.
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}
