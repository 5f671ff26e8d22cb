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
// logarithm. Of a cell with shares x and y and u = (x-y)/(x+y) the divergence has, in
// nats, (x+y)/4 times u² + u⁴/6 + u⁶/15 + ..., whose coefficients add up to 2 ln 2: all
// from u⁶ on are taken to be of u⁶, which is close, as u is small but for empty cells.
func (d Distance) atMost(p, q []float64, text bool) float64 {
	if d != JensenShannon {
		return d.apart(p, q, text)
	}
	sumP, sumQ := sum(p), sum(q)
	if sumP == 0 || sumQ == 0 {
		return 0
	}
	const rest = 2*math.Ln2 - 1 - 1.0/6
	scaleP, scaleQ, total := 1/sumP, 1/sumQ, 0.0
	q = q[:len(p)]
	for i := range p {
		x, y := p[i]*scaleP, q[i]*scaleQ
		if x != y {
			u := (x - y) / (x + y)
			u *= u
			total += (x + y) * u * (1 + u*(1.0/6+u*rest))
		}
	}
	return total/4*math.Log2E + 1e-12 // rounding
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
