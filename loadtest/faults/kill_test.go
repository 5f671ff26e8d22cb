package faults

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/onlinetest"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
	"github.com/millrace/millrace/streams/pipeline"
)

// kills is how often the child of each store is killed at least.
const kills = 36

// TestKill runs the pipeline in a child process on each store and kills it by
// SIGKILL again and again, while events flow and while it starts. At the end
// rows, progress and dead letters are those of a run that nothing disturbed,
// and what the naive definition says.
func TestKill(t *testing.T) {
	log := newLog(t)
	stores := []orders{
		{Project: "redis", Broker: log.addr, Redis: onlinetest.StartRedis(t).Addr},
		{Project: "pebble", Broker: log.addr, Pebble: t.TempDir()},
	}
	for _, o := range stores {
		t.Run(o.Project, func(t *testing.T) { kill(t, log, o) })
	}
	calm := orders{Project: "calm", Pebble: t.TempDir()}
	log.undisturbed(t, calm)
	want := log.outcome(t, calm)
	if err := log.work.Check(want); err != nil {
		t.Errorf("undisturbed: %v", err)
	}
	for _, o := range stores {
		log.finish(t, o)
		if diff := log.outcome(t, o).Differs(want); diff != "" {
			t.Errorf("%s, killed and undisturbed: %s", o.Project, diff)
		}
	}
}

// An eventLog is the work on its way into a topic.
type eventLog struct {
	work     *Work
	addr     string
	cluster  *streams.Cluster
	producer *streams.Producer

	mu   sync.Mutex // one producer: the order of the records is that of the work
	sent int        // how many records are acknowledged
}

func newLog(t *testing.T) *eventLog {
	work, err := NewWork(spec)
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.Start(broker.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	cluster, err := streams.Connect(streams.Options{Addresses: []string{b.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	producer := streams.NewProducer(cluster)
	t.Cleanup(producer.Close)
	if err := cluster.Ensure(t.Context(), work.Plan.Source.Topic, partitions, map[string]string{"retention.ms": "-1"}); err != nil {
		t.Fatal(err)
	}
	return &eventLog{work: work, addr: b.Addr(), cluster: cluster, producer: producer}
}

// feed produces the next n records, or those that are left, and returns how
// many there are in the log.
func (l *eventLog) feed(t *testing.T, n int) int64 {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.work.Records[l.sent:min(l.sent+n, len(l.work.Records))]
	if _, err := l.producer.Produce(t.Context(), l.work.Plan.Source.Topic, next); err != nil {
		t.Error(err)
	}
	l.sent += len(next)
	return int64(l.sent)
}

// flowRecords bounds what flows while one child lives: the log lasts for more
// lives than are ever needed, of both stores.
const flowRecords = events / 2 / (4 * kills)

// flow feeds records one by one until stop is called.
func (l *eventLog) flow(t *testing.T, seed uint64) (stop func()) {
	r := rand.New(rand.NewPCG(seed, 0))
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for range flowRecords {
			select {
			case <-end:
				return
			default:
				l.feed(t, 1)
				pause(r, 2*time.Millisecond)
			}
		}
	})
	return func() {
		close(end)
		wg.Wait()
	}
}

// length is how many records there are in the log.
func (l *eventLog) length() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(l.sent)
}

func (l *eventLog) atEnd() bool { return l.length() == int64(len(l.work.Records)) }

// kill starts children and kills them until enough work was interrupted.
func kill(t *testing.T, log *eventLog, o orders) {
	r := rand.New(rand.NewPCG(seed, uint64(len(o.Project))))
	var n tally
	for !n.enough() {
		if n.kills == 4*kills {
			t.Fatalf("the kills do not interrupt enough work: %+v", n)
		}
		c := start(t, o)
		if r.IntN(5) == 0 { // before it has applied anything, or just then
			log.feed(t, r.IntN(20))
			pause(r, 200*time.Millisecond)
			c.kill()
			n.kills, n.starting = n.kills+1, n.starting+1
			continue
		}
		c.wait("all shards", func(s said) bool { return s.running == partitions })
		began := c.last.applied
		stop := log.flow(t, r.Uint64())
		if r.IntN(3) > 0 {
			c.wait("a commit", func(s said) bool { return s.applied > began })
		}
		pause(r, 12*time.Millisecond)
		sent := log.length()
		c.kill()
		stop()
		n.count(c.last.applied > began, c.last.applied < sent)
	}
	t.Logf("%+v", n)
}

// finish lets a child come to the end of the log.
func (l *eventLog) finish(t *testing.T, o orders) {
	t.Helper()
	total := l.feed(t, len(l.work.Records))
	c := start(t, o)
	c.wait("the end of the log", func(s said) bool { return s.running == partitions && s.applied == total })
	c.stop()
}

// pause lets a random time pass, which decides where a kill strikes and
// nothing else.
func pause(r *rand.Rand, most time.Duration) { time.Sleep(time.Duration(r.Int64N(int64(most)))) }

// A tally says what the kills have struck.
type tally struct {
	kills    int
	starting int // while the child started
	working  int // after it had committed something
	partial  int // while records in the log were not committed
}

func (n *tally) count(working, partial bool) {
	n.kills++
	if working {
		n.working++
	}
	if partial {
		n.partial++
	}
}

func (n *tally) enough() bool {
	return n.kills >= kills && n.starting >= 4 && n.working >= kills/2 && n.partial >= kills/3
}

// undisturbed applies the whole log in this process.
func (l *eventLog) undisturbed(t *testing.T, o orders) {
	total := l.feed(t, len(l.work.Records))
	store, err := pebble.Open(o.Pebble)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var mu sync.Mutex
	next := make([]int64, partitions)
	config := newConfig(o.Project, l.work, l.cluster, l.producer, store, slog.New(slog.NewTextHandler(t.Output(), nil)), func(_ string, partition int, p online.Progress) {
		mu.Lock()
		defer mu.Unlock()
		next[partition] = p.Next
		sum := int64(0)
		for _, n := range next {
			sum += n
		}
		if sum == total {
			cancel()
		}
	})
	if err := pipeline.New(config).Run(ctx); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(context.Cause(ctx), context.Canceled) {
		t.Fatalf("applied up to %v of %d records in a minute", next, total)
	}
}

func newConfig(project string, w *Work, c *streams.Cluster, p *streams.Producer, s online.Store, log *slog.Logger, onCommit func(string, int, online.Progress)) pipeline.Config {
	return pipeline.Config{
		Project: project, Plans: []*features.Plan{w.Plan}, Cluster: c, Producer: p, Store: s, Log: log,
		TopicConfig: map[string]string{"retention.ms": "-1"}, OnCommit: onCommit,
	}
}

// outcome opens the store of orders and reads what has become of the work.
func (l *eventLog) outcome(t *testing.T, o orders) *Outcome {
	t.Helper()
	store, err := o.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	got, err := ReadOutcome(t.Context(), l.work.Plan, o.Project, store, l.cluster)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestZombie stops a child by SIGSTOP while it works. Another one takes over,
// and the first, when it goes on, is refused: the outcome is that of a run that
// nothing disturbed.
func TestZombie(t *testing.T) {
	log := newLog(t)
	o := orders{Project: "zombie", Broker: log.addr, Redis: onlinetest.StartRedis(t).Addr}
	zombie := start(t, o)
	zombie.wait("all shards", func(s said) bool { return s.running == partitions })
	sent := log.feed(t, 800)
	zombie.wait("commits", func(s said) bool { return s.applied >= sent })
	log.feed(t, 400)
	zombie.signal(syscall.SIGSTOP)
	stopped := time.Now()

	heir := start(t, o)
	heir.wait("all shards", func(s said) bool { return s.running == partitions })
	sent = log.feed(t, 800)
	heir.wait("commits", func(s said) bool { return s.running == partitions && s.applied == sent })
	time.Sleep(3*time.Second - time.Since(stopped)) // long enough to be missed; nothing depends on it
	zombie.signal(syscall.SIGCONT)

	for !log.atEnd() {
		sent = log.feed(t, 200)
	}
	done := func(s said) bool { return s.running == partitions && s.applied == sent }
	heir.wait("the end of the log", done)
	zombie.wait("the end of the log", done)
	heir.stop()
	zombie.stop()
	// Its tokens were those of before, so that it cannot have come to the end
	// without being refused in each shard.
	if n := strings.Count(zombie.errors.String(), "another owner has committed"); n < partitions {
		t.Errorf("the zombie was refused %d times; it wrote:\n%s", n, &zombie.errors)
	}
	calm := orders{Project: "calm", Pebble: t.TempDir()}
	log.undisturbed(t, calm)
	got, want := log.outcome(t, o), log.outcome(t, calm)
	if diff := got.Differs(want); diff != "" {
		t.Errorf("with a zombie and without: %s", diff)
	}
	if err := log.work.Check(got); err != nil {
		t.Error(err)
	}
}
