package streams

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/initproducerid"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
)

// A lane carries the records of one partition, one request at a time.
type lane struct {
	p         *Producer
	topic     string
	partition int
	limit     int // bytes of a batch of several records
	queue     chan *job
	trouble   atomic.Pointer[error] // what it is trying to overcome

	conn     *conn
	named    bool // producer and epoch are valid
	producer int64
	epoch    int16
	sequence int32

	batch batchWriter
	parts []part
}

// A part is the run of a job's records that is in the batch.
type part struct {
	job     *job
	from, n int // in job.order
}

func (l *lane) run() {
	defer l.disconnect()
	for {
		select {
		case j := <-l.queue:
			for j != nil {
				j = l.round(j)
			}
		case <-l.p.ctx.Done():
			return
		}
	}
}

// round sends one batch that begins with j's records, and returns the job with
// which the next begins, if one is at hand.
func (l *lane) round(j *job) *job {
	l.batch.reset()
	l.parts = l.parts[:0]
	for j != nil && l.fill(j) {
		select {
		case j = <-l.queue:
		default:
			j = nil
		}
	}
	if l.batch.count == 0 {
		return j
	}
	base, err := l.send()
	for _, p := range l.parts {
		p.settle(base, err)
		base += int64(p.n)
	}
	if err != nil && j != nil && j == l.parts[len(l.parts)-1].job {
		return nil // the rest of a job whose first half failed is not sent
	}
	return j
}

// fill adds a job's records to the batch and tells whether all fitted.
func (l *lane) fill(j *job) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dead {
		return true
	}
	from := j.sent
	for ; j.sent < len(j.order); j.sent++ {
		r := &j.records[j.order[j.sent]]
		ms := j.now
		if r.Time != 0 {
			ms = r.Time / 1000
		}
		// 20 bytes: the lengths, the offset and the time at their longest.
		if l.batch.count > 0 && l.batch.size()+recordLen(r, 0, 0)+20 > l.limit {
			break
		}
		l.batch.add(r, ms)
	}
	if j.sent > from {
		l.parts = append(l.parts, part{job: j, from: from, n: j.sent - from})
	}
	return j.sent == len(j.order)
}

// settle reports the outcome of a part; base is the offset of its first record.
func (p part) settle(base int64, err error) {
	j := p.job
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dead {
		return
	}
	if err == nil {
		for i, at := range j.order[p.from : p.from+p.n] {
			j.positions[at].Offset = base + int64(i)
		}
	}
	j.err = err
	if err != nil || p.from+p.n == len(j.order) {
		close(j.done)
	}
}

// wanted says whether a caller still waits for a record of the batch.
func (l *lane) wanted() bool {
	for _, p := range l.parts {
		p.job.mu.Lock()
		dead := p.job.dead
		p.job.mu.Unlock()
		if !dead {
			return true
		}
	}
	return false
}

// send sends the batch until it is acknowledged, and returns its first offset.
func (l *lane) send() (int64, error) {
	for try := 0; ; try++ {
		base, err := l.attempt()
		if err == nil {
			l.trouble.Store(nil)
			l.sequence = int32((int64(l.sequence) + int64(l.batch.count)) & 0x7fffffff)
			return base, nil
		}
		l.disconnect()
		switch {
		case forgotten(err):
			l.named = false
		case errors.Is(err, ErrNoTopic) && try < newTopicTries:
		case !retriable(err):
			l.named = false // whether its number is used up is not known
			return 0, err
		}
		l.trouble.Store(&err)
		if !l.wanted() || pause(l.p.ctx, try) != nil {
			l.named = false
			return 0, err
		}
	}
}

// forgotten says that the broker does not know the producer's state any more:
// it must begin anew under another id.
func forgotten(err error) bool {
	var e kafka.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e {
	case kafka.OutOfOrderSequenceNumber, kafka.UnknownProducerId, kafka.InvalidProducerEpoch, kafka.InvalidProducerIDMapping:
		return true
	}
	return false
}

func (l *lane) attempt() (int64, error) {
	ctx := l.p.ctx
	if l.conn == nil {
		k, err := l.p.c.dialLeader(ctx, l.topic, l.partition)
		if err != nil {
			return 0, err
		}
		l.conn = k
	}
	if !l.named {
		if err := l.name(ctx); err != nil {
			return 0, err
		}
	}
	r, err := l.conn.ask(ctx, produceVersion, &rawproduce.Request{
		Acks:    int16(kafka.RequireAll),
		Timeout: int32(askTimeout.Milliseconds()) / 2,
		Topics: []rawproduce.RequestTopic{{Topic: l.topic, Partitions: []rawproduce.RequestPartition{{
			Partition: int32(l.partition),
			RecordSet: protocol.RawRecordSet{Reader: bytes.NewReader(l.batch.finish(l.producer, l.epoch, l.sequence))},
		}}}},
	})
	if err != nil {
		return 0, err
	}
	t := r.(*produce.Response).Topics
	if len(t) != 1 || len(t[0].Partitions) != 1 {
		return 0, errors.New("the broker answered about another partition")
	}
	if code := t[0].Partitions[0].ErrorCode; code != 0 {
		return 0, kafka.Error(code)
	}
	return t[0].Partitions[0].BaseOffset, nil
}

// name asks for the id under which the lane's batches are numbered.
func (l *lane) name(ctx context.Context) error {
	r, err := l.conn.ask(ctx, initProducerIDVersion, &initproducerid.Request{ProducerID: -1, ProducerEpoch: -1})
	if err != nil {
		return err
	}
	id := r.(*initproducerid.Response)
	if id.ErrorCode != 0 {
		return kafka.Error(id.ErrorCode)
	}
	l.producer, l.epoch, l.sequence, l.named = id.ProducerID, id.ProducerEpoch, 0, true
	return nil
}

func (l *lane) disconnect() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}
