package streams

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/streams/broker"
)

// owners records which member owns which partition, and that no two do.
type owners struct {
	t     *testing.T
	mu    sync.Mutex
	by    map[int]string
	parts int
}

func (o *owners) own(member string) func(context.Context, string, int) {
	return func(ctx context.Context, topic string, partition int) {
		o.mu.Lock()
		if other, taken := o.by[partition]; taken {
			o.t.Errorf("%s gets partition %d, which %s has", member, partition, other)
		}
		o.by[partition] = member
		o.mu.Unlock()
		<-ctx.Done()
		o.mu.Lock()
		delete(o.by, partition)
		o.mu.Unlock()
	}
}

// await waits until every partition is owned, by exactly these members.
func (o *owners) await(members ...string) {
	o.t.Helper()
	until := time.Now().Add(30 * time.Second)
	for {
		o.mu.Lock()
		var have []string
		for _, m := range o.by {
			have = append(have, m)
		}
		full := len(o.by) == o.parts
		o.mu.Unlock()
		slices.Sort(have)
		have = slices.Compact(have)
		if full && slices.Equal(have, members) {
			return
		}
		if time.Now().After(until) {
			o.t.Fatalf("owners are %v, want %v", have, members)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestShare lets a second member come and the first one go.
func TestShare(t *testing.T) {
	topic := unique(t, "shared")
	c := newCluster(t, topic, 4)
	o := &owners{t: t, by: make(map[int]string), parts: 4}
	join := func(name string) (leave func()) {
		ctx, cancel := context.WithCancel(testContext(t))
		left := make(chan error, 1)
		go func() { left <- c.Share(ctx, topic, []string{topic}, o.own(name), untroubled(t)) }()
		return func() {
			t.Helper()
			cancel()
			if err := <-left; !errors.Is(err, context.Canceled) {
				t.Errorf("%s left with %v", name, err)
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			for p, m := range o.by {
				if m == name {
					t.Errorf("%s has left and still owns partition %d", name, p)
				}
			}
		}
	}
	leaveA := join("a")
	o.await("a")
	leaveB := join("b")
	o.await("a", "b")
	leaveA()
	o.await("b")
	leaveB()
}

// untroubled is the report of a Share that the cluster is never away from.
func untroubled(t *testing.T) func(error) {
	return func(err error) {
		if err != nil {
			t.Errorf("in trouble: %v", err)
		}
	}
}

// TestShareReports stops the broker of a group and starts it again.
func TestShareReports(t *testing.T) {
	o := broker.Options{Dir: t.TempDir()}
	b := startBroker(t, o)
	c := connect(t, b.Addr())
	ensure(t, c, "reported", 1)
	ctx, cancel := context.WithCancel(testContext(t))
	reports, left := make(chan error), make(chan error, 1)
	go func() {
		left <- c.Share(ctx, "g", []string{"reported"}, func(ctx context.Context, _ string, _ int) { <-ctx.Done() }, func(err error) {
			select {
			case reports <- err:
			case <-ctx.Done():
			}
		})
	}()
	await := func(trouble bool) {
		t.Helper()
		for {
			select {
			case err := <-reports:
				if (err != nil) == trouble {
					return
				}
			case <-ctx.Done():
				t.Fatalf("waited in vain for trouble %v", trouble)
			}
		}
	}
	await(false)
	_, port, _ := net.SplitHostPort(b.Addr())
	o.Port, _ = strconv.Atoi(port)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	await(true)
	startBroker(t, o)
	await(false)
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestShareKeepsWhatOwnLeft does not shake the others when one own returns.
func TestShareKeepsWhatOwnLeft(t *testing.T) {
	topic := unique(t, "partly")
	c := newCluster(t, topic, 2)
	ctx, cancel := context.WithCancel(testContext(t))
	started := make(chan int, 16)
	left := make(chan error, 1)
	go func() {
		left <- c.Share(ctx, topic, []string{topic}, func(ctx context.Context, _ string, partition int) {
			started <- partition
			if partition == 0 {
				return
			}
			<-ctx.Done()
		}, untroubled(t))
	}()
	seen := []int{<-started, <-started}
	slices.Sort(seen)
	if !slices.Equal(seen, []int{0, 1}) {
		t.Errorf("started %v, want 0 and 1", seen)
	}
	// Three heartbeats are enough to notice a rebalance.
	select {
	case p := <-started:
		t.Errorf("partition %d started again", p)
	case <-time.After(3 * heartbeatEvery):
	}
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestShareMissingTopic(t *testing.T) {
	c := connect(t, startMemory(t))
	err := c.Share(testContext(t), "g", []string{"nowhere"}, func(context.Context, string, int) { panic("a partition of a topic that is not there") }, untroubled(t))
	if !errors.Is(err, ErrNoTopic) {
		t.Errorf("%v, want %v", err, ErrNoTopic)
	}
}
