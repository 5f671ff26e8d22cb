package eval

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// dependent draws differences whose mean is 0: five rows a day that share a
// shock, of heavy tails where drawn so, which is phi of the day before's.
func dependent(random *rand.Rand, days int, phi float64, draw func(*rand.Rand) float64) (times []int64, diffs []float64) {
	shock := 0.0
	for d := -20; d < days; d++ { // the shock forgets where it began
		shock = phi*shock + draw(random)
		for range 5 {
			if d >= 0 {
				times = append(times, int64(d)*day)
				diffs = append(diffs, shock+draw(random))
			}
		}
	}
	return times, diffs
}

func normal(random *rand.Rand) float64 { return random.NormFloat64() }

// TestErrorRate counts how often the lower bound of a mean of 0 is above 0. At
// 95 % it may be 5 % of times, so that more than 30 of 400 come once in a
// hundred.
func TestErrorRate(t *testing.T) {
	for _, test := range []struct {
		name   string
		draw   func(*rand.Rand) float64
		phi    float64
		blocks int
	}{
		{"independent days", normal, 0, 10},
		{"days that are alike", normal, 0.5, 10},
		{"heavy tails, least blocks", student3, 0.5, minBlocks},
		{"heavy tails, ten blocks", student3, 0.5, 10},
		{"heavy tails, many blocks", student3, 0.5, 40},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if wrong := errorsIn(t, 400, test.blocks, test.phi, test.draw, Bootstrap{Replicates: 400}); wrong > 30 {
				t.Errorf("%d of 400 lower bounds are above the mean", wrong)
			}
		})
	}
}

// errorsIn counts lower bounds above 0 over so many seeds, of so many blocks of
// 20 days.
func errorsIn(t *testing.T, seeds, blocks int, phi float64, draw func(*rand.Rand) float64, b Bootstrap) (wrong int) {
	t.Helper()
	random := rand.New(rand.NewPCG(3, uint64(blocks)))
	for range seeds {
		times, diffs := dependent(random, 20*blocks, phi, draw)
		lo, _, _, err := Interval(times, diffs, b)
		if err != nil {
			t.Fatal(err)
		}
		if lo > 0 {
			wrong++
		}
		b.Seed++
	}
	return wrong
}

// TestShortBlocksAreNotEnough shows what blocks are for: with blocks of one day
// days that are alike deceive far more often than they may.
func TestShortBlocksAreNotEnough(t *testing.T) {
	if wrong := errorsIn(t, 100, 10, 0.9, normal, Bootstrap{Periods: 1, Replicates: 100}); wrong < 15 {
		t.Errorf("%d of 100 lower bounds of blocks of a day are above the mean: 5 would be right", wrong)
	}
}

func TestIntervalScalesAndShifts(t *testing.T) {
	for seed := range uint64(30) {
		times, diffs := dependent(rand.New(rand.NewPCG(seed, 4)), 200, 0.5, student3)
		b := Bootstrap{Seed: seed}
		lo, mean, hi, err := Interval(times, diffs, b)
		if err != nil {
			t.Fatal(err)
		}
		if !(lo < mean && mean < hi) {
			t.Errorf("seed %d: bounds %v, %v around %v", seed, lo, hi, mean)
		}
		scaled, shifted := make([]float64, len(diffs)), make([]float64, len(diffs))
		for i, d := range diffs {
			scaled[i], shifted[i] = -4*d, d+3
		}
		l, m, h, _ := Interval(times, scaled, b)
		if l != -4*hi || m != -4*mean || h != -4*lo {
			t.Errorf("seed %d: times -4: %v, %v, %v, want -4 times %v, %v, %v", seed, l, m, h, hi, mean, lo)
		}
		l, m, h, _ = Interval(times, shifted, b)
		within(t, "shifted lower bound", l, lo+3, 1e-9)
		within(t, "shifted mean", m, mean+3, 1e-9)
		within(t, "shifted upper bound", h, hi+3, 1e-9)
	}
}

// TestSeedsAgree holds that a seed decides little and the same seed everything.
func TestSeedsAgree(t *testing.T) {
	times, diffs := dependent(rand.New(rand.NewPCG(9, 4)), 400, 0.3, student3)
	var los []float64
	for seed := range uint64(20) {
		lo, mean, hi, err := Interval(times, diffs, Bootstrap{Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		again, _, _, _ := Interval(times, diffs, Bootstrap{Seed: seed})
		if again != lo {
			t.Errorf("seed %d: %v, then %v", seed, lo, again)
		}
		los = append(los, (mean-lo)/(hi-lo))
	}
	if spread := slices.Max(los) - slices.Min(los); spread > 0.1 || spread == 0 {
		t.Errorf("lower bounds of 20 seeds differ by %v of the width", spread)
	}
}

// TestMoreConfidenceIsWider also has a p-value that goes with the bounds: below
// the upper bound at one confidence it is above what that leaves.
func TestMoreConfidenceIsWider(t *testing.T) {
	for seed := range uint64(30) {
		times, diffs := dependent(rand.New(rand.NewPCG(seed, 8)), 200, 0.3, student3)
		b := Bootstrap{Seed: seed}.WithDefaults()
		s := newStudy(times, diffs, b)
		last := 0.0
		for _, confidence := range []float64{0.6, 0.8, 0.9, 0.95, 0.99} {
			lo, hi := s.bounds(confidence)
			if hi-lo <= last {
				t.Errorf("seed %d: %v wide at %v, %v at less", seed, hi-lo, confidence, last)
			}
			last = hi - lo
			width := s.se / 1e6
			if p := s.below(hi - width); p < 1-confidence-1e-3 {
				t.Errorf("seed %d: p is %v within the bound at %v", seed, p, confidence)
			}
			if p := s.below(hi + width); p > 1-confidence+1e-3 {
				t.Errorf("seed %d: p is %v beyond the bound at %v", seed, p, confidence)
			}
		}
	}
}

func TestCut(t *testing.T) {
	for _, test := range []struct {
		name    string
		times   string // a digit each
		span    int64
		periods int
		want    string // rows of the tiles
	}{
		{"each time", "0123", 0, 1, "1 1 1 1"},
		{"rows of a time stay together", "0011122", 0, 1, "2 3 2"},
		{"two times each", "001123", 0, 2, "4 2"},
		{"what is left joins the last", "00112", 0, 2, "5"},
		{"by time", "01234567", 3, 1, "3 5"},
		{"by time, from the tile's begin", "0136799", 3, 1, "2 1 4"},
		{"by both", "0123456789", 2, 3, "3 3 4"},
		{"all too short", "012", 9, 1, "3"},
		{"one row", "5", 0, 1, "1"},
		{"no rows", "", 0, 1, "0"},
	} {
		var times []int64
		for _, digit := range test.times {
			times = append(times, int64(digit-'0'))
		}
		tiles, distinct := cut(times, make([]float64, len(times)), test.span, test.periods)
		var got []string
		for _, tile := range tiles {
			got = append(got, fmt.Sprint(tile.rows))
		}
		if strings.Join(got, " ") != test.want || distinct != len(slices.Compact(times)) {
			t.Errorf("%s: tiles of %s rows of %d times, want %s", test.name, strings.Join(got, " "), distinct, test.want)
		}
	}
	far := []int64{math.MinInt64, -1, math.MaxInt64} // the last two are further apart than an int64 holds
	if tiles, _ := cut(far, make([]float64, 3), math.MaxInt64, 1); len(tiles) != 2 {
		t.Errorf("%d tiles between the ends of time, want 2", len(tiles))
	}
}

// TestManyTilesAreJoined has more tiles than a replicate draws from.
func TestManyTilesAreJoined(t *testing.T) {
	times, diffs := dependent(rand.New(rand.NewPCG(1, 4)), 5*maxTiles+3, 0, normal)
	b := Bootstrap{Periods: 1, Replicates: 400}.WithDefaults()
	s := newStudy(times, diffs, b)
	if s.times != 5*maxTiles+3 || s.blocks > maxTiles || s.blocks < maxTiles/2 {
		t.Errorf("%d times make %d blocks", s.times, s.blocks)
	}
	var sum float64
	for _, d := range diffs {
		sum += d
	}
	within(t, "mean", s.mean, sum/float64(len(diffs)), 1e-12)
}

func TestIntervalRefuses(t *testing.T) {
	times, diffs := make([]int64, 200), make([]float64, 200)
	for i := range times {
		times[i] = int64(i) * day
	}
	spoiled := slices.Clone(diffs)
	spoiled[3] = math.NaN()
	for want, call := range map[string]func() (float64, float64, float64, error){
		"eval: 199 times for 200 differences: give one for each, not decreasing": func() (float64, float64, float64, error) {
			return Interval(times[1:], diffs, Bootstrap{})
		},
		"eval: 2 times for 2 differences: give one for each, not decreasing": func() (float64, float64, float64, error) {
			return Interval([]int64{2, 1}, diffs[:2], Bootstrap{})
		},
		"eval: difference 3 of 200 is NaN: give finite numbers": func() (float64, float64, float64, error) {
			return Interval(times, spoiled, Bootstrap{})
		},
		"eval: 200 rows at 200 distinct times make 6 blocks of at least 20 times and 720h0m0s, and 8 are needed": func() (float64, float64, float64, error) {
			return Interval(times, diffs, Bootstrap{Block: 30 * 24 * time.Hour})
		},
		"eval: bootstrap: confidence 0.5: give a share between 50% and 100%": func() (float64, float64, float64, error) {
			return Interval(times, diffs, Bootstrap{Confidence: 0.5})
		},
		"eval: bootstrap: block of -1ns: give a positive duration": func() (float64, float64, float64, error) {
			return Interval(times, diffs, Bootstrap{Block: -1})
		},
		"eval: bootstrap: -1 periods: give 1 to 1000000": func() (float64, float64, float64, error) {
			return Interval(times, diffs, Bootstrap{Periods: -1})
		},
		"eval: bootstrap: -1 replicates: give 1 to 100000": func() (float64, float64, float64, error) {
			return Interval(times, diffs, Bootstrap{Replicates: -1})
		},
	} {
		lo, mean, hi, err := call()
		fewBlocks := strings.Contains(want, "blocks") // then there is a mean
		if err == nil || err.Error() != want || !math.IsNaN(lo) || math.IsNaN(mean) == fewBlocks || !math.IsNaN(hi) {
			t.Errorf("%v, %v, %v, %v, want NaN and %s", lo, mean, hi, err, want)
		}
	}
}

func TestEqualDifferencesHaveNoWidth(t *testing.T) {
	times, diffs := make([]int64, 200), make([]float64, 200)
	for i := range times {
		times[i], diffs[i] = int64(i), 0.1
	}
	lo, mean, hi, err := Interval(times, diffs, Bootstrap{})
	if err != nil || lo != mean || hi != mean {
		t.Errorf("%v, %v, %v, %v", lo, mean, hi, err)
	}
	within(t, "mean", mean, 0.1, 1e-12)
}
