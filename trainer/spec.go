package trainer

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
)

// A spec is all that determines a candidate. As JSON it is the registry's
// Run.Spec, which is unique, so that a training that was done is not done again.
type spec struct {
	Model    string          `json:"model"`
	Task     learn.Task      `json:"task"`
	Set      string          `json:"set"`
	Features []string        `json:"features"`
	Label    string          `json:"label"`
	Learner  string          `json:"learner"`
	Params   json.RawMessage `json:"params"`
	Code     string          `json:"code"`
	Topic    string          `json:"topic"`
	Ranges   []bundle.Range  `json:"ranges"`
	Window   int             `json:"window"` // the newest so many examples
	Known    int64           `json:"known"`  // of those that were known at this time, microseconds
}

// specOf returns the spec of a learner's candidate of the model as it is now,
// from rows known at a time.
func specOf(cfg *Config, m *Model, l *Learner, ranges []bundle.Range, known int64) (*spec, error) {
	params, err := l.params()
	if err != nil {
		return nil, err
	}
	s := &spec{
		Model: m.Name, Task: m.Task, Set: bundle.SetID(m.Inputs), Learner: l.Name(), Params: params,
		Label: fmt.Sprintf("%s %s %s within %v", m.Label.Source, m.Label.Join, m.Label.Value, m.Label.Horizon),
		Code:  cfg.Code, Topic: feedback.ExamplesTopic(cfg.Project), Ranges: ranges, Window: m.Train.Window, Known: known,
	}
	for _, in := range m.Inputs {
		s.Features = append(s.Features, in.Name)
	}
	return s, nil
}

// A pastRun is what matters of a run to the next.
type pastRun struct {
	known   int64 // what it learned from was known then
	learner string
	bundle  string // empty: it made none

	// The examples that it learned from.
	set    string
	ranges []bundle.Range
	window int
}

// pastRuns are runs as the registry has them, newest first; never nil.
func pastRuns(runs []registry.Run) ([]pastRun, error) {
	all := make([]pastRun, len(runs))
	for i := range runs {
		var s spec
		if err := json.Unmarshal(runs[i].Spec, &s); err != nil {
			return nil, fmt.Errorf("run %d: its spec cannot be read: %w", runs[i].ID, err)
		}
		all[i] = pastRun{s.Known, s.Learner, runs[i].Bundle, s.Set, s.Ranges, s.Window}
	}
	return all, nil
}

// after sets what was run before.
func (b *book) after(runs []pastRun) {
	b.runs, b.fresh = runs, 0
	for _, r := range b.rows {
		if r.known > b.lastRun() && !r.correction {
			b.fresh++
		}
	}
}

// lastRun is up to when the labels were known that the last run learned from.
func (b *book) lastRun() int64 {
	if len(b.runs) == 0 {
		return never
	}
	return b.runs[0].known
}

// due are the learners that are to make a candidate now: all of them when enough
// has been learned since the last runs, or somebody has asked for a candidate
// since, and the schedule leaves room; and those that have not when the others
// have made theirs of what is known now, from the same examples. A run that made no version counts as any
// other: more of the same data would be as bad.
func (b *book) due() []*Learner {
	rest := len(b.runs) > 0 && b.known == b.lastRun() && b.holds(&b.runs[0])
	asked := b.asked > b.lastRun() && b.asked <= b.known && b.fresh > 0
	if !rest && (!asked && b.fresh < b.model.Train.Every || b.recent() >= b.model.Train.AtMost) {
		return nil
	}
	var due []*Learner
	for i := range b.model.Learners {
		l := &b.model.Learners[i]
		if !slices.ContainsFunc(b.runs, func(r pastRun) bool { return r.known == b.known && r.learner == l.Name() }) {
			due = append(due, l)
		}
	}
	return due
}

// holds reports whether a candidate of now would learn from a run's examples. It
// would not where the topic has lost some, or the model is another by now.
func (b *book) holds(r *pastRun) bool {
	return r.set == b.set && r.window == b.model.Train.Window && slices.Equal(r.ranges, rangesOf(b.newest(), len(b.passed)))
}

// recent counts the times within the schedule's last at which candidates were made.
func (b *book) recent() int {
	times := map[int64]bool{}
	for _, r := range b.runs {
		if b.known-r.known < b.model.Train.Per.Microseconds() {
			times[r.known] = true
		}
	}
	return len(times)
}
