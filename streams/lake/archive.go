package lake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/codec"
)

// Options say when a partition's rows become a file: when the first of these
// limits is met. The zero value of each is its default.
type Options struct {
	Rows  int           // 100,000
	Bytes int           // 64 MiB in memory, at most 256 MiB shared by all partitions
	Age   time.Duration // one minute since the first row
	Log   *slog.Logger  // slog.Default
}

const allBytes = 256 << 20

func (o Options) orDefaults() Options {
	if o.Rows <= 0 {
		o.Rows = 100_000
	}
	if o.Bytes <= 0 {
		o.Bytes = 64 << 20
	}
	if o.Age <= 0 {
		o.Age = time.Minute
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}

// Counts are what an Archiver has done since it was made.
type Counts struct {
	Events      int64 // written
	Undecodable int64 // records that are no events; their ranges are written
	Files       int64 // written
}

// An Archiver writes the records of one topic to a table of the lake: the events
// of a source, or the examples of a model. Every process may run one: where two
// do, each file is written by one of them.
type Archiver struct {
	at      place
	cluster *streams.Cluster
	src     features.Source // the topic, and the columns
	decoder func() (decoder, error)
	options Options

	events, undecodable, files atomic.Int64
	mu                         sync.Mutex
	trouble                    map[int]error // by partition; -1: the start
}

// NewArchiver returns an archiver of src, which it checks.
func NewArchiver(root string, cluster *streams.Cluster, src features.Source, o Options) (*Archiver, error) {
	return newArchiver(eventsOf(root, src.Name), cluster, src, o, func() (decoder, error) {
		c, err := codec.New(src)
		if err != nil {
			return nil, err
		}
		return func(value []byte, ev *features.Event) (int64, error) { return 0, c.Decode(value, ev) }, nil
	})
}

// A decoder makes an event of a record's value. seq numbers the records of a
// partition; copies, which have a number that was there, are left out. 0: they
// have none. The error is errOther for a record of another table.
type decoder func(value []byte, ev *features.Event) (seq int64, err error)

var errOther = errors.New("the record belongs to another table")

func newArchiver(at place, cluster *streams.Cluster, src features.Source, o Options, decoder func() (decoder, error)) (*Archiver, error) {
	if _, err := decoder(); err != nil {
		return nil, err
	}
	if _, err := newTable(src); err != nil {
		return nil, err
	}
	return &Archiver{at: at, cluster: cluster, src: src, decoder: decoder, options: o.orDefaults(), trouble: map[int]error{}}, nil
}

// Counts returns what has been done so far.
func (a *Archiver) Counts() Counts {
	return Counts{Events: a.events.Load(), Undecodable: a.undecodable.Load(), Files: a.files.Load()}
}

// Err tells what the archiver is trying to overcome, as a full disk or a cluster
// that is away; nil when all is well.
func (a *Archiver) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for _, err := range a.trouble {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// struggle notes, and says once, that something has to be tried again; nil ends it.
func (a *Archiver) struggle(partition int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.trouble[partition]
	if err == nil {
		delete(a.trouble, partition)
		return
	}
	a.trouble[partition] = err
	if before == nil || before.Error() != err.Error() {
		a.options.Log.Error("the lake waits; what it has not written is still in the topic", "table", filepath.Base(a.at.folder), "partition", partition, "error", err)
	}
}

// Run follows all partitions of the topic until ctx ends, then reads what the
// log has by then, for a second at most, writes what it holds and returns nil. It begins where the lake ends. A cluster that is away
// and files that cannot be written are tried again with pauses of up to 30 s;
// meanwhile no more is read. It returns an error when a partition cannot go on:
// the topic is gone, the log no longer has or does not yet have the lake's next
// offset, or the lake is another cluster's; and when the last files cannot be
// written. Nothing is lost by either: their records are read again next time.
func (a *Archiver) Run(ctx context.Context) error {
	id, partitions, err := a.connect(ctx)
	if err != nil || ctx.Err() != nil {
		return err
	}
	if err := sweep(a.at); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, partitions)
	var running sync.WaitGroup
	for p := range partitions {
		running.Go(func() {
			if errs[p] = a.follow(ctx, id, p, min(a.options.Bytes, allBytes/partitions)); errs[p] != nil {
				stop()
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// connect asks for the cluster's id and the topic's partitions until it has them.
func (a *Archiver) connect(ctx context.Context) (id string, partitions int, err error) {
	for try := 0; ; try++ {
		if id, err = a.cluster.ID(ctx); err == nil {
			partitions, err = a.cluster.Partitions(ctx, a.src.Topic)
		}
		if err == nil || errors.Is(err, streams.ErrNoTopic) {
			a.struggle(-1, nil)
			return id, partitions, err
		}
		if ctx.Err() != nil {
			return "", 0, nil
		}
		a.struggle(-1, err)
		pause(ctx, try)
	}
}

// follow archives one partition. When another writer was first it begins again
// behind the other's file.
func (a *Archiver) follow(ctx context.Context, id string, partition, bytes int) error {
	f := &follower{a: a, bytes: bytes}
	var err error
	if f.decode, err = a.decoder(); err != nil {
		return err
	}
	if f.t, err = newTable(a.src); err != nil {
		return err
	}
	for {
		f.h = Header{Range: Range{Partition: partition}, Cluster: id, Topic: a.src.Topic, EventTime: a.src.EventTime}
		err := f.session(ctx)
		if !errors.Is(err, ErrTaken) {
			return err
		}
		a.options.Log.Warn("another process archives the same partition; going on behind its file", "error", err)
	}
}

// A follower archives one partition.
type follower struct {
	a      *Archiver
	bytes  int
	decode decoder
	ev     features.Event
	t      *table    // what is not written yet
	h      Header    // of the file that t becomes
	since  time.Time // when its first record came; zero: there is none
	passed time.Time // when the first record came that is of another table, or a copy; zero: there is none
}

func (f *follower) session(ctx context.Context) error {
	from, err := f.begin(ctx)
	if err != nil || ctx.Err() != nil {
		return err
	}
	r := f.a.cluster.Reader(f.a.src.Topic, f.h.Partition, from)
	defer r.Close()
	for {
		batch, err := f.fetch(ctx, r)
		if err == nil {
			if err := f.take(ctx, batch); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return f.finish(ctx, r)
		}
		if err != nil {
			return f.explain(err)
		}
		if f.aged() {
			if err := f.roll(ctx); err != nil {
				return err
			}
		}
	}
}

// take adds the events of a batch.
func (f *follower) take(ctx context.Context, batch streams.Batch) error {
	for i := range batch.Records {
		f.add(&batch.Records[i])
		if f.full() {
			if err := f.roll(ctx); err != nil {
				return err
			}
		}
	}
	f.h.Next = max(f.h.Next, batch.Next)
	return nil
}

// finishTime is for how long an archiver that ends may read what is left.
const finishTime = time.Second

// finish reads what the log has by now and writes it, so that after a stop in
// order the lake has all that was acknowledged before. What it does not reach
// in time is read again next time.
func (f *follower) finish(ctx context.Context, r *streams.Reader) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	_, end, err := f.a.cluster.Bounds(limited, f.a.src.Topic, f.h.Partition)
	for err == nil && f.h.Next < end {
		var batch streams.Batch
		if batch, err = r.Fetch(limited); err == nil {
			if err := f.take(ctx, batch); err != nil {
				return err
			}
		}
	}
	return f.roll(ctx)
}

// begin makes h stand behind the lake's last file and returns the offset from
// which to read.
func (f *follower) begin(ctx context.Context) (from int64, err error) {
	f.clear()
	before, err := last(f.a.at, f.h.Partition)
	if err != nil {
		return 0, err
	}
	if before.Next > 0 && (before.Cluster != f.h.Cluster || before.Topic != f.h.Topic) {
		return 0, fmt.Errorf("lake: %s has offsets of topic %s of cluster %s, not of topic %s of cluster %s; move it away to begin a new one",
			f.a.at.folder, before.Topic, before.Cluster, f.h.Topic, f.h.Cluster)
	}
	f.h.First, f.h.Next = before.Next, before.Next
	f.h.LogStart, f.h.Seq = before.LogStart, before.Seq
	if before.Next > 0 {
		return before.Next, nil
	}
	for try := 0; ; try++ {
		first, _, err := f.a.cluster.Bounds(ctx, f.a.src.Topic, f.h.Partition)
		if err == nil {
			f.a.struggle(f.h.Partition, nil)
			f.h.LogStart, f.h.Next = first, first
			return first, nil
		}
		if ctx.Err() != nil {
			return 0, nil
		}
		if errors.Is(err, streams.ErrNoTopic) {
			return 0, err
		}
		f.a.struggle(f.h.Partition, err)
		pause(ctx, try)
	}
}

// fetch returns in time for the age limit even while the cluster is away.
func (f *follower) fetch(ctx context.Context, r *streams.Reader) (streams.Batch, error) {
	if f.since.IsZero() {
		return r.Fetch(ctx)
	}
	const polls = time.Second // a Fetch that is well ends before that by itself
	limited, cancel := context.WithDeadline(ctx, f.since.Add(f.a.options.Age+polls))
	defer cancel()
	batch, err := r.Fetch(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return streams.Batch{}, nil
	}
	return batch, err
}

func (f *follower) add(r *streams.Record) {
	f.h.Next = r.Offset + 1
	seq, err := f.decode(r.Value, &f.ev)
	again := seq > 0 && seq <= f.h.Seq
	f.h.Seq = max(f.h.Seq, seq)
	if again || errors.Is(err, errOther) {
		if f.passed.IsZero() {
			f.passed = time.Now()
		}
		return
	}
	if f.since.IsZero() {
		f.since = time.Now()
	}
	if err != nil {
		f.h.Undecodable++
		return
	}
	f.ev.Arrival = r.Time
	f.t.append(&f.ev, f.h.Partition, r.Offset)
}

// idleAge is after how long a file without rows is written where the topic has
// only had records of other tables: the lake must not fall behind what the topic
// still has, nor have a file for each of them.
const idleAge = time.Hour

func (f *follower) idle() bool { return !f.passed.IsZero() && time.Since(f.passed) >= idleAge }

// aged reports whether what is at hand has waited for long enough.
func (f *follower) aged() bool {
	return !f.since.IsZero() && time.Since(f.since) >= f.a.options.Age || f.idle()
}

func (f *follower) full() bool {
	return f.t.rows >= f.a.options.Rows || f.t.bytes >= f.bytes
}

// roll writes what is at hand, if anything is. While that fails it tries again,
// until ctx ends, and at least once.
func (f *follower) roll(ctx context.Context) error {
	if f.since.IsZero() && !f.idle() {
		return nil
	}
	for try := 0; ; try++ {
		err := publish(f.a.at, f.h, f.t)
		if err == nil {
			break
		}
		if errors.Is(err, ErrTaken) || ctx.Err() != nil {
			return err
		}
		f.a.struggle(f.h.Partition, err)
		pause(ctx, try)
	}
	f.a.struggle(f.h.Partition, nil)
	f.a.events.Add(int64(f.t.rows))
	f.a.undecodable.Add(f.h.Undecodable)
	f.a.files.Add(1)
	f.h.First, f.h.Undecodable = f.h.Next, 0
	f.clear()
	return nil
}

func (f *follower) clear() {
	f.t.reset()
	f.since, f.passed = time.Time{}, time.Time{}
}

// explain says what to do about an offset that the log does not have.
func (f *follower) explain(err error) error {
	var out *streams.OutOfRange
	if !errors.As(err, &out) {
		return fmt.Errorf("lake: %s: %w", f.a.at.name, err)
	}
	if out.Offset > out.Next {
		return fmt.Errorf("lake: %s: %w: the topic has lost records or was made anew; move %s away to begin a new lake", f.a.at.name, err, f.a.at.folder)
	}
	return fmt.Errorf("lake: %s: %w: offsets %d to %d were deleted before they were archived; lengthen the topic's retention, and move %s away to begin a new lake",
		f.a.at.name, err, out.Offset, out.First-1, f.a.at.folder)
}

// pause waits longer after each try, up to 30 s or the end of ctx.
func pause(ctx context.Context, try int) {
	t := time.NewTimer(min(time.Second<<min(try, 5), 30*time.Second))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
