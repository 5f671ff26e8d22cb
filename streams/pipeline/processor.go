package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/codec"
)

// A processor applies one partition of a view's topic.
type processor struct {
	follower
	plan *features.Plan
	log  uint64 // of a re-keyed topic: what the origins of our source say

	// What follows is one attempt's: from the stored progress to the first error.
	core       *features.Shard
	decoder    *codec.Decoder
	cache      rowCache[*features.Row]
	dirty      []*entry[*features.Row]
	dirtyBytes int
	arrived    arrivals  // of what is not yet committed
	traced     []Applied // likewise

	events  []features.Event
	rows    []*entry[*features.Row] // of events
	refused []*features.Rejection   // by decode; nil: to be applied
	key     []byte
	load    []online.Key
	encode  []byte
}

func newProcessor(h *Host, plan *features.Plan, partition int) *processor {
	space := plan.Space(h.cfg.Project)
	return &processor{
		plan: plan, log: logHash(h.cluster, plan.Source.Topic),
		follower: newFollower(h, online.Shard{Space: space, Index: partition},
			Status{View: plan.View.Name, Space: space, Stage: "pipeline", Topic: plan.Topic(h.cfg.Project), Partition: partition}),
	}
}

// run applies the partition until ctx ends, or until it must stop.
func (p *processor) run(ctx context.Context) { p.follow(ctx, p) }

// restore begins at the state that was taken from the store and forgets
// everything else.
func (p *processor) restore(context.Context) error {
	var err error
	if p.decoder, err = codec.New(p.plan.Source); err != nil {
		return stopf("%v", err)
	}
	g := &p.state.Progress
	if !p.plan.Keyed() && len(g.Origins) == 0 {
		g.Origins = slices.Repeat([]int64{-1}, p.plan.Source.Partitions)
	}
	p.core = p.plan.NewShard(g.Newest, g.Counts)
	p.cache = rowCache[*features.Row]{}
	p.dirty, p.dirtyBytes = p.dirty[:0], 0
	p.arrived.reset()
	p.traced = p.traced[:0]
	return nil
}

// apply folds records, which are in offset order, into rows in memory.
func (p *processor) apply(ctx context.Context, records []streams.Record) error {
	if len(p.dirty) == 0 { // and not at a commit, which may be in the middle of records whose rows are in use
		p.cache.age()
	}
	if err := p.decode(records); err != nil {
		return err
	}
	p.at = -1
	if err := p.loadRows(ctx); err != nil {
		return err
	}
	return p.fold(ctx, records)
}

// decode turns records into events, and notes the rows that they need.
func (p *processor) decode(records []streams.Record) error {
	for len(p.events) < len(records) {
		p.events = append(p.events, features.Event{})
	}
	p.rows = slices.Grow(p.rows[:0], len(records))[:len(records)]
	p.refused = slices.Grow(p.refused[:0], len(records))[:len(records)]
	p.load = p.load[:0]
	for i := range records {
		rec, e := &records[i], &p.events[i]
		p.at, p.rows[i], p.refused[i], e.Arrival = rec.Offset, nil, nil, rec.Time
		if why, ok := p.poison[rec.Offset]; ok {
			p.refused[i] = &features.Rejection{Reason: "panic", Detail: why}
		} else if err := p.decoder.Decode(rec.Value, e); err != nil {
			p.refused[i] = refusal(err)
		} else if err := p.findRow(i, rec, e); err != nil {
			return err
		}
	}
	return nil
}

// refusal is a decoder's error as a rejection.
func refusal(err error) *features.Rejection {
	var bad *codec.Error
	if errors.As(err, &bad) {
		return &features.Rejection{Reason: bad.Reason, Detail: err.Error()}
	}
	return &features.Rejection{Reason: "bad_event", Detail: err.Error()}
}

// findRow finds the entry of an event's entity, and notes it for loading where
// it is not in memory.
func (p *processor) findRow(i int, rec *streams.Record, e *features.Event) error {
	var err error
	if p.key, err = p.plan.AppendEntity(p.key[:0], e.Values); err != nil {
		return p.refuse(i, err)
	}
	if !bytes.Equal(p.key, rec.Key) {
		return p.wrongKey(rec, fmt.Sprintf("has the key %q, and its %v is %q", text(rec.Key), p.plan.View.Entity, text(p.key)))
	}
	if p.rows[i] = p.cache.get(p.key); p.rows[i] != nil {
		return nil
	}
	if want := streams.PartitionOf(p.key, p.plan.Source.Partitions); want != p.shard.Index {
		return p.wrongKey(rec, fmt.Sprintf("has the key %q, which Kafka's Java clients put in partition %d", text(rec.Key), want))
	}
	n := &entry[*features.Row]{entity: string(p.key)}
	p.rows[i] = n
	p.cache.put(n)
	p.load = append(p.load, online.Key{Shard: p.shard, Entity: n.entity})
	return nil
}

func (p *processor) refuse(i int, err error) error {
	var r *features.Rejection
	if !errors.As(err, &r) {
		return err
	}
	p.refused[i] = r
	return nil
}

func (p *processor) wrongKey(rec *streams.Record, what string) error {
	if !p.plan.Keyed() {
		return stopf("the record at offset %d of the re-keyed topic %s %s: something else writes to that topic", rec.Offset, p.topic, what)
	}
	return stopf("the record at offset %d %s: its producer does not key by murmur2 of %v; remove keyed_by from source %s, and millrace re-keys the topic", rec.Offset, what, p.plan.View.Entity, p.plan.Source.Name)
}

// text is a key as messages show it.
func text(key []byte) string { return string(key[:min(len(key), 80)]) }

// loadRows reads the rows that decode found missing.
func (p *processor) loadRows(ctx context.Context) error {
	if len(p.load) == 0 {
		return nil
	}
	if p.state.Token == (online.Token{}) { // nothing was ever committed
		for _, k := range p.load {
			p.cache.get([]byte(k.Entity)).row = p.plan.NewRow()
		}
		return nil
	}
	rows, states, err := p.host.cfg.Store.Read(ctx, p.load)
	if err != nil {
		return fmt.Errorf("the store does not answer: %w", err)
	}
	for i, k := range p.load {
		if states[i].Token != p.state.Token {
			return &online.Conflict{Shard: p.shard, Found: states[i].Token}
		}
		row, err := p.plan.DecodeRow(rows[i].Head, rows[i].Base)
		if err != nil {
			return stopf("entity %q: %v; start again with an empty store", text([]byte(k.Entity)), err)
		}
		p.cache.get([]byte(k.Entity)).row = row
	}
	return nil
}

// fold judges and folds the decoded events, one by one.
func (p *processor) fold(ctx context.Context, records []streams.Record) error {
	for i := range records {
		rec, e := &records[i], &p.events[i]
		if n := p.rows[i]; n != nil && !n.dirty && p.full() {
			p.at = -1
			if err := p.commit(ctx); err != nil {
				return err
			}
		}
		p.at = rec.Offset
		fresh, err := p.origin(rec, e)
		if err != nil {
			return err
		}
		if fresh {
			err = p.foldOne(ctx, rec, e, i)
			p.arrived.add(rec.Time)
			if len(rec.Headers) > 0 && p.host.cfg.Tracer != nil {
				p.note(rec)
			}
		}
		if err != nil {
			return err
		}
		p.done++
		p.state.Progress.Next = rec.Offset + 1
		if i == len(records)-1 || p.full() { // where a commit can follow
			p.state.Progress.Checksum = checksum(rec)
		}
	}
	return nil
}

// origin sets where an event was first written, and reports false for a copy
// of one that was already applied.
func (p *processor) origin(rec *streams.Record, e *features.Event) (bool, error) {
	if p.plan.Keyed() {
		e.Order = features.OrderOf(p.shard.Index, rec.Offset)
		return true, nil
	}
	log, partition, offset, ok := decodeOrigin(rec.Headers)
	if ok && log != p.log {
		return false, nil // the source was another topic then
	}
	if !ok || partition >= p.plan.Source.Partitions {
		return false, stopf("the record at offset %d of the re-keyed topic %s has no origin: something else writes to that topic", rec.Offset, p.topic)
	}
	origins := p.state.Progress.Origins
	if offset <= origins[partition] {
		return false, nil
	}
	origins[partition] = offset
	e.Order = features.OrderOf(partition, offset)
	return true, nil
}

func (p *processor) foldOne(ctx context.Context, rec *streams.Record, e *features.Event, i int) error {
	refused, ok := p.refused[i], false
	if refused == nil {
		ok, refused = p.core.Admit(e)
	}
	if refused != nil {
		p.core.Counts.Dead++
		return p.bury(ctx, p.status.View, rec, refused)
	}
	if n := p.rows[i]; ok && p.core.Fold(n.row, e) && !n.dirty {
		n.dirty = true
		p.dirty = append(p.dirty, n)
		p.dirtyBytes += n.row.Size()
	}
	return nil
}

// full reports whether the dirty rows are as many as a commit takes.
func (p *processor) full() bool {
	return len(p.dirty) == online.MaxRows || p.dirtyBytes >= commitBytes
}
