package monitor

import (
	"math"
	"slices"
)

// Cells of a column. A bin should have ten of a window's rows: with fewer, chance
// moves the shares more than drift does.
const (
	maxBins    = 20
	manyBins   = 10  // the most of a model with many columns, for the time that it takes
	many       = 100 // columns
	tail       = 100 // one in so many is beyond the outer edges
	minBins    = 4
	rowsABin   = 10
	maxTexts   = 20
	maxToCut   = 20_000 // values that quantiles are taken of
	minPresent = 4      // unit means that a reference's deviation is taken of

	usualPresent = 20 // units with rows that thresholds need, or half of the reference's
)

// A cutting is how the values of one column fall into cells: the last is for
// missing ones, and of texts the one before for all others.
type cutting struct {
	text  bool
	edges []float64   // of numbers: a cell reaches up to its edge, that included
	codes map[int]int // of texts: code to cell
	names []string    // of texts, by cell
	first int         // place of the column's cells among those of all columns
	cells int         // how many
}

// cell returns where a value falls.
func (c *cutting) cell(x float64) int {
	switch {
	case math.IsNaN(x):
		return c.cells - 1
	case c.text:
		if at, ok := c.codes[int(x)]; ok {
			return at
		}
		return c.cells - 2
	}
	at, _ := slices.BinarySearch(c.edges, x)
	return at
}

// cutNumbers cuts a column of numbers at the quantiles of values, which are not
// missing, and at their hundredth and last but one, so that what moves beyond where
// values were is seen as that, however wide the bins. Where many values are equal they have a cell of their own, also at
// either end: else a constant could change unseen.
func cutNumbers(values []float64, bins int) cutting {
	slices.Sort(values)
	c := cutting{}
	n := len(values)
	if n > 0 && values[(n-1)/bins] == values[0] {
		c.edges = append(c.edges, math.Nextafter(values[0], math.Inf(-1)))
	}
	for i := 0; i <= bins && n > 0; i++ {
		place := (i*n + bins - 1) / bins
		switch i {
		case 0:
			place = (n + tail - 1) / tail
		case bins:
			place = n - n/tail
		}
		edge := values[place-1]
		if len(c.edges) == 0 || edge > c.edges[len(c.edges)-1] {
			c.edges = append(c.edges, edge)
		}
	}
	c.cells = len(c.edges) + 2
	return c
}

// cutTexts gives the most frequent codes cells of their own.
func cutTexts(values []float64, d *dictionary) cutting {
	counts := make(map[int]int)
	for _, x := range values {
		counts[int(x)]++
	}
	delete(counts, 0)
	c := cutting{text: true, codes: map[int]int{}}
	for _, code := range byCount(counts) {
		if len(c.names) == maxTexts {
			break
		}
		c.codes[code] = len(c.names)
		c.names = append(c.names, d.texts[code])
	}
	c.names = append(c.names, othersText, missingText)
	c.cells = len(c.names)
	return c
}

// table returns the cells with both shares.
func (c *cutting) table(reference, now []float64) []Cell {
	of, in := sum(reference), sum(now)
	cells := make([]Cell, c.cells)
	for i := range cells {
		cells[i] = Cell{Reference: share(reference[i], of), Now: share(now[i], in)}
		switch {
		case c.text:
			cells[i].Text = c.names[i]
		case i == c.cells-1:
			cells[i].Text = missingText
		default:
			cells[i].Low, cells[i].High = math.Inf(-1), math.Inf(1)
			if i > 0 {
				cells[i].Low = c.edges[i-1]
			}
			if i < len(c.edges) {
				cells[i].High = c.edges[i]
			}
		}
	}
	return cells
}

func sum(counts []float64) float64 {
	total := 0.0
	for _, c := range counts {
		total += c
	}
	return total
}

func share(count, total float64) float64 {
	if total == 0 {
		return 0
	}
	return count / total
}

// A layout is how the values of several columns fall into cells.
type layout struct {
	columns []cutting
	cells   int
}

// newLayout places the cells of the columns one after another.
func newLayout(columns []cutting) *layout {
	l := &layout{columns: columns}
	for i := range columns {
		columns[i].first = l.cells
		l.cells += columns[i].cells
	}
	return l
}

// of returns the part of a column in the counts of all.
func (l *layout) of(i int, counts []float64) []float64 {
	c := &l.columns[i]
	return counts[c.first : c.first+c.cells]
}
