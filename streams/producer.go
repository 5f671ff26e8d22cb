package streams

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	batchBytes = 1_000_000 // one request carries about this; a larger record goes alone
	laneQueue  = 64        // calls that may wait for one partition

	// maxAhead is how far ahead of the clock Kafka takes a timestamp
	// (message.timestamp.after.max.ms). The embedded broker takes any, so the
	// producer refuses for both.
	maxAhead = time.Hour

	// newTopicTries is for how many tries, about 5 s, a broker may not have
	// heard of a topic that another one knows.
	newTopicTries = 7
)

var errProducerClosed = errors.New("the producer is closed")

// A Producer writes records. A record counts as written when all replicas in
// sync have it. Within a partition the order of one caller's records is kept:
// one request is under way at a time, and nothing passes one that failed.
// Records of concurrent calls to the same partition share requests.
//
// What fails for a passing reason is sent again, with pauses of up to 2 s,
// until the context of the call ends. Batches are numbered (Kafka's idempotent
// producer), so that sending again does not write twice. Only where a caller
// gives up and writes the record in another call, or a broker has forgotten
// the producer, may a record be in the log twice.
type Producer struct {
	c      *Cluster
	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	spread atomic.Uint32 // the partition of the next records without a key
	lanes  sync.WaitGroup

	mu     sync.Mutex
	topics map[string]*topicLanes
}

// topicLanes are the lanes of a topic, by partition.
type topicLanes struct {
	lanes []*lane
	most  int // bytes of the largest batch that the topic takes
}

// NewProducer returns a producer for all topics of a cluster.
func NewProducer(c *Cluster) *Producer {
	ctx, cancel := context.WithCancel(context.Background())
	return &Producer{c: c, ctx: ctx, cancel: cancel, topics: make(map[string]*topicLanes)}
}

// Close ends the calls that still wait, with an error, and returns when
// nothing of the producer runs.
func (p *Producer) Close() {
	p.mu.Lock()
	p.cancel()
	p.mu.Unlock()
	p.lanes.Wait()
}

// Produce writes records to a topic and returns their positions once all are
// acknowledged. A record whose Partition is -1 goes where its key says
// (PartitionOf), or anywhere if it has none; a Time of 0 means now. The number
// of partitions is asked for once in a producer's life.
//
// Records that the topic cannot take are refused, by a *Refusal, before anything is sent: a
// partition that does not exist, a size over the topic's max.message.bytes, a
// timestamp more than an hour ahead. When it fails later, some records may be
// written; the positions then tell which, an Offset of -1 standing for the
// others. A record that was under way when ctx ended is among these, and may
// appear in the log all the same.
func (p *Producer) Produce(ctx context.Context, topic string, records []Record) ([]Position, error) {
	if len(records) == 0 {
		return nil, nil
	}
	positions, err := p.produce(ctx, topic, records)
	if err != nil {
		return positions, fmt.Errorf("streams: produce %d records to topic %s: %w", len(records), topic, p.c.needs(err, "Write on that topic"))
	}
	return positions, nil
}

func (p *Producer) produce(ctx context.Context, topic string, records []Record) ([]Position, error) {
	t, err := p.topic(ctx, topic)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	positions := make([]Position, len(records))
	counts := make([]int, len(t.lanes))
	spread := -1
	for i := range records {
		part := records[i].Partition
		if part < 0 && records[i].Key != nil {
			part = PartitionOf(records[i].Key, len(t.lanes))
		} else if part < 0 {
			if spread < 0 { // one partition a call keeps its batches large
				spread = int(p.spread.Add(1) % uint32(len(t.lanes)))
			}
			part = spread
		}
		if err := t.check(&records[i], part, now); err != nil {
			return nil, fmt.Errorf("record %d: %w", i, err)
		}
		positions[i] = Position{Topic: topic, Partition: part, Offset: -1}
		counts[part]++
	}
	jobs := p.split(t, records, positions, counts, now.UnixMilli())
	return p.run(ctx, jobs, positions)
}

// A Refusal is the error of a record that its topic cannot take, whatever one
// waits for.
type Refusal struct{ Problem string }

func (r *Refusal) Error() string { return r.Problem }

func refusef(format string, args ...any) error { return &Refusal{fmt.Sprintf(format, args...)} }

// check refuses a record that the topic would.
func (t *topicLanes) check(r *Record, partition int, now time.Time) error {
	if partition >= len(t.lanes) {
		return refusef("partition %d does not exist; the topic has %d", partition, len(t.lanes))
	}
	if r.Time < 0 || r.Time > now.Add(maxAhead).UnixMicro() {
		return refusef("timestamp %s is more than an hour ahead or before 1970, which Kafka refuses; set the time at which the record arrived, and keep the event's time in its value",
			time.UnixMicro(r.Time).UTC().Format(time.RFC3339))
	}
	n := recordLen(r, 0, 0)
	if n += headerLen + varLen(int64(n)); n > t.most {
		return refusef("its size is %d bytes and the topic's limit is %d; send less, or raise max.message.bytes of the topic", n, t.most)
	}
	return nil
}

// A job is the part of a call that goes to one partition.
type job struct {
	lane    *lane
	records []Record
	order   []int // indexes into records and positions
	now     int64 // ms
	done    chan struct{}

	mu        sync.Mutex // covers what is below and the reading of records
	positions []Position
	sent      int  // how many of order are encoded
	dead      bool // the caller is gone; records and positions are its own again
	err       error
}

func (p *Producer) split(t *topicLanes, records []Record, positions []Position, counts []int, now int64) []*job {
	var jobs []*job
	byLane := make([]*job, len(counts))
	order := make([]int, len(records))
	for part, n := range counts {
		if n > 0 {
			byLane[part] = &job{lane: t.lanes[part], records: records, order: order[:0:n], now: now, done: make(chan struct{}), positions: positions}
			jobs = append(jobs, byLane[part])
			order = order[n:]
		}
	}
	for i := range positions {
		j := byLane[positions[i].Partition]
		j.order = append(j.order, i)
	}
	return jobs
}

// run hands the jobs to their lanes and waits for them.
func (p *Producer) run(ctx context.Context, jobs []*job, positions []Position) ([]Position, error) {
	for _, j := range jobs {
		select {
		case j.lane.queue <- j:
		case <-ctx.Done():
			return positions, abandon(jobs, ctx.Err())
		case <-p.ctx.Done():
			return positions, abandon(jobs, errProducerClosed)
		}
	}
	var errs []error
	for _, j := range jobs {
		select {
		case <-j.done:
			if j.err != nil {
				errs = append(errs, fmt.Errorf("partition %d: %w", j.lane.partition, j.err))
			}
		case <-ctx.Done():
			return positions, abandon(jobs, ctx.Err())
		case <-p.ctx.Done():
			return positions, abandon(jobs, errProducerClosed)
		}
	}
	return positions, errors.Join(errs...)
}

// abandon takes the jobs back from their lanes. It adds to the error why the
// first of them was not yet done.
func abandon(jobs []*job, err error) error {
	var why error
	for _, j := range jobs {
		j.mu.Lock()
		j.dead = true
		j.mu.Unlock()
		if e := j.lane.trouble.Load(); e != nil && why == nil {
			why = *e
		}
	}
	if why != nil {
		return fmt.Errorf("%w (%v)", err, why)
	}
	return err
}

// topic returns the lanes of a topic and starts them if they are new.
func (p *Producer) topic(ctx context.Context, topic string) (*topicLanes, error) {
	p.mu.Lock()
	t := p.topics[topic]
	p.mu.Unlock()
	if t != nil {
		return t, nil
	}
	n, most, err := p.describe(ctx, topic)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return nil, errProducerClosed
	}
	if t := p.topics[topic]; t != nil {
		return t, nil
	}
	t = &topicLanes{lanes: make([]*lane, n), most: most}
	for i := range t.lanes {
		l := &lane{p: p, topic: topic, partition: i, limit: min(batchBytes, most), queue: make(chan *job, laneQueue)}
		t.lanes[i] = l
		p.lanes.Go(l.run)
	}
	p.topics[topic] = t
	return t, nil
}

func (p *Producer) describe(ctx context.Context, topic string) (partitions, most int, err error) {
	for try := 0; ; try++ {
		if partitions, err = p.c.Partitions(ctx, topic); err == nil {
			most, err = p.c.maxMessage(ctx, topic)
		}
		if err == nil || !retriable(err) || pause(ctx, try) != nil {
			return partitions, most, err
		}
	}
}
