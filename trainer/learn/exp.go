package learn

import "math"

// MaxScore bounds the score of logistic regression, so that each prediction is
// less than 1 and more than 0, and its log loss finite.
const MaxScore = 35

// Sigmoid returns 1/(1 + exp(-score)), with the score held within MaxScore.
func Sigmoid(score float64) float64 {
	return 1 / (1 + Exp(-min(max(score, -MaxScore), MaxScore)))
}

// Exp returns e to the x, for x within 700, to the last bit but one. The
// standard library's has other last bits on processors with a fused multiply
// and add. The method is that of FreeBSD's e_exp.c: x = k ln2 + r, and a
// rational function of r (Remez) for e to the r.
func Exp(x float64) float64 {
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
