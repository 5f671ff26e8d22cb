package onlinetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/features/online"
)

// stamp makes the same row for each of n entities, with a number in each part.
func stamp(n int, number int64) []online.Write {
	part := bytes.Repeat(binary.LittleEndian.AppendUint64(nil, uint64(number)), 50)
	writes := make([]online.Write, n)
	for i := range writes {
		writes[i] = online.Write{Entity: fmt.Sprint("e", i), Head: part, Base: part}
	}
	return writes
}

// stamped reads the n rows of stamp, and the number of all of them; all must
// have the one that the progress says.
func stamped(ctx context.Context, s online.Store, shard online.Shard, n int) (int64, online.Token, error) {
	keys := make([]online.Key, n)
	for i := range keys {
		keys[i] = online.Key{Shard: shard, Entity: fmt.Sprint("e", i)}
	}
	rows, states, err := s.Read(ctx, keys)
	if err != nil {
		return 0, online.Token{}, err
	}
	number := states[0].Progress.Next
	want := stamp(1, number)[0]
	if states[0].Token == (online.Token{}) {
		want = online.Write{}
	}
	for i := range rows {
		if states[i].Token != states[0].Token {
			return 0, online.Token{}, fmt.Errorf("shard %v: rows of two states in one read", shard)
		}
		if !sameRow(rows[i], online.Row{Head: want.Head, Base: want.Base}) {
			return 0, online.Token{}, fmt.Errorf("shard %v: the progress says %d, row %d is %s", shard, number, i, show(rows[i]))
		}
	}
	return number, states[0].Token, nil
}

// testDeadlines commits with deadlines from far too short to enough, and finds
// out by State what became of each commit, as the pipeline does.
func testDeadlines(t *testing.T, p Place) {
	f := start(t, p)
	shard := online.Shard{Space: "s"}
	random := rand.New(rand.NewPCG(3, 4))
	var token online.Token
	var last int64
	failed, applied := 0, 0
	for number := int64(1); number <= 150; number++ {
		c := newCommit(shard, token, number, stamp(300, number)...)
		ctx, cancel := context.WithTimeout(f.ctx, time.Duration(random.IntN(3000))*time.Microsecond)
		err := f.store.Commit(ctx, c)
		cancel()
		if err != nil {
			failed++
			var timeout interface{ Timeout() bool }
			if !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Fatal(err)
			}
		}
		found, foundToken, readErr := stamped(f.ctx, f.store, shard, 300)
		if readErr != nil {
			t.Fatal(readErr)
		}
		switch {
		case foundToken == c.Next && found == number:
			token, last = c.Next, number
			applied++
		case err == nil || foundToken != token || found != last:
			t.Fatalf("after commit %d (%v) the shard is at %d, token %x", number, err, found, foundToken)
		}
		// A commit that is still on its way to the server may be applied later: the
		// pipeline tries the same one again, and so settles it.
		if err != nil && foundToken != c.Next {
			err := f.store.Commit(f.ctx, c)
			var conflict *online.Conflict
			if err != nil && !(errors.As(err, &conflict) && conflict.Found == c.Next) {
				t.Fatal(err)
			}
			token, last = c.Next, number
		}
	}
	t.Logf("%d of 150 commits ended with their deadline, %d were found applied", failed, applied)
}

// testShards has an owner for each of many shards, all at work at once.
func testShards(t *testing.T, p Place) {
	f := start(t, p)
	const shards, commits = 12, 40
	var wg sync.WaitGroup
	for index := range shards {
		wg.Go(func() {
			shard := online.Shard{Space: "s", Index: index}
			var token online.Token
			for number := int64(1); number <= commits; number++ {
				c := newCommit(shard, token, number, stamp(20+index, number)...)
				if err := f.store.Commit(f.ctx, c); err != nil {
					t.Error(err)
					return
				}
				token = c.Next
				if got, _, err := stamped(f.ctx, f.store, shard, 20+index); err != nil || got != number {
					t.Errorf("shard %d: read %d after commit %d: %v", index, got, number, err)
					return
				}
			}
		})
	}
	wg.Wait()
	f.reopen()
	for index := range shards {
		if got, _, err := stamped(f.ctx, f.store, online.Shard{Space: "s", Index: index}, 20+index); err != nil || got != commits {
			t.Errorf("shard %d ends at %d: %v", index, got, err)
		}
	}
}

// testContested has many owners count on one shard: no count may get lost.
func testContested(t *testing.T, p Place) {
	f := start(t, p)
	const owners, each = 8, 25
	shard := online.Shard{Space: "s"}
	var wg sync.WaitGroup
	for range owners {
		wg.Go(func() {
			for done := 0; done < each; {
				number, token, err := stamped(f.ctx, f.store, shard, 5)
				if err != nil {
					t.Error(err)
					return
				}
				err = f.store.Commit(f.ctx, newCommit(shard, token, number+1, stamp(5, number+1)...))
				var conflict *online.Conflict
				switch {
				case err == nil:
					done++
				case !errors.As(err, &conflict) || conflict.Found == token:
					t.Errorf("commit on %x: %v", token, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got, _, err := stamped(f.ctx, f.store, shard, 5); err != nil || got != owners*each {
		t.Errorf("%d commits gave %d: %v", owners*each, got, err)
	}
}

// testSnapshot reads while commits are made.
func testSnapshot(t *testing.T, p Place) {
	f := start(t, p)
	const commits, rows = 150, 200
	shard := online.Shard{Space: "s"}
	done := make(chan struct{})
	var wg sync.WaitGroup
	reads := make([]int, 3)
	for reader := range reads {
		wg.Go(func() {
			var last int64
			for {
				number, _, err := stamped(f.ctx, f.store, shard, rows)
				if err != nil || number < last {
					t.Errorf("read %d after %d: %v", number, last, err)
					return
				}
				last = number
				reads[reader]++
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	var token online.Token
	for number := int64(1); number <= commits; number++ {
		c := newCommit(shard, token, number, stamp(rows, number)...)
		if err := f.store.Commit(f.ctx, c); err != nil {
			t.Error(err)
			break
		}
		token = c.Next
	}
	close(done)
	wg.Wait()
	t.Logf("%v reads during %d commits", reads, commits)
}
