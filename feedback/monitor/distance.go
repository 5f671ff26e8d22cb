package monitor

import "math"

// psiFloor is the share below which a cell of PSI counts as one that has it.
const psiFloor = 1e-4

// apart returns the distance between two counts over the same cells; 0 where
// either has none. Texts have no order, so that their KS is the LInfinity.
func (d Distance) apart(p, q []float64, text bool) float64 {
	sumP, sumQ := sum(p), sum(q)
	if sumP == 0 || sumQ == 0 {
		return 0
	}
	total, below := 0.0, 0.0
	for i := range p {
		x, y := p[i]/sumP, q[i]/sumQ
		switch {
		case d == JensenShannon:
			total += half(x, y) + half(y, x)
		case d == PSI:
			x, y = max(x, psiFloor), max(y, psiFloor)
			total += (y - x) * math.Log(y/x)
		case d == LInfinity || text:
			total = max(total, math.Abs(x-y))
		default:
			below += x - y
			total = max(total, math.Abs(below))
		}
	}
	return max(total, 0)
}

// half returns the part of x in the divergence from the middle of x and y.
func half(x, y float64) float64 {
	if x == 0 {
		return 0
	}
	return x / 2 * math.Log(2*x/(x+y)) * math.Log2E
}

// atMost returns a bound of the distance, for Jensen-Shannon one that costs no
// logarithm: the divergence to the base 2 is at most half the triangular
// discrimination, the sum of (p-q)²/(p+q), and at least a third of it (Topsøe
// 2000).
func (d Distance) atMost(p, q []float64, text bool) float64 {
	if d != JensenShannon {
		return d.apart(p, q, text)
	}
	sumP, sumQ := sum(p), sum(q)
	if sumP == 0 || sumQ == 0 {
		return 0
	}
	scaleP, scaleQ, total := 1/sumP, 1/sumQ, 0.0
	for i := range p {
		x, y := p[i]*scaleP, q[i]*scaleQ
		if x != y {
			total += (x - y) * (x - y) / (x + y)
		}
	}
	return total/2 + 1e-12 // rounding
}

// least is the smallest scale of a distance: what it is where one in a hundred
// falls into a cell that was empty. Of a column that never changed in the
// reference chance says nothing, and this is put up with.
func (d Distance) least() float64 {
	return d.apart([]float64{1, 0}, []float64{0.99, 0.01}, true)
}

// odds stretches a distance that ends at 1 to one without an end, x/(1-x), so that
// no threshold is beyond what the distance can be: excesses are ratios of these.
func (d Distance) odds(x float64) float64 {
	switch {
	case d == PSI:
		return x
	case x >= 1:
		return math.Inf(1)
	}
	return x / (1 - x)
}

// ofOdds is the distance that has these odds.
func (d Distance) ofOdds(x float64) float64 {
	if d == PSI || math.IsInf(x, 1) {
		return x
	}
	return x / (1 + x)
}
