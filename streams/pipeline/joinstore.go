package pipeline

import (
	"context"
	"fmt"
	"math"

	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/feedback"
)

// restore takes the shard's state and its timers from the store.
func (j *joiner) restore(ctx context.Context) error {
	j.cache, j.dirty, j.dirtyBytes, j.emitted, j.load = rowCache[*joinRow]{}, nil, 0, nil, nil
	j.examples = outbox{host: j.host, topic: feedback.ExamplesTopic(j.host.cfg.Project)}
	j.timers, j.traced = timers{}, nil
	rows, states, err := j.host.cfg.Store.Read(ctx, []online.Key{{Shard: j.shard, Entity: joinState}})
	if err != nil {
		return fmt.Errorf("the store does not answer: %w", err)
	}
	if j.core, err = feedback.NewShard(j.rules, rows[0].Head); err != nil {
		return stopf("%v; start again with an empty store", err)
	}
	if states[0].Token != j.state.Token {
		return &online.Conflict{Shard: j.shard, Found: states[0].Token}
	}
	j.showStats()
	if j.state.Token == (online.Token{}) { // nothing was ever committed
		return nil
	}
	return j.restoreTimers(ctx)
}

// restoreTimers goes over all rows. The rows are those of one commit if no other
// came while it did.
func (j *joiner) restoreTimers(ctx context.Context) error {
	for e, err := range j.host.cfg.Store.Rows(ctx, j.shard.Space) {
		if err != nil {
			return fmt.Errorf("the store does not answer: %w", err)
		}
		if e.Key.Entity == joinState {
			continue
		}
		due, err := feedback.RowDue(e.Row.Head)
		if err != nil {
			return j.badRow(e.Key.Entity, err)
		}
		j.timers.set(due, e.Key.Entity)
	}
	state, err := j.host.cfg.Store.State(ctx, j.shard)
	if err != nil {
		return fmt.Errorf("the store does not answer: %w", err)
	}
	if state.Token != j.state.Token {
		return &online.Conflict{Shard: j.shard, Found: state.Token}
	}
	return nil
}

func (j *joiner) badRow(entity string, err error) error {
	return stopf("entity %q: %v; start again with an empty store", text([]byte(entity)), err)
}

// entry finds a row in memory, or notes it for loading.
func (j *joiner) entry(entity string) *entry[*joinRow] {
	if n := j.cache.get([]byte(entity)); n != nil {
		return n
	}
	n := &entry[*joinRow]{entity: entity}
	j.cache.put(n)
	j.load = append(j.load, n)
	return n
}

// loadRows reads the rows that were noted.
func (j *joiner) loadRows(ctx context.Context) error {
	if len(j.load) == 0 {
		return nil
	}
	defer func() { j.load = j.load[:0] }()
	if j.state.Token == (online.Token{}) { // nothing was ever committed
		for _, n := range j.load {
			n.row = &joinRow{feedback.NewRow(), math.MaxInt64}
		}
		return nil
	}
	keys := make([]online.Key, len(j.load))
	for i, n := range j.load {
		keys[i] = online.Key{Shard: j.shard, Entity: n.entity}
	}
	rows, states, err := j.host.cfg.Store.Read(ctx, keys)
	if err != nil {
		return fmt.Errorf("the store does not answer: %w", err)
	}
	for i, n := range j.load {
		if states[i].Token != j.state.Token {
			return &online.Conflict{Shard: j.shard, Found: states[i].Token}
		}
		row, err := feedback.DecodeRow(rows[i].Head)
		if err != nil {
			return j.badRow(n.entity, err)
		}
		n.row = &joinRow{row, row.Due()}
		j.cache.bytes += n.grow()
	}
	return nil
}

// full reports whether the dirty rows and the state are as many as a commit
// takes.
func (j *joiner) full() bool {
	return len(j.dirty) == online.MaxRows-1 || j.dirtyBytes >= commitBytes
}

// commit writes the examples and the dead letters, then the dirty rows and the
// state with the progress.
func (j *joiner) commit(ctx context.Context) error {
	if err := j.examples.flush(ctx); err != nil {
		return err
	}
	progress := j.state.Progress
	progress.Newest = j.core.Clock()
	ends := make([]int, 0, len(j.dirty))
	j.encode = j.core.AppendState(j.encode[:0])
	state := len(j.encode)
	for _, n := range j.dirty {
		if !n.row.Empty() {
			j.encode = n.row.Append(j.encode)
		}
		ends = append(ends, len(j.encode))
	}
	writes := append(make([]online.Write, 0, len(j.dirty)+1), online.Write{Entity: joinState, Head: j.encode[:state:state], KeepBase: true})
	start := state
	for i, n := range j.dirty {
		w := online.Write{Entity: n.entity} // deletes an empty row
		if end := ends[i]; end > start {
			w.Head, w.KeepBase = j.encode[start:end:end], true
			start = end
		}
		writes = append(writes, w)
	}
	if err := j.commitRows(ctx, writes, progress); err != nil {
		return err
	}
	j.showStats()
	j.tell()
	for _, n := range j.dirty {
		n.dirty = false
		j.cache.bytes += n.grow()
	}
	clear(j.dirty)
	j.dirty, j.dirtyBytes = j.dirty[:0], 0
	if cap(j.encode) > 2*commitBytes {
		j.encode = nil
	}
	return nil
}

// showStats puts what became of predictions and outcomes into the status.
func (j *joiner) showStats() {
	stats := j.core.Stats()
	j.host.update(j.status, func(s *Status) { s.Join = &stats })
}
