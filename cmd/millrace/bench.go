package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/millrace/millrace/loadtest/trades"
)

type benchCmd struct {
	Trades  benchTradesCmd  `cmd:"" help:"Events per second and latency with trades of 5,000 symbols."`
	Learner benchLearnerCmd `cmd:"" help:"Rows per second and log loss of learning from clicks."`
	Trees   benchTreesCmd   `cmd:"" help:"CPU seconds, latency and AUC of trees with measurements of collisions, and those of other learners of trees."`
	Predict benchPredictCmd `cmd:"" help:"CPU and latency of predictions over HTTP, with features looked up."`
	Ask     benchAskCmd     `cmd:"" hidden:"" help:"Ask as predict says on stdin."`
}

type benchTradesCmd struct {
	Events     int           `default:"5000000" placeholder:"N" help:"Events of the backlog. The default is 5000000, two days of event time."`
	Partitions int           `default:"4" placeholder:"N" help:"Partitions of the topic. The default is 4."`
	Rate       int           `default:"5000" placeholder:"N" help:"Events a second in the measurement of latency; 0 leaves it out. The default is 5000."`
	Duration   time.Duration `default:"10s" help:"How long that takes. The default is 10s."`
	CPUProfile string        `name:"cpuprofile" placeholder:"FILE" help:"Write a CPU profile of the backlog's application."`
	JSON       bool          `name:"json" help:"Print one JSON object."`
}

func (benchTradesCmd) Help() string {
	return `Measures how fast events become features on this machine. The events are JSON trades of 5,000 symbols, few of which are traded most, and one in five is up to ten seconds late. The features are seven statistics of price and size over the last minute, five minutes, hour and day: 28 for each symbol.

First the events are produced to a topic, which is not measured. Then all are read and decoded, and nothing else, for comparison. Then the pipeline applies them: from the JSON in the topic to committed rows in the store. At last events are produced at a fixed rate, and the time is taken from the moment at which each was due to the commit that covers it, so that what waits behind a stall counts in full.

CPU seconds are those of the whole process, user and system: broker, pipeline, store and garbage collector. Everything is in a new directory for temporary files, about 100 bytes an event, and is removed at the end.

Examples:

	millrace bench trades
	millrace bench trades --events 1000000 --rate 0 --cpuprofile cpu.out`
}

func (c *benchTradesCmd) Validate() error {
	switch {
	case c.Events < 1 || c.Events > 100_000_000:
		return fmt.Errorf("--events %d: give 1 to 100000000", c.Events)
	case c.Partitions < 1 || c.Partitions > 64:
		return fmt.Errorf("--partitions %d: give 1 to 64", c.Partitions)
	case c.Rate < 0 || c.Rate > 1_000_000:
		return fmt.Errorf("--rate %d: give 0 to 1000000 events a second", c.Rate)
	case c.Duration < 100*time.Millisecond || c.Duration > time.Hour:
		return fmt.Errorf("--duration %v: give 100ms to 1h", c.Duration)
	}
	return nil
}

func (c *benchTradesCmd) Run(ctx context.Context, a *app) (err error) {
	dir, err := os.MkdirTemp("", "millrace-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := trades.Bench{
		Events: c.Events, Partitions: c.Partitions, Rate: c.Rate, Duration: c.Duration, Dir: dir, Log: a.log,
		Step: func(what string) { a.log.Info(what) },
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
	return printBench(a.stdout, res)
}

func printBench(w io.Writer, r *trades.Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tevents\tseconds\tevents/s\tCPU seconds\tevents per CPU second\t")
	for _, line := range []struct {
		name string
		w    trades.Work
	}{{"to committed rows", r.Backlog}, {"read and decode only", r.Decode}} {
		fmt.Fprintf(t, "%s\t%d\t%.2f\t%.0f\t%.2f\t%.0f\t\n", line.name, line.w.Events, line.w.Seconds, line.w.PerSecond, line.w.CPUSeconds, line.w.PerCPUSecond)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%d rows of 28 features in %d partitions, %d commits.\n", r.Rows, r.Partitions, r.Commits)
	if l := r.Latency; l != nil {
		fmt.Fprintf(w, "At %d events/s, from due to committed: p50 %.1f ms, p90 %.1f ms, p99 %.1f ms, p99.9 %.1f ms, max %.1f ms.\n", l.Rate, l.P50, l.P90, l.P99, l.P999, l.Max)
	}
	return nil
}
