package pipeline

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
)

// A joiner joins one partition of the feedback topic: it runs feedback.Shard
// under the row law. Rows, the shard's state and the progress are one commit;
// examples are acknowledged before it, in the same partition of their topic, and
// numbered, so that readers skip what a crash makes it write twice.
type joiner struct {
	follower
	rules map[string]feedback.Rules
	clock bool // the owner writes the wall clock into the partition

	// One attempt's.
	core       *feedback.Shard
	cache      rowCache[*joinRow]
	dirty      []*entry[*joinRow]
	dirtyBytes int
	timers     timers
	examples   outbox
	emitted    []streams.Record // examples that are not in the outbox yet
	traced     []Joined         // what the tracer is told after the commit
	cause      streams.TraceContext
	offset     int64 // of the record that is being applied, ticks included

	records []feedback.Record
	rows    []*entry[*joinRow]    // of records; nil: it has none
	refused []*features.Rejection // by decode
	load    []*entry[*joinRow]    // rows to read from the store
	encode  []byte
}

// A joinRow is a row and when its timer runs out: feedback.Row.Due as of the
// last change that was looked at.
type joinRow struct {
	*feedback.Row
	timer int64
}

// joinState is the entity of the shard's own state. Those of rows have a slash.
const joinState = "state"

// joinShard is a partition's place in the store. Each partition has a space of
// its own: restore goes over all rows of the space.
func joinShard(project string, partition int) online.Shard {
	return online.Shard{Space: fmt.Sprintf("%s.join.%d", project, partition), Index: partition}
}

func newJoiner(h *Host, partition int) *joiner {
	topic := feedback.Topic(h.cfg.Project)
	j := &joiner{
		rules:    map[string]feedback.Rules{},
		clock:    !h.eventClock() && !h.labelsHaveSource(), // else the outcomes stage does
		follower: newFollower(h, joinShard(h.cfg.Project, partition), Status{View: topic, Stage: "join", Topic: topic, Partition: partition}),
	}
	j.rest = fmt.Sprintf("; for another log also delete the topic %s: the numbers of new examples would be those that its readers have", feedback.ExamplesTopic(h.cfg.Project))
	for _, l := range h.cfg.Labels {
		j.rules[l.Model] = l.Label.Rules()
	}
	return j
}

// run joins the partition until ctx ends, or until it must stop.
func (j *joiner) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	if j.clock {
		wg.Go(func() {
			j.host.writeClock(ctx, []int{j.shard.Index}, func() bool { return j.host.phase(j.status) == Running })
		})
	}
	j.follow(ctx, j)
}

// apply folds records, which are in offset order, into rows in memory. Rows are
// loaded for all records up to the next tick, which needs other ones.
func (j *joiner) apply(ctx context.Context, records []streams.Record) error {
	j.decode(records)
	for from := 0; from < len(records); {
		to := from
		for to < len(records) && j.records[to].Tick == nil {
			to++
		}
		if err := j.loadFor(ctx, from, to); err != nil {
			return err
		}
		if to < len(records) {
			to++ // the tick
		}
		for i := from; i < to; i++ {
			if err := j.applyOne(ctx, &records[i], i); err != nil {
				return err
			}
			j.done++
			j.state.Progress.Next, j.state.Progress.Checksum = records[i].Offset+1, checksum(&records[i])
		}
		from = to
	}
	return nil
}

// decode reads records.
func (j *joiner) decode(records []streams.Record) {
	j.records, j.rows, j.refused = j.records[:0], j.rows[:0], j.refused[:0]
	for i := range records {
		j.at = records[i].Offset
		var rec feedback.Record
		var refused *features.Rejection
		if why, ok := j.poison[j.at]; ok {
			refused = &features.Rejection{Reason: "panic", Detail: why}
		} else if r, err := feedback.Decode(records[i].Value); err != nil {
			refused = &features.Rejection{Reason: "bad_record", Detail: err.Error()}
		} else {
			rec = r
		}
		j.records, j.rows, j.refused = append(j.records, rec), append(j.rows, nil), append(j.refused, refused)
	}
}

// loadFor finds the rows of some of the records. The cache may forget before it,
// when nothing is dirty, and not while rows are in use.
func (j *joiner) loadFor(ctx context.Context, from, to int) error {
	j.at = -1
	if len(j.dirty) == 0 {
		j.cache.age()
	}
	for i := from; i < to; i++ {
		if rec := j.records[i]; rec.Model() != "" {
			j.rows[i] = j.entry(feedback.RowKey(rec.Model(), rec.Key()))
		}
	}
	return j.loadRows(ctx)
}

// applyOne takes one record, after a commit if its row has no place in the next.
func (j *joiner) applyOne(ctx context.Context, rec *streams.Record, i int) error {
	if n := j.rows[i]; n != nil && !n.dirty && j.full() {
		j.at = -1
		if err := j.commit(ctx); err != nil {
			return err
		}
	}
	j.at = rec.Offset
	j.core.At(rec.Offset)
	if j.offset = rec.Offset; j.host.cfg.Tracer != nil {
		j.cause, _ = rec.Traced()
	}
	r, refused, counts := &j.records[i], j.refused[i], &j.state.Progress.Counts
	switch {
	case refused != nil:
	case r.Tick != nil: // not counted: in a quiet hour nothing has happened
		return j.tick(ctx, r.Tick.Time)
	case r.Outcome != nil && !j.core.Origin(r.Outcome):
		counts.Duplicates++
		return nil
	default:
		var changed bool
		if changed, refused = j.core.Fold(*r, j.rows[i].row.Row, j.emit); changed {
			j.touch(j.rows[i])
		}
	}
	if refused != nil {
		counts.Dead++
		if err := j.bury(ctx, r.Model(), rec, refused); err != nil {
			return err
		}
	} else {
		counts.Applied++
	}
	return j.putOut(ctx)
}

// tick moves the clock and closes what is due, in the order of (due, entity).
// Where that is more than a commit takes, a commit in between leaves the tick to
// be taken again. Something is then still due, so that what is emitted in the end
// does not depend on where the commits were.
func (j *joiner) tick(ctx context.Context, at int64) error {
	j.core.Tick(at)
	j.at = -1 // what panics from here on is not about the tick
	for j.timers.due(j.core.Clock()) {
		if err := j.expire(ctx, j.timers.take(j.core.Clock(), dueChunk)); err != nil {
			return err
		}
	}
	j.core.Pass(j.emit)
	return j.putOut(ctx)
}

// dueChunk is how many rows that are due are loaded together.
const dueChunk = 1000

func (j *joiner) expire(ctx context.Context, due []timer) error {
	entries := make([]*entry[*joinRow], len(due))
	for i, t := range due {
		entries[i] = j.entry(t.entity)
	}
	if err := j.loadRows(ctx); err != nil {
		return err
	}
	aged := false
	for i, n := range entries {
		if n.row.timer != due[i].due {
			continue // the row was due earlier, and is in order
		}
		if !n.dirty && j.full() {
			if err := j.commit(ctx); err != nil {
				return err
			}
			if !aged { // once leaves the rows in use in the older half
				j.cache.age()
				aged = true
			}
		}
		model, _, _ := strings.Cut(n.entity, "/")
		j.core.Expire(n.row.Row, model, j.emit)
		j.touch(n)
		if err := j.putOut(ctx); err != nil {
			return err
		}
	}
	return nil
}

// touch notes that a row has changed.
func (j *joiner) touch(n *entry[*joinRow]) {
	if due := n.row.Due(); due != n.row.timer {
		n.row.timer = due
		j.timers.set(due, n.entity)
	}
	if !n.dirty {
		n.dirty = true
		j.dirty = append(j.dirty, n)
		j.dirtyBytes += n.row.Size()
	}
}

func (j *joiner) emit(e *feedback.Example) {
	rec := streams.Record{Value: e.AppendJSON(nil), Partition: j.shard.Index}
	if e.Kind != feedback.Passed {
		rec.Key = []byte(e.Prediction.Key)
	}
	j.emitted = append(j.emitted, rec)
	if j.host.cfg.Tracer != nil && e.Kind != feedback.Passed {
		j.note(e)
	}
}

// putOut hands what was emitted to the outbox.
func (j *joiner) putOut(ctx context.Context) error {
	for _, rec := range j.emitted {
		if err := j.examples.add(ctx, rec); err != nil {
			return err
		}
	}
	j.emitted = j.emitted[:0]
	return nil
}
