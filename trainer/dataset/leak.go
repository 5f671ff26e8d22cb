package dataset

import (
	"math"
	"slices"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/trainer/eval"
)

// minOfClass is how many rows of each class the leak test asks for: with fewer,
// one of many columns orders them by chance.
const minOfClass = 20

// leak returns how well column i alone tells the label: the AUC, or 1 minus it
// if that is more. Of a label that is not 0 or 1 it tells whether it is above
// the median. Missing values are left out, put below all others, and put above
// them, whichever tells most: that a value is there may be the leak. It returns
// 0 where there are too few rows to tell.
func (s *Summary) leak(i int) float64 {
	scores, labels := s.scores(i)
	most := tell(labels, scores, math.NaN())
	if slices.ContainsFunc(scores, math.IsNaN) {
		most = max(most, tell(labels, scores, -math.MaxFloat64), tell(labels, scores, math.MaxFloat64))
	}
	return most
}

// scores returns what column i says of the sampled rows, NaN where it is
// missing, and their labels as 0 or 1.
func (s *Summary) scores(i int) (scores, labels []float64) {
	rows := s.sample.rows
	if len(rows) == 0 {
		return nil, nil
	}
	labels = make([]float64, len(rows))
	middle := 0.5
	if !s.binary {
		middle = s.sample.median()
	}
	for r, label := range s.sample.labels {
		if label > middle {
			labels[r] = 1
		}
	}
	if s.Profile.Columns[i].Kind == expr.String.String() {
		return byText(rows, labels, i)
	}
	scores = make([]float64, len(rows))
	for r, row := range rows {
		scores[r] = number(row[i])
	}
	return scores, labels
}

// number returns a value as a double, NaN if it is missing.
func number(v features.Value) float64 {
	switch v.Kind {
	case expr.Bool, expr.Int, expr.Time:
		return float64(v.Int())
	case expr.Float:
		if finite(v.Float()) {
			return v.Float()
		}
	}
	return math.NaN()
}

// byText scores every other row by the mean label that the text of column i has
// in the rows between. A row must not score itself: of a column without two
// equal texts, each would give its own label away.
func byText(rows [][]features.Value, labels []float64, i int) (scores, scored []float64) {
	type sum struct{ labels, rows float64 }
	sums := make(map[string]sum)
	all := sum{}
	for r := 0; r < len(rows); r += 2 {
		of := sums[rows[r][i].Str]
		sums[rows[r][i].Str] = sum{of.labels + labels[r], of.rows + 1}
		all = sum{all.labels + labels[r], all.rows + 1}
	}
	for r := 1; r < len(rows); r += 2 {
		v := rows[r][i]
		of, known := sums[v.Str]
		switch {
		case v.Kind == expr.Missing:
			of = sum{math.NaN(), 1}
		case !known:
			of = all
		}
		scores, scored = append(scores, of.labels/of.rows), append(scored, labels[r])
	}
	return scores, scored
}

// tell returns the AUC of scores, or 1 minus it if that is more, with missing
// in the place of NaN. NaN leaves rows out.
func tell(labels, scores []float64, missing float64) float64 {
	var y, x []float64
	positive := 0.0
	for r, score := range scores {
		if math.IsNaN(score) {
			score = missing
		}
		if !math.IsNaN(score) {
			y, x = append(y, labels[r]), append(x, score)
			positive += labels[r]
		}
	}
	if min(positive, float64(len(y))-positive) < minOfClass {
		return 0
	}
	auc := float64(eval.AUC(y, x, nil).Value)
	return max(auc, 1-auc)
}
