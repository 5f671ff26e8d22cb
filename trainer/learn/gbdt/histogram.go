package gbdt

// A block has for each column and bin a sum over rows.
type block [width][256]int64

// A histogram is of the rows of a node. There is one block for each of the
// table; where gradients and second derivatives do not share words, as many
// again follow for the second derivatives.
type histogram []block

// A measure is the gradients of a round in units.
type measure struct {
	shared       []int64 // both in a word; nil where they are apart
	g, h         []int64
	unitG, unitH float64 // what a unit is worth
	total        sums
}

// value takes sums out of units.
func (m *measure) value(s sums) (g, h float64) {
	return float64(float64(s.g) * m.unitG), float64(float64(s.h) * m.unitH)
}

// add adds rows to the first columns of b: the bins of a row are the bytes of its
// word, and q is its gradient. It is the innermost loop of all.
func (b *block) add(words []uint64, q []int64, columns int) {
	q = q[:len(words)]
	if columns <= 4 {
		for i, w := range words {
			v := q[i]
			b[0][uint8(w)] += v
			b[1][uint8(w>>8)] += v
			b[2][uint8(w>>16)] += v
			b[3][uint8(w>>24)] += v
		}
		return
	}
	for i, w := range words {
		v := q[i]
		b[0][uint8(w)] += v
		b[1][uint8(w>>8)] += v
		b[2][uint8(w>>16)] += v
		b[3][uint8(w>>24)] += v
		b[4][uint8(w>>32)] += v
		b[5][uint8(w>>40)] += v
		b[6][uint8(w>>48)] += v
		b[7][uint8(w>>56)] += v
	}
}

// batch is how many rows are gathered at a time, and group how many words of a
// row: they and a block fit into the first cache.
const (
	batch = 1 << 9
	group = 4
)

// A gatherer has the words and gradients of a batch of rows next to each other. A
// loop that only copies has many reads from memory under way at once, and one
// that adds has not: gathering first is faster.
type gatherer struct {
	words [group][batch]uint64
	q, h  [batch]int64
}

// gather copies n words of each row, from word first on. There are stride words
// a row.
func (g *gatherer) gather(words []uint64, first, n, stride int, rows []uint32) {
	if n < group {
		for k := range n {
			dst := g.words[k][:len(rows)]
			for i, r := range rows {
				dst[i] = words[int(r)*stride+first+k]
			}
		}
		return
	}
	for i, r := range rows {
		w := (*[group]uint64)(words[int(r)*stride+first:])
		i &= batch - 1
		g.words[0][i], g.words[1][i], g.words[2][i], g.words[3][i] = w[0], w[1], w[2], w[3]
	}
}

// pick copies the gradients of rows.
func pick(dst *[batch]int64, from []int64, rows []uint32) []int64 {
	to := dst[:len(rows)]
	for i, r := range rows {
		to[i] = from[r]
	}
	return to
}

// count adds rows to h.
func (g *gatherer) count(h histogram, t *table, m *measure, rows []uint32) {
	for first := 0; first < t.blocks; first += group {
		n := min(group, t.blocks-first)
		for lo := 0; lo < len(rows); lo += batch {
			rows := rows[lo:min(lo+batch, len(rows))]
			g.gather(t.words, first, n, t.blocks, rows)
			var q, second []int64
			if m.shared != nil {
				q = pick(&g.q, m.shared, rows)
			} else {
				q, second = pick(&g.q, m.g, rows), pick(&g.h, m.h, rows)
			}
			for b := first; b < first+n; b++ {
				words, columns := g.words[b-first][:len(rows)], len(t.of(b))
				h[b].add(words, q, columns)
				if second != nil {
					h[t.blocks+b].add(words, second, columns)
				}
			}
		}
	}
}

// subtract takes other from the columns of b.
func (b *block) subtract(other *block, columns []column) {
	for j := range columns {
		x, y := b[j][:columns[j].bins], other[j][:columns[j].bins]
		for i := range x {
			x[i] -= y[i]
		}
	}
}

// join adds other to the columns of b.
func (b *block) join(other *block, columns []column) {
	for j := range columns {
		x, y := b[j][:columns[j].bins], other[j][:columns[j].bins]
		for i := range x {
			x[i] += y[i]
		}
	}
}

func (b *block) clear(columns []column) {
	for j := range columns {
		clear(b[j][:columns[j].bins])
	}
}

// clear makes all sums 0.
func (h histogram) clear(t *table) {
	for b := range h {
		h[b].clear(t.of(b % t.blocks))
	}
}
