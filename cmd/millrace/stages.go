package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/millrace/millrace/streams/lake"
	"github.com/millrace/millrace/streams/pipeline"
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

// An archive keeps the events of all sources in the lake.
type archive struct {
	e         *engines
	archivers []*lake.Archiver

	mu     sync.Mutex
	failed []string      // why sources are no longer archived
	waits  map[int]error // why it is not known who archives a source, by its index
}

// newArchive returns the archive of a project; with lake: off it does nothing.
func newArchive(e *engines) (*archive, error) {
	a := &archive{e: e, waits: map[int]error{}}
	if e.project.Lake.Off {
		return a, nil
	}
	for _, s := range e.project.Sources {
		one, err := lake.NewArchiver(e.project.Lake.Dir, e.cluster, s, lake.Options{Log: e.log})
		if err != nil {
			return nil, err
		}
		a.archivers = append(a.archivers, one)
	}
	return a, nil
}

// run archives until ctx ends. What stops one source stops nothing else.
func (a *archive) run(ctx context.Context) error {
	var all sync.WaitGroup
	for i := range a.archivers {
		all.Go(func() { a.source(ctx, i) })
	}
	all.Wait()
	<-ctx.Done()
	return nil
}

// source archives one source. Of several processes one does: the owner of the
// topic's first partition.
func (a *archive) source(ctx context.Context, i int) {
	src := a.e.project.Sources[i]
	fail := func(err error) {
		a.e.log.Error("a source is no longer kept in the lake; features go on", "source", src.Name, "error", err)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.failed = append(a.failed, fmt.Sprintf("lake: source %s is no longer kept: %v", src.Name, err))
	}
	if !shared(a.e.project) {
		if err := a.archivers[i].Run(ctx); err != nil {
			fail(err)
		}
		return
	}
	group := a.e.project.Name + ".lake." + src.Name
	err := a.e.cluster.Share(ctx, group, []string{src.Topic}, func(ctx context.Context, _ string, partition int) {
		if partition != 0 {
			return
		}
		if err := a.archivers[i].Run(ctx); err != nil {
			fail(err)
		}
	}, func(err error) { a.sharing(i, err) })
	if err != nil && ctx.Err() == nil {
		fail(err)
	}
}

// sharing keeps why it is not known which process archives a source, or that it
// is, and logs once each time that it changes.
func (a *archive) sharing(i int, err error) {
	a.mu.Lock()
	before := a.waits[i]
	if delete(a.waits, i); err != nil {
		a.waits[i] = err
	}
	a.mu.Unlock()
	name := a.e.project.Sources[i].Name
	switch {
	case err != nil && before == nil:
		a.e.log.Warn("the lake waits to be given the partitions of a source; trying again", "source", name, "error", err)
	case err == nil && before != nil:
		a.e.log.Info("the lake has been given the partitions of a source again", "source", name)
	}
}

// problems says what keeps events out of the lake, one line each.
func (a *archive) problems() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := append([]string(nil), a.failed...)
	for i, one := range a.archivers {
		name := a.e.project.Sources[i].Name
		if err := a.waits[i]; err != nil {
			out = append(out, fmt.Sprintf("lake: source %s waits to be given its partitions: %v", name, err))
		} else if err := one.Err(); err != nil {
			out = append(out, fmt.Sprintf("lake: source %s waits: %v", name, err))
		}
	}
	return out
}

// reportEvery is how often the log says how far the pipeline is, if it moves.
const reportEvery = 10 * time.Second

// reportProgress logs what the views have done until ctx ends.
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

// totals are a view's counts over its shards of this process.
type totals struct{ applied, dropped, duplicates, dead, lag int64 }

func sum(shards []pipeline.Status) map[string]totals {
	all := map[string]totals{}
	for _, s := range shards {
		if s.View == "" || s.Stage != "pipeline" {
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
