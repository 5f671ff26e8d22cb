package profile

import (
	"fmt"
	"math"
	"slices"
)

// MaxExactKS is the size of a sample up to which KS.Exact counts paths: beyond
// it the asymptotic p differs from the exact one by less than anybody reads.
const MaxExactKS = 10_000

// A KS is the two-sided Kolmogorov-Smirnov test of two samples.
type KS struct {
	// Statistic is the largest difference of the two distribution functions, 0 to
	// 1. It is looked for after all equal values of both samples, so that ties
	// cannot make it larger.
	Statistic float64

	// The statistic is steps/(m*n), where m and n are the sizes of the samples.
	steps, m, n int
}

// KolmogorovSmirnov compares the distributions of two samples, in any order.
// Infinities are values like others. ErrEmpty if either sample is empty; NaN is an
// error: missing values are to be counted apart.
func KolmogorovSmirnov(x, y []float64) (KS, error) {
	x, err := sorted("x", x, math.Inf(1))
	if err != nil {
		return KS{}, fmt.Errorf("profile: Kolmogorov-Smirnov: %w", err)
	}
	y, err = sorted("y", y, math.Inf(1))
	if err != nil {
		return KS{}, fmt.Errorf("profile: Kolmogorov-Smirnov: %w", err)
	}
	m, n := len(x), len(y)
	most, i, j := 0, 0, 0
	for i < m && j < n { // after the end of one sample the difference only shrinks
		at := min(x[i], y[j])
		for i < m && x[i] == at {
			i++
		}
		for j < n && y[j] == at {
			j++
		}
		most = max(most, i*n-j*m, j*m-i*n)
	}
	return KS{float64(most) / (float64(m) * float64(n)), most, m, n}, nil
}

// sorted returns the sorted values. It refuses NaN and what is beyond most.
func sorted(name string, values []float64, most float64) ([]float64, error) {
	if len(values) == 0 {
		return nil, fmt.Errorf("%s: %w", name, ErrEmpty)
	}
	for i, v := range values {
		if !(math.Abs(v) <= most) {
			return nil, fmt.Errorf("%s[%d] is %v: leave such values out and count them apart", name, i, v)
		}
	}
	values = slices.Clone(values)
	slices.Sort(values)
	return values, nil
}

// Exact is the chance of a statistic at least as large where both samples are of
// one continuous distribution; with ties it is too large rather than too small. It
// is that of a path of m steps one way and n the other, all orders being alike, to
// leave the band around the diagonal (Hodges 1957). Its terms are all positive, so
// that small chances are as exact as large ones. It takes m*n steps: an error
// beyond MaxExactKS.
func (k KS) Exact() (float64, error) {
	if max(k.m, k.n) > MaxExactKS {
		return 0, fmt.Errorf("profile: samples of %d and %d values: the exact p is for up to %d, use the asymptotic one", k.m, k.n, MaxExactKS)
	}
	if k.steps == 0 {
		return 1, nil
	}
	// left[j] is the chance that the path to (i, j) has left the band. Of all paths
	// to it, the share i/(i+j) comes from (i-1, j).
	left := make([]float64, k.n+1)
	for i := range k.m + 1 {
		for j := range left {
			switch off := i*k.n - j*k.m; {
			case max(off, -off) >= k.steps:
				left[j] = 1
			case j == 0 || i == 0:
				left[j] = 0
			default:
				left[j] = (float64(i)*left[j] + float64(j)*left[j-1]) / float64(i+j)
			}
		}
	}
	return min(left[k.n], 1), nil
}

// Asymptotic is the same chance for large samples: that of one sample of mn/(m+n)
// values, rounded, against its own distribution. It is what SciPy's ks_2samp calls
// asymp.
func (k KS) Asymptotic() float64 {
	m, n := float64(k.m), float64(k.n)
	return kolmogorovTail(max(1, math.RoundToEven(m*n/(m+n))), k.Statistic)
}
