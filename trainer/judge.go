package trainer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/eval"
)

// judge judges the candidates whose rows are complete, oldest first, each once.
func (l *Loop) judge(ctx context.Context, b *book) error {
	waiting, err := l.waiting(ctx, b)
	if err != nil {
		return err
	}
	for i := range waiting {
		v := &waiting[i]
		if err := l.judgeOne(ctx, b, v); err != nil && !errors.Is(err, registry.ErrConflict) { // else another trainer was first
			return fmt.Errorf("version %d: %w", v.Number, err)
		}
	}
	return nil
}

// waiting are the candidates that are not judged yet, oldest first. The book
// holds what they will be judged on.
func (l *Loop) waiting(ctx context.Context, b *book) ([]registry.Version, error) {
	waiting, err := l.cfg.Registry.VersionsIn(ctx, b.model.Name, registry.Judging)
	b.hold = math.MaxInt64
	for _, v := range waiting {
		b.hold = min(b.hold, v.Cutoff)
	}
	return waiting, err
}

func (l *Loop) judgeOne(ctx context.Context, b *book, v *registry.Version) error {
	serving, err := l.cfg.Registry.Serving(ctx, b.model.Name)
	if err != nil {
		return err
	}
	var champion registry.Version // the base rate is version 0
	if serving.Champion != registry.BaseRateVersion {
		if champion, err = l.cfg.Registry.Version(ctx, v.Model, serving.Champion); err != nil {
			return err
		}
	}
	rows, lost := b.cohort(max(v.Cutoff, champion.Cutoff))
	if lost {
		return l.giveUp(ctx, v, champion.Number, "the rows that it is to be judged on are no longer held: more than %d examples came before the first %d were complete; lower gate.rows or the label's horizon, or make the window larger",
			len(b.rows), b.model.Gate.Rows)
	}
	if rows == nil {
		return nil // not yet
	}
	return l.judgeOn(ctx, b, v, &champion, rows)
}

// judgeOn judges a candidate on its cohort, as of the time at which that was
// complete: it does not matter when one comes to it.
func (l *Loop) judgeOn(ctx context.Context, b *book, v, champion *registry.Version, rows []*row) error {
	at := rows[len(rows)-1].Time + b.model.wait()
	left, ok, err := l.budget(ctx, b.model, at)
	if err != nil {
		return err
	}
	if !ok {
		return l.giveUp(ctx, v, champion.Number, "the budget of %v false promotions a year is spent (%.2f left): raise gate.false_per_year, or make fewer candidates", b.model.Gate.PerYear, left)
	}
	// It is opened anew: what was deleted or damaged since it was trained shows.
	keys, err := l.cfg.Trusted()
	if err != nil {
		return err
	}
	candidate, err := bundle.Open(l.cfg.Bundles, v.Bundle, keys)
	switch {
	case aboutFiles(err), errors.Is(err, bundle.ErrUntrusted): // both may pass
		return err
	case err != nil:
		l.cfg.Log.Error("a candidate cannot be loaded and is not judged", "model", v.Model, "version", v.Number, "error", err)
		return l.cfg.Registry.Break(ctx, v.Model, v.Number, err.Error())
	case candidate.Manifest().Set != b.set:
		return l.cfg.Registry.Supersede(ctx, v.Model, v.Number, fmt.Sprintf("it is for the features %s, and the project now defines %s", candidate.Manifest().Set, b.set))
	}
	cohort, notes, err := l.cohort(b, candidate, champion, rows)
	if err != nil {
		return err
	}
	j := eval.Judge(string(b.model.Task), b.model.Gate, b.model.Label.Horizon, cohort)
	j.Reasons = append(j.Reasons, notes...)
	if j.Importance, err = importances(b.model, candidate, rows); err != nil {
		j.Reasons = append(j.Reasons, fmt.Sprintf("how much each input matters is not known: %v", err))
	}
	for _, in := range b.model.Inputs {
		j.Inputs = append(j.Inputs, in.Name)
	}
	report, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return l.settle(ctx, v, registry.Judgement{Verdict: string(j.Verdict), Reasons: j.Reasons, Report: report, Baseline: champion.Number, At: at})
}

// budget says what is left of false promotions at a time, and whether there may
// be another judgement. One that was given up has looked at nothing, and has
// spent nothing: it has no time.
func (l *Loop) budget(ctx context.Context, m *Model, at int64) (left float64, ok bool, err error) {
	judged, err := l.cfg.Registry.JudgedAt(ctx, m.Name)
	if err != nil {
		return 0, false, err
	}
	left, ok = m.Gate.Spent(judged, at)
	return left, ok, nil
}

// giveUp ends a candidate that cannot be judged.
func (l *Loop) giveUp(ctx context.Context, v *registry.Version, champion int, format string, args ...any) error {
	return l.settle(ctx, v, registry.Judgement{Verdict: string(eval.Inconclusive), Reasons: []string{"it is not judged: " + fmt.Sprintf(format, args...)}, Baseline: champion})
}

func (l *Loop) settle(ctx context.Context, v *registry.Version, j registry.Judgement) error {
	if err := l.cfg.Registry.Judge(ctx, v.Model, v.Number, j); err != nil {
		return err
	}
	l.cfg.Log.Info("a candidate is judged", "model", v.Model, "version", v.Number, "verdict", j.Verdict, "against", j.Baseline, "why", j.Reasons[0])
	return nil
}

// cohort scores the rows with both models, on the vectors that were served, and
// with the baselines. Notes say what else one has to know of it.
func (l *Loop) cohort(b *book, candidate *bundle.Bundle, champion *registry.Version, rows []*row) (c *eval.Cohort, notes []string, err error) {
	base, last := b.baselines(rows)
	c = &eval.Cohort{Champion: base, Baselines: map[string][]float64{"base_rate": base, "last_outcome": last}, Slices: map[string][]string{}}
	if c.Candidate, err = scores(candidate, rows); err != nil {
		return nil, nil, err
	}
	if champion.Number != registry.BaseRateVersion {
		serves, err := l.open(champion.Bundle)
		if err != nil {
			return nil, nil, fmt.Errorf("version %d, which serves: %w", champion.Number, err)
		}
		if set := serves.Manifest().Set; set != b.set {
			notes = append(notes, fmt.Sprintf("version %d is for the features %s and cannot score these rows; the base rate, which answers in its place, stands for it", champion.Number, set))
		} else if c.Champion, err = scores(serves, rows); err != nil {
			return nil, nil, err
		}
	}
	for _, r := range rows {
		c.Time, c.Label = append(c.Time, r.Time), append(c.Label, r.label)
	}
	for _, column := range b.model.Gate.Slices {
		for _, r := range rows {
			c.Slices[column] = append(c.Slices[column], b.model.slice(column, r))
		}
	}
	if n := b.unansweredIn(rows[0].Time, rows[len(rows)-1].Time); n > 0 {
		notes = append(notes, fmt.Sprintf("%d predictions of the same time were never answered and are not judged on", n))
	}
	return c, notes, nil
}

func scores(b *bundle.Bundle, rows []*row) ([]float64, error) {
	out := make([]float64, len(rows))
	for i, r := range rows {
		var err error
		if out[i], err = b.Score(r.Vector); err != nil {
			return nil, fmt.Errorf("bundle %.12s: prediction %s: %w", b.ID(), r.ID, err)
		}
	}
	return out, nil
}

// maxExplained is how many of a cohort's rows are explained: with trees one costs
// as much as many predictions.
const maxExplained = 1000

// importances says which inputs matter to a candidate, over some of the rows that
// it was judged on; none where the model cannot say.
func importances(m *Model, candidate *bundle.Bundle, rows []*row) ([]eval.Importance, error) {
	n := min(len(rows), maxExplained)
	parts, values := make([][]float64, n), map[string][]string{}
	for i := range n {
		r := rows[i*len(rows)/n]
		e, err := candidate.Explain(r.Vector)
		if errors.Is(err, bundle.ErrNoExplanation) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("bundle %.12s: prediction %s: %w", candidate.ID(), r.ID, err)
		}
		parts[i] = e.ByInput
		for _, column := range m.Gate.Slices {
			values[column] = append(values[column], m.slice(column, r))
		}
	}
	return eval.Importances(parts, m.Gate.Slices, values, minExplained), nil
}

// minExplained is the rows of a slice below which its importance is not told.
const minExplained = 30
