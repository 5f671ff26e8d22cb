package whatif

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams/lake"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/eval"
	"github.com/millrace/millrace/trainer/learn"
)

// A Model is what is asked about.
type Model struct {
	Name   string
	Task   learn.Task
	Inputs []bundle.Input   // what it sees, in the order of vectors
	Entity []features.Field // whom it is about: the entity fields of its views
	Label  feedback.Label   // with its defaults
	Gate   eval.Gate        // with its defaults: the past is compared as candidates are
}

// A Config is what a Lab needs.
type Config struct {
	Project  string
	Models   []Model
	Plans    []*features.Plan                    // of all views
	Views    []features.View                     // as they are written: one that gives a window no hop lets a changed one choose its own
	Lake     string                              // its root; empty: the project has none
	Bundles  string                              // the directory of the bundles
	Registry *registry.Registry                  // says which version serves; nil: none does yet
	Trusted  func() ([]ed25519.PublicKey, error) // asked before a bundle is opened, for keys come and go

	// ParseLength reads a window's length, as the project file writes it.
	ParseLength func(string) (time.Duration, error)

	Memory int64         // bytes of events and vectors that are kept for the next question, about; default 256 MiB
	Limit  time.Duration // for how long a question may take; default five minutes
}

// A Lab answers questions. Its methods may be called by several goroutines; it
// answers one question at a time, as one may take all the memory and processors
// that it is given.
type Lab struct {
	cfg    Config
	models []*model
	broken map[string]error // models that cannot be asked about

	readers chan struct{} // of series

	turn   chan struct{} // taken by who uses what follows
	cache  cache
	bundle *bundle.Bundle // opened last
}

// New returns a Lab.
func New(cfg Config) *Lab {
	cfg.Memory = cmp.Or(cfg.Memory, 256<<20)
	cfg.Limit = cmp.Or(cfg.Limit, 5*time.Minute)
	l := &Lab{cfg: cfg, broken: map[string]error{}, readers: make(chan struct{}, seriesAtOnce), turn: make(chan struct{}, 1), cache: cache{limit: cfg.Memory}}
	for _, m := range cfg.Models {
		x, err := newModel(&cfg, m)
		if err != nil {
			l.broken[m.Name] = err
			continue
		}
		l.models = append(l.models, x)
	}
	return l
}

// model returns a model by its name. The error is a *Fault where there is none.
func (l *Lab) model(name string) (*model, error) {
	if err := l.broken[name]; err != nil {
		return nil, err
	}
	var names []string
	for _, m := range l.models {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return nil, faultf("model", "there is no model %q; the project has %s", name, few(names))
}

// take waits for the turn, and bounds what is done in it. Release is to be called
// at its end.
func (l *Lab) take(ctx context.Context) (limited context.Context, release func(), err error) {
	limited, cancel := context.WithTimeoutCause(ctx, l.cfg.Limit, fmt.Errorf("whatif: no answer within %v: ask about fewer past examples", l.cfg.Limit))
	select {
	case l.turn <- struct{}{}:
		return limited, func() { <-l.turn; cancel() }, nil
	case <-limited.Done():
		cancel()
		return nil, nil, context.Cause(limited)
	}
}

// Ask answers a question. Progress may be nil; it is called while the lake is
// read, with how many of its records have been passed, of about how many. What is
// wrong with the question is a *Fault.
func (l *Lab) Ask(ctx context.Context, q Question, progress func(done, of int64)) (*Answer, error) {
	m, err := l.model(q.Model)
	if err != nil {
		return nil, err
	}
	x, err := m.understand(&l.cfg, &q)
	if err != nil {
		return nil, err
	}
	if l.cfg.Lake == "" {
		return nil, errNoLake
	}
	ctx, release, err := l.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	a, err := l.answer(ctx, m, x, progress)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return a, err
}

// Knobs returns what a question about a model can change, nil where there is no
// such model: windows first, each by the order of the model's inputs. It does not
// wait for a question that is being answered.
func (l *Lab) Knobs(model string) []Knob {
	m, err := l.model(model)
	if err != nil {
		return nil
	}
	knobs := m.knobs()
	ranges := map[string][2]float64{}
	select {
	case l.turn <- struct{}{}:
		ranges = l.ranges(m)
		<-l.turn
	default:
	}
	for i := range knobs {
		k := &knobs[i]
		k.Min, k.Max = eval.Undefined(), eval.Undefined()
		if r, ok := ranges[k.Feature]; ok && k.Kind == ValueKnob {
			k.Min, k.Max = eval.Number(r[0]), eval.Number(r[1])
		}
	}
	return knobs
}

// ranges returns the least and greatest values of a model's inputs in the past
// examples that were read last.
func (l *Lab) ranges(m *model) map[string][2]float64 {
	ranges := map[string][2]float64{}
	past, ok := find(&l.cache, func(_ string, x *examples) bool { return x.model == m })
	if !ok {
		return ranges
	}
	var vector []features.Value
	for row := range past.rows() {
		vector = past.served.row(vector[:0], row)
		for i, v := range vector {
			x, number := v.Number()
			if !number || plain(v).Kind == expr.Missing {
				continue
			}
			r, seen := ranges[m.Inputs[i].Name]
			if !seen {
				r = [2]float64{x, x}
			}
			ranges[m.Inputs[i].Name] = [2]float64{min(r[0], x), max(r[1], x)}
		}
	}
	return ranges
}

// Entities returns whom the newest past examples of a model are about, sorted, at
// most limit of them; none where the lake has no examples of it.
func (l *Lab) Entities(ctx context.Context, model string, limit int) ([]map[string]string, error) {
	m, err := l.model(model)
	if err != nil {
		return nil, err
	}
	if l.cfg.Lake == "" {
		return nil, errNoLake
	}
	ctx, release, err := l.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	past, err := l.past(ctx, m, min(DefaultPast, m.mostPast()))
	if err != nil {
		return nil, err
	}
	about := slices.Clone(past.about)
	slices.Sort(about)
	about = slices.Compact(about)
	var entities []map[string]string
	for _, text := range about[:min(max(limit, 0), len(about))] {
		entity := map[string]string{}
		for i, value := range valuesOf(text) {
			entity[m.Entity[i].Name] = value
		}
		entities = append(entities, entity)
	}
	return entities, nil
}

// past returns the newest labelled examples of a model, at most n.
func (l *Lab) past(ctx context.Context, m *model, n int) (*examples, error) {
	t, _, err := look(lake.ExamplesFolder(l.cfg.Lake, m.Name))
	if err != nil {
		return nil, err
	}
	id := fmt.Sprintf("%s, the newest %d", t.id, n)
	if x, ok := byKey[*examples](&l.cache, id); ok {
		return x, nil
	}
	x, err := m.readExamples(ctx, l.cfg.Lake, id, n)
	if err == nil {
		l.cache.put(id, x.bytes(), x)
	}
	return x, err
}
