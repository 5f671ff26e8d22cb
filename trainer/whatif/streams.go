package whatif

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A want is whose events a question needs of a source.
type want struct {
	view    *view // one of those that read them
	table   table
	one     map[string]bool // the question's entity
	past    map[string]bool // those of the past examples
	must    bool            // past is needed; else it is read along, for the next question
	forOne  *stream
	forPast *stream
}

// streams returns, by view, the events of the question's entity and those of the
// entities of the past examples. The lake is read once for each source whose
// events are not in memory.
func (l *Lab) streams(ctx context.Context, m *model, x *change, past *examples, need []bool, progress func(done, of int64)) (one, others []*stream, err error) {
	wants, err := l.wants(m, x, past, need)
	if err != nil {
		return nil, nil, err
	}
	r := &reading{root: l.cfg.Lake, most: l.cfg.Memory, progress: progress}
	for _, w := range wants {
		w.forOne = l.kept(w.table.id, w.one)
		w.forPast = l.kept(w.table.id, w.past)
		if w.forOne == nil || w.must && w.forPast == nil {
			r.of += w.table.records
		}
	}
	for i := range m.views {
		w := wants[streamKey(m.views[i])]
		if err := l.read(ctx, r, w); err != nil {
			return nil, nil, err
		}
		one, others = append(one, w.forOne), append(others, w.forPast)
	}
	return one, others, nil
}

// wants says what the views read, by the key of their streams.
func (l *Lab) wants(m *model, x *change, past *examples, need []bool) (map[string]*want, error) {
	wants := map[string]*want{}
	for i, v := range m.views {
		key := streamKey(v)
		w := wants[key]
		if w == nil {
			t, err := eventsTable(l.cfg.Lake, v.Source.Name)
			if err != nil {
				return nil, err
			}
			if t.records == 0 {
				return nil, fmt.Errorf(`whatif: the lake in %s has nothing of source %s yet: "millrace run" writes it within a minute of the events and when it stops`, l.cfg.Lake, v.Source.Name)
			}
			t.id = key + ", " + t.id
			w = &want{view: v, table: t, one: map[string]bool{}, past: map[string]bool{}}
			wants[key] = w
		}
		w.one[x.keys[i]] = true
		w.must = w.must || past != nil && need[i]
		if past != nil {
			for _, entity := range past.keys[i] {
				w.past[entity] = true
			}
		}
	}
	return wants, nil
}

// kept returns a stream in memory that has all these entities.
func (l *Lab) kept(id string, entities map[string]bool) *stream {
	s, _ := find(&l.cache, func(_ string, s *stream) bool { return s.id == id && s.has(entities) })
	return s
}

// read reads what is not in memory: those of the past along with the one, so that
// a window can be dragged from then on.
func (l *Lab) read(ctx context.Context, r *reading, w *want) error {
	must, along := map[string]bool{}, map[string]bool{}
	switch {
	case w.forOne != nil && (w.forPast != nil || !w.must):
		return nil
	case w.forPast != nil:
		must = w.one
	case w.must:
		maps.Copy(must, w.one)
		maps.Copy(must, w.past)
	default:
		must, along = w.one, w.past
	}
	s, err := r.read(ctx, w.view, w.table.id, must, along)
	if err != nil {
		return err
	}
	entities := slices.Sorted(maps.Keys(s.tracks))
	l.cache.put(s.id+" "+hashOf(strings.Join(entities, "\n")), s.bytes, s)
	if s.has(w.one) {
		w.forOne = s
	}
	if s.has(w.past) {
		w.forPast = s
	}
	return nil
}
