package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/codec"
)

// A rekeyer writes the records of a source again, keyed by a view's entity. It
// merges the partitions of the source by the records' timestamps, so that one
// partition that catches up does not make the events of another late. One
// process does it for all partitions: the one that owns partition 0.
//
// Its progress is a commit for each source partition, made after the records
// have been acknowledged. What a crash makes it write twice, and what two
// owners by mistake write, the readers skip by each record's origin: every
// writer goes through each partition in order and without a gap, so that a copy
// always lies at or below the greatest origin that was seen. Origins name the
// log that they are about: where a source's topic was another before, what it
// brought is skipped.
type rekeyer struct {
	host   *Host
	plan   *features.Plan
	topic  string // the re-keyed one
	log    uint64
	status *tracked
}

// rekeyChunk is how many records are written together.
const rekeyChunk = 2000

func newRekeyer(h *Host, plan *features.Plan) *rekeyer {
	r := &rekeyer{host: h, plan: plan, topic: plan.Topic(h.cfg.Project), log: logHash(h.cluster, plan.Source.Topic)}
	r.status = h.track(Status{View: r.topic, Stage: "rekey", Topic: plan.Source.Topic, Phase: Starting})
	return r
}

func (r *rekeyer) run(ctx context.Context) {
	defer r.host.untrack(r.status)
	runAttempts(ctx, r.host, r.status, r.attempt)
}

// A lane is the reading of one source partition. Its goroutine hands over a
// batch and waits until the merge is done with it, since the next Fetch uses
// the memory again.
type lane struct {
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

func (r *rekeyer) attempt(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	lanes := make([]*lane, r.plan.Source.Partitions)
	wake := make(chan struct{}, len(lanes))
	for i := range lanes {
		l, err := r.lane(ctx, i)
		if err != nil {
			return err
		}
		lanes[i] = l
		wg.Go(func() { r.read(ctx, l, wake) })
	}
	r.host.update(r.status, func(s *Status) { s.Phase, s.Problem = Running, "" })
	for {
		if err := r.gather(ctx, lanes, wake); err != nil {
			return err
		}
		if err := r.write(ctx, lanes); err != nil {
			return err
		}
	}
}

func (r *rekeyer) lane(ctx context.Context, partition int) (*lane, error) {
	l := &lane{
		shard:   online.Shard{Space: fmt.Sprintf("%s.rekey@%016x", r.topic, r.log), Index: partition},
		batches: make(chan fetched, 1), release: make(chan struct{}, 1),
	}
	var err error
	if l.decoder, err = codec.New(r.plan.Source); err != nil {
		return nil, stopf("%v", err)
	}
	if l.state, err = r.host.cfg.Store.State(ctx, l.shard); err != nil {
		return nil, fmt.Errorf("the store does not answer: %w", err)
	}
	if l.state.Token == (online.Token{}) {
		l.state.Progress = online.Progress{Cluster: r.host.cluster, Topic: r.plan.Source.Topic, Newest: features.NoTime}
	}
	return l, sameLog(ctx, r.host, r.plan.Source.Topic, partition, &l.state)
}

// read fetches a lane's batches until ctx ends.
func (r *rekeyer) read(ctx context.Context, l *lane, wake chan<- struct{}) {
	reader := r.host.cfg.Cluster.Reader(r.plan.Source.Topic, l.shard.Index, l.state.Progress.Next)
	defer reader.Close()
	if l.shard.Index == 0 {
		r.status.follow(reader)
		defer r.status.follow(nil)
	}
	for {
		batch, err := reader.Fetch(ctx)
		if ctx.Err() != nil {
			return
		}
		l.batches <- fetched{batch, err} // there is room: the last one was taken before its release
		select {
		case wake <- struct{}{}:
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

// gather takes the lanes' new batches, and waits until no lane that may have
// older records than the others is without one, and some lane has one.
func (r *rekeyer) gather(ctx context.Context, lanes []*lane, wake <-chan struct{}) error {
	for {
		some, all := false, true
		for _, l := range lanes {
			if len(l.records) == 0 {
				if err := l.take(); err != nil {
					return err
				}
			}
			some = some || len(l.records) > 0
			all = all && (len(l.records) > 0 || l.caughtUp)
		}
		if some && all {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		}
	}
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

// oldest returns the lane whose next record has the least timestamp, or nil
// once a lane has run dry that may hold older ones.
func oldest(lanes []*lane) *lane {
	var best *lane
	for _, l := range lanes {
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

// write merges what the lanes hold, writes it, and commits their progress.
func (r *rekeyer) write(ctx context.Context, lanes []*lane) error {
	var out, dead []streams.Record
	var moved []*lane
	for len(out)+len(dead) < rekeyChunk {
		l := oldest(lanes)
		if l == nil {
			break
		}
		rec := &l.records[0]
		again, refused := r.again(l, rec)
		if refused != nil {
			at := Status{Stage: r.status.Stage, View: r.topic, Topic: r.plan.Source.Topic, Partition: l.shard.Index}
			letter, err := deadLetter(&at, rec, refused)
			if err != nil {
				return err
			}
			dead = append(dead, letter)
			l.state.Progress.Counts.Dead++
		} else {
			out = append(out, again)
			l.state.Progress.Counts.Applied++
		}
		l.state.Progress.Next, l.state.Progress.Checksum = rec.Offset+1, checksum(rec)
		l.records = l.records[1:]
		if !slices.Contains(moved, l) {
			moved = append(moved, l)
		}
	}
	if err := produce(ctx, r.host, DeadLetters(r.host.cfg.Project), dead); err != nil {
		return err
	}
	if err := produce(ctx, r.host, r.topic, out); err != nil {
		return err
	}
	if err := r.commit(ctx, moved); err != nil {
		return err
	}
	r.report(lanes)
	return nil
}

// report sums up the lanes.
func (r *rekeyer) report(lanes []*lane) {
	var total Status
	for _, l := range lanes {
		total.HighWater += l.highWater
		total.Progress.Next += l.state.Progress.Next
		total.Progress.Counts.Applied += l.state.Progress.Counts.Applied
		total.Progress.Counts.Dead += l.state.Progress.Counts.Dead
	}
	r.host.update(r.status, func(s *Status) {
		s.Phase, s.Problem, s.HighWater, s.Progress = Running, "", total.HighWater, total.Progress
	})
}

func (r *rekeyer) commit(ctx context.Context, moved []*lane) error {
	for _, l := range moved {
		c := online.Commit{Shard: l.shard, Expect: l.state.Token, Next: online.NewToken(), Progress: l.state.Progress}
		if err := commitOnce(ctx, r.host, r.status, &c); err != nil {
			return err
		}
		l.state.Token = c.Next
		if len(l.records) == 0 { // acknowledged: the reader may use its memory again
			l.release <- struct{}{}
		}
	}
	return nil
}

// again is a record under its new key.
func (r *rekeyer) again(l *lane, rec *streams.Record) (streams.Record, *features.Rejection) {
	if refused := r.untimely(rec); refused != nil {
		return streams.Record{}, refused
	}
	var e features.Event
	if err := l.decoder.Decode(rec.Value, &e); err != nil {
		return streams.Record{}, refusal(err)
	}
	key, err := r.plan.AppendEntity(nil, e.Values)
	if err != nil {
		var refused *features.Rejection
		errors.As(err, &refused)
		return streams.Record{}, refused
	}
	return streams.Record{
		Key: key, Value: rec.Value, Time: rec.Time, Partition: -1,
		Headers: append(slices.Clone(rec.Headers), streams.Header{Key: originHeader, Value: encodeOrigin(r.log, l.shard.Index, rec.Offset)}),
	}, nil
}

// untimely refuses a record whose timestamp Kafka would not take again, or
// would replace by its own.
func (r *rekeyer) untimely(rec *streams.Record) *features.Rejection {
	if rec.Time <= 0 {
		return &features.Rejection{Reason: "bad_timestamp", Detail: "the record has no timestamp after 1970, so nobody can tell when it arrived"}
	}
	if ahead := time.Until(time.UnixMicro(rec.Time)); ahead > maxRecordAhead {
		return &features.Rejection{Reason: features.RejectFuture, Detail: fmt.Sprintf("the record's timestamp is %v ahead of the clock here", ahead.Round(time.Second))}
	}
	return nil
}

// maxRecordAhead is a little less than the hour that Kafka allows.
const maxRecordAhead = 55 * time.Minute

// originHeader names where a re-keyed record was first written, big-endian: 8
// bytes that stand for the log, 4 of its partition, 8 of its offset.
const originHeader = "millrace-origin"

// logHash stands for a topic of a cluster.
func logHash(cluster, topic string) uint64 {
	sum := sha256.Sum256([]byte(cluster + "\x00" + topic))
	return binary.BigEndian.Uint64(sum[:])
}

func encodeOrigin(log uint64, partition int, offset int64) []byte {
	b := binary.BigEndian.AppendUint64(nil, log)
	b = binary.BigEndian.AppendUint32(b, uint32(partition))
	return binary.BigEndian.AppendUint64(b, uint64(offset))
}

// decodeOrigin returns the last origin header: the re-keyer's own.
func decodeOrigin(headers []streams.Header) (log uint64, partition int, offset int64, ok bool) {
	for _, h := range slices.Backward(headers) {
		if b := h.Value; h.Key == originHeader && len(b) == 20 {
			return binary.BigEndian.Uint64(b), int(binary.BigEndian.Uint32(b[8:])), int64(binary.BigEndian.Uint64(b[12:])), true
		}
	}
	return 0, 0, 0, false
}
