package trees

import (
	"fmt"
	"math"
)

// maxFast is how many columns a row may have to be laid out on the stack.
const maxFast = 256

// blockRows is how many rows PredictAll takes through a tree before the next
// tree, so that the tree stays in the cache.
const blockRows = 64

// margins fills dst, one a class, with the margins of the row x.
func (m *Model) margins(dst, x []float64) {
	if len(x) != m.ensemble.Features {
		panic(fmt.Sprintf("trees: a row of %d values for a model of %d", len(x), m.ensemble.Features))
	}
	copy(dst, m.ensemble.Base)
	if !m.fast {
		for i := range m.walks {
			dst[m.walks[i].class] += m.follow(&m.walks[i], x)
		}
		return
	}
	var buffer [maxFast]float64
	row := buffer[:len(m.columns)]
	m.fill(row, x)
	for i := range m.walks {
		w := &m.walks[i]
		if w.sets {
			dst[w.class] += m.follow(w, x)
			continue
		}
		dst[w.class] += w.leaf(row)
	}
}

// fill lays the row x out in columns.
func (m *Model) fill(row, x []float64) {
	for i, c := range m.columns {
		row[i] = c.value(x[c.feature])
	}
}

// leaf returns the value of the leaf that a row of columns reaches. It takes as
// many steps for each row: those that it takes too many cost less than a branch
// that is foretold wrongly, and without such branches the processor works on the
// next rows or trees meanwhile.
func (w *walk) leaf(row []float64) float64 {
	at := uint32(0)
	for range w.depth {
		s := &w.steps[at]
		right := uint32(0)
		if row[s.column] > s.threshold {
			right = 1
		}
		at = s.left + right
	}
	return w.values[at]
}

// follow returns the value of the leaf that the row x, which is not laid out in
// columns, reaches.
func (m *Model) follow(w *walk, x []float64) float64 {
	at := uint32(0)
	for {
		s := &w.steps[at]
		if s.left == at {
			return w.values[at]
		}
		c := m.columns[s.column]
		v := x[c.feature]
		right := uint32(0)
		if c.set {
			if v == v && !in(m.sets[math.Float64bits(s.threshold)], v) || v != v && !c.left {
				right = 1
			}
		} else if c.value(v) > s.threshold {
			right = 1
		}
		at = s.left + right
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

// predictAll fills dst with the margins of rows.
func (m *Model) predictAll(dst, x []float64) {
	n := m.ensemble.Features
	for i := range dst {
		m.margins(dst[i:i+1], x[i*n:(i+1)*n])
	}
}
