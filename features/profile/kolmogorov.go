package profile

import "math"

// kolmogorovTail is the chance that the distribution function of n values differs
// by d or more from that which they are of. As in Simard & L'Ecuyer (2011,
// "Computing the two-sided Kolmogorov-Smirnov distribution"), each method is used
// where it is good: the exact matrix for few values, twice the one-sided chance
// where both sides together are out of reach, and an expansion between them.
func kolmogorovTail(n, d float64) float64 {
	switch square := n * d * d; {
	case d >= 1:
		return 0
	case n*d <= 0.5: // no sample can be nearer
		return 1
	case d >= 0.5 || square >= 4 || n > 140 && square >= 2.2:
		return min(2*smirnovTail(n, d), 1)
	case n <= 140 || n <= 100_000 && n*math.Pow(d, 1.5) <= 1.4:
		return clip01(1 - durbin(int(n), d))
	default:
		return clip01(1 - pelzGood(n, d))
	}
}

func clip01(p float64) float64 { return min(max(p, 0), 1) }

// smirnovTail is the chance that the distribution function of n values exceeds
// its own by d or more anywhere (Birnbaum & Tingey 1951): a sum of positive terms.
func smirnovTail(n, d float64) float64 {
	if n*d*d > 370 {
		return 0 // below 1e-321
	}
	logFactorial, _ := math.Lgamma(n + 1)
	sum := 0.0
	for j := 0.0; j <= n*(1-d); j++ {
		up, down := d+j/n, 1-d-j/n
		if down <= 0 {
			break
		}
		a, _ := math.Lgamma(j + 1)
		b, _ := math.Lgamma(n - j + 1)
		sum += math.Exp(logFactorial - a - b + (j-1)*math.Log(up) + (n-j)*math.Log(down))
	}
	return d * sum
}

// durbin is the chance of a difference below d, exactly (Durbin 1973, by the
// matrix of Marsaglia, Tsang & Wang 2003). It takes (2nd)^3 log n steps.
func durbin(n int, d float64) float64 {
	k := int(float64(n)*d) + 1
	size := 2*k - 1
	h := float64(k) - float64(n)*d
	a := newMatrix(size)
	for i := range size {
		for j := range min(i+2, size) {
			a.at[i*size+j] = 1
		}
	}
	for i := range size {
		a.at[i*size] -= math.Pow(h, float64(i+1))
		a.at[(size-1)*size+i] -= math.Pow(h, float64(size-i))
	}
	if h > 0.5 {
		a.at[(size-1)*size] += math.Pow(2*h-1, float64(size))
	}
	for i := range size {
		factorial := 1.0
		for j := i; j >= 0; j-- { // entries below the diagonal by i-j+1
			factorial *= float64(i - j + 1)
			a.at[i*size+j] /= factorial
		}
	}
	power := a.power(n)
	log := math.Log(power.at[(k-1)*size+k-1]) + power.log
	factorial, _ := math.Lgamma(float64(n) + 1)
	return math.Exp(log + factorial - float64(n)*math.Log(float64(n)))
}

// A matrix is a square of numbers, times e to the power of log.
type matrix struct {
	size int
	at   []float64
	log  float64
}

func newMatrix(size int) *matrix { return &matrix{size: size, at: make([]float64, size*size)} }

// power returns m multiplied by itself to have n factors. n is at least 1.
func (m *matrix) power(n int) *matrix {
	if n == 1 {
		return m
	}
	half := m.power(n / 2)
	square := half.times(half)
	if n%2 == 1 {
		square = square.times(m)
	}
	return square
}

// times multiplies, and keeps the largest entry at 1.
func (m *matrix) times(o *matrix) *matrix {
	size := m.size
	p := newMatrix(size)
	most := 0.0
	for i := range size {
		row := p.at[i*size : (i+1)*size]
		for k := range size {
			if x := m.at[i*size+k]; x != 0 {
				for j, y := range o.at[k*size : (k+1)*size] {
					row[j] += x * y
				}
			}
		}
		for _, x := range row {
			most = max(most, math.Abs(x))
		}
	}
	for i := range p.at {
		p.at[i] /= most
	}
	p.log = m.log + o.log + math.Log(most)
	return p
}

// pelzGood is the chance of a difference below d for large n, up to terms of
// 1/n^2 (Pelz & Good 1976). z is below 2, where nine terms of each sum are more
// than a double can tell.
func pelzGood(n, d float64) float64 {
	z := d * math.Sqrt(n)
	if z < 0.05 {
		return 0 // below 1e-200
	}
	z2 := z * z
	z4, z6, z8 := z2*z2, z2*z2*z2, z2*z2*z2*z2
	var k0, k1, k2, k3, whole2, whole3 float64
	for k := range 9 {
		// Both k+1/2 and its negative, then both k and -k.
		a := math.Pi * math.Pi * (float64(k) + 0.5) * (float64(k) + 0.5)
		e := 2 * math.Exp(-a/(2*z2))
		k0 += e
		k1 += e * (a - z2)
		k2 += e * (6*z6 + 2*z4 + (2*z4-5*z2)*a + (1-2*z2)*a*a)
		k3 += e * (-30*z6 - 90*z8 + (135*z4-96*z6)*a + (212*z4-60*z2)*a*a + (5-30*z2)*a*a*a)
		b := math.Pi * math.Pi * float64(k) * float64(k)
		e = 2 * math.Exp(-b/(2*z2))
		whole2 += e * b
		whole3 += e * (3*z2*b - b*b)
	}
	k0 /= z
	k1 /= 6 * z4
	k2 = k2/(72*z4*z2*z) - whole2/(36*z2*z)
	k3 = k3/(6480*z8*z2) + whole3/(216*z6)
	return math.Sqrt(math.Pi/2) * (k0 + k1/math.Sqrt(n) + k2/n + k3/(n*math.Sqrt(n)))
}
