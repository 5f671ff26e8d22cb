package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/millrace/millrace/deploy/engines"
	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/serve"
)

type runCmd struct {
	projectFlag
}

func (runCmd) Help() string {
	return `Runs everything that a project needs in this process: the pipeline that applies events to the rows of features, the lake that keeps every event, and the HTTP server that takes events and gives features. Where the project has models, it also predicts, joins predictions with what came true, trains candidates and judges them, and brings those that a person approves into service: see millrace models --help. Where the project names no Kafka, an embedded broker for trying out is part of it, and where it names no Redis, an embedded store.

Ctrl-C (or SIGTERM) stops it within 5 seconds and loses nothing: started again, it goes on where it was. A second Ctrl-C ends it at once, which loses nothing either and takes longer to start from.

Examples:

	millrace run
	millrace run -p shop/project.yaml

While it runs:

	millrace ingest orders.jsonl
	millrace features get customer anna
	curl -d '{"entity": {"customer": "anna"}}' http://127.0.0.1:8765/v1/predict/large_order
	millrace join --stats
	millrace models list
	curl http://127.0.0.1:8765/readyz`
}

func (c *runCmd) Run(ctx context.Context, a *app) error {
	p, err := c.load()
	if err != nil {
		return err
	}
	if err := checkPage(p); err != nil {
		return err
	}
	return withEngines(ctx, p, a.log, func(e *opened) error { return runAll(ctx, e) })
}

// withEngines opens a project's engines for do and closes them.
func withEngines(ctx context.Context, p *project.Project, log *slog.Logger, do func(*opened) error) error {
	e, err := openEngines(ctx, p, log)
	if err != nil {
		if ctx.Err() != nil {
			return nil // stopped before it began
		}
		return err
	}
	err = errors.Join(do(e), e.close())
	if err == nil {
		log.Info("stopped")
	}
	return err
}

func runAll(ctx context.Context, e *opened) error {
	lake, err := newArchive(e, 0)
	if err != nil {
		return err
	}
	host := e.host(engines.All)
	loop, waiting, err := retrain(e)
	if err != nil {
		return err
	}
	watch, err := newWatch(e)
	if err != nil {
		return err
	}
	pages := func(c *serve.Config) error { return addPage(e, watch, host, c) }
	server, err := newServer(ctx, e, host, pages, lake.problems, waiting, watch.problems)
	if err != nil {
		return err
	}
	ln, err := listen(e)
	if err != nil {
		return err
	}
	stages := []stage{func(ctx context.Context) error { return server.Serve(ctx, ln) }}
	stages = append(stages, loop...)
	stages = append(stages, watch.stages...)
	stages = append(stages, host.Run, lake.run, func(ctx context.Context) error { return reportProgress(ctx, e.log, host) })
	return runStages(ctx, e.log, stages...)
}
