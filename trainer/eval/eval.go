// Package eval measures models and judges one against another. It is pure.
package eval

import "time"

// A Cohort is predictions whose labels are known, as columns of one length.
// Rows of one Time belong together: they are drawn together by the bootstrap.
type Cohort struct {
	Time      []int64 // of the predictions, microseconds; not decreasing
	Label     []float64
	Candidate []float64 // scores on the same rows
	Champion  []float64
	Baselines map[string][]float64 // by name, as base_rate and last_outcome: shown beside, never judged
	Slices    map[string][]string  // by column, as symbol: each row's value
}

// A Gate says what a candidate must show. The zero value of a field stands for
// its default.
type Gate struct {
	Rows       int           // complete rows that it is judged on, once; default 1000
	Confidence float64       // one-sided, of the bounds; default 0.95
	Margin     float64       // what the loss must improve by; default 0
	Tolerance  float64       // by how much a slice may be worse; default 0.02
	Slices     []string      // columns to look into: entity fields or features that are texts or bools
	MinSlice   int           // rows below which a slice is listed and not judged; default 100
	Block      time.Duration // least length of a bootstrap block; the horizon where longer
	Periods    int           // least number of distinct times in a block; default 20
	Replicates int           // of the bootstrap; default 2000
	Seed       uint64
	PerYear    float64 // expected false promotions a year: each judgement spends 1-Confidence; default 1
}

// A Verdict is what a gate says.
type Verdict string

// The verdicts.
const (
	Promote      Verdict = "promote"
	Reject       Verdict = "reject"
	Inconclusive Verdict = "inconclusive" // too little data, or the interval has the margin inside
)
