package trees

import (
	"math"
	"math/rand/v2"
)

// A maker makes random ensembles that pass Check.
type maker struct {
	*rand.Rand
	features, classes, trees, depth int
	leaves                          int     // where not 0: a leaf is split at random until there are so many
	sets, zeros                     bool    // some splits have a set, or take 0 as missing
	stop                            float64 // probability that a node above depth is a leaf
	noCover                         float64 // probability that no training row came to a node
}

func (m maker) ensemble() *Ensemble {
	e := &Ensemble{Features: m.features, Link: Logistic, Base: make([]float64, max(m.classes, 1))}
	if m.classes > 1 {
		e.Link = Softmax
	}
	for k := range e.Base {
		e.Base[k] = m.NormFloat64()
	}
	for i := range m.trees {
		t := Tree{Class: i % len(e.Base)}
		if m.leaves > 0 {
			m.split(&t)
		} else {
			m.grow(&t, 0, math.Exp(3+m.NormFloat64()))
		}
		e.Trees = append(e.Trees, t)
	}
	return e
}

// grow appends a node and what is below it, in preorder.
func (m maker) grow(t *Tree, depth int, cover float64) int32 {
	at := int32(len(t.Nodes))
	if m.Float64() < m.noCover {
		cover = 0
	}
	if depth == m.depth || depth > 0 && m.Float64() < m.stop {
		t.Nodes = append(t.Nodes, Node{Feature: -1, Value: m.NormFloat64(), Cover: cover})
		return at
	}
	n := Node{Feature: m.Int32N(int32(m.features)), Cover: cover, MissingLeft: m.IntN(2) == 0}
	switch {
	case m.sets && m.IntN(3) == 0:
		n.Set = make([]uint64, m.IntN(3))
		for i := range n.Set {
			n.Set[i] = m.Uint64()
		}
	default:
		n.Threshold = float64(m.IntN(9)-4) / 2
		if m.IntN(20) == 0 {
			n.Threshold = math.Inf(m.IntN(3) - 1)
		}
		n.ZeroMissing = m.zeros && m.IntN(3) == 0
	}
	t.Nodes = append(t.Nodes, n)
	share := m.Float64()
	left := m.grow(t, depth+1, cover*share)
	right := m.grow(t, depth+1, cover*(1-share))
	t.Nodes[at].Left, t.Nodes[at].Right = left, right
	return at
}

// split makes a tree that is deep in few places.
func (m maker) split(t *Tree) {
	t.Nodes = append(t.Nodes, Node{Feature: -1, Cover: 100})
	for leaves := []int32{0}; len(leaves) < m.leaves; {
		i, at := m.IntN(len(leaves)), int32(len(t.Nodes))
		n := &t.Nodes[leaves[i]]
		*n = Node{Feature: m.Int32N(int32(m.features)), Threshold: m.NormFloat64(), MissingLeft: m.IntN(2) == 0, Left: at, Right: at + 1, Cover: n.Cover}
		share := n.Cover * m.Float64()
		left, right := Node{Feature: -1, Value: m.NormFloat64(), Cover: share}, Node{Feature: -1, Value: m.NormFloat64(), Cover: n.Cover - share}
		t.Nodes = append(t.Nodes, left, right)
		leaves[i] = at
		leaves = append(leaves, at+1)
	}
}

// rows returns n rows, many of whose values are on thresholds, missing, zero,
// categories, or extreme.
func (m maker) rows(n int) []float64 {
	x := make([]float64, n*m.features)
	for i := range x {
		switch m.IntN(8) {
		case 0:
			x[i] = math.NaN()
		case 1, 2:
			x[i] = float64(m.IntN(9)-4) / 2
		case 3:
			x[i] = float64(m.IntN(140) - 4)
		case 4:
			x[i] = []float64{0, math.Copysign(0, -1), zero, -zero, math.Nextafter(zero, 1), math.Inf(1), math.Inf(-1), 1e300, 5e-324}[m.IntN(9)]
		default:
			x[i] = 2 * m.NormFloat64()
		}
	}
	return x
}

// naive returns the margins of a row by the words of the types.
func naive(e *Ensemble, x []float64) []float64 {
	margins := append([]float64(nil), e.Base...)
	for _, t := range e.Trees {
		n := t.Nodes[0]
		for n.Feature != -1 {
			v := x[n.Feature]
			left := false
			switch {
			case math.IsNaN(v), n.ZeroMissing && math.Abs(v) <= 1.0000000180025095e-35:
				left = n.MissingLeft
			case n.Set != nil:
				for k := range len(n.Set) * 64 {
					if float64(k) == v && n.Set[k/64]&(1<<(k%64)) != 0 {
						left = true
					}
				}
			default:
				left = v <= n.Threshold
			}
			if left {
				n = t.Nodes[n.Left]
			} else {
				n = t.Nodes[n.Right]
			}
		}
		margins[t.Class] += n.Value
	}
	return margins
}
