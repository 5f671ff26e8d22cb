package eval

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestGateDefaultsPassTheirCheck(t *testing.T) {
	g := Gate{}.WithDefaults()
	if err := g.Check(); err != nil {
		t.Error(err)
	}
	if g.Rows != 1000 || g.Confidence != 0.95 || g.Margin != 0 || g.Tolerance != 0.02 || g.MinSlice != 100 || g.Periods != 20 || g.Replicates != 2000 || g.PerYear != 1 {
		t.Errorf("defaults: %+v", g)
	}
	set := Gate{Rows: 1, Confidence: 0.9, Margin: -1, Tolerance: 1, MinSlice: 1, Block: time.Hour, Periods: 1, Replicates: 1000, Seed: 1, PerYear: 2}
	if got := set.WithDefaults(); got.Rows != 1 || got.Confidence != 0.9 || got.Tolerance != 1 || got.MinSlice != 1 || got.Periods != 1 || got.Replicates != 1000 || got.PerYear != 2 {
		t.Errorf("what is set is replaced: %+v", got)
	}
}

func TestGateCheckNamesTheKey(t *testing.T) {
	for want, spoil := range map[string]func(g *Gate){
		"rows: -1: give 1 to 10000000":                                                func(g *Gate) { g.Rows = -1 },
		"confidence: 1: give a share between 50% and 100%":                            func(g *Gate) { g.Confidence = 1 },
		"confidence: NaN: give a share between 50% and 100%":                          func(g *Gate) { g.Confidence = math.NaN() },
		"margin: +Inf: give a finite number":                                          func(g *Gate) { g.Margin = math.Inf(1) },
		"tolerance: -0.1: give a number from 0":                                       func(g *Gate) { g.Tolerance = -0.1 },
		"min_slice: -1: give at least 1":                                              func(g *Gate) { g.MinSlice = -1 },
		"block: -1s: give a positive duration":                                        func(g *Gate) { g.Block = -time.Second },
		"periods: -20: give 1 to 1000000":                                             func(g *Gate) { g.Periods = -20 },
		"replicates: 100001: give 1 to 100000":                                        func(g *Gate) { g.Replicates = 100_001 },
		"replicates: 399: give at least 400 at confidence 0.95":                       func(g *Gate) { g.Replicates = 399 },
		"false_per_year: 0.04: one judgement spends 0.05, so that none could be made": func(g *Gate) { g.PerYear = 0.04 },
		"slices: column 1 has no name":                                                func(g *Gate) { g.Slices = []string{""} },
		"slices: symbol is there twice":                                               func(g *Gate) { g.Slices = []string{"symbol", "symbol"} },
		"rows: 0: give 1 to 10000000; periods: 0: give 1 to 1000000":                  func(g *Gate) { g.Rows, g.Periods = 0, 0 },
	} {
		g := Gate{}.WithDefaults()
		spoil(&g)
		if err := g.Check(); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestBudget(t *testing.T) {
	const now = 10 * year
	times := func(n int, at int64) (judged []int64) {
		for range n {
			judged = append(judged, at)
		}
		return judged
	}
	for name, test := range map[string]struct {
		gate   Gate
		judged []int64
		left   float64
		ok     bool
	}{
		"nothing judged":                   {Gate{}, nil, 1, true},
		"nineteen leave one":               {Gate{}, times(19, now), 0.05, true},
		"twenty leave none":                {Gate{}, times(20, now), 0, false},
		"more than twenty":                 {Gate{}, times(30, now), 0, false},
		"a year ago is forgotten":          {Gate{}, times(20, now-year), 1, true},
		"a microsecond less is not":        {Gate{}, times(20, now-year+1), 0, false},
		"after now does not count":         {Gate{}, times(20, now+1), 1, true},
		"long ago, beyond all differences": {Gate{}, times(20, math.MinInt64), 1, true},
		"more confidence spends less":      {Gate{Confidence: 0.99}, times(20, now), 0.8, true},
		"a larger budget":                  {Gate{PerYear: 2}, times(20, now), 1, true},
	} {
		left, ok := test.gate.Spent(test.judged, now)
		if math.Abs(left-test.left) > 1e-9 || ok != test.ok {
			t.Errorf("%s: %v left, %v, want %v, %v", name, left, ok, test.left, test.ok)
		}
	}
}

// TestEnoughIsTheLeastThatIsJudged compares Enough with what Judge says of cohorts
// that grow time by time.
func TestEnoughIsTheLeastThatIsJudged(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	judged := func(g Gate, horizon time.Duration, times []int64) bool {
		c := &Cohort{Time: times}
		for i := range times {
			c.Label = append(c.Label, float64(i%2))
			c.Candidate, c.Champion = append(c.Candidate, 0.5), append(c.Champion, 0.5)
		}
		return !strings.HasPrefix(Judge(binary, g, horizon, c).Reasons[0], "too little data")
	}
	for range 60 {
		g := Gate{Rows: 20 + random.IntN(200), Periods: 1 + random.IntN(6), Block: time.Duration(random.IntN(20)) * time.Second, Replicates: 400}
		horizon := time.Duration(random.IntN(20)) * time.Second
		var times []int64
		for at := int64(0); len(times) < 400; at += 1e6 * (1 + random.Int64N(4)) {
			for range 1 + random.IntN(3) {
				times = append(times, at)
			}
		}
		want := 0
		for n := 1; n <= len(times) && want == 0; n++ {
			if (n == len(times) || times[n] != times[n-1]) && judged(g, horizon, times[:n]) {
				want = n
			}
		}
		if n, ok := g.Enough(times, horizon); n != want || ok != (want > 0) {
			t.Errorf("%+v, horizon %v: %d, %v; want %d", g, horizon, n, ok, want)
		}
	}
}

// TestEnoughWaitsForBlocks has more rows in one horizon than a gate asks for.
func TestEnoughWaitsForBlocks(t *testing.T) {
	var times []int64
	for i := range int64(6000) {
		times = append(times, i*1e6)
	}
	if n, ok := (Gate{}).Enough(times[:4000], 10*time.Minute); ok {
		t.Errorf("%d rows of 67 minutes are enough for blocks of 10", n)
	}
	if n, ok := (Gate{}).Enough(times, 10*time.Minute); !ok || n != 4801 {
		t.Errorf("%d rows, %v", n, ok)
	}
	if n, ok := (Gate{}).Enough(nil, 0); ok || n != 0 {
		t.Errorf("%d rows, %v", n, ok)
	}
}

func TestWatchCheckNamesTheKey(t *testing.T) {
	if err := (WatchConfig{}).WithDefaults().Check(); err != nil {
		t.Error(err)
	}
	for want, spoil := range map[string]func(c *WatchConfig){
		"confidence: 0.5":  func(c *WatchConfig) { c.Confidence = 0.5 },
		"worse_by: NaN":    func(c *WatchConfig) { c.WorseBy = math.NaN() },
		"horizon: -1s":     func(c *WatchConfig) { c.Horizon = -time.Second },
		"periods: 1000001": func(c *WatchConfig) { c.Periods = 1_000_001 },
	} {
		c := WatchConfig{}.WithDefaults()
		spoil(&c)
		if err := c.Check(); err == nil || !strings.HasPrefix(err.Error(), want+": give ") {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
