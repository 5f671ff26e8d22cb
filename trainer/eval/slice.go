package eval

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
)

// A SliceReport is what a gate saw of the rows with one value in one column.
type SliceReport struct {
	Column    string  `json:"column"`
	Value     string  `json:"value"`
	Rows      int     `json:"rows"`
	Positives int     `json:"positives"` // binary: labels of 1
	Times     int     `json:"times"`     // distinct
	Blocks    int     `json:"blocks"`
	Candidate Quality `json:"candidate"`
	Champion  Quality `json:"champion"`
	Gain      Bounds  `json:"gain"`
	Judged    bool    `json:"judged"`
	Why       string  `json:"why,omitempty"` // it is not judged
	P         Number  `json:"p"`             // of being worse by no more than the tolerance
	Adjusted  Number  `json:"adjusted"`      // the same after Holm over the judged slices
	Veto      bool    `json:"veto"`
}

// Slices beyond these are counted in a reason.
const (
	maxJudged = 100
	maxListed = 1000
)

// room returns how many slices are judged at most, and how many replicates a
// veto needs: a p-value of r replicates is at least 1/(r+1), and times so many
// slices, as Holm has it, that must not be above alpha. Else no slice could be
// bad enough.
func room(alpha float64) (judged, replicates int) {
	judged = min(maxJudged, int(alpha*maxReplicates+rounding))
	return judged, int(math.Ceil(float64(judged)/alpha - rounding))
}

// slice judges the slices. It returns how many there are beyond those listed.
func (j *Judgement) slice(task string, g Gate, b Bootstrap, c *Cohort, gains []float64) (dropped int) {
	parts, dropped := c.parts(g)
	var ps []float64
	var of []int
	most, _ := room(1 - g.Confidence)
	for _, p := range parts {
		report := p.study(task, g, b, c, gains, len(ps) < most)
		if report.Judged {
			ps, of = append(ps, float64(report.P)), append(of, len(j.Slices))
		}
		j.Slices = append(j.Slices, report)
	}
	adjusted, reject := Holm(ps, 1-g.Confidence)
	for k, i := range of {
		j.Slices[i].Adjusted, j.Slices[i].Veto = Number(adjusted[k]), reject[k]
	}
	j.inOrder(g)
	return dropped
}

// A part is the rows of one slice, in order.
type part struct {
	column, value string
	rows          []int
}

// parts returns the slices with the most rows first.
func (c *Cohort) parts(g Gate) (parts []part, dropped int) {
	for _, column := range g.Slices {
		byValue := make(map[string][]int)
		for i, value := range c.Slices[column] {
			byValue[value] = append(byValue[value], i)
		}
		for _, value := range sortedKeys(byValue) {
			parts = append(parts, part{column, value, byValue[value]})
		}
	}
	slices.SortStableFunc(parts, func(a, b part) int { return len(b.rows) - len(a.rows) })
	if dropped = len(parts) - maxListed; dropped > 0 {
		return parts[:maxListed], dropped
	}
	return parts, 0
}

// study measures a slice, and judges it where it is not too thin and there is
// room for it.
func (p part) study(task string, g Gate, b Bootstrap, c *Cohort, gains []float64, free bool) SliceReport {
	times, label, gain := pick(c.Time, p.rows), pick(c.Label, p.rows), pick(gains, p.rows)
	report := SliceReport{
		Column: p.column, Value: p.value, Rows: len(p.rows),
		Candidate: Measured(task, label, pick(c.Candidate, p.rows)),
		Champion:  Measured(task, label, pick(c.Champion, p.rows)),
		Gain:      Bounds{Undefined(), Undefined(), Undefined()}, P: Undefined(), Adjusted: Undefined(),
	}
	for _, y := range label {
		if task == binary && y == 1 {
			report.Positives++
		}
	}
	report.Gain.Mean = report.Champion.Loss - report.Candidate.Loss
	if len(p.rows) < g.MinSlice || !free {
		b.Replicates = 0 // the blocks are counted, no more
	}
	s := newStudy(times, gain, b)
	report.Times, report.Blocks = s.times, s.blocks
	most, replicates := room(1 - g.Confidence)
	switch {
	case len(p.rows) < g.MinSlice:
		report.Why = fmt.Sprintf("%d rows, and %d are needed", len(p.rows), g.MinSlice)
	case s.blocks < minBlocks:
		report.Why = fmt.Sprintf("%d blocks, and %d are needed", s.blocks, minBlocks)
	case !free:
		report.Why = fmt.Sprintf("only the %d slices with the most rows are judged", most)
	}
	if report.Why != "" {
		return report
	}
	lo, hi := s.bounds(g.Confidence)
	report.Gain = Bounds{Number(lo), Number(s.mean), Number(hi)}
	chance := s.below(-g.Tolerance)
	if chance <= 1-g.Confidence && b.Replicates < replicates { // a veto, if there are enough to tell
		b.Replicates = replicates
		s = newStudy(times, gain, b)
		chance = s.below(-g.Tolerance)
	}
	report.Judged, report.P = true, Number(chance)
	return report
}

func (j *Judgement) inOrder(g Gate) {
	slices.SortStableFunc(j.Slices, func(a, b SliceReport) int {
		return cmp.Or(slices.Index(g.Slices, a.Column)-slices.Index(g.Slices, b.Column), cmp.Compare(a.Value, b.Value))
	})
}

// sliceReasons says what each veto is about and how many slices are not judged,
// and reports whether there is a veto.
func (j *Judgement) sliceReasons(g Gate, dropped int) (vetoed bool) {
	var without []SliceReport
	for _, s := range j.Slices {
		if !s.Judged {
			without = append(without, s)
		}
	}
	for _, s := range j.Slices {
		if s.Veto {
			vetoed = true
			j.because("slice %s=%s: %s %.4f against the champion's %.4f on %d rows: worse by %.4f, more than the tolerance %v (p %v; %v by Holm, judged slices: %d)",
				s.Column, s.Value, j.Metric, s.Candidate.Loss, s.Champion.Loss, s.Rows, -s.Gain.Mean, g.Tolerance, s.P, s.Adjusted, len(j.Slices)-len(without))
		}
	}
	if len(without) > 0 {
		first := without[0]
		j.because("%d of %d slices are not judged; the first is %s=%s: %s", len(without), len(j.Slices), first.Column, first.Value, first.Why)
	}
	if dropped > 0 {
		j.because("%d slices beyond the %d with the most rows are not listed", dropped, maxListed)
	}
	return vetoed
}

func pick[T any](column []T, rows []int) []T {
	picked := make([]T, len(rows))
	for i, row := range rows {
		picked[i] = column[row]
	}
	return picked
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
