package gbdt

import (
	"fmt"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/learntest"
	"github.com/millrace/millrace/trainer/learn/trees"
)

func dataOf(t *learntest.Table) *Data {
	return &Data{Features: t.Features, Categories: t.Categories, X: t.X, Label: t.Label, Weight: t.Weight}
}

func TestLearner(t *testing.T) {
	for _, c := range []struct {
		name string
		task learn.Task
		p    Params
	}{
		{"defaults", learn.Binary, Params{}},
		{"defaults", learn.Regression, Params{}},
		{"deep and few bins", learn.Binary, Params{Depth: 9, Bins: 30}},
		{"a third at once", learn.Regression, Params{Rate: 0.3, Lambda: 0.1, MinChild: 0.5, MinGain: 1e-3}},
	} {
		p, task := c.p.WithDefaults(), c.task
		model := func(e *trees.Ensemble, err error) (learn.Model, error) {
			if err != nil {
				return nil, err
			}
			return trees.New(e, task)
		}
		learntest.RunBatch(t, fmt.Sprintf("%s, %s", task, c.name), learntest.Batch{
			Task: task,
			Train: func(table *learntest.Table, rounds, threads int) (learn.Model, error) {
				p.Trees = rounds
				e, _, err := Train(t.Context(), p, task, dataOf(table), nil, threads, nil)
				return model(e, err)
			},
			Continue: func(m learn.Model, table *learntest.Table, rounds, threads int) (learn.Model, error) {
				p.Trees = rounds
				e, _, err := Continue(t.Context(), m.(*trees.Model).Ensemble(), p, task, dataOf(table), nil, threads, nil)
				return model(e, err)
			},
			Fresh: func() learn.Model { return new(trees.Model) },
		})
	}
}
