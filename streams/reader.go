package streams

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/fetch"
)

const (
	// fetchBytes are wanted of one answer; a batch that is larger comes whole. It
	// is Kafka's own default: some 10,000 events a request, and what the broker
	// writes and the reader reads is still in the caches of the processor.
	fetchBytes = 1 << 20
	fetchWait  = 250 * time.Millisecond // at the log's end
	maxFetch   = 256 << 20              // bytes of an answer that we accept
	maxRecords = 4000                   // of one Batch

	// maxStrikes is how often bytes that cannot be read are fetched again
	// before they count as broken in the log and not on the way.
	maxStrikes = 3
)

// A Batch is what one Fetch brought. Its records, their keys, values and
// headers are valid until the next Fetch or Close of the Reader.
type Batch struct {
	Records   []Record // at most 4,000, in offset order
	Next      int64    // the offset from which the next Fetch reads; past what was skipped, too
	HighWater int64    // the end of what can be read; there is more at hand while Next is below it
}

// OutOfRange says that a log no longer has an offset, or not yet.
type OutOfRange struct {
	Topic       string
	Partition   int
	Offset      int64 // what was wanted
	First, Next int64 // what there is, Next being the offset after the last record
}

func (e *OutOfRange) Error() string {
	return fmt.Sprintf("streams: offset %d of topic %s, partition %d is out of range; the log has %d to %d", e.Offset, e.Topic, e.Partition, e.First, e.Next-1)
}

// A Reader reads one partition from an offset on. It returns each committed
// record at or above that offset once, in order; records of aborted
// transactions and the marks that end transactions are left out, as are those
// of transactions still open until they end. It belongs to one goroutine, Err
// excepted.
type Reader struct {
	c         *Cluster
	topic     string
	partition int
	next      int64
	highWater int64
	wait      time.Duration // at the log's end

	conn    *conn
	frame   []byte // the last answer, reused
	set     recordSet
	records []Record // reused
	strikes int
	trouble atomic.Pointer[error]
}

// Reader returns a reader of a partition that begins at an offset.
func (c *Cluster) Reader(topic string, partition int, offset int64) *Reader {
	return &Reader{c: c, topic: topic, partition: partition, next: offset}
}

// Fetch returns the next records. At the log's end it waits for up to 250 ms
// and then returns none. While the cluster is away it tries again, with pauses
// of up to 2 s, until ctx ends; Err then tells why.
//
// Its error wraps ctx's, ErrNoTopic when the topic is gone for 10 s, a
// *OutOfRange, kafka.TopicAuthorizationFailed and the like, or describes a
// batch that cannot be read.
func (r *Reader) Fetch(ctx context.Context) (Batch, error) {
	r.wait = fetchWait
	return r.fetch(ctx)
}

// Poll is Fetch without the wait at the log's end.
func (r *Reader) Poll(ctx context.Context) (Batch, error) {
	r.wait = 0
	return r.fetch(ctx)
}

func (r *Reader) fetch(ctx context.Context) (Batch, error) {
	var lost time.Time // since when the topic is unknown
	for try := 0; ; try++ {
		batch, err := r.step(ctx)
		if err == nil {
			r.trouble.Store(nil)
			return batch, nil
		}
		r.disconnect()
		if err = r.judge(ctx, err, &lost); err != nil {
			return Batch{}, err
		}
		if pause(ctx, try) != nil {
			return Batch{}, r.fail(ctx.Err())
		}
	}
}

// Err tells why Fetch is trying again, or nil when the last exchange with the
// cluster went well. It may be called at any time.
func (r *Reader) Err() error {
	if e := r.trouble.Load(); e != nil {
		return *e
	}
	return nil
}

// Close ends the connection and releases the buffers.
func (r *Reader) Close() {
	r.disconnect()
	r.frame, r.records, r.set = nil, nil, recordSet{}
}

func (r *Reader) disconnect() {
	if r.conn != nil {
		r.conn.Close()
		r.conn = nil
	}
}

// fail wraps an error that Fetch returns, with what it was trying to overcome.
func (r *Reader) fail(err error) error {
	if e := r.trouble.Load(); e != nil && !errors.Is(err, *e) {
		err = fmt.Errorf("%w (%v)", err, *e)
	}
	return fmt.Errorf("streams: fetch topic %s, partition %d, offset %d: %w", r.topic, r.partition, r.next, r.c.needs(err, "Read on that topic"))
}

// judge returns nil for an error after which Fetch should try again.
func (r *Reader) judge(ctx context.Context, err error, lost *time.Time) error {
	if ctx.Err() != nil {
		return r.fail(ctx.Err())
	}
	var broken *brokenError
	switch {
	case errors.Is(err, kafka.OffsetOutOfRange):
		first, next, berr := r.c.Bounds(ctx, r.topic, r.partition)
		if berr == nil && (r.next < first || r.next > next) {
			return &OutOfRange{Topic: r.topic, Partition: r.partition, Offset: r.next, First: first, Next: next}
		}
	case errors.Is(err, ErrNoTopic), errors.Is(err, kafka.UnknownTopicOrPartition):
		if lost.IsZero() {
			*lost = time.Now()
		}
		if time.Since(*lost) > newTopicWait {
			return r.fail(ErrNoTopic)
		}
		r.trouble.Store(&err)
		return nil
	case errors.As(err, &broken):
		if r.strikes++; r.strikes >= maxStrikes {
			return r.fail(err)
		}
	case !retriable(err):
		return r.fail(err)
	}
	*lost = time.Time{}
	r.trouble.Store(&err)
	return nil
}

// step returns records at hand, or makes one exchange with the leader first.
func (r *Reader) step(ctx context.Context) (Batch, error) {
	if err := ctx.Err(); err != nil {
		return Batch{}, err
	}
	if r.set.left == 0 && len(r.set.rest) == 0 {
		if err := r.exchange(ctx); err != nil {
			return Batch{}, err
		}
	}
	if err := r.decode(); err != nil {
		r.set.reset(nil)
		if len(r.records) == 0 {
			return Batch{}, &brokenError{err}
		}
		// What comes before is good; the next Fetch starts at what is not.
	} else if len(r.records) > 0 {
		r.strikes = 0
	}
	return Batch{Records: r.records, Next: r.next, HighWater: r.highWater}, nil
}

// A brokenError says that an answer or a batch in it cannot be read.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return "unreadable log: " + e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// decode fills records from the answer at hand.
func (r *Reader) decode() error {
	r.records = r.records[:0]
	r.set.beginBatch()
	for len(r.records) < maxRecords {
		if r.set.left == 0 {
			if len(r.records) > 0 && r.set.full() {
				return nil
			}
			if err := r.set.open(); errors.Is(err, io.EOF) {
				r.next = max(r.next, r.set.end)
				r.set.rest = nil
				return nil
			} else if err != nil {
				return err
			}
			r.next = max(r.next, r.set.base)
			continue
		}
		r.records = append(r.records, Record{Partition: r.partition})
		rec := &r.records[len(r.records)-1]
		if err := r.set.next(rec); err != nil {
			r.records = r.records[:len(r.records)-1]
			return err
		}
		if rec.Offset < r.next { // the batch began before the wanted offset
			r.records = r.records[:len(r.records)-1]
		} else {
			r.next = rec.Offset + 1
		}
	}
	return nil
}

// exchange asks the leader for what comes at and after next.
func (r *Reader) exchange(ctx context.Context) error {
	if r.conn == nil {
		k, err := r.c.dialLeader(ctx, r.topic, r.partition)
		if err != nil {
			return err
		}
		r.conn = k
	}
	r.set.reset(nil)
	r.set.end = 0
	err := r.conn.exchange(ctx, r.wait+askTimeout, func() (err error) {
		r.frame, err = r.conn.roundTrip(fetchVersion, r.request(), r.frame, maxFetch)
		return err
	})
	if err != nil {
		return err
	}
	return r.parse(r.frame[frameHeader:])
}

func (r *Reader) request() *fetch.Request {
	return &fetch.Request{
		ReplicaID:      -1,
		MaxWaitTime:    int32(r.wait.Milliseconds()),
		MinBytes:       1,
		MaxBytes:       fetchBytes,
		IsolationLevel: int8(kafka.ReadCommitted),
		SessionID:      0,
		SessionEpoch:   -1, // no session
		Topics: []fetch.RequestTopic{{Topic: r.topic, Partitions: []fetch.RequestPartition{{
			Partition:          int32(r.partition),
			CurrentLeaderEpoch: -1,
			FetchOffset:        r.next,
			LogStartOffset:     -1,
			PartitionMaxBytes:  fetchBytes,
		}}}},
	}
}

// parse reads the body of a fetch answer of version 10 up to its record batches.
func (r *Reader) parse(body []byte) error {
	p := parser{b: body}
	p.int32() // throttled for, ms; the broker itself held the answer back
	code := p.int16()
	p.int32() // session
	if topics := p.int32(); topics != 1 && code == 0 && !p.bad {
		return &brokenError{fmt.Errorf("an answer about %d topics", topics)}
	}
	p.take(int(p.int16())) // the topic's name
	if n := p.int32(); n != 1 && code == 0 && !p.bad {
		return &brokenError{fmt.Errorf("an answer about %d partitions", n)}
	}
	p.int32() // the partition
	if code == 0 {
		code = p.int16()
	}
	if code != 0 {
		return kafka.Error(code)
	}
	p.int64() // high watermark; only what is below the last stable offset is read
	r.highWater = p.int64()
	p.int64() // log start
	r.set.aborted = r.set.aborted[:0]
	for n := p.int32(); n > 0 && !p.bad; n-- {
		r.set.aborted = append(r.set.aborted, abort{producer: p.int64(), first: p.int64()})
	}
	batches := p.take(max(0, int(p.int32())))
	if p.bad {
		return &brokenError{errors.New("an answer that is cut")}
	}
	if err := whole(batches); err != nil {
		return &brokenError{err}
	}
	r.set.reset(batches)
	return nil
}

// whole refuses an answer that is not empty but does not hold one batch to its
// end: it would be asked for again forever.
func whole(b []byte) error {
	if len(b) > 0 && (len(b) < 12 || 12+int64(binary.BigEndian.Uint32(b[8:])) > int64(len(b))) {
		return fmt.Errorf("an answer of %d bytes without one whole batch", len(b))
	}
	return nil
}

// A parser takes values from the front of b; bad says that b was too short.
type parser struct {
	b   []byte
	bad bool
}

func (p *parser) take(n int) []byte {
	if n < 0 || n > len(p.b) {
		p.b, p.bad = nil, true
		return nil
	}
	v := p.b[:n]
	p.b = p.b[n:]
	return v
}

func (p *parser) int16() int16 {
	if v := p.take(2); v != nil {
		return int16(binary.BigEndian.Uint16(v))
	}
	return 0
}

func (p *parser) int32() int32 {
	if v := p.take(4); v != nil {
		return int32(binary.BigEndian.Uint32(v))
	}
	return 0
}

func (p *parser) int64() int64 {
	if v := p.take(8); v != nil {
		return int64(binary.BigEndian.Uint64(v))
	}
	return 0
}
