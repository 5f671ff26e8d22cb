package features_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/featurestest"
)

const seeds = 300

// stored is a store of rows: what a commit would have written.
type stored struct{ head, base []byte }

// A replay applies a world as the pipeline does, and at random places commits,
// forgets everything and goes on from what it has stored.
type replay struct {
	t     *testing.T
	w     *featurestest.World
	plan  *features.Plan
	shard *features.Shard
	rows  map[string]*features.Row
	store map[string]stored
	dirty map[string]bool
	key   []byte
}

func newReplay(t *testing.T, w *featurestest.World) *replay {
	plan, err := features.Compile(w.Clock, w.Source, w.View)
	if err != nil {
		t.Fatal(err)
	}
	return &replay{
		t: t, w: w, plan: plan, shard: plan.NewShard(features.NoTime, features.Counts{}),
		rows: map[string]*features.Row{}, store: map[string]stored{}, dirty: map[string]bool{},
	}
}

func (p *replay) row(key string) *features.Row {
	r := p.rows[key]
	if r == nil {
		var err error
		if r, err = p.plan.DecodeRow(p.store[key].head, p.store[key].base); err != nil {
			p.t.Fatal(err)
		}
		p.rows[key] = r
	}
	return r
}

// apply applies event i and returns what became of it.
func (p *replay) apply(i int) featurestest.Fate {
	e := p.w.Events[i]
	p.key, _ = p.plan.AppendEntity(p.key[:0], e.Values)
	ok, rejected := p.shard.Admit(&e)
	switch {
	case rejected != nil:
		return featurestest.Fate(rejected.Reason)
	case !ok:
		return featurestest.Dropped
	}
	key := string(p.key)
	r := p.row(key)
	if !p.shard.Fold(r, &e) {
		return featurestest.Duplicate
	}
	p.dirty[key] = true
	return featurestest.Folded
}

func (p *replay) commit() {
	for key := range p.dirty {
		r, s := p.rows[key], p.store[key]
		s.head = p.plan.AppendHead(nil, r)
		if r.BaseDirty() {
			s.base = p.plan.AppendBase(nil, r)
		}
		if r.Empty() {
			delete(p.store, key)
		} else {
			p.store[key] = s
		}
		r.Clean()
	}
	clear(p.dirty)
}

func (p *replay) restart() {
	p.commit()
	p.rows = map[string]*features.Row{}
	p.shard = p.plan.NewShard(p.shard.Newest, p.shard.Counts)
}

func (p *replay) values(key string, asOf int64) []features.Value {
	return p.plan.Vector(nil, p.row(key), features.At{AsOf: asOf}, nil)
}

// TestOracle compares fates, and after each event every feature of its entity
// and of another, now and later, with the naive definition.
func TestOracle(t *testing.T) {
	for seed := range uint64(seeds) {
		w := featurestest.New(seed)
		p := newReplay(t, w)
		fates, newests := w.Fates()
		checkCounts := func() {
			var want features.Counts
			for _, f := range fates {
				switch f {
				case featurestest.Folded:
					want.Applied++
				case featurestest.Dropped:
					want.Dropped++
				case featurestest.Duplicate:
					want.Duplicates++
				}
			}
			got := p.shard.Counts
			if got.Truncated = 0; got != want {
				t.Fatalf("seed %d: counts %+v, want %+v", seed, got, want)
			}
		}
		r := rand.New(rand.NewPCG(seed, 1))
		for i := range w.Events {
			if got := p.apply(i); got != fates[i] {
				t.Fatalf("seed %d event %d: %s, want %s", seed, i, got, fates[i])
			}
			if newests[i] == features.NoTime || r.IntN(4) > 0 {
				continue
			}
			for _, e := range []features.Event{w.Events[i], w.Events[r.IntN(i+1)]} {
				asOf := newests[i]
				if r.IntN(2) == 0 {
					asOf += r.Int64N(1 + w.View.Features[0].Window.Size.Microseconds())
				}
				key := e.Values[featurestest.Key]
				got, want := p.values(key.Str, asOf), w.Vector(fates, i+1, key, asOf)
				for f, name := range w.View.Features {
					if !featurestest.Near(name.Agg, w.Magnitude(name.Name), got[f], want[f]) {
						t.Fatalf("seed %d event %d entity %s at %d: %+v = %s, want %s", seed, i, key.Str, asOf, name, got[f].Text(), want[f].Text())
					}
				}
			}
		}
		checkCounts()
	}
}

// TestRestartsChangeNothing commits, forgets and goes on at random places: the
// bytes of every row equal those of an undisturbed run.
func TestRestartsChangeNothing(t *testing.T) {
	for seed := range uint64(seeds) {
		w := featurestest.New(seed)
		calm, rough := newReplay(t, w), newReplay(t, w)
		r := rand.New(rand.NewPCG(seed, 2))
		for i := range w.Events {
			calm.apply(i)
			rough.apply(i)
			switch r.IntN(8) {
			case 0:
				rough.restart()
			case 1:
				rough.commit()
			}
		}
		calm.commit()
		rough.commit()
		sameStores(t, seed, calm, rough)
		if calm.shard.Newest != rough.shard.Newest || calm.shard.Counts != rough.shard.Counts {
			t.Fatalf("seed %d: counts %+v, undisturbed %+v", seed, rough.shard.Counts, calm.shard.Counts)
		}
	}
}

func sameStores(t *testing.T, seed uint64, a, b *replay) {
	t.Helper()
	if len(a.store) != len(b.store) {
		t.Fatalf("seed %d: %d rows and %d", seed, len(a.store), len(b.store))
	}
	for key, x := range a.store {
		if y := b.store[key]; !bytes.Equal(x.head, y.head) || !bytes.Equal(x.base, y.base) {
			t.Fatalf("seed %d: row %s differs:\n%x %x\n%x %x", seed, key, x.head, x.base, y.head, y.base)
		}
	}
}

// TestShuffleWithinLateness delivers the events in another order, each less
// late than the view allows: the values stay the same.
func TestShuffleWithinLateness(t *testing.T) {
	tried := 0
	for seed := range uint64(2 * seeds) {
		w := featurestest.New(seed)
		w.Source.Dedup = 0
		w.Source.Lateness = 1000 * 3600e9 // nothing is too late
		for i := range w.View.Features {
			if w.View.Features[i].Window.Exact {
				w.View.Features[i].Window.MaxValues = 4096 // nothing leaves early
			}
		}
		w.Clock = features.WallClock
		slices.SortStableFunc(w.Events, func(a, b features.Event) int { return int(a.Time - b.Time) })
		w.Events = slices.CompactFunc(w.Events, func(a, b features.Event) bool { return a.Time == b.Time })
		shuffled := *w
		shuffled.Events = slices.Clone(w.Events)
		r := rand.New(rand.NewPCG(seed, 3))
		r.Shuffle(len(shuffled.Events), func(i, j int) {
			shuffled.Events[i], shuffled.Events[j] = shuffled.Events[j], shuffled.Events[i]
		})
		a, b := newReplay(t, w), newReplay(t, &shuffled)
		for i := range w.Events {
			a.apply(i)
			b.apply(i)
		}
		if a.shard.Newest != b.shard.Newest {
			continue // another event was in the future
		}
		tried++
		for _, e := range w.Events {
			key := e.Values[featurestest.Key].Str
			x, y := a.values(key, a.shard.Newest), b.values(key, a.shard.Newest)
			for f, name := range w.View.Features {
				if !featurestest.Near(name.Agg, w.Magnitude(name.Name), x[f], y[f]) {
					t.Fatalf("seed %d: %+v = %s in order, %s shuffled", seed, name, x[f].Text(), y[f].Text())
				}
			}
		}
	}
	if tried < seeds {
		t.Fatalf("only %d worlds could be shuffled", tried)
	}
}

// TestEmptiedRowEqualsNewRow lets the windows of an entity run out while
// another's events move the shard's time, then folds an event too old to leave
// a trace: the row is as new.
func TestEmptiedRowEqualsNewRow(t *testing.T) {
	emptied := 0
	for seed := range uint64(seeds) {
		w := featurestest.New(seed)
		w.Source.Lateness, w.Source.MaxAhead = 1000*3600e9, 1000*3600e9
		w.Clock = features.WallClock
		for i := range w.View.Features {
			if w.View.Features[i].Window.Exact || w.View.Features[i].Window.Kind == features.Lifetime {
				w.View.Features[i].Window = features.Window{Size: 60e9, Hop: 60e9}
			}
		}
		w.Source.Dedup, w.View.Where = 0, ""
		p := newReplay(t, w)
		last := len(w.Events) - 1
		w.Events[last].Time += 100 * 3600e6
		e := w.Events[0]
		e.Time -= 1e6
		e.Values = slices.Clone(e.Values)
		e.Values[featurestest.Key] = expr.StringValue("idle")
		w.Events[0] = e
		e.Time--
		w.Events = append(w.Events, e)
		for i := range w.Events {
			p.apply(i)
		}
		if !p.dirty["idle"] {
			t.Fatalf("seed %d: the idle entity was never folded", seed)
		}
		if p.shard.Newest-e.Time < 90*3600e6 {
			continue
		}
		emptied++
		fresh := p.plan.AppendHead(nil, p.plan.NewRow())
		if got := p.plan.AppendHead(nil, p.row("idle")); !bytes.Equal(got, fresh) || !p.row("idle").Empty() {
			t.Fatalf("seed %d: %x, want %x", seed, got, fresh)
		}
		if base := p.plan.AppendBase(nil, p.row("idle")); len(base) > 0 {
			t.Fatalf("seed %d: base %x", seed, base)
		}
	}
	if emptied < seeds/2 {
		t.Fatalf("only %d rows were emptied", emptied)
	}
}
