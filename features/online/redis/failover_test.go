//go:build engines

package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/millrace/millrace/features/online"
)

// master returns which of the masters has a shard's slot at first, and the slot.
func (c *cluster) master(t *testing.T, in online.Shard) (int, int) {
	t.Helper()
	slot, err := client(t, c.nodes[0]).ClusterKeySlot(t.Context(), prefix(in)).Result()
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.masters {
		if int(slot) < (i+1)*allSlots/c.masters {
			return i, int(slot)
		}
	}
	return 0, 0
}

func (c *cluster) open(t *testing.T) *Store {
	t.Helper()
	var o Options
	for _, node := range c.nodes {
		o.Addresses = append(o.Addresses, node.Addr)
	}
	return mustOpen(t, o)
}

// A writer owns a shard, as a pipeline does: commit n of its log writes a third
// of the shard's rows, so that one that is lost and not done again shows.
type writer struct {
	store *Store
	shard online.Shard
	at    int64 // commits that are in place, as far as it knows
	token online.Token
	last  *online.Commit // under way, or in place; nil after a step back

	regressions int
	replayed    int64
	reached     int64 // the most of at
}

const rowsOfWriter, rowsOfCommit = 60, 20

func (w *writer) commit(n int64) *online.Commit {
	c := &online.Commit{Shard: w.shard, Expect: w.token, Next: online.NewToken(), Progress: online.Progress{Next: n}}
	for i := range int64(rowsOfCommit) {
		c.Writes = append(c.Writes, online.Write{Entity: strconv.FormatInt((n*rowsOfCommit+i)%rowsOfWriter, 10), Head: strconv.AppendInt(nil, n, 10)})
	}
	return c
}

// step tries the next commit once. A conflict with its own token is its lost
// answer. Another one means that the shard has gone back, as the writer is the
// only one: it goes there and does the rest again.
func (w *writer) step(ctx context.Context) error {
	if w.last == nil || w.last.Next == w.token { // nothing is under way
		w.last = w.commit(w.at + 1)
	}
	err := w.store.Commit(ctx, w.last)
	var conflict *online.Conflict
	switch {
	case err == nil, errors.As(err, &conflict) && conflict.Found == w.last.Next:
		w.at, w.token = w.at+1, w.last.Next
		w.reached = max(w.reached, w.at)
		return nil
	case conflict != nil:
		state, err := w.store.State(ctx, w.shard)
		if err != nil {
			return err
		}
		if state.Progress.Next > w.at {
			return fmt.Errorf("shard %d: at %d, after %d commits", w.shard.Index, state.Progress.Next, w.at)
		}
		w.regressions++
		w.replayed += w.at - state.Progress.Next
		w.at, w.token, w.last = state.Progress.Next, state.Token, nil
		return nil
	}
	return err
}

// check compares all rows with what the log gives up to where the shard stands.
func (w *writer) check(t *testing.T) {
	t.Helper()
	keys := make([]online.Key, rowsOfWriter)
	for i := range keys {
		keys[i] = online.Key{Shard: w.shard, Entity: strconv.Itoa(i)}
	}
	rows, states, err := w.store.Read(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]string, rowsOfWriter)
	at := states[0].Progress.Next
	for n := max(1, at-rowsOfWriter/rowsOfCommit); n <= at; n++ {
		for _, row := range w.commit(n).Writes {
			i, _ := strconv.Atoi(row.Entity)
			want[i] = string(row.Head)
		}
	}
	for i, row := range rows {
		if string(row.Head) != want[i] {
			t.Errorf("shard %d: the progress says %d, row %d is of commit %q, want %q", w.shard.Index, at, i, row.Head, want[i])
			return
		}
	}
}

// TestFailover ends a master with SIGKILL after its replica has been cut off, so
// that acknowledged commits are lost with it, while writers go on.
func TestFailover(t *testing.T) {
	c := newCluster(t, 3, 1)
	s := c.open(t)
	const shards = 12
	writers := make([]*writer, shards)
	var victim int // the master of the first shard
	for i := range writers {
		writers[i] = &writer{store: s, shard: online.Shard{Space: "s", Index: i}}
	}
	victim, _ = c.master(t, writers[0].shard)

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	promoted := make(chan struct{})
	var longest [shards]time.Duration
	var wg sync.WaitGroup
	for i, w := range writers {
		wg.Go(func() {
			accepted := time.Now()
			// It ends with a commit that is accepted when all is well again, and no
			// earlier in its log than before: no lost tail is left undone.
			for done := false; !done && ctx.Err() == nil; {
				select {
				case <-promoted:
					done = true
				default:
				}
				err := w.step(ctx)
				switch {
				case err == nil:
					longest[i] = max(longest[i], time.Since(accepted))
					accepted = time.Now()
				case strings.Contains(err.Error(), "CROSSSLOT"):
					t.Error(err)
				}
				done = done && err == nil && w.last != nil && w.at == w.reached
			}
		})
	}
	replica, master := client(t, c.nodes[victim+c.masters]), client(t, c.nodes[victim])
	// The replica may not follow any more. What it has not yet is lost.
	if err := master.Do(ctx, "ACL", "SETUSER", "default", "-psync", "-sync", "-replconf").Err(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "commits", func() bool { return master.DBSize(ctx).Val() > 0 })
	if err := master.Do(ctx, "CLIENT", "KILL", "TYPE", "replica").Err(); err != nil {
		t.Fatal(err)
	}
	cut := offset(t, master)
	waitFor(t, "commits that the replica lacks", func() bool { return offset(t, master) > cut+100_000 })
	c.nodes[victim].Kill()
	start := time.Now()
	waitFor(t, "the replica to be promoted", func() bool { return strings.Contains(replica.Info(ctx, "replication").Val(), "role:master") })
	t.Logf("promoted after %v", time.Since(start).Round(100*time.Millisecond))
	waitFor(t, "the cluster", func() bool { return strings.Contains(replica.ClusterInfo(ctx).Val(), "cluster_state:ok") })
	c.nodes[victim].Start(t) // it becomes the replica
	waitFor(t, "the old master to follow", func() bool {
		return strings.Contains(client(t, c.nodes[victim]).Info(ctx, "replication").Val(), "role:slave")
	})
	close(promoted)
	wg.Wait()
	if ctx.Err() != nil {
		t.Fatal("the writers did not end within two minutes")
	}
	regressions, replayed := 0, int64(0)
	for _, w := range writers {
		w.check(t)
		regressions += w.regressions
		replayed += w.replayed
	}
	if regressions == 0 || replayed == 0 {
		t.Error("no commit was lost: the test shows nothing")
	}
	t.Logf("%d shards of %d went back, %d commits were done again; the longest wait was %v", regressions, shards, replayed, maxOf(longest[:]).Round(100*time.Millisecond))
	if n := countRows(t, s); n != shards*rowsOfWriter {
		t.Errorf("Rows gives %d rows of %d", n, shards*rowsOfWriter)
	}
}

func maxOf(all []time.Duration) (longest time.Duration) {
	for _, d := range all {
		longest = max(longest, d)
	}
	return longest
}

func offset(t *testing.T, c *redis.Client) int {
	t.Helper()
	_, after, _ := strings.Cut(c.Info(t.Context(), "replication").Val(), "master_repl_offset:")
	text, _, _ := strings.Cut(after, "\r\n")
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func countRows(t *testing.T, s *Store) int {
	t.Helper()
	n := 0
	for _, err := range s.Rows(t.Context(), "s") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// TestMasterWithoutReplica ends a master that nothing replaces.
func TestMasterWithoutReplica(t *testing.T) {
	c := newCluster(t, 3, 0, "--appendonly", "yes")
	s := c.open(t)
	var writers []*writer
	for i := range 12 {
		w := &writer{store: s, shard: online.Shard{Space: "s", Index: i}}
		for w.at < 5 {
			if err := w.step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		writers = append(writers, w)
	}
	victim, _ := c.master(t, writers[0].shard)
	c.nodes[victim].Kill()
	other := client(t, c.nodes[(victim+1)%3])
	waitFor(t, "the cluster to notice", func() bool { return strings.Contains(other.ClusterInfo(t.Context()).Val(), "cluster_state:fail") })
	// One slot without a master stops them all, by cluster-require-full-coverage.
	for _, w := range writers {
		_, _, readErr := s.Read(t.Context(), []online.Key{{Shard: w.shard, Entity: "1"}})
		_, stateErr := s.State(t.Context(), w.shard)
		for call, err := range map[string]error{"Commit": w.step(t.Context()), "Read": readErr, "State": stateErr} {
			if err == nil || !strings.Contains(err.Error(), "some slots of the cluster have no master") && !strings.Contains(err.Error(), "no server listens there") {
				t.Errorf("shard %d: %s: %v", w.shard.Index, call, err)
			}
		}
	}
	if _, err := Open(t.Context(), Options{Addresses: []string{other.Options().Addr}}); err == nil || !strings.Contains(err.Error(), "no server listens there") {
		t.Errorf("Open with a master away: %v", err)
	}
	c.nodes[victim].Start(t)
	for _, w := range writers {
		waitFor(t, "a commit", func() bool { return w.step(t.Context()) == nil })
		for w.at < 10 {
			if err := w.step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		w.check(t)
	}
}
