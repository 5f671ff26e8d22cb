// Package featurestest makes random views and events from a seed, and answers
// by the naive definition what their features are.
package featurestest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// Fields of the generated events, by place in Event.Values.
const (
	Key = iota
	Time
	ID
	X // float, may be missing or not a number
	N // int, may be missing
	S // string, may be missing
)

// A World is a random view with random events, in the order of the log.
type World struct {
	Clock  features.Clock
	Source features.Source
	View   features.View
	Events []features.Event

	where func(v []features.Value) bool
	r     *rand.Rand
}

var units = []time.Duration{time.Second, 5 * time.Second, time.Minute, time.Hour}

// New returns the world of a seed: up to 8 entities, 300 events, 8 features,
// with late, future, repeated and tied events, missing values and NaN.
func New(seed uint64) *World {
	r := rand.New(rand.NewPCG(seed, 0x6d696c6c))
	w := &World{r: r, where: func([]features.Value) bool { return true }}
	unit := units[r.IntN(len(units))]
	w.source(unit)
	w.view(unit)
	w.events(unit)
	return w
}

func (w *World) source(unit time.Duration) {
	w.Source = features.Source{
		Name: "source", KeyedBy: []string{"key"}, EventTime: "at", AllowNonfinite: true, Partitions: 1,
		MaxAhead: unit * time.Duration(1+w.r.IntN(100)),
		Fields: []features.Field{
			{Name: "key", Kind: expr.String}, {Name: "at", Kind: expr.Time}, {Name: "id", Kind: expr.String},
			{Name: "x", Kind: expr.Float}, {Name: "n", Kind: expr.Int}, {Name: "s", Kind: expr.String},
		},
	}
	if w.r.IntN(2) == 0 {
		w.Source.Lateness = unit * time.Duration(w.r.IntN(60))
	}
	if w.r.IntN(3) == 0 {
		w.Source.ID, w.Source.Dedup = "id", w.Source.Lateness+unit*time.Duration(1+w.r.IntN(50))
	}
	if w.r.IntN(2) == 0 {
		w.Clock = features.EventClock
		w.Source.MaxJump = unit * time.Duration(20+w.r.IntN(100))
	}
}

// Derived is what the derivation d of a generated view stands for: x*2 - n.
func Derived(v []features.Value) features.Value {
	n, okN := v[N].Number()
	if v[X].Kind != expr.Float || math.IsNaN(v[X].Float()) || !okN {
		return features.Value{}
	}
	d := float64(v[X].Float()*2) - n
	if math.IsInf(d, 0) {
		return features.Value{}
	}
	return expr.FloatValue(d)
}

// whereAbove2 is what the expression n > 2 stands for.
func whereAbove2(v []features.Value) bool { return v[N].Kind == expr.Int && v[N].Int() > 2 }

func (w *World) view(unit time.Duration) {
	w.View = features.View{
		Name: "view", Source: "source", Entity: []string{"key"},
		Derive: []features.Named{{Name: "d", Expr: "x * 2 - n"}},
	}
	if w.r.IntN(2) == 0 {
		w.View.Where = "n > 2"
		w.where = whereAbove2
	}
	for i := range 1 + w.r.IntN(8) {
		w.View.Features = append(w.View.Features, w.feature(i, unit))
	}
}

func (w *World) feature(i int, unit time.Duration) features.Feature {
	f := features.Feature{Name: fmt.Sprintf("f%d", i), Agg: pick(w.r, features.Aggregations()), Window: w.window(unit)}
	switch f.Agg {
	case "count":
		f.Of = pick(w.r, []string{"*", "x", "s"})
	case "first", "last":
		f.Of = pick(w.r, []string{"x", "n", "s", "d"})
	case "min", "max":
		f.Of = pick(w.r, []string{"x", "n", "at", "d"})
	default:
		f.Of = pick(w.r, []string{"x", "n", "d"})
	}
	return f
}

func (w *World) window(unit time.Duration) features.Window {
	switch w.r.IntN(5) {
	case 0:
		return features.Window{Kind: features.Lifetime}
	case 1:
		size := unit * time.Duration(1+w.r.IntN(20))
		return features.Window{Kind: features.Tumbling, Size: size, Open: w.r.IntN(2) == 0, Offset: time.Duration(w.r.Int64N(int64(size/time.Microsecond))) * time.Microsecond}
	case 2:
		return features.Window{Size: unit * time.Duration(1+w.r.IntN(pick(w.r, []int{30, 300}))), Exact: true, MaxValues: pick(w.r, []int{1, 5, 40, 4096})}
	}
	hop := unit * time.Duration(1+w.r.IntN(3))
	return features.Window{Size: hop * time.Duration(1+w.r.IntN(12)), Hop: hop}
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func (w *World) events(unit time.Duration) {
	r := w.r
	now := int64(r.IntN(2_000_000)-1_000_000) * 1e6 // around 1970: negative times, too
	keys := pick(r, []int{1, 1, 2, 3, 8})
	step := unit.Microseconds() / pick(r, []int64{1, 1, 4, 8})
	grid := pick(r, []int64{1, 1, unit.Microseconds() / 2, unit.Microseconds()}) // on a grid, times tie and meet edges
	w.generate(unit, now, 20+r.IntN(280), keys, step, grid)
}

func (w *World) generate(unit time.Duration, now int64, n, keys int, step, grid int64) {
	r := w.r
	for i := range n {
		now += r.Int64N(2 * step)
		if r.IntN(40) == 0 {
			now += 30 * unit.Microseconds()
		}
		at := now
		switch r.IntN(12) {
		case 0:
			at -= r.Int64N(50 * unit.Microseconds()) // late
		case 1:
			at += min(r.Int64N(100*unit.Microseconds()), w.Source.MaxAhead.Microseconds()+r.Int64N(2)) // in the future, or just not
		case 2, 3:
			at -= at % unit.Microseconds() // on an edge, often tied
		}
		at -= at % grid
		e := features.Event{Time: at, Arrival: now, Order: features.OrderOf(0, int64(i))}
		e.Values = w.values(r.IntN(keys), i, at)
		if i > 0 && r.IntN(10) == 0 { // delivered again
			again := w.Events[r.IntN(i)]
			e.Values, e.Time = again.Values, again.Time
		}
		w.Events = append(w.Events, e)
	}
}

func (w *World) values(key, i int, at int64) []features.Value {
	r := w.r
	v := []features.Value{
		Key: expr.StringValue(fmt.Sprintf("k%d", key)), Time: expr.TimeValue(at), ID: expr.StringValue(fmt.Sprint(i)),
		X: expr.FloatValue(math.Round(r.NormFloat64()*1e4) / 100 * math.Pow(10, float64(r.IntN(7)))), N: expr.IntValue(r.Int64N(10)), S: expr.StringValue(pick(r, []string{"", "a", "bb", "ccc"})),
	}
	switch r.IntN(20) {
	case 0:
		v[X] = features.Value{}
	case 1:
		v[X] = expr.FloatValue(math.NaN())
	case 2:
		v[N] = features.Value{}
	case 3:
		v[S] = features.Value{}
	case 4:
		v[N] = expr.IntValue(r.Int64N(1<<62) * pick(r, []int64{1, -1, -1}))
	case 5:
		v[ID] = features.Value{}
	}
	return v
}
