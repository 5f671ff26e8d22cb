package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/profile"
	"github.com/millrace/millrace/trainer/dataset"
)

type datasetValidateCmd struct {
	Data    string `required:"" placeholder:"FILE" help:"The data set: .csv with a header line, .jsonl with an object on each line, or .parquet."`
	Schema  string `required:"" placeholder:"FILE" help:"What it must be like, as YAML; the file explains itself."`
	Against string `placeholder:"FILE" help:"The last data set that was good, for drift and swapped columns: a file as --data, or a .json that \"dataset profile --json\" printed."`
	Label   string `placeholder:"COLUMN" help:"The column that is to be predicted, for leaks and the label's own checks: numbers, true or false."`
	Infer   bool   `help:"Write the schema from this data set, if there is none yet and the data set has no errors."`
	JSON    bool   `help:"Print a JSON object: {\"rows\", \"stops\", \"inferred\", \"anomalies\": [{\"column\", \"kind\", \"level\", \"detail\"}]}."`
}

func (datasetValidateCmd) Help() string {
	return `Says whether a data set is fit to learn from, as the trainer does before it trains: against the schema, by itself, and against the last data set that was good. It ends with status 1 if there is an error, and with 0 if there are warnings only.

Errors are columns that are missing, of another type or often empty, values outside their range, a domain that most values are not of, a column that has drifted far, two columns that were swapped, a column that alone tells the label, and labels that are all equal. Warnings are smaller drift, new columns and constant ones.

Begin with --infer, read the schema that it writes, and add what you know, as the min and the max of a price.

Examples:

	millrace dataset validate --data january.csv --label bought --schema schema.yaml --infer
	millrace dataset validate --data february.csv --label bought --schema schema.yaml --against january.csv`
}

// A validated is what has been found, for machines.
type validated struct {
	Rows      int64             `json:"rows"`
	Stops     bool              `json:"stops"`
	Inferred  bool              `json:"inferred"`
	Anomalies []dataset.Anomaly `json:"anomalies"`
}

func (c *datasetValidateCmd) Run(ctx context.Context, a *app) error {
	schema, err := dataset.LoadSchema(c.Schema)
	absent := errors.Is(err, fs.ErrNotExist)
	switch {
	case absent && !c.Infer:
		return usagef("there is no schema %s: give --infer to write one from this data set", c.Schema)
	case err != nil && !absent:
		return usageError{err}
	}
	s, accepted, err := c.read(ctx, schema)
	if err != nil {
		return err
	}
	if absent {
		schema = dataset.Infer(s)
	}
	out := validated{Rows: s.Profile.Rows, Anomalies: dataset.Validate(schema, s, accepted)}
	out.Stops = dataset.Stops(out.Anomalies)
	if absent && !out.Stops {
		if err := schema.Save(c.Schema); err != nil {
			return err
		}
		out.Inferred = true
	}
	return c.print(a, &out)
}

// read reads the data set, and the one before, if there is one. A text does not
// say which kinds its columns are; where it can be, they are those of the schema.
func (c *datasetValidateCmd) read(ctx context.Context, schema *dataset.Schema) (s *dataset.Summary, accepted *profile.Profile, err error) {
	want := map[string]features.Kind{}
	if schema != nil {
		for _, column := range schema.Columns {
			want[column.Name] = kindNamed(column.Type)
		}
	}
	if c.Against != "" {
		if accepted, err = readProfile(ctx, c.Against, c.Label, want); err != nil {
			return nil, nil, err
		}
		for i := range accepted.Columns {
			if before := &accepted.Columns[i]; want[before.Name] == expr.Missing {
				want[before.Name] = kindNamed(before.Kind)
			}
		}
	}
	s, err = summarise(ctx, c.Data, c.Label, want)
	return s, accepted, err
}

// kindNamed returns the kind of that name, or Missing.
func kindNamed(name string) features.Kind {
	for _, k := range [...]features.Kind{expr.Bool, expr.Int, expr.Float, expr.String, expr.Time} {
		if k.String() == name {
			return k
		}
	}
	return expr.Missing
}

func (c *datasetValidateCmd) print(a *app, out *validated) error {
	if c.JSON {
		if out.Anomalies == nil {
			out.Anomalies = []dataset.Anomaly{}
		}
		if err := a.printJSON(out); err != nil {
			return err
		}
	} else {
		c.printLines(a, out)
	}
	if out.Stops {
		return exitStatus(exitFailed)
	}
	return nil
}

func (c *datasetValidateCmd) printLines(a *app, out *validated) {
	errs := int64(0)
	for _, x := range out.Anomalies {
		fmt.Fprintln(a.stdout, x)
		if x.Level == dataset.Error {
			errs++
		}
	}
	fmt.Fprintf(a.stdout, "%s: %s, %s, %s\n", c.Data, count(out.Rows, "row"), count(errs, "error"), count(int64(len(out.Anomalies))-errs, "warning"))
	if out.Inferred {
		fmt.Fprintf(a.stdout, "the schema is in %s; read it, and change what must be otherwise\n", c.Schema)
	}
}
