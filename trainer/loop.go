package trainer

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
	"github.com/millrace/millrace/trainer/bundle"
)

// Author is who the trainer is in the registry.
const Author = "trainer"

// pollEvery is how often Run looks for new examples, and how often a Step looks
// at the registry when there are none. Candidates are a matter of hours, so that
// a second more changes nothing.
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
	Trusted    func() ([]ed25519.PublicKey, error) // asked before each bundle is opened, for keys come and go
	Code       string                              // version of this program
	Log        *slog.Logger
}

// A Loop is the retrain loop of a project's models. It keeps nothing but memory:
// started again it reads the examples again, and the registry says what is done.
// Which candidates there are is a function of the topic of examples, wherever and
// whenever a loop runs. So two loops of one project do no harm: the registry
// takes each training once.
type Loop struct {
	cfg Config

	work   sync.Mutex // held by who uses what follows
	reader *pipeline.ExampleReader
	books  []*book // nil: nothing was read yet
	loaded map[string]*bundle.Bundle
	looked time.Time // when all that was due was done; zero: it is not

	mu      sync.Mutex
	trouble error // why it is not at work; nil: it is
}

// New returns a loop.
func New(cfg Config) *Loop { return &Loop{cfg: cfg, loaded: map[string]*bundle.Bundle{}} }

// Run works until ctx ends, and closes the loop. What fails is tried again.
func (l *Loop) Run(ctx context.Context) error {
	defer l.Close()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for before := ""; ; {
		now := ""
		if err := l.Step(ctx); err != nil && ctx.Err() == nil {
			if now = err.Error(); now != before {
				l.cfg.Log.Warn("training waits; trying again", "error", err)
			}
		}
		before = now
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
	if ctx.Err() != nil {
		return err // that it was cut short says nothing of the work
	}
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

// Close ends the connections. A Step after it begins anew.
func (l *Loop) Close() {
	l.work.Lock()
	defer l.work.Unlock()
	l.reset()
}

func (l *Loop) reset() {
	if l.reader != nil {
		l.reader.Close()
	}
	l.reader, l.books, l.looked = nil, nil, time.Time{}
}

func (l *Loop) step(ctx context.Context) error {
	l.work.Lock()
	defer l.work.Unlock()
	if l.reader == nil {
		l.reader = pipeline.NewExampleReader(l.cfg.Cluster, l.cfg.Project, nil)
	}
	for {
		more, err := l.read(ctx)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		l.looked = time.Time{}
		if err := l.each(func(b *book) error { return l.candidates(ctx, b) }); err != nil {
			return err
		}
	}
	if time.Since(l.looked) < pollEvery {
		return nil // nothing was read, and nothing can be due
	}
	// After an error some rows may still be to be taken in.
	err := l.each(func(b *book) error {
		return errors.Join(l.asked(ctx, b), l.candidates(ctx, b), l.baseRate(ctx, b), l.judge(ctx, b))
	})
	if err == nil {
		l.looked = time.Now()
		l.tell()
	}
	return err
}

// tell says how many examples are of no use, and again when they are twice as
// many.
func (l *Loop) tell() {
	for _, b := range l.books {
		if b.foreign > 2*b.told {
			l.cfg.Log.Warn("examples of a model are of other features than the project defines now, and nothing is learned from them", "model", b.model.Name, "examples", b.foreign, "of", b.foreign+int(b.all.count))
			b.told = b.foreign
		}
	}
}

// each does something for each model: what fails for one keeps no other from
// its work.
func (l *Loop) each(do func(*book) error) error {
	var errs []error
	for _, b := range l.books {
		if err := do(b); err != nil {
			errs = append(errs, fmt.Errorf("model %s: %w", b.model.Name, err))
		}
	}
	return errors.Join(errs...)
}

// read takes some of what is in the topic into the books, and reports whether
// there was any.
func (l *Loop) read(ctx context.Context) (more bool, err error) {
	for _, b := range l.books {
		if len(b.waiting) > maxRows {
			return false, fmt.Errorf("model %s: %d examples wait for a partition of the topic of examples that falls behind: see that its join is at work, then start again", b.model.Name, len(b.waiting))
		}
	}
	before := l.reader.Looked()
	batch, err := l.reader.Poll(ctx)
	if gone := new(streams.OutOfRange); errors.As(err, &gone) {
		l.cfg.Log.Warn("the topic of examples was made anew or has lost what comes next; it is read again from where it begins", "error", err)
		l.reset()
		l.reader = pipeline.NewExampleReader(l.cfg.Cluster, l.cfg.Project, nil)
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if partitions := len(l.reader.Next()); l.books == nil && partitions > 0 {
		if err := l.begin(ctx, partitions); err != nil {
			l.reset() // the batch is lost
			return false, err
		}
	}
	for _, b := range l.books {
		for i := range batch {
			b.read(&batch[i].Example, batch[i].Partition, batch[i].Offset)
		}
		b.release()
	}
	return !slices.Equal(before, l.reader.Looked()), nil // a batch of copies alone is empty
}

// begin makes the books.
func (l *Loop) begin(ctx context.Context, partitions int) error {
	var books []*book
	for i := range l.cfg.Models {
		b := newBook(&l.cfg.Models[i], partitions)
		if err := errors.Join(l.asked(ctx, b), l.past(ctx, b)); err != nil {
			return err
		}
		if _, err := l.waiting(ctx, b); err != nil {
			return err
		}
		books = append(books, b)
	}
	l.books = books
	return nil
}

// find returns the book of a model, or nil.
func (l *Loop) find(model string) *book {
	for _, b := range l.books {
		if b.model.Name == model {
			return b
		}
	}
	return nil
}

// Passed returns the time up to which the loop has read every label of a model
// that became known: microseconds since the Unix epoch, math.MinInt64 while a
// partition has passed nothing.
func (l *Loop) Passed(model string) int64 {
	l.work.Lock()
	defer l.work.Unlock()
	if b := l.find(model); b != nil {
		return b.least()
	}
	return math.MinInt64
}

// rateStep is by which share of it the number of labels changes before a base
// rate is written again: each is a write to the disk, and the next label changes
// the rate by less than anybody sees.
const rateStep = 50

// baseRate keeps what is served before there is a champion.
func (l *Loop) baseRate(ctx context.Context, b *book) error {
	serving, err := l.cfg.Registry.Serving(ctx, b.model.Name)
	if err != nil || serving.Champion != registry.BaseRateVersion {
		return err
	}
	now, count := serving.BaseRate, int64(b.all.count)
	if b.known <= now.AsOf && now.Count > 0 || max(count, now.Count)-min(count, now.Count) <= now.Count/rateStep {
		return nil
	}
	value := b.all.share(b.model.binary())
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return nil // the sum of such labels is beyond a double; the last rate stays
	}
	return l.cfg.Registry.SetBaseRate(ctx, b.model.Name, registry.BaseRate{Value: value, Count: count, AsOf: b.known})
}
