package trainer

import (
	"context"
	"math"
	"slices"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/trainer/eval"
)

// Served is how the predictions did that a model's champions have answered, from
// the first one's first, beside what the base rate would have answered from the
// labels known at the time, and beside the first champion, had it stayed.
type Served struct {
	Rows         int         `json:"rows"`
	Champion     eval.Number `json:"champion"` // loss of what was served
	BaseRate     eval.Number `json:"base_rate"`
	First        eval.Number `json:"first"`
	Gain         eval.Bounds `json:"gain"`       // of the champion over the base rate, with one-sided bounds
	GainOfFirst  eval.Bounds `json:"gain_first"` // of the champion over the first
	AUC          eval.Number `json:"auc"`
	Confidence   float64     `json:"confidence"`
	FirstVersion int         `json:"first_version"`
}

// Served measures what has been served of a model and has its final label, over
// the examples that the loop has read and holds. Rows is 0 where no champion has
// answered anything yet.
func (l *Loop) Served(ctx context.Context, model string) (Served, error) {
	l.work.Lock()
	defer l.work.Unlock()
	b := l.find(model)
	if b == nil {
		return Served{}, nil // nothing was read
	}
	rows := b.served()
	if len(rows) == 0 {
		return Served{}, nil
	}
	first, err := l.cfg.Registry.Version(ctx, model, rows[0].Score.Version)
	if err != nil {
		return Served{}, err
	}
	stayed, err := l.open(first.Bundle)
	if err != nil {
		return Served{}, err
	}
	frozen, err := scores(stayed, rows)
	if err != nil {
		return Served{}, err
	}
	base, _ := b.baselines(rows)
	labels, champion, times := make([]float64, len(rows)), make([]float64, len(rows)), make([]int64, len(rows))
	for i, r := range rows {
		labels[i], champion[i], times[i] = r.label, r.Score.Value, r.Time
	}
	task := string(b.model.Task)
	s := Served{Rows: len(rows), FirstVersion: first.Number, Confidence: b.model.Gate.Confidence}
	quality := eval.Measured(task, labels, champion)
	s.Champion, s.AUC = quality.Loss, quality.AUC
	s.BaseRate, s.First = eval.Measured(task, labels, base).Loss, eval.Measured(task, labels, frozen).Loss
	s.Gain = b.model.gain(times, labels, base, champion)
	s.GainOfFirst = b.model.gain(times, labels, frozen, champion)
	return s, nil
}

// served are the rows that a champion has answered, by time: those whose label
// is final, so that quick labels do not count for more, and from before which
// nothing is forgotten, so that the base rate is that of then.
func (b *book) served() []*row {
	var rows []*row
	for _, r := range b.rows {
		if r.Score.Version != registry.BaseRateVersion && !r.corrected && b.decided(r.Time) && r.Time > b.forgotten {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, byTime)
	return rows
}

// gain is by how much the loss of worse exceeds that of better.
func (m *Model) gain(times []int64, labels, worse, better []float64) eval.Bounds {
	diffs, task := make([]float64, len(times)), string(m.Task)
	for i := range diffs {
		diffs[i] = eval.RowLoss(task, labels[i], worse[i]) - eval.RowLoss(task, labels[i], better[i])
	}
	g := m.Gate
	lo, mean, hi, err := eval.Interval(times, diffs, eval.Bootstrap{
		Confidence: g.Confidence, Block: max(g.Block, m.Label.Horizon), Periods: g.Periods, Replicates: g.Replicates, Seed: g.Seed,
	})
	if err != nil { // too few blocks
		lo, hi = math.NaN(), math.NaN()
	}
	return eval.Bounds{Lo: eval.Number(lo), Mean: eval.Number(mean), Hi: eval.Number(hi)}
}
