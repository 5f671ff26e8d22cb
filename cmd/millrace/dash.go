package main

import (
	"context"

	"github.com/millrace/millrace/deploy/engines"
	"github.com/millrace/millrace/deploy/observe"
	"github.com/millrace/millrace/deploy/serve"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams/pipeline"
)

type dashCmd struct {
	projectFlag
	Listen string `placeholder:"HOST:PORT" help:"Where the page is. Without it, http.listen of the project, which \"millrace serve\" on the same machine has, too."`
}

func (dashCmd) Help() string {
	return `Serves the page at /ui/ and keeps the monitors behind it, in a process of its own: it answers no lookups and predicts nothing. Use it where "millrace pipeline" and "millrace serve" share the rest; "millrace run" shows the page by itself. It reads predictions and their labels from Kafka and counts from Redis, and asks no server. Registry.db, models/, keys/ and the lake of the project's data have to be in its data folder, too: versions are approved there, and what-if computes of it. Alarms are kept in alarms.db in that folder and posted where the project says.

Whoever reaches the page may approve models, so that on an address that others reach it needs users: name a file as http.users_file, and add some by "millrace users add".

It keeps nothing but memory: stopped at any moment and started again, it raises the same alarms, each once; and a second one beside it does no harm. GET /readyz says whether it is at work, and GET /metrics is for Prometheus.

Examples:

	millrace dash -p shop/project.yaml --listen 127.0.0.1:8766
	curl http://127.0.0.1:8766/readyz`
}

func (c *dashCmd) Run(ctx context.Context, a *app) error {
	p, err := c.load()
	if err != nil {
		return err
	}
	if c.Listen != "" {
		p.HTTP.Listen = c.Listen
	}
	if p.HTTP.PageOff {
		return usagef("dash: the project file says page: off under http; leave that out for the processes that have it, or do without this one")
	}
	if err := checkPage(p); err != nil {
		return err
	}
	if err := needShared("dash", p); err != nil {
		return err
	}
	return withEngines(ctx, p, a.log, func(e *opened) error {
		watch, err := newWatch(e)
		if err != nil {
			return err
		}
		server, err := newPages(ctx, e, watch)
		if err != nil {
			return err
		}
		ln, err := listen(e)
		if err != nil {
			return err
		}
		return runStages(ctx, e.log, append([]stage{func(ctx context.Context) error { return server.Serve(ctx, ln) }}, watch.stages...)...)
	})
}

// newPages returns the HTTP server of a process that has the page and nothing else.
func newPages(ctx context.Context, e *opened, w *watch) (*serve.Server, error) {
	metrics, err := observe.New()
	if err != nil {
		return nil, err
	}
	c := serve.Config{
		Project: e.project.Name, Store: e.store, Producer: e.producer, Log: e.log, PagesOnly: true,
		Problems:    func() []string { return append(e.problems(), w.problems()...) },
		LogProblems: e.problems, Metrics: metrics,
	}
	if e.registry != nil {
		if err := addJoinStats(ctx, e, &c); err != nil {
			return nil, err
		}
	}
	if err := addPage(e, w, nil, &c); err != nil {
		return nil, err
	}
	return serve.New(c)
}

// addJoinStats lets a server count what became of predictions and outcomes.
func addJoinStats(ctx context.Context, e *opened, c *serve.Config) error {
	p := e.project
	partitions, err := pipeline.EnsureFeedback(ctx, e.cluster, p.Name, engines.TopicConfig(p))
	c.JoinStats = func(ctx context.Context) (feedback.Stats, error) {
		return pipeline.JoinStats(ctx, p.Name, e.store, partitions)
	}
	return err
}
