package faults

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/millrace/millrace/deploy"
	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/deploy/serve"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/redis"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/loadtest/stocks"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
	"github.com/millrace/millrace/trainer"
	"github.com/millrace/millrace/trainer/bundle"
)

// A part is what one process does of the loop.
type part string

// The parts of the loop, each a process of its own.
const (
	serving   part = "server" // with the views beside it
	joining   part = "join"
	training  part = "trainer"
	deploying part = "deployer"
)

// joinShards is how many shards a joining process runs: the join of each
// partition of the feedback topic, and the outcomes.
const joinShards = 5

// A loop is what a process of the loop works with.
type loop struct {
	project  *project.Project
	cluster  *streams.Cluster
	producer *streams.Producer
	store    online.Store
	registry *registry.Registry
	keys     *bundle.Keys
	log      *slog.Logger
}

func openLoop(ctx context.Context, file string, log *slog.Logger) (l *loop, err error) {
	l = &loop{log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
			l = &loop{}
		}
	}()
	if l.project, err = project.Load(file); err != nil {
		return l, err
	}
	store, err := redis.Open(ctx, redis.Options{Addresses: l.project.Store.Redis.Addresses})
	if err != nil {
		return l, err
	}
	l.store = store
	if l.cluster, err = streams.Connect(streams.Options{Addresses: l.project.Kafka.Addresses}); err != nil {
		return l, err
	}
	l.producer = streams.NewProducer(l.cluster)
	if l.registry, err = registry.Open(l.project.RegistryFile()); err != nil {
		return l, err
	}
	l.keys, err = bundle.OpenKeys(l.project.KeysDir())
	return l, err
}

func (l *loop) close() (err error) {
	if l.registry != nil {
		err = l.registry.Close()
	}
	if l.producer != nil {
		l.producer.Close()
	}
	if l.cluster != nil {
		l.cluster.Close()
	}
	if l.store != nil {
		err = errors.Join(err, l.store.Close())
	}
	return err
}

// runPart is the child: it does its part until its input ends.
func (o orders) runPart() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go untilInputEnds(cancel)
	l, err := openLoop(ctx, o.File, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})))
	if ctx.Err() != nil {
		return l.close() // it was stopped before it had started
	}
	if err != nil {
		return err
	}
	switch o.Part {
	case serving:
		err = l.serve(ctx)
	case joining:
		err = l.host(ctx, l.joins())
	case training:
		t := trainer.New(l.trainerConfig())
		err = steps(ctx, t.Step, func() int64 { return t.Passed(stocks.Model) })
		t.Close()
	case deploying:
		d := deploy.New(l.deployerConfig())
		err = steps(ctx, d.Step, func() int64 { return 0 })
		d.Close()
	default:
		err = fmt.Errorf("%q is no part of the loop", o.Part)
	}
	return errors.Join(err, l.close())
}

// steps takes one step after another, and writes a line before and after each:
// whether one is under way, and how far the part is. What fails ends the child:
// all that the steps work with is there.
func steps(ctx context.Context, step func(context.Context) error, at func() int64) error {
	for ctx.Err() == nil {
		fmt.Println(1, at())
		if err := step(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		fmt.Println(0, at())
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// host runs a host of the pipeline and reports about it.
func (l *loop) host(ctx context.Context, c pipeline.Config) error {
	committed := make(chan struct{})
	host := pipeline.New(c)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { report(ctx, host, committed) })
	return host.Run(ctx)
}

// stages is a host of the pipeline that does nothing yet.
func (l *loop) stages() pipeline.Config {
	p := l.project
	return pipeline.Config{
		Project: p.Name, Sources: p.Sources, Clock: p.Clock, Cluster: l.cluster, Producer: l.producer,
		Store: l.store, Log: l.log, TopicConfig: map[string]string{"retention.ms": "-1"},
	}
}

func (l *loop) views() pipeline.Config {
	c := l.stages()
	c.Plans = l.project.Plans
	return c
}

func (l *loop) joins() pipeline.Config {
	c := l.stages()
	for i := range l.project.Models {
		c.Labels = append(c.Labels, l.project.Models[i].Labeler)
	}
	return c
}

// serve is the HTTP server, with the views beside it.
func (l *loop) serve(ctx context.Context) error {
	p := l.project
	spool, err := serve.OpenSpool(p.SpoolDir(), serve.DefaultSpool, l.log)
	if err != nil {
		return err
	}
	defer spool.Close()
	var configs []serve.ModelConfig
	for i := range p.Models {
		m := &p.Models[i]
		configs = append(configs, serve.ModelConfig{Name: m.Name, Task: m.Task, Inputs: m.Inputs, Entity: m.Entity, Labeler: m.Labeler})
	}
	models, err := serve.NewModels(l.registry, p.ModelsDir(), l.trusted, configs, l.log)
	if err != nil {
		return err
	}
	if err := models.Refresh(ctx); err != nil {
		return err
	}
	server, err := serve.New(serve.Config{
		Project: p.Name, Sources: p.Sources, Plans: p.Plans, Store: l.store, Producer: l.producer, Log: l.log, Models: models, Spool: spool,
	})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", p.HTTP.Listen)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var views error
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		views = l.host(ctx, l.views())
	})
	err = server.Serve(ctx, ln)
	cancel()
	wg.Wait()
	return errors.Join(err, views)
}

// trusted are the keys of bundles that are taken: the project's own.
func (l *loop) trusted() ([]ed25519.PublicKey, error) { return l.keys.Trusted(), nil }

func (l *loop) trainerConfig() trainer.Config {
	p := l.project
	c := trainer.Config{
		Project: p.Name, Cluster: l.cluster, Registry: l.registry, Bundles: p.ModelsDir(), SchemaFile: p.SchemaFile,
		Sign: l.keys.Private(), Trusted: l.trusted, Code: "faults", Log: l.log,
	}
	for i := range p.Models {
		c.Models = append(c.Models, p.Models[i].Model)
	}
	return c
}

func (l *loop) deployerConfig() deploy.Config {
	p := l.project
	c := deploy.Config{Project: p.Name, Cluster: l.cluster, Registry: l.registry, Bundles: p.ModelsDir(), Trusted: l.trusted, Log: l.log}
	for i := range p.Models {
		m := &p.Models[i]
		c.Models = append(c.Models, deploy.Model{
			Name: m.Name, Task: m.Task, Set: bundle.SetID(m.Inputs), Horizon: m.Label.Horizon, Review: !m.Unreviewed, Steps: m.Rollout,
		})
	}
	return c
}

// ends is how many records the topics of the prices and of the feedback have:
// so many has the join committed when it is through.
func (l *loop) ends(ctx context.Context) (sum int64, err error) {
	for _, topic := range []string{l.project.Sources[0].Topic, feedback.Topic(l.project.Name)} {
		n, err := l.cluster.Partitions(ctx, topic)
		if err != nil {
			return 0, err
		}
		for p := range n {
			_, next, err := l.cluster.Bounds(ctx, topic, p)
			if err != nil {
				return 0, err
			}
			sum += next
		}
	}
	return sum, nil
}
