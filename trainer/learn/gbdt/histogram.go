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

// add adds the rows to the first columns of b.
func (b *block) add(words []uint64, q []int64, rows []uint32, columns int) {
	q = q[:len(words)]
	if columns <= 4 {
		for _, i := range rows {
			w, v := words[i], q[i]
			b[0][uint8(w)] += v
			b[1][uint8(w>>8)] += v
			b[2][uint8(w>>16)] += v
			b[3][uint8(w>>24)] += v
		}
		return
	}
	for _, i := range rows {
		w, v := words[i], q[i]
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

// addAll adds all rows.
func (b *block) addAll(words []uint64, q []int64, columns int) {
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

// subtract takes other from the columns of b.
func (b *block) subtract(other *block, columns []column) {
	for j := range columns {
		x, y := b[j][:columns[j].bins], other[j][:columns[j].bins]
		for i := range x {
			x[i] -= y[i]
		}
	}
}
