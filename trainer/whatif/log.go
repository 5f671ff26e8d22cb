package whatif

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/streams/lake"
)

// A stream is the events of some entities of a source, as the lake has them.
//
// What a shard makes of an event depends on the newest event before it, of
// whichever entity. That time does not depend on the windows of a view: an event
// that is too late moves nothing. So it is kept with each event, and the events
// of one entity can be judged anew under other windows without the others.
type stream struct {
	id     string // of source, key and the files of the lake
	fields []features.Field
	kinds  int               // words of an event that hold kinds
	tracks map[string]*track // by entity; one that has no events is there, too
	texts  texts

	newest      map[int]int64 // by partition of the lake: of its events
	first, last int64         // oldest and newest event; features.NoTime: there are none
	bytes       int64         // in memory, about
}

// A track is the events of one entity in the order of the lake.
type track struct {
	words []uint64
	shard int // where its last event is
}

// The words of an event: these, then the kinds of its values, eight in a word,
// and the values.
const (
	eventTime = iota
	eventArrival
	eventOrder
	eventBefore // the newest time of its shard before it
	eventKinds
)

func (s *stream) stride() int { return eventKinds + s.kinds + len(s.fields) }

// texts holds texts once each.
type texts struct {
	all    []string
	places map[string]uint64
}

func (t *texts) place(s string) (at uint64, fresh bool) {
	if at, ok := t.places[s]; ok {
		return at, false
	}
	if t.places == nil {
		t.places = map[string]uint64{}
	}
	at = uint64(len(t.all))
	s = strings.Clone(s)
	t.all, t.places[s] = append(t.all, s), at
	return at, true
}

// add appends an event to a track.
func (s *stream) add(t *track, e *features.Event, before int64) {
	at := len(t.words)
	t.words = slices.Grow(t.words, s.stride())[:at+s.stride()]
	w := t.words[at:]
	clear(w)
	w[eventTime], w[eventArrival], w[eventOrder], w[eventBefore] = uint64(e.Time), uint64(e.Arrival), uint64(e.Order), uint64(before)
	s.bytes += int64(8 * len(w))
	for i := range e.Values {
		v := &e.Values[i]
		w[eventKinds+i/8] |= uint64(v.Kind) << (i % 8 * 8)
		bits := v.Bits
		if v.Kind == expr.String {
			var fresh bool
			if bits, fresh = s.texts.place(v.Str); fresh {
				s.bytes += int64(len(v.Str)) + 56
			}
		}
		w[eventKinds+s.kinds+i] = bits
	}
}

// event reads the event at the front of words, its values into values.
func (s *stream) event(w []uint64, values []features.Value) (e features.Event, before int64) {
	for i := range values {
		kind := features.Kind(w[eventKinds+i/8] >> (i % 8 * 8))
		bits := w[eventKinds+s.kinds+i]
		if kind == expr.String {
			values[i] = expr.StringValue(s.texts.all[bits])
		} else {
			values[i] = features.Value{Kind: kind, Bits: bits}
		}
	}
	return features.Event{
		Values: values, Time: int64(w[eventTime]), Arrival: int64(w[eventArrival]), Order: features.Order(w[eventOrder]),
	}, int64(w[eventBefore])
}

// has reports whether the stream was read for all these entities.
func (s *stream) has(entities map[string]bool) bool {
	for e := range entities {
		if s.tracks[e] == nil {
			return false
		}
	}
	return true
}

// keepOnly lets go of all other entities. Texts stay where they are.
func (s *stream) keepOnly(entities map[string]bool) {
	for e, t := range s.tracks {
		if !entities[e] {
			s.bytes -= int64(8 * len(t.words))
			delete(s.tracks, e)
		}
	}
}

// streamKey names the stream that a view reads.
func streamKey(v *view) string {
	return v.Source.Name + " by " + strings.Join(v.View.Entity, ",")
}

// A reading reads streams from the lake.
type reading struct {
	root     string
	most     int64 // bytes of a stream
	progress func(done, of int64)
	done, of int64 // records of all streams of a question
}

// read reads the events of entities of a view's source, and others along with
// them if there is room.
func (r *reading) read(ctx context.Context, v *view, id string, entities, along map[string]bool) (*stream, error) {
	return r.gather(lake.Events(ctx, r.root, v.Source), v.Plan, id, entities, along)
}

// gather is read of any rows. They are in the order of each partition.
func (r *reading) gather(rows iter.Seq2[lake.Row, error], plan *features.Plan, id string, entities, along map[string]bool) (*stream, error) {
	s := newStream(plan, id, entities, along)
	clock, err := clockOf(plan)
	if err != nil {
		return nil, err
	}
	shards := map[int]*features.Shard{}
	var key []byte
	passed := 0
	for row, err := range rows {
		if err != nil {
			return nil, err
		}
		if passed++; passed%reportEvery == 0 {
			r.report(reportEvery)
		}
		e := &row.Event
		if key, err = clock.AppendEntity(key[:0], e.Values); err != nil {
			continue // a dead letter of the view
		}
		shard := shards[row.Partition]
		if shard == nil {
			shard = clock.NewShard(features.NoTime, features.Counts{})
			shards[row.Partition] = shard
		}
		before := shard.Newest
		if _, why := shard.Admit(e); why != nil {
			continue // it is in the future
		}
		if s.first == features.NoTime || e.Time < s.first {
			s.first = e.Time
		}
		t := s.tracks[string(key)]
		if t == nil {
			continue
		}
		t.shard = row.Partition
		s.add(t, e, before)
		if s.bytes > r.most {
			s.keepOnly(entities)
		}
		if s.bytes > r.most {
			return nil, fmt.Errorf("whatif: the events of %d entities of source %s do not fit into %d MiB of memory: ask about fewer past examples", len(entities), plan.Source.Name, r.most>>20)
		}
	}
	r.report(int64(passed % reportEvery))
	for partition, shard := range shards {
		s.newest[partition], s.last = shard.Newest, max(s.last, shard.Newest)
	}
	return s, nil
}

func newStream(plan *features.Plan, id string, entities, along map[string]bool) *stream {
	s := &stream{
		id: id, fields: plan.Fields(), kinds: (len(plan.Fields()) + 7) / 8, tracks: map[string]*track{},
		newest: map[int]int64{}, first: features.NoTime, last: features.NoTime,
	}
	for _, some := range []map[string]bool{entities, along} {
		for e := range some {
			s.tracks[e] = &track{}
		}
	}
	return s
}

const reportEvery = 1 << 14

func (r *reading) report(passed int64) {
	if r.done += passed; r.progress != nil {
		r.progress(min(r.done, r.of), r.of)
	}
}

// clockOf is a plan that judges whether events of a plan's source are in the
// future, and does nothing else.
func clockOf(plan *features.Plan) (*features.Plan, error) {
	v := &plan.View
	return features.Compile(plan.Clock, plan.Source, features.View{
		Name: v.Name, Source: v.Source, Entity: v.Entity,
		Features: []features.Feature{{Name: "events", Agg: "count", Of: "*", Window: features.Window{Kind: features.Lifetime}}},
	})
}

// A table is a table of the lake as its files are now.
type table struct {
	id      string // changes with the files
	records int64  // about: where the partitions end
}

// eventsTable looks at a source's events in the lake.
func eventsTable(root, source string) (table, error) {
	t, partitions, err := look(lake.Folder(root, source))
	if err != nil {
		return t, err
	}
	for _, p := range partitions {
		next, err := lake.Tail(root, source, p)
		if err != nil {
			return t, err
		}
		t.records += next
	}
	return t, nil
}

// look identifies the files in a folder of the lake, of which there may be none.
func look(folder string) (t table, partitions []int, err error) {
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return t, nil, fmt.Errorf("whatif: the lake: %w", err)
	}
	seen := map[int]bool{}
	var id strings.Builder
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".parquet")
		partition, _, found := strings.Cut(name, "-")
		p, err := strconv.Atoi(partition)
		if !ok || !found || err != nil {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return t, nil, fmt.Errorf("whatif: the lake: %w", err)
		}
		seen[p] = true
		fmt.Fprintf(&id, "%s %d %d\n", name, info.Size(), info.ModTime().UnixNano())
	}
	t.id = filepath.Base(folder) + " " + hashOf(id.String())
	return t, slices.Sorted(maps.Keys(seen)), nil
}

// A probe asks for a view's features of an entity at a moment.
type probe struct {
	asOf, knownBy int64
	request       []features.Value
	row           int // in the result
}

// byMoment is the order in which probes are cheapest.
func byMoment(a, b probe) int {
	return cmp.Or(cmp.Compare(a.asOf, b.asOf), cmp.Compare(a.knownBy, b.knownBy))
}

// replay computes a plan's vectors of one entity. The probes are by asOf and then
// knownBy. Put gets each row's vector, which is valid until the next.
func (s *stream) replay(ctx context.Context, plan *features.Plan, rp *features.Replay, t *track, probes []probe, put func(row int, vector []features.Value)) error {
	h := rp.NewHistory(probes[0].asOf, probes[len(probes)-1].asOf)
	var shard *features.Shard
	values := make([]features.Value, len(s.fields))
	stride := s.stride()
	for n, words := 0, t.words; len(words) > 0; n, words = n+1, words[stride:] {
		if n%reportEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e, before := s.event(words, values)
		if shard == nil || shard.Newest != before {
			shard = plan.NewShard(before, features.Counts{})
		}
		if ok, _ := shard.Admit(&e); ok {
			shard.Keep(h, &e)
		}
	}
	var vector []features.Value
	for n, p := range probes {
		if n%reportEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		vector = plan.Vector(vector[:0], h.Row(p.asOf, p.knownBy), features.At{AsOf: p.asOf}, p.request)
		put(p.row, vector)
	}
	return nil
}

// oldest returns the time of a track's first event by time, NoTime: it has none.
func (s *stream) oldest(t *track) int64 {
	first := int64(math.MaxInt64)
	for words := t.words; len(words) > 0; words = words[s.stride():] {
		first = min(first, int64(words[eventTime]))
	}
	if first == math.MaxInt64 {
		return features.NoTime
	}
	return first
}
