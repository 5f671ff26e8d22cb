package external

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"slices"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/streams/lake"
)

// A Dataset is what a program learns from.
type Dataset struct {
	Columns []Column // in the order of the model's inputs
	// Rows is walked twice and must give the same rows. A row is not kept.
	Rows iter.Seq[Row]
	// Validation is the share of the rows that is set apart, the newest: above 0, and
	// at most a half. 0: DefaultValidation.
	Validation float64
}

// DefaultValidation is the share of a data set that is set apart for validation.
const DefaultValidation = 0.2

// A Column is one input of the model: bool, int, float or string.
type Column struct {
	Name string
	Kind features.Kind
}

// A Row is one example. Times are microseconds since the Unix epoch.
type Row struct {
	Values []features.Value // by Columns, as the model will get them
	Label  float64
	Weight float64 // not negative; usually 1
	Time   int64   // when the prediction was asked for
	Known  int64   // when its label became known
}

// The columns behind the inputs.
const (
	labelColumn  = "label"
	weightColumn = "weight"
	timeColumn   = "time"
	knownColumn  = "known"
	splitColumn  = "split"
)

// The values of the column split.
const (
	splitTrain      = "train"
	splitValidation = "validation"
	splitGap        = "gap"
)

// fields are the columns as they are written. What models get as a number is one,
// and what is missing from it is null; a missing text is empty, since models see no
// difference.
func (d *Dataset) fields() ([]features.Field, error) {
	var fields []features.Field
	for _, c := range d.Columns {
		f := features.Field{Name: c.Name, Kind: expr.Float, Optional: true}
		switch c.Kind {
		case expr.Bool, expr.Int, expr.Float:
		case expr.String:
			f = features.Field{Name: c.Name, Kind: expr.String}
		default:
			return nil, fmt.Errorf("external: column %q is of kind %v; a program takes bool, int, float and string", c.Name, c.Kind)
		}
		switch c.Name {
		case labelColumn, weightColumn, timeColumn, knownColumn, splitColumn:
			return nil, fmt.Errorf("external: an input is named %q, which is what a data set calls a column of its own; rename the input", c.Name)
		}
		fields = append(fields, f)
	}
	if len(fields) == 0 {
		return nil, errors.New("external: the data set has no columns")
	}
	return append(fields,
		features.Field{Name: labelColumn, Kind: expr.Float},
		features.Field{Name: weightColumn, Kind: expr.Float},
		features.Field{Name: timeColumn, Kind: expr.Time},
		features.Field{Name: knownColumn, Kind: expr.Time},
		features.Field{Name: splitColumn, Kind: expr.String},
	), nil
}

// write writes the data set as Parquet and returns how many rows it has.
func (d *Dataset) write(ctx context.Context, path string) (rows int, err error) {
	fields, err := d.fields()
	if err != nil {
		return 0, err
	}
	first, err := d.validFrom()
	if err != nil {
		return 0, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, fmt.Errorf("external: writing the data set: %w", err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	var bad error
	values := func(yield func([]features.Value) bool) {
		out := make([]features.Value, 0, len(fields))
		for r := range d.Rows {
			if bad = d.check(&r); bad != nil {
				bad = fmt.Errorf("external: row %d of the data set: %w", rows+1, bad)
				return
			}
			out = d.append(out[:0], &r, first)
			if rows++; !yield(out) {
				return
			}
		}
	}
	err = lake.WriteFlat(ctx, w, fields, values)
	if err == nil {
		err = w.Flush()
	}
	if err = errors.Join(bad, err, f.Close()); err != nil {
		return 0, err
	}
	return rows, nil
}

func (d *Dataset) check(r *Row) error {
	switch {
	case len(r.Values) != len(d.Columns):
		return fmt.Errorf("%d values for %d columns", len(r.Values), len(d.Columns))
	case math.IsNaN(r.Label) || math.IsInf(r.Label, 0):
		return fmt.Errorf("the label is %v", r.Label)
	case !(r.Weight >= 0) || math.IsInf(r.Weight, 0):
		return fmt.Errorf("the weight is %v", r.Weight)
	}
	for i, v := range r.Values {
		if c := d.Columns[i]; v.Kind != expr.Missing && (v.Kind == expr.String) != (c.Kind == expr.String) || v.Kind == expr.Time {
			return fmt.Errorf("column %q is of kind %v, and the value of kind %v", c.Name, c.Kind, v.Kind)
		}
	}
	return nil
}

// append appends a row as it is written. first is as of validFrom.
func (d *Dataset) append(dst []features.Value, r *Row, first int64) []features.Value {
	for i, v := range r.Values {
		x, isNumber := v.Number()
		switch {
		case d.Columns[i].Kind == expr.String:
			v = expr.StringValue(v.Str)
		case v.Kind == expr.Bool:
			v = expr.FloatValue(float64(v.Bits))
		case isNumber && !math.IsNaN(x):
			v = expr.FloatValue(x)
		default:
			v = features.Value{}
		}
		dst = append(dst, v)
	}
	return append(dst, expr.FloatValue(r.Label), expr.FloatValue(r.Weight), expr.TimeValue(r.Time), expr.TimeValue(r.Known), expr.StringValue(splitOf(r, first)))
}

// splitOf says which part a row belongs to, where first is when the first question
// of the validation set was asked. Rows whose label was known only later belong to
// neither part: what learns from them knows what was still to come.
func splitOf(r *Row, first int64) string {
	switch {
	case r.Time >= first:
		return splitValidation
	case r.Known > first:
		return splitGap
	}
	return splitTrain
}

// validFrom is when the first question of the validation set was asked. Questions
// of one time are on one side, and the oldest are not in it, so that it is empty
// where all are of one time.
func (d *Dataset) validFrom() (int64, error) {
	share := d.Validation
	if share == 0 {
		share = DefaultValidation
	}
	if !(share > 0 && share <= 0.5) {
		return 0, fmt.Errorf("external: the share of rows for validation is %v: give more than 0 and at most 0.5", d.Validation)
	}
	var times []int64
	for r := range d.Rows {
		times = append(times, r.Time)
	}
	if len(times) == 0 {
		return 0, errors.New("external: the data set has no rows")
	}
	slices.Sort(times)
	first := times[len(times)-max(1, int(share*float64(len(times))))]
	if first > times[0] {
		return first, nil
	}
	for _, t := range times {
		if t > first {
			return t, nil
		}
	}
	return math.MaxInt64, nil
}
