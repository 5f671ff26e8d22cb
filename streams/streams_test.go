package streams

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/millrace/millrace/streams/broker"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func startBroker(t testing.TB, o broker.Options) *broker.Broker {
	t.Helper()
	o.Log = quiet
	b, err := broker.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func connect(t testing.TB, addr string) *Cluster {
	t.Helper()
	c, err := Connect(Options{Addresses: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// newCluster starts a broker in memory with one topic.
func newCluster(t testing.TB, topic string, partitions int) *Cluster {
	t.Helper()
	c := connect(t, startMemory(t))
	ensure(t, c, topic, partitions)
	return c
}

func ensure(t testing.TB, c *Cluster, topic string, partitions int) {
	t.Helper()
	if err := c.Ensure(testContext(t), topic, partitions, map[string]string{"retention.ms": "-1"}); err != nil {
		t.Fatal(err)
	}
}

// testContext ends a minute after the test began, so that what hangs fails.
func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func newProducer(t testing.TB, c *Cluster) *Producer {
	t.Helper()
	p := NewProducer(c)
	t.Cleanup(p.Close)
	return p
}

func write(t testing.TB, p *Producer, topic string, records ...Record) []Position {
	t.Helper()
	at, err := p.Produce(testContext(t), topic, records)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// numbered returns n records for partition 0 whose values count from first.
func numbered(first, n int) []Record {
	rs := make([]Record, n)
	for i := range rs {
		rs[i] = Record{Key: fmt.Appendf(nil, "k%d", first+i), Value: fmt.Appendf(nil, "value %08d", first+i)}
	}
	return rs
}

// readFrom reads a partition from an offset to its end and returns copies.
func readFrom(t testing.TB, c *Cluster, topic string, partition int, offset int64) []Record {
	t.Helper()
	ctx := testContext(t)
	_, end, err := c.Bounds(ctx, topic, partition)
	if err != nil {
		t.Fatal(err)
	}
	r := c.Reader(topic, partition, offset)
	defer r.Close()
	var out []Record
	for at := offset; at < end; {
		b, err := r.Fetch(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range b.Records {
			out = append(out, clone(x))
		}
		at = b.Next
	}
	return out
}

func clone(r Record) Record {
	r.Key, r.Value = cloneBytes(r.Key), cloneBytes(r.Value)
	var hs []Header
	for _, h := range r.Headers {
		hs = append(hs, Header{Key: h.Key, Value: cloneBytes(h.Value)})
	}
	r.Headers = hs
	return r
}

func cloneBytes(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, b...)
}
