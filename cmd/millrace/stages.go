package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/millrace/millrace/deploy/engines"
	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams/lake"
	"github.com/millrace/millrace/streams/pipeline"
	"github.com/millrace/millrace/trainer/bundle"
)

// A stage is a part of a process that works until its ctx ends.
type stage func(ctx context.Context) error

// runStages runs all stages until ctx ends or one of them returns. Then it ends
// them one after another, in the given order: each is through with what it has
// begun before that which it works with goes.
func runStages(ctx context.Context, log *slog.Logger, stages ...stage) error {
	over, end := context.WithCancel(ctx)
	defer end()
	errs := make([]error, len(stages))
	stops := make([]func(), len(stages))
	for i, run := range stages {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer end()
			errs[i] = run(ctx)
		}()
		stops[i] = func() { cancel(); <-done }
	}
	<-over.Done()
	log.Info("stopping")
	for _, stop := range stops {
		stop()
	}
	return errors.Join(errs...)
}

// An archive keeps the events of all sources and the examples of all models in
// the lake.
type archive struct {
	e      *opened
	tables []table

	mu     sync.Mutex
	topic  error         // why the topic of examples is not made yet
	failed []string      // why tables are no longer kept
	waits  map[int]error // why it is not known who keeps a table, by its index
}

// A table is one that the lake keeps of a topic.
type table struct {
	name     string // of its folder
	topic    string
	archiver *lake.Archiver
}

// newArchive returns the archive of a project, whose rows become files at the given
// age; 0: that of the lake. With lake: off it does nothing.
func newArchive(e *opened, age time.Duration) (*archive, error) {
	a := &archive{e: e, waits: map[int]error{}}
	if e.project.Lake.Off {
		return a, nil
	}
	for _, s := range e.project.Sources {
		one, err := lake.NewArchiver(e.project.Lake.Dir, e.cluster, s, lake.Options{Log: e.log, Age: age})
		if err != nil {
			return nil, err
		}
		a.tables = append(a.tables, table{"events_" + s.Name, s.Topic, one})
	}
	for i := range e.project.Models {
		m := &e.project.Models[i]
		one, err := lake.NewExamples(e.project.Lake.Dir, e.cluster, examplesTable(e.project, m), lake.Options{Log: e.log, Age: age})
		if err != nil {
			return nil, fmt.Errorf("model %s: %w", m.Name, err)
		}
		a.tables = append(a.tables, table{"examples_" + m.Name, feedback.ExamplesTopic(e.project.Name), one})
	}
	return a, nil
}

// examplesTable describes the table of a model's examples.
func examplesTable(p *project.Project, m *project.Model) lake.Examples {
	x := lake.Examples{Project: p.Name, Model: m.Name, Set: bundle.SetID(m.Inputs)}
	for _, f := range m.Entity {
		x.Entity = append(x.Entity, f.Name)
	}
	for _, in := range m.Inputs {
		x.Inputs = append(x.Inputs, features.Field{Name: in.Name, Kind: in.Kind})
	}
	return x
}

// run archives until ctx ends. What stops one table stops nothing else: those of
// events do not wait for the topic of examples either.
func (a *archive) run(ctx context.Context) error {
	examples := feedback.ExamplesTopic(a.e.project.Name)
	var all sync.WaitGroup
	var later []int
	for i := range a.tables {
		if a.tables[i].topic == examples {
			later = append(later, i)
		} else {
			all.Go(func() { a.keep(ctx, i) })
		}
	}
	if len(later) > 0 && a.ensureFeedback(ctx) {
		for _, i := range later {
			all.Go(func() { a.keep(ctx, i) })
		}
	}
	all.Wait()
	<-ctx.Done()
	return nil
}

// ensurePause is the pause after a try to make the topic of examples that failed.
const ensurePause = time.Second

// ensureFeedback makes the topic of examples, which the join may not have made
// yet. It returns false if ctx ends before that.
func (a *archive) ensureFeedback(ctx context.Context) bool {
	for {
		_, err := pipeline.EnsureFeedback(ctx, a.e.cluster, a.e.project.Name, engines.TopicConfig(a.e.project))
		if ctx.Err() != nil {
			return false
		}
		a.mu.Lock()
		before := a.topic
		a.topic = err
		a.mu.Unlock()
		if err == nil {
			return true
		}
		if before == nil || before.Error() != err.Error() {
			a.e.log.Warn("the lake waits for the topic of examples; trying again", "error", err)
		}
		select {
		case <-time.After(ensurePause):
		case <-ctx.Done():
			return false
		}
	}
}

// keep archives one table. Of several processes one does: the owner of the
// topic's first partition.
func (a *archive) keep(ctx context.Context, i int) {
	t := a.tables[i]
	fail := func(err error) {
		a.e.log.Error("a table is no longer kept in the lake; features go on", "table", t.name, "error", err)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.failed = append(a.failed, fmt.Sprintf("lake: table %s is no longer kept: %v", t.name, err))
	}
	if !engines.Shared(a.e.project) {
		if err := t.archiver.Run(ctx); err != nil {
			fail(err)
		}
		return
	}
	group := a.e.project.Name + ".lake." + t.name
	err := a.e.cluster.Share(ctx, group, []string{t.topic}, func(ctx context.Context, _ string, partition int) {
		if partition != 0 {
			return
		}
		if err := t.archiver.Run(ctx); err != nil {
			fail(err)
		}
	}, func(err error) { a.sharing(i, err) })
	if err != nil && ctx.Err() == nil {
		fail(err)
	}
}

// sharing keeps why it is not known which process archives a table, or that it
// is, and logs once each time that it changes.
func (a *archive) sharing(i int, err error) {
	a.mu.Lock()
	before := a.waits[i]
	if delete(a.waits, i); err != nil {
		a.waits[i] = err
	}
	a.mu.Unlock()
	name := a.tables[i].name
	switch {
	case err != nil && before == nil:
		a.e.log.Warn("the lake waits to be given the partitions of a table's topic; trying again", "table", name, "error", err)
	case err == nil && before != nil:
		a.e.log.Info("the lake has been given the partitions of a table's topic again", "table", name)
	}
}

// problems says what keeps records out of the lake, one line each.
func (a *archive) problems() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := append([]string(nil), a.failed...)
	if a.topic != nil {
		out = append(out, fmt.Sprintf("lake: the tables of examples wait for their topic: %v", a.topic))
	}
	for i, t := range a.tables {
		if err := a.waits[i]; err != nil {
			out = append(out, fmt.Sprintf("lake: table %s waits to be given its partitions: %v", t.name, err))
		} else if err := t.archiver.Err(); err != nil {
			out = append(out, fmt.Sprintf("lake: table %s waits: %v", t.name, err))
		}
	}
	return out
}

// reportEvery is how often the log says how far the pipeline is, if it moves.
const reportEvery = 10 * time.Second

// reportProgress logs what the views and the join have done until ctx ends.
func reportProgress(ctx context.Context, log *slog.Logger, host *pipeline.Host) error {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	before := map[string]totals{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for view, t := range sum(host.Status()) {
			if t != before[view] {
				log.Info("progress", "view", view, "applied", t.applied, "dropped", t.dropped, "duplicates", t.duplicates, "dead_letters", t.dead, "lag", t.lag)
			}
			before[view] = t
		}
	}
}

// totals are a view's counts, or those of the join by its topic, over the shards
// of this process.
type totals struct{ applied, dropped, duplicates, dead, lag int64 }

func sum(shards []pipeline.Status) map[string]totals {
	all := map[string]totals{}
	for _, s := range shards {
		if s.View == "" || s.Stage != "pipeline" && s.Stage != "join" {
			continue
		}
		t, c := all[s.View], s.Progress.Counts
		t.applied += c.Applied
		t.dropped += c.Dropped
		t.duplicates += c.Duplicates
		t.dead += c.Dead
		t.lag += s.Lag()
		all[s.View] = t
	}
	return all
}
