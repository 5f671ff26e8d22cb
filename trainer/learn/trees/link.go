package trees

import "math"

// Bounds of margins where they are turned into predictions: within maxLogit a
// probability is less than 1 and more than 0, and its log loss finite; within
// maxExp a mean is finite and not 0.
const (
	maxLogit = 35
	maxExp   = 700
)

// Predict returns the prediction for a margin of a link with one margin: the
// margin itself, a probability within 1/(1 + exp(35)) of 0 and 1, or exp(margin)
// with the margin held within 700.
func (l Link) Predict(margin float64) float64 {
	switch l {
	case Logistic:
		return 1 / (1 + exp(-min(max(margin, -maxLogit), maxLogit)))
	case Exp:
		return exp(min(max(margin, -maxExp), maxExp))
	}
	return margin
}

// softmax turns margins into probabilities in place.
func softmax(m []float64) {
	top := math.Inf(-1)
	for _, v := range m {
		top = max(top, v)
	}
	sum := 0.0
	for k, v := range m {
		m[k] = exp(max(v-top, -maxExp))
		sum += m[k]
	}
	for k := range m {
		m[k] /= sum
	}
}

// exp returns e to the x, for x within maxExp, to the last bit but one. The
// standard library's has other last bits on processors with a fused multiply and
// add, and a bundle's predictions are the same on each machine. The method is
// that of FreeBSD's e_exp.c: x = k ln2 + r, and a rational function of r (Remez)
// for e to the r.
func exp(x float64) float64 {
	const (
		ln2Hi = 6.93147180369123816490e-01 // with zeros at the end: k ln2Hi is exact
		ln2Lo = 1.90821492927058770002e-10
		p1    = 1.66666666666666657415e-01
		p2    = -2.77777777770155933842e-03
		p3    = 6.61375632143793436117e-05
		p4    = -1.65339022054652515390e-06
		p5    = 4.13813679705723846039e-08
	)
	k := math.RoundToEven(float64(x * math.Log2E))
	hi := x - float64(k*ln2Hi)
	lo := float64(k * ln2Lo)
	r := hi - lo
	t := float64(r * r)
	c := r - float64(t*(p1+float64(t*(p2+float64(t*(p3+float64(t*(p4+float64(t*p5)))))))))
	y := 1 - ((lo - float64(r*c)/(2-c)) - hi)
	return math.Float64frombits(math.Float64bits(y) + uint64(int64(k))<<52) // y 2^k
}
