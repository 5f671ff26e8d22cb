package redis

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/millrace/millrace/features/online"
)

// Read returns a row for each key, in order, and the state of each key's
// shard: one MGET a shard, which is its snapshot, and all of them in one round
// trip (in a cluster one to each node, at the same time).
func (s *Store) Read(ctx context.Context, keys []online.Key) ([]online.Row, []online.State, error) {
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	reads := plan(keys)
	commands := make([]redis.Cmder, len(reads))
	for i, r := range reads {
		r.answer = redis.NewSliceCmd(ctx, r.args...)
		commands[i] = r.answer
	}
	var err error
	if len(commands) == 1 {
		err = s.client.Process(ctx, commands[0])
	} else if len(commands) > 1 {
		_, err = s.client.Pipelined(ctx, func(p redis.Pipeliner) error { return p.BatchProcess(ctx, commands...) })
	}
	if err != nil {
		return nil, nil, s.fail(fmt.Sprintf("read %d rows of %d shards", len(keys), len(reads)), err)
	}
	rows, states := make([]online.Row, len(keys)), make([]online.State, len(keys))
	for _, r := range reads {
		if err := s.answer(r, rows, states); err != nil {
			return nil, nil, err
		}
	}
	return rows, states, nil
}

// A read is the MGET of one shard: its state, then head and base of each row.
type read struct {
	shard  online.Shard
	at     []int // the keys' places
	args   []any
	answer *redis.SliceCmd
}

// plan groups the keys by shard.
func plan(keys []online.Key) []*read {
	var reads []*read
	of := make(map[online.Shard]*read)
	for i, k := range keys {
		r := of[k.Shard]
		if r == nil {
			r = &read{shard: k.Shard, args: []any{"mget", prefix(k.Shard) + kindState}}
			of[k.Shard] = r
			reads = append(reads, r)
		}
		p := r.args[1].(string)
		p = p[:len(p)-len(kindState)]
		r.at = append(r.at, i)
		r.args = append(r.args, p+kindHead+k.Entity, p+kindBase+k.Entity)
	}
	return reads
}

// answer puts what a shard answered into its places.
func (s *Store) answer(r *read, rows []online.Row, states []online.State) error {
	values := r.answer.Val()
	if len(values) != len(r.args)-1 {
		return fmt.Errorf("redis %s: shard %s/%d: asked for %d values, got %d", s.address, r.shard.Space, r.shard.Index, len(r.args)-1, len(values))
	}
	var state online.State
	if v := bytesOf(values[0]); v != nil {
		var err error
		if state, err = s.decode(r.shard, v); err != nil {
			return err
		}
	}
	for i, at := range r.at {
		rows[at] = online.Row{Head: bytesOf(values[1+2*i]), Base: bytesOf(values[2+2*i])}
		states[at] = state
	}
	return nil
}

// bytesOf is nil for a key that is not there.
func bytesOf(v any) []byte {
	if s, ok := v.(string); ok {
		return []byte(s)
	}
	return nil
}

// scanCount is how many keys a SCAN looks at; rowsChunk how many rows one Read
// of Rows takes.
const (
	scanCount = 1000
	rowsChunk = 500
)

// Rows goes over all rows of a space, by shard and then by the entity's bytes.
// It first scans the whole database for the space's keys and keeps them in
// memory; each row is as of the time it is read.
func (s *Store) Rows(ctx context.Context, space string) iter.Seq2[online.Entry, error] {
	return func(yield func(online.Entry, error) bool) {
		keys, err := s.keys(ctx, space)
		if err != nil {
			yield(online.Entry{}, err)
			return
		}
		for chunk := range slices.Chunk(keys, rowsChunk) {
			rows, _, err := s.Read(ctx, chunk)
			if err != nil {
				yield(online.Entry{}, err)
				return
			}
			for i, row := range rows {
				if row.Head == nil && row.Base == nil {
					continue // deleted since
				}
				if !yield(online.Entry{Key: chunk[i], Row: row}, nil) {
					return
				}
			}
		}
	}
}

// keys returns the keys of a space's rows, sorted, each once.
func (s *Store) keys(ctx context.Context, space string) ([]online.Key, error) {
	if (online.Shard{Space: space}).Check() != nil {
		return nil, nil // no such space
	}
	var mu sync.Mutex // a cluster's nodes are scanned at the same time
	var keys []online.Key
	scan := func(ctx context.Context, c *redis.Client) error {
		it := c.Scan(ctx, 0, "{"+globEscaper.Replace(space)+":*}*", scanCount).Iterator()
		for it.Next(ctx) {
			if k, ok := rowKey(space, it.Val()); ok {
				mu.Lock()
				keys = append(keys, k)
				mu.Unlock()
			}
		}
		return it.Err()
	}
	var err error
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		// Twice: a key that moves from a node not yet scanned to one that is would
		// be missed, and the second time it is there from beginning to end.
		for range 2 {
			if err == nil {
				err = c.ForEachMaster(ctx, scan)
			}
		}
	case *redis.Client:
		err = scan(ctx, c)
	}
	if err != nil {
		return nil, s.fail("scan for the rows of "+space, err)
	}
	slices.SortFunc(keys, func(a, b online.Key) int {
		return cmp.Or(cmp.Compare(a.Shard.Index, b.Shard.Index), strings.Compare(a.Entity, b.Entity))
	})
	return slices.Compact(keys), nil
}

var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `^`, `\^`)

// rowKey reads the key of a head or a base.
func rowKey(space, key string) (online.Key, bool) {
	rest, ok := strings.CutPrefix(key, "{"+space+":")
	index, rest, braced := strings.Cut(rest, "}")
	n, err := strconv.Atoi(index)
	if !ok || !braced || err != nil || rest == "" {
		return online.Key{}, false
	}
	kind, entity := rest[:1], rest[1:]
	return online.Key{Shard: online.Shard{Space: space, Index: n}, Entity: entity}, kind == kindHead || kind == kindBase
}
