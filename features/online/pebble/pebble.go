// Package pebble keeps the online store in a directory of this machine, in a
// Pebble database. It is the default: nothing else has to run.
//
// A commit is one atomic batch. It is not synced to the disk, and need not be
// for safety: a crash of the machine loses the last commits whole, rows and
// progress together, and the pipeline reads the log again from the progress
// that is left. A crash of the process alone loses at most what Pebble had not
// yet handed to the operating system, with the same consequence.
//
// The layout of keys, numbers big-endian so that keys sort by shard:
//
//	bytes  content
//	    1  n, length of the space's name, 1 to 255
//	    n  the space's name
//	    4  the shard's index
//	    1  's' the shard's state, 'h' a row's head, 'b' a row's base
//	  ...  the entity, any bytes; nothing for the state
//
// Values are the head, the base, or the encoding of online.State. Heads and
// bases lie apart because heads change with every commit and bases seldom, so
// that compactions rewrite mostly heads.
package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/features/online"
)

// A Store is an online.Store in a directory. One process at a time may have it
// open.
type Store struct {
	dir  string
	disk *disk
	db   *pebble.DB

	// turn is held from the check of the expected token until the batch is
	// applied. One for all shards: Pebble writes its log under one lock anyway. A
	// channel, so that waiting for it ends with the context.
	turn chan struct{}

	mu     sync.RWMutex // held for reading during each call, so that Close waits
	closed bool
}

// Open opens the store in dir, which is created if need be. It fails when
// another process, or another Store of this one, has the directory open.
func Open(dir string) (*Store, error) { return open(dir, vfs.Default) }

func open(dir string, fs vfs.FS) (*Store, error) {
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("online store %s: cannot make the directory: %w", dir, explain(err))
	}
	d := newDisk(dir, fs)
	if err := d.check(); err != nil {
		return nil, err
	}
	lock, err := pebble.LockDirectory(dir, fs)
	if err != nil {
		return nil, lockError(dir, err)
	}
	defer lock.Close() // the database holds its own reference
	opts := options()
	opts.FS, opts.Lock = vfs.OnDiskFull(fs, d.wait), lock
	db, err := pebble.Open(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("online store %s: %w", dir, explain(err))
	}
	return &Store{dir: dir, disk: d, db: db, turn: make(chan struct{}, 1)}, nil
}

func options() *pebble.Options {
	o := &pebble.Options{
		// Pinned, so that a new version of Pebble does not by itself write files
		// that the program of yesterday cannot read.
		FormatMajorVersion: pebble.FormatValueSeparation,
		Logger:             logger{},
		CacheSize:          64 << 20,
		// Hot rows are rewritten by every commit; a large memtable absorbs most
		// versions of a row before they reach a file.
		MemTableSize:                64 << 20,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               256 << 20,
	}
	o.CompactionConcurrencyRange = func() (lower, upper int) { return 1, 2 }
	// No compression: rows are mostly noise in the digits of sums, and trying cost
	// 0.5 microseconds a row. Small blocks: reads are of single rows, and one of
	// 400+800 bytes from files took half the time of that with 16 KiB.
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	for i := range o.Levels {
		o.Levels[i].BlockSize = 4 << 10
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10) // most reads of new entities find nothing
	}
	return o
}

// lockError tells a directory in use from one that cannot be written.
func lockError(dir string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("online store %s: cannot write the lock file: %w", dir, explain(err))
	}
	return fmt.Errorf("online store %s: it is open already; one process at a time may have it, ask that one over HTTP (%w)", dir, err)
}

// explain adds to an error of the disk what to do about it.
func explain(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("the disk is full; free space on it: %w", err)
	}
	return err
}

// logger passes on what Pebble complains about. Its notes on ordinary work are
// dropped.
type logger struct{}

func (logger) Infof(string, ...any) {}
func (logger) Errorf(format string, args ...any) {
	slog.Error("pebble: " + fmt.Sprintf(format, args...))
}

// Fatalf is called where Pebble cannot go on, as when its log cannot be written
// for another reason than a full disk. What was not written is read again from
// the topics when the process has been started again.
func (logger) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// Commit applies c whole, or returns *online.Conflict and applies nothing.
// While the disk has less than 256 MiB left it refuses commits and says so.
func (s *Store) Commit(ctx context.Context, c *online.Commit) error {
	if err := c.Check(); err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.RUnlock()
	if err := s.disk.check(); err != nil {
		return err
	}
	b := s.batch(c)
	full := s.disk.full()
	select {
	case s.turn <- struct{}{}:
	case <-full:
		b.Close()
		return s.disk.error()
	case <-ctx.Done():
		b.Close()
		return context.Cause(ctx)
	}
	found, err := s.token(c.Shard)
	if err == nil && found != c.Expect {
		err = &online.Conflict{Shard: c.Shard, Found: found}
	}
	if err != nil {
		<-s.turn
		b.Close()
		return err
	}
	done := s.apply(b)
	select {
	case err := <-done:
		return err
	case <-full: // applied once there is space; the caller finds out by State
		return s.disk.error()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// apply commits the batch, which has its own copy of the rows, and then gives
// up the turn. It is a goroutine because Pebble waits for a full disk, and for
// flushes, however long that takes.
func (s *Store) apply(b *pebble.Batch) <-chan error {
	done := make(chan error, 1)
	go func() {
		err := s.db.Apply(b, pebble.NoSync)
		if err != nil {
			err = fmt.Errorf("online store %s: commit: %w", s.dir, explain(err))
		}
		b.Close()
		<-s.turn
		done <- err
	}()
	return done
}

// batch makes the batch of a commit, state included.
func (s *Store) batch(c *online.Commit) *pebble.Batch {
	size := 512
	for i := range c.Writes {
		w := &c.Writes[i]
		size += len(w.Head) + len(w.Base) + 2*(len(c.Shard.Space)+len(w.Entity)+24)
	}
	b := s.db.NewBatchWithSize(size)
	head, base := appendPrefix(nil, c.Shard, kindHead), appendPrefix(nil, c.Shard, kindBase)
	for i := range c.Writes {
		w := &c.Writes[i]
		put(b, head, w.Entity, w.Head)
		if !w.KeepBase {
			put(b, base, w.Entity, w.Base)
		}
	}
	state := online.AppendState(nil, &online.State{Token: c.Next, Progress: c.Progress})
	put(b, appendPrefix(nil, c.Shard, kindState), "", state)
	return b
}

// put sets a key, or deletes it when value is nil. Keys are built in place: the
// batch would copy them.
func put(b *pebble.Batch, prefix []byte, entity string, value []byte) {
	n := len(prefix) + len(entity)
	var op *pebble.DeferredBatchOp
	if value == nil {
		op = b.DeleteDeferred(n)
	} else {
		op = b.SetDeferred(n, len(value))
		copy(op.Value, value)
	}
	copy(op.Key[copy(op.Key, prefix):], entity)
	// Finish indexes the key, which only indexed batches do; it cannot fail here.
	if err := op.Finish(); err != nil {
		panic(err)
	}
}

// State returns where a shard stands.
func (s *Store) State(ctx context.Context, shard online.Shard) (online.State, error) {
	if err := s.enter(ctx); err != nil {
		return online.State{}, err
	}
	defer s.mu.RUnlock()
	return s.state(s.db, shard)
}

func (s *Store) state(r pebble.Reader, shard online.Shard) (online.State, error) {
	v, closer, err := r.Get(appendPrefix(nil, shard, kindState))
	if errors.Is(err, pebble.ErrNotFound) {
		return online.State{}, nil
	}
	if err != nil {
		return online.State{}, s.readError(err)
	}
	defer closer.Close()
	state, err := online.DecodeState(v)
	if err != nil {
		return state, fmt.Errorf("shard %s/%d in %s: %w", shard.Space, shard.Index, s.dir, err)
	}
	return state, nil
}

// token is state without the progress.
func (s *Store) token(shard online.Shard) (t online.Token, err error) {
	v, closer, err := s.db.Get(appendPrefix(nil, shard, kindState))
	if errors.Is(err, pebble.ErrNotFound) {
		return t, nil
	}
	if err != nil {
		return t, s.readError(err)
	}
	copy(t[:], v)
	return t, closer.Close()
}

// Read returns a row for each key, in order, and the state of each key's
// shard, all from one snapshot.
func (s *Store) Read(ctx context.Context, keys []online.Key) ([]online.Row, []online.State, error) {
	if err := s.enter(ctx); err != nil {
		return nil, nil, err
	}
	defer s.mu.RUnlock()
	snap := s.db.NewSnapshot()
	defer snap.Close()
	rows, states := make([]online.Row, len(keys)), make([]online.State, len(keys))
	known := make(map[online.Shard]online.State)
	var key []byte
	for i, k := range keys {
		state, ok := known[k.Shard]
		if !ok {
			var err error
			if state, err = s.state(snap, k.Shard); err != nil {
				return nil, nil, err
			}
			known[k.Shard] = state
		}
		states[i] = state
		key = append(appendPrefix(key[:0], k.Shard, kindHead), k.Entity...)
		var err error
		if rows[i].Head, err = s.get(snap, key); err != nil {
			return nil, nil, err
		}
		key[prefixLen(k.Shard)-1] = kindBase
		if rows[i].Base, err = s.get(snap, key); err != nil {
			return nil, nil, err
		}
	}
	return rows, states, nil
}

// get returns a copy of the value, nil when there is none.
func (s *Store) get(r pebble.Reader, key []byte) ([]byte, error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, s.readError(err)
	}
	row := make([]byte, len(v)) // not nil for an empty value
	copy(row, v)
	return row, closer.Close()
}

func (s *Store) readError(err error) error {
	return fmt.Errorf("online store %s: read: %w", s.dir, explain(err))
}

// enter begins a call: the caller unlocks s.mu for reading at its end.
func (s *Store) enter(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return fmt.Errorf("online store %s: %w", s.dir, os.ErrClosed)
	}
	return nil
}

// Close writes what is in memory to the directory and gives it free. It waits
// for calls under way, but not for a full disk: then the directory stays locked
// until the process ends, and what could not be written is read again from the
// topics.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	done := make(chan error, 1)
	go func() {
		s.turn <- struct{}{} // a commit whose caller has left
		done <- s.db.Close()
	}()
	for {
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("online store %s: close: %w", s.dir, explain(err))
			}
			return nil
		case <-s.disk.full():
			if err := s.disk.check(); err != nil {
				return err
			}
			time.Sleep(diskPoll) // there is space again, writing goes on in a moment
		}
	}
}

const (
	kindState = 's'
	kindHead  = 'h'
	kindBase  = 'b'
)

func prefixLen(s online.Shard) int { return 1 + len(s.Space) + 4 + 1 }

// appendPrefix appends all of a key but the entity.
func appendPrefix(dst []byte, s online.Shard, kind byte) []byte {
	dst = append(dst, byte(len(s.Space)))
	dst = append(dst, s.Space...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(s.Index))
	return append(dst, kind)
}
