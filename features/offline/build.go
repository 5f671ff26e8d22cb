// Package offline makes training sets: what the online path would have served
// at past moments, computed from the events of the log.
//
// Build is the algorithm, a function of its arguments. BuildFiles reads events
// and probes from files and writes the set to one.
package offline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// A Probe asks what the features of an entity were at a moment. Times are
// microseconds since the Unix epoch.
type Probe struct {
	Entity  string // as Plan.AppendEntity makes it
	AsOf    int64
	KnownBy int64            // events that arrived later do not exist; features.AnyArrival: all do
	Request []features.Value // by Plan.Request; those that are not there are missing
}

// Options of a build. In the zero value, a probe sees what the online path saw.
type Options struct {
	ExcludeCurrent bool                         // leave out the events at the moment itself
	Rejected       func(*features.Event, error) // called for each event that is refused
	Progress       func(events, answered int64) // how many so far; called from one goroutine at a time
}

// Counts say what became of the events.
type Counts struct {
	Events     int64            // read
	Dropped    int64            // by where
	Duplicates int64            // of entities that a probe asks for
	Rejected   map[string]int64 // by reason
}

// Build answers probes from events, which come in the order of their log. Each
// event is judged once, by the shard that shardOf says, so that late and future
// events and duplicates are those of the online path; all events of an entity
// are one shard's. Event.Order breaks ties of event time. An event is Build's
// until the next one.
//
// Of a log in the order of event time the vectors equal the served ones bit by
// bit. Where an event came late, a probe before it arrived sees it, too, unless
// its KnownBy is earlier; and sums of floats may differ in their last bits, as
// they are added up by event time.
//
// Build holds the events of the entities that are asked for, within reach of
// their probes: some 50 bytes for an event of two numbers. The error is that of
// events or of ctx, or names a probe.
func Build(ctx context.Context, plan *features.Plan, events iter.Seq2[*features.Event, error], shardOf func(e *features.Event, entity []byte) int, probes []Probe, o Options) (*Set, error) {
	b := &build{plan: plan, shardOf: shardOf, probes: probes, o: o, set: newSet(plan, len(probes))}
	if err := b.group(); err != nil {
		return nil, err
	}
	if err := b.judge(ctx, events); err != nil {
		return nil, err
	}
	if err := b.answer(ctx); err != nil {
		return nil, err
	}
	return b.set, nil
}

type build struct {
	plan     *features.Plan
	shardOf  func(*features.Event, []byte) int
	probes   []Probe
	o        Options
	set      *Set
	entities map[string]*entity
}

// An entity that probes ask for.
type entity struct {
	probes  []int // by as-of and known-by time
	history *features.History
}

// upTo returns the greatest event time that a probe sees.
func (b *build) upTo(p *Probe) int64 {
	if b.o.ExcludeCurrent {
		return p.AsOf - 1
	}
	return p.AsOf
}

// group gathers the probes of each entity in the order of a sweep.
func (b *build) group() error {
	b.entities = map[string]*entity{}
	for i := range b.probes {
		p := &b.probes[i]
		if want := len(b.plan.Request()); len(p.Request) > want {
			return fmt.Errorf("offline: probe %d has %d request values; the plan of view %q takes %d", i, len(p.Request), b.plan.View.Name, want)
		}
		e := b.entities[p.Entity]
		if e == nil {
			e = &entity{}
			b.entities[p.Entity] = e
		}
		e.probes = append(e.probes, i)
	}
	replay := b.plan.NewReplay()
	for _, e := range b.entities {
		slices.SortStableFunc(e.probes, func(i, j int) int {
			p, q := &b.probes[i], &b.probes[j]
			return cmp.Or(cmp.Compare(p.AsOf, q.AsOf), cmp.Compare(p.KnownBy, q.KnownBy))
		})
		first, last := e.probes[0], e.probes[len(e.probes)-1]
		e.history = replay.NewHistory(b.upTo(&b.probes[first]), b.upTo(&b.probes[last]))
	}
	return nil
}

// reportEvery is the number of events between two looks at the context.
const reportEvery = 1 << 14

// judge reads the log and keeps what the probes may see.
func (b *build) judge(ctx context.Context, events iter.Seq2[*features.Event, error]) error {
	shards := map[int]*features.Shard{}
	c := &b.set.Counts
	var key []byte
	for e, err := range events {
		if err != nil {
			return err
		}
		if c.Events%reportEvery == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			b.report(c.Events, 0)
		}
		c.Events++
		if key, err = b.plan.AppendEntity(key[:0], e.Values); err != nil {
			b.reject(e, err)
			continue
		}
		at := b.shardOf(e, key)
		s := shards[at]
		if s == nil {
			s = b.plan.NewShard(features.NoTime, features.Counts{})
			shards[at] = s
		}
		if ok, why := s.Admit(e); why != nil {
			b.reject(e, why)
		} else if asked := b.entities[string(key)]; ok && asked != nil {
			s.Keep(asked.history, e)
		}
	}
	for _, s := range shards {
		c.Dropped += s.Counts.Dropped
		c.Duplicates += s.Counts.Duplicates
	}
	return ctx.Err()
}

func (b *build) reject(e *features.Event, why error) {
	var r *features.Rejection
	if errors.As(why, &r) {
		b.set.Counts.Rejected[r.Reason]++
	}
	if b.o.Rejected != nil {
		b.o.Rejected(e, why)
	}
}

func (b *build) report(events, answered int64) {
	if b.o.Progress != nil {
		b.o.Progress(events, answered)
	}
}

// answer goes through the entities, several at a time: they share nothing.
func (b *build) answer(ctx context.Context) error {
	todo := make([]*entity, 0, len(b.entities))
	for _, e := range b.entities {
		todo = append(todo, e)
	}
	var next, answered atomic.Int64
	var reporting sync.Mutex
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(todo)) {
		workers.Go(func() {
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				if i >= int64(len(todo)) {
					return
				}
				b.sweep(ctx, todo[i])
				answered.Add(int64(len(todo[i].probes)))
				todo[i].history = nil // so that memory shrinks on the way
				reporting.Lock()
				b.report(b.set.Counts.Events, answered.Load())
				reporting.Unlock()
			}
		})
	}
	workers.Wait()
	return ctx.Err()
}

// sweep answers the probes of one entity.
func (b *build) sweep(ctx context.Context, e *entity) {
	var vector []features.Value
	for n, i := range e.probes {
		if n%reportEvery == 0 && ctx.Err() != nil {
			return
		}
		p := &b.probes[i]
		row := e.history.Row(b.upTo(p), p.KnownBy)
		vector = b.plan.Vector(vector[:0], row, features.At{AsOf: p.AsOf}, p.Request)
		b.set.put(i, vector)
	}
}

// A Set is the vectors of probes, in their order.
type Set struct {
	Counts Counts

	outputs []features.Output
	bits    []uint64
	kinds   []features.Kind
	texts   []string // of the outputs that are strings
	places  []int    // by output: its place in a probe's texts, -1: it is no string
	strings int      // how many are
}

func newSet(plan *features.Plan, probes int) *Set {
	s := &Set{Counts: Counts{Rejected: map[string]int64{}}, outputs: plan.Outputs()}
	for _, o := range s.outputs {
		place := -1
		if o.Kind == expr.String {
			place = s.strings
			s.strings++
		}
		s.places = append(s.places, place)
	}
	s.bits = make([]uint64, probes*len(s.outputs))
	s.kinds = make([]features.Kind, len(s.bits))
	s.texts = make([]string, probes*s.strings)
	return s
}

// put stores the vector of a probe. Different probes may be put at a time.
func (s *Set) put(probe int, vector []features.Value) {
	at := probe * len(s.outputs)
	for i, v := range vector {
		s.bits[at+i], s.kinds[at+i] = v.Bits, v.Kind
		if v.Kind == expr.String {
			s.texts[probe*s.strings+s.places[i]] = v.Str
		}
	}
}

// AppendVector appends the values of a probe, by Plan.Outputs.
func (s *Set) AppendVector(dst []features.Value, probe int) []features.Value {
	at := probe * len(s.outputs)
	for i := range s.outputs {
		v := features.Value{Kind: s.kinds[at+i], Bits: s.bits[at+i]}
		if v.Kind == expr.String {
			v.Str = s.texts[probe*s.strings+s.places[i]]
		}
		dst = append(dst, v)
	}
	return dst
}
