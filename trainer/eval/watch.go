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
	Confidence float64       // that a model that is not worse never counts as worse; default 0.95
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

// A Watch follows the paired loss differences of two models and says when the
// new one is worse, with one error probability for however many looks.
type Watch struct {
	config WatchConfig
	rows   int
	last   int64 // time of the newest row

	open  block
	began int64
	times int // distinct, in the open block

	blocks  float64
	mean    float64 // of the means of closed blocks
	squares float64 // their centred sum of squares
}

// NewWatch returns a watch that has seen nothing.
func NewWatch(c WatchConfig) *Watch { return &Watch{config: c.WithDefaults()} }

// Add takes a row: its time in microseconds, not before that of the row
// before, and the new model's loss less the old one's.
func (w *Watch) Add(time int64, diff float64) error {
	if !finite(diff) {
		return fmt.Errorf("eval: watch: loss difference %v at %d: give a finite number", diff, time)
	}
	if w.rows > 0 && time < w.last {
		return fmt.Errorf("eval: watch: time %d after %d: give rows in the order of their times", time, w.last)
	}
	if w.times > 0 && time != w.last && w.times >= w.config.Periods && uint64(time-w.began) >= uint64(w.config.Horizon.Microseconds()) {
		w.close()
	}
	if w.times == 0 {
		w.began = time
	}
	if w.times == 0 || time != w.last {
		w.times++
	}
	w.rows++
	w.last = time
	w.open.sum += diff
	w.open.rows++
	return nil
}

func (w *Watch) close() {
	x := w.open.sum / w.open.rows
	w.blocks++
	d := x - w.mean
	w.mean += d / w.blocks
	w.squares += d * (x - w.mean)
	w.open, w.times = block{}, 0
}

// Verdict returns whether the new model is worse by more than the config puts
// up with, the lower bound of the mean difference, and how many blocks and rows
// there are. Rows of a block that is still open are in rows alone.
func (w *Watch) Verdict() (worse bool, lo float64, blocks, rows int) {
	lo = w.lower()
	return lo > w.config.WorseBy, lo, int(w.blocks), w.rows
}

func (w *Watch) lower() float64 {
	if w.blocks < 2 {
		return math.Inf(-1)
	}
	n, alpha := w.blocks, 1-w.config.Confidence
	const rho2 = 0.1
	scale := (n*rho2 + 1) / (n * n * rho2) * math.Log(math.Sqrt(n*rho2+1)/(2*alpha))
	return w.mean - math.Sqrt(w.squares/(n-1)*2*scale)
}
