package gbdt

import (
	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/trees"
)

// margins returns those of the rows of s, class by class: the base and the
// leaves, added in the order of the trees, as they are while the trees grow.
func margins(e *trees.Ensemble, task learn.Task, s *sample, threads int) ([][]float64, error) {
	m := make([][]float64, len(e.Base))
	for k := range m {
		m[k] = make([]float64, len(s.label))
	}
	return m, addMargins(m, e, task, s, threads)
}

// addMargins adds what the ensemble has for the rows of s to m.
func addMargins(m [][]float64, e *trees.Ensemble, task learn.Task, s *sample, threads int) error {
	model, err := trees.New(e, task)
	if err != nil {
		return err
	}
	chunks(threads, len(s.label), func(_, lo, hi int) {
		row := make([]float64, 0, len(m))
		for i := lo; i < hi; i++ {
			row = model.Margins(row[:0], s.x(i))
			for k, v := range row {
				m[k][i] += v
			}
		}
	})
	return nil
}
