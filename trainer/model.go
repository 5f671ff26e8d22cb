package trainer

import (
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/eval"
	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/ftrl"
)

// A Model is what is trained: what it sees, what the truth is, how it learns
// and what a candidate must show.
type Model struct {
	Name   string
	Task   learn.Task
	Inputs []bundle.Input   // what it sees, in the order of vectors
	Entity []features.Field // whom it is about: the entity fields of its views
	Label  feedback.Label   // with its defaults
	FTRL   ftrl.Params
	Train  Schedule
	Gate   eval.Gate
}

func (m *Model) binary() bool { return m.Task == learn.Binary }
