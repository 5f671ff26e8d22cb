package eval

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"
)

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

// What a gate may ask for. A cohort is held in memory, with 100 bytes a row or
// so, and the bootstrap draws each block once a replicate.
const (
	maxGateRows   = 10_000_000
	maxPeriods    = 1_000_000
	maxReplicates = 100_000
	// tailReplicates is how many replicates at least must lie beyond a bound:
	// of fewer, the bound depends on the seed.
	tailReplicates = 20
)

// WithDefaults returns g with what it leaves out filled in.
func (g Gate) WithDefaults() Gate {
	g.Rows = cmp.Or(g.Rows, 1000)
	g.Confidence = cmp.Or(g.Confidence, 0.95)
	g.Tolerance = cmp.Or(g.Tolerance, 0.02)
	g.MinSlice = cmp.Or(g.MinSlice, 100)
	g.Periods = cmp.Or(g.Periods, 20)
	g.Replicates = cmp.Or(g.Replicates, 2000)
	g.PerYear = cmp.Or(g.PerYear, 1)
	return g
}

// Check says all that is wrong with a gate that has its defaults, in one line.
// Each fault begins with the key of the project file.
func (g Gate) Check() error {
	var faults []string
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	confident := g.Confidence > 0.5 && g.Confidence < 1
	fault(g.Rows < 1 || g.Rows > maxGateRows, "rows: %d: give 1 to %d", g.Rows, maxGateRows)
	fault(!confident, "confidence: %v: give a share between 50%% and 100%%", g.Confidence)
	fault(!finite(g.Margin), "margin: %v: give a finite number", g.Margin)
	fault(!finite(g.Tolerance) || g.Tolerance < 0, "tolerance: %v: give a number from 0", g.Tolerance)
	fault(g.MinSlice < 1, "min_slice: %d: give at least 1", g.MinSlice)
	fault(g.Block < 0, "block: %v: give a positive duration", g.Block)
	fault(g.Periods < 1 || g.Periods > maxPeriods, "periods: %d: give 1 to %d", g.Periods, maxPeriods)
	fault(g.Replicates < 1 || g.Replicates > maxReplicates, "replicates: %d: give 1 to %d", g.Replicates, maxReplicates)
	if confident {
		least := int(math.Ceil(tailReplicates/(1-g.Confidence) - rounding))
		fault(g.Replicates > 0 && g.Replicates < least, "replicates: %d: give at least %d at confidence %v", g.Replicates, least, g.Confidence)
		fault(!(g.PerYear >= g.spends()), "false_per_year: %v: one judgement spends %.3g, so that none could be made", g.PerYear, g.spends())
	}
	for i, column := range g.Slices {
		fault(column == "", "slices: column %d has no name", i+1)
		fault(slices.Contains(g.Slices[:i], column), "slices: %s is there twice", column)
	}
	if faults == nil {
		return nil
	}
	return errors.New(strings.Join(faults, "; "))
}

// Enough returns how many of the first rows make a cohort that can be judged, and
// false where there are too few yet: at least Rows of them, of whole times, that
// fill blocks enough for bounds. The blocks are at least a horizon long, so that
// Rows alone may be there within a part of one: judged then, no candidate could
// ever be promoted. The times are those of Cohort. Labels have no part in it, so
// that to wait for it favours nobody.
func (g Gate) Enough(times []int64, horizon time.Duration) (rows int, ok bool) {
	g = g.WithDefaults()
	b := g.bootstrap(horizon)
	zeros := make([]float64, len(times))
	few := func(n int) bool {
		tiles, _ := b.cut(times[:n], zeros)
		return len(tiles)/b.steps() < minBlocks
	}
	if len(times) < g.Rows || few(len(times)) {
		return 0, false
	}
	n := g.Rows + sort.Search(len(times)-g.Rows, func(more int) bool { return !few(g.Rows + more) })
	for n < len(times) && times[n] == times[n-1] {
		n++
	}
	return n, true
}

// bootstrap is that of a cohort whose labels are complete up to the horizon.
func (g Gate) bootstrap(horizon time.Duration) Bootstrap {
	return Bootstrap{Confidence: g.Confidence, Block: max(g.Block, horizon), Periods: g.Periods, Replicates: g.Replicates, Seed: g.Seed}
}

// rounding is what decimal fractions may be off by as doubles: 20 times 0.05
// must fit into a budget of 1.
const rounding = 1e-9

// year is the span of the budget, in microseconds.
const year = 365 * 24 * int64(time.Hour/time.Microsecond)

// spends is what one judgement takes from the budget: the chance that it
// promotes a candidate that is no better.
func (g Gate) spends() float64 { return (1 - g.Confidence) * (1 - rounding) }

// Spent says what is left of the yearly budget of false promotions at a time,
// after judgements at times of the past, all event times in microseconds, and
// whether another judgement fits in. Judgements of a year ago and before, and
// those after now, do not count.
func (g Gate) Spent(judged []int64, now int64) (left float64, ok bool) {
	g = g.WithDefaults()
	count := 0
	for _, at := range judged {
		if at <= now && uint64(now-at) < uint64(year) {
			count++
		}
	}
	left = max(0, g.PerYear-float64(count)*(1-g.Confidence))
	return left, left >= g.spends()
}
