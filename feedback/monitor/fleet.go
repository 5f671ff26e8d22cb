package monitor

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
)

// A Fleet is the monitors of one model. It belongs to one goroutine, but for what
// Model.Aside says. What it
// returns is a function of what it was given up to each Tick and Passed, whatever
// the order and the batches.
//
// What it holds is bounded: of each unit counts and means of all columns, for up
// to 16,000 units or 64 MiB, and a sample of up to 1,000 rows (with many columns
// or units fewer, so that their values come to 256 MiB) for as long as a window
// and two references. A cell's counts are of the sample, and where units have more
// rows than that, each unit counts alike.
type Fleet struct {
	config            Config
	model             Model
	every             int64 // microseconds
	window, reference int64 // units
	wait              int64 // horizon and grace, microseconds
	setting           setting

	counts Counts
	alarms ledger
	seen   *seen
	told   *told
}

// New returns the monitors of a model, which have seen nothing. The config has its
// defaults and passes Check.
func New(c Config, m Model) (*Fleet, error) {
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("monitor: model %s: %w", m.Name, err)
	}
	if err := m.check(c); err != nil {
		return nil, fmt.Errorf("monitor: model %s: %w", m.Name, err)
	}
	f := &Fleet{
		config: c, model: m, every: c.Every.Microseconds(),
		window: int64(c.Window / c.Every), reference: int64(c.Reference / c.Every),
		wait: (m.Horizon + m.Grace).Microseconds(),
	}
	f.setting = setting{
		distance: c.Distance, window: int(f.window), reference: int(f.reference),
		// A window should lie within one block now and then, as in what comes it does.
		block: int((c.Block + c.Every - 1) / c.Every),
		looks: int(c.stretch() / c.Every), factor: math.Log(c.Factor), square: c.Factor * c.Factor,
		work: maxWork, stretches: usualStretches, seed: c.Seed,
	}
	if f.model.Aside == nil {
		f.model.Aside = func(do func()) { do() }
	}
	f.alarms = ledger{model: m.Name, every: c.Every, open: map[monitorName]*raised{}}
	f.seen = newSeen(f)
	f.told = newTold(f)
	return f, nil
}

// check says what is wrong with a model.
func (m *Model) check(c Config) error {
	if m.Name == "" {
		return errors.New("it has no name")
	}
	if len(m.Inputs)+2 > MaxColumns {
		return fmt.Errorf("%d inputs: give at most %d", len(m.Inputs), MaxColumns-2)
	}
	if m.Horizon < 0 || m.Grace < 0 {
		return fmt.Errorf("a horizon of %v and a grace of %v: give none below 0", m.Horizon, m.Grace)
	}
	names := map[string]bool{ScoreColumn: true, LabelColumn: true}
	for _, in := range m.Inputs {
		if names[in.Name] {
			return fmt.Errorf("input %q is there twice, or is named as the scores or labels are", in.Name)
		}
		names[in.Name] = true
	}
	for _, name := range c.Std {
		i := slices.IndexFunc(m.Inputs, func(f features.Field) bool { return f.Name == name })
		if i < 0 {
			return fmt.Errorf("std: %q is not a feature of the model", name)
		}
		if m.Inputs[i].Kind == expr.String {
			return fmt.Errorf("std: %q is a text, which has no deviation", name)
		}
	}
	for _, name := range m.Slices {
		i := slices.IndexFunc(m.Inputs, func(f features.Field) bool { return f.Name == name })
		if i < 0 && !slices.Contains(m.Entity, name) || i >= 0 && !isText(m.Inputs[i].Kind) {
			return fmt.Errorf("slices: %q is no entity field of the model, and no feature of it that is a text or a bool", name)
		}
	}
	return nil
}

// Predicted takes a prediction of the model, in any order. It keeps nothing of p.
func (f *Fleet) Predicted(p *feedback.Prediction) {
	if !f.ours(p) {
		f.counts.Foreign++
		return
	}
	f.seen.predicted(p)
}

// ours reports whether a prediction is about the model's inputs.
func (f *Fleet) ours(p *feedback.Prediction) bool {
	return p.Set == f.model.Set && len(p.Vector) == len(f.model.Inputs)
}

// Known takes an example of the model: a label, a correction, or that there is
// none. They come in any order. It keeps nothing of e.
func (f *Fleet) Known(e *feedback.Example) {
	if f.ours(&e.Prediction) {
		f.told.known(e)
	}
}

// Tick says that all predictions up to t, in microseconds, were given. It looks at
// features and scores at the end of each unit up to there, and returns the alarms
// that began, grew worse or ended since the last call of Tick or Passed.
func (f *Fleet) Tick(t int64) []Alarm {
	f.seen.tick(t)
	return f.alarms.take()
}

// Passed says that all labels that became known up to t, in microseconds, were
// given. It is to labels and quality what Tick is to the rest: a unit is looked at
// once its end, the horizon and the grace have passed.
func (f *Fleet) Passed(t int64) []Alarm {
	f.told.passed(t)
	return f.alarms.take()
}

// floorDiv is the greatest whole number that is not above a/b; b > 0.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func compareInt(a, b int64) int { return cmp.Compare(a, b) }
