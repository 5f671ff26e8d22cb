package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"syscall"
	"text/tabwriter"

	"github.com/millrace/millrace/deploy/engines"
	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
)

type joinCmd struct {
	projectFlag
	serverFlag
	metricsFlag
	Stats bool `help:"Print what became of the predictions and outcomes, and end."`
	JSON  bool `help:"With --stats: print a JSON object, {\"predictions\", \"outcomes\", \"details\"}."`
}

func (joinCmd) Help() string {
	return `Joins predictions with what came true, in one of several processes that share out the partitions of the feedback among them: it makes outcomes of the events of labels' sources, and examples of predictions and their outcomes. They need what they can share: a Kafka and a Redis, named in the project file. "millrace run" does it, too.

With --stats it counts what became of the predictions and outcomes so far, while the project runs and when it does not. A prediction is pending, matched or unanswered; an outcome is effective, superseded by a better one, a duplicate, late, invalid (from before its prediction), an orphan without a prediction, or waiting for one.

Ctrl-C (or SIGTERM) stops it within 5 seconds; the others take over its partitions.

Examples:

	millrace join -p shop/project.yaml
	millrace join --stats`
}

func (c *joinCmd) Run(ctx context.Context, a *app) error {
	p, err := c.load()
	if err != nil {
		return err
	}
	if len(p.Models) == 0 {
		return usagef("project %s has no models, so there is nothing to join: give it models in the project file", p.Name)
	}
	if c.Stats && c.Metrics != "" {
		return usagef("--metrics is for a join that runs, not for --stats")
	}
	if c.Stats {
		stats, err := c.stats(ctx, a, p)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(stats)
		}
		return printStats(a.stdout, stats)
	}
	if c.JSON || c.Server != "" {
		return usagef("--json and --server are for --stats")
	}
	if err := needShared("join", p); err != nil {
		return err
	}
	return withEngines(ctx, p, a.log, func(e *opened) error {
		return c.runHost(ctx, e, e.host(engines.Join))
	})
}

// stats reads the counts from the store, or asks the process that has it open.
func (c *joinCmd) stats(ctx context.Context, a *app, p *project.Project) (stats feedback.Stats, err error) {
	if c.Server != "" {
		return c.ask(ctx, p)
	}
	cluster, done, err := visit(ctx, p, a.log)
	if err != nil {
		return stats, err
	}
	defer done()
	store, err := engines.Store(ctx, p)
	if err != nil && p.Store.Redis == nil {
		asked, failed := c.ask(ctx, p)
		if errors.Is(failed, syscall.ECONNREFUSED) {
			return stats, err // it is not that a server has it
		}
		return asked, failed
	}
	if err != nil {
		return stats, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	partitions, err := cluster.Partitions(ctx, feedback.Topic(p.Name))
	if errors.Is(err, streams.ErrNoTopic) {
		return stats, nil // nothing has run yet
	}
	if err != nil {
		return stats, err
	}
	return pipeline.JoinStats(ctx, p.Name, store, partitions)
}

// ask asks a server.
func (c *joinCmd) ask(ctx context.Context, p *project.Project) (stats feedback.Stats, err error) {
	server, err := c.client(p)
	if err != nil {
		return stats, err
	}
	answer, err := server.JoinStats(ctx)
	if err != nil {
		return stats, explain(err)
	}
	text, err := json.Marshal(answer) // the same object, which a client knows without our packages
	if err != nil {
		return stats, err
	}
	return stats, json.Unmarshal(text, &stats)
}

func printStats(w io.Writer, s feedback.Stats) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	p, o, u := s.Predictions, s.Outcomes, s.Details.Unanswered
	fmt.Fprintf(t, "predictions\t%s\n", thousands(p.Total))
	fmt.Fprintf(t, "  pending\t%s\n", thousands(p.Pending))
	fmt.Fprintf(t, "  matched\t%s\t%s examples were corrected later\n", thousands(p.Matched), thousands(s.Details.Corrections))
	fmt.Fprintf(t, "  unanswered\t%s\t%s without an outcome, %s with late ones only, %s with invalid ones only\n",
		thousands(p.Unanswered), thousands(u.None), thousands(u.Late), thousands(u.Invalid))
	fmt.Fprintf(t, "outcomes\t%s\n", thousands(o.Total))
	for _, row := range []struct {
		name string
		n    int64
	}{
		{"effective", o.Effective}, {"superseded", o.Superseded}, {"duplicate", o.Duplicate}, {"late", o.Late},
		{"invalid", o.Invalid}, {"orphan", o.Orphan}, {"waiting", o.Waiting},
	} {
		fmt.Fprintf(t, "  %s\t%s\n", row.name, thousands(row.n))
	}
	return t.Flush()
}
