package trainer

import (
	"context"
	"encoding/json"
	"math"
	"slices"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/dataset"
	"github.com/millrace/millrace/trainer/eval"
	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/ftrl"
)

// goldenRows is how many rows a bundle carries with the scores that they must
// get: enough to meet every column's missing and extreme values now and then,
// few enough to be scored at each load.
const goldenRows = 32

// A report is what a training says of itself. Each learner fills in what it has.
type report struct {
	Examples  int     `json:"examples"`
	LabelMean float64 `json:"label_mean"`
	// Progressive validation: each row scored by what had been learned from the
	// labels known when it was asked.
	Progressive *eval.Number `json:"progressive_loss,omitempty"`
	// The loss on the newest rows by what was learned from those whose labels were
	// known before the first of them was asked.
	HeldOut  *eval.Number `json:"held_out_loss,omitempty"`
	BaseRate *eval.Number `json:"base_rate_loss,omitempty"` // on the same rows, from the same labels
	Rounds   int          `json:"rounds,omitempty"`         // of trees
	// Of a learner that is another program: what it says of itself, and the greatest
	// distance between its own predictions and ours, where it gave some.
	Program   json.RawMessage `json:"program,omitempty"`
	Agreement *float64        `json:"agreement,omitempty"`
}

// A fitted is what a learner has made of rows.
type fitted struct {
	transform *bundle.Transform
	model     learn.Model
	weights   string // the format of a model of another program
	report    report
}

// fit trains a candidate on rows, which are in the order of learning. It is a
// function of its arguments, as far as a program of the user's is: the same give
// the same bundle, byte for byte.
func fit(ctx context.Context, cfg *Config, m *Model, l *Learner, s *spec, rows []*row, summary *dataset.Summary) (*bundle.Contents, *report, error) {
	f, err := l.fit(ctx, cfg, m, rows)
	if err != nil {
		return nil, nil, err
	}
	r := &f.report
	r.Examples, r.LabelMean = len(rows), labelMean(rows)
	metrics, err := json.Marshal(r)
	if err != nil {
		return nil, nil, err
	}
	profile, err := json.Marshal(summary.Profile)
	if err != nil {
		return nil, nil, err
	}
	c := &bundle.Contents{
		Manifest: bundle.Manifest{
			Project: cfg.Project, Model: m.Name, Task: m.Task, Inputs: slices.Clone(m.Inputs), Learner: s.Learner, Weights: f.weights, Params: s.Params,
			Code: s.Code, Data: dataOf(s, rows), Metrics: metrics, Examples: len(rows),
		},
		Transform: f.transform, Model: f.model, Golden: golden(rows), Extra: map[string][]byte{profileFile: profile},
	}
	return c, r, nil
}

func (l *Learner) fit(ctx context.Context, cfg *Config, m *Model, rows []*row) (*fitted, error) {
	switch {
	case l.GBDT != nil:
		return fitTrees(ctx, m, l.GBDT, rows)
	case l.Exec != nil:
		return fitExec(ctx, cfg, m, l.Exec, rows)
	}
	return fitFTRL(m, l.FTRL, rows), nil
}

func fitFTRL(m *Model, p *ftrl.Params, rows []*row) *fitted {
	t := bundle.FitTransform(m.Inputs, vectors(rows), p.HashBits)
	learner := ftrl.New(m.Task, t.Dense(), *p)
	f := &fitted{transform: t, model: learner, report: progress(m, t, learner, rows)}
	var x learn.Row
	for range p.Epochs - 1 {
		for _, r := range rows {
			t.Row(&x, r.Vector)
			learner.Learn(x, r.label, 1)
		}
	}
	return f
}

// profileFile is the file of a bundle that holds the statistics of its training
// set, for what compares later data with it.
const profileFile = "profile.json"

func dataOf(s *spec, rows []*row) bundle.Data {
	d := bundle.Data{Topic: s.Topic, Ranges: s.Ranges, Window: s.Window, From: math.MaxInt64, To: math.MinInt64, Cutoff: s.Known}
	for _, r := range rows {
		d.From, d.To = min(d.From, r.Time), max(d.To, r.Time)
	}
	return d
}

// golden are rows from all over the training set.
func golden(rows []*row) [][]features.Value {
	n := min(goldenRows, len(rows))
	out := make([][]features.Value, n)
	for i := range n {
		out[i] = rows[i*len(rows)/n].Vector
	}
	return out
}

// progress is the first pass over the rows, with progressive validation under
// delay (Blum, Kalai and Langford 1999): a row is scored by what had been learned
// from the labels known when it was asked, and learned from when its own label
// became known. The transform is that of the whole set, so that the figure is
// honest about weights and not about scales: nothing is decided by it.
func progress(m *Model, t *bundle.Transform, learner learn.Learner, rows []*row) report {
	asked := slices.Clone(rows)
	slices.SortFunc(asked, byTime)
	labels, scores, base := make([]float64, len(rows)), make([]float64, len(rows)), make([]float64, len(rows))
	var x learn.Row
	var seen tally
	learned := func(r *row) {
		t.Row(&x, r.Vector)
		learner.Learn(x, r.label, 1)
		seen.add(r.label)
	}
	known := history{rows: rows}
	for i, r := range asked {
		known.until(r.Time, learned)
		t.Row(&x, r.Vector)
		labels[i], scores[i], base[i] = r.label, learner.Predict(x), seen.share(m.binary())
	}
	for _, r := range rows[known.next:] {
		learned(r)
	}
	return report{Progressive: meanLoss(m, labels, scores), BaseRate: meanLoss(m, labels, base)}
}

func meanLoss(m *Model, labels, scores []float64) *eval.Number {
	loss := eval.Measured(string(m.Task), labels, scores).Loss
	return &loss
}

func labelMean(rows []*row) float64 {
	var all tally
	for _, r := range rows {
		all.add(r.label)
	}
	return all.share(false)
}
