package pipeline

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/codec"
)

// A merge reads all partitions of sources as one, by the records' timestamps,
// so that one partition that catches up does not run ahead of the others. Its
// progress is a commit for each partition.
type merge struct {
	host   *Host
	status *tracked
	lanes  []*lane

	cancel  context.CancelFunc
	reading sync.WaitGroup
	wake    chan struct{} // has one when a lane has been given a batch
}

// mergeChunk is how many records are written together.
const mergeChunk = 2000

// A lane is the reading of one source partition. Its goroutine hands over a
// batch and waits until the merge is done with it, since the next Fetch uses
// the memory again.
type lane struct {
	source  *features.Source
	shard   online.Shard
	state   online.State
	decoder *codec.Decoder

	batches   chan fetched
	release   chan struct{}
	records   []streams.Record // what is left of the batch
	highWater int64
	caughtUp  bool // the batch reached the log's end
}

type fetched struct {
	batch streams.Batch
	err   error
}

// add opens a lane for each partition of a source. Their progress is in a space
// of the store. What has to go with the store where a topic is another says rest.
func (m *merge) add(ctx context.Context, src *features.Source, space, rest string) error {
	for partition := range src.Partitions {
		l := &lane{
			source: src, shard: online.Shard{Space: space, Index: partition},
			batches: make(chan fetched, 1), release: make(chan struct{}, 1),
		}
		var err error
		if l.decoder, err = codec.New(*src); err != nil {
			return stopf("%v", err)
		}
		if l.state, err = m.host.cfg.Store.State(ctx, l.shard); err != nil {
			return fmt.Errorf("the store does not answer: %w", err)
		}
		if l.state.Token == (online.Token{}) {
			l.state.Progress = online.Progress{Cluster: m.host.cluster, Topic: src.Topic, Newest: features.NoTime}
		}
		if err := sameLog(ctx, m.host, src.Topic, partition, &l.state, rest); err != nil {
			return err
		}
		m.lanes = append(m.lanes, l)
	}
	return nil
}

// run reads the lanes and calls step until something fails. It ends the reading
// before it returns.
func (m *merge) run(ctx context.Context, step func(context.Context) error) error {
	m.start(ctx)
	defer m.stop()
	for {
		if err := step(ctx); err != nil {
			return err
		}
	}
}

// start begins to read the lanes, until stop or until ctx ends.
func (m *merge) start(ctx context.Context) {
	ctx, m.cancel = context.WithCancel(ctx)
	m.wake = make(chan struct{}, len(m.lanes))
	for i, l := range m.lanes {
		m.reading.Go(func() { m.read(ctx, l, i == 0) })
	}
	m.host.update(m.status, func(s *Status) { s.Phase, s.Problem = Running, "" })
}

func (m *merge) stop() {
	m.cancel()
	m.reading.Wait()
}

// read fetches a lane's batches until ctx ends. The reader of one lane speaks
// for all of them in the status: it is the cluster that they wait for.
func (m *merge) read(ctx context.Context, l *lane, speaks bool) {
	reader := m.host.cfg.Cluster.Reader(l.source.Topic, l.shard.Index, l.state.Progress.Next)
	defer reader.Close()
	if speaks {
		m.status.follow(reader)
		defer m.status.follow(nil)
	}
	for {
		batch, err := reader.Fetch(ctx)
		if ctx.Err() != nil {
			return
		}
		l.batches <- fetched{batch, err} // there is room: the last one was taken before its release
		select {
		case m.wake <- struct{}{}:
		default: // it is full of calls to look at every lane
		}
		if err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-l.release:
		}
	}
}

// gather takes the lanes' new batches, and waits until they are ready, and some
// lane has records; or, if atEnd, until all that is there has been read.
func (m *merge) gather(ctx context.Context, atEnd bool) error {
	for {
		some, ready, err := m.look()
		if err != nil {
			return err
		}
		if (some || atEnd) && ready {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.wake:
		}
	}
}

// look takes the lanes' new batches. It reports whether some lane has records,
// and whether none is without that may have older ones than the others.
func (m *merge) look() (some, ready bool, err error) {
	ready = true
	for _, l := range m.lanes {
		if len(l.records) == 0 {
			if err := l.take(); err != nil {
				return false, false, err
			}
		}
		some = some || len(l.records) > 0
		ready = ready && (len(l.records) > 0 || l.caughtUp)
	}
	return some, ready, nil
}

// take takes the lane's next batch if there is one.
func (l *lane) take() error {
	select {
	case f := <-l.batches:
		if f.err != nil {
			return explain(f.err)
		}
		l.records = f.batch.Records
		l.highWater = f.batch.HighWater
		l.caughtUp = f.batch.Next >= f.batch.HighWater
		if len(l.records) == 0 {
			l.release <- struct{}{}
		}
	default:
	}
	return nil
}

// decode decodes a record of the lane.
func (l *lane) decode(rec *streams.Record) (features.Event, *features.Rejection) {
	e := features.Event{Arrival: rec.Time, Order: features.OrderOf(l.shard.Index, rec.Offset)}
	if err := l.decoder.Decode(rec.Value, &e); err != nil {
		return e, refusal(err)
	}
	return e, nil
}

// sheltered calls do, which makes something of one record of a lane. A panic is
// about that record: nothing else has changed but the decoder, which is made anew.
func sheltered[T any](l *lane, do func() (T, *features.Rejection)) (out T, refused *features.Rejection) {
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		refused = &features.Rejection{Reason: "panic", Detail: fmt.Sprint(cause)}
		if d, err := codec.New(*l.source); err == nil { // as it was when the lane was made
			l.decoder = d
		}
	}()
	return do()
}

// oldest returns the lane whose next record has the least timestamp, or nil
// once a lane has run dry that may hold older ones.
func (m *merge) oldest() *lane {
	var best *lane
	for _, l := range m.lanes {
		switch {
		case len(l.records) == 0 && !l.caughtUp:
			return nil
		case len(l.records) == 0:
		case best == nil || l.records[0].Time < best.records[0].Time:
			best = l
		}
	}
	return best
}

// atEnd reports whether all that is there has been passed.
func (m *merge) atEnd() bool {
	return !slices.ContainsFunc(m.lanes, func(l *lane) bool { return len(l.records) > 0 || !l.caughtUp })
}

// pass moves a lane's progress past its next record.
func (l *lane) pass() {
	rec := &l.records[0]
	l.state.Progress.Next, l.state.Progress.Checksum = rec.Offset+1, checksum(rec)
	l.records = l.records[1:]
}

// commit commits the progress of lanes that have moved, each named once.
func (m *merge) commit(ctx context.Context, moved []*lane) error {
	for _, l := range moved {
		c := online.Commit{Shard: l.shard, Expect: l.state.Token, Next: online.NewToken(), Progress: l.state.Progress}
		if err := commitOnce(ctx, m.host, m.status, &c); err != nil {
			return err
		}
		l.state.Token = c.Next
		if len(l.records) == 0 { // acknowledged: the reader may use its memory again
			l.release <- struct{}{}
		}
	}
	m.report()
	return nil
}

// report sums up the lanes.
func (m *merge) report() {
	var total Status
	for _, l := range m.lanes {
		if l.caughtUp && len(l.records) == 0 { // what may follow in the log are marks of transactions
			total.HighWater += l.state.Progress.Next
		} else {
			total.HighWater += l.highWater
		}
		total.Progress.Next += l.state.Progress.Next
		total.Progress.Counts.Applied += l.state.Progress.Counts.Applied
		total.Progress.Counts.Dropped += l.state.Progress.Counts.Dropped
		total.Progress.Counts.Dead += l.state.Progress.Counts.Dead
	}
	m.host.update(m.status, func(s *Status) {
		s.Phase, s.Problem, s.HighWater, s.Progress = Running, "", total.HighWater, total.Progress
	})
}
