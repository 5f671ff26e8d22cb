package gbdt

import (
	"cmp"
	"slices"
)

// A split divides the rows of a node by the bins of a column.
type split struct {
	gain        float64
	column      int // of the table; -1: there is none
	bin         int // of a number: the last that goes left
	set         []uint8
	missing     bool // the node has missing values, and missingLeft was tried
	missingLeft bool
	left        sums
}

// A finder looks for splits in a block. It has memory for one at a time.
type finder struct {
	p      Params
	m      *measure
	floor  float64 // a gain must exceed it
	minH   int64   // in units
	total  sums
	parent float64 // the score that the children must beat
	best   split
	bins   [256]sums
	order  []category
}

type category struct {
	bin   uint8
	ratio float64
}

// score is twice what the loss falls by with the best value of a leaf.
func (f *finder) score(s sums, lambda float64) float64 {
	g, h := f.m.value(s)
	return float64(g*g) / (h + lambda)
}

func (f *finder) begin(total sums) {
	f.total = total
	f.parent = f.score(total, f.p.Lambda)
	f.best = split{column: -1, gain: f.floor + float64(1e-10*f.parent)}
}

// gain returns what a division with these sums on the left gains, or -1 where a
// side has too little.
func (f *finder) gain(left sums, lambda float64) float64 {
	right := f.total.minus(left)
	if left.h < f.minH || right.h < f.minH {
		return -1
	}
	return f.score(left, lambda) + f.score(right, lambda) - f.parent
}

// offer takes a split that gains more than the best so far.
func (f *finder) offer(gain float64, left sums, s split) bool {
	if !(gain > f.best.gain) {
		return false
	}
	s.gain, s.left = gain, left
	f.best = s
	return true
}

// load reads the sums of a column's bins.
func (f *finder) load(c *column, g, h *[256]int64) []sums {
	bins := f.bins[:c.bins]
	if h == nil {
		for i := range bins {
			bins[i] = unpack(g[i])
		}
		return bins
	}
	for i := range bins {
		bins[i] = sums{g[i], h[i]}
	}
	return bins
}

// number tries each threshold of a column, with missing values on either side,
// and missing values against all others.
func (f *finder) number(at int, c *column, bins []sums) {
	miss, lambda := bins[0], f.p.Lambda
	some := miss.h != 0
	var left sums
	last := len(bins) - 1
	for b := 1; b < last; b++ {
		if bins[b] == (sums{}) {
			continue // the same rows are on the left as before
		}
		left = left.plus(bins[b])
		if gain := f.gain(left, lambda); gain > f.best.gain {
			f.offer(gain, left, split{column: at, bin: b, missing: some})
		}
		if some {
			with := left.plus(miss)
			if gain := f.gain(with, lambda); gain > f.best.gain {
				f.offer(gain, with, split{column: at, bin: b, missing: true, missingLeft: true})
			}
		}
	}
	if some && !c.inf {
		left = f.total.minus(miss)
		f.offer(f.gain(left, lambda), left, split{column: at, bin: last, missing: true})
	}
}

// categories sorts the categories by what they would have as leaves, and tries each
// beginning and each end of the order as the set that goes left. For a convex
// loss the best of all sets is among them (Fisher 1958), but for lambda, which
// keeps rare categories in the middle. Of a set and its complement the lighter
// goes left, so that categories that are new go with the heavier.
func (f *finder) categories(at int, c *column, bins []sums) {
	lambda := f.p.Lambda + f.p.CategoryLambda
	f.order = f.order[:0]
	for b := 1; b < c.other; b++ {
		if bins[b].h != 0 {
			g, h := f.m.value(bins[b])
			f.order = append(f.order, category{uint8(b), g / (h + lambda)})
		}
	}
	slices.SortFunc(f.order, func(a, b category) int {
		return cmp.Or(cmp.Compare(a.ratio, b.ratio), cmp.Compare(a.bin, b.bin))
	})
	miss := bins[0]
	rare := f.total.minus(miss)
	for _, o := range f.order {
		rare = rare.minus(bins[o.bin])
	}
	some, best := miss.h != 0, 0
	if some { // what is missing against all others
		f.offer(f.gain(miss, f.p.Lambda), miss, split{column: at, missing: true, missingLeft: true})
	}
	for range 2 {
		var left sums
		for n := range f.order {
			if left = left.plus(bins[f.order[n].bin]); rare.h == 0 && left.h > f.total.h-left.h {
				break
			}
			if f.offer(f.gain(left, lambda), left, split{column: at, missing: some}) {
				best = n + 1
			}
			if with := left.plus(miss); some && f.offer(f.gain(with, lambda), with, split{column: at, missing: true, missingLeft: true}) {
				best = n + 1
			}
		}
		if best > 0 {
			f.best.set = f.best.set[:0:0]
			for _, o := range f.order[:best] {
				f.best.set = append(f.best.set, o.bin)
			}
			best = 0
		}
		slices.Reverse(f.order)
	}
}
