package onlinetest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
)

// testZombie has a former owner try to commit on.
func testZombie(t *testing.T, p Place) {
	f := start(t, p)
	shard := online.Shard{Space: "s", Index: 2}
	old := f.commit(shard, online.Token{}, 1, stamp(10, 1)...)
	late := newCommit(shard, old.Next, 2, stamp(10, 2)...)
	f.place.Save(t)
	heir := f.commit(shard, old.Next, 3, stamp(10, 3)...)
	f.wantConflict(f.store.Commit(f.ctx, late), shard, heir.Next)
	heir = f.commit(shard, heir.Next, 4, stamp(10, 4)...)
	f.place.Save(t)
	f.crash()
	f.wantConflict(f.store.Commit(f.ctx, late), shard, heir.Next)
	if got, _, err := stamped(f.ctx, f.store, shard, 10); err != nil || got != 4 {
		t.Errorf("the shard is at %d, want 4: %v", got, err)
	}
}

// testLostTail crashes after commits that were not saved. Whatever is left is
// one commit whole, not before the save; the owner, refused, goes back to it
// and does the rest again.
func testLostTail(t *testing.T, p Place) {
	f := start(t, p)
	const shards, rows, rounds = 3, 40, 4
	tokens := make([]map[online.Token]int64, shards) // by shard: the number of each commit
	for i := range tokens {
		tokens[i] = make(map[online.Token]int64)
	}
	at := make([]online.Token, shards)
	number, saved, lost := int64(0), int64(0), 0
	advance := func(n int) {
		for range n {
			number++
			for index := range at {
				at[index] = f.commit(online.Shard{Space: "s", Index: index}, at[index], number, stamp(rows, number)...).Next
				tokens[index][at[index]] = number
			}
		}
	}
	for range rounds {
		advance(10)
		f.place.Save(t)
		saved = number
		advance(30)
		f.crash()
		for index := range at {
			shard := online.Shard{Space: "s", Index: index}
			got, token, err := stamped(f.ctx, f.store, shard, rows)
			if err != nil {
				t.Fatal(err)
			}
			if want, ok := tokens[index][token]; !ok || got != want || got < saved {
				t.Fatalf("shard %d: after the crash at %d by token %x, saved %d, reached %d", index, got, token, saved, number)
			}
			if token != at[index] { // the tail is lost: the owner's next commit must not go through
				lost++
				f.wantConflict(f.try(shard, at[index], number+1, stamp(rows, number+1)...), shard, token)
			}
			for n := got + 1; n <= number; n++ { // the log again
				token = f.commit(shard, token, n, stamp(rows, n)...).Next
				tokens[index][token] = n
			}
			at[index] = token
		}
	}
	t.Logf("%d of %d shards stepped back in a crash", lost, shards*rounds)
}

// A modelShard is what a shard should be.
type modelShard struct {
	state online.State
	rows  map[string]online.Row
}

// A model is the plain definition of a store.
type model struct {
	*fixture
	random  *rand.Rand
	now     map[online.Shard]modelShard
	history map[online.Shard][]modelShard // from the last Save on
	last    *online.Commit                // applied last
	done    map[string]int                // how often each operation was made
}

// testModel does random operations on a store and on a model, and compares.
func testModel(t *testing.T, p Place, seed uint64) {
	m := &model{fixture: start(t, p), random: rand.New(rand.NewPCG(seed, 99)), now: map[online.Shard]modelShard{}, done: map[string]int{}}
	m.save()
	for range 400 {
		name, op := "commit", m.commitSome
		switch n := m.random.IntN(100); {
		case n < 10:
			name, op = "stale", m.commitStale
		case n < 15:
			name, op = "again", m.commitAgain
		case n < 40:
			name, op = "read", m.readSome
		case n < 43:
			name, op = "rows", m.compareAll
		case n < 45:
			name, op = "reopen", m.reopen
		case n < 47:
			name, op = "save", m.save
		case n < 49:
			name, op = "crash", m.loseTail
		}
		op()
		m.done[name]++
		if t.Failed() {
			break
		}
	}
	m.compareAll()
	t.Logf("seed %d: %v", seed, m.done)
}

func (m *model) anyShard() online.Shard {
	return online.Shard{Space: []string{"a", "a:1", "b"}[m.random.IntN(3)], Index: m.random.IntN(3)}
}

func (m *model) anyPart() []byte {
	if m.random.IntN(3) == 0 {
		return nil
	}
	part := make([]byte, m.random.IntN(1+m.random.IntN(600)))
	for i := range part {
		part[i] = byte(m.random.Uint32())
	}
	return part
}

func (m *model) anyCommit(shard online.Shard, expect online.Token) *online.Commit {
	c := &online.Commit{Shard: shard, Expect: expect, Next: online.NewToken(), Progress: online.Progress{
		Cluster: "c", Topic: shard.Space, Next: m.random.Int64(), Checksum: m.random.Uint32(), Newest: -m.random.Int64(),
		Counts: features.Counts{Applied: m.random.Int64()},
	}}
	for range m.random.IntN(3) {
		c.Progress.Origins = append(c.Progress.Origins, m.random.Int64()-1)
	}
	for _, e := range m.random.Perm(12)[:m.random.IntN(12)] {
		w := online.Write{Entity: fmt.Sprint(e), Head: m.anyPart(), Base: m.anyPart()}
		if m.random.IntN(2) == 0 {
			w.Base, w.KeepBase = nil, true
		}
		c.Writes = append(c.Writes, w)
	}
	return c
}

func (m *model) commitSome() {
	shard := m.anyShard()
	was := m.now[shard]
	c := m.anyCommit(shard, was.state.Token)
	if err := m.store.Commit(m.ctx, c); err != nil {
		m.t.Fatal(err)
	}
	is := modelShard{online.State{Token: c.Next, Progress: c.Progress}, maps.Clone(was.rows)}
	if is.rows == nil {
		is.rows = make(map[string]online.Row)
	}
	for _, w := range c.Writes {
		row := online.Row{Head: w.Head, Base: w.Base}
		if w.KeepBase {
			row.Base = is.rows[w.Entity].Base
		}
		is.rows[w.Entity] = row
	}
	m.now[shard], m.last = is, c
	if len(m.history[shard]) == 0 { // first committed after the save: a crash may take all of it
		m.history[shard] = append(m.history[shard], was)
	}
	m.history[shard] = append(m.history[shard], is)
}

func (m *model) commitStale() {
	shard := m.anyShard()
	m.wantConflict(m.store.Commit(m.ctx, m.anyCommit(shard, online.NewToken())), shard, m.now[shard].state.Token)
}

func (m *model) commitAgain() {
	if m.last != nil {
		m.wantConflict(m.store.Commit(m.ctx, m.last), m.last.Shard, m.now[m.last.Shard].state.Token)
	}
}

func (m *model) readSome() {
	keys := make([]online.Key, m.random.IntN(20))
	for i := range keys {
		keys[i] = online.Key{Shard: m.anyShard(), Entity: fmt.Sprint(m.random.IntN(13))}
	}
	rows, states, err := m.store.Read(m.ctx, keys)
	if err != nil {
		m.t.Fatal(err)
	}
	for i, k := range keys {
		want := m.now[k.Shard]
		if !sameRow(rows[i], want.rows[k.Entity]) || !reflect.DeepEqual(states[i], want.state) {
			m.t.Errorf("%v: read %s at %+v, want %s at %+v", k, show(rows[i]), states[i], show(want.rows[k.Entity]), want.state)
		}
	}
}

func (m *model) compareAll() {
	want := make(map[string]map[online.Key]online.Row)
	for shard, is := range m.now {
		m.wantState(shard, is.state)
		if want[shard.Space] == nil {
			want[shard.Space] = make(map[online.Key]online.Row)
		}
		for entity, row := range is.rows {
			want[shard.Space][online.Key{Shard: shard, Entity: entity}] = row
		}
	}
	for space, rows := range want {
		m.wantRows(space, rows)
	}
}

func (m *model) save() {
	m.place.Save(m.t)
	m.history = make(map[online.Shard][]modelShard)
	for shard, is := range m.now {
		m.history[shard] = []modelShard{is}
	}
}

// loseTail crashes, finds the point of its history that each shard is at, and
// takes the model back there.
func (m *model) loseTail() {
	m.crash()
	for shard, history := range m.history {
		state, err := m.store.State(m.ctx, shard)
		if err != nil {
			m.t.Fatal(err)
		}
		is, err := find(history, state)
		if err != nil {
			m.t.Fatalf("shard %v: %v", shard, err)
		}
		m.now[shard] = is
	}
	m.compareAll()
	m.last = nil
	m.save()
}

// find looks up a state after a crash.
func find(history []modelShard, state online.State) (modelShard, error) {
	for _, is := range history {
		if reflect.DeepEqual(is.state, state) {
			return is, nil
		}
	}
	return modelShard{}, errors.New("after the crash it is where it never was since it was saved")
}
