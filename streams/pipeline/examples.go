package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
)

// An ExampleAt is an example and where its topic has it.
type ExampleAt struct {
	feedback.Example
	Partition int
	Offset    int64
}

// A FeedbackAt is a record of the feedback topic and where that has it.
type FeedbackAt struct {
	feedback.Record
	Partition int
	Offset    int64
}

// An ExampleReader follows a project's topic of examples and leaves out what
// the join wrote twice. It belongs to one goroutine.
type ExampleReader struct {
	log *tailer
	had []int64 // by partition, the greatest Seq that was returned
}

// NewExampleReader returns a reader that begins, by partition, at the offsets
// that Next of an earlier one has returned; with nil it begins where the topic
// does.
func NewExampleReader(c *streams.Cluster, project string, from []int64) *ExampleReader {
	// The record before the first says which numbers the earlier reader had.
	return &ExampleReader{log: &tailer{cluster: c, topic: feedback.ExamplesTopic(project), from: slices.Clone(from), before: 1}}
}

// Poll returns the examples that are there and were not yet returned, at most
// 4,000 of a partition, by partition and offset; and none, without waiting, at
// the topic's end and while there is no such topic. While the cluster is away it
// waits until ctx ends. Its error wraps ctx's or a *streams.OutOfRange, where the
// topic no longer has, or does not have, what comes next; or says which record is
// no example.
func (r *ExampleReader) Poll(ctx context.Context) ([]ExampleAt, error) {
	var out []ExampleAt
	err := r.log.poll(ctx, func(rec *streams.Record) error {
		e, err := feedback.DecodeExample(rec.Value)
		if err != nil {
			return err
		}
		for len(r.had) <= rec.Partition {
			r.had = append(r.had, math.MinInt64)
		}
		fresh := e.Seq > r.had[rec.Partition]
		r.had[rec.Partition] = max(e.Seq, r.had[rec.Partition])
		if fresh && rec.Offset >= r.log.next[rec.Partition] {
			r.log.next[rec.Partition] = rec.Offset + 1
			out = append(out, ExampleAt{e, rec.Partition, rec.Offset})
		}
		return nil
	})
	return out, err
}

// Next returns, by partition, the offset after the last example that Poll has
// returned, for a later reader to begin at; nil before the topic was found.
func (r *ExampleReader) Next() []int64 { return slices.Clone(r.log.next) }

// Looked returns, by partition, the offset after the last record that Poll has
// looked at, which may be a copy that it left out; nil before the topic was
// found. While it moves, a Poll that returns nothing is not at the topic's end.
func (r *ExampleReader) Looked() []int64 { return slices.Clone(r.log.looked) }

// Close ends the connections.
func (r *ExampleReader) Close() { r.log.close() }

// A FeedbackReader follows a project's topic of predictions, outcomes and ticks.
// What its writers wrote twice it returns twice. Records that cannot be decoded,
// which the join makes dead letters of, it leaves out. It belongs to one
// goroutine.
type FeedbackReader struct {
	log *tailer
}

// NewFeedbackReader returns a reader that begins, by partition, at the offsets
// that Next of an earlier one has returned; with nil it begins where the topic
// does.
func NewFeedbackReader(c *streams.Cluster, project string, from []int64) *FeedbackReader {
	return &FeedbackReader{log: &tailer{cluster: c, topic: feedback.Topic(project), from: slices.Clone(from)}}
}

// Poll returns the records that are there and were not yet returned, as
// ExampleReader.Poll does.
func (r *FeedbackReader) Poll(ctx context.Context) ([]FeedbackAt, error) {
	var out []FeedbackAt
	err := r.log.poll(ctx, func(rec *streams.Record) error {
		r.log.next[rec.Partition] = rec.Offset + 1
		if f, err := feedback.Decode(rec.Value); err == nil {
			out = append(out, FeedbackAt{f, rec.Partition, rec.Offset})
		}
		return nil
	})
	return out, err
}

// Next returns, by partition, the offset after the last record that Poll has
// looked at, for a later reader to begin at; nil before the topic was found.
func (r *FeedbackReader) Next() []int64 { return slices.Clone(r.log.next) }

// Close ends the connections.
func (r *FeedbackReader) Close() { r.log.close() }

// A tailer reads all partitions of a topic, without waiting at their ends.
type tailer struct {
	cluster *streams.Cluster
	topic   string
	from    []int64 // where to begin; nil: where the topic does
	before  int64   // how many records before those are wanted, too, if the log has them

	readers []*streams.Reader // by partition; nil: the topic was not found yet
	next    []int64           // by partition, for its owner to keep
	looked  []int64           // by partition, the offset after the last record that take was given
	broken  error             // a record that take refused; it is for good
}

// poll gives take what is there. An error after some records waits for the next
// call, so that none of them is lost.
func (t *tailer) poll(ctx context.Context, take func(*streams.Record) error) error {
	if t.broken != nil {
		return t.broken
	}
	if err := t.open(ctx); err != nil {
		return err
	}
	some := false
	for _, r := range t.readers {
		batch, err := r.Poll(ctx)
		if err != nil && some {
			return nil
		}
		if err != nil {
			return fmt.Errorf("pipeline: %w", err)
		}
		for i := range batch.Records {
			rec := &batch.Records[i]
			if err := take(rec); err != nil {
				t.broken = fmt.Errorf("pipeline: the record at offset %d of topic %s, partition %d: %w; something else writes to that topic, or a newer version of this program", rec.Offset, t.topic, rec.Partition, err)
				if some {
					return nil
				}
				return t.broken
			}
			t.looked[rec.Partition] = rec.Offset + 1
			some = true
		}
	}
	return nil
}

// open finds the topic's partitions and where to begin in each, once.
func (t *tailer) open(ctx context.Context) error {
	if t.readers != nil {
		return nil
	}
	n, err := t.cluster.Partitions(ctx, t.topic)
	if errors.Is(err, streams.ErrNoTopic) && t.from == nil {
		return nil // nobody has written to it yet
	}
	if err != nil {
		return fmt.Errorf("pipeline: %w", err)
	}
	if t.from != nil && len(t.from) != n {
		return fmt.Errorf("pipeline: topic %s has %d partitions, and %d offsets are given: begin anew", t.topic, n, len(t.from))
	}
	begin, next := make([]int64, n), make([]int64, n)
	for p := range n {
		first, end, err := t.cluster.Bounds(ctx, t.topic, p)
		if err != nil {
			return fmt.Errorf("pipeline: %w", err)
		}
		next[p] = first
		if t.from != nil {
			next[p] = t.from[p]
		}
		if next[p] < first || next[p] > end {
			return fmt.Errorf("pipeline: %w", &streams.OutOfRange{Topic: t.topic, Partition: p, Offset: next[p], First: first, Next: end})
		}
		begin[p] = max(first, next[p]-t.before)
	}
	t.next, t.looked = next, slices.Clone(begin)
	for p := range n {
		t.readers = append(t.readers, t.cluster.Reader(t.topic, p, begin[p]))
	}
	return nil
}

func (t *tailer) close() {
	for _, r := range t.readers {
		r.Close()
	}
}
