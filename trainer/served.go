package trainer

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/trainer/bundle"
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

// Served measures what has been served of a model, over the examples that the
// loop has read. Rows is 0 where no champion has answered anything yet.
func (l *Loop) Served(ctx context.Context, model string) (Served, error) {
	i := slices.IndexFunc(l.books, func(b *book) bool { return b.model.Name == model })
	if i < 0 {
		return Served{}, nil // nothing was read
	}
	b := l.books[i]
	rows := b.served()
	if len(rows) == 0 {
		return Served{}, nil
	}
	first, err := l.cfg.Registry.Version(ctx, model, rows[0].Score.Version)
	if err != nil {
		return Served{}, err
	}
	firstBundle, err := bundle.Open(l.cfg.Bundles, first.Bundle, l.cfg.Trusted)
	if err != nil {
		return Served{}, err
	}
	base, _ := b.baselines(rows)
	labels, champion, frozen := make([]float64, len(rows)), make([]float64, len(rows)), make([]float64, len(rows))
	times := make([]int64, len(rows))
	for i := range rows {
		labels[i], champion[i], times[i] = rows[i].label, rows[i].Score.Value, rows[i].Time
		if frozen[i], err = firstBundle.Score(rows[i].Vector); err != nil {
			return Served{}, fmt.Errorf("trainer: version %d: prediction %s: %w", first.Number, rows[i].ID, err)
		}
	}
	task := string(b.model.Task)
	s := Served{Rows: len(rows), FirstVersion: first.Number, Confidence: b.model.Gate.Confidence}
	quality := eval.Measured(task, labels, champion)
	s.Champion, s.AUC = quality.Loss, quality.AUC
	s.BaseRate, s.First = eval.Measured(task, labels, base).Loss, eval.Measured(task, labels, frozen).Loss
	s.Gain = b.gain(times, labels, base, champion)
	s.GainOfFirst = b.gain(times, labels, frozen, champion)
	return s, nil
}

// served are the rows that a champion has answered, by time.
func (b *book) served() []row {
	var rows []row
	for _, r := range b.rows {
		if r.Score.Version != registry.BaseRateVersion {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, byTime)
	return rows
}

// gain is by how much the loss of b exceeds that of a, with the gate's bounds.
func (b *book) gain(times []int64, labels, worse, better []float64) eval.Bounds {
	diffs := make([]float64, len(times))
	for i := range diffs {
		task := string(b.model.Task)
		diffs[i] = eval.RowLoss(task, labels[i], worse[i]) - eval.RowLoss(task, labels[i], better[i])
	}
	g := b.model.Gate
	lo, mean, hi, err := eval.Interval(times, diffs, eval.Bootstrap{
		Confidence: g.Confidence, Block: max(g.Block, b.model.Label.Horizon), Periods: g.Periods, Replicates: g.Replicates, Seed: g.Seed,
	})
	if err != nil { // too few blocks
		lo, hi = math.NaN(), math.NaN()
	}
	return eval.Bounds{Lo: eval.Number(lo), Mean: eval.Number(mean), Hi: eval.Number(hi)}
}
