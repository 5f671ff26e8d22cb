package ftrl

import "math"

// A scale is the running mean and deviation of labels, by the weighted form of
// Welford's algorithm (West, CACM 22:9, 1979). The zero scale changes nothing.
type scale struct {
	weight  float64
	mean    float64
	squares float64 // of the distances from the mean, weighted
}

// add takes a label. Both are within the limit.
func (s *scale) add(label, weight float64) {
	s.weight += weight
	d := label - s.mean
	s.mean += float64(d * (weight / s.weight))
	s.squares += float64(float64(weight*d) * (label - s.mean))
}

// deviation is 1 before two labels differ: then all of them are the mean.
func (s *scale) deviation() float64 {
	if d := math.Sqrt(s.squares / s.weight); d > 0 {
		return d
	}
	return 1
}

func (s *scale) down(label float64) float64 { return (label - s.mean) / s.deviation() }

func (s *scale) up(score float64) float64 { return s.mean + float64(score*s.deviation()) }
