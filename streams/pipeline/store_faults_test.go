package pipeline_test

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/onlinetest"
	"github.com/millrace/millrace/features/online/redis"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
	"github.com/millrace/millrace/streams/pipeline"
)

// newRedisRig is a rig on a Redis server at an address.
func newRedisRig(t *testing.T, addr string) *rig {
	t.Helper()
	store, err := redis.Open(t.Context(), redis.Options{Addresses: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	b, err := broker.Start(broker.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return connect(t, b.Addr(), store)
}

func connect(t *testing.T, addr string, store online.Store) *rig {
	t.Helper()
	cluster, err := streams.Connect(streams.Options{Addresses: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	producer := streams.NewProducer(cluster)
	t.Cleanup(producer.Close)
	return &rig{t, cluster, producer, store, addr}
}

// watched is a host that notes how its shards move.
func (r *rig) watched(onCommit func(view string, partition int, p online.Progress), plans ...*features.Plan) *pipeline.Host {
	return pipeline.New(pipeline.Config{
		Project: project, Plans: plans, Cluster: r.cluster, Producer: r.producer, Store: r.store, OnCommit: onCommit,
		Log: slog.New(slog.NewTextHandler(r.t.Output(), &slog.HandlerOptions{Level: slog.LevelError})),
	})
}

// says waits until a host reports a problem that contains text.
func (r *rig) says(h *pipeline.Host, text string) {
	r.t.Helper()
	var last []string
	defer func() {
		if r.t.Failed() {
			r.t.Logf("problems: %q", last)
		}
	}()
	r.eventually(fmt.Sprintf("the problem %q", text), func() bool {
		last = h.Problems()
		return strings.Contains(strings.Join(last, "\n"), text)
	})
}

// healthy waits until a host has no problem.
func (r *rig) healthy(h *pipeline.Host) {
	r.t.Helper()
	r.eventually("no problems", func() bool { return len(h.Problems()) == 0 })
}

// command sends one command to a Redis server.
func command(t *testing.T, addr, text string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text+"\r\nQUIT\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || strings.Contains(string(answer), "-ERR") {
		t.Fatalf("%s: %q, %v", text, answer, err)
	}
}

// check compares the store with a fold of all records in memory.
func (r *rig) check(p *features.Plan, records []streams.Record) {
	r.t.Helper()
	want, counts := direct(r.t, p, records)
	sameRows(r.t, r.rows(p), want)
	if got := r.counts(p); got.Applied != counts.Applied || got.Dead != counts.Dead || got.Dropped != counts.Dropped || got.Duplicates != counts.Duplicates {
		r.t.Errorf("counts %+v, want %+v", got, counts)
	}
	if n := len(r.letters()); int64(n) != counts.Dead {
		r.t.Errorf("%d dead letters, want %d", n, counts.Dead)
	}
}

func (r *rig) counts(p *features.Plan) (total features.Counts) {
	r.t.Helper()
	for i := range p.Source.Partitions {
		s, err := r.store.State(r.t.Context(), online.Shard{Space: p.Space(project), Index: i})
		if err != nil {
			r.t.Fatal(err)
		}
		c := s.Progress.Counts
		total.Applied += c.Applied
		total.Dropped += c.Dropped
		total.Duplicates += c.Duplicates
		total.Dead += c.Dead
	}
	return total
}

func (r *rig) letters() (all []streams.DeadLetter) {
	r.t.Helper()
	for d, err := range streams.ReadDeadLetters(r.t.Context(), r.cluster, pipeline.DeadLetters(project)) {
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

// TestStoreAway stops the server while events flow: the pipeline waits and says
// why, with and without events, and goes on by itself.
func TestStoreAway(t *testing.T) {
	server := onlinetest.StartRedis(t, "--appendonly", "yes")
	r := newRedisRig(t, server.Addr)
	p, records := world(t, 3, "key", 3)
	r.ensure(p)
	h := r.host(p)
	stop := r.run(h)
	defer stop()
	half := len(records) / 2
	r.produce(p.Source.Topic, records[:half]...)
	r.applied(p, p.Source.Topic)

	server.Kill()
	r.says(h, "waiting: the store does not answer")
	server.Start(t)
	r.healthy(h)

	server.Kill()
	r.produce(p.Source.Topic, records[half:]...)
	r.says(h, "the store does not")
	server.Start(t)
	r.applied(p, p.Source.Topic)
	r.check(p, records)
	r.healthy(h)
}

// TestStoreForgets takes from the store all that it was given after a moment:
// rows and progress go back together, and the log is applied again, even
// though no further event comes.
func TestStoreForgets(t *testing.T) {
	for _, saved := range []bool{true, false} {
		t.Run(map[bool]string{true: "its tail", false: "everything"}[saved], func(t *testing.T) {
			server := onlinetest.StartRedis(t)
			r := newRedisRig(t, server.Addr)
			p, records := world(t, 4, "key", 2)
			r.ensure(p)
			var mu sync.Mutex
			next, back := map[int]int64{}, 0
			stop := r.run(r.watched(func(_ string, partition int, g online.Progress) {
				mu.Lock()
				defer mu.Unlock()
				if g.Next <= next[partition] {
					back++
				}
				next[partition] = g.Next
			}, p))
			defer stop()
			third := len(records) / 3
			r.produce(p.Source.Topic, records[:third]...)
			r.applied(p, p.Source.Topic)
			if saved {
				command(t, server.Addr, "SAVE")
			}
			r.produce(p.Source.Topic, records[third:2*third]...)
			r.applied(p, p.Source.Topic)
			if saved {
				server.Kill()
				server.Start(t)
			} else {
				command(t, server.Addr, "FLUSHALL")
			}
			r.applied(p, p.Source.Topic)
			r.check(p, records[:2*third])
			r.eventually("a shard that goes back", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return back > 0
			})
			r.produce(p.Source.Topic, records[2*third:]...)
			r.applied(p, p.Source.Topic)
			r.check(p, records)
		})
	}
}

// A lossyProxy passes a connection's bytes on, and now and then drops an answer
// with its connection: what was asked for has been done.
type lossyProxy struct {
	server  string
	dropped atomic.Int64
	armed   atomic.Bool
	seed    atomic.Uint64
}

func (p *lossyProxy) start(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { l.Close() })
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(client) })
		}
	})
	return l.Addr().String()
}

func (p *lossyProxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer server.Close()
	wg.Go(func() {
		_, _ = io.Copy(server, client)
		server.Close()
	})
	defer client.Close()
	r := rand.New(rand.NewPCG(p.seed.Add(1), 7))
	buffer := make([]byte, 64<<10)
	for {
		n, err := server.Read(buffer)
		if err != nil {
			return
		}
		if p.armed.Load() && r.IntN(6) == 0 {
			p.dropped.Add(1)
			return
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// TestLostAnswers loses every sixth answer of the store, those of commits that
// were done among them: nothing is applied twice.
func TestLostAnswers(t *testing.T) {
	server := onlinetest.StartRedis(t)
	proxy := &lossyProxy{server: server.Addr}
	r := newRedisRig(t, proxy.start(t))
	p, records := world(t, 5, "key", 2)
	r.ensure(p)
	commits := atomic.Int64{}
	stop := r.run(r.watched(func(string, int, online.Progress) { commits.Add(1) }, p))
	defer stop()
	proxy.armed.Store(true)
	for i := range records {
		r.produce(p.Source.Topic, records[i])
		if i%4 == 0 {
			r.applied(p, p.Source.Topic)
		}
	}
	r.applied(p, p.Source.Topic)
	proxy.armed.Store(false)
	if n := proxy.dropped.Load(); n < 10 {
		t.Errorf("only %d answers were lost, of %d commits", n, commits.Load())
	}
	r.check(p, records)
}
