package ftrl

import "math"

// sigmoid returns 1/(1 + exp(-score)), with the score held within maxScore.
func sigmoid(score float64) float64 {
	return 1 / (1 + exp(-min(max(score, -maxScore), maxScore)))
}

// exp returns e to the x, for x within maxScore, to the last bit but one. The
// standard library's has other last bits on processors with a fused multiply
// and add. The method is that of FreeBSD's e_exp.c: x = k ln2 + r, and a
// rational function of r (Remez) for e to the r.
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
