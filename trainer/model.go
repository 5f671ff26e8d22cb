package trainer

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/eval"
	"github.com/millrace/millrace/trainer/learn"
)

// A Model is what is trained: what it sees, what the truth is, how it learns
// and what a candidate must show.
type Model struct {
	Name     string
	Task     learn.Task
	Inputs   []bundle.Input   // what it sees, in the order of vectors
	Entity   []features.Field // whom it is about: the entity fields of its views
	Label    feedback.Label   // with its defaults
	Learners []Learner        // with their defaults; at most one of a kind
	Train    Schedule
	Gate     eval.Gate
}

// maxGateRows bounds the rows of a gate. Those that come while their labels are
// awaited need room in memory as well.
const maxGateRows = maxWindow / 2

// CheckGate says what is wrong with a gate that has its defaults: by itself, and
// for what a trainer can hold of the rows that it asks for.
func (m *Model) CheckGate() error {
	if err := m.Gate.Check(); err != nil {
		return err
	}
	if m.Gate.Rows > maxGateRows {
		return fmt.Errorf("rows: %d: give at most %d; a trainer holds %d examples of a model, and others come while the labels of these are awaited", m.Gate.Rows, maxGateRows, maxWindow)
	}
	return nil
}

func (m *Model) binary() bool { return m.Task == learn.Binary }

// wait is how long after a prediction its label is final, in microseconds.
func (m *Model) wait() int64 { return (m.Label.Horizon + m.Label.Grace).Microseconds() }

// slice is a row's value of a column that a gate looks into.
func (m *Model) slice(column string, r *row) string {
	for _, e := range r.Entity {
		if e.Name == column {
			return e.Expr
		}
	}
	for i, in := range m.Inputs {
		if in.Name == column {
			return r.Vector[i].Text()
		}
	}
	return ""
}

// A row is one example.
type row struct {
	feedback.Prediction
	label     float64
	known     int64 // when the label became known, microseconds
	partition int
	offset    int64

	correction bool // another row had the prediction's label before
	corrected  bool // another row has it now
}

// A rowKey names a prediction. Its id alone does not where an entity joins: the
// join knows ids by key, and a caller may give two entities' predictions one id.
type rowKey struct{ entity, id string }

func (r *row) key() rowKey { return rowKey{r.entity(), r.ID} }

// entity is whom a row is about. The key of its prediction is not, where that is
// the prediction's id.
func (r *row) entity() string {
	if len(r.Entity) == 1 {
		return r.Entity[0].Expr
	}
	var all strings.Builder
	for _, e := range r.Entity {
		all.WriteString(strconv.Quote(e.Expr))
	}
	return all.String()
}

// vectors yields the rows' vectors.
func vectors(rows []*row) func(yield func([]features.Value) bool) {
	return func(yield func([]features.Value) bool) {
		for _, r := range rows {
			if !yield(r.Vector) {
				return
			}
		}
	}
}

// labelled yields the vectors and labels of rows.
func labelled(rows []*row) func(yield func([]features.Value, float64) bool) {
	return func(yield func([]features.Value, float64) bool) {
		for _, r := range rows {
			if !yield(r.Vector, r.label) {
				return
			}
		}
	}
}
