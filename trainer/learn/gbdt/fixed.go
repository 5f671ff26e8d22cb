package gbdt

import "math"

// Sums are of whole numbers, so that they are the same in any order and a
// histogram less another is exactly that of the rest. A gradient is taken in
// units, a power of two for all rows of a round, so that the sum of magnitudes
// over all rows just fits.
//
// Where there are many rows, gradient and second derivative share one word, the
// gradient in the upper half: one addition adds both. Their units are then some
// thousandth of the mean, and each is rounded up or down by chance (a hash of
// seed, round and row), right on average, as in Shi et al., "Quantized Training
// of Gradient Boosting Decision Trees", NeurIPS 2022. Against the noise that a
// sum of gradients has anyway that is nothing.
//
// With few rows, or with some gradient that is a thousand times the mean, a word
// is given to each, and sums have 52 bits: all are exact as float64. The weight is
// multiplied in after the rounding, so that a row of weight 2 is exactly the row
// twice, and splits that are equally good stay so.
const (
	packRows  = 1 << 16 // with fewer, words are not shared
	packRatio = 1 << 10 // of a greatest magnitude to the mean, at most, in shared words
	wideBits  = 52
	gradBits  = 30 // of a sum in a shared word; a sign bit comes on top
	hessBits  = 31
)

// sums are of gradients and second derivatives, in units.
type sums struct {
	g, h int64
}

func (a sums) minus(b sums) sums { return sums{a.g - b.g, a.h - b.h} }
func (a sums) plus(b sums) sums  { return sums{a.g + b.g, a.h + b.h} }

// pack puts sums that fit into one word; unpack takes them out again.
func pack(g, h int64) int64 { return g<<32 + h }

func unpack(v int64) sums {
	h := int64(uint32(v))
	return sums{(v - h) >> 32, h}
}

// A scale is what gradients of a round are measured by, weights included.
type scale struct {
	sumG, maxG, sumH, maxH float64 // of magnitudes
}

func (s *scale) add(d gradient, w float64) {
	g, h := float64(math.Abs(d.g)*w), float64(d.h*w)
	s.sumG, s.sumH = s.sumG+g, s.sumH+h
	if g > s.maxG { // max would look for NaN
		s.maxG = g
	}
	if h > s.maxH {
		s.maxH = h
	}
}

func (s *scale) join(b scale) {
	s.sumG, s.sumH = s.sumG+b.sumG, s.sumH+b.sumH
	s.maxG, s.maxH = max(s.maxG, b.maxG), max(s.maxH, b.maxH)
}

// shared reports whether gradient and second derivative share a word.
func (s scale) shared(rows int) bool {
	n := float64(rows)
	return rows >= packRows && s.maxG*n <= packRatio*s.sumG && s.maxH*n <= packRatio*s.sumH
}

// units returns the exponents of the factors that make units of gradients.
func (s scale) units(rows int) (g, h int) {
	if !s.shared(rows) {
		return wideBits - exponent(s.sumG), wideBits - exponent(s.sumH)
	}
	// Rounding adds at most a unit a row, and two to a second derivative, which is
	// at least one: 2^26 rows leave room for it.
	return gradBits - exponent(s.sumG), hessBits - exponent(s.sumH)
}

// exponent returns the least e with x < 2^e, for x above 2^-900.
func exponent(x float64) int {
	_, e := math.Frexp(max(x, 0x1p-900))
	return e
}
