// Package onlinetest is the suite that each online.Store passes, and a Redis
// server for tests.
package onlinetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
)

// A Place is where a store under test keeps its rows.
type Place interface {
	// Open opens the place, on what earlier stores have left. The suite closes
	// the store before the next Open, unless Crash came first.
	Open(t *testing.T) online.Store
	// Save makes all that is committed survive a Crash.
	Save(t *testing.T)
	// Crash ends the open store's process or server. What was committed since
	// the last Save may be lost, in part or altogether.
	Crash(t *testing.T)
}

// Run runs the suite. It calls place for each test, for an empty place.
func Run(t *testing.T, place func(t *testing.T) Place) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Place)
	}{
		{"a shard's first commit", testFirst},
		{"progress comes back whole", testProgress},
		{"another token is refused", testConflict},
		{"a lost answer shows as a conflict with the own token", testLostAnswer},
		{"heads and bases are set, kept and deleted", testParts},
		{"any bytes make an entity", testEntities},
		{"any name makes a space", testSpaces},
		{"full commits of large rows", testLarge},
		{"faulty commits are refused", testRefused},
		{"an ended context", testContext},
		{"a closed store", testClosed},
		{"commits under short deadlines are whole or absent", testDeadlines},
		{"shards side by side", testShards},
		{"one shard, many owners", testContested},
		{"readers see whole commits", testSnapshot},
		{"a zombie is refused", testZombie},
		{"a lost tail takes rows and progress", testLostTail},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, place(t)) })
	}
	for seed := range uint64(5) {
		t.Run(fmt.Sprintf("as the model does, seed %d", seed), func(t *testing.T) { testModel(t, place(t), seed) })
	}
}

func testFirst(t *testing.T, p Place) {
	f := start(t, p)
	shard := online.Shard{Space: "spend", Index: 1}
	neighbours := []online.Shard{{Space: "spend", Index: 0}, {Space: "spend", Index: 11}, {Space: "spen", Index: 1}, {Space: "spend1", Index: 1}}
	f.wantState(shard, online.State{})
	f.wantRow(shard, "x", online.Row{})
	c := f.commit(shard, online.Token{}, 1, online.Write{Entity: "x", Head: []byte("head"), Base: []byte("base")})
	f.wantState(shard, online.State{Token: c.Next, Progress: c.Progress})
	f.wantRow(shard, "x", online.Row{Head: []byte("head"), Base: []byte("base")})
	f.wantRow(shard, "y", online.Row{})
	for _, n := range neighbours {
		f.wantState(n, online.State{})
		f.wantRow(n, "x", online.Row{})
	}
	rows, states, err := f.store.Read(f.ctx, nil)
	if err != nil || len(rows) != 0 || len(states) != 0 {
		t.Errorf("a read of no keys gave %v, %v, %v", rows, states, err)
	}
	// Keys in any order, repeated, of several shards.
	d := f.commit(neighbours[0], online.Token{}, 9, online.Write{Entity: "x", Head: []byte("other")})
	keys := []online.Key{{Shard: shard, Entity: "x"}, {Shard: neighbours[0], Entity: "x"}, {Shard: shard, Entity: "no"}, {Shard: shard, Entity: "x"}, {Shard: neighbours[1], Entity: "x"}}
	rows, states, err = f.store.Read(f.ctx, keys)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"head", "other", "", "head", ""} {
		if string(rows[i].Head) != want {
			t.Errorf("row %d: head %q, want %q", i, rows[i].Head, want)
		}
	}
	for i, want := range []online.Token{c.Next, d.Next, c.Next, c.Next, {}} {
		if states[i].Token != want {
			t.Errorf("state %d: token %x, want %x", i, states[i].Token, want)
		}
	}
}

func testProgress(t *testing.T, p Place) {
	f := start(t, p)
	shard := online.Shard{Space: "s"}
	var token online.Token
	for _, progress := range []online.Progress{
		{},
		{Newest: math.MinInt64, Next: math.MaxInt64, Checksum: math.MaxUint32},
		{Cluster: "MkU3OEVBNTcwNTJENDM2Qk", Topic: "trades", Next: 1, Checksum: 2, Newest: 3, Origins: []int64{-1, 0, math.MaxInt64},
			Counts: features.Counts{Applied: 4, Dropped: 5, Duplicates: 6, Dead: 7, Truncated: 8, Nonfinite: 9}},
		{Cluster: strings.Repeat("c", online.MaxName), Topic: strings.Repeat("t", online.MaxName), Origins: make([]int64, online.MaxOrigins)},
	} {
		c := &online.Commit{Shard: shard, Expect: token, Next: online.NewToken(), Progress: progress}
		if err := f.store.Commit(f.ctx, c); err != nil {
			t.Fatal(err)
		}
		token = c.Next
		f.wantState(shard, online.State{Token: token, Progress: progress})
		f.reopen()
		f.wantState(shard, online.State{Token: token, Progress: progress})
	}
}

func testConflict(t *testing.T, p Place) {
	f := start(t, p)
	shard := online.Shard{Space: "s", Index: 7}
	row := online.Write{Entity: "x", Head: []byte("mine")}
	f.wantConflict(f.try(shard, online.NewToken(), 1, row), shard, online.Token{})
	f.wantState(shard, online.State{})
	f.wantRow(shard, "x", online.Row{})
	first := f.commit(shard, online.Token{}, 1, row)
	for _, expect := range []online.Token{{}, online.NewToken()} {
		f.wantConflict(f.try(shard, expect, 2, online.Write{Entity: "x", Head: []byte("no")}, online.Write{Entity: "y", Head: []byte("no")}), shard, first.Next)
		f.wantState(shard, online.State{Token: first.Next, Progress: first.Progress})
		f.wantRow(shard, "x", online.Row{Head: []byte("mine")})
		f.wantRow(shard, "y", online.Row{})
	}
	f.commit(shard, first.Next, 2, row)
}

func testLostAnswer(t *testing.T, p Place) {
	f := start(t, p)
	shard := online.Shard{Space: "s"}
	c := f.commit(shard, online.Token{}, 1, online.Write{Entity: "x", Head: []byte("1")})
	f.wantConflict(f.store.Commit(f.ctx, c), shard, c.Next)
	f.reopen()
	f.wantConflict(f.store.Commit(f.ctx, c), shard, c.Next)
	f.wantRow(shard, "x", online.Row{Head: []byte("1")})
}

func testParts(t *testing.T, p Place) {
	f := start(t, p)
	shard := online.Shard{Space: "s"}
	h, b, none := []byte("h"), []byte("b"), []byte{}
	var token online.Token
	for i, step := range []struct {
		write online.Write
		want  online.Row
	}{
		{online.Write{Head: h, Base: b}, online.Row{Head: h, Base: b}},
		{online.Write{Head: b, KeepBase: true}, online.Row{Head: b, Base: b}},
		{online.Write{KeepBase: true}, online.Row{Base: b}},
		{online.Write{Head: none, Base: none}, online.Row{Head: none, Base: none}},
		{online.Write{Head: h, KeepBase: true}, online.Row{Head: h, Base: none}},
		{online.Write{Head: h}, online.Row{Head: h}},
		{online.Write{Head: none, KeepBase: true}, online.Row{Head: none}},
		{online.Write{Base: b}, online.Row{Base: b}},
		{online.Write{}, online.Row{}},
		{online.Write{}, online.Row{}},
		{online.Write{KeepBase: true}, online.Row{}},
		{online.Write{Head: h, KeepBase: true}, online.Row{Head: h}},
	} {
		step.write.Entity = "x"
		token = f.commit(shard, token, int64(i), step.write).Next
		f.wantRow(shard, "x", step.want)
		f.wantRows("s", map[online.Key]online.Row{{Shard: shard, Entity: "x"}: step.want})
	}
}

func testEntities(t *testing.T, p Place) {
	f := start(t, p)
	entities := []string{"", "\x00", "\x00\x00", "a", "a\x00", "a\x01", "ab", "\xff", "\xff\xff\xff\xff\xff", "}", "{x}", "s", "h", "b", "*", "日本", "line\r\n", strings.Repeat("long", 4000)}
	want := make(map[online.Key]online.Row)
	for index := range 3 {
		shard := online.Shard{Space: "s", Index: index}
		var writes []online.Write
		for i, e := range entities {
			w := online.Write{Entity: e, Head: fmt.Appendf(nil, "%d %d", index, i)}
			if i%3 == 0 {
				w.Base = []byte(e + "!")
			}
			if i%3 == 1 {
				w.Head, w.Base = nil, w.Head
			}
			writes = append(writes, w)
			want[online.Key{Shard: shard, Entity: e}] = online.Row{Head: w.Head, Base: w.Base}
		}
		f.commit(shard, online.Token{}, 1, writes...)
	}
	f.wantRows("s", want)
	f.reopen()
	f.wantRows("s", want)
}

func testSpaces(t *testing.T, p Place) {
	f := start(t, p)
	spaces := []string{"a", "a:1", "a:", ":", "*", "a*", "?", "[a]", "[^a]", `\`, "b\x00", "\xff", strings.Repeat("s", online.MaxSpace)}
	for i, space := range spaces {
		f.commit(online.Shard{Space: space, Index: 1}, online.Token{}, int64(i), online.Write{Entity: "x", Head: []byte{byte(i)}})
		f.commit(online.Shard{Space: space, Index: math.MaxInt32}, online.Token{}, int64(i), online.Write{Entity: "x", Head: []byte{byte(i)}})
	}
	for i, space := range spaces {
		f.wantRows(space, map[online.Key]online.Row{
			{Shard: online.Shard{Space: space, Index: 1}, Entity: "x"}:             {Head: []byte{byte(i)}},
			{Shard: online.Shard{Space: space, Index: math.MaxInt32}, Entity: "x"}: {Head: []byte{byte(i)}},
		})
	}
	f.wantRows("none", nil)
}

func testLarge(t *testing.T, p Place) {
	f := start(t, p)
	shard := online.Shard{Space: "s"}
	random := rand.NewChaCha8([32]byte{1})
	noise := make([]byte, 4<<20)
	random.Read(noise)
	want := make(map[online.Key]online.Row)
	var token online.Token
	for round := range 2 {
		var writes []online.Write
		for i := range online.MaxRows {
			at := (i*7 + round) % (len(noise) - 8192)
			w := online.Write{Entity: fmt.Sprint("entity ", i), Head: noise[at : at+800], Base: noise[at : at+4000]}
			if round == 1 && i%2 == 0 {
				w.Base, w.KeepBase = nil, true
			}
			writes = append(writes, w)
			k := online.Key{Shard: shard, Entity: w.Entity}
			if w.KeepBase {
				w.Base = want[k].Base
			}
			want[k] = online.Row{Head: w.Head, Base: w.Base}
		}
		token = f.commit(shard, token, 1, writes...).Next
		f.wantRows("s", want)
	}
	f.commit(shard, token, 2, online.Write{Entity: "huge", Head: noise})
	f.wantRow(shard, "huge", online.Row{Head: noise})
}

func testRefused(t *testing.T, p Place) {
	f := start(t, p)
	shard := online.Shard{Space: "s"}
	c := f.commit(shard, online.Token{}, 1, online.Write{Entity: "x", Head: []byte("1")})
	token := online.NewToken()
	x := online.Write{Entity: "x", Head: []byte("2")}
	for _, test := range []struct {
		commit online.Commit
		want   string
	}{
		{online.Commit{Writes: make([]online.Write, online.MaxRows+1)}, "4001 rows; at most 4000"},
		{online.Commit{Writes: []online.Write{x, {Entity: "y"}, x}}, `entity "x" is written twice`},
		{online.Commit{Writes: []online.Write{{Entity: "x", Base: []byte("b"), KeepBase: true}}}, "keep the stored one"},
		{online.Commit{Next: c.Next, Writes: []online.Write{x}}, "the next token is the expected one"},
		{online.Commit{Shard: online.Shard{Space: "a}b"}, Writes: []online.Write{x}}, "brace"},
		{online.Commit{Shard: online.Shard{Space: strings.Repeat("s", online.MaxSpace+1)}, Writes: []online.Write{x}}, "256 bytes"},
		{online.Commit{Shard: online.Shard{Space: "s", Index: -1}, Writes: []online.Write{x}}, "shard index -1"},
		{online.Commit{Writes: []online.Write{x}, Progress: online.Progress{Topic: strings.Repeat("t", online.MaxName+1)}}, "topic name"},
		{online.Commit{Writes: []online.Write{x}, Progress: online.Progress{Origins: make([]int64, online.MaxOrigins+1)}}, "origins"},
	} {
		bad := test.commit
		bad.Expect = c.Next
		if bad.Shard.Space == "" {
			bad.Shard = shard
		}
		if bad.Next == (online.Token{}) {
			bad.Next = token
		}
		err := f.store.Commit(f.ctx, &bad)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want an error with %q", err, test.want)
		}
	}
	err := f.store.Commit(f.ctx, &online.Commit{Shard: shard, Expect: c.Next})
	if err == nil || !strings.Contains(err.Error(), "token is zero") {
		t.Errorf("a commit without a token: %v", err)
	}
	f.wantState(shard, online.State{Token: c.Next, Progress: c.Progress})
	f.wantRow(shard, "x", online.Row{Head: []byte("1")})
}

func testContext(t *testing.T, p Place) {
	f := start(t, p)
	shard := online.Shard{Space: "s"}
	first := f.commit(shard, online.Token{}, 1, online.Write{Entity: "x", Head: []byte("1")})
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	next := &online.Commit{Shard: shard, Expect: first.Next, Next: online.NewToken(), Writes: []online.Write{{Entity: "x", Head: []byte("2")}}}
	_, stateErr := f.store.State(ctx, shard)
	_, _, readErr := f.store.Read(ctx, []online.Key{{Shard: shard, Entity: "x"}})
	var rowsErr error
	for _, rowsErr = range f.store.Rows(ctx, "s") {
	}
	for call, err := range map[string]error{"Commit": f.store.Commit(ctx, next), "State": stateErr, "Read": readErr, "Rows": rowsErr} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want %v", call, err, context.Canceled)
		}
	}
	f.wantRow(shard, "x", online.Row{Head: []byte("1")})
	for range f.store.Rows(f.ctx, "s") {
		break // ends without a word
	}
}

func testClosed(t *testing.T, p Place) {
	f := start(t, p)
	shard := online.Shard{Space: "s"}
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.store.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
	if err := f.try(shard, online.Token{}, 1); err == nil {
		t.Error("Commit on a closed store gave no error")
	}
	if _, err := f.store.State(f.ctx, shard); err == nil {
		t.Error("State on a closed store gave no error")
	}
	if _, _, err := f.store.Read(f.ctx, []online.Key{{Shard: shard}}); err == nil {
		t.Error("Read on a closed store gave no error")
	}
}
