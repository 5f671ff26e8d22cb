package eval

import (
	"math"
	"slices"
)

// A Binning is a rule that puts probabilities into bins. The rule is part of
// the number: the same scores have another ECE under another rule.
type Binning int

// The rules, for k bins of n rows.
const (
	EqualWidth Binning = iota // bin min(k-1, floor(p*k))
	EqualCount                // rows [n*j/k, n*(j+1)/k) in the order of (p, row)
)

// ECE is the expected calibration error: over the bins, the mean of the
// distance between the share of positives and the mean probability, by rows.
// Empty bins are skipped. It is undefined for no rows and for less than one
// bin.
func ECE(label, score []float64, bins int, rule Binning) Measure {
	var at []calibrated
	m := rows(label, score, nil, func(y, p, _ float64) { at = append(at, calibrated{p: p, y: y}) })
	m.Value = Undefined()
	if len(at) == 0 || bins < 1 {
		return m
	}
	if rule == EqualCount {
		slices.SortStableFunc(at, func(a, b calibrated) int { return compare(a.p, b.p) })
	}
	gaps := make([]float64, min(bins, maxBins)) // sum of p - y by bin
	for i, r := range at {
		gaps[binOf(r.p, i, len(at), len(gaps), rule)] += r.p - r.y
	}
	var sum float64
	for _, gap := range gaps {
		sum += math.Abs(gap)
	}
	m.Value = Number(sum / float64(len(at)))
	return m
}

type calibrated struct{ p, y float64 }

// maxBins bounds what a call allocates. Beyond it each row has a bin of its
// own and the number means nothing.
const maxBins = 10_000

// binOf returns the bin of row i of n.
func binOf(p float64, i, n, bins int, rule Binning) int {
	if rule == EqualCount {
		// The greatest j whose first row, n*j/bins, is not beyond i.
		return ((i+1)*bins - 1) / n
	}
	return int(min(max(p*float64(bins), 0), float64(bins-1)))
}
