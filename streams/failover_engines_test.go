//go:build engines

package streams

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/millrace/millrace/loadtest/engines"
)

// TestLeaderKilled kills the leader of a partition, with SIGKILL, while it is
// written and read: every record arrives once and in order.
func TestLeaderKilled(t *testing.T) {
	c, err := Connect(Options{Addresses: engines.Kafka3(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	topic := unique(t, "failover")
	ensure(t, c, topic, 1)
	const calls, each, at = 300, 20, 100
	p := newProducer(t, c)
	ctx := testContext(t)
	read := make(chan error, 1)
	go func() { read <- readInOrder(ctx, c, topic, calls*each) }()
	for i := range calls {
		if i == at {
			m, err := c.metadata(ctx, topic)
			if err != nil {
				t.Fatal(err)
			}
			node := fmt.Sprintf("kafka3-%d", m.Topics[0].Partitions[0].LeaderID)
			engines.Kill(t, node)
			t.Cleanup(func() { engines.Up(t, node) })
		}
		positions := write(t, p, topic, numbered(i*each, each)...)
		if want := int64(i * each); positions[0].Offset != want {
			t.Fatalf("call %d is at offset %d, want %d", i, positions[0].Offset, want)
		}
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
	if _, next, err := c.Bounds(ctx, topic, 0); next != calls*each || err != nil {
		t.Errorf("the log ends at %d, %v; want %d", next, err, calls*each)
	}
}

// TestMemberKilled kills one of two processes that share a topic: its partitions
// go to the other.
func TestMemberKilled(t *testing.T) {
	c := connect(t, startMemory(t))
	topic := unique(t, "killed")
	if given := os.Getenv("MILLRACE_TEST_MEMBER"); given != "" { // we are the one that is killed
		err := c.Share(context.Background(), given, []string{given}, func(ctx context.Context, _ string, _ int) { <-ctx.Done() }, func(error) {})
		t.Fatal(err)
	}
	ensure(t, c, topic, 4)
	ctx, cancel := context.WithCancel(testContext(t))
	o := &owners{t: t, by: make(map[int]string), parts: 4}
	left := make(chan error, 1)
	go func() { left <- c.Share(ctx, topic, []string{topic}, o.own("a"), func(error) {}) }()
	await := func(want int) {
		t.Helper()
		until := time.Now().Add(40 * time.Second)
		for {
			o.mu.Lock()
			n := len(o.by)
			o.mu.Unlock()
			if n == want {
				return
			}
			if time.Now().After(until) {
				t.Fatalf("%d partitions are ours, want %d", n, want)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	await(4)
	other := exec.Command(os.Args[0], "-test.run", "^TestMemberKilled$")
	other.Env = append(os.Environ(), "MILLRACE_TEST_MEMBER="+topic)
	var said strings.Builder
	other.Stdout, other.Stderr = &said, &said
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	await(2)
	if err := other.Process.Kill(); err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	_ = other.Wait() // tells that it was killed
	await(4)
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestAppendTime reads a topic that dates its records by their arrival.
func TestAppendTime(t *testing.T) {
	c := connect(t, startMemory(t))
	for name, codec := range map[string]kafka.Compression{"none": 0, "zstd": kafka.Zstd} {
		t.Run(name, func(t *testing.T) {
			topic := unique(t, "arrival")
			if err := c.Ensure(testContext(t), topic, 1, map[string]string{"message.timestamp.type": "LogAppendTime"}); err != nil {
				t.Fatal(err)
			}
			before := time.Now().UnixMilli() * 1000
			old := numbered(0, 10)
			for i := range old {
				old[i].Time = 1_000_000 * int64(1+i) // 1970
			}
			write(t, newProducer(t, c), topic, old...)
			foreign(t, c, topic, codec, 30, 10)
			after := time.Now().UnixMicro()
			got := readFrom(t, c, topic, 0, 0)
			if len(got) != 40 {
				t.Errorf("%d records, want 40", len(got))
			}
			for _, r := range got {
				if r.Time < before || r.Time > after {
					t.Errorf("the record at offset %d has time %d, and arrived from %d to %d", r.Offset, r.Time, before, after)
				}
			}
		})
	}
}
