// Package online is the store that is the engine's only state: rows of
// features with the progress through the log that they stand for, committed
// together or not at all.
package online

import (
	"context"
	"crypto/rand"
	"fmt"
	"iter"
)

// MaxRows bounds the rows of one commit.
const MaxRows = 4000

// A Token names one commit. Tokens are random and never counted up, so that a
// commit that was lost and done again cannot be mistaken for another.
type Token [16]byte

// NewToken returns a fresh token from the system's source of randomness.
func NewToken() Token {
	var t Token
	rand.Read(t[:]) // never fails: see crypto/rand
	return t
}

// A Shard is one partition's part of a row space.
type Shard struct {
	Space string // see features.Plan.Space
	Index int    // the partition
}

// A Key names one row.
type Key struct {
	Shard  Shard
	Entity string
}

// A Row is the packed state of one entity. Both parts nil: there is no row.
type Row struct {
	Head []byte // open tiles: changes with every commit
	Base []byte // closed tiles: changes when a tile closes
}

// An Entry is a row with its key.
type Entry struct {
	Key Key
	Row Row
}

// A Write replaces one row. With KeepBase the stored base stays. A Write
// without parts and without KeepBase deletes the row.
type Write struct {
	Entity   string
	Head     []byte
	Base     []byte
	KeepBase bool
}

// A Commit moves a shard from the commit named Expect to the one named Next.
type Commit struct {
	Shard    Shard
	Expect   Token // zero: the shard has never been committed
	Next     Token
	Writes   []Write // at most MaxRows, no entity twice
	Progress Progress
}

// A Conflict says that the shard is not where the commit expected it.
type Conflict struct {
	Shard Shard
	Found Token // Next itself: an earlier attempt of this commit did succeed, its answer was lost
}

func (c *Conflict) Error() string {
	return fmt.Sprintf("online: shard %s/%d: another commit %x is in place", c.Shard.Space, c.Shard.Index, c.Found[:4])
}

// A State is where a shard stands. The zero State: never committed.
type State struct {
	Token    Token
	Progress Progress
}

// A Store keeps rows. Its methods may be called by several goroutines.
// Errors other than *Conflict mean that nothing is known: the commit may have
// been applied, and the caller finds out by State.
type Store interface {
	// Commit applies c whole, or returns *Conflict and applies nothing.
	Commit(ctx context.Context, c *Commit) error
	// State returns where a shard stands.
	State(ctx context.Context, s Shard) (State, error)
	// Read returns a row for each key, in order, and the state of each key's
	// shard. The rows and the state of one shard are from one snapshot.
	Read(ctx context.Context, keys []Key) ([]Row, []State, error)
	// Rows goes over all rows of a space, by shard and then by the entity's
	// bytes. It is for counting, export and tests: commits made meanwhile may
	// be in part of what it returns. It stops at the first error.
	Rows(ctx context.Context, space string) iter.Seq2[Entry, error]
	// Close releases the store.
	Close() error
}
