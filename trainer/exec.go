package trainer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"

	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/external"
	"github.com/millrace/millrace/trainer/learn"
)

// An execSpec is what determines what a program learns, as far as it can be told:
// it is the learner's parameters in specs and bundles.
type execSpec struct {
	Exec   []string        `json:"exec"`
	Params json.RawMessage `json:"params"`
	Code   string          `json:"code"` // external.Command.Code; empty: there is no such program
}

func execSpecOf(c *external.Command) (*execSpec, error) {
	code, err := c.Code()
	if errors.Is(err, fs.ErrNotExist) {
		code, err = "", nil // the run fails where it is started, and says so
	}
	if err != nil {
		return nil, err
	}
	return &execSpec{c.Args, c.WithDefaults().Parameters, code}, nil
}

// asOf makes the program of the project that of a spec again. Its folder and its
// limits are those of now; nil: the project has no program any more.
func (s *execSpec) asOf(now *external.Command) (*external.Command, error) {
	if now == nil {
		return nil, errors.New("the model has no learner exec any more, so that the program's folder, limits and env are not known; use the project file of then")
	}
	c := *now
	c.Args, c.Parameters = s.Exec, s.Params
	code, err := c.Code()
	if err == nil && code != s.Code {
		err = fmt.Errorf("the program %q was %s, and its files are now %s; use those of then", s.Exec, s.Code, code)
	}
	return &c, err
}

// fitExec has a program learn from the rows.
func fitExec(ctx context.Context, cfg *Config, m *Model, c *external.Command, rows []*row) (*fitted, error) {
	command := *c
	command.Task, command.Log = m.Task, cfg.Log.With("model", m.Name)
	d := &external.Dataset{Rows: func(yield func(external.Row) bool) {
		for _, r := range rows {
			if !yield(external.Row{Values: r.Vector, Label: r.label, Weight: 1, Time: r.Time, Known: r.known}) {
				return
			}
		}
	}}
	for _, in := range m.Inputs {
		d.Columns = append(d.Columns, external.Column{Name: in.Name, Kind: in.Kind})
	}
	out, err := command.Train(ctx, "", d)
	if err != nil {
		return nil, err
	}
	fault := func(err error) error {
		return &external.ProgramError{Program: strings.Join(c.Args, " "), What: err.Error(), Log: out.Log}
	}
	if n := escapedSize(out.Report); n > maxProgramReport {
		return nil, fault(fmt.Errorf("metrics.json has %d bytes, as it is kept; leave at most %d", n, maxProgramReport))
	}
	model, err := bundle.Import(out.Format, out.Model, m.Inputs, m.Task)
	if err != nil {
		return nil, fault(err)
	}
	f := &fitted{transform: bundle.NewPlain(m.Inputs), model: model, weights: out.Format}
	f.report.Program = out.Report
	if f.report.Agreement, err = agreement(f, rows, out.Predictions); err != nil {
		return nil, fault(err)
	}
	return f, nil
}

// maxProgramReport bounds what a program says of itself, in bytes: it is in the
// registry and in the bundle's manifest, which have limits of their own.
const maxProgramReport = 1 << 20

// escapedSize is the size of a document as a report has it.
func escapedSize(doc json.RawMessage) int {
	var b bytes.Buffer
	json.HTMLEscape(&b, doc)
	return b.Len()
}

// tolerance is how far the scores here may be from those that the program computed
// itself, absolutely or of their size: many times what float32 rounds.
const tolerance = 1e-5

// agreement returns the greatest distance between the scores here and those that
// the program says its model gives to the first rows. It is an error where they
// differ: the file is another model, or it sees other columns. Without predictions
// nothing is known.
func agreement(f *fitted, rows []*row, predictions []float64) (*float64, error) {
	if predictions == nil {
		return nil, nil
	}
	if len(predictions) > len(rows) {
		return nil, errors.New("the program gave predictions of more rows than it was given")
	}
	most := 0.0
	var x learn.Row
	for i, want := range predictions {
		f.transform.Row(&x, rows[i].Vector)
		got := f.model.Predict(x)
		if d := math.Abs(got - want); d > most {
			most = d
		}
		if !(math.Abs(got-want) <= tolerance*max(1, math.Abs(want))) {
			return nil, fmt.Errorf("row %d scores %v here and %v in the program: the model that it left is not the one that it predicted with, or sees the columns in another order; give probabilities of class 1 (binary) or means (regression)", i, got, want)
		}
	}
	return &most, nil
}
