package trainer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/trainer/eval"
)

const year = 365 * 24 * time.Hour

// judge judges the candidates whose rows are complete, oldest first.
func (l *Loop) judge(ctx context.Context, b *book) error {
	versions, err := l.cfg.Registry.Versions(ctx, b.model.Name)
	if err != nil {
		return err
	}
	for _, v := range slices.Backward(versions) { // they are newest first
		if v.State != registry.Judging {
			continue
		}
		if err := l.judgeOne(ctx, b, &v, versions); err != nil && !errors.Is(err, registry.ErrConflict) {
			return fmt.Errorf("version %d: %w", v.Number, err)
		}
	}
	return nil
}

func (l *Loop) judgeOne(ctx context.Context, b *book, v *registry.Version, versions []registry.Version) error {
	serving, err := l.cfg.Registry.Serving(ctx, b.model.Name)
	if err != nil {
		return err
	}
	if v.Number < serving.Champion {
		return l.cfg.Registry.Supersede(ctx, v.Model, v.Number, fmt.Sprintf("version %d, trained on more, serves", serving.Champion))
	}
	champion := championOf(versions, serving.Champion)
	rows := b.cohort(max(v.Cutoff, champion.Cutoff), b.model.Gate.Rows)
	if rows == nil {
		return nil // not yet
	}
	at := b.complete()
	if left, ok := b.model.Gate.Spent(judgedAt(versions), at); !ok {
		why := fmt.Sprintf("the budget of %v false promotions a year is spent (%.2f left); raise gate.false_per_year, or make fewer candidates", b.model.Gate.PerYear, left)
		return l.settle(ctx, v, &champion, at, &eval.Judgement{Verdict: eval.Inconclusive, Reasons: []string{why}})
	}
	cohort, err := l.cohort(b, v, &champion, rows)
	if err != nil {
		return err
	}
	j := eval.Judge(string(b.model.Task), b.model.Gate, b.model.Label.Horizon, cohort)
	if n := b.unansweredIn(rows[0].Time, rows[len(rows)-1].Time); n > 0 {
		j.Reasons = append(j.Reasons, fmt.Sprintf("%d predictions of the same time were never answered and are not judged on", n))
	}
	return l.settle(ctx, v, &champion, at, &j)
}

// championOf returns the version that serves; the base rate is version 0.
func championOf(versions []registry.Version, number int) registry.Version {
	for _, v := range versions {
		if v.Number == number {
			return v
		}
	}
	return registry.Version{}
}

// judgedAt are the event times of the judgements that spent from the budget.
func judgedAt(versions []registry.Version) []int64 {
	var at []int64
	for _, v := range versions {
		if v.Verdict != "" && v.Judged != 0 {
			at = append(at, v.Judged)
		}
	}
	return at
}

func (l *Loop) settle(ctx context.Context, v, champion *registry.Version, at int64, j *eval.Judgement) error {
	report, err := json.Marshal(j)
	if err != nil {
		return err
	}
	err = l.cfg.Registry.Judge(ctx, v.Model, v.Number, registry.Judgement{Verdict: string(j.Verdict), Reasons: j.Reasons, Report: report, Baseline: champion.Number, At: at})
	if err == nil {
		l.cfg.Log.Info("a candidate is judged", "model", v.Model, "version", v.Number, "verdict", j.Verdict, "against", champion.Number, "why", j.Reasons[0])
	}
	return err
}

// cohort scores the rows with both models, on the vectors that were served, and
// with the baselines.
func (l *Loop) cohort(b *book, v, champion *registry.Version, rows []row) (*eval.Cohort, error) {
	base, last := b.baselines(rows)
	c := &eval.Cohort{Baselines: map[string][]float64{"base_rate": base, "last_outcome": last}, Slices: map[string][]string{}}
	var err error
	if c.Candidate, err = l.scores(v.Bundle, rows); err != nil {
		return nil, err
	}
	if champion.Number == registry.BaseRateVersion {
		c.Champion = base
	} else if c.Champion, err = l.scores(champion.Bundle, rows); err != nil {
		return nil, err
	}
	for i := range rows {
		c.Time, c.Label = append(c.Time, rows[i].Time), append(c.Label, rows[i].label)
	}
	for _, column := range b.model.Gate.Slices {
		for i := range rows {
			c.Slices[column] = append(c.Slices[column], b.model.slice(column, &rows[i]))
		}
	}
	return c, nil
}

func (l *Loop) scores(id string, rows []row) ([]float64, error) {
	b, err := l.open(id)
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(rows))
	for i := range rows {
		if out[i], err = b.Score(rows[i].Vector); err != nil {
			return nil, fmt.Errorf("bundle %s: prediction %s: %w", id, rows[i].ID, err)
		}
	}
	return out, nil
}
