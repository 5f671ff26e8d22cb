package profile

import (
	"fmt"
	"math"
	"slices"
)

// WassersteinFloor is the least deviation by which NormedWasserstein divides, that
// of Evidently: a reference that is nearly constant would make all else far away.
const WassersteinFloor = 0.001

// Wasserstein returns the least work that turns one sample into the other: the
// area between their distribution functions, in the unit of the values. Weights
// say how much of its sample each value is, and are normalised; nil is all alike.
// It is +Inf where no double can hold it. ErrEmpty if either sample has no weight;
// values that are not finite, and weights that are negative or not finite, are
// errors.
func Wasserstein(x, y, xWeights, yWeights []float64) (float64, error) {
	a, err := weigh("x", x, xWeights)
	if err != nil {
		return 0, fmt.Errorf("profile: Wasserstein: %w", err)
	}
	b, err := weigh("y", y, yWeights)
	if err != nil {
		return 0, fmt.Errorf("profile: Wasserstein: %w", err)
	}
	area, at := 0.0, math.Min(a.values[0], b.values[0])
	for i, j := 0, 0; i < len(a.values) || j < len(b.values); {
		next := math.Inf(1)
		if i < len(a.values) {
			next = a.values[i]
		}
		if j < len(b.values) {
			next = min(next, b.values[j])
		}
		if gap := math.Abs(a.below[i] - b.below[j]); gap > 0 {
			area += float64(gap * (next - at))
		}
		for i < len(a.values) && a.values[i] == next {
			i++
		}
		for j < len(b.values) && b.values[j] == next {
			j++
		}
		at = next
	}
	return area, nil
}

// A weighed sample is sorted. below[i] is the share of the weight that is before
// values[i]; one more is 1.
type weighed struct{ values, below []float64 }

func weigh(name string, values, weights []float64) (*weighed, error) {
	w := &weighed{below: make([]float64, len(values)+1)}
	var err error
	if w.values, err = sorted(name, values, math.MaxFloat64); err != nil {
		return nil, err
	}
	if weights == nil {
		for i := range w.below {
			w.below[i] = float64(i) / float64(len(values)) // exact at the ends
		}
		return w, nil
	}
	if len(weights) != len(values) {
		return nil, fmt.Errorf("%s has %d values and %d weights: give each value one", name, len(values), len(weights))
	}
	for i, x := range weights {
		if !(x >= 0 && x <= math.MaxFloat64) {
			return nil, fmt.Errorf("weight %d of %s is %v: give finite weights of at least 0", i, name, x)
		}
	}
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { // by value, as the values are
		switch {
		case values[i] < values[j]:
			return -1
		case values[i] > values[j]:
			return 1
		}
		return 0
	})
	most := slices.Max(weights) // so that the sum is finite
	if most == 0 {
		return nil, fmt.Errorf("%s has no weight: %w", name, ErrEmpty)
	}
	for i, at := range order {
		w.below[i+1] = w.below[i] + weights[at]/most
	}
	total := w.below[len(values)]
	for i := range w.below {
		w.below[i] /= total
	}
	return w, nil
}

// NormedWasserstein returns the distance of two samples over the deviation of the
// reference, that of the population and at least WassersteinFloor: a number without
// a unit, as Evidently has it. Errors are those of Wasserstein.
func NormedWasserstein(reference, current []float64) (float64, error) {
	distance, err := Wasserstein(reference, current, nil, nil)
	if err != nil {
		return 0, err
	}
	return distance / max(populationStd(reference), WassersteinFloor), nil
}

// populationStd passes twice over the values, as fractions of the largest one: no
// square overflows.
func populationStd(values []float64) float64 {
	scale := 0.0
	for _, v := range values {
		scale = max(scale, math.Abs(v))
	}
	if scale == 0 {
		return 0
	}
	n, mean, squares := float64(len(values)), 0.0, 0.0
	for _, v := range values {
		mean += v / scale / n
	}
	for _, v := range values {
		off := v/scale - mean
		squares += float64(off * off)
	}
	return scale * math.Sqrt(squares/n)
}
