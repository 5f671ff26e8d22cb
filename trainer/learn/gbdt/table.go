package gbdt

import "context"

// width is how many columns a block has: their bins are the bytes of one word.
const width = 8

// A table is the rows of a sample in bins.
type table struct {
	rows    int
	columns []column   // that can be split on
	blocks  [][]uint64 // column j of row i is byte j%8 of blocks[j/8][i]
}

func newTable(ctx context.Context, s *sample, p Params, threads int) (*table, error) {
	t := &table{rows: len(s.label)}
	all := make([]column, s.d.Features)
	use := make([]bool, s.d.Features)
	parallel(threads, s.d.Features, func(j int) {
		if ctx.Err() == nil {
			all[j], use[j] = fit(s, j, p.Bins)
		}
	})
	for j, c := range all {
		if use[j] {
			t.columns = append(t.columns, c)
		}
	}
	t.blocks = make([][]uint64, (len(t.columns)+width-1)/width)
	for b := range t.blocks {
		t.blocks[b] = make([]uint64, t.rows)
	}
	chunks(threads, t.rows, func(_, lo, hi int) {
		for b := range t.blocks {
			if ctx.Err() == nil {
				t.fill(s, b, lo, hi)
			}
		}
	})
	return t, ctx.Err()
}

// of returns the columns of a block.
func (t *table) of(block int) []column {
	return t.columns[block*width : min(block*width+width, len(t.columns))]
}

func (t *table) fill(s *sample, block, lo, hi int) {
	words := t.blocks[block]
	columns := t.of(block)
	for i := lo; i < hi; i++ {
		x := s.x(i)
		word := uint64(0)
		for j := range columns {
			c := &columns[j]
			word |= uint64(c.binOf(x[c.feature])) << (8 * j)
		}
		words[i] = word
	}
}
