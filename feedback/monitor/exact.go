package monitor

import "math"

// An exact is a sum of doubles without rounding: the same whatever the order of
// what is added. It holds the sum as doubles that do not overlap, by rising
// size (Shewchuk 1997, as in Python's math.fsum).
type exact []float64

// maxNumber bounds what counts as a number: 2^53 of them add up to a double.
const maxNumber = 1e290

// isNumber reports whether x can be added up.
func isNumber(x float64) bool { return math.Abs(x) <= maxNumber }

// add takes a number.
func (e *exact) add(x float64) {
	parts, n := *e, 0
	for _, y := range parts {
		if math.Abs(x) < math.Abs(y) {
			x, y = y, x
		}
		high := x + y
		if low := y - (high - x); low != 0 {
			parts[n] = low
			n++
		}
		x = high
	}
	*e = append(parts[:n], x)
}

// value returns the double next to the sum, the even one of two.
func (e exact) value() float64 {
	n := len(e)
	if n == 0 {
		return 0
	}
	n--
	high, low := e[n], 0.0
	for n > 0 && low == 0 {
		n--
		x := high
		high = x + e[n]
		low = e[n] - (high - x)
	}
	// Half way between two doubles, what is left decides.
	if n > 0 && (low < 0) == (e[n-1] < 0) {
		if twice := low * 2; high+twice-high == twice {
			high += twice
		}
	}
	return high
}
