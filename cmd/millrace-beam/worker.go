package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/millrace/millrace/deploy/engines"
	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
	"github.com/millrace/millrace/streams/pipeline/beam"
)

// workerOptions travel to the workers beside the project file.
type workerOptions struct {
	LogLevel slog.Level `json:"log_level"`
}

// newJob returns the job of a project's views.
func newJob(a *app, f projectFlag, p *project.Project, name string, tick time.Duration, ticker beam.Ticker) (*beam.Job, error) {
	path, err := filepath.Abs(f.Project)
	if err != nil {
		return nil, err
	}
	file, err := readProject(path)
	if err != nil {
		return nil, err
	}
	options, err := json.Marshal(workerOptions{a.level})
	if err != nil {
		return nil, err
	}
	host := pipeline.New(engines.Config(p, engines.Views)) // for its parts only
	return &beam.Job{
		Name: name, Parts: host.Parts(), Tick: tick, Ticker: ticker,
		Project: beam.Project{File: file, Name: path, Options: string(options)},
	}, nil
}

// openWorker opens what the project of a job runs on, in a worker. Passwords are
// in its environment.
func openWorker(ctx context.Context, j beam.Project) (*pipeline.Host, func() error, error) {
	p, err := project.Parse(j.Name, j.File)
	if err != nil {
		return nil, nil, err
	}
	var options workerOptions
	if err := json.Unmarshal([]byte(j.Options), &options); err != nil {
		return nil, nil, fmt.Errorf("the options of the job: %w", err)
	}
	store, err := engines.Store(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	cluster, err := engines.Cluster(ctx, p.Kafka)
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	log := slog.New(atLeast{slog.Default().Handler(), options.LogLevel})
	if err := engines.Sources(ctx, cluster, p, log); err != nil {
		cluster.Close()
		return nil, nil, errors.Join(err, store.Close())
	}
	c := engines.Config(p, engines.Views)
	c.Group = "" // the runner shares out the partitions
	c.Cluster, c.Producer, c.Store = cluster, streams.NewProducer(cluster), store
	c.Log = log
	return pipeline.New(c), func() error {
		c.Producer.Close()
		cluster.Close()
		return store.Close()
	}, nil
}

// atLeast drops what is below a level.
type atLeast struct {
	slog.Handler
	level slog.Leveler
}

func (h atLeast) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h atLeast) WithAttrs(attrs []slog.Attr) slog.Handler {
	return atLeast{h.Handler.WithAttrs(attrs), h.level}
}

func (h atLeast) WithGroup(name string) slog.Handler {
	return atLeast{h.Handler.WithGroup(name), h.level}
}
