package trainer

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/gbdt"
	"github.com/millrace/millrace/trainer/learn/trees"
)

const (
	// heldOut is the share of the rows, the newest, that tell how many trees to grow.
	heldOut = 0.2
	// minHeldOut is the least number of rows on either side of that line: a loss of
	// fewer says little of where it is least.
	minHeldOut = 50
	// maxThreads bounds those that grow trees: with each comes memory, and more are
	// hardly quicker.
	maxThreads = 64
)

// fitTrees grows trees. How many is found on the newest fifth of the rows, by
// trees grown on those whose labels were known before the first of that fifth was
// asked; then so many are grown on all rows.
func fitTrees(ctx context.Context, m *Model, p *gbdt.Params, rows []*row) (*fitted, error) {
	t := bundle.FitCategories(m.Inputs, vectors(rows))
	var r report
	rounds, err := r.findRounds(ctx, m, p, t, rows)
	if err != nil {
		return nil, err
	}
	final := *p
	final.Trees = rounds
	model, err := grow(ctx, m, &final, t, rows, nil)
	if err != nil {
		return nil, err
	}
	return &fitted{transform: t, model: model, report: r}, nil
}

// findRounds returns how many rounds are best, and reports what was seen on the
// way.
func (r *report) findRounds(ctx context.Context, m *Model, p *gbdt.Params, t *bundle.Transform, rows []*row) (int, error) {
	past, held := split(rows)
	if len(past) < minHeldOut || len(held) < minHeldOut {
		return 0, fmt.Errorf("gbdt: of %d examples %d were known before the newest %d were asked; give at least %d of each, to tell how many trees to grow: make train.every larger, or the label's horizon shorter", len(rows), len(past), len(held), minHeldOut)
	}
	model, err := grow(ctx, m, p, t, past, held)
	if err != nil {
		return 0, err
	}
	var before tally
	labels, scores, base := make([]float64, len(held)), make([]float64, len(held)), make([]float64, len(held))
	for _, x := range past {
		before.add(x.label)
	}
	var x learn.Row
	for i, h := range held {
		t.Row(&x, h.Vector)
		labels[i], scores[i], base[i] = h.label, model.Predict(x), before.share(m.binary())
	}
	r.Rounds = max(1, len(model.Ensemble().Trees)) // none is better than the mean on those rows; one of all rows is nearly it
	r.HeldOut, r.BaseRate = meanLoss(m, labels, scores), meanLoss(m, labels, base)
	return r.Rounds, nil
}

// split returns the newest rows by the time at which they were asked, and those
// whose labels were known before. Rows of one time are together.
func split(rows []*row) (past, held []*row) {
	asked := slices.Clone(rows)
	slices.SortFunc(asked, byTime)
	from := asked[len(asked)-int(float64(len(asked))*heldOut)-1].Time
	for _, r := range rows {
		switch {
		case r.Time >= from:
			held = append(held, r)
		case r.known <= from:
			past = append(past, r)
		}
	}
	return past, held
}

// grow grows trees on rows, which stop where the held-out rows say; nil: they
// grow to the last.
func grow(ctx context.Context, m *Model, p *gbdt.Params, t *bundle.Transform, rows, held []*row) (*trees.Model, error) {
	var valid *gbdt.Data
	if held != nil {
		valid = matrix(m, t, held)
	}
	e, _, err := gbdt.Train(ctx, *p, m.Task, matrix(m, t, rows), valid, min(runtime.GOMAXPROCS(0), maxThreads), nil)
	if err != nil {
		return nil, err
	}
	return trees.New(e, m.Task)
}

// matrix returns rows as trees learn from them.
func matrix(m *Model, t *bundle.Transform, rows []*row) *gbdt.Data {
	d := &gbdt.Data{Features: len(m.Inputs), Categories: t.Categories(), X: make([]float64, 0, len(rows)*len(m.Inputs)), Label: make([]float64, len(rows))}
	for _, in := range m.Inputs {
		d.Names = append(d.Names, in.Name)
	}
	var x learn.Row
	for i, r := range rows {
		t.Row(&x, r.Vector)
		d.X = append(d.X, x.Dense...)
		d.Label[i] = r.label
	}
	return d
}
