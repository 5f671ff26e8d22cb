package onlinetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/features/online"
)

// A fixture is a store of a place, with calls that end the test on an error.
type fixture struct {
	t     *testing.T
	ctx   context.Context
	place Place
	store online.Store
}

func start(t *testing.T, p Place) *fixture {
	t.Helper()
	f := &fixture{t: t, ctx: t.Context(), place: p, store: p.Open(t)}
	t.Cleanup(func() { f.store.Close() })
	return f
}

func (f *fixture) reopen() {
	f.t.Helper()
	if err := f.store.Close(); err != nil {
		f.t.Fatal(err)
	}
	f.store = f.place.Open(f.t)
}

func (f *fixture) crash() {
	f.t.Helper()
	f.place.Crash(f.t)
	f.store.Close()
	f.store = f.place.Open(f.t)
}

// try commits rows with a progress that says offset.
func (f *fixture) try(shard online.Shard, expect online.Token, offset int64, writes ...online.Write) error {
	return f.store.Commit(f.ctx, newCommit(shard, expect, offset, writes...))
}

func newCommit(shard online.Shard, expect online.Token, offset int64, writes ...online.Write) *online.Commit {
	return &online.Commit{Shard: shard, Expect: expect, Next: online.NewToken(), Writes: writes, Progress: online.Progress{Topic: "t", Next: offset}}
}

func (f *fixture) commit(shard online.Shard, expect online.Token, offset int64, writes ...online.Write) *online.Commit {
	f.t.Helper()
	c := newCommit(shard, expect, offset, writes...)
	if err := f.store.Commit(f.ctx, c); err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *fixture) wantState(shard online.Shard, want online.State) {
	f.t.Helper()
	got, err := f.store.State(f.ctx, shard)
	if err != nil {
		f.t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		f.t.Errorf("shard %v: state %+v, want %+v", shard, got, want)
	}
}

func (f *fixture) wantRow(shard online.Shard, entity string, want online.Row) {
	f.t.Helper()
	rows, _, err := f.store.Read(f.ctx, []online.Key{{Shard: shard, Entity: entity}})
	if err != nil {
		f.t.Fatal(err)
	}
	if !sameRow(rows[0], want) {
		f.t.Errorf("shard %v, entity %q: row %s, want %s", shard, entity, show(rows[0]), show(want))
	}
}

// wantRows checks Rows, its order, and Read against want.
func (f *fixture) wantRows(space string, want map[online.Key]online.Row) {
	f.t.Helper()
	var keys []online.Key
	for k, row := range want {
		if row.Head != nil || row.Base != nil {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, compareKeys)
	var got []online.Key
	for e, err := range f.store.Rows(f.ctx, space) {
		if err != nil {
			f.t.Fatal(err)
		}
		got = append(got, e.Key)
		if !sameRow(e.Row, want[e.Key]) {
			f.t.Errorf("Rows: %v: row %s, want %s", e.Key, show(e.Row), show(want[e.Key]))
		}
	}
	if !slices.Equal(got, keys) {
		f.t.Errorf("Rows of %q gave %d keys, want %d: %.300s, want %.300s", space, len(got), len(keys), fmt.Sprint(got), fmt.Sprint(keys))
	}
	rows, _, err := f.store.Read(f.ctx, keys)
	if err != nil {
		f.t.Fatal(err)
	}
	for i, k := range keys {
		if !sameRow(rows[i], want[k]) {
			f.t.Errorf("Read: %v: row %s, want %s", k, show(rows[i]), show(want[k]))
		}
	}
}

func (f *fixture) wantConflict(err error, shard online.Shard, found online.Token) {
	f.t.Helper()
	var conflict *online.Conflict
	if !errors.As(err, &conflict) || conflict.Shard != shard || conflict.Found != found {
		f.t.Fatalf("got %v, want a conflict in %v with %x", err, shard, found)
	}
}

func compareKeys(a, b online.Key) int {
	if a.Shard.Index != b.Shard.Index {
		return a.Shard.Index - b.Shard.Index
	}
	return strings.Compare(a.Entity, b.Entity)
}

func sameRow(a, b online.Row) bool { return samePart(a.Head, b.Head) && samePart(a.Base, b.Base) }

// samePart tells a missing part from an empty one.
func samePart(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

func show(r online.Row) string {
	return fmt.Sprintf("{%.40q (nil: %t) %.40q (nil: %t)}", r.Head, r.Head == nil, r.Base, r.Base == nil)
}
