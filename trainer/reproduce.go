package trainer

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams/pipeline"
	"github.com/millrace/millrace/trainer/bundle"
)

// A Reproduction is what came of training a run again.
type Reproduction struct {
	Bundle    string   `json:"bundle"`    // its id
	Identical bool     `json:"identical"` // to the run's, every byte but the signature
	Examples  int      `json:"examples"`
	Differs   []string `json:"differs"`      // the files that do, where the run's bundle is at hand
	Code      string   `json:"code"`         // that trained the run
	CodeNow   string   `json:"code_running"` // that trained it again
}

// Reproduce trains a run again from the ranges of the examples topic that it
// learned from, and writes the bundle into dir. It is the run's, with the same id,
// if every byte is the same. The project must define the model's features as they
// were, and the topic must still hold the ranges.
func Reproduce(ctx context.Context, cfg *Config, m *Model, run *registry.Run, dir string) (*Reproduction, error) {
	if run.Status != registry.Trained {
		return nil, fmt.Errorf("trainer: run %d was %s and made no bundle", run.ID, run.Status)
	}
	var s spec
	if err := json.Unmarshal(run.Spec, &s); err != nil {
		return nil, fmt.Errorf("trainer: run %d: its spec cannot be read: %w", run.ID, err)
	}
	again := *m
	if err := again.as(&s); err != nil {
		return nil, fmt.Errorf("trainer: run %d: %w", run.ID, err)
	}
	rows, err := readRanges(ctx, cfg, &again, &s)
	if err != nil {
		return nil, fmt.Errorf("trainer: run %d: %w", run.ID, err)
	}
	var then report
	if err := json.Unmarshal(run.Report, &then); err != nil {
		return nil, fmt.Errorf("trainer: run %d: its report cannot be read: %w", run.ID, err)
	}
	if len(rows) != then.Examples {
		return nil, fmt.Errorf("trainer: run %d learned from %d examples, and topic %s holds %d of them: it has lost some or is another topic of that name", run.ID, then.Examples, s.Topic, len(rows))
	}
	learner, err := again.learnerOf(&s)
	if err != nil {
		return nil, fmt.Errorf("trainer: run %d: %w", run.ID, err)
	}
	contents, _, err := fit(ctx, cfg, &again, &learner, &s, rows, summarise(&again, rows))
	if err != nil {
		return nil, fmt.Errorf("trainer: run %d: %w", run.ID, err)
	}
	r := &Reproduction{Examples: len(rows), Code: s.Code, CodeNow: cfg.Code, Differs: []string{}}
	if r.Bundle, err = bundle.Write(dir, contents, cfg.Sign); err != nil {
		return nil, err
	}
	if r.Identical = r.Bundle == run.Bundle; !r.Identical {
		r.Differs = differ(cfg, run.Bundle, dir, r.Bundle)
	}
	return r, nil
}

// as gives the model what a run had of it.
func (m *Model) as(s *spec) error {
	if now := bundle.SetID(m.Inputs); now != s.Set {
		return fmt.Errorf("it saw the features %s (%v), and the project now defines %s; use the project file of then", s.Set, s.Features, now)
	}
	m.Task, m.Train.Window = s.Task, s.Window
	return nil
}

// readRanges returns what a run has learned from.
func readRanges(ctx context.Context, cfg *Config, m *Model, s *spec) ([]*row, error) {
	from, err := begins(ctx, cfg, s)
	if err != nil {
		return nil, err
	}
	b := newBook(m, len(from))
	reader := pipeline.NewExampleReader(cfg.Cluster, cfg.Project, from)
	defer reader.Close()
	for through := false; !through; {
		before := reader.Looked()
		batch, err := reader.Poll(ctx)
		if err != nil {
			return nil, err
		}
		for i := range batch {
			if e := &batch[i]; e.Partition < len(s.Ranges) && e.Offset < s.Ranges[e.Partition].Next {
				b.read(&e.Example, e.Partition, e.Offset)
			}
		}
		next := reader.Next()
		atEnd := len(batch) == 0 && slices.Equal(before, reader.Looked()) // an empty batch alone may be of copies
		through = atEnd || !slices.ContainsFunc(s.Ranges, func(g bundle.Range) bool { return next[g.Partition] < g.Next })
	}
	for i := range b.passed {
		b.passed[i] = s.Known + 1
	}
	b.release()
	for b.take() {
	}
	return b.newest(), nil
}

// begins returns where to begin reading in each partition.
func begins(ctx context.Context, cfg *Config, s *spec) ([]int64, error) {
	topic := feedback.ExamplesTopic(cfg.Project)
	n, err := cfg.Cluster.Partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	if n < len(s.Ranges) {
		return nil, fmt.Errorf("topic %s has %d partitions, and had %d: it was made anew", topic, n, len(s.Ranges))
	}
	from := make([]int64, n)
	for p := range from {
		first, next, err := cfg.Cluster.Bounds(ctx, topic, p)
		if err != nil {
			return nil, err
		}
		from[p] = first
		if p >= len(s.Ranges) || s.Ranges[p].Next == 0 {
			continue
		}
		g := s.Ranges[p]
		if first > g.First || next < g.Next {
			return nil, fmt.Errorf("it learned from offsets %d to %d of partition %d of topic %s, and that has %d to %d: the topic has lost records or was made anew", g.First, g.Next-1, p, topic, first, next-1)
		}
		from[p] = g.First
	}
	return from, nil
}

// differ names the files of two bundles that differ. Nothing can be said where
// the first is not at hand.
func differ(cfg *Config, then, dir, now string) []string {
	keys, err := cfg.Trusted()
	if err != nil {
		return []string{}
	}
	a, err := bundle.Open(cfg.Bundles, then, keys)
	if err != nil {
		return []string{}
	}
	b, err := bundle.Open(dir, now, keys)
	if err != nil {
		return []string{}
	}
	names := []string{bundle.ManifestName}
	for _, f := range a.Manifest().Files {
		if !slices.Contains(b.Manifest().Files, f) {
			names = append(names, f.Name)
		}
	}
	return names
}
