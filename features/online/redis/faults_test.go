package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/onlinetest"
)

var shard = online.Shard{Space: "s", Index: 1}

// commitOf writes rows whose parts all say number, as does its progress.
func commitOf(expect online.Token, number int64, rows int) *online.Commit {
	c := &online.Commit{Shard: shard, Expect: expect, Next: online.NewToken(), Progress: online.Progress{Next: number}}
	part := bytes.Repeat(fmt.Appendf(nil, "%08d", number), 50)
	for i := range rows {
		c.Writes = append(c.Writes, online.Write{Entity: fmt.Sprint("e", i), Head: part, Base: part})
	}
	return c
}

// checkWhole fails unless all rows say what the progress says, and returns the
// state.
func checkWhole(t *testing.T, s *Store, rows int) online.State {
	t.Helper()
	keys := make([]online.Key, rows)
	for i := range keys {
		keys[i] = online.Key{Shard: shard, Entity: fmt.Sprint("e", i)}
	}
	got, states, err := s.Read(context.Background(), keys)
	if err != nil {
		t.Fatal(err)
	}
	want := online.Write{}
	if states[0].Token != (online.Token{}) {
		want = commitOf(online.Token{}, states[0].Progress.Next, 1).Writes[0]
	}
	for i := range got {
		if !bytes.Equal(got[i].Head, want.Head) || !bytes.Equal(got[i].Base, want.Base) {
			t.Fatalf("the progress says %d, row %d is %.20q %.20q", states[0].Progress.Next, i, got[i].Head, got[i].Base)
		}
	}
	return states[0]
}

func mustOpen(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// client is a connection beside the store.
func client(t *testing.T, server *onlinetest.Redis) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: server.Addr})
	t.Cleanup(func() { c.Close() })
	return c
}

// TestCutConnection cuts the connection within commits, on the way there and on
// the way back. The owner finds out by the same commit once more.
func TestCutConnection(t *testing.T) {
	server := onlinetest.StartRedis(t)
	p := startProxy(t, server.Addr)
	s := mustOpen(t, Options{Addresses: []string{p.listener.Addr().String()}})
	random := rand.New(rand.NewPCG(7, 8))
	const rows = 100
	var token online.Token
	cut, applied := 0, 0
	for number := int64(1); number <= 60; number++ {
		c := commitOf(token, number, rows)
		if number%2 == 0 {
			p.limit(random.Int64N(90_000), -1) // a commit has 85 kB
		} else if number%3 == 0 {
			p.limit(-1, random.Int64N(4)) // the answer is `:1\r\n`
		}
		err := s.Commit(t.Context(), c)
		p.limit(-1, -1)
		var conflict *online.Conflict
		if err != nil {
			cut++
			if errors.As(err, &conflict) {
				t.Fatal(err)
			}
			state := checkWhole(t, s, rows)
			if state.Token != c.Expect && state.Token != c.Next {
				t.Fatalf("commit %d: the shard is at %x", number, state.Token)
			}
			err = s.Commit(t.Context(), c)
			if errors.As(err, &conflict) && conflict.Found == c.Next {
				applied++
				err = nil
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if state := checkWhole(t, s, rows); state.Token != c.Next {
			t.Fatalf("commit %d is not in place", number)
		}
		token = c.Next
	}
	if cut == 0 || applied == 0 || applied == cut {
		t.Errorf("of 60 commits %d were cut, %d of them had been applied: the test does not test both", cut, applied)
	}
}

func TestServerAway(t *testing.T) {
	server := onlinetest.StartRedis(t)
	s := mustOpen(t, Options{Addresses: []string{server.Addr}})
	first := commitOf(online.Token{}, 1, 10)
	if err := s.Commit(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if err := client(t, server).Do(t.Context(), "SAVE").Err(); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	second := commitOf(first.Next, 2, 10)
	for range 3 {
		if err := s.Commit(t.Context(), second); err == nil || !strings.Contains(err.Error(), "no server listens there") && !errors.Is(err, io.EOF) {
			t.Errorf("Commit: %v", err)
		}
	}
	if _, err := s.State(t.Context(), shard); err == nil || !strings.Contains(err.Error(), server.Addr) {
		t.Errorf("State: %v", err)
	}
	if _, err := Open(t.Context(), Options{Addresses: []string{server.Addr}}); err == nil || !strings.Contains(err.Error(), "no server listens there") {
		t.Errorf("Open: %v", err)
	}
	server.Start(t)
	if err := s.Commit(t.Context(), second); err != nil {
		t.Errorf("with the server back: %v", err)
	}
	if state := checkWhole(t, s, 10); state.Token != second.Next {
		t.Error("the second commit is not in place")
	}
}

// TestSilentServer has a server that takes connections and never answers.
func TestSilentServer(t *testing.T) {
	server := onlinetest.StartRedis(t)
	p := startProxy(t, server.Addr)
	s := mustOpen(t, Options{Addresses: []string{p.listener.Addr().String()}})
	p.mu.Lock()
	p.silent = true
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := s.Commit(ctx, commitOf(online.Token{}, 1, 10))
	var timeout net.Error
	if deadline, _ := ctx.Deadline(); !errors.As(err, &timeout) || !timeout.Timeout() || time.Now().Before(deadline) {
		t.Errorf("Commit with a deadline: %v", err)
	}
	// Close ends a call under way.
	failed := make(chan error)
	go func() { _, err := s.State(t.Context(), shard); failed <- err }()
	waitFor(t, "the call to be under way", func() bool {
		stats := s.client.PoolStats()
		return stats.TotalConns > stats.IdleConns
	})
	s.Close()
	if err := <-failed; err == nil {
		t.Error("State gave no error when the store was closed")
	}
}

// TestFullMemory fills the memory: commits become errors and change nothing.
func TestFullMemory(t *testing.T) {
	for _, ttl := range []time.Duration{0, time.Hour} {
		server := onlinetest.StartRedis(t, "--maxmemory", "4mb")
		s := mustOpen(t, Options{Addresses: []string{server.Addr}, TTL: ttl})
		c := commitOf(online.Token{}, 1, 400)
		if err := s.Commit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if err := client(t, server).ConfigSet(t.Context(), "maxmemory", "1mb").Err(); err != nil {
			t.Fatal(err)
		}
		next := commitOf(c.Next, 2, 400)
		next.Writes[0] = online.Write{Entity: "e0"} // a deletion, which a full memory does not refuse
		next.Writes[1].Base, next.Writes[1].KeepBase = nil, true
		if err := s.Commit(t.Context(), next); err == nil || !strings.Contains(err.Error(), "raise maxmemory") {
			t.Errorf("ttl %v: a commit to a full memory: %v", ttl, err)
		}
		if state := checkWhole(t, s, 400); state.Token != c.Next {
			t.Errorf("ttl %v: a refused commit is in place", ttl)
		}
	}
}

func TestPasswordIsHidden(t *testing.T) {
	s := &Store{address: "a:1", secret: "open-sesame"}
	err := s.fail("connect", errors.New("ERR unknown command `HELLO`, with args beginning with: `3` `AUTH` `u` `open-sesame`"))
	if strings.Contains(err.Error(), "open-sesame") {
		t.Error(err)
	}
	_, err = Open(t.Context(), Options{Addresses: []string{"redis://user:open-sesame@host:6379"}})
	if err == nil || strings.Contains(err.Error(), "open-sesame") {
		t.Errorf("Open with a URL: %v", err)
	}
}

func TestOptions(t *testing.T) {
	server := onlinetest.StartRedis(t)
	for _, test := range []struct {
		options Options
		want    string
	}{
		{Options{}, "no address"},
		{Options{Addresses: []string{"host"}}, "address 1 is not host:port"},
		{Options{Addresses: []string{server.Addr, "host:"}}, "address 2 is not host:port"},
		{Options{Addresses: []string{server.Addr}, TTL: -1}, "ttl -1ns"},
		{Options{Addresses: []string{server.Addr}, TTL: time.Millisecond}, "ttl 1ms; at least 1s"},
		{Options{Addresses: []string{server.Addr, server.Addr}}, "not part of a cluster; give one"},
	} {
		if _, err := Open(t.Context(), test.options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: got %v, want an error with %q", test.options, err, test.want)
		}
	}
}

// TestExpiry follows the life of a head and its base from a time with an expiry
// into one without: they always end together.
func TestExpiry(t *testing.T) {
	server := onlinetest.StartRedis(t)
	c := client(t, server)
	lives := func(want string) {
		t.Helper()
		head, base := c.PTTL(t.Context(), "{s:1}hx").Val(), c.PTTL(t.Context(), "{s:1}bx").Val()
		ok := head == -1 && base == -1
		if want == "expire" {
			ok = head > 59*time.Minute && base > 59*time.Minute
		}
		if !ok || c.PTTL(t.Context(), "{s:1}s").Val() != -1 {
			t.Errorf("head and base live %v and %v, want them to %s, and the state to stay", head, base, want)
		}
	}
	var token online.Token
	commit := func(ttl time.Duration, w online.Write) {
		t.Helper()
		s := mustOpen(t, Options{Addresses: []string{server.Addr}, TTL: ttl})
		w.Entity = "x"
		next := &online.Commit{Shard: shard, Expect: token, Next: online.NewToken(), Writes: []online.Write{w}}
		if err := s.Commit(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		token = next.Next
	}
	part := []byte("part")
	commit(0, online.Write{Head: part, Base: part})
	lives("stay")
	commit(time.Hour, online.Write{Head: part, KeepBase: true})
	lives("expire")
	// As if time had passed: the base's life must be renewed with the head's.
	if err := c.PExpire(t.Context(), "{s:1}bx", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	commit(time.Hour, online.Write{Head: part, KeepBase: true})
	lives("expire")
	commit(0, online.Write{Head: part, KeepBase: true})
	lives("stay")
	commit(time.Hour, online.Write{Head: part, Base: part})
	lives("expire")
	commit(0, online.Write{Head: part, Base: part})
	lives("stay")
}

// TestScriptForgotten empties the server's script cache, as a restart does.
func TestScriptForgotten(t *testing.T) {
	server := onlinetest.StartRedis(t)
	s := mustOpen(t, Options{Addresses: []string{server.Addr}})
	c := commitOf(online.Token{}, 1, 10)
	for number := int64(2); number < 5; number++ {
		if err := s.Commit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if err := client(t, server).ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		c = commitOf(c.Next, number, 10)
	}
}

// TestDamagedState has another program write to the state's key.
func TestDamagedState(t *testing.T) {
	server := onlinetest.StartRedis(t)
	s := mustOpen(t, Options{Addresses: []string{server.Addr}})
	if err := client(t, server).Set(t.Context(), "{s:1}s", "hello", 0).Err(); err != nil {
		t.Fatal(err)
	}
	_, err := s.State(t.Context(), shard)
	_, _, readErr := s.Read(t.Context(), []online.Key{{Shard: shard}})
	for _, err := range []error{err, readErr} {
		if err == nil || !strings.Contains(err.Error(), "shard s/1") || !strings.Contains(err.Error(), "cut short") {
			t.Errorf("got %v", err)
		}
	}
}
