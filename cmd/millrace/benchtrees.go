package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/millrace/millrace/loadtest/collisions"
)

type benchTreesCmd struct {
	Rows       int    `placeholder:"N" help:"Rows to train with. The default, 0, is 1000000 or all that --data has."`
	Data       string `placeholder:"FILE" help:"A set to use in place of a generated one: FILE ends with .meta.json and has _train.f32 and _test.f32 beside it."`
	Threads    int    `default:"2" placeholder:"N" help:"Threads that train. The default is 2."`
	Rounds     int    `default:"1" placeholder:"N" help:"How often to measure everything; the best figures count. The default is 1."`
	Peers      bool   `help:"Measure XGBoost, LightGBM, scikit-learn and onnxruntime, too."`
	Python     string `default:"python3" placeholder:"FILE" help:"The Python that has them. The default is python3."`
	CPUProfile string `name:"cpuprofile" placeholder:"FILE" help:"Write a CPU profile of the first training."`
	JSON       bool   `name:"json" help:"Print one JSON object."`
}

func (benchTreesCmd) Help() string {
	return `Measures how fast gradient-boosted trees are grown and predict on this machine, and how well. The rows are like the measurements of particle collisions: 28 numbers and a label that only some of them tell something of. The task is 100 trees of depth 6 with 256 bins and a rate of 0.1, for binary classification, tested with rows that were not trained with, a fifth as many.

Training is measured from the numbers in memory to a model that predicts, and so takes in their binning. Bulk is the prediction of all test rows, ours by one thread, in the cheapest of three passes. One row is 5,000 calls that predict a row each, by one thread. CPU seconds are user's and system's, of all threads.

With --peers other learners have the same task, one after another, in a process each, with the same rows from files and as many threads: XGBoost (hist), LightGBM and scikit-learn (HistGradientBoosting). onnxruntime scores what LightGBM has trained. Their one row is a call from Python. All predictions are judged by the same code. They take five minutes with a million rows, 140 MB of temporary files, and a Python that has numpy, xgboost, lightgbm, scikit-learn, onnxruntime, onnxmltools and skl2onnx.

Examples:

	millrace bench trees
	millrace bench trees --rows 100000 --json
	millrace bench trees --peers --python venv/bin/python --rounds 3`
}

// treesRows is how many rows are generated where none is said, and treesSeed
// which.
const (
	treesRows = 1_000_000
	treesSeed = 5
)

func (c *benchTreesCmd) Validate() error {
	switch {
	case c.Rows != 0 && (c.Rows < collisions.MinRows || c.Rows > collisions.MaxRows):
		return fmt.Errorf("--rows %d: give %d to %d", c.Rows, collisions.MinRows, collisions.MaxRows)
	case c.Threads < 1 || c.Threads > 256:
		return fmt.Errorf("--threads %d: give 1 to 256", c.Threads)
	case c.Rounds < 1 || c.Rounds > 100:
		return fmt.Errorf("--rounds %d: give 1 to 100", c.Rounds)
	}
	return nil
}

func (c *benchTreesCmd) Run(ctx context.Context, a *app) (err error) {
	b := collisions.Bench{Threads: c.Threads, Rounds: c.Rounds, Step: func(what string) { a.log.Info(what) }}
	if c.Peers { // what they lack is said before any work
		dir, err := os.MkdirTemp("", "millrace-bench-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		if b.Peers, err = collisions.OpenPeers(ctx, c.Python, dir); err != nil {
			if errors.As(err, new(*collisions.PythonError)) {
				return usageError{err}
			}
			return err
		}
		b.Prefix = filepath.Join(dir, "rows")
	}
	if b.Data, err = c.data(a); err != nil {
		return err
	}
	if c.Peers {
		if err := b.Data.Write(b.Prefix); err != nil {
			return err
		}
	}
	if c.CPUProfile != "" {
		file, err := os.Create(c.CPUProfile)
		if err != nil {
			return err
		}
		defer file.Close()
		b.Profile = file
	}
	res, err := b.Run(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(res)
	}
	return printTrees(a.stdout, res)
}

func (c *benchTreesCmd) data(a *app) (*collisions.Data, error) {
	rows := c.Rows
	if c.Data == "" {
		if rows == 0 {
			rows = treesRows
		}
		a.log.Info("generating rows", "rows", rows)
		return collisions.Generate(rows, treesSeed), nil
	}
	d, err := collisions.Read(c.Data)
	if err != nil {
		return nil, usageError{err}
	}
	if rows > len(d.Train) {
		return nil, usagef("--rows %d: %s has %d rows to train with", rows, c.Data, len(d.Train))
	}
	if rows > 0 {
		d.Train = d.Train[:rows]
	}
	return d, nil
}

func printTrees(w io.Writer, r *collisions.Result) error {
	fmt.Fprintf(w, "%d rows to train with and %d to test, %d threads.\n\n", r.Rows, r.TestRows, r.Threads)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\ttraining s\tCPU s\tAUC\tlog loss\tbulk rows per CPU s\tone row p50 us\tp99 us\t")
	for _, f := range r.Figures {
		seconds, cpu := "-", "-"
		if f.Train != nil {
			seconds, cpu = fmt.Sprintf("%.2f", f.Train.Seconds), fmt.Sprintf("%.2f", f.Train.CPUSeconds)
		}
		name := f.Learner
		if f.Version != "" {
			name += " " + f.Version
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%.5f\t%.5f\t%.0f\t%.1f\t%.1f\t\n", name, seconds, cpu, f.AUC, f.LogLoss, float64(r.TestRows)/f.Bulk.CPUSeconds, f.One.P50, f.One.P99)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nThe true probabilities have AUC %.5f and log loss %.5f.\n", r.BayesAUC, r.BayesLoss)
	if err != nil || len(r.Ratios) == 0 {
		return err
	}
	fmt.Fprintf(w, "\nTimes what millrace takes; below 1 the other is better:\n\n")
	fmt.Fprintln(t, "\ttraining CPU\tbulk CPU\tone row p50\tp99\t")
	for _, x := range r.Ratios {
		training := "-"
		if x.TrainCPU > 0 {
			training = fmt.Sprintf("%.2f", x.TrainCPU)
		}
		fmt.Fprintf(t, "%s\t%s\t%.2f\t%.2f\t%.2f\t\n", x.Learner, training, x.BulkCPU, x.P50, x.P99)
	}
	return t.Flush()
}
