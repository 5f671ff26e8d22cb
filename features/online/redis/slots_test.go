//go:build engines

package redis

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/millrace/millrace/features/online"
)

// TestSlotMoves moves a shard's slot to another master, key by key, while its
// owner goes on. The user has just the rights that are needed.
func TestSlotMoves(t *testing.T) {
	c := newCluster(t, 3, 0)
	setUser(t, c.nodes, "~{*", append(append([]string{"+config|get"}, rights...), clusterRights...)...)
	s := mustOpen(t, as(c.nodes))
	w := &writer{store: s, shard: online.Shard{Space: "s"}}
	for w.at < 3 {
		if err := w.step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	from, slot := c.master(t, w.shard)
	m := c.move(t, slot, from, (from+1)%c.masters)
	waited := 0
	try := func() {
		t.Helper()
		err := w.step(t.Context())
		_, _, readErr := s.Read(t.Context(), []online.Key{{Shard: w.shard, Entity: "1"}, {Shard: w.shard, Entity: "59"}})
		for _, err := range []error{err, readErr} {
			if err != nil && !strings.Contains(err.Error(), "the cluster is moving the shard's slot") {
				t.Errorf("while the slot moves: %v", err)
			} else if err != nil {
				waited++
			}
		}
		// One key is always at one of the nodes.
		if state, err := s.State(t.Context(), w.shard); err != nil || state.Token != w.token {
			t.Errorf("while the slot moves: State: %+v, %v", state, err)
		}
	}
	try()
	for m.some(t, 10) {
		try()
	}
	if waited == 0 {
		t.Error("no call had to wait: the test shows nothing")
	}
	m.end(t)
	for range 10 { // MOVED
		if err := w.step(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.check(t)
	}
	t.Logf("%d calls had to wait while the slot moved", waited)

	// Without the right to follow to the new node, the owner is told.
	setUser(t, c.nodes, "~{*", append(append([]string{"+config|get"}, rights...), "+cluster|slots", "+command")...)
	back := c.move(t, slot, (from+1)%c.masters, from)
	for back.some(t, 1000) {
	}
	if _, err := s.State(t.Context(), w.shard); err == nil || !strings.Contains(err.Error(), "access list lacks a command or key") {
		t.Errorf("without +asking: %v", err)
	}
}

// A move takes a slot from one master to another.
type move struct {
	slot           int
	source, target *redis.Client
}

func (c *cluster) move(t *testing.T, slot, from, to int) *move {
	t.Helper()
	m := &move{slot, client(t, c.nodes[from]), client(t, c.nodes[to])}
	do(t, m.target, "CLUSTER", "SETSLOT", slot, "IMPORTING", id(t, m.source))
	do(t, m.source, "CLUSTER", "SETSLOT", slot, "MIGRATING", id(t, m.target))
	return m
}

// some moves at most n keys, and reports whether there were any.
func (m *move) some(t *testing.T, n int) bool {
	t.Helper()
	keys, err := m.source.ClusterGetKeysInSlot(context.Background(), m.slot, n).Result()
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := strings.Cut(m.target.Options().Addr, ":")
	args := []any{"MIGRATE", host, port, "", 0, 5000, "KEYS"}
	for _, k := range keys {
		args = append(args, k)
	}
	if len(keys) > 0 {
		do(t, m.source, args...)
	}
	return len(keys) > 0
}

func (m *move) end(t *testing.T) {
	t.Helper()
	for _, c := range []*redis.Client{m.target, m.source} {
		do(t, c, "CLUSTER", "SETSLOT", m.slot, "NODE", id(t, m.target))
	}
}

func id(t *testing.T, c *redis.Client) string {
	t.Helper()
	id, err := c.Do(context.Background(), "CLUSTER", "MYID").Text()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func do(t *testing.T, c *redis.Client, args ...any) {
	t.Helper()
	if err := c.Do(context.Background(), args...).Err(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}

// TestRowsWhileSlotMoves moves a slot from a node before it is scanned to one
// that was scanned already.
func TestRowsWhileSlotMoves(t *testing.T) {
	c := newCluster(t, 3, 0)
	s := c.open(t)
	w := &writer{store: s, shard: online.Shard{Space: "s"}}
	for w.at < 3 {
		if err := w.step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	from, slot := c.master(t, w.shard)
	to := (from + 1) % c.masters
	h := &scanHook{source: c.nodes[from].Addr, target: c.nodes[to].Addr, scanned: make(chan struct{}), move: func() {
		m := c.move(t, slot, from, to)
		for m.some(t, 1000) {
		}
		m.end(t)
	}}
	err := s.client.(*redis.ClusterClient).ForEachMaster(t.Context(), func(_ context.Context, c *redis.Client) error {
		c.AddHook(nodeHook{h, c.Options().Addr})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := countRows(t, s); n != rowsOfWriter {
		t.Errorf("Rows gives %d rows of %d", n, rowsOfWriter)
	}
	if !h.moved {
		t.Error("the slot did not move: the test shows nothing")
	}
}

// A scanHook makes the source's first scan wait for the target's.
type scanHook struct {
	source, target string
	scanned        chan struct{}
	first, last    sync.Once
	move           func()
	moved          bool
}

type nodeHook struct {
	*scanHook
	addr string
}

func (h nodeHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h nodeHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h nodeHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() != "scan" {
			return next(ctx, cmd)
		}
		if h.addr == h.source {
			h.first.Do(func() {
				<-h.scanned
				h.move()
				h.moved = true
			})
		}
		err := next(ctx, cmd)
		if h.addr == h.target {
			h.last.Do(func() { close(h.scanned) })
		}
		return err
	}
}
