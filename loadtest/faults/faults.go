// Package faults has what hosts of the pipeline are tried with while they are
// killed and their engines fail: a generated log, what a store holds of it, and
// what it must hold by the naive definition.
package faults

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/featurestest"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/codec"
	"github.com/millrace/millrace/streams/pipeline"
)

// Work is a generated log and the plan that it is applied under.
type Work struct {
	Plan    *features.Plan
	Records []streams.Record // in the order in which they must be produced, by one producer

	shards  []*featurestest.World
	skipped []int64 // records of each partition that are not events
}

// badEvery is how many events lie between two records that are not events.
const badEvery = 50

// A Spec says which work. The plan depends on all of it but Events.
type Spec struct {
	Seed       uint64
	Topic      string // of the events; empty: "source"
	Partitions int
	Events     int
	Entities   int
	Rekeyed    bool // the topic is keyed by the events' ids and not by the view's entity
}

// NewWork returns the work of a specification: one view with every kind of
// window over its events, and some records that are not events.
func NewWork(s Spec) (*Work, error) {
	world := featurestest.Large(s.Seed, s.Events, s.Entities)
	world.Source.Partitions = s.Partitions
	world.Source.Topic = cmp.Or(s.Topic, world.Source.Topic)
	if s.Rekeyed {
		world.Source.KeyedBy = []string{world.Source.ID}
	}
	plan, err := features.Compile(world.Clock, world.Source, world.View)
	if err != nil {
		return nil, fmt.Errorf("faults: compile the view of seed %d: %w", s.Seed, err)
	}
	w := &Work{Plan: plan, skipped: make([]int64, s.Partitions)}
	partitionOf := func(key string) int { return streams.PartitionOf([]byte(key), s.Partitions) }
	w.shards = world.Split(s.Partitions, partitionOf)
	for i, e := range world.Events {
		key := e.Values[featurestest.Key].Str
		rec := streams.Record{Key: []byte(key), Value: codec.AppendJSON(nil, plan.Fields(), e.Values), Time: e.Arrival, Partition: -1}
		if s.Rekeyed {
			rec.Key = []byte(e.Values[featurestest.ID].Str)
		}
		w.Records = append(w.Records, rec)
		if i%badEvery == badEvery/2 {
			rec.Value = []byte(`{"key": "` + key + `", "x": }`)
			w.Records = append(w.Records, rec)
			w.skipped[partitionOf(key)]++
		}
	}
	return w, nil
}

// Bad is how many records are not events.
func (w *Work) Bad() (n int64) {
	for _, k := range w.skipped {
		n += k
	}
	return n
}

// A Letter is what tells a dead letter of one view and one source from others.
type Letter struct {
	Partition int
	Offset    int64
	Reason    string
}

// An Outcome is what has become of the work in a project.
type Outcome struct {
	Rows     map[string]online.Row // by entity
	Progress []online.Progress     // by partition
	Letters  []Letter              // by partition and offset
}

// ReadOutcome reads what has become of a plan's events in a project. A row in
// the wrong shard, and a dead letter that counts twice, are errors.
func ReadOutcome(ctx context.Context, plan *features.Plan, project string, store online.Store, c *streams.Cluster) (*Outcome, error) {
	o := &Outcome{Rows: map[string]online.Row{}}
	space, partitions := plan.Space(project), plan.Source.Partitions
	for e, err := range store.Rows(ctx, space) {
		if err != nil {
			return nil, err
		}
		if _, twice := o.Rows[e.Key.Entity]; twice || streams.PartitionOf([]byte(e.Key.Entity), partitions) != e.Key.Shard.Index {
			return nil, fmt.Errorf("faults: entity %q has a row in shard %d, where it does not belong", e.Key.Entity, e.Key.Shard.Index)
		}
		o.Rows[e.Key.Entity] = online.Row{Head: bytes.Clone(e.Row.Head), Base: bytes.Clone(e.Row.Base)}
	}
	for i := range partitions {
		state, err := store.State(ctx, online.Shard{Space: space, Index: i})
		if err != nil {
			return nil, err
		}
		o.Progress = append(o.Progress, state.Progress)
	}
	for d, err := range streams.ReadDeadLetters(ctx, c, pipeline.DeadLetters(project)) {
		if err != nil {
			return nil, err
		}
		if d.Stage != "pipeline" {
			continue
		}
		if d.View != plan.View.Name || d.Topic != plan.Topic(project) {
			return nil, fmt.Errorf("faults: a dead letter of view %s, topic %s", d.View, d.Topic)
		}
		o.Letters = append(o.Letters, Letter{d.Partition, d.Offset, d.Reason})
	}
	slices.SortFunc(o.Letters, func(a, b Letter) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	for i := 1; i < len(o.Letters); i++ {
		if a, b := o.Letters[i-1], o.Letters[i]; a.Partition == b.Partition && a.Offset == b.Offset {
			return nil, fmt.Errorf("faults: two dead letters for partition %d, offset %d", a.Partition, a.Offset)
		}
	}
	return o, nil
}

// Differs returns the first difference between two outcomes, empty for none.
func (o *Outcome) Differs(other *Outcome) string {
	if len(o.Rows) != len(other.Rows) {
		return fmt.Sprintf("%d rows and %d", len(o.Rows), len(other.Rows))
	}
	for _, entity := range slices.Sorted(maps.Keys(o.Rows)) {
		a, b := o.Rows[entity], other.Rows[entity]
		if !bytes.Equal(a.Head, b.Head) || !bytes.Equal(a.Base, b.Base) {
			return fmt.Sprintf("the row of %s:\n%x %x\n%x %x", entity, a.Head, a.Base, b.Head, b.Base)
		}
	}
	for i := range o.Progress {
		if !reflect.DeepEqual(o.Progress[i], other.Progress[i]) {
			return fmt.Sprintf("the progress of shard %d:\n%+v\n%+v", i, o.Progress[i], other.Progress[i])
		}
	}
	same := 0
	for same < min(len(o.Letters), len(other.Letters)) && o.Letters[same] == other.Letters[same] {
		same++
	}
	if same < max(len(o.Letters), len(other.Letters)) {
		return fmt.Sprintf("%d dead letters and %d, of which the first %d are the same", len(o.Letters), len(other.Letters), same)
	}
	return ""
}

// Check compares the outcome of the whole work with the naive definition: the
// counts of each shard, the dead letters, and every feature of every entity at
// several times. It returns the first difference.
func (w *Work) Check(o *Outcome) error {
	for i, shard := range w.shards {
		fates, newests := shard.Fates()
		if err := w.checkCounts(o, i, fates); err != nil {
			return err
		}
		newest := o.Progress[i].Newest
		if n := len(newests); n == 0 || newest != newests[n-1] {
			return fmt.Errorf("faults: shard %d of %d events: the newest event time is %d", i, n, newest)
		}
		for _, later := range []int64{0, 1, 7 * 60e6, 29 * 60e6} {
			if err := w.checkValues(o, shard, fates, newest+later); err != nil {
				return fmt.Errorf("faults: shard %d: %w", i, err)
			}
		}
	}
	return nil
}

func (w *Work) checkCounts(o *Outcome, i int, fates []featurestest.Fate) error {
	of := map[featurestest.Fate]int64{}
	for _, f := range fates {
		of[f]++
	}
	want := o.Progress[i].Counts // truncated and nonfinite are the core's own
	want.Applied, want.Dropped, want.Duplicates = of[featurestest.Folded], of[featurestest.Dropped], of[featurestest.Duplicate]
	want.Dead = of[featurestest.Future] + of[featurestest.Late] + w.skipped[i]
	if got := o.Progress[i].Counts; got != want {
		return fmt.Errorf("faults: shard %d: counts %+v, want %+v", i, got, want)
	}
	letters, bad := int64(0), int64(0)
	for _, l := range o.Letters {
		if l.Partition == i {
			letters++
			if l.Reason == codec.BadJSON {
				bad++
			}
		}
	}
	if letters != want.Dead || bad != w.skipped[i] {
		return fmt.Errorf("faults: shard %d: %d dead letters, %d of them no JSON, want %d and %d", i, letters, bad, want.Dead, w.skipped[i])
	}
	return nil
}

func (w *Work) checkValues(o *Outcome, shard *featurestest.World, fates []featurestest.Fate, asOf int64) error {
	magnitudes := map[string]float64{}
	for _, f := range shard.View.Features {
		magnitudes[f.Name] = shard.Magnitude(f.Name)
	}
	seen := map[string]bool{}
	for _, e := range shard.Events {
		key := e.Values[featurestest.Key]
		if seen[key.Str] {
			continue
		}
		seen[key.Str] = true
		stored := o.Rows[key.Str]
		row, err := w.Plan.DecodeRow(stored.Head, stored.Base)
		if err != nil {
			return fmt.Errorf("entity %s: %w", key.Str, err)
		}
		got, want := w.Plan.Vector(nil, row, features.At{AsOf: asOf}, nil), shard.Vector(fates, len(shard.Events), key, asOf)
		for i, f := range shard.View.Features {
			if !featurestest.Near(f.Agg, magnitudes[f.Name], got[i], want[i]) {
				return fmt.Errorf("entity %s at %d: %s = %s, want %s", key.Str, asOf, f.Name, got[i].Text(), want[i].Text())
			}
		}
	}
	return nil
}
