package serve

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams"
)

// MaxValues bounds the feature values that one query computes: its rows times
// all features of the views that it touches. As JSON that many are about 15 MB.
const MaxValues = 250_000

// A Lookup answers queries for vectors of features from the online store. Its
// methods may be called by several goroutines.
type Lookup struct {
	store online.Store
	now   func() time.Time
	views map[string]*view
}

// A view is a plan with what queries need to know of it.
type view struct {
	*features.Plan
	name    string
	space   string
	topic   string
	outputs map[string]int
	entity  []int // fields of the entity, by their place in Plan.Fields
}

// NewLookup returns the Lookup over the rows that a project's plans have in the
// store. Now is what plans with the WallClock take for now.
func NewLookup(project string, plans []*features.Plan, store online.Store, now func() time.Time) *Lookup {
	l := &Lookup{store: store, now: now, views: make(map[string]*view)}
	for _, p := range plans {
		v := &view{Plan: p, name: p.View.Name, space: p.Space(project), topic: p.Topic(project), outputs: make(map[string]int)}
		for i, o := range p.Outputs() {
			v.outputs[o.Name] = i
		}
		for _, name := range p.View.Entity {
			v.entity = append(v.entity, slices.IndexFunc(p.Fields(), func(f features.Field) bool { return f.Name == name }))
		}
		l.views[v.name] = v
	}
	return l
}

// A Query asks for features of entities.
type Query struct {
	Features  []string // as view:feature
	View      string   // instead of Features: all features of this view
	FullNames bool     // columns are called view__feature instead of feature

	// Entities are the columns that say which entities: a row is one entity of
	// each view. Columns that no view asked for knows are ignored. A
	// whole number may stand for a text and the other way round.
	Entities []Column
	// Inputs are the request.* values of on-demand features, a cell for each
	// row. What is not among them is looked for among Entities, and missing if
	// it is not there.
	Inputs []Column

	AsOf           int64 // microseconds since the Unix epoch; features.NoTime: now, see Read
	ExcludeCurrent bool  // leave out what happened at AsOf itself; exact windows only

	AtLeast []streams.Position // the read sees these records applied, or fails
	Wait    time.Duration      // for how long it waits for that; 0: MaxWait
}

// A Column is one value for each row of a query.
type Column struct {
	Name  string
	Cells []features.Value
}

// Vectors are the answer to a Query. The zero value is ready; one that is read
// into again reuses its memory.
type Vectors struct {
	Rows    int
	Names   []string        // of the features, in the order of the query
	AsOf    []int64         // by row, microseconds: the greatest of its views'; features.NoTime: an event clock before the first event
	Keys    []int           // the columns of Query.Entities that name entities
	kinds   []features.Kind // by column of Query.Entities: of the field that it names, in the first of its views
	columns []place
	parts   []*part
}

// A place is where a feature's values are.
type place struct {
	part   *part
	output int
}

// A part is what one view contributes.
type part struct {
	*view
	inputs []*Column        // by Plan.Request; nil: missing
	values []features.Value // by row, then by output
	times  []int64          // by row: event time of the newest event in it; features.NoTime: there is no row
	keys   []online.Key     // by row
	fields []features.Value // scratch, by Plan.Fields
	stamps []byte           // scratch: times as JSON
}

// The statuses of a value, with the names that Feast gives them.
const (
	Present   = "PRESENT"
	NullValue = "NULL_VALUE" // the row is there, and the feature has no value
	NotFound  = "NOT_FOUND"  // no event that counts has been about the entity
)

// Value returns the value of column c in a row, and its status. An entity that
// is not found has the values of an empty window: 0 for counts, else missing.
func (v *Vectors) Value(row, c int) (features.Value, string) {
	at := v.columns[c]
	x := at.part.values[row*len(at.part.outputs)+at.output]
	switch {
	case at.part.times[row] == features.NoTime:
		return x, NotFound
	case x.Kind == expr.Missing:
		return x, NullValue
	}
	return x, Present
}

// EventTime returns the event time of the newest event in the row that column
// c is from, in microseconds since the Unix epoch, or features.NoTime.
func (v *Vectors) EventTime(row, c int) int64 { return v.columns[c].part.times[row] }

// Output returns the feature that column c holds.
func (v *Vectors) Output(c int) features.Output {
	at := v.columns[c]
	return at.part.Outputs()[at.output]
}

// Read answers a query, into v, from one read of the store. Where AsOf is
// NoTime each row is as of its view's clock (now, or with an EventClock
// nothing), or as of the newest event time applied in the entity's shard where
// that is later. An error is a *Problem, except when ctx has ended.
func (l *Lookup) Read(ctx context.Context, q *Query, v *Vectors) error {
	if err := l.resolve(q, v); err != nil {
		return err
	}
	if err := l.await(ctx, q, v); err != nil {
		return err
	}
	return l.fill(ctx, q, v)
}

// fill reads the rows and computes the vectors.
func (l *Lookup) fill(ctx context.Context, q *Query, v *Vectors) error {
	keys := v.parts[0].keys
	if len(v.parts) > 1 {
		keys = slices.Clone(keys)
		for _, p := range v.parts[1:] {
			keys = append(keys, p.keys...)
		}
	}
	rows, states, err := l.store.Read(ctx, keys)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return unavailable(err, "the online store cannot be read; see that it runs, then ask again")
	}
	now := l.now().UnixMicro()
	v.AsOf = slices.Grow(v.AsOf[:0], v.Rows)[:v.Rows]
	for i := range v.AsOf {
		v.AsOf[i] = features.NoTime
	}
	for i, p := range v.parts {
		from := i * v.Rows
		if err := p.fill(q, v, rows[from:from+v.Rows], states[from:from+v.Rows], now); err != nil {
			return err
		}
	}
	return nil
}

func (p *part) fill(q *Query, v *Vectors, rows []online.Row, states []online.State, now int64) error {
	p.values = slices.Grow(p.values[:0], v.Rows*len(p.outputs))
	p.times = slices.Grow(p.times[:0], v.Rows)
	inputs := make([]features.Value, len(p.inputs))
	for i := range rows {
		at, err := p.at(q, &states[i], now)
		if err != nil {
			return badRequest("view %q, entity %s: %v", p.name, short(p.keys[i].Entity), err)
		}
		v.AsOf[i] = max(v.AsOf[i], at.AsOf)
		row, err := p.decode(&rows[i])
		if err != nil {
			return &Problem{
				Status: http.StatusInternalServerError,
				Err:    fmt.Sprintf("view %q: the stored row of entity %s cannot be read; see whether another version wrote it", p.name, short(p.keys[i].Entity)),
				Detail: err.Error(),
			}
		}
		for k, c := range p.inputs {
			if c == nil {
				continue
			}
			inputs[k] = features.Value{}
			if x, ok := c.Cells[i].Number(); ok {
				inputs[k] = expr.FloatValue(x)
			}
		}
		newest := int64(features.NoTime)
		if row != nil {
			newest = row.Newest()
		}
		p.times = append(p.times, newest)
		p.values = p.Vector(p.values, row, at, inputs)
	}
	return nil
}

// at is the moment that a row is read for.
func (p *part) at(q *Query, s *online.State, now int64) (features.At, error) {
	newest := s.Progress.Newest
	if s.Token == (online.Token{}) { // never committed
		newest = features.NoTime
	}
	at := features.At{AsOf: q.AsOf, ExcludeCurrent: q.ExcludeCurrent}
	if at.AsOf == features.NoTime {
		at.AsOf = newest
		if p.Clock == features.WallClock {
			at.AsOf = max(now, newest)
		}
	}
	return at, p.CheckAt(at, newest)
}

// decode returns nil for a row that is not there, or in which nothing is left.
func (p *part) decode(row *online.Row) (*features.Row, error) {
	if row.Head == nil && row.Base == nil {
		return nil, nil
	}
	r, err := p.DecodeRow(row.Head, row.Base)
	if err != nil || r.Empty() {
		return nil, err
	}
	return r, nil
}
