package profile

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mathext"
)

// A ChiSquare is a test of counts.
type ChiSquare struct {
	Statistic float64
	Freedom   int     // degrees of freedom
	P         float64 // chance of a statistic at least as large, by the chi-square distribution
}

// ChiSquareHomogeneity tests whether the rows of a table of counts, one row a
// sample and one column a cell, are of one distribution. All counts are samples
// here; ChiSquareFit takes one of two rows for the truth, and has another p.
// Columns without counts are left out. Yates' correction moves each count by up to
// a half towards what is expected; it is for tables of 2x2, and an error for
// others. ErrEmpty if a row has no counts; rows of different lengths, and counts
// that are negative or not finite, are errors.
func ChiSquareHomogeneity(table [][]float64, yates bool) (ChiSquare, error) {
	if len(table) < 2 {
		return ChiSquare{}, fmt.Errorf("profile: chi-square: %d samples: give at least two", len(table))
	}
	if yates && (len(table) != 2 || len(table[0]) != 2) {
		return ChiSquare{}, fmt.Errorf("profile: chi-square: Yates' correction of a table of %dx%d: it is for 2x2", len(table), len(table[0]))
	}
	rows, columns := make([]float64, len(table)), make([]float64, len(table[0]))
	total := 0.0
	for i, row := range table {
		if len(row) != len(columns) {
			return ChiSquare{}, fmt.Errorf("profile: chi-square: row %d has %d cells and row 0 %d: count all over the same", i, len(row), len(columns))
		}
		if _, err := sharesOf(fmt.Sprintf("row %d", i), row); err != nil {
			return ChiSquare{}, fmt.Errorf("profile: chi-square: %w", err)
		}
		for j, c := range row {
			rows[i] += c
			columns[j] += c
			total += c
		}
	}
	statistic, kept := 0.0, 0
	for j, column := range columns {
		if column == 0 {
			continue
		}
		kept++
		for i := range table {
			expected := rows[i] * (column / total)
			off := math.Abs(table[i][j] - expected)
			if yates {
				off -= min(off, 0.5)
			}
			statistic += float64(off * (off / expected))
		}
	}
	return chiSquare(statistic, (len(table)-1)*(kept-1)), nil
}

// ChiSquareFit tests whether counts are of the distribution that expected gives,
// which is taken for exact, and is scaled to as many. Cells without either are left
// out; a count where nothing is expected makes the statistic infinite. ErrEmpty if
// either has no counts; different lengths, and counts that are negative or not
// finite, are errors.
func ChiSquareFit(observed, expected []float64) (ChiSquare, error) {
	if len(observed) != len(expected) {
		return ChiSquare{}, fmt.Errorf("profile: chi-square: %d cells and %d cells: count both over the same", len(observed), len(expected))
	}
	if _, err := sharesOf("observed", observed); err != nil {
		return ChiSquare{}, fmt.Errorf("profile: chi-square: %w", err)
	}
	shares, err := sharesOf("expected", expected)
	if err != nil {
		return ChiSquare{}, fmt.Errorf("profile: chi-square: %w", err)
	}
	total := 0.0
	for _, c := range observed {
		total += c
	}
	statistic, kept := 0.0, 0
	for i, share := range shares {
		if share == 0 && observed[i] == 0 {
			continue
		}
		kept++
		off := observed[i] - share*total
		statistic += float64(off * (off / (share * total)))
	}
	return chiSquare(statistic, kept-1), nil
}

// chiSquare adds p: the regularised incomplete gamma function, which is Gonum's
// (translated from Cephes), as the standard library has none.
func chiSquare(statistic float64, freedom int) ChiSquare {
	p := 1.0
	switch {
	case freedom == 0: // one cell is always alike
	case math.IsInf(statistic, 1):
		p = 0
	default:
		p = mathext.GammaIncRegComp(float64(freedom)/2, statistic/2)
	}
	return ChiSquare{statistic, freedom, p}
}

// MaxFisher is the sum of counts up to which FisherExact goes through all tables.
const MaxFisher = 10_000_000

// FisherExact returns the two-sided p of Fisher's exact test of a table of 2x2,
// one row a sample: the chance of all tables with the same sums that are no more
// likely than this one. ErrEmpty if a row has no counts; negative counts, and more
// than MaxFisher together, are errors.
func FisherExact(table [2][2]int64) (float64, error) {
	a, b, c, d := table[0][0], table[0][1], table[1][0], table[1][1]
	if least := min(a, b, c, d); least < 0 {
		return 0, fmt.Errorf("profile: Fisher's test: a count is %d: give counts of at least 0", least)
	}
	if max(a, b, c, d) > MaxFisher || a+b+c+d > MaxFisher {
		return 0, fmt.Errorf("profile: Fisher's test: more than %d counts: use ChiSquareHomogeneity", MaxFisher)
	}
	if a+b == 0 || c+d == 0 {
		return 0, fmt.Errorf("profile: Fisher's test: a row has no counts: %w", ErrEmpty)
	}
	// All tables with these sums, by the count at the top left, from the most
	// likely one outwards: the ratio of neighbours is simple, and what underflows
	// is far out and is nothing.
	row, column, all := a+b, a+c, a+b+c+d
	low, high := max(0, row+column-all), min(row, column)
	peak := min(max((row+1)*(column+1)/(all+2), low), high)
	weights := make([]float64, high-low+1)
	weights[peak-low] = 1
	for k := peak; k < high; k++ {
		weights[k+1-low] = weights[k-low] * float64((row-k)*(column-k)) / float64((k+1)*(all-row-column+k+1))
	}
	for k := peak; k > low; k-- {
		weights[k-1-low] = weights[k-low] * float64(k*(all-row-column+k)) / float64((row-k+1)*(column-k+1))
	}
	limit := weights[a-low] * (1 + 1e-7) // a table on the other side may be as likely, but for the last bits
	sum, within := 0.0, 0.0
	for _, w := range weights {
		sum += w
		if w <= limit {
			within += w
		}
	}
	return within / sum, nil
}
