package monitor

import "math"

// A series is the unit means of a column over the window and, before it, the
// reference. It holds a place for each unit of time; those without rows are NaN.
type series struct {
	now, past spread
}

func newSeries(window, reference int) series {
	return series{now: newSpread(window), past: newSpread(reference)}
}

func (s *series) push(mean float64) { s.past.push(s.now.push(mean)) }

// ratio returns the window's variance over that of the reference, and of how many
// units the first is; false: there is none.
func (s *series) ratio() (x float64, units int, ok bool) {
	reference := s.past.variance()
	if s.past.n < minPresent || !(reference > 0) || s.now.n < 2 {
		return 0, s.now.n, false
	}
	return s.now.variance() / reference, s.now.n, true
}

// logRatio returns the logarithm of the ratio of the deviations.
func (s *series) logRatio() (x float64, units int, ok bool) {
	x, units, ok = s.ratio()
	return math.Log(x) / 2, units, ok
}

// A spread is the mean and the deviation of the last values. Sums lose a little
// with each value that leaves, so that they are made anew each time that all have
// left: what is lost does not grow.
type spread struct {
	values []float64 // a ring; NaN: none
	at     int
	n      int
	about  float64 // near the mean: what sums are of the differences from
	sum    float64
	square float64
}

func newSpread(size int) spread {
	s := spread{values: make([]float64, size)}
	for i := range s.values {
		s.values[i] = math.NaN()
	}
	return s
}

func (s *spread) clear() {
	fill(s.values, math.NaN())
	*s = spread{values: s.values}
}

// push takes the newest value and returns the one that leaves.
func (s *spread) push(x float64) (leaves float64) {
	leaves = s.values[s.at]
	s.values[s.at] = x
	if x == x {
		if s.n == 0 {
			s.about, s.sum, s.square = x, 0, 0
		}
		d := x - s.about
		s.n++
		s.sum += d
		s.square += d * d
	}
	if leaves == leaves {
		d := leaves - s.about
		s.n--
		s.sum -= d
		s.square -= d * d
	}
	if s.at++; s.at == len(s.values) {
		s.at = 0
		s.anew()
	}
	return leaves
}

// anew makes the sums of the values alone.
func (s *spread) anew() {
	if s.n == 0 {
		return
	}
	s.about = s.mean()
	s.sum, s.square = 0, 0
	for _, x := range s.values {
		if x == x {
			d := x - s.about
			s.sum += d
			s.square += d * d
		}
	}
}

// mean is NaN where there is no value.
func (s *spread) mean() float64 {
	if s.n == 0 {
		return math.NaN()
	}
	return s.about + s.sum/float64(s.n)
}

func (s *spread) std() float64 { return math.Sqrt(s.variance()) }

// variance has n-1; NaN for fewer than two values. What is below the rounding of
// the sums is 0, so that a constant has none.
func (s *spread) variance() float64 {
	if s.n < 2 {
		return math.NaN()
	}
	n := float64(s.n)
	variance := (s.square - s.sum*s.sum/n) / (n - 1)
	if variance <= s.square*1e-14 {
		return 0
	}
	return variance
}
