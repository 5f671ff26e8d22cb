package trainer

import (
	"encoding/json"
	"fmt"
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
	Seed     uint64          `json:"seed"`
	Code     string          `json:"code"`
	Topic    string          `json:"topic"`
	Ranges   []bundle.Range  `json:"ranges"`
	Window   int             `json:"window"`
	Known    int64           `json:"known"` // when the last label became known, microseconds
}

// next are the offsets that the run has seen, by partition.
func (s *spec) next() []int64 {
	next := make([]int64, len(s.Ranges))
	for i, r := range s.Ranges {
		next[i] = r.Next
	}
	return next
}

// specOf returns the spec of a candidate of the model as it is now.
func specOf(m *Model, topic, code string, ranges []bundle.Range, known int64) (*spec, error) {
	params, err := json.Marshal(m.FTRL)
	if err != nil {
		return nil, fmt.Errorf("trainer: parameters of model %s: %w", m.Name, err)
	}
	s := &spec{
		Model: m.Name, Task: m.Task, Set: bundle.SetID(m.Inputs), Learner: "ftrl", Params: params, Seed: m.Train.Seed,
		Label: fmt.Sprintf("%s %s %s within %v", m.Label.Source, m.Label.Join, m.Label.Value, m.Label.Horizon),
		Code:  code, Topic: topic, Ranges: ranges, Window: m.Train.Window, Known: known,
	}
	for _, in := range m.Inputs {
		s.Features = append(s.Features, in.Name)
	}
	return s, nil
}

// A report is what a training says of itself.
type report struct {
	Examples  int     `json:"examples"`
	Positives float64 `json:"label_mean"`
	// Progressive validation: each row scored before its label was known, by what
	// had been learned from the labels known when it was asked.
	Progressive eval.Number `json:"progressive_loss"`
	BaseRate    eval.Number `json:"base_rate_loss"`
	Scored      int         `json:"progressive_rows"`
}

// fit trains a candidate on rows, which are in the order of learning. It is a
// function of its arguments: the same give the same bundle, byte for byte.
func fit(project string, m *Model, s *spec, rows []row, summary *dataset.Summary) (*bundle.Contents, report, error) {
	t := bundle.FitTransform(m.Inputs, vectors(rows), m.FTRL.HashBits)
	learner := ftrl.New(m.Task, t.Dense(), m.FTRL)
	r := progress(m, t, learner, rows)
	var x learn.Row
	for range m.FTRL.Epochs - 1 {
		for i := range rows {
			t.Row(&x, rows[i].Vector)
			learner.Learn(x, rows[i].label, 1)
		}
	}
	metrics, err := json.Marshal(r)
	if err != nil {
		return nil, r, err
	}
	profile, err := json.Marshal(summary.Profile)
	if err != nil {
		return nil, r, err
	}
	c := &bundle.Contents{
		Manifest: bundle.Manifest{
			Format: 1, Project: project, Model: m.Name, Task: m.Task, Inputs: m.Inputs, Set: s.Set, Learner: s.Learner, Params: s.Params,
			Seed: s.Seed, Code: s.Code, Data: dataOf(s, rows), Metrics: metrics, Examples: len(rows),
		},
		Transform: t, Learner: learner, Golden: golden(rows), Extra: map[string][]byte{profileFile: profile},
	}
	return c, r, nil
}

// profileFile is the file of a bundle that holds the statistics of its training
// set, for what compares later data with it.
const profileFile = "profile.json"

func dataOf(s *spec, rows []row) bundle.Data {
	d := bundle.Data{Topic: s.Topic, Ranges: s.Ranges, Window: s.Window, From: math.MaxInt64, To: math.MinInt64, Cutoff: math.MinInt64}
	for i := range rows {
		d.From, d.To = min(d.From, rows[i].Time), max(d.To, rows[i].Time)
		d.Cutoff = max(d.Cutoff, rows[i].known)
	}
	return d
}

// golden are rows from all over the training set.
func golden(rows []row) [][]features.Value {
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
// became known.
func progress(m *Model, t *bundle.Transform, learner learn.Learner, rows []row) report {
	asked := slices.Clone(rows)
	slices.SortFunc(asked, byTime)
	labels, scores, base := make([]float64, 0, len(rows)), make([]float64, 0, len(rows)), make([]float64, 0, len(rows))
	seen, k := newRates(), 0
	var x learn.Row
	learnUntil := func(time int64) {
		for ; k < len(rows) && rows[k].known <= time; k++ {
			t.Row(&x, rows[k].Vector)
			learner.Learn(x, rows[k].label, 1)
			seen.count++
			seen.sum += rows[k].label
		}
	}
	for i := range asked {
		learnUntil(asked[i].Time)
		t.Row(&x, asked[i].Vector)
		labels, scores, base = append(labels, asked[i].label), append(scores, learner.Predict(x)), append(base, seen.base(m.binary()))
	}
	learnUntil(math.MaxInt64)
	return report{
		Examples: len(rows), Positives: seen.sum / max(seen.count, 1), Scored: len(rows),
		Progressive: eval.Measured(string(m.Task), labels, scores).Loss, BaseRate: eval.Measured(string(m.Task), labels, base).Loss,
	}
}
