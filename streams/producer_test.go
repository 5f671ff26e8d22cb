package streams

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/streams/broker"
)

// TestConcurrentProducers checks the positions, the order of each caller's
// records, and that the log holds each record once.
func TestConcurrentProducers(t *testing.T) {
	topic := unique(t, "many")
	const callers, calls, partitions = 8, 40, 3
	c := newCluster(t, topic, partitions)
	p := newProducer(t, c)
	type written struct {
		at    Position
		value string
	}
	all := make([][]written, callers)
	var wg sync.WaitGroup
	for w := range callers {
		wg.Go(func() {
			for i := range calls {
				var rs []Record
				for k := range 1 + (w*7+i)%60 {
					rs = append(rs, Record{Key: fmt.Appendf(nil, "%d", k), Value: fmt.Appendf(nil, "%d/%d/%d", w, i, k), Partition: -1})
				}
				at, err := p.Produce(testContext(t), topic, rs)
				if err != nil {
					t.Error(err)
					return
				}
				for k := range rs {
					all[w] = append(all[w], written{at[k], string(rs[k].Value)})
				}
			}
		})
	}
	wg.Wait()

	log := make(map[Position]string)
	for part := range partitions {
		for _, r := range readFrom(t, c, topic, part, 0) {
			log[Position{topic, part, r.Offset}] = string(r.Value)
		}
	}
	total := 0
	for w := range all {
		last := [partitions]int64{-1, -1, -1}
		for _, x := range all[w] {
			total++
			if log[x.at] != x.value {
				t.Fatalf("%+v holds %q, want %q", x.at, log[x.at], x.value)
			}
			if x.at.Offset <= last[x.at.Partition] {
				t.Fatalf("caller %d: %+v comes after offset %d", w, x.at, last[x.at.Partition])
			}
			last[x.at.Partition] = x.at.Offset
		}
	}
	if len(log) != total {
		t.Errorf("the log has %d records, %d were written", len(log), total)
	}
}

// TestProduceInSeveralBatches writes more than one request takes, and reads it
// with another client.
func TestProduceInSeveralBatches(t *testing.T) {
	topic := unique(t, "big")
	const n = 40
	c := newCluster(t, topic, 1)
	rs := numbered(0, n)
	for i := range rs {
		rs[i].Value = append(rs[i].Value, make([]byte, 100_000)...)
	}
	rs[n/2].Value = append(rs[n/2].Value, make([]byte, 940_000)...) // goes alone
	at := write(t, newProducer(t, c), topic, rs...)
	k := independent(t, c, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(0)}}))
	next := 0
	for next < n {
		fs := k.PollFetches(testContext(t))
		if err := fs.Err(); err != nil {
			t.Fatal(err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if r.Offset != int64(next) || at[next].Offset != r.Offset || string(r.Value) != string(rs[next].Value) || string(r.Key) != string(rs[next].Key) {
				t.Errorf("record %d is at offset %d, its position %+v, or its bytes differ", next, r.Offset, at[next])
			}
			next++
		})
	}
}

// TestProduceRefuses names what is wrong before anything is sent.
func TestProduceRefuses(t *testing.T) {
	topic := unique(t, "strict")
	c := newCluster(t, topic, 2)
	p := newProducer(t, c)
	good := Record{Value: []byte("good"), Partition: 0}
	for _, tt := range []struct {
		bad  Record
		want []string
	}{
		{Record{Value: make([]byte, 1<<20)}, []string{"record 1", "1048650 bytes", "1048588", "max.message.bytes"}},
		{Record{Partition: 2}, []string{"record 1", "partition 2", "has 2"}},
		{Record{Time: time.Now().Add(2 * time.Hour).UnixMicro()}, []string{"record 1", "more than an hour ahead"}},
		{Record{Time: -1}, []string{"record 1", "before 1970"}},
	} {
		at, err := p.Produce(testContext(t), topic, []Record{good, tt.bad, good})
		if err == nil || at != nil {
			t.Errorf("%v: %v, %v; want an error alone", tt.want, at, err)
			continue
		}
		if r := (*Refusal)(nil); !errors.As(err, &r) {
			t.Errorf("%q is no Refusal", err)
		}
		for _, w := range tt.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: want %q in it", err, w)
			}
		}
	}
	if got := readFrom(t, c, topic, 0, 0); len(got) != 0 {
		t.Errorf("%d records were sent", len(got))
	}
	// The largest record that is not refused is one that the broker takes.
	const largest = 1048588 - headerLen - 11
	write(t, p, topic, Record{Value: make([]byte, largest), Time: time.Now().Add(59 * time.Minute).UnixMicro()})
	if _, err := p.Produce(testContext(t), topic, []Record{{Value: make([]byte, largest+1)}}); err == nil {
		t.Error("a record of one byte more is taken")
	}
}

// TestProduceWithoutKey spreads calls over all partitions.
func TestProduceWithoutKey(t *testing.T) {
	topic := unique(t, "spread")
	c := newCluster(t, topic, 3)
	p := newProducer(t, c)
	used := make(map[int]int)
	for range 9 {
		used[write(t, p, topic, Record{Value: []byte("x"), Partition: -1})[0].Partition]++
	}
	if len(used) != 3 {
		t.Errorf("partitions used: %v, want all 3", used)
	}
}

// TestProduceWaitsForContext ends with what it was trying to overcome.
func TestProduceWaitsForContext(t *testing.T) {
	b := startBroker(t, broker.Options{})
	c := connect(t, b.Addr())
	ensure(t, c, "away", 1)
	p := newProducer(t, c)
	write(t, p, "away", numbered(0, 3)...)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	at, err := p.Produce(ctx, "away", numbered(3, 2))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v, want the deadline and that the connection is refused", err)
	}
	if len(at) != 2 || at[0].Offset != -1 || at[1].Offset != -1 {
		t.Errorf("positions %v, want two with offset -1", at)
	}
}

// TestCloseEndsCalls ends a call that waits for a broker that is away.
func TestCloseEndsCalls(t *testing.T) {
	b := startBroker(t, broker.Options{})
	c := connect(t, b.Addr())
	ensure(t, c, "away", 1)
	p := NewProducer(c)
	write(t, p, "away", numbered(0, 3)...)
	b.Close()
	failed := make(chan error)
	go func() {
		_, err := p.Produce(context.Background(), "away", numbered(3, 2))
		failed <- err
	}()
	p.Close()
	if err := <-failed; !errors.Is(err, errProducerClosed) {
		t.Errorf("the waiting call: %v, want %v", err, errProducerClosed)
	}
	if _, err := p.Produce(t.Context(), "away", numbered(3, 2)); !errors.Is(err, errProducerClosed) {
		t.Errorf("a later call: %v, want %v", err, errProducerClosed)
	}
}

// TestClusterClose ends a reader and a producer at work.
func TestClusterClose(t *testing.T) {
	topic := unique(t, "open")
	c := newCluster(t, topic, 1)
	p := newProducer(t, c)
	write(t, p, topic, numbered(0, 1)...)
	r := c.Reader(topic, 0, 1)
	defer r.Close()
	fetched := make(chan error, 1)
	reading := make(chan struct{})
	go func() {
		for first := true; ; first = false {
			_, err := r.Fetch(testContext(t))
			if err != nil {
				fetched <- err
				return
			}
			if first {
				close(reading)
			}
		}
	}()
	<-reading
	c.Close()
	if err := <-fetched; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Fetch: %v, want %v", err, net.ErrClosed)
	}
	if _, err := p.Produce(testContext(t), topic, numbered(1, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Produce: %v, want %v", err, net.ErrClosed)
	}
	if _, err := c.ID(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("ID: %v, want %v", err, net.ErrClosed)
	}
}

// TestBrokerRestart stops the broker several times while records are written
// and read: none is lost and their order is kept. The embedded broker can forget
// of a producer the one request that it was at when it was stopped, so that this
// one batch, whole, may follow itself. TestProduceRetries has what a broker that
// forgets nothing is held to.
func TestBrokerRestart(t *testing.T) {
	const n, batch, restarts = 6000, 20, 4
	dir := t.TempDir()
	b := startBroker(t, broker.Options{Dir: dir})
	c := connect(t, b.Addr())
	_, port, _ := net.SplitHostPort(b.Addr())
	ensure(t, c, "lives", 1)
	ctx := testContext(t)

	var log []string
	read := make(chan error, 1)
	go func() {
		var err error
		log, err = readTo(ctx, c, "lives", numbered(n-1, 1)[0])
		read <- err
	}()
	p := newProducer(t, c)
	var positions []Position
	wrote := make(chan error, 1)
	progress := make(chan int, n)
	restarted := make(chan struct{})
	go func() {
		for at := 0; at < n; at += batch {
			if at == n-batch { // with which the reader ends
				select {
				case <-restarted:
				case <-ctx.Done():
				}
			}
			got, err := p.Produce(ctx, "lives", numbered(at, batch))
			if err != nil {
				wrote <- err
				return
			}
			positions = append(positions, got...)
			progress <- at
		}
		wrote <- nil
	}()
	for i := range restarts {
		for at := range progress {
			if at >= n*i/restarts {
				break
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		b = startBroker(t, broker.Options{Dir: dir, Port: atoi(t, port)})
	}
	close(restarted)
	for _, done := range []chan error{wrote, read} {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if twice := checkBatches(t, log, n, batch); twice > restarts {
		t.Errorf("%d batches are twice in the log, after %d restarts", twice, restarts)
	}
	for i, r := range numbered(0, n) {
		if at := positions[i].Offset; at < 0 || at >= int64(len(log)) || log[at] != string(r.Value) {
			t.Fatalf("record %d was said to be at offset %d, where it is not", i, at)
		}
	}
	if _, next, err := c.Bounds(ctx, "lives", 0); err != nil || next != int64(len(log)) {
		t.Errorf("the log ends at %d, %v; want %d", next, err, len(log))
	}
}

// readTo reads the values of a partition up to the first that is the last
// record's, and fails at an offset out of turn.
func readTo(ctx context.Context, c *Cluster, topic string, last Record) (values []string, err error) {
	r := c.Reader(topic, 0, 0)
	defer r.Close()
	for len(values) == 0 || values[len(values)-1] != string(last.Value) {
		b, err := r.Fetch(ctx)
		if err != nil {
			return nil, err
		}
		for _, x := range b.Records {
			if x.Offset != int64(len(values)) {
				return nil, fmt.Errorf("read offset %d; want %d", x.Offset, len(values))
			}
			values = append(values, string(x.Value))
		}
	}
	return values, nil
}

// checkBatches wants n numbered records in order, in batches of which each may
// follow itself once, and returns how many do.
func checkBatches(t *testing.T, log []string, n, batch int) (twice int) {
	t.Helper()
	want := numbered(0, n)
	holds := func(at, first int) bool {
		for i := range batch {
			if at+i >= len(log) || log[at+i] != string(want[first+i].Value) {
				return false
			}
		}
		return true
	}
	at := 0
	for first := 0; first < n; first += batch {
		if !holds(at, first) {
			t.Fatalf("record %d is not at offset %d, with its batch behind it", first, at)
		}
		if at += batch; holds(at, first) {
			at += batch
			twice++
		}
	}
	if at != len(log) {
		t.Errorf("there are %d records more", len(log)-at)
	}
	return twice
}

// readInOrder reads n numbered records and fails at the first out of turn.
func readInOrder(ctx context.Context, c *Cluster, topic string, n int64) error {
	r := c.Reader(topic, 0, 0)
	defer r.Close()
	for next := int64(0); next < n; {
		b, err := r.Fetch(ctx)
		if err != nil {
			return err
		}
		for _, x := range b.Records {
			if want := fmt.Sprintf("value %08d", next); x.Offset != next || string(x.Value) != want {
				return fmt.Errorf("read offset %d, %q; want %d, %q", x.Offset, x.Value, next, want)
			}
			next++
		}
	}
	return nil
}

func atoi(t *testing.T, s string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(s, &n); err != nil {
		t.Fatal(err)
	}
	return n
}
