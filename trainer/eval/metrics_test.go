package eval

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// scored draws rows with many ties. Both classes are there.
func scored(seed uint64) (label, score, weight []float64) {
	random := rand.New(rand.NewPCG(seed, 5))
	n := 2 + random.IntN(60)
	for i := range n {
		y := float64(i % 2)
		if i > 1 {
			y = float64(random.IntN(2))
		}
		label = append(label, y)
		score = append(score, float64(random.IntN(20))/19)
		weight = append(weight, float64(random.IntN(4)))
	}
	weight[0], weight[1] = 1, 2
	return label, score, weight
}

// TestRankMetricsAgainstPairs holds AUC and average precision against their
// definitions.
func TestRankMetricsAgainstPairs(t *testing.T) {
	for seed := range uint64(200) {
		y, p, w := scored(seed)
		var won, pairs, precision, positive float64
		for i := range y {
			if y[i] != 1 {
				continue
			}
			var hits, all float64
			for k := range y {
				if p[k] >= p[i] {
					hits += w[k] * y[k]
					all += w[k]
				}
				if y[k] == 1 {
					continue
				}
				pairs += w[i] * w[k]
				switch {
				case p[i] > p[k]:
					won += w[i] * w[k]
				case p[i] == p[k]:
					won += w[i] * w[k] / 2
				}
			}
			if w[i] > 0 {
				precision += w[i] * hits / all
				positive += w[i]
			}
		}
		near(t, "AUC", AUC(y, p, w).Value, won/pairs)
		near(t, "average precision", AveragePrecision(y, p, w).Value, precision/positive)
	}
}

func TestWeightsAreRepetitions(t *testing.T) {
	for seed := range uint64(100) {
		y, p, w := scored(seed)
		var label, score []float64
		for i := range y {
			for range int(w[i]) {
				label, score = append(label, y[i]), append(score, p[i])
			}
		}
		for name, m := range allMetrics {
			if name != "ECE" { // which has no weights
				near(t, name, m(y, p, w).Value, float64(m(label, score, nil).Value))
			}
		}
	}
}

func TestOrderOfRowsDoesNotMatter(t *testing.T) {
	for seed := range uint64(50) {
		y, p, _ := scored(seed)
		order := rand.New(rand.NewPCG(seed, 6)).Perm(len(y))
		for name, m := range allMetrics {
			near(t, name, m(pick(y, order), pick(p, order), nil).Value, float64(m(y, p, nil).Value))
		}
	}
}

func TestEqualCountBinsAgainstTheirRule(t *testing.T) {
	for seed := range uint64(100) {
		y, p, _ := scored(seed)
		order := make([]int, len(y))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return compare(p[a], p[b]) })
		for _, bins := range []int{1, 3, 10, 100} {
			var sum float64
			for j := range bins {
				var gap float64
				for _, i := range order[len(y)*j/bins : len(y)*(j+1)/bins] {
					gap += p[i] - y[i]
				}
				sum += math.Abs(gap)
			}
			near(t, "ECE", ECE(y, p, bins, EqualCount).Value, sum/float64(len(y)))
		}
	}
}

func TestUndefinedIsNaN(t *testing.T) {
	ones, halves, nan := []float64{1, 1}, []float64{0.5, 0.5}, []float64{math.NaN(), math.Inf(1)}
	for name, got := range map[string]Measure{
		"AUC of positives":            AUC(ones, halves, nil),
		"AUC of negatives":            AUC([]float64{0, 0}, halves, nil),
		"AUC without weight":          AUC([]float64{0, 1}, halves, []float64{1, 0}),
		"precision without positives": AveragePrecision([]float64{0, 0}, halves, nil),
		"calibration without labels":  Calibration([]float64{0, 0}, halves, nil),
		"entropy of one class":        NormalisedEntropy(ones, halves, nil),
		"R2 of equal labels":          R2(ones, halves, nil),
		"ECE without bins":            ECE(ones, halves, 0, EqualWidth),
		"log loss without weight":     LogLoss(ones, halves, []float64{0, 0}),
	} {
		if !math.IsNaN(float64(got.Value)) || got.Rows != 2 || got.Excluded != 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for name, m := range allMetrics {
		if got := m(ones, nan, nil); got.Rows != 0 || got.Excluded != 2 || got.Value.Defined() {
			t.Errorf("%s of no finite score: %+v", name, got)
		}
	}
	if got := LogLoss(ones, halves, []float64{-1, math.NaN()}); got.Excluded != 2 {
		t.Errorf("rows of no weight are not excluded: %+v", got)
	}
}

func TestScoresOutsideTheirRangeAreClipped(t *testing.T) {
	near(t, "log loss", LogLoss([]float64{0, 1}, []float64{-3, 4}, nil).Value, -math.Log1p(-clip))
	near(t, "ECE", ECE([]float64{0, 1}, []float64{-3, 4}, 10, EqualWidth).Value, 3)
}

func TestUnequalColumnsPanic(t *testing.T) {
	defer func() {
		if got := recover(); got != "eval: 2 labels, 1 scores and 0 weights" {
			t.Errorf("recovered %v", got)
		}
	}()
	LogLoss([]float64{0, 1}, []float64{0.5}, nil)
}

func TestNumberInJSON(t *testing.T) {
	for want, n := range map[string]Number{"0.1": 0.1, "-2": -2, "1e-15": 1e-15, "null": Number(math.NaN())} {
		text, err := json.Marshal(n)
		if err != nil || string(text) != want {
			t.Errorf("%v is %s, %v, want %s", float64(n), text, err, want)
		}
		back := Number(7)
		if err := json.Unmarshal(text, &back); err != nil {
			t.Error(err)
		}
		near(t, want, back, float64(n))
	}
	if text, err := json.Marshal([]Number{Number(math.Inf(1)), Number(math.Inf(-1))}); err != nil || string(text) != "[null,null]" {
		t.Errorf("infinities are %s, %v", text, err)
	}
}

func TestStudentAgainstTables(t *testing.T) {
	for _, test := range []struct{ p, df, want float64 }{
		{0.95, 1, 6.313751514675}, {0.975, 1, 12.706204736175}, {0.99, 2, 6.964556734283}, {0.95, 7, 1.894578605062},
		{0.95, 9, 1.833112932654}, {0.975, 30, 2.042272456301}, {0.95, 1e6, 1.644855}, {0.5, 5, 0},
	} {
		within(t, "quantile", studentQuantile(test.p, test.df), test.want, 2e-6)
		within(t, "tail", studentTail(test.want, test.df), 1-test.p, 1e-7)
		within(t, "other tail", studentTail(-test.want, test.df), test.p, 1e-7)
	}
	within(t, "normal", normalQuantile(0.975), 1.959963984540054, 1e-12)
	within(t, "infinite", studentTail(math.Inf(1), 3), 0, 0)
	within(t, "minus infinite", studentTail(math.Inf(-1), 3), 1, 0)
	if lo, hi := Wilson(0, 0, 0.95); !math.IsNaN(lo) || !math.IsNaN(hi) {
		t.Errorf("the share of nothing lies between %v and %v", lo, hi)
	}
}
