package monitor

import "math"

// A sequence bounds a mean at all times together: a confidence sequence on the
// means of blocks of units, each at least as long as the label's horizon, within
// which labels overlap. Blocks are taken to be independent.
//
// The bounds are those means for which the Bayes factor of the two-sided t-test,
// with a normal prior on the effect (Gönen et al. 2005), has not reached 1/0.05. As
// the prior on the deviation is the right one of Haar, it is an e-process whatever
// the deviation (Lai 1976; Wang & Ramdas 2023, "Anytime-valid t-tests and confidence
// sequences for Gaussian means with unknown variance"), and with many blocks the
// asymptotic confidence sequence of Waudby-Smith et al. 2021. It is what eval.Watch
// is one side of, in a closed form.
type sequence struct {
	least   int64 // microseconds of a block
	began   int64
	sum     float64 // of the open block's units
	units   float64
	blocks  float64 // closed
	mean    float64
	squares float64
}

// sequenceError is the chance that the bounds ever miss the mean.
const sequenceError = 0.05

// priorBlocks is how many blocks the prior on the effect weighs, as in eval.Watch.
const priorBlocks = 2

// add takes the mean of the next unit, which begins at a time.
func (s *sequence) add(begin int64, x float64) {
	if s.units > 0 && begin-s.began >= s.least {
		block := s.sum / s.units
		s.blocks++
		d := block - s.mean
		s.mean += d / s.blocks
		s.squares += d * (block - s.mean)
		s.sum, s.units = 0, 0
	}
	if s.units == 0 {
		s.began = begin
	}
	s.sum += x
	s.units++
}

// bounds returns both; NaN: there are too few blocks to bound anything.
func (s *sequence) bounds() (lo, hi float64) {
	n := s.blocks
	shrunk := priorBlocks / (n + priorBlocks)
	ratio := math.Exp((-2*math.Log(sequenceError) - math.Log(shrunk)) / n)
	if n < 2 || shrunk*ratio >= 1 {
		return math.NaN(), math.NaN()
	}
	t := math.Sqrt((ratio - 1) / (1 - shrunk*ratio) * (n - 1))
	half := t * math.Sqrt(s.squares/(n-1)/n)
	return s.mean - half, s.mean + half
}
