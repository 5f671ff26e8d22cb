package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/millrace/millrace/deploy/alarms"
	"github.com/millrace/millrace/deploy/engines"
	"github.com/millrace/millrace/deploy/observe"
	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/deploy/serve"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
	"github.com/millrace/millrace/streams/pipeline"
)

// An opened is what a project runs on, open.
type opened struct {
	project  *project.Project
	log      *slog.Logger
	broker   *broker.Broker // nil: a Kafka of the user's
	cluster  *streams.Cluster
	producer *streams.Producer
	store    online.Store
	registry *registry.Registry // nil: the project has no models
	models   *serve.Models      // of the server that was made; nil: none, or it has no models
	spool    *serve.Spool       // theirs
	book     *alarms.Book       // of the monitors; nil: this process has none
	traces   *observe.Traces    // nil: the environment asks for none

	mu      sync.Mutex
	reached time.Time // when a Kafka of the user's was last asked
	away    error     // why it did not answer
}

// openEngines opens what the project says, and makes sure that all of it
// answers: a wrong address shows now and not in the first event. Port 0 of the
// embedded broker is any free one.
func openEngines(ctx context.Context, p *project.Project, log *slog.Logger) (e *opened, err error) {
	e = &opened{project: p, log: log}
	if e.traces, err = observe.NewTraces(ctx, log); err != nil {
		return e, usageError{err}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	// The store is first: its directory's lock is what tells a second process
	// of the same project that there is a first.
	if e.store, err = engines.Store(ctx, p); err != nil {
		return e, err
	}
	kafka := p.Kafka
	if p.Kafka.Embedded() {
		if e.broker, err = broker.Start(broker.Options{Dir: p.BrokerDir(), Port: p.Kafka.EmbeddedPort, Log: log}); err != nil {
			return e, fmt.Errorf("%w (the port is kafka.embedded_port of the project file, the directory is in data_dir)", err)
		}
		kafka = at(e.broker.Addr())
	}
	if e.cluster, err = engines.Cluster(ctx, kafka); err != nil {
		return e, err
	}
	e.producer = streams.NewProducer(e.cluster)
	if len(p.Models) > 0 {
		if e.registry, err = registry.Open(p.RegistryFile()); err != nil {
			return e, err
		}
	}
	return e, engines.Sources(ctx, e.cluster, p, log)
}

// at is the embedded broker at an address.
func at(address string) project.Kafka { return project.Kafka{Addresses: []string{address}} }

// host returns the host of a part of the project's pipeline.
func (e *opened) host(does engines.Part) *pipeline.Host {
	c := engines.Config(e.project, does)
	c.Cluster, c.Producer, c.Store, c.Log = e.cluster, e.producer, e.store, e.log
	c.Tracer = e.traces.Tracer()
	return pipeline.New(c)
}

// problems says what keeps the log from taking events, one line each: the
// embedded broker's disk is full, or a Kafka of the user's does not answer.
func (e *opened) problems() []string {
	ask := e.reach
	if e.broker != nil {
		ask = e.broker.Err
	}
	if err := ask(); err != nil {
		return []string{err.Error()}
	}
	return nil
}

// reach asks whether Kafka answers, within 2 s and at most once a second: all
// who watch /readyz share one answer.
func (e *opened) reach() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.reached) < time.Second {
		return e.away
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	e.away = nil
	if _, err := e.cluster.ID(ctx); err != nil {
		e.away = fmt.Errorf("no answer from Kafka: %w", err)
	}
	e.reached = time.Now()
	return e.away
}

// close closes everything that is open, the producer before what it writes to,
// and the store last.
func (e *opened) close() error {
	if e.producer != nil {
		e.producer.Close()
	}
	if e.cluster != nil {
		e.cluster.Close()
	}
	var errs []error
	if e.spool != nil {
		errs = append(errs, e.spool.Close())
	}
	if e.registry != nil {
		errs = append(errs, e.registry.Close())
	}
	if e.book != nil {
		errs = append(errs, e.book.Close())
	}
	if e.broker != nil {
		errs = append(errs, e.broker.Close())
	}
	if e.store != nil {
		errs = append(errs, e.store.Close())
	}
	e.traces.Close()
	return errors.Join(errs...)
}
