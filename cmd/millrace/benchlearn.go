package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/millrace/millrace/loadtest/clicks"
)

type benchLearnerCmd struct {
	Rows int    `placeholder:"N" help:"Rows to learn. The default, 0, is 1000000 or all that --data has."`
	Data string `placeholder:"FILE" help:"Rows of 157 bytes to learn and predict in place of generated ones, with FILE's name and .meta.json beside it."`
	JSON bool   `name:"json" help:"Print one JSON object."`
}

func (benchLearnerCmd) Help() string {
	return `Measures how fast a model learns online on this machine, and how well. The rows are like clicks on advertisements: 13 numbers and 26 categories, some of which have 100,000 values. Logistic regression by FTRL-Proximal with its defaults learns each row once, in order, and then predicts rows that it has not seen, a fifth as many.

What is measured starts from the columns in memory and takes in their logarithms and hashing. The rows are generated before, or read from a file of the same form. CPU seconds are those of the whole process, user and system.

Examples:

	millrace bench learner
	millrace bench learner --rows 100000 --json
	millrace bench learner --data w4.bin`
}

// learnerRows is how many rows are generated where none is said, and learnerSeed
// of which truth and order.
const (
	learnerRows = 1_000_000
	learnerSeed = 4
)

func (c *benchLearnerCmd) Validate() error {
	if c.Rows < 0 || c.Rows > clicks.MaxRows {
		return fmt.Errorf("--rows %d: give 0 to %d", c.Rows, clicks.MaxRows)
	}
	return nil
}

func (c *benchLearnerCmd) Run(ctx context.Context, a *app) error {
	d, err := c.data(a)
	if err != nil {
		return err
	}
	res, err := clicks.Bench(ctx, d)
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(res)
	}
	return printLearner(a.stdout, res)
}

func (c *benchLearnerCmd) data(a *app) (*clicks.Data, error) {
	rows := c.Rows
	if c.Data == "" {
		if rows == 0 {
			rows = learnerRows
		}
		a.log.Info("generating rows", "rows", rows)
		return clicks.Generate(rows, learnerSeed), nil
	}
	d, err := clicks.Read(c.Data)
	if err != nil {
		return nil, usageError{err}
	}
	if rows > len(d.Train) {
		return nil, usagef("--rows %d: %s has %d rows to learn", rows, c.Data, len(d.Train))
	}
	if rows > 0 {
		d.Train = d.Train[:rows]
	}
	return d, nil
}

func printLearner(w io.Writer, r *clicks.Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\trows\tseconds\tCPU seconds\trows per CPU second\t")
	for _, line := range []struct {
		name string
		w    clicks.Work
	}{{"learned", r.Learn}, {"predicted", r.Predict}} {
		fmt.Fprintf(t, "%s\t%d\t%.2f\t%.2f\t%.0f\t\n", line.name, line.w.Rows, line.w.Seconds, line.w.CPUSeconds, line.w.PerCPUSecond)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nLog loss of the predictions %.5f; of the true probabilities %.5f, of the base rate %.5f.\n", r.LogLoss, r.Bayes, r.Trivial)
	return err
}
