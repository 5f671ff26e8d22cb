package profile

import (
	"fmt"
	"math"
	"slices"
)

// PSIFloor is the share below which a cell of PSI usually counts as one that has
// it. The value of an empty cell hangs on it: 1e-6 gives that cell half as much again.
const PSIFloor = 1e-4

// PSI returns the population stability index of two counts over the same cells, in
// nats: the sum of (q-p)*ln(q/p) over the shares, where shares below floor are
// raised to it and not normalised again. It is 0 for equal shares, whatever the
// counts, and the same both ways. A floor is greater than 0 and less than 1.
// ErrEmpty if either has no counts; counts that are negative or not finite are
// errors.
func PSI(reference, current []float64, floor float64) (float64, error) {
	if !(floor > 0 && floor < 1) {
		return 0, fmt.Errorf("profile: PSI: floor %v: give a share between 0 and 1, as %v", floor, PSIFloor)
	}
	if len(reference) != len(current) {
		return 0, fmt.Errorf("profile: PSI: %d cells and %d cells: count both over the same", len(reference), len(current))
	}
	p, err := sharesOf("reference", reference)
	if err != nil {
		return 0, fmt.Errorf("profile: PSI: %w", err)
	}
	q, err := sharesOf("current", current)
	if err != nil {
		return 0, fmt.Errorf("profile: PSI: %w", err)
	}
	index := 0.0
	for i := range p {
		a, b := max(p[i], floor), max(q[i], floor)
		index += float64((b - a) * math.Log(b/a))
	}
	return index, nil
}

// sharesOf returns the counts over their sum.
func sharesOf(name string, counts []float64) ([]float64, error) {
	total := 0.0
	for i, c := range counts {
		if !(c >= 0) {
			return nil, fmt.Errorf("%s[%d] is %v: give counts of at least 0", name, i, c)
		}
		total += c
	}
	if math.IsInf(total, 0) {
		return nil, fmt.Errorf("the sum of %s is infinite: give counts", name)
	}
	if total == 0 {
		return nil, fmt.Errorf("%s: %w", name, ErrEmpty)
	}
	shares := make([]float64, len(counts))
	for i, c := range counts {
		shares[i] = c / total
	}
	return shares, nil
}

// MaxCells bounds the cells that QuantileEdges cuts.
const MaxCells = 10_000

// QuantileEdges returns the inner edges that cut a reference into so many cells of
// about the same share: its quantiles of type 7 (Hyndman & Fan 1996), the default
// of R and NumPy. Equal edges are one, so that there may be fewer cells. ErrEmpty
// for an empty reference; values that are not finite are errors.
func QuantileEdges(reference []float64, cells int) ([]float64, error) {
	if cells < 2 || cells > MaxCells {
		return nil, fmt.Errorf("profile: quantiles: %d cells: give 2 to %d", cells, MaxCells)
	}
	values, err := sorted("reference", reference, math.MaxFloat64)
	if err != nil {
		return nil, fmt.Errorf("profile: quantiles: %w", err)
	}
	var edges []float64
	for i := 1; i < cells; i++ {
		edge := quantile7(values, i, cells)
		if len(edges) == 0 || edge > edges[len(edges)-1] {
			edges = append(edges, edge)
		}
	}
	return edges, nil
}

// quantile7 interpolates between the values around (n-1)*part/of. The place is a
// fraction of whole numbers, so that a quantile that is a value is exactly that.
func quantile7(sorted []float64, part, of int) float64 {
	place := (len(sorted) - 1) * part
	i, up := place/of, float64(place%of)/float64(of)
	if up == 0 {
		return sorted[i]
	}
	low, high := sorted[i], sorted[i+1]
	if width := high - low; !math.IsInf(width, 0) {
		return low + float64(width*up)
	}
	return float64(low*(1-up)) + float64(high*up)
}

// CountCells counts the values over the cells that the edges cut: an edge belongs
// to the cell above it, and the first and the last cell are open. Edges rise. NaN
// is an error: missing values are a cell of their own, which the caller adds.
func CountCells(edges, values []float64) ([]float64, error) {
	for i, e := range edges {
		if math.IsNaN(e) || i > 0 && e <= edges[i-1] {
			return nil, fmt.Errorf("profile: cells: edge %d is %v: give edges that rise", i, e)
		}
	}
	counts := make([]float64, len(edges)+1)
	for i, v := range values {
		if math.IsNaN(v) {
			return nil, fmt.Errorf("profile: cells: value %d is NaN: count missing values apart", i)
		}
		at, found := slices.BinarySearch(edges, v)
		if found {
			at++
		}
		counts[at]++
	}
	return counts, nil
}
