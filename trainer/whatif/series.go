package whatif

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/streams/lake"
)

// Limits of a series: it is for a page, which has to be quick however long the lake
// is.
const (
	// SeriesRows is how many of the newest events of a source are read, of all
	// entities and partitions together, and SeriesCells how many values of them: of
	// sources with many fields fewer events are read.
	SeriesRows  = 100_000
	SeriesCells = 1_000_000

	// SeriesPoints is how many of its values a series has: the newest.
	SeriesPoints = 1000

	seriesEvents   = 20_000 // of the entity: the newest
	seriesEntities = 200    // that are named
	seriesAtOnce   = 2
	firstLook      = 2000 // events that an entity is found among, where none is asked for
)

// A SeriesQuestion asks for the values of a feature, or of a field of the events,
// at each event of an entity.
type SeriesQuestion struct {
	View   string
	Name   string            // of a feature of the view that is no text, or a field of its source
	Entity map[string]string // by field; empty: one of the newest events is about

	// From and To, which is not included, bound the times of the points. Zero: nothing
	// does.
	From, To time.Time
}

// within reports whether a time is asked for.
func (q *SeriesQuestion) within(us int64) bool {
	return (q.From.IsZero() || us >= q.From.UnixMicro()) && (q.To.IsZero() || us < q.To.UnixMicro())
}

// A Series is the values by time. A feature's are computed of the events as the log
// has them now, those that came late among them, as of the time of each event.
type Series struct {
	Entity   map[string]string
	Points   []SeriesPoint
	Entities []map[string]string // others of the newest events, not all

	Rows int64     // events that were read, of all entities
	Cut  bool      // the lake has events before them
	From time.Time // zero, or since when a feature's window lies within what was read: before it there are no points

	// Endless: the feature looks back over all events, and not all were read. There
	// are no points.
	Endless bool
}

// A SeriesPoint is a value as of a time, in microseconds; NaN: it is missing.
type SeriesPoint struct {
	Time  int64
	Value float64
}

// Numbers returns the names that a series of a view can be of: fields of its source,
// then features; nil where there is no such view.
func (l *Lab) Numbers(view string) (fields, outputs []string) {
	v := l.view(view)
	if v == nil {
		return nil, nil
	}
	for _, f := range v.Fields() {
		if isNumber(f.Kind) && f.Name != v.Source.EventTime {
			fields = append(fields, f.Name)
		}
	}
	for i, o := range v.Outputs() {
		if isNumber(o.Kind) && !(i >= v.windows && v.onDemand[i-v.windows].request) {
			outputs = append(outputs, o.Name)
		}
	}
	return fields, outputs
}

func isNumber(k features.Kind) bool { return k == expr.Float || k == expr.Int || k == expr.Bool }

// view returns a view of the project, whatever models see of it.
func (l *Lab) view(name string) *view {
	p := slices.IndexFunc(l.cfg.Plans, func(p *features.Plan) bool { return p.View.Name == name })
	if p < 0 {
		return nil
	}
	plan, about := l.cfg.Plans[p], Model{Name: name}
	for _, field := range plan.View.Entity {
		i := slices.IndexFunc(plan.Fields(), func(f features.Field) bool { return f.Name == field })
		about.Entity = append(about.Entity, plan.Fields()[i])
	}
	v, err := newView(&l.cfg, &about, name)
	if err != nil {
		return nil // a Lab without the view as it is written
	}
	return v
}

// Series reads the end of the lake. It does not wait for a question that is being
// answered. What is wrong with the question is a *Fault.
func (l *Lab) Series(ctx context.Context, q SeriesQuestion) (*Series, error) {
	if l.cfg.Lake == "" {
		return nil, errNoLake
	}
	v := l.view(q.View)
	if v == nil {
		return nil, faultf("view", "there is no view %q", q.View)
	}
	fields, outputs := l.Numbers(q.View)
	if !slices.Contains(fields, q.Name) && !slices.Contains(outputs, q.Name) {
		return nil, faultf("name", "%q is no number that view %s or its events have; there are %s", q.Name, q.View, few(append(fields, outputs...)))
	}
	select {
	case l.readers <- struct{}{}:
		defer func() { <-l.readers }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r := &seriesReading{view: v, ctx: ctx, root: l.cfg.Lake, most: SeriesRows}
	return r.series(q, slices.Contains(fields, q.Name))
}

// A seriesReading reads one series.
type seriesReading struct {
	*view
	ctx  context.Context
	root string
	most int64 // rows

	found  Series
	first  map[int]int64 // time of the first row, by partition
	events []features.Event
	before []int64 // the newest time of the shard before each
	seen   map[string]bool
}

func (r *seriesReading) series(q SeriesQuestion, field bool) (*Series, error) {
	if len(q.Entity) == 0 {
		if err := r.read("", firstLook); err != nil {
			return nil, err
		}
		if len(r.found.Entities) == 0 {
			return &r.found, nil
		}
		q.Entity = r.found.Entities[0]
	}
	key, err := r.keyOf(q.Entity)
	if err != nil {
		return nil, err
	}
	if err := r.read(key, min(r.most, SeriesCells/int64(len(r.Fields())))); err != nil {
		return nil, err
	}
	r.found.Entity = q.Entity
	if field {
		r.fieldPoints(&q)
		return &r.found, nil
	}
	return &r.found, r.featurePoints(&q)
}

func (r *seriesReading) keyOf(entity map[string]string) (string, error) {
	var values []features.Value
	for _, name := range r.View.Entity {
		at := slices.IndexFunc(r.Fields(), func(f features.Field) bool { return f.Name == name })
		v, err := parse(entity[name], r.Fields()[at].Kind)
		if err != nil || v.Kind == 0 {
			return "", faultf("entity."+name, "%v", cmp.Or(err, fmt.Errorf("missing; view %s is about %s", r.View.Name, few(r.View.Entity))))
		}
		values = append(values, v)
	}
	key, err := r.key(values)
	if err != nil {
		return "", faultf("entity", "%v", err)
	}
	return key, nil
}

// read reads the newest rows, keeps the events of one entity, and notes some of the
// others.
func (r *seriesReading) read(key string, rows int64) error {
	newest, err := lake.OpenNewest(r.root, r.Source, rows)
	if err != nil {
		return err
	}
	clock, err := clockOf(r.Plan)
	if err != nil {
		return err
	}
	r.found = Series{Rows: newest.Rows, Cut: newest.Cut}
	r.first, r.seen, r.events, r.before = map[int]int64{}, map[string]bool{}, nil, nil
	shards := map[int]*features.Shard{}
	var about []byte
	for row, err := range newest.Events(r.ctx) {
		if err != nil {
			return err
		}
		e := &row.Event
		if about, err = clock.AppendEntity(about[:0], e.Values); err != nil {
			continue // a dead letter of the view
		}
		shard := shards[row.Partition]
		if shard == nil {
			shard = clock.NewShard(features.NoTime, features.Counts{})
			shards[row.Partition], r.first[row.Partition] = shard, e.Time
		}
		before := shard.Newest
		if _, why := shard.Admit(e); why != nil {
			continue // it is in the future
		}
		if !r.seen[string(about)] && len(r.seen) < seriesEntities {
			r.seen[string(about)] = true
			r.found.Entities = append(r.found.Entities, r.entityOf(e.Values))
		}
		if key != "" && string(about) == key {
			r.keep(e, before)
		}
	}
	slices.SortFunc(r.found.Entities, func(a, b map[string]string) int {
		for _, name := range r.View.Entity {
			if c := cmp.Compare(a[name], b[name]); c != 0 {
				return c
			}
		}
		return 0
	})
	return nil
}

// keep keeps an event, of too many the newest.
func (r *seriesReading) keep(e *features.Event, before int64) {
	kept := *e
	kept.Values = slices.Clone(e.Values)
	r.events, r.before = append(r.events, kept), append(r.before, before)
	if len(r.events) == 2*seriesEvents {
		r.events, r.before = slices.Delete(r.events, 0, seriesEvents), slices.Delete(r.before, 0, seriesEvents)
	}
}

func (r *seriesReading) entityOf(values []features.Value) map[string]string {
	entity := map[string]string{}
	for _, name := range r.View.Entity {
		at := slices.IndexFunc(r.Fields(), func(f features.Field) bool { return f.Name == name })
		entity[name] = values[at].Text()
	}
	return entity
}

// newestEvents drops the oldest of the entity's events where there are too many.
func (r *seriesReading) newestEvents() (cut bool) {
	if extra := len(r.events) - seriesEvents; extra > 0 {
		r.events, r.before = r.events[extra:], r.before[extra:]
		return true
	}
	return false
}

func (r *seriesReading) fieldPoints(q *SeriesQuestion) {
	r.newestEvents()
	at := slices.IndexFunc(r.Fields(), func(f features.Field) bool { return f.Name == q.Name })
	for i := range r.events {
		if !q.within(r.events[i].Time) {
			continue
		}
		r.found.Points = append(r.found.Points, SeriesPoint{r.events[i].Time, numberOf(r.events[i].Values[at])})
	}
	slices.SortStableFunc(r.found.Points, func(a, b SeriesPoint) int { return cmp.Compare(a.Time, b.Time) })
	r.found.Points = r.found.Points[max(0, len(r.found.Points)-SeriesPoints):]
}
