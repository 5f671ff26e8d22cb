package eval

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// A Bootstrap says how blocks are drawn. The zero value of a field stands for
// its default.
type Bootstrap struct {
	Confidence float64       // one-sided, of either bound; default 0.95
	Block      time.Duration // least length of a block; default: any
	Periods    int           // least number of distinct times in a block; default 20
	Replicates int           // default 2000
	Seed       uint64
}

// WithDefaults returns b with what it leaves out filled in.
func (b Bootstrap) WithDefaults() Bootstrap {
	b.Confidence = cmp.Or(b.Confidence, 0.95)
	b.Periods = cmp.Or(b.Periods, 20)
	b.Replicates = cmp.Or(b.Replicates, 2000)
	return b
}

// minBlocks is the least number of blocks that an interval is made of. With
// fewer the tails of Student's t decide everything, and a promotion would need
// a gain that nobody has to measure.
const minBlocks = 8

// Interval returns the mean of the differences and a lower and an upper bound
// of it, each one-sided at the confidence. Row i has times[i], in microseconds
// and not decreasing; the differences are paired, as of two models' losses on
// one row, and finite.
//
// Rows of one time belong together and neighbours in time are alike, so the
// rows are cut into blocks of whole distinct times that are taken to be
// independent. Fewer than 8 blocks are an error.
func Interval(times []int64, diffs []float64, b Bootstrap) (lo, mean, hi float64, err error) {
	b = b.WithDefaults()
	s, err := newStudy(times, diffs, b)
	if err != nil {
		nan := math.NaN()
		return nan, nan, nan, err
	}
	lo, hi = s.bounds(b.Confidence)
	return lo, s.mean, hi, nil
}

// A block is rows whose times lie together.
type block struct{ sum, rows float64 }

// cut makes blocks of whole distinct times. Each has at least so many of them
// and the next begins at least span microseconds after it began; what is left
// at the end joins the last block.
func cut(times []int64, diffs []float64, span int64, periods int) (blocks []block, distinct int) {
	var (
		open   block
		began  int64
		inOpen int
	)
	for i, at := range times {
		if i == 0 || at != times[i-1] {
			if inOpen >= periods && uint64(at-began) >= uint64(span) {
				blocks = append(blocks, open)
				open, inOpen = block{}, 0
			}
			if inOpen == 0 {
				began = at
			}
			inOpen++
			distinct++
		}
		open.sum += diffs[i]
		open.rows++
	}
	switch last := len(blocks) - 1; {
	case inOpen >= periods && uint64(times[len(times)-1]-began) >= uint64(span) || last < 0 && inOpen > 0:
		blocks = append(blocks, open)
	case last >= 0:
		blocks[last].sum += open.sum
		blocks[last].rows += open.rows
	}
	return blocks, distinct
}

// A study is the mean of differences with what the bootstrap says about it.
type study struct {
	mean   float64
	se     float64
	blocks int
	rows   int
	times  int       // distinct
	t      []float64 // studentised means of the replicates, ascending
}

func newStudy(times []int64, diffs []float64, b Bootstrap) (study, error) {
	for i, d := range diffs {
		if !finite(d) {
			return study{}, fmt.Errorf("eval: difference %d of %d is %v: give finite numbers", i, len(diffs), d)
		}
	}
	if len(times) != len(diffs) || !slices.IsSorted(times) {
		return study{}, fmt.Errorf("eval: %d times for %d differences: give one for each, not decreasing", len(times), len(diffs))
	}
	blocks, distinct := cut(times, diffs, b.Block.Microseconds(), b.Periods)
	s := study{blocks: len(blocks), rows: len(times), times: distinct}
	if len(blocks) < minBlocks {
		return s, fmt.Errorf("eval: %d rows of %d times make %d blocks: %d are needed", s.rows, s.times, s.blocks, minBlocks)
	}
	s.mean, s.se = ratio(blocks)
	random := rand.New(rand.NewPCG(b.Seed, uint64(len(blocks))))
	drawn := make([]block, len(blocks))
	s.t = make([]float64, b.Replicates)
	for r := range s.t {
		for i := range drawn {
			drawn[i] = blocks[random.IntN(len(blocks))]
		}
		m, se := ratio(drawn)
		s.t[r] = studentised(m-s.mean, se)
	}
	slices.Sort(s.t)
	return s, nil
}

func studentised(d, se float64) float64 {
	if d == 0 {
		return 0
	}
	return d / se // infinite where all blocks drawn are one
}

// ratio returns the mean over the rows of the blocks and its standard error,
// that of a ratio of sums over independent blocks.
func ratio(blocks []block) (mean, se float64) {
	var sum, rows, squares float64
	for _, b := range blocks {
		sum += b.sum
		rows += b.rows
	}
	mean = sum / rows
	for _, b := range blocks {
		d := b.sum - mean*b.rows
		squares += d * d
	}
	n := float64(len(blocks))
	return mean, math.Sqrt(squares*n/(n-1)) / rows
}

// bounds returns the one-sided bounds at a confidence.
func (s *study) bounds(confidence float64) (lo, hi float64) {
	t := studentQuantile(confidence, float64(s.blocks-1))
	n := len(s.t)
	k := min(int(math.Ceil(confidence*float64(n+1)))-1, n-1)
	return s.mean - s.se*max(t, s.t[k]), s.mean + s.se*max(t, -s.t[n-1-k])
}

// below is the p-value of the mean's being at least x: small where it is
// significantly less.
func (s *study) below(x float64) float64 {
	t := studentised(s.mean-x, s.se)
	i, found := slices.BinarySearch(s.t, t)
	for found && i < len(s.t) && s.t[i] == t {
		i++
	}
	replicates := float64(i+1) / float64(len(s.t)+1)
	return max(replicates, studentTail(-t, float64(s.blocks-1)))
}
