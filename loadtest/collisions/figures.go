package collisions

import (
	"slices"
	"time"

	"github.com/millrace/millrace/loadtest"
)

// Figures are what one learner took for the task, and how good it is at it.
type Figures struct {
	Learner string  `json:"learner"`
	Version string  `json:"version,omitempty"`
	Train   *Work   `json:"train,omitempty"` // nil: it scores the trees of another
	Bulk    Work    `json:"bulk"`            // all test rows
	One     OneRow  `json:"one"`
	AUC     float64 `json:"auc"`      // of the predictions of the test rows
	LogLoss float64 `json:"log_loss"` // of the same
}

// Work is what something took. CPU seconds are user's and system's, of all
// threads.
type Work struct {
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpu_s"`
}

// OneRow is how long calls took that predict one row, by one thread.
type OneRow struct {
	Calls int     `json:"calls"`
	P50   float64 `json:"p50_us"`
	P99   float64 `json:"p99_us"`
}

// How often things are measured: what is quick, more than once. The peers' script
// has warm and passes of its own.
const (
	calls  = 5000 // with one row
	warm   = 200  // before those that count
	passes = 3    // over the test rows, of which the cheapest counts
)

// leastCPU is the clock's step, in seconds.
const leastCPU = 1e-6

// measure returns what do takes.
func measure(do func() error) (Work, error) {
	start, cpu := time.Now(), loadtest.CPUTime()
	err := do()
	return Work{
		Seconds:    time.Since(start).Seconds(),
		CPUSeconds: max((loadtest.CPUTime() - cpu).Seconds(), leastCPU),
	}, err
}

// cheaper returns the work of less CPU.
func cheaper(a, b Work) Work {
	if b.CPUSeconds < a.CPUSeconds {
		return b
	}
	return a
}

// oneRow returns the figures of calls that took so long, one at least. It sorts
// them.
func oneRow(took []time.Duration) OneRow {
	slices.Sort(took)
	micros := func(q float64) float64 { return float64(loadtest.Quantile(took, q).Nanoseconds()) / 1e3 }
	return OneRow{len(took), micros(0.5), micros(0.99)}
}

// best returns the best of two measurements of one learner: what else ran on the
// machine only adds. What it predicts is the same in both.
func best(a, b Figures) Figures {
	if a.Train != nil && b.Train != nil {
		w := cheaper(*a.Train, *b.Train)
		a.Train = &w
	}
	a.Bulk = cheaper(a.Bulk, b.Bulk)
	a.One.P50 = min(a.One.P50, b.One.P50)
	a.One.P99 = min(a.One.P99, b.One.P99)
	return a
}

// A Ratio says how many times as much a peer takes as ours.
type Ratio struct {
	Learner  string  `json:"learner"`
	TrainCPU float64 `json:"train_cpu,omitempty"` // 0: it does not train
	BulkCPU  float64 `json:"bulk_cpu"`
	P50      float64 `json:"one_p50"`
	P99      float64 `json:"one_p99"`
}

// ratio compares a peer with ours.
func ratio(ours, peer Figures) Ratio {
	r := Ratio{
		Learner: peer.Learner,
		BulkCPU: peer.Bulk.CPUSeconds / ours.Bulk.CPUSeconds,
		P50:     peer.One.P50 / ours.One.P50,
		P99:     peer.One.P99 / ours.One.P99,
	}
	if peer.Train != nil {
		r.TrainCPU = peer.Train.CPUSeconds / ours.Train.CPUSeconds
	}
	return r
}
