package trainer

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
	"github.com/millrace/millrace/trainer/bundle"
)

// Author is who the trainer is in the registry.
const Author = "trainer"

// pollEvery is how often Run looks for new examples. Candidates are a matter of
// hours, so that a second more changes nothing.
const pollEvery = time.Second

// A Config is what a Loop needs. All fields are required.
type Config struct {
	Project    string
	Models     []Model
	Cluster    *streams.Cluster
	Registry   *registry.Registry
	Bundles    string // the directory that bundles are written to
	SchemaFile func(model string) string
	Sign       ed25519.PrivateKey
	Trusted    []ed25519.PublicKey
	Code       string // version of this program
	Log        *slog.Logger
}

// A Loop is the retrain loop of a project's models. It keeps nothing but memory:
// started again it reads the examples again, and the registry says what is done.
// Two loops of one project do no harm: a training is the same wherever it is
// done, and the registry takes it once.
type Loop struct {
	cfg    Config
	reader *pipeline.ExampleReader // nil: not started
	books  []*book
	loaded map[string]*bundle.Bundle // by id, those that judge

	mu      sync.Mutex
	trouble error // why it is not at work; nil: it is
}

// New returns a loop.
func New(cfg Config) *Loop { return &Loop{cfg: cfg, loaded: map[string]*bundle.Bundle{}} }

// Run works until ctx ends. What fails is tried again.
func (l *Loop) Run(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if err := l.Step(ctx); err != nil && ctx.Err() == nil {
			l.cfg.Log.Warn("training waits; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Step does all that is due with the examples that are in the topic now: base
// rates, candidates, judgements.
func (l *Loop) Step(ctx context.Context) error {
	err := l.step(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trouble = err
	return err
}

// Problems says why the loop is not at work, one line, and nothing when it is.
func (l *Loop) Problems() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.trouble == nil {
		return nil
	}
	return []string{fmt.Sprintf("training waits: %v", l.trouble)}
}

func (l *Loop) step(ctx context.Context) error {
	if err := l.read(ctx); err != nil {
		return err
	}
	var errs []error
	for _, b := range l.books {
		if err := l.work(ctx, b); err != nil {
			errs = append(errs, fmt.Errorf("model %s: %w", b.model.Name, err))
		}
	}
	return errors.Join(errs...)
}

// read takes what is in the topic into the books.
func (l *Loop) read(ctx context.Context) error {
	if l.reader == nil {
		topic := feedback.ExamplesTopic(l.cfg.Project)
		partitions, err := l.cfg.Cluster.Partitions(ctx, topic)
		if errors.Is(err, streams.ErrNoTopic) {
			return nil // no join has started yet
		}
		if err != nil {
			return err
		}
		l.reader = pipeline.NewExampleReader(l.cfg.Cluster, l.cfg.Project, nil)
		for i := range l.cfg.Models {
			l.books = append(l.books, newBook(&l.cfg.Models[i], partitions))
		}
	}
	for {
		batch, err := l.reader.Poll(ctx)
		if err != nil || len(batch) == 0 {
			return err
		}
		for i := range batch {
			for _, b := range l.books {
				b.add(&batch[i].Example, batch[i].Partition, batch[i].Offset)
			}
		}
	}
}

// work does what is due for one model.
func (l *Loop) work(ctx context.Context, b *book) error {
	serving, err := l.cfg.Registry.Serving(ctx, b.model.Name)
	if err != nil {
		return err
	}
	if serving.Champion == registry.BaseRateVersion {
		if err := l.baseRate(ctx, b, serving.BaseRate); err != nil {
			return err
		}
	}
	if err := l.candidate(ctx, b); err != nil {
		return err
	}
	return l.judge(ctx, b)
}

// baseRate keeps what is served before there is a champion.
func (l *Loop) baseRate(ctx context.Context, b *book, now registry.BaseRate) error {
	r := b.before.clone()
	for i := range b.rows {
		r.count++
		r.sum += b.rows[i].label
	}
	if int64(r.count) == now.Count {
		return nil
	}
	return l.cfg.Registry.SetBaseRate(ctx, b.model.Name, registry.BaseRate{Value: r.base(b.model.binary()), Count: int64(r.count), AsOf: b.known})
}

// candidate makes one when it is due.
func (l *Loop) candidate(ctx context.Context, b *book) error {
	if b.runs == nil {
		runs, err := l.cfg.Registry.Runs(ctx, b.model.Name)
		if err != nil {
			return err
		}
		if b.runs, err = specs(runs); err != nil {
			return err
		}
	}
	if !b.due() {
		return nil
	}
	b.runs = nil // read again, with the new one and what another trainer has done
	return l.train(ctx, b)
}

// specs are those of runs, newest first; never nil.
func specs(runs []registry.Run) ([]spec, error) {
	all := make([]spec, len(runs))
	for i := range runs {
		if err := json.Unmarshal(runs[i].Spec, &all[i]); err != nil {
			return nil, fmt.Errorf("run %d: its spec cannot be read: %w", runs[i].ID, err)
		}
	}
	return all, nil
}

// due reports whether enough has been learned since the last run of the model,
// and whether the schedule leaves room for one more.
func (b *book) due() bool {
	var next []int64
	recent := 0
	for i := range b.runs {
		if i == 0 {
			next = b.runs[i].next()
		}
		if time.Duration(b.known-b.runs[i].Known)*time.Microsecond < b.model.Train.Per {
			recent++
		}
	}
	return b.since(next) >= b.model.Train.Every && recent < b.model.Train.AtMost
}
