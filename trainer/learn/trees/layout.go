package trees

import "math"

// zero is the magnitude up to which ZeroMissing takes a value to be 0: that of
// LightGBM, a float32.
const zero = float64(float32(1e-35))

// A column is a feature as splits of one kind see it. Their rules for what is
// missing are worked into the column's value, once for a row: a missing value
// becomes -Inf, which is at most each threshold, or NaN, which is not. So a step
// is one comparison, without a branch.
type column struct {
	feature     int32
	left        bool // missing values go left
	zeroMissing bool
	set         bool // its splits are by set, and look at the row itself
}

// value returns what stands in the column for the value x of its feature.
func (c column) value(x float64) float64 {
	if x != x || c.zeroMissing && x >= -zero && x <= zero {
		if c.left {
			return math.Inf(-1)
		}
		return math.NaN()
	}
	return x
}

// A step is a node laid out for scoring, 16 bytes. The left child follows the
// right one. A leaf is its own right child and has a threshold of NaN, so that a
// row that has come to it stays there.
type step struct {
	threshold float64 // of a split by set: the bits of its place in Model.sets
	right     uint32  // place in Model.steps
	column    uint32
}

// A walk is how to score one tree.
type walk struct {
	root  uint32 // place in Model.steps
	depth int    // splits above the lowest leaf
	class int
	sets  bool // some splits are by set
	group int  // where this tree and the three after it have no sets: the greatest depth of the four; else -1
}

// A layouter lays the trees of an ensemble out one after another.
type layouter struct {
	m       *Model
	columns map[column]uint32
	queue   []place
}

// A place is where a node goes: nodes of a level are next to each other.
type place struct {
	node  int32
	depth int32
}

// layout makes what scores m.ensemble, which has been checked.
func (m *Model) layout() {
	l := layouter{m: m, columns: make(map[column]uint32)}
	nodes := 0
	for i := range m.ensemble.Trees {
		nodes += len(m.ensemble.Trees[i].Nodes)
	}
	m.steps, m.values = make([]step, 0, nodes), make([]float64, 0, nodes)
	m.walks = make([]walk, len(m.ensemble.Trees))
	for i := range m.ensemble.Trees {
		l.tree(&m.ensemble.Trees[i], &m.walks[i])
	}
	for i := range m.walks {
		m.walks[i].group = -1
		if four := m.walks[i:min(i+4, len(m.walks))]; len(four) == 4 && !four[0].sets && !four[1].sets && !four[2].sets && !four[3].sets {
			m.walks[i].group = max(four[0].depth, four[1].depth, four[2].depth, four[3].depth)
		}
	}
	m.fast = len(m.columns) <= maxFast
}

// tree lays out one tree, level by level.
func (l *layouter) tree(t *Tree, w *walk) {
	root := uint32(len(l.m.steps))
	w.root, w.class = root, t.Class
	l.queue = append(l.queue[:0], place{})
	for i := 0; i < len(l.queue); i++ {
		p := l.queue[i]
		n := &t.Nodes[p.node]
		w.depth = int(p.depth)
		if n.Feature == -1 {
			l.m.steps = append(l.m.steps, step{threshold: math.NaN(), right: root + uint32(i)})
			l.m.values = append(l.m.values, n.Value)
			continue
		}
		s := step{threshold: n.Threshold, right: root + uint32(len(l.queue))}
		if n.Set != nil {
			w.sets = true
			s.threshold = math.Float64frombits(uint64(len(l.m.sets)))
			l.m.sets = append(l.m.sets, n.Set)
		}
		s.column = l.column(column{feature: n.Feature, left: n.MissingLeft, zeroMissing: n.ZeroMissing, set: n.Set != nil})
		l.m.steps = append(l.m.steps, s)
		l.m.values = append(l.m.values, 0)
		l.queue = append(l.queue, place{n.Right, p.depth + 1}, place{n.Left, p.depth + 1})
	}
}

// column returns the place of a column, which may be new.
func (l *layouter) column(c column) uint32 {
	at, ok := l.columns[c]
	if !ok {
		at = uint32(len(l.m.columns))
		l.columns[c] = at
		l.m.columns = append(l.m.columns, c)
	}
	return at
}
