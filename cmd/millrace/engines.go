package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/deploy/serve"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/features/online/redis"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
	"github.com/millrace/millrace/streams/pipeline"
)

// reachTimeout is for how long a server that should run already is tried.
const reachTimeout = 10 * time.Second

// engines are what a project runs on, open.
type engines struct {
	project  *project.Project
	log      *slog.Logger
	broker   *broker.Broker // nil: a Kafka of the user's
	cluster  *streams.Cluster
	producer *streams.Producer
	store    online.Store
	registry *registry.Registry // nil: the project has no models
	models   *serve.Models      // of the server that was made; nil: none, or it has no models
	spool    *serve.Spool       // theirs

	mu      sync.Mutex
	reached time.Time // when a Kafka of the user's was last asked
	away    error     // why it did not answer
}

// openEngines opens what the project says, and makes sure that all of it
// answers: a wrong address shows now and not in the first event. Port 0 of the
// embedded broker is any free one.
func openEngines(ctx context.Context, p *project.Project, log *slog.Logger) (e *engines, err error) {
	e = &engines{project: p, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	// The store is first: its directory's lock is what tells a second process
	// of the same project that there is a first.
	if e.store, err = openStore(ctx, p); err != nil {
		return e, err
	}
	addresses := p.Kafka.Addresses
	if p.Kafka.Embedded() {
		if e.broker, err = broker.Start(broker.Options{Dir: p.BrokerDir(), Port: p.Kafka.EmbeddedPort, Log: log}); err != nil {
			return e, fmt.Errorf("%w (the port is kafka.embedded_port of the project file, the directory is in data_dir)", err)
		}
		addresses = []string{e.broker.Addr()}
	}
	if e.cluster, err = connect(ctx, addresses); err != nil {
		return e, err
	}
	e.producer = streams.NewProducer(e.cluster)
	if len(p.Models) > 0 {
		if e.registry, err = registry.Open(p.RegistryFile()); err != nil {
			return e, err
		}
	}
	return e, e.ensureSources(ctx)
}

func openStore(ctx context.Context, p *project.Project) (online.Store, error) {
	r := p.Store.Redis
	if r == nil {
		s, err := pebble.Open(p.StoreDir())
		if err != nil {
			return nil, err // and not s: a nil *Store is no nil Store
		}
		return s, nil
	}
	password, err := r.Password()
	if err != nil {
		return nil, usageError{err}
	}
	o := redis.Options{Addresses: r.Addresses, Username: r.Username, Password: password}
	if r.TLS {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	logging.Disable() // the client's own lines on stderr repeat what its errors say
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	s, err := redis.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// connect returns a cluster that has answered.
func connect(ctx context.Context, addresses []string) (*streams.Cluster, error) {
	c, err := streams.Connect(addresses)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	if _, err := c.ID(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("no answer from Kafka at %s; start it, or set kafka.addresses in the project file: %w", strings.Join(addresses, ", "), err)
	}
	return c, nil
}

// ensureSources makes the sources' topics, so that events can come in before
// anything reads them.
func (e *engines) ensureSources(ctx context.Context) error {
	for _, s := range e.project.Sources {
		if err := e.cluster.Ensure(ctx, s.Topic, s.Partitions, e.topicConfig()); err != nil {
			return fmt.Errorf("source %s: %w", s.Name, err)
		}
	}
	return nil
}

// topicConfig is for topics that we make. A real Kafka has its own defaults;
// in the embedded broker events stay, for nothing else keeps them.
func (e *engines) topicConfig() map[string]string {
	if e.broker == nil {
		return nil
	}
	return map[string]string{"retention.ms": "-1"}
}

// A part is what a process does of a pipeline.
type part int

// The parts: one of them in a process of several, or all.
const (
	allParts part = iota
	views
	join
)

// host returns the host of the project's views, of its join, or of both. Where
// neither the log nor the rows are this process's alone, it shares the partitions
// with others.
func (e *engines) host(does part) *pipeline.Host {
	p := e.project
	c := pipeline.Config{
		Project: p.Name, Clock: p.Clock, Cluster: e.cluster, Producer: e.producer,
		Store: e.store, Log: e.log, TopicConfig: e.topicConfig(),
	}
	if does != join {
		c.Plans = p.Plans
	}
	for i := range p.Models {
		if does != views {
			c.Labels = append(c.Labels, p.Models[i].Labeler)
		}
	}
	for _, s := range p.Sources {
		c.Sources = append(c.Sources, s)
		if !slices.ContainsFunc(p.Plans, func(x *features.Plan) bool { return x.Source.Name == s.Name }) {
			c.Unviewed = append(c.Unviewed, s.Name)
		}
	}
	if shared(e.project) {
		c.Group = e.project.Name
	}
	return pipeline.New(c)
}

// problems says what keeps the log from taking events, one line each: the
// embedded broker's disk is full, or a Kafka of the user's does not answer.
func (e *engines) problems() []string {
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
func (e *engines) reach() error {
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

// shared reports whether several processes can work on a project.
func shared(p *project.Project) bool { return !p.Kafka.Embedded() && p.Store.Redis != nil }

// close closes everything that is open, the producer before what it writes to,
// and the store last.
func (e *engines) close() error {
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
	if e.broker != nil {
		errs = append(errs, e.broker.Close())
	}
	if e.store != nil {
		errs = append(errs, e.store.Close())
	}
	return errors.Join(errs...)
}
