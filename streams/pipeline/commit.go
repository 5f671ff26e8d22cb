package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams"
)

// commit writes the dead letters, then the dirty rows with the progress.
func (p *processor) commit(ctx context.Context) error {
	if err := p.writeDead(ctx); err != nil {
		return err
	}
	c := online.Commit{Shard: p.shard, Expect: p.state.Token, Next: online.NewToken(), Progress: p.state.Progress}
	c.Progress.Origins = slices.Clone(c.Progress.Origins)
	c.Progress.Newest, c.Progress.Counts = p.core.Newest, p.core.Counts
	p.encode = p.encode[:0]
	for _, n := range p.dirty {
		c.Writes = append(c.Writes, p.write(n))
	}
	if err := commitOnce(ctx, p.host, p.status, &c); err != nil {
		return err
	}
	for _, n := range p.dirty {
		n.dirty = false
		n.row.Clean()
		p.cache.bytes += n.grow()
	}
	p.dirty, p.dirtyBytes, p.done = p.dirty[:0], 0, 0
	if cap(p.encode) > 2*commitBytes {
		p.encode = nil
	}
	p.state.Token = c.Next
	p.cache.age()
	maps.DeleteFunc(p.poison, func(offset int64, _ string) bool { return offset < c.Progress.Next-poisonInARow })
	p.host.update(p.status, func(s *Status) { s.Phase, s.Problem, s.Progress = Running, "", c.Progress })
	if p.host.cfg.OnCommit != nil {
		p.host.cfg.OnCommit(p.plan.View.Name, p.shard.Index, c.Progress)
	}
	return nil
}

// write encodes a row into the commit's buffer.
func (p *processor) write(n *entry) online.Write {
	w := online.Write{Entity: n.entity}
	if n.row.Empty() {
		return w // deletes it
	}
	start := len(p.encode)
	p.encode = p.plan.AppendHead(p.encode, n.row)
	w.Head = p.encode[start:len(p.encode):len(p.encode)]
	w.KeepBase = !n.row.BaseDirty()
	if !w.KeepBase {
		start = len(p.encode)
		p.encode = p.plan.AppendBase(p.encode, n.row)
		w.Base = p.encode[start:len(p.encode):len(p.encode)]
	}
	return w
}

// commitOnce commits c and tries again while the store is away. An attempt
// whose answer was lost is found out by its own token.
func commitOnce(ctx context.Context, h *Host, status *tracked, c *online.Commit) error {
	for wait := pause(0); ; wait = wait.next() {
		err := h.cfg.Store.Commit(ctx, c)
		var conflict *online.Conflict
		switch {
		case err == nil:
			return nil
		case errors.As(err, &conflict):
			if conflict.Found == c.Next {
				return nil
			}
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
		if wait == 0 {
			h.cfg.Log.Warn("the store does not take a commit; trying again", "stage", status.Stage, "view", status.View, "partition", status.Partition, "error", err)
		}
		h.update(status, func(s *Status) {
			s.Phase, s.Problem = Waiting, fmt.Sprintf("the store does not take a commit: %v", err)
		})
		wait.sleep(ctx)
	}
}

// bury gathers a record for the dead letters.
func (p *processor) bury(ctx context.Context, rec *streams.Record, why *features.Rejection) error {
	letter, err := deadLetter(&p.status.Status, rec, why)
	if err != nil {
		return err
	}
	p.dead = append(p.dead, letter)
	if p.deadBytes += len(letter.Value); len(p.dead) < deadLetterRoom && p.deadBytes < deadLetterBytes {
		return nil
	}
	return p.writeDead(ctx)
}

func deadLetter(s *Status, rec *streams.Record, why *features.Rejection) (streams.Record, error) {
	letter, err := streams.DeadLetter{
		Stage: s.Stage, View: s.View, Space: s.Space, Topic: s.Topic, Partition: s.Partition, Offset: rec.Offset,
		Reason: why.Reason, Error: why.Detail, Key: rec.Key, Value: rec.Value, Arrival: rec.Time,
	}.Record()
	if err != nil {
		return letter, stopf("the dead letter for offset %d cannot be written: %v", rec.Offset, err)
	}
	return letter, nil
}

// writeDead writes the gathered dead letters and waits until the log has them.
func (p *processor) writeDead(ctx context.Context) error {
	err := produce(ctx, p.host, DeadLetters(p.host.cfg.Project), p.dead)
	if err == nil {
		clear(p.dead)
		p.dead, p.deadBytes = p.dead[:0], 0
	}
	return err
}

// produce writes records. What the log never takes needs a person.
func produce(ctx context.Context, h *Host, topic string, records []streams.Record) error {
	if len(records) == 0 {
		return nil
	}
	_, err := h.cfg.Producer.Produce(ctx, topic, records)
	var refusal *streams.Refusal
	if errors.As(err, &refusal) {
		return stopf("topic %s does not take what must not be lost: %v", topic, err)
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("topic %s does not take records: %w", topic, err)
	}
	return err
}

// A rowCache keeps rows by entity, in two generations: when the younger is
// full, the older is forgotten and the younger takes its place. Rows that are
// used move to the younger. It forgets only between commits, when no row is
// dirty.
type rowCache struct {
	young, old map[string]*entry
	bytes      int // about, of young
}

func (c *rowCache) get(entity []byte) *entry {
	if n := c.young[string(entity)]; n != nil {
		return n
	}
	n := c.old[string(entity)]
	if n != nil {
		c.put(n)
	}
	return n
}

func (c *rowCache) put(n *entry) {
	if c.young == nil {
		c.young = map[string]*entry{}
	}
	c.young[n.entity] = n
	c.bytes += n.bytes
}

func (c *rowCache) age() {
	if len(c.young) > cachedRows || c.bytes > cachedBytes {
		c.young, c.old, c.bytes = nil, c.young, 0
	}
}

// grow notes the row's size and returns by how much it has changed.
func (n *entry) grow() int {
	was := n.bytes
	n.bytes = n.row.Size()
	return n.bytes - was
}
