package trees

import (
	"fmt"
	"math"
)

// maxFast is how many columns a row may have to be laid out on the stack.
const maxFast = 256

// blockRows is how many rows PredictAll takes through a tree before the next
// tree, so that the tree stays in the cache.
const (
	blockRows = 64
	blockSize = 4096 // values of its columns, 32 KiB
)

// A row holds the columns of a row. Places beyond a model's columns are not used.
type row [maxFast]float64

// margins fills dst, one a class, with the margins of the row x.
func (m *Model) margins(dst, x []float64) {
	if len(x) != m.ensemble.Features {
		panic(fmt.Sprintf("trees: a row of %d values for a model of %d", len(x), m.ensemble.Features))
	}
	copy(dst, m.ensemble.Base)
	var columns row
	if m.fast {
		m.fill(columns[:], x)
	}
	for i := 0; i < len(m.walks); i++ {
		w := &m.walks[i]
		switch {
		case !m.fast || w.sets:
			dst[w.class] += m.follow(w, x)
		case w.group < 0:
			dst[w.class] += m.leaf(w, &columns)
		default:
			m.fourTrees(dst, m.walks[i:i+4], &columns)
			i += 3
		}
	}
}

// fill lays the row x out in columns.
func (m *Model) fill(columns, x []float64) {
	for i, c := range m.columns {
		columns[i] = c.value(x[c.feature])
	}
}

// next takes a row from a split to a child, and leaves it at a leaf. It is
// without a branch, which would be foretold wrongly half of the time. For the same
// reason walks take as many steps for each row, and several of them are taken at
// once: the processor works on one while it waits for another.
func (s *step) next(columns *row) uint32 {
	left := uint32(0)
	if columns[uint8(s.column)] <= s.threshold {
		left = 1
	}
	return s.right + left
}

// stride is after how many steps walks look whether they are all at leaves, as
// they soon are in a tree that is deep in few places.
const stride = 8

// leaf returns the value of the leaf that a row reaches.
func (m *Model) leaf(w *walk, columns *row) float64 {
	steps, at := m.steps, w.root
	for left := w.depth; left > 0; left -= stride {
		for range min(left, stride) {
			at = steps[at].next(columns)
		}
		if left > stride && steps[at].right == at {
			break
		}
	}
	return m.values[at]
}

// fourTrees adds to dst the values of the leaves that a row reaches in four
// trees, the first of which has a group.
func (m *Model) fourTrees(dst []float64, w []walk, columns *row) {
	steps := m.steps
	a, b, c, d := w[0].root, w[1].root, w[2].root, w[3].root
	for left := w[0].group; left > 0; left -= stride {
		for range min(left, stride) {
			a = steps[a].next(columns)
			b = steps[b].next(columns)
			c = steps[c].next(columns)
			d = steps[d].next(columns)
		}
		if left > stride && steps[a].right == a && steps[b].right == b && steps[c].right == c && steps[d].right == d {
			break
		}
	}
	dst[w[0].class] += m.values[a]
	dst[w[1].class] += m.values[b]
	dst[w[2].class] += m.values[c]
	dst[w[3].class] += m.values[d]
}

// fourRows adds to dst the values of the leaves that the first four rows of a
// block reach in a tree.
func (m *Model) fourRows(dst []float64, w *walk, block []float64, width int) {
	steps := m.steps
	a, b, c, d := w.root, w.root, w.root, w.root
	r0, r1 := (*row)(block), (*row)(block[width:])
	r2, r3 := (*row)(block[2*width:]), (*row)(block[3*width:])
	for left := w.depth; left > 0; left -= stride {
		for range min(left, stride) {
			a = steps[a].next(r0)
			b = steps[b].next(r1)
			c = steps[c].next(r2)
			d = steps[d].next(r3)
		}
		if left > stride && steps[a].right == a && steps[b].right == b && steps[c].right == c && steps[d].right == d {
			break
		}
	}
	dst = dst[:4]
	dst[0] += m.values[a]
	dst[1] += m.values[b]
	dst[2] += m.values[c]
	dst[3] += m.values[d]
}

// follow returns the value of the leaf that the row x, which is not laid out in
// columns, reaches.
func (m *Model) follow(w *walk, x []float64) float64 {
	at := w.root
	for {
		s := &m.steps[at]
		if s.right == at {
			return m.values[at]
		}
		c := m.columns[s.column]
		v, left := x[c.feature], false
		switch {
		case !c.set:
			left = c.value(v) <= s.threshold
		case v != v:
			left = c.left
		default:
			left = in(m.sets[math.Float64bits(s.threshold)], v)
		}
		at = s.right
		if left {
			at++
		}
	}
}

// in says whether x is a whole number that is in the set.
func in(set []uint64, x float64) bool {
	if !(x >= 0 && x < float64(len(set)*64)) {
		return false
	}
	k := int(x)
	return float64(k) == x && set[k>>6]>>(k&63)&1 != 0
}

// predictAll fills dst with the margins of rows, which have one class.
func (m *Model) predictAll(dst, x []float64) {
	n := m.ensemble.Features
	if !m.fast || len(dst) < 4 {
		for i := range dst {
			m.margins(dst[i:i+1], x[i*n:(i+1)*n])
		}
		return
	}
	// Rows follow each other without gaps: if each took a row's whole length, they
	// would compete for the same lines of the cache. What is behind the last is so
	// that it can be taken as a row.
	var block [blockSize + maxFast]float64
	width := max(1, len(m.columns))
	for len(dst) > 0 {
		rows := min(len(dst), blockRows, blockSize/width)
		for r := range rows {
			dst[r] = m.ensemble.Base[0]
			m.fill(block[r*width:], x[r*n:(r+1)*n])
		}
		for i := range m.walks {
			if w := &m.walks[i]; w.sets {
				for r := range rows {
					dst[r] += m.follow(w, x[r*n:(r+1)*n])
				}
			} else {
				m.block(dst[:rows], w, block[:], width)
			}
		}
		dst, x = dst[rows:], x[rows*n:]
	}
}

// block adds to dst the values of the leaves that as many rows reach in a tree.
func (m *Model) block(dst []float64, w *walk, block []float64, width int) {
	r := 0
	for ; r+4 <= len(dst); r += 4 {
		m.fourRows(dst[r:], w, block[r*width:], width)
	}
	for ; r < len(dst); r++ {
		dst[r] += m.leaf(w, (*row)(block[r*width:]))
	}
}
