package trainer

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams/pipeline"
	"github.com/millrace/millrace/trainer/bundle"
)

// Reproduce trains a run again from the ranges of the examples topic that it
// learned from, writes the bundle into dir and returns its id, which is the id of
// the run's bundle if every byte is the same. The project must define the model's
// features as they were.
func Reproduce(ctx context.Context, cfg *Config, m *Model, run registry.Run, dir string) (id string, err error) {
	if run.Status != registry.Trained {
		return "", fmt.Errorf("trainer: run %d was %s and made no bundle", run.ID, run.Status)
	}
	var s spec
	if err := json.Unmarshal(run.Spec, &s); err != nil {
		return "", fmt.Errorf("trainer: run %d: its spec cannot be read: %w", run.ID, err)
	}
	if now := bundle.SetID(m.Inputs); now != s.Set {
		return "", fmt.Errorf("trainer: run %d saw the features %s, and the project now defines %s; use the project file of then", run.ID, s.Set, now)
	}
	again := *m
	again.Task, again.Train.Window, again.Train.Seed = s.Task, s.Window, s.Seed
	if err := json.Unmarshal(s.Params, &again.FTRL); err != nil {
		return "", fmt.Errorf("trainer: run %d: parameters %s: %w", run.ID, s.Params, err)
	}
	b := newBook(&again, len(s.Ranges))
	if err := readRanges(ctx, cfg, s.Ranges, b); err != nil {
		return "", err
	}
	rows, _ := b.training()
	contents, _, err := fit(cfg.Project, &again, &s, rows, summarise(&again, rows))
	if err != nil {
		return "", err
	}
	return bundle.Write(dir, contents, cfg.Sign)
}

// readRanges puts the examples of the ranges into a book.
func readRanges(ctx context.Context, cfg *Config, ranges []bundle.Range, b *book) error {
	from := make([]int64, len(ranges))
	for i, r := range ranges {
		from[i] = r.First
		first, next, err := cfg.Cluster.Bounds(ctx, feedback.ExamplesTopic(cfg.Project), r.Partition)
		if err != nil {
			return err
		}
		if first > r.First || next < r.Next {
			return fmt.Errorf("trainer: partition %d of %s holds offsets %d to %d, and the run learned from %d to %d: the topic has lost them",
				r.Partition, feedback.ExamplesTopic(cfg.Project), first, next, r.First, r.Next)
		}
	}
	reader := pipeline.NewExampleReader(cfg.Cluster, cfg.Project, from)
	defer reader.Close()
	for {
		batch, err := reader.Poll(ctx)
		if err != nil || len(batch) == 0 {
			return err
		}
		for i := range batch {
			if e := &batch[i]; e.Offset < ranges[e.Partition].Next {
				b.add(&e.Example, e.Partition, e.Offset)
			}
		}
	}
}

// labelled yields the vectors and labels of rows.
func labelled(rows []row) func(yield func([]features.Value, float64) bool) {
	return func(yield func([]features.Value, float64) bool) {
		for i := range rows {
			if !yield(rows[i].Vector, rows[i].label) {
				return
			}
		}
	}
}
