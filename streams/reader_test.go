package streams

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestReadFromEveryOffset begins at each offset of a log, most of them in the
// middle of a batch, for batches of other writers in each codec.
func TestReadFromEveryOffset(t *testing.T) {
	codecs := map[string]kafka.Compression{"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd}
	c := connect(t, startMemory(t))
	for name, codec := range codecs {
		t.Run(name, func(t *testing.T) {
			const n = 120
			topic := unique(t, name)
			ensure(t, c, topic, 1)
			foreign(t, c, topic, codec, n, 25)
			for from := int64(0); from <= n; from++ {
				got := readFrom(t, c, topic, 0, from)
				if len(got) != int(n-from) {
					t.Fatalf("from offset %d: %d records, want %d", from, len(got), n-from)
				}
				for i, r := range got {
					want := fmt.Sprintf("value %08d", from+int64(i))
					if r.Offset != from+int64(i) || string(r.Value) != want {
						t.Fatalf("from offset %d: record %d is offset %d, %q", from, i, r.Offset, r.Value)
					}
				}
			}
		})
	}
}

// foreign writes n numbered records with kafka-go's own Writer.
func foreign(t *testing.T, c *Cluster, topic string, codec kafka.Compression, n, batch int) {
	t.Helper()
	w := &kafka.Writer{
		Addr: kafka.TCP(c.addresses...), Topic: topic, Compression: codec, RequiredAcks: kafka.RequireAll,
		BatchSize: batch, BatchTimeout: time.Millisecond, Transport: &kafka.Transport{MetadataTTL: 100 * time.Millisecond},
	}
	defer w.Close()
	for at := 0; at < n; at += batch {
		var ms []kafka.Message
		for _, r := range numbered(at, min(batch, n-at)) {
			ms = append(ms, kafka.Message{Key: r.Key, Value: r.Value})
		}
		if err := w.WriteMessages(testContext(t), ms...); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRoundTrip sends every shape of a record through the log.
func TestRoundTrip(t *testing.T) {
	topic := unique(t, "shapes")
	c := newCluster(t, topic, 3)
	p := newProducer(t, c)
	records := []Record{
		{Key: []byte("a"), Value: []byte("1"), Partition: -1, Time: 1_700_000_000_123_000},
		{Key: nil, Value: []byte{}, Partition: 2, Time: 1_600_000_000_000_000},
		{Key: []byte{}, Value: nil, Partition: 2},
		{Key: bytes.Repeat([]byte("k"), 300), Value: bytes.Repeat([]byte("v"), 70_000), Partition: 0, Time: 1},
		{Value: []byte("h"), Partition: 1, Headers: []Header{{"origin", []byte("x")}, {"", nil}, {"origin", []byte{}}}},
		{Value: []byte("i"), Partition: 1, Headers: []Header{{"origin", []byte("y")}}},
	}
	before := time.Now()
	at := write(t, p, topic, records...)
	for i, want := range records {
		if want.Partition < 0 {
			want.Partition = PartitionOf(want.Key, 3)
		}
		if at[i].Partition != want.Partition || at[i].Topic != topic {
			t.Errorf("record %d is at %+v, want partition %d", i, at[i], want.Partition)
		}
		got := readFrom(t, c, topic, at[i].Partition, at[i].Offset)[0]
		if got.Offset != at[i].Offset || got.Partition != at[i].Partition {
			t.Errorf("record %d reads as partition %d, offset %d; produced at %+v", i, got.Partition, got.Offset, at[i])
		}
		if !same(got.Key, want.Key) || !same(got.Value, want.Value) {
			t.Errorf("record %d: key %q value %q, want %q %q", i, got.Key, got.Value, want.Key, want.Value)
		}
		wantTime := want.Time / 1000 * 1000
		if want.Time == 0 && (got.Time < before.UnixMilli()*1000 || got.Time > time.Now().UnixMicro()) {
			t.Errorf("record %d: time %d, want now", i, got.Time)
		} else if want.Time != 0 && got.Time != wantTime {
			t.Errorf("record %d: time %d, want %d", i, got.Time, wantTime)
		}
		if fmt.Sprint(got.Headers) != fmt.Sprint(want.Headers) {
			t.Errorf("record %d: headers %v, want %v", i, got.Headers, want.Headers)
		}
	}
}

// same compares bytes, and tells nil from empty.
func same(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

// TestEndOfLog waits at the end, then sees what is written.
func TestEndOfLog(t *testing.T) {
	topic := unique(t, "end")
	c := newCluster(t, topic, 1)
	p := newProducer(t, c)
	r := c.Reader(topic, 0, 0)
	defer r.Close()
	for _, n := range []int{0, 7, 3} {
		if n > 0 {
			write(t, p, topic, numbered(0, n)...)
		}
		for _, want := range []int{n, 0} {
			if want == 0 && n == 0 {
				continue
			}
			b, err := r.Fetch(testContext(t))
			if err != nil || len(b.Records) != want {
				t.Fatalf("%d written: %d records, %v; want %d", n, len(b.Records), err, want)
			}
			if b.HighWater != b.Next {
				t.Errorf("%d written: high water %d, next %d; want the same", n, b.HighWater, b.Next)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Fetch(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v, want %v", err, context.Canceled)
	}
}

// TestPoll sees at once what is there, and polls so often at the log's end that
// waiting there would take minutes.
func TestPoll(t *testing.T) {
	topic := unique(t, "polled")
	c := newCluster(t, topic, 1)
	p := newProducer(t, c)
	r := c.Reader(topic, 0, 0)
	defer r.Close()
	for i := range int64(400) {
		batch, err := r.Poll(testContext(t))
		if err != nil || len(batch.Records) != 0 || batch.Next != i || batch.HighWater != i {
			t.Fatalf("at the end, %d: %+v, %v", i, batch, err)
		}
		write(t, p, topic, Record{Value: []byte("v")})
		batch, err = r.Poll(testContext(t))
		if err != nil || len(batch.Records) != 1 || batch.Records[0].Offset != i {
			t.Fatalf("after a write, %d: %+v, %v", i, batch, err)
		}
	}
}

// TestManySmallBatches reads a partition whose answers hold many batches, in
// Batches of at most maxRecords.
func TestManySmallBatches(t *testing.T) {
	topic := unique(t, "many")
	const n = 3*maxRecords + 11
	c := newCluster(t, topic, 1)
	p := newProducer(t, c)
	for at := 0; at < n; {
		k := min(n-at, 1+rand.IntN(200))
		write(t, p, topic, numbered(at, k)...)
		at += k
	}
	r := c.Reader(topic, 0, 0)
	defer r.Close()
	for next := int64(0); next < n; {
		b, err := r.Fetch(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Records) > maxRecords {
			t.Fatalf("a batch of %d records", len(b.Records))
		}
		for _, x := range b.Records {
			if x.Offset != next || string(x.Value) != fmt.Sprintf("value %08d", next) {
				t.Fatalf("offset %d %q, want %d", x.Offset, x.Value, next)
			}
			next++
		}
	}
}

// TestOutOfRange asks for offsets that a log has not yet, or no longer.
func TestOutOfRange(t *testing.T) {
	topic := unique(t, "range")
	c := newCluster(t, topic, 1)
	write(t, newProducer(t, c), topic, numbered(0, 10)...)
	deleteBefore(t, c, topic, 4)
	for _, offset := range []int64{0, 3, 11, 1 << 40} {
		r := c.Reader(topic, 0, offset)
		_, err := r.Fetch(testContext(t))
		r.Close()
		var out *OutOfRange
		if !errors.As(err, &out) || out.First != 4 || out.Next != 10 || out.Offset != offset {
			t.Errorf("offset %d: %v, want it out of 4 to 9", offset, err)
		}
	}
	if got := readFrom(t, c, topic, 0, 4); len(got) != 6 {
		t.Errorf("from 4: %d records, want 6", len(got))
	}
}

func deleteBefore(t *testing.T, c *Cluster, topic string, offset int64) {
	t.Helper()
	k := independent(t, c)
	admin := newDeleteRecords(topic, offset)
	if _, err := admin.RequestWith(testContext(t), k); err != nil {
		t.Fatal(err)
	}
}

// independent returns a client of another make.
func independent(t *testing.T, c *Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	k, err := kgo.NewClient(append(opts, kgo.SeedBrokers(c.addresses...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

// TestTransactions leaves out what was aborted, the marks, and what is open.
func TestTransactions(t *testing.T) {
	topic := unique(t, "tx")
	c := newCluster(t, topic, 1)
	ctx := testContext(t)
	k := independent(t, c, kgo.TransactionalID(topic), kgo.DefaultProduceTopic(topic))
	transact := func(value string, end kgo.TransactionEndTry) {
		t.Helper()
		if err := k.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if err := k.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint(value, i))).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := k.EndTransaction(ctx, end); err != nil {
			t.Fatal(err)
		}
	}
	p := newProducer(t, c)
	transact("good", kgo.TryCommit)
	transact("bad", kgo.TryAbort)
	write(t, p, topic, Record{Value: []byte("plain")})
	transact("bad", kgo.TryAbort)
	transact("fine", kgo.TryCommit)
	if err := k.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := k.ProduceSync(ctx, kgo.StringRecord("open")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	write(t, p, topic, Record{Value: []byte("behind the open one")})

	want := "[good0 good1 good2 plain fine0 fine1 fine2]"
	values := func() (vs []string) {
		for _, r := range readFrom(t, c, topic, 0, 0) {
			vs = append(vs, string(r.Value))
		}
		return vs
	}
	if got := fmt.Sprint(values()); got != want {
		t.Errorf("with an open transaction: %s, want %s", got, want)
	}
	if err := k.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	want = "[good0 good1 good2 plain fine0 fine1 fine2 open behind the open one]"
	if got := fmt.Sprint(values()); got != want {
		t.Errorf("after its end: %s, want %s", got, want)
	}
}

// TestMissingTopic gives a topic that was just made its time, and then says so.
func TestMissingTopic(t *testing.T) {
	topic := unique(t, "late")
	c := connect(t, startMemory(t))
	if _, err := c.Partitions(testContext(t), "nowhere"); !errors.Is(err, ErrNoTopic) {
		t.Errorf("Partitions: %v, want %v", err, ErrNoTopic)
	}
	if _, _, err := c.Bounds(testContext(t), "nowhere", 0); !errors.Is(err, ErrNoTopic) {
		t.Errorf("Bounds: %v, want %v", err, ErrNoTopic)
	}
	if _, err := newProducer(t, c).Produce(testContext(t), "nowhere", numbered(0, 1)); !errors.Is(err, ErrNoTopic) {
		t.Errorf("Produce: %v, want %v", err, ErrNoTopic)
	}
	r := c.Reader(topic, 0, 0)
	defer r.Close()
	made := make(chan error, 1)
	go func() {
		for r.Err() == nil { // until Fetch has met the missing topic
			time.Sleep(time.Millisecond)
		}
		made <- c.Ensure(testContext(t), topic, 1, nil)
	}()
	if _, err := r.Fetch(testContext(t)); err != nil {
		t.Errorf("Fetch of a topic that is made meanwhile: %v", err)
	}
	if err := <-made; err != nil {
		t.Fatal(err)
	}
}
