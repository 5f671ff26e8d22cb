package chart

import "math"

// maxTime bounds times, in microseconds: the year 2255, up to which a float64 holds
// them exactly.
const maxTime = 1 << 53

// A scale maps values to coordinates.
type scale struct {
	lo, hi float64 // values
	a, b   float64 // where they are
	log    bool
}

func (s scale) at(v float64) float64 {
	lo, hi := s.lo, s.hi
	if s.log {
		lo, hi, v = math.Log10(lo), math.Log10(hi), math.Log10(v)
	}
	// Halves first: the difference of two huge values is no number.
	share := (v/2 - lo/2) / (hi/2 - lo/2)
	return s.a + share*(s.b-s.a)
}

// A span is the least and the greatest of values.
type span struct {
	lo, hi float64
	any    bool
}

func (s *span) add(v float64) {
	if missing(v) {
		return
	}
	if !s.any {
		*s = span{v, v, true}
		return
	}
	s.lo, s.hi = min(s.lo, v), max(s.hi, v)
}
