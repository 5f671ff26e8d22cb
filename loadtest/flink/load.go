// Package flink tries the pipeline on a real Flink with a real Kafka and Redis:
// that it makes the same rows as the local host whatever is killed, how long it
// takes to go on, and how fast it is. The runs are in the tests, under the build
// tag flink.
package flink

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/redis"
	"github.com/millrace/millrace/loadtest/faults"
	"github.com/millrace/millrace/loadtest/trades"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
)

// A Load is what a host works on. It travels to the workers of Flink as JSON.
type Load struct {
	Project    string // whose rows are written
	Kafka      []string
	Redis      []string
	Topic      string
	Partitions int
	Work       *faults.Spec // the events; nil: trades
}

// Plan returns the plan of the load.
func (l Load) Plan() (*features.Plan, error) {
	if l.Work == nil {
		return trades.Plan(l.Topic, l.Partitions)
	}
	spec := *l.Work
	spec.Topic, spec.Partitions, spec.Events = l.Topic, l.Partitions, 1 // the plan does not depend on how many
	w, err := faults.NewWork(spec)
	if err != nil {
		return nil, err
	}
	return w.Plan, nil
}

// Engines are the open engines of a load.
type Engines struct {
	Cluster  *streams.Cluster
	Producer *streams.Producer
	Store    online.Store
}

// Open opens them.
func (l Load) Open(ctx context.Context) (*Engines, error) {
	store, err := redis.Open(ctx, redis.Options{Addresses: l.Redis})
	if err != nil {
		return nil, err
	}
	cluster, err := streams.Connect(streams.Options{Addresses: l.Kafka})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &Engines{cluster, streams.NewProducer(cluster), store}, nil
}

// Close closes them.
func (e *Engines) Close() error {
	e.Producer.Close()
	e.Cluster.Close()
	return e.Store.Close()
}

// Host returns a host of the load on its engines.
func (l Load) Host(e *Engines) (*pipeline.Host, error) {
	plan, err := l.Plan()
	if err != nil {
		return nil, err
	}
	return pipeline.New(pipeline.Config{
		Project: l.Project, Plans: []*features.Plan{plan}, Cluster: e.Cluster, Producer: e.Producer, Store: e.Store,
		Log:         slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		TopicConfig: map[string]string{"retention.ms": "-1"},
	}), nil
}
