package gbdt

import (
	"math"

	"github.com/millrace/millrace/trainer/learn/trees"
)

// small is how many rows of a node are not worth a second thread.
const small = 1 << 12

// maxLeaf bounds what a leaf adds to a log-odds, before the rate. Far from the
// best, where the loss is nearly straight, Newton's step goes past it, and the
// next step further still (max_delta_step of XGBoost).
const maxLeaf = 10

// A growth is a tree that grows. Its rows are sorted by leaf, and in their own
// order within one.
type growth struct {
	*fitter
	rows, spare []uint32
	nodes       []trees.Node
	leaves      []region
	minH        int64 // least second derivative of a child, in units
}

// A region is the rows of a node: rows[lo:hi].
type region struct {
	node   int32
	lo, hi int
}

// grow returns the next tree of a class, whose leaves are added to the margins.
// It is nil where no split gains anything, and the margins of all rows together
// are not off by more than chance would have them.
func (f *fitter) grow(class, round int) *trees.Tree {
	f.measureClass(class, round)
	g := &growth{fitter: f, rows: f.rows, spare: f.spare, leaves: f.leaves[:0]}
	g.minH = int64(min(math.Ceil(f.p.MinChild/f.m.unitH), 1<<60))
	f.drawColumns(class)
	for i := range g.rows {
		g.rows[i] = uint32(i)
	}
	g.nodes = append(g.nodes, trees.Node{Feature: -1})
	h := f.take()
	best := g.search(h, nil, region{0, 0, len(g.rows)}, f.m.total, sums{})
	g.divide(region{0, 0, len(g.rows)}, h, best[0], f.m.total, f.p.Depth)
	if f.ctx.Err() != nil || len(g.nodes) == 1 && !f.samples() && !g.shifted() {
		return nil
	}
	f.leaves = g.leaves
	g.finish(class)
	return &trees.Tree{Class: class, Nodes: g.nodes}
}

// shifted reports whether the mean gradient is not 0: an ensemble goes on with
// rows that have another mean. G^2/H is then far above what it has by chance,
// which is 1 for a log loss, and the variance of the labels for a squared error.
func (g *growth) shifted() bool {
	const limit = 10
	gr, h := g.m.value(g.m.total)
	return float64(gr*gr) > limit*g.chance*(h+g.p.Lambda)
}

// drawColumns chooses the columns of a tree: at least one.
func (f *fitter) drawColumns(class int) {
	any := false
	for j := range f.columns {
		f.columns[j] = f.p.SampleColumns >= 1 || f.drawn(uint64(j+1)<<32+uint64(class)<<48, f.p.SampleColumns)
		any = any || f.columns[j]
	}
	if !any && len(f.columns) > 0 {
		f.columns[f.draw%uint64(len(f.columns))] = true
	}
}

// divide splits a node and what comes below it. It takes the histogram, which is
// nil where no deeper split may follow.
func (g *growth) divide(r region, h histogram, s split, total sums, depth int) {
	if s.column < 0 || g.ctx.Err() != nil {
		g.give(h)
		g.leaf(r, total)
		return
	}
	c := &g.t.columns[s.column]
	right := total.minus(s.left)
	if !s.missing {
		s.missingLeft = s.left.h > right.h // new to the node: with most rows
	}
	middle := r.lo + g.partition(r, s)
	at := int32(len(g.nodes))
	g.nodes = append(g.nodes, trees.Node{Feature: -1})
	left := region{at, r.lo, middle}
	a, b := split{column: -1}, split{column: -1}
	var hl, hr histogram
	if depth > 1 && (g.splits(s.left) || g.splits(right)) {
		// Counted are the rows of the smaller child; the rest are those of the other.
		few := g.take()
		if left.hi-left.lo <= r.hi-middle {
			best := g.search(few, h, left, s.left, right)
			hl, hr, a, b = few, h, best[0], best[1]
		} else {
			best := g.search(few, h, region{-1, middle, r.hi}, right, s.left)
			hl, hr, a, b = h, few, best[1], best[0]
		}
	} else {
		g.give(h)
	}
	g.divide(left, hl, a, s.left, depth-1)
	to := int32(len(g.nodes))
	g.nodes = append(g.nodes, trees.Node{Feature: -1})
	g.divide(region{to, middle, r.hi}, hr, b, right, depth-1)
	g.nodes[r.node] = g.node(c, s, at, to)
}

// splits reports whether a node with these sums is large enough to be split.
func (g *growth) splits(s sums) bool { return s.h >= 2*g.minH }

func (g *growth) node(c *column, s split, left, right int32) trees.Node {
	n := trees.Node{Feature: int32(c.feature), Left: left, Right: right, MissingLeft: s.missingLeft}
	n.Cover = g.nodes[left].Cover + g.nodes[right].Cover
	switch {
	case c.bin != nil:
		n.Set = []uint64{0}
		for _, b := range s.set {
			category := c.names[b]
			for len(n.Set) <= category/64 {
				n.Set = append(n.Set, 0)
			}
			n.Set[category/64] |= 1 << (category % 64)
		}
	case s.bin <= len(c.upper):
		n.Threshold = c.upper[s.bin-1]
	default: // missing against all others
		n.Threshold = math.MaxFloat64
	}
	return n
}

func (g *growth) leaf(r region, total sums) {
	gr, h := g.m.value(total)
	v := -gr / (h + g.p.Lambda)
	if g.link != trees.Identity {
		v = min(max(v, -maxLeaf), maxLeaf)
	}
	g.nodes[r.node] = trees.Node{Feature: -1, Value: float64(v * g.p.Rate)}
	g.leaves = append(g.leaves, r)
	// The cover is needed by the nodes above, which are finished after their leaves.
	cover := float64(r.hi - r.lo)
	if g.s.weight != nil {
		cover = 0
		for _, i := range g.rows[r.lo:r.hi] {
			cover += g.s.weight[i]
		}
	}
	g.nodes[r.node].Cover = cover
}

// finish adds the leaves to the margins.
func (g *growth) finish(class int) {
	margin := g.margins[class]
	parallel(g.threads, len(g.leaves), func(k int) {
		r := g.leaves[k]
		v := g.nodes[r.node].Value
		for _, i := range g.rows[r.lo:r.hi] {
			margin[i] += v
		}
	})
}

// search fills h with the sums of a region and takes them from rest, if there is
// one. It returns the best split of the region, and that of the rest.
func (g *growth) search(h, rest histogram, r region, total, restTotal sums) [2]split {
	threads := g.threads
	if r.hi-r.lo < small {
		threads = 1
	}
	parts := g.count(h, r, threads)
	found := g.found[:g.t.blocks]
	parallel(threads, g.t.blocks, func(b int) {
		columns := g.t.of(b)
		for k := b; k < len(h); k += g.t.blocks { // b, and the second derivatives of it
			for _, part := range parts {
				h[k].join(&part[k], columns)
			}
			if rest != nil {
				rest[k].subtract(&h[k], columns)
			}
		}
		f := g.finders[b]
		f.p, f.m, f.floor = g.p, &g.m, g.floor
		f.minH = g.minH
		found[b][0] = g.best(f, h, b, total)
		if rest != nil {
			found[b][1] = g.best(f, rest, b, restTotal)
		}
	})
	for _, part := range parts {
		g.give(part)
	}
	best := [2]split{{column: -1}, {column: -1}}
	for b := range found {
		for k := range best {
			if s := found[b][k]; s.column >= 0 && (best[k].column < 0 || s.gain > best[k].gain) {
				best[k] = s
			}
		}
	}
	return best
}

// count fills h with the sums of a part of the region, and returns those of the
// others, one a thread. As they are whole numbers, parts may be cut anywhere.
func (g *growth) count(h histogram, r region, threads int) (parts []histogram) {
	for range threads - 1 {
		parts = append(parts, g.take())
	}
	n := r.hi - r.lo
	parallel(threads, threads, func(k int) {
		to := h
		if k > 0 {
			to = parts[k-1]
		}
		to.clear(g.t)
		g.gatherers[k].count(to, g.t, &g.m, g.rows[r.lo+k*n/threads:r.lo+(k+1)*n/threads])
	})
	return parts
}

func (g *growth) best(f *finder, h histogram, b int, total sums) split {
	f.begin(total)
	if !g.splits(total) {
		return f.best
	}
	for j := range g.t.of(b) {
		at := b*width + j
		if !g.columns[at] {
			continue
		}
		c := &g.t.columns[at]
		var second *[256]int64
		if g.m.shared == nil {
			second = &h[g.t.blocks+b][j]
		}
		bins := f.load(c, &h[b][j], second)
		if c.bin != nil {
			f.categories(at, c, bins)
		} else {
			f.number(at, c, bins)
		}
	}
	return f.best
}

// partition sorts the rows of a region by side, each side in the order that it
// had, and returns how many go left.
func (g *growth) partition(r region, s split) int {
	var left [256]uint8
	for _, b := range s.set {
		left[b] = 1
	}
	for b := 1; b <= s.bin; b++ { // 0 with a set
		left[b] = 1
	}
	if s.missingLeft {
		left[0] = 1
	}
	bins := g.t.bins[s.column]
	rows, spare := g.rows[r.lo:r.hi], g.spare[r.lo:r.hi]
	threads := g.threads
	if len(rows) < small {
		threads = 1
	}
	// Each part is sorted in its own place, then the parts are put together.
	parts := (len(rows) + chunk - 1) / chunk
	lefts := g.lefts[:parts]
	parallel(threads, parts, func(k int) {
		lo, hi := k*chunk, min(k*chunk+chunk, len(rows))
		lefts[k] = sides(rows[lo:hi], spare[lo:hi], bins, &left)
	})
	n := 0
	for k, m := range lefts {
		n += copy(rows[n:], rows[k*chunk:][:m])
	}
	at := n
	for k, m := range lefts {
		at += copy(rows[at:], spare[k*chunk:min(k*chunk+chunk, len(rows))-m])
	}
	return n
}

// sides leaves the rows that go left at the beginning of rows, and writes the
// others to spare. It has no branch that depends on the rows. Inlined it would
// not get by with the registers that there are.
//
//go:noinline
func sides(rows, spare []uint32, bins []byte, left *[256]uint8) int {
	spare = spare[:len(rows)]
	n := 0
	for i, row := range rows {
		rows[n] = row
		spare[i-n] = row
		n += int(left[bins[row]])
	}
	return n
}

// take gives a histogram, from the pool if there is one that is long enough; give
// puts it back. There are at most Depth+1 and one for each further thread.
func (f *fitter) take() histogram {
	need := f.t.blocks
	if f.m.shared == nil {
		need *= 2
	}
	if n := len(f.pool); n > 0 {
		h := f.pool[n-1]
		f.pool = f.pool[:n-1]
		if cap(h) >= need {
			return h[:need]
		}
	}
	return make(histogram, need)
}

func (f *fitter) give(h histogram) {
	if h != nil {
		f.pool = append(f.pool, h)
	}
}
