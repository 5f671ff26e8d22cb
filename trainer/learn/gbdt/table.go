package gbdt

import "context"

// width is how many columns a block has: their bins are the bytes of one word.
const width = 8

// A table is the rows of a sample in bins, twice: row by row for histograms, and
// column by column for splits. So either touches little memory.
type table struct {
	rows    int
	columns []column // that can be split on
	blocks  int      // words of a row
	words   []uint64 // row after row: column j is byte j%8 of word j/8
	bins    [][]byte // of a column, by row
}

func newTable(ctx context.Context, s *sample, p Params, threads int) (*table, error) {
	t := &table{rows: len(s.label)}
	all := make([]column, s.d.Features)
	use := make([]bool, s.d.Features)
	parallel(threads, (s.d.Features+width-1)/width, func(task int) {
		if ctx.Err() == nil { // eight features are one line of the cache
			first := task * width
			columns, some := fit(s, first, min(width, s.d.Features-first), p.Bins)
			copy(all[first:], columns)
			copy(use[first:], some)
		}
	})
	for j, c := range all {
		if use[j] {
			t.columns = append(t.columns, c)
		}
	}
	t.blocks = (len(t.columns) + width - 1) / width
	t.words = make([]uint64, t.rows*t.blocks)
	t.bins = make([][]byte, len(t.columns))
	for j := range t.bins {
		t.bins[j] = make([]byte, t.rows)
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
	for k := range t.of(block) {
		j := block*width + k
		c, bins := &t.columns[j], t.bins[j]
		for i := lo; i < hi; i++ {
			bin := c.binOf(s.x(i)[c.feature])
			bins[i] = bin
			t.words[i*t.blocks+block] |= uint64(bin) << (8 * k)
		}
	}
}
