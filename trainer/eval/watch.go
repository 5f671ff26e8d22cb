package eval

import (
	"cmp"
	"fmt"
	"math"
	"time"
)

// A WatchConfig says when a new model counts as worse. The zero value of a
// field stands for its default.
type WatchConfig struct {
	Confidence float64       // that a model that is no worse never counts as worse; default 0.95
	WorseBy    float64       // the loss difference that is put up with; default 0
	Horizon    time.Duration // least length of a block; default: any
	Periods    int           // least number of distinct times in a block; default 10
}

// WithDefaults returns c with what it leaves out filled in.
func (c WatchConfig) WithDefaults() WatchConfig {
	c.Confidence = cmp.Or(c.Confidence, 0.95)
	c.Periods = cmp.Or(c.Periods, 10)
	return c
}

// Check says what is wrong with a config that has its defaults.
func (c WatchConfig) Check() error {
	switch {
	case !(c.Confidence > 0.5 && c.Confidence < 1):
		return fmt.Errorf("confidence: %v: give a share between 50%% and 100%%", c.Confidence)
	case !finite(c.WorseBy):
		return fmt.Errorf("worse_by: %v: give a finite number", c.WorseBy)
	case c.Horizon < 0:
		return fmt.Errorf("horizon: %v: give a positive duration", c.Horizon)
	case c.Periods < 1 || c.Periods > maxPeriods:
		return fmt.Errorf("periods: %d: give 1 to %d", c.Periods, maxPeriods)
	}
	return nil
}

// A Watch follows the paired loss differences of two models and says when the
// new one is worse, with one error probability for however many looks.
//
// Rows go into blocks of whole distinct times, as for Interval, and the means of
// blocks are taken to be independent. Evidence against "on average the new model
// is worse by at most m" is the Bayes factor of the one-sided t-test with a
// half-normal prior on the mean in units of the blocks' own deviation: an
// e-process whatever that deviation is, so that the chance of its ever reaching
// 1/alpha is at most alpha (Lai 1976; Wang & Ramdas 2023, "Anytime-valid t-tests
// and confidence sequences for Gaussian means with unknown variance";
// Pérez-Ortiz et al. 2022, "E-statistics, group invariance and anytime valid
// testing"). The lower bound is the greatest m that it rejects: a time-uniform
// one, as that of Robbins' normal mixture (Waudby-Smith et al. 2021,
// "Time-uniform central limit theory and asymptotic confidence sequences"),
// which it becomes with many blocks. With the few that a watch has, the mixture
// without Student's t raised false alarms twice as often in simulation, some
// beyond what was asked for. Differences that are skewed to the left, as where
// the old model was rarely and then terribly wrong, raise more: lognormal shocks
// up to 10 % at 95 %.
type Watch struct {
	config WatchConfig
	rows   int
	last   int64 // time of the newest row

	open  block
	began int64
	times int // distinct, in the open block

	blocks  int     // closed
	mean    float64 // of the blocks' means
	squares float64 // their centred sum of squares

	worse bool
	proof float64 // the lower bound when worse became true

	bound   float64 // the lower bound of
	boundOf int     // so many blocks
}

// priorBlocks is how many blocks the prior on the effect weighs: its deviation
// is that of a mean of so many. It makes differences of 0.7 deviations of a
// block, which is what is worth a rollback within a watch, the quickest to see.
const priorBlocks = 2

// NewWatch returns a watch that has seen nothing. The config must pass Check
// with its defaults.
func NewWatch(c WatchConfig) *Watch {
	return &Watch{config: c.WithDefaults(), proof: math.Inf(-1), bound: math.Inf(-1)}
}

// Add takes a row: its time in microseconds, not before that of the row
// before, and the new model's loss less the old one's, finite. A row that is
// neither is refused and changes nothing.
func (w *Watch) Add(time int64, diff float64) error {
	if !finite(diff) {
		return fmt.Errorf("eval: watch: loss difference %v at %d: give a finite number", diff, time)
	}
	if w.rows > 0 && time < w.last {
		return fmt.Errorf("eval: watch: time %d after %d: give rows in the order of their times", time, w.last)
	}
	if w.times == 0 || time != w.last {
		if w.times >= w.config.Periods && uint64(time-w.began) >= uint64(w.config.Horizon.Microseconds()) {
			w.close()
		}
		if w.times == 0 {
			w.began = time
		}
		w.times++
	}
	w.rows++
	w.last = time
	w.open = w.open.plus(block{diff, 1})
	return nil
}

// close folds the open block in. The verdict is taken here, after each block,
// so that it does not depend on when somebody looks.
func (w *Watch) close() {
	x := w.open.sum / w.open.rows
	w.open, w.times = block{}, 0
	w.blocks++
	d := x - w.mean
	w.mean += d / float64(w.blocks)
	w.squares += d * (x - w.mean)
	if !w.worse && w.exceeds(w.config.WorseBy) {
		w.worse, w.proof = true, w.lower()
	}
}

// exceeds reports whether there is evidence enough that the mean is above x.
func (w *Watch) exceeds(x float64) bool {
	if w.blocks < 2 || !(w.mean > x) {
		return false
	}
	return evidence(float64(w.blocks), (w.mean-x)/w.standardError()) >= w.enough()
}

func (w *Watch) enough() float64 { return -math.Log(1 - w.config.Confidence) }

// standardError is that of the mean of two blocks or more.
func (w *Watch) standardError() float64 {
	n := float64(w.blocks)
	return math.Sqrt(w.squares / (n - 1) / n)
}

// Verdict returns whether the new model has been seen to be worse by more than
// the config puts up with, the lower bound of the mean difference, and how many
// blocks and rows there are. Once worse it stays so, with the bound that showed
// it or a greater one. Rows of the block that is still open are in rows alone.
func (w *Watch) Verdict() (worse bool, lo float64, blocks, rows int) {
	if w.boundOf != w.blocks {
		w.bound, w.boundOf = w.lower(), w.blocks
	}
	return w.worse, max(w.proof, w.bound), w.blocks, w.rows
}

// lower returns the lower bound: minus infinity until there are blocks enough
// for any evidence to suffice.
func (w *Watch) lower() float64 {
	n, enough := float64(w.blocks), w.enough()
	if n < 2 || evidence(n, math.Inf(1)) < enough {
		return math.Inf(-1)
	}
	lo, hi := 0.0, 1.0 // distances from the mean in its standard errors
	for evidence(n, hi) < enough {
		hi *= 2
	}
	for hi-lo > 1e-9*hi {
		if middle := (lo + hi) / 2; evidence(n, middle) < enough {
			lo = middle
		} else {
			hi = middle
		}
	}
	return w.mean - lo*w.standardError()
}

// evidence returns the logarithm of the Bayes factor of n block means whose
// mean is t of its standard errors, t >= 0, above the hypothesis. It grows with
// t.
//
// With the effect normal(0, 1/priorBlocks) in deviations and the usual prior on
// the deviation, the factor is that of Gönen et al. 2005; the half-normal prior
// gives twice that, times the posterior chance that the effect is positive,
// which is a Student distribution's with n degrees of freedom.
func evidence(n, t float64) float64 {
	const k = priorBlocks
	df, shrunk := n-1, k/(n+k)
	shift := math.Log1p(t*t/df) - math.Log1p(t*t/df*shrunk)
	positive := math.Sqrt(n * (n / (n + k)) * t * t / (df + shrunk*t*t)) // n: degrees of freedom
	if math.IsInf(t, 1) {
		shift, positive = -math.Log(shrunk), math.Sqrt(n*(n/(n+k))/shrunk)
	}
	return (math.Log(shrunk)+n*shift)/2 + math.Log(2*studentTail(-positive, n))
}
