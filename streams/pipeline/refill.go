package pipeline

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/codec"
	"github.com/millrace/millrace/streams/lake"
)

// Refill is Fill where the log no longer has what comes next: up to where the
// log now begins it applies the events of the lake at root, then the log. Rows
// and progress are those of a host that has read the whole log before it was cut.
//
// What the lake does not have are the records that are no events. They count as
// dead, and are taken from the topic of dead letters, where the pipeline put
// them for this or another view. Nothing is written there: what the view refuses
// of the lake's events is counted only, since its bytes are gone.
//
// The source has to be declared as when the lake was written. What can be seen
// to be otherwise is refused, as are a lake and dead letters that do not have
// everything, and a log that has no record left: its checksum is part of the
// progress.
func (h *Host) Refill(ctx context.Context, r Range, root string) error {
	plan, err := h.planOf(r.Part)
	if err != nil {
		return err
	}
	if !plan.Keyed() {
		return fmt.Errorf("pipeline: view %s is applied from a re-keyed topic, and the lake has the order of source %s: fill it from the topic", plan.View.Name, plan.Source.Name)
	}
	if err := h.checkRange(ctx, r); err != nil {
		return err
	}
	shard := online.Shard{Space: plan.Space(h.cfg.Project), Index: r.Part.Partition}
	for {
		state, err := h.cfg.Store.State(ctx, shard)
		if err != nil {
			return fmt.Errorf("pipeline: the store does not answer: %w", err)
		}
		first, _, err := h.cfg.Cluster.Bounds(ctx, plan.Source.Topic, shard.Index)
		if err != nil {
			return err
		}
		if state.Progress.Next >= first || state.Progress.Next >= r.Ends[0] {
			return h.Fill(ctx, r)
		}
		if err := h.checkLeft(ctx, r, plan.Source.Topic, first); err != nil {
			return err
		}
		l := newRefiller(h, plan, shard.Index, root, first)
		if err := l.stepper().fill(ctx, r.Part); err != nil {
			return err
		}
	}
}

// checkLeft makes sure that the log has a record for the progress to end with.
func (h *Host) checkLeft(ctx context.Context, r Range, topic string, first int64) error {
	reader := h.cfg.Cluster.Reader(topic, r.Part.Partition, first)
	defer reader.Close()
	for next := first; next < r.Ends[0]; {
		batch, err := reader.Fetch(ctx)
		if err != nil {
			return err
		}
		cut(&batch, r.Ends[0])
		if len(batch.Records) > 0 {
			return nil
		}
		next = batch.Next
	}
	return fmt.Errorf("pipeline: backfill of %v: the log begins at offset %d and has no record up to %d: the checksum of the last one cannot be known; backfill when the topic has another", r.Part, first, r.Ends[0])
}

// A refiller applies a partition's events of the lake, as its processor would
// have applied the log's, up to where the log begins. There the processor goes on
// without looking at the last record, which only the lake has. Progress below it
// is for another refiller alone.
type refiller struct {
	*processor
	root string
	to   int64 // where the log begins

	// One attempt's.
	next  func() (lake.Row, error, bool)
	stop  func()
	held  lake.Row // the next event, if it is there
	ready bool
	bad   []int64 // offsets, from the next one on, of records that are no events
	ended bool

	taken []features.Event // by record: the events; those without values are none
}

func newRefiller(h *Host, plan *features.Plan, partition int, root string, to int64) *refiller {
	return &refiller{processor: newProcessor(h, plan, partition), root: root, to: to}
}

func (l *refiller) stepper() *Stepper {
	return &Stepper{
		host: l.host, status: l.status,
		open:  l.open,
		step:  l.step,
		close: func() { l.stop() },
		ended: func() bool { return l.ended },
	}
}

// open goes to the stored progress.
func (l *refiller) open(ctx context.Context) error {
	if err := l.takeState(ctx); err != nil {
		return err
	}
	g := &l.state.Progress
	if g.Cluster != l.host.cluster || g.Topic != l.topic {
		return sameLog(ctx, l.host, l.topic, l.shard.Index, &l.state, l.rest) // says so
	}
	s, err := lake.OpenStretch(l.root, l.plan.Source, lake.Range{Partition: l.shard.Index, First: g.Next, Next: l.to})
	if err != nil {
		return stopf("the log begins at offset %d, and the lake does not lead there from %d: %v", l.to, g.Next, err)
	}
	if err := l.check(s); err != nil {
		return err
	}
	if err := s.Declared(); err != nil {
		return stopf("%v", err)
	}
	if l.bad, err = l.undecodable(ctx, s); err != nil {
		return err
	}
	reading, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it goes on between the steps
	next, stop := iter.Pull2(s.Events(reading))
	l.next, l.ready = next, false
	l.stop = func() { stop(); cancel() }
	l.host.update(l.status, func(s *Status) { s.Phase, s.Problem, s.HighWater = Running, "", l.to })
	return nil
}

// takeState is begin without a look at the log, which no longer has what comes
// next.
func (l *refiller) takeState(ctx context.Context) error {
	state, err := l.host.cfg.Store.State(ctx, l.shard)
	if err != nil {
		return fmt.Errorf("the store does not answer: %w", err)
	}
	if state.Token == (online.Token{}) {
		state.Progress = online.Progress{Cluster: l.host.cluster, Topic: l.topic, Newest: features.NoTime}
	}
	l.state, l.done, l.ended = state, 0, false
	l.dead = outbox{host: l.host, topic: DeadLetters(l.host.cfg.Project)} // it stays empty
	return l.restore(ctx)
}

// check makes sure that a stretch is of our log, from its beginning on.
func (l *refiller) check(s *lake.Stretch) error {
	for _, header := range s.Headers {
		switch {
		case header.Cluster != l.host.cluster || header.Topic != l.topic:
			return stopf("the lake in %s has offsets of topic %s of cluster %s, and this is topic %s of cluster %s", l.root, header.Topic, header.Cluster, l.topic, l.host.cluster)
		case header.LogStart > s.First:
			return stopf("the lake in %s begins at offset %d: what the log had before was gone when the lake was begun", l.root, header.LogStart)
		}
	}
	return nil
}

// undecodable returns the offsets of the stretch's records that are no events,
// by the dead letters. There have to be as many as the lake has counted.
func (l *refiller) undecodable(ctx context.Context, s *lake.Stretch) ([]int64, error) {
	var want int64
	for _, header := range s.Headers {
		want += header.Undecodable
	}
	if want == 0 {
		return nil, nil
	}
	decoder, err := codec.New(l.plan.Source)
	if err != nil {
		return nil, stopf("%v", err)
	}
	found := map[int64]bool{}
	for d, err := range streams.ReadDeadLetters(ctx, l.host.cfg.Cluster, DeadLetters(l.host.cfg.Project)) {
		if err != nil {
			return nil, err
		}
		if d.Topic != l.topic || d.Partition != l.shard.Index || found[d.Offset] {
			continue
		}
		var e features.Event
		if decoder.Decode(d.Value, &e) != nil {
			found[d.Offset] = true
		}
	}
	for _, header := range s.Headers {
		var n int64
		for offset := range found {
			if offset >= header.First && offset < header.Next {
				n++
			}
		}
		if n != header.Undecodable {
			return nil, stopf("from offset %d to %d the lake counts %d records that were no events, and the dead letters have %d that are none as source %s is declared: how many count as dead cannot be known; let a pipeline of the view that the lake was written under read on first, or start with an empty store at where the log begins",
				header.First, header.Next-1, header.Undecodable, n, l.plan.Source.Name)
		}
	}
	maps.DeleteFunc(found, func(offset int64, _ bool) bool { return offset < s.First || offset >= s.Next })
	return slices.Sorted(maps.Keys(found)), nil
}

// refillBatch is how many records are applied together.
const refillBatch = 4000

// step applies the next events for about limit and commits them.
func (l *refiller) step(ctx context.Context, limit time.Duration) error {
	for until := time.Now().Add(limit); time.Now().Before(until) && l.done < commitRecords; {
		records, err := l.read()
		if err != nil {
			return err
		}
		if len(records) == 0 {
			l.state.Progress.Next = l.to
			if err := l.commit(ctx); err != nil {
				return err
			}
			l.ended = true
			return nil
		}
		if err := l.take(ctx, l, records); err != nil {
			return err
		}
	}
	return l.commit(ctx)
}

// read takes the next records of the lake and of those that are no events, in
// the order of the log.
func (l *refiller) read() ([]streams.Record, error) {
	var records []streams.Record
	for len(records) < refillBatch {
		if err := l.look(); err != nil {
			return nil, err
		}
		isEvent := l.ready && (len(l.bad) == 0 || l.held.Offset < l.bad[0])
		if !isEvent && len(l.bad) == 0 {
			break
		}
		if len(l.taken) == len(records) {
			l.taken = append(l.taken, features.Event{})
		}
		e := &l.taken[len(records)]
		rec := streams.Record{Partition: l.shard.Index}
		if isEvent {
			values := append(e.Values[:0], l.held.Event.Values...)
			*e = l.held.Event
			e.Values, l.ready = values, false
			rec.Offset, rec.Time = l.held.Offset, l.held.Event.Arrival
		} else {
			*e, rec.Offset = features.Event{Values: e.Values[:0]}, l.bad[0]
			l.bad = l.bad[1:]
		}
		records = append(records, rec)
	}
	return records, nil
}

// look makes sure that the next event is at hand, if there is one.
func (l *refiller) look() error {
	if l.ready {
		return nil
	}
	row, err, ok := l.next()
	switch {
	case err != nil:
		return stopf("%v", err)
	case ok && len(l.bad) > 0 && row.Offset == l.bad[0]:
		return stopf("the lake has an event at offset %d, and so has the topic of dead letters one that is none: the two are of different topics", row.Offset)
	case ok:
		l.held, l.ready = row, true
	}
	return nil
}

// apply folds the events that were taken into rows in memory.
func (l *refiller) apply(ctx context.Context, records []streams.Record) error {
	if len(l.dirty) == 0 {
		l.cache.age()
	}
	if err := l.place(records); err != nil {
		return err
	}
	l.at = -1
	if err := l.loadRows(ctx); err != nil {
		return err
	}
	return l.foldTaken(ctx, records)
}

// place finds the rows of the events, as decode does for records.
func (l *refiller) place(records []streams.Record) error {
	l.rows = slices.Grow(l.rows[:0], len(records))[:len(records)]
	l.refused = slices.Grow(l.refused[:0], len(records))[:len(records)]
	l.load = l.load[:0]
	var key []byte
	for i := range records {
		rec, e := &records[i], &l.taken[i]
		l.at, l.rows[i], l.refused[i] = rec.Offset, nil, nil
		if why, ok := l.poison[rec.Offset]; ok {
			l.refused[i] = &features.Rejection{Reason: "panic", Detail: why}
			continue
		}
		if len(e.Values) == 0 {
			l.refused[i] = &features.Rejection{Reason: "bad_event"}
			continue
		}
		key, _ = l.plan.AppendEntity(key[:0], e.Values) // what it refuses findRow refuses, too
		rec.Key = key
		if err := l.findRow(i, rec, e); err != nil {
			return err
		}
	}
	return nil
}

// foldTaken is fold for events without a record: there is no checksum to note
// and nothing to bury.
func (l *refiller) foldTaken(ctx context.Context, records []streams.Record) error {
	for i := range records {
		n, e := l.rows[i], &l.taken[i]
		if n != nil && !n.dirty && l.full() {
			l.at = -1
			if err := l.commit(ctx); err != nil {
				return err
			}
		}
		l.at = records[i].Offset
		ok, refused := false, l.refused[i]
		if refused == nil {
			ok, refused = l.core.Admit(e)
		}
		if refused != nil {
			l.core.Counts.Dead++
		}
		if ok && l.core.Fold(n.row, e) && !n.dirty {
			n.dirty = true
			l.dirty = append(l.dirty, n)
			l.dirtyBytes += n.row.Size()
		}
		l.done++
		l.state.Progress.Next = records[i].Offset + 1
	}
	return nil
}
