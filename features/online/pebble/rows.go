package pebble

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/millrace/millrace/features/online"
)

// Rows goes over all rows of a space, by shard and then by the entity's bytes.
// All are from one snapshot. Close must not be called before it ends.
func (s *Store) Rows(ctx context.Context, space string) iter.Seq2[online.Entry, error] {
	return func(yield func(online.Entry, error) bool) {
		more := true
		err := s.rows(ctx, space, func(e online.Entry) bool { more = yield(e, nil); return more })
		if err != nil && more {
			yield(online.Entry{}, err)
		}
	}
}

func (s *Store) rows(ctx context.Context, space string, yield func(online.Entry) bool) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.RUnlock()
	snap := s.db.NewSnapshot()
	defer snap.Close()
	from := 0
	for {
		shard, ok, err := s.nextShard(snap, space, from)
		if err != nil || !ok {
			return err
		}
		more, err := s.shardRows(ctx, snap, shard, yield)
		if err != nil || !more {
			return err
		}
		from = shard.Index + 1
	}
}

// nextShard finds the first shard of a space at or after index from.
func (s *Store) nextShard(snap *pebble.Snapshot, space string, from int) (online.Shard, bool, error) {
	shard := online.Shard{Space: space, Index: from}
	if shard.Check() != nil { // past the last index, or no such space
		return shard, false, nil
	}
	low := appendPrefix(nil, shard, 0)
	end := slices.Concat(low[:1+len(space)], bytes.Repeat([]byte{0xff}, 5)) // no index is that high
	it, err := snap.NewIter(&pebble.IterOptions{LowerBound: low, UpperBound: end})
	if err != nil {
		return shard, false, s.readError(err)
	}
	found := it.First()
	if found {
		shard.Index = int(binary.BigEndian.Uint32(it.Key()[1+len(space):]))
	}
	if err := it.Close(); err != nil {
		return shard, false, s.readError(err)
	}
	return shard, found, nil
}

// shardRows merges the heads and the bases of a shard, both sorted by entity.
// It reports whether yield asks for more.
func (s *Store) shardRows(ctx context.Context, snap *pebble.Snapshot, shard online.Shard, yield func(online.Entry) bool) (more bool, err error) {
	heads, err := s.iterate(snap, shard, kindHead)
	if err != nil {
		return false, err
	}
	defer func() { err = s.firstError(err, heads.Close()) }()
	bases, err := s.iterate(snap, shard, kindBase)
	if err != nil {
		return false, err
	}
	defer func() { err = s.firstError(err, bases.Close()) }()
	n := prefixLen(shard)
	heads.First()
	bases.First()
	for heads.Valid() || bases.Valid() {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		order := 0
		switch {
		case !bases.Valid():
			order = -1
		case !heads.Valid():
			order = 1
		default:
			order = bytes.Compare(heads.Key()[n:], bases.Key()[n:])
		}
		var e online.Entry
		if order <= 0 {
			e.Key = online.Key{Shard: shard, Entity: string(heads.Key()[n:])}
			e.Row.Head = append([]byte{}, heads.Value()...)
			heads.Next()
		}
		if order >= 0 {
			e.Key = online.Key{Shard: shard, Entity: string(bases.Key()[n:])}
			e.Row.Base = append([]byte{}, bases.Value()...)
			bases.Next()
		}
		if !yield(e) {
			return false, nil
		}
	}
	return true, nil
}

// iterate goes over the keys of one kind in a shard.
func (s *Store) iterate(snap *pebble.Snapshot, shard online.Shard, kind byte) (*pebble.Iterator, error) {
	it, err := snap.NewIter(&pebble.IterOptions{
		LowerBound: appendPrefix(nil, shard, kind),
		UpperBound: appendPrefix(nil, shard, kind+1),
	})
	if err != nil {
		return nil, s.readError(err)
	}
	return it, nil
}

func (s *Store) firstError(err, closing error) error {
	if err == nil && closing != nil {
		return fmt.Errorf("online store %s: read: %w", s.dir, closing)
	}
	return err
}
