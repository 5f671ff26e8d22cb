package streams

import (
	"errors"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestLeadersChange moves all partitions between three brokers while records
// are written and read.
func TestLeadersChange(t *testing.T) {
	const n, moves = 4000, 12
	k, c := newFaulty(t, 3, "moves")
	ctx := testContext(t)
	read := make(chan error, 1)
	go func() { read <- readInOrder(ctx, c, "moves", n) }()
	p := newProducer(t, c)
	for at := 0; at < n; at += 20 {
		if at%(n/moves) < 20 {
			k.ShufflePartitionLeaders()
		}
		write(t, p, "moves", numbered(at, 20)...)
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
	if _, next, err := c.Bounds(ctx, "moves", 0); err != nil || next != n {
		t.Errorf("the log ends at %d, %v; want %d", next, err, n)
	}
}

// newFaulty starts brokers that can be told to fail, with one topic.
func newFaulty(t *testing.T, brokers int, topic string) (*kfake.Cluster, *Cluster) {
	t.Helper()
	k, err := kfake.NewCluster(kfake.NumBrokers(brokers))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	c, err := Connect(Options{Addresses: k.ListenAddrs()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ensure(t, c, topic, 1)
	return k, c
}

// TestProduceRetries answers each request of a pair with an error that passes.
// With some of them the broker has the records all the same, and sending again
// must not write them twice.
func TestProduceRetries(t *testing.T) {
	k, c := newFaulty(t, 1, "faulty")
	p := newProducer(t, c)
	passing := []*kerr.Error{
		kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend, // after the records were written
		kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.UnknownTopicOrPartition, kerr.NotEnoughReplicas,
		kerr.KafkaStorageError, kerr.CorruptMessage, kerr.UnknownServerError, kerr.OutOfOrderSequenceNumber,
		kerr.UnknownProducerID, kerr.InvalidProducerEpoch, kerr.CoordinatorNotAvailable,
	}
	for i, e := range passing {
		h := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: e, Count: 2})
		at := write(t, p, "faulty", numbered(5*i, 5)...)
		if h.Hits() != 2 {
			t.Errorf("%s: %d requests failed, want 2", e.Message, h.Hits())
		}
		if at[0].Offset != int64(5*i) || at[4].Offset != int64(5*i+4) {
			t.Errorf("%s: offsets %d to %d, want %d to %d", e.Message, at[0].Offset, at[4].Offset, 5*i, 5*i+4)
		}
	}
	if err := readInOrder(testContext(t), c, "faulty", int64(5*len(passing))); err != nil {
		t.Error(err)
	}
	for _, e := range []*kerr.Error{kerr.TopicAuthorizationFailed, kerr.MessageTooLarge, kerr.InvalidTimestamp} {
		k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: e})
		if _, err := p.Produce(testContext(t), "faulty", numbered(0, 1)); !errors.Is(err, kafka.Error(e.Code)) {
			t.Errorf("%s: Produce returns %v", e.Message, err)
		}
	}
}

// TestNothingPassesAFailedRequest fails the third request of a call that needs
// more: the others are not sent, and the positions say so.
func TestNothingPassesAFailedRequest(t *testing.T) {
	k, c := newFaulty(t, 1, "chain")
	p := newProducer(t, c)
	write(t, p, "chain", numbered(0, 1)...)
	rs := numbered(1, 30)
	for i := range rs {
		rs[i].Value = append(rs[i].Value, make([]byte, 200_000)...)
	}
	k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.PolicyViolation, When: third()})
	at, err := p.Produce(testContext(t), "chain", rs)
	if !errors.Is(err, kafka.PolicyViolation) {
		t.Fatalf("%v, want %v after two requests", err, kafka.PolicyViolation)
	}
	got := readFrom(t, c, "chain", 0, 1)
	for i := range rs {
		want := int64(-1)
		if i < len(got) {
			want = int64(1 + i)
		}
		if at[i].Offset != want {
			t.Errorf("record %d has offset %d, want %d", i, at[i].Offset, want)
		}
	}
	if len(got) == 0 || len(got) == len(rs) {
		t.Errorf("%d of %d records are in the log, want some", len(got), len(rs))
	}
}

// third tells the third request from the others.
func third() func(kmsg.Request) bool {
	n := 0
	return func(kmsg.Request) bool { n++; return n == 3 }
}

// TestFetchRetries answers fetches and what leads to them with errors.
func TestFetchRetries(t *testing.T) {
	k, c := newFaulty(t, 1, "faulty")
	write(t, newProducer(t, c), "faulty", numbered(0, 50)...)
	for _, e := range []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.UnknownTopicOrPartition, kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch,
		kerr.ReplicaNotAvailable, kerr.KafkaStorageError, kerr.OffsetNotAvailable, kerr.UnknownServerError,
		kerr.OffsetOutOfRange, // while the offset is in range, as of a replica that lags
	} {
		h := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch, kmsg.ListOffsets}, Err: e, Count: 2})
		if e == kerr.OffsetOutOfRange {
			h.Remove()
			h = k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: e, Count: 2})
		}
		r := c.Reader("faulty", 0, 7)
		b, err := r.Fetch(testContext(t))
		if err != nil || len(b.Records) != 43 || b.Records[0].Offset != 7 {
			t.Errorf("%s: %d records, %v; want 43", e.Message, len(b.Records), err)
		}
		if err := r.Err(); err != nil {
			t.Errorf("%s: after a good Fetch, Err is %v", e.Message, err)
		}
		if h.Hits() != 2 {
			t.Errorf("%s: %d requests failed, want 2", e.Message, h.Hits())
		}
		r.Close()
	}
	k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.TopicAuthorizationFailed})
	r := c.Reader("faulty", 0, 7)
	defer r.Close()
	if _, err := r.Fetch(testContext(t)); !errors.Is(err, kafka.TopicAuthorizationFailed) {
		t.Errorf("Fetch returns %v, want %v", err, kafka.TopicAuthorizationFailed)
	}
}

// TestOneBrokerKnowsNotYet lets the first broker that is asked not know a topic, as
// one that has just started.
func TestOneBrokerKnowsNotYet(t *testing.T) {
	k, c := newFaulty(t, 3, "new")
	h := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Err: kerr.UnknownTopicOrPartition, Count: 1})
	if n, err := c.Partitions(testContext(t), "new"); n != 1 || err != nil {
		t.Errorf("%d partitions, %v; want 1", n, err)
	}
	if h.Hits() != 1 {
		t.Errorf("%d requests failed, want 1", h.Hits())
	}
	k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Err: kerr.UnknownTopicOrPartition, Count: 3})
	if _, err := c.Partitions(testContext(t), "new"); !errors.Is(err, ErrNoTopic) {
		t.Errorf("when no broker knows it: %v, want %v", err, ErrNoTopic)
	}
}
