package eval

import "math"

// Wilson returns the ends of the two-sided confidence interval of a share
// (Wilson 1927): unlike the plain one it has a width at 0 and at n successes
// and stays between 0 and 1. Both are NaN where n is not positive.
func Wilson(successes, n int, confidence float64) (lo, hi float64) {
	if n <= 0 {
		return math.NaN(), math.NaN()
	}
	z := normalQuantile((1 + confidence) / 2)
	size, p := float64(n), float64(successes)/float64(n)
	middle := (p + z*z/(2*size)) / (1 + z*z/size)
	half := z / (1 + z*z/size) * math.Sqrt(p*(1-p)/size+z*z/(4*size*size))
	return max(0, middle-half), min(1, middle+half)
}

// normalQuantile is the inverse of the standard normal distribution function.
func normalQuantile(p float64) float64 { return math.Sqrt2 * math.Erfinv(2*p-1) }

// studentTail is the chance that Student's t of df degrees of freedom exceeds t.
func studentTail(t, df float64) float64 {
	if math.IsInf(t, 0) {
		return (1 - math.Copysign(1, t)) / 2
	}
	half := beta(df/(df+t*t), df/2, 0.5) / 2
	if t < 0 {
		return 1 - half
	}
	return half
}

// studentQuantile is the t that Student's t of df degrees of freedom stays
// below with chance p, 0.5 <= p < 1. It halves an interval 200 times, which
// reaches the last bit and cannot fail to converge.
func studentQuantile(p, df float64) float64 {
	lo, hi := 0.0, 1.0
	for studentTail(hi, df) > 1-p {
		hi *= 2
	}
	for range 200 {
		middle := lo + (hi-lo)/2
		if studentTail(middle, df) > 1-p {
			lo = middle
		} else {
			hi = middle
		}
	}
	return hi
}

// beta is the regularised incomplete beta function I_x(a, b), by its continued
// fraction (Abramowitz & Stegun 26.5.8, evaluated as by Lentz 1976) on the
// side where that converges fast.
func beta(x, a, b float64) float64 {
	if x <= 0 || x >= 1 {
		return min(max(x, 0), 1)
	}
	if x > (a+1)/(a+b+2) {
		return 1 - beta(1-x, b, a)
	}
	ab, _ := math.Lgamma(a + b)
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	front := math.Exp(ab-la-lb+a*math.Log(x)+b*math.Log1p(-x)) / a

	const tiny = 1e-300 // stands in for a zero divisor
	f, c, d := 1.0, 1.0, 0.0
	for i := range 10_000 {
		m := float64(i / 2)
		var term float64
		switch {
		case i == 0:
			term = 1
		case i%2 == 0:
			term = m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		default:
			term = -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		}
		d = 1 + term*d
		if math.Abs(d) < tiny {
			d = tiny
		}
		d = 1 / d
		c = 1 + term/c
		if math.Abs(c) < tiny {
			c = tiny
		}
		f *= c * d
		if math.Abs(1-c*d) < 1e-15 {
			break
		}
	}
	return front * (f - 1)
}
