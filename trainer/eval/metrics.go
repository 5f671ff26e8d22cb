package eval

import (
	"fmt"
	"math"
	"slices"
)

// A Measure is the value of a metric over rows. Rows whose label, score or
// weight is not a finite number are left out and counted: averaged in, one of
// them would take the metric with it.
type Measure struct {
	Value    Number `json:"value"` // NaN: undefined, as over no rows
	Rows     int    `json:"rows"`  // that the value is over
	Excluded int    `json:"excluded"`
}

// clip keeps the logarithm of a probability finite: a sure prediction that is
// wrong costs -log(1e-15), about 34.5 nats.
const clip = 1e-15

// rows calls add with each row that counts. Without weights each weighs 1.
// Columns of unequal lengths are a programming error.
func rows(label, score, weight []float64, add func(y, p, w float64)) (m Measure) {
	if len(label) != len(score) || weight != nil && len(weight) != len(label) {
		panic(fmt.Sprintf("eval: %d labels, %d scores and %d weights", len(label), len(score), len(weight)))
	}
	for i, y := range label {
		w := 1.0
		if weight != nil {
			w = weight[i]
		}
		if !finite(y) || !finite(score[i]) || !finite(w) || w < 0 {
			m.Excluded++
			continue
		}
		m.Rows++
		add(y, score[i], w)
	}
	return m
}

// mean is the weighted mean of loss over the rows.
func mean(label, score, weight []float64, loss func(y, p float64) float64) Measure {
	var sum, total float64
	m := rows(label, score, weight, func(y, p, w float64) {
		sum += w * loss(y, p)
		total += w
	})
	m.Value = Number(sum / total)
	return m
}

// logLoss is the negative log likelihood of one label, in nats.
func logLoss(y, p float64) float64 {
	p = min(max(p, clip), 1-clip)
	return -(y*math.Log(p) + (1-y)*math.Log1p(-p))
}

func squaredError(y, p float64) float64 { return (y - p) * (y - p) }

// LogLoss is the mean negative log likelihood in nats. Labels are 0 or 1,
// scores are probabilities, clipped to [1e-15, 1 - 1e-15]. A nil weight weighs
// all rows alike, here and below.
func LogLoss(label, score, weight []float64) Measure {
	return mean(label, score, weight, logLoss)
}

// Brier is the mean squared difference of probability and label.
func Brier(label, score, weight []float64) Measure {
	return mean(label, score, weight, squaredError)
}

// MAE is the mean absolute error, in the label's unit.
func MAE(label, score, weight []float64) Measure {
	return mean(label, score, weight, func(y, p float64) float64 { return math.Abs(y - p) })
}

// RMSE is the root of the mean squared error, in the label's unit.
func RMSE(label, score, weight []float64) Measure {
	m := mean(label, score, weight, squaredError)
	m.Value = Number(math.Sqrt(float64(m.Value)))
	return m
}

// R2 is the share of the labels' variance that the scores explain: 1 for
// perfect scores, 0 for those no better than the mean, without a lower bound.
// It is undefined where all labels are equal.
func R2(label, score, weight []float64) Measure {
	var total, average float64
	rows(label, score, weight, func(y, _, w float64) {
		if w > 0 {
			total += w
			average += w / total * (y - average)
		}
	})
	var residual, variance float64
	m := rows(label, score, weight, func(y, p, w float64) {
		residual += w * squaredError(y, p)
		variance += w * squaredError(y, average)
	})
	m.Value = Undefined()
	if variance > 0 {
		m.Value = Number(1 - residual/variance)
	}
	return m
}

// Calibration is the sum of the scores over the sum of the labels: 1 where as
// much is predicted as happens, above where more is. It is undefined where the
// labels sum to nothing.
func Calibration(label, score, weight []float64) Measure {
	var predicted, happened float64
	m := rows(label, score, weight, func(y, p, w float64) {
		predicted += w * p
		happened += w * y
	})
	m.Value = Undefined()
	if happened != 0 {
		m.Value = Number(predicted / happened)
	}
	return m
}

// NormalisedEntropy is the log loss over that of always saying the base rate
// of the same rows (He et al. 2014, "Practical lessons from predicting clicks
// on ads at Facebook"): below 1 is better than the base rate. It is undefined
// for one class.
func NormalisedEntropy(label, score, weight []float64) Measure {
	rate := mean(label, score, weight, func(y, _ float64) float64 { return y })
	m := LogLoss(label, score, weight)
	q := float64(rate.Value)
	if !(q > 0 && q < 1) {
		m.Value = Undefined()
		return m
	}
	m.Value /= Number(logLoss(q, q))
	return m
}

// A ranked row, for metrics of order.
type ranked struct{ score, positive, negative float64 } // weights of either class

// rank returns the distinct scores in ascending order, each with the weight of
// its positive and of its negative rows, and both totals. A label of 0.5 or
// more is positive.
func rank(label, score, weight []float64) (all []ranked, positive, negative float64, m Measure) {
	m = rows(label, score, weight, func(y, p, w float64) {
		if y >= 0.5 {
			all = append(all, ranked{score: p, positive: w})
		} else {
			all = append(all, ranked{score: p, negative: w})
		}
	})
	slices.SortStableFunc(all, func(a, b ranked) int { return compare(a.score, b.score) })
	distinct := all[:0]
	for _, r := range all {
		positive += r.positive
		negative += r.negative
		if n := len(distinct); n > 0 && distinct[n-1].score == r.score {
			distinct[n-1].positive += r.positive
			distinct[n-1].negative += r.negative
			continue
		}
		distinct = append(distinct, r)
	}
	return distinct, positive, negative, m
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// AUC is the chance that a positive row scores above a negative one, ties
// counting half; weights multiply in pairs. It is undefined for one class.
func AUC(label, score, weight []float64) Measure {
	groups, positive, negative, m := rank(label, score, weight)
	var pairs, below float64 // below: weight of the negatives with lower scores
	for _, g := range groups {
		pairs += g.positive * (below + g.negative/2)
		below += g.negative
	}
	m.Value = Undefined()
	if positive > 0 && negative > 0 {
		m.Value = Number(pairs / (positive * negative))
	}
	return m
}

// AveragePrecision is the mean of the precision at each positive row, from the
// highest score down: the area under the precision-recall curve as steps. The
// trapezoid rule gives another number, which flatters. It is undefined without
// positive rows.
func AveragePrecision(label, score, weight []float64) Measure {
	groups, positive, _, m := rank(label, score, weight)
	var sum, hits, all float64
	for _, g := range slices.Backward(groups) {
		hits += g.positive
		all += g.positive + g.negative
		if g.positive > 0 {
			sum += g.positive * hits / all
		}
	}
	m.Value = Undefined()
	if positive > 0 {
		m.Value = Number(sum / positive)
	}
	return m
}
