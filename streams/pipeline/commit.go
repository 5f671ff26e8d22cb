package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams"
)

// commit writes the dead letters, then the dirty rows with the progress.
func (p *processor) commit(ctx context.Context) error {
	progress := p.state.Progress
	progress.Origins = slices.Clone(progress.Origins)
	progress.Newest, progress.Counts = p.core.Newest, p.core.Counts
	p.encode = p.encode[:0]
	writes := make([]online.Write, 0, len(p.dirty))
	for _, n := range p.dirty {
		writes = append(writes, p.write(n))
	}
	if err := p.commitRows(ctx, writes, progress); err != nil {
		return err
	}
	now := time.Now()
	p.host.committed(p.plan.View.Name, &p.arrived, now)
	p.tell(now)
	for _, n := range p.dirty {
		n.dirty = false
		n.row.Clean()
		p.cache.bytes += n.grow()
	}
	p.dirty, p.dirtyBytes = p.dirty[:0], 0
	if cap(p.encode) > 2*commitBytes {
		p.encode = nil
	}
	if p.host.cfg.OnCommit != nil {
		p.host.cfg.OnCommit(p.plan.View.Name, p.shard.Index, progress)
	}
	return nil
}

// write encodes a row into the commit's buffer.
func (p *processor) write(n *entry[*features.Row]) online.Write {
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
