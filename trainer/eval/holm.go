package eval

import "slices"

// Holm adjusts the p-values of tests that are made together, so that those at
// or below alpha can be rejected with a chance of at most alpha of rejecting
// any true hypothesis (Holm 1979): the k-th least of m is multiplied by m-k+1,
// and none comes out below a lesser one. The order is kept.
func Holm(p []float64, alpha float64) (adjusted []float64, reject []bool) {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return compare(p[a], p[b]) })
	adjusted, reject = make([]float64, len(p)), make([]bool, len(p))
	greatest := 0.0
	for k, i := range order {
		greatest = max(greatest, min(1, float64(len(p)-k)*p[i]))
		adjusted[i], reject[i] = greatest, greatest <= alpha
	}
	return adjusted, reject
}
