package eval

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// watched gives all rows to a watch.
func watched(t *testing.T, c WatchConfig, times []int64, diffs []float64) *Watch {
	t.Helper()
	w := NewWatch(c)
	for i, at := range times {
		if err := w.Add(at, diffs[i]); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// TestWatchErrorRate has rows whose mean difference is 0, with a shock that
// the rows of a day share; as many as 5 % may count as worse within 400 days. And with one of
// 0.1 where the deviation of a row is 0.5 half do within 500 answers.
func TestWatchErrorRate(t *testing.T) {
	for name, draw := range map[string]func(*rand.Rand) float64{"normal": normal, "student": student3} {
		for _, share := range []float64{0, 0.5} { // of the variance that is the day's shock
			t.Run(fmt.Sprintf("%s, share %v", name, share), func(t *testing.T) {
				t.Parallel()
				random := rand.New(rand.NewPCG(5, 6))
				const seeds = 300
				alarms := 0
				var answers []int
				for range seeds {
					even, worse := NewWatch(WatchConfig{}), NewWatch(WatchConfig{})
					var shock float64
					found := math.MaxInt // looked at without Verdict, which would compute a bound for each block
					for i := range int64(2000) {
						if i%5 == 0 {
							shock = math.Sqrt(share) * draw(random)
						}
						x := 0.5 * (shock + math.Sqrt(1-share)*draw(random))
						if even.Add(i/5*day, x) != nil || worse.Add(i/5*day, x+0.1) != nil {
							t.Fatal("a row is refused")
						}
						if worse.worse {
							found = min(found, worse.rows)
						}
					}
					answers = append(answers, found)
					if even.worse {
						alarms++
					}
				}
				slices.Sort(answers)
				half := answers[seeds/2]
				t.Logf("%d of %d false alarms; half of the worse are found within %d answers", alarms, seeds, half)
				if alarms > seeds/20 {
					t.Errorf("%d of %d false alarms", alarms, seeds)
				}
				if share == 0 && half > 500 || half > 900 {
					t.Errorf("half of the worse models are found within %d answers", half)
				}
			})
		}
	}
}

// TestEvidenceAgainstIntegral computes the Bayes factor from its definition: the
// likelihood of n block means with a mean of t standard errors, over all
// deviations and over all effects of the half-normal prior.
func TestEvidenceAgainstIntegral(t *testing.T) {
	for _, n := range []float64{2, 3, 5, 8, 20} {
		for _, at := range []float64{0, 0.5, 1.5, 3, 6} {
			mean, squares := at/math.Sqrt(n), n-1 // standard deviation 1
			likelihood := func(mu, sigma float64) float64 {
				return math.Exp(-n*math.Log(sigma) - (squares+n*(mean-mu)*(mean-mu))/(2*sigma*sigma))
			}
			const steps = 800
			var with, without float64
			for i := range steps {
				sigma := math.Exp(-6 + 16*(float64(i)+0.5)/steps) // the prior is flat in its logarithm
				without += likelihood(0, sigma)
				for k := range steps {
					const most = 8.0 // the prior's deviation is below 1
					effect := most * (float64(k) + 0.5) / steps
					prior := 2 * math.Sqrt(priorBlocks/(2*math.Pi)) * math.Exp(-priorBlocks*effect*effect/2)
					with += likelihood(effect*sigma, sigma) * prior * most / steps
				}
			}
			within(t, fmt.Sprintf("%v blocks, t %v", n, at), evidence(n, at), math.Log(with/without), 1e-3)
		}
	}
}

func TestEvidenceGrows(t *testing.T) {
	for n := 2.0; n < 500; n *= 1.5 {
		last := math.Inf(-1)
		for _, at := range []float64{0, 1e-9, 0.1, 1, 2, 5, 20, 1e3, 1e6, math.Inf(1)} {
			e := evidence(math.Floor(n), at)
			if math.IsNaN(e) || e < last-1e-9 {
				t.Errorf("%v blocks: evidence %v at %v, %v at less", n, e, at, last)
			}
			last = e
		}
	}
}

func TestWatchSaysTheSameHoweverOftenOneLooks(t *testing.T) {
	for seed := range uint64(50) {
		times, diffs := dependent(rand.New(rand.NewPCG(seed, 1)), 200, 0.3, student3)
		for i := range diffs {
			diffs[i] += 0.4
			if i > len(diffs)/2 {
				diffs[i] -= 0.8 // it becomes better after
			}
		}
		looked := NewWatch(WatchConfig{})
		ever, highest := false, math.Inf(-1)
		for i, at := range times {
			if err := looked.Add(at, diffs[i]); err != nil {
				t.Fatal(err)
			}
			worse, lo, _, rows := looked.Verdict()
			if ever && !worse || rows != i+1 || worse != (max(highest, lo) > 0) {
				t.Fatalf("seed %d: row %d: worse %v after %v, bound %v, %d rows", seed, i, worse, ever, lo, rows)
			}
			ever, highest = worse, max(highest, lo)
		}
		once := watched(t, WatchConfig{}, times, diffs)
		once.Verdict()
		if *once != *looked {
			t.Errorf("seed %d: %+v, with looks %+v", seed, *once, *looked)
		}
	}
}

func TestWatchScales(t *testing.T) {
	for seed := range uint64(20) {
		times, diffs := dependent(rand.New(rand.NewPCG(seed, 2)), 150, 0.3, student3)
		scaled := make([]float64, len(diffs))
		for i := range diffs {
			scaled[i] = 4 * diffs[i]
		}
		_, lo, blocks, _ := watched(t, WatchConfig{}, times, diffs).Verdict()
		_, four, _, _ := watched(t, WatchConfig{}, times, scaled).Verdict()
		if math.IsInf(lo, 0) || four != 4*lo || blocks != 14 {
			t.Errorf("seed %d: bound %v, times 4 %v, of %d blocks", seed, lo, four, blocks)
		}
	}
}

// TestWatchVerdicts is read by hand: rows of 1, one a day, unless said.
func TestWatchVerdicts(t *testing.T) {
	for _, test := range []struct {
		name   string
		config WatchConfig
		days   int
		diff   float64
		worse  bool
		lo     float64
		blocks int
	}{
		{"nothing", WatchConfig{}, 0, 1, false, math.Inf(-1), 0},
		{"the fifth block is still open", WatchConfig{}, 50, 1, false, math.Inf(-1), 4},
		{"five blocks suffice where all are alike", WatchConfig{}, 51, 1, true, 1, 5},
		{"worse, within what is put up with", WatchConfig{WorseBy: 1}, 51, 1, false, 1, 5},
		{"worse than what is put up with", WatchConfig{WorseBy: 0.75}, 51, 1, true, 1, 5},
		{"better", WatchConfig{}, 51, -1, false, -1, 5},
		{"better, by less than was asked", WatchConfig{WorseBy: -2}, 51, -1, true, -1, 5},
		{"equal", WatchConfig{}, 51, 0, false, 0, 5},
		{"more confidence takes more blocks", WatchConfig{Confidence: 0.999}, 51, 1, false, math.Inf(-1), 5},
		{"which eight are not", WatchConfig{Confidence: 0.999}, 81, 1, false, math.Inf(-1), 8},
		{"and nine are", WatchConfig{Confidence: 0.999}, 91, 1, true, 1, 9},
		{"shorter blocks", WatchConfig{Periods: 2}, 11, 1, true, 1, 5},
		{"a horizon of twenty days", WatchConfig{Horizon: 20 * 24 * time.Hour}, 51, 1, false, math.Inf(-1), 2},
	} {
		w := NewWatch(test.config)
		for d := range test.days {
			if err := w.Add(int64(d)*day, test.diff); err != nil {
				t.Fatal(err)
			}
		}
		worse, lo, blocks, rows := w.Verdict()
		if worse != test.worse || lo != test.lo || blocks != test.blocks || rows != test.days {
			t.Errorf("%s: worse %v, bound %v, %d blocks, %d rows, want %v, %v, %d", test.name, worse, lo, blocks, rows, test.worse, test.lo, test.blocks)
		}
	}
}

func TestWatchRefusesAndGoesOn(t *testing.T) {
	w := NewWatch(WatchConfig{})
	if err := w.Add(5, 1); err != nil {
		t.Fatal(err)
	}
	before := *w
	for want, row := range map[string]struct {
		time int64
		diff float64
	}{
		"eval: watch: loss difference NaN at 6: give a finite number":        {6, math.NaN()},
		"eval: watch: loss difference +Inf at 6: give a finite number":       {6, math.Inf(1)},
		"eval: watch: time 4 after 5: give rows in the order of their times": {4, 1},
	} {
		if err := w.Add(row.time, row.diff); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if *w != before {
		t.Errorf("refused rows left %+v, want %+v", *w, before)
	}
	if err := w.Add(5, 1); err != nil {
		t.Error(err)
	}
}
