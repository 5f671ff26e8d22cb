package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/streams"
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

func newRekeyer(h *Host, plan *features.Plan) *rekeyer {
	r := &rekeyer{host: h, plan: plan, topic: plan.Topic(h.cfg.Project), log: logHash(h.cluster, plan.Source.Topic)}
	r.status = h.track(Status{View: r.topic, Stage: "rekey", Topic: plan.Source.Topic, Phase: Starting})
	return r
}

func (r *rekeyer) run(ctx context.Context) {
	defer r.host.untrack(r.status)
	runAttempts(ctx, r.host, r.status, r.attempt)
}

func (r *rekeyer) attempt(ctx context.Context) error {
	m, err := r.open(ctx)
	if err != nil {
		return err
	}
	return m.run(ctx, func(ctx context.Context) error {
		if err := m.gather(ctx, false); err != nil {
			return err
		}
		return r.write(ctx, m)
	})
}

// open goes to the stored progress.
func (r *rekeyer) open(ctx context.Context) (*merge, error) {
	m := &merge{host: r.host, status: r.status}
	rest := fmt.Sprintf("; for another log also delete the topic %s: records of the new one would be taken for copies of the old one's", r.topic)
	return m, m.add(ctx, &r.plan.Source, fmt.Sprintf("%s.rekey@%016x", r.topic, r.log), rest)
}

// write merges what the lanes hold, writes it, and commits their progress.
func (r *rekeyer) write(ctx context.Context, m *merge) error {
	var out, dead []streams.Record
	var moved []*lane
	for len(out)+len(dead) < mergeChunk {
		l := m.oldest()
		if l == nil {
			break
		}
		rec := &l.records[0]
		again, refused := sheltered(l, func() (streams.Record, *features.Rejection) { return r.again(l, rec) })
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
		l.pass()
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
	return m.commit(ctx, moved)
}

// again is a record under its new key.
func (r *rekeyer) again(l *lane, rec *streams.Record) (streams.Record, *features.Rejection) {
	if refused := r.untimely(rec); refused != nil {
		return streams.Record{}, refused
	}
	e, refused := l.decode(rec)
	if refused != nil {
		return streams.Record{}, refused
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
