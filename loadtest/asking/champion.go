package asking

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/deploy/serve"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/gbdt"
	"github.com/millrace/millrace/trainer/learn/trees"
)

const (
	rowsEach = 4  // rows to train with of each symbol
	golden   = 32 // rows that a bundle carries with their scores
)

// Grown says what serves.
type Grown struct {
	Features int `json:"features"`
	Trees    int `json:"trees"`
	Leaves   int `json:"leaves"` // of all trees
	Rows     int `json:"rows"`   // that they were grown on
}

// Champion grows the project's trees on rows like those of the symbols, writes
// the bundle, and brings it into service as the registry's version 1.
func (w *World) Champion(ctx context.Context, symbols []string) (*Grown, error) {
	began, m := time.Now(), w.Project.Model(model)
	seen, err := w.vectors(ctx, symbols)
	if err != nil {
		return nil, err
	}
	x, labels := rows(seen)
	transform := bundle.FitCategories(m.Inputs, slices.Values(x))
	d := &gbdt.Data{Features: len(m.Inputs), Categories: transform.Categories(), Label: labels}
	for _, in := range m.Inputs {
		d.Names = append(d.Names, in.Name)
	}
	var row learn.Row
	for i := range x {
		transform.Row(&row, x[i])
		d.X = append(d.X, row.Dense...)
	}
	params := m.Learners[0].GBDT
	e, _, err := gbdt.Train(ctx, *params, m.Task, d, nil, min(runtime.GOMAXPROCS(0), 64), nil)
	if err != nil {
		return nil, err
	}
	scorer, err := trees.New(e, m.Task)
	if err != nil {
		return nil, err
	}
	c := &bundle.Contents{Transform: transform, Model: scorer, Golden: x[:min(golden, len(x))]}
	c.Manifest = bundle.Manifest{
		Project: w.Project.Name, Model: m.Name, Task: m.Task, Inputs: m.Inputs, Learner: m.Learners[0].Name(), Seed: params.Seed,
		Code: "bench", Examples: len(x), Metrics: json.RawMessage("{}"), Data: bundle.Data{Topic: feedback.ExamplesTopic(w.Project.Name)},
	}
	if c.Manifest.Params, err = json.Marshal(params); err != nil {
		return nil, err
	}
	g := &Grown{Features: len(m.Inputs), Trees: len(e.Trees), Rows: len(x)}
	for i := range e.Trees {
		g.Leaves += (len(e.Trees[i].Nodes) + 1) / 2
	}
	return g, w.crown(ctx, c, began)
}

// vectors returns what the model sees of each symbol.
func (w *World) vectors(ctx context.Context, symbols []string) ([][]features.Value, error) {
	q := &serve.Query{AsOf: features.NoTime, FullNames: true, Entities: []serve.Column{{Name: entity}}}
	for _, s := range symbols {
		q.Entities[0].Cells = append(q.Entities[0].Cells, expr.StringValue(s))
	}
	for _, in := range w.Project.Model(model).Inputs {
		q.Features = append(q.Features, strings.Replace(in.Name, ".", ":", 1))
	}
	var v serve.Vectors
	if err := serve.NewLookup(w.Project.Name, w.Project.Plans, w.Store, time.Now).Read(ctx, q, &v); err != nil {
		return nil, err
	}
	out := make([][]features.Value, len(symbols))
	for row := range out {
		for c := range q.Features {
			x, _ := v.Value(row, c)
			out[row] = append(out[row], x)
		}
	}
	return out, nil
}

// rows are seen vectors whose numbers are moved by about a tenth, and labels that
// depend on all of them, so that trees grow to their full depth.
func rows(seen [][]features.Value) (x [][]features.Value, labels []float64) {
	r := rand.New(rand.NewPCG(7, 0))
	for i := range rowsEach * len(seen) {
		row, z := slices.Clone(seen[i%len(seen)]), 0.0
		for c, v := range row {
			n, ok := v.Number()
			if !ok {
				continue
			}
			if v.Kind == expr.Float {
				n *= math.Exp(0.1 * r.NormFloat64())
				row[c] = expr.FloatValue(n)
			}
			z += math.Sin(3*math.Log1p(math.Abs(n)) + float64(c))
		}
		label := 0.0
		if r.Float64() < 1/(1+math.Exp(-z/2)) {
			label = 1
		}
		x, labels = append(x, row), append(labels, label)
	}
	return x, labels
}

// crown writes a bundle and takes it through the states that lead into service.
func (w *World) crown(ctx context.Context, c *bundle.Contents, began time.Time) error {
	keys, err := bundle.OpenKeys(w.Project.KeysDir())
	if err != nil {
		return err
	}
	id, err := bundle.Write(w.Project.ModelsDir(), c, keys.Private())
	if err != nil {
		return err
	}
	run := registry.Run{Model: model, Status: registry.Trained, Began: began, Ended: time.Now(), Spec: json.RawMessage(`{"learner":"gbdt"}`), Bundle: id}
	if run, err = w.Registry.AddRun(ctx, run, &registry.Version{Author: "bench"}); err != nil {
		return err
	}
	judged := registry.Judgement{Verdict: "promote", Reasons: []string{"to be measured"}, Report: json.RawMessage("{}"), At: time.Now().UnixMicro()}
	if err := w.Registry.Judge(ctx, model, run.Version, judged); err != nil {
		return err
	}
	if err := w.Registry.Approve(ctx, model, run.Version, "reviewer", "to be measured"); err != nil {
		return err
	}
	rollout, err := w.Registry.Begin(ctx, model, run.Version, nil)
	if err != nil {
		return err
	}
	if err := w.Registry.Switch(ctx, rollout.ID, nil); err != nil {
		return err
	}
	if err := w.Registry.Finish(ctx, rollout.ID, nil); err != nil {
		return fmt.Errorf("version %d: %w", run.Version, err)
	}
	return nil
}
