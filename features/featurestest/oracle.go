package featurestest

import (
	"math"
	"math/big"
	"slices"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// Fate is what the naive definition says of an event.
type Fate string

// Fates.
const (
	Folded    Fate = "folded"
	Dropped   Fate = "dropped"
	Duplicate Fate = "duplicate"
	Future         = Fate(features.RejectFuture)
	Late           = Fate(features.RejectLate)
)

// Fates judges the events of one shard, in the order of the log. It returns
// the newest event time after each as well.
func (w *World) Fates() ([]Fate, []int64) {
	fates, newests := make([]Fate, len(w.Events)), make([]int64, len(w.Events))
	newest := int64(features.NoTime)
	for i := range w.Events {
		fates[i] = w.fate(i, newest, fates, newests)
		if fates[i] != Future && fates[i] != Late {
			newest = max(newest, w.Events[i].Time)
		}
		newests[i] = newest
	}
	return fates, newests
}

func (w *World) fate(i int, newest int64, fates []Fate, newests []int64) Fate {
	e := &w.Events[i]
	if e.Time-e.Arrival > w.Source.MaxAhead.Microseconds() {
		return Future
	}
	if newest != features.NoTime {
		if w.Clock == features.EventClock && e.Time-newest > w.Source.MaxJump.Microseconds() {
			return Future
		}
		if h, bounded := w.horizon(); bounded && e.Time <= newest-h {
			return Late
		}
	}
	if !w.where(e.Values) {
		return Dropped
	}
	if w.Source.Dedup > 0 && e.Values[ID].Kind != expr.Missing {
		newest = max(newest, e.Time)
		for j := range i {
			o := &w.Events[j]
			if fates[j] == Folded && o.Values[Key] == e.Values[Key] && o.Values[ID] == e.Values[ID] &&
				o.Time > newest-w.Source.Dedup.Microseconds() && o.Time > newests[j]-w.Source.Dedup.Microseconds() {
				return Duplicate
			}
		}
	}
	return Folded
}

// horizon is max(longest window + hop, lateness), and none with a lifetime.
func (w *World) horizon() (int64, bool) {
	h := w.Source.Lateness.Microseconds()
	for _, f := range w.View.Features {
		switch f.Window.Kind {
		case features.Lifetime:
			return 0, false
		case features.Tumbling:
			h = max(h, 2*f.Window.Size.Microseconds())
		default:
			h = max(h, (f.Window.Size + f.Window.Hop).Microseconds())
		}
	}
	return h, true
}

// Vector answers for an entity at asOf, when the first n events of the log
// have been applied. Fates are those of w.Fates.
func (w *World) Vector(fates []Fate, n int, key features.Value, asOf int64) []features.Value {
	out := make([]features.Value, len(w.View.Features))
	for i, f := range w.View.Features {
		var in []*features.Event
		for j := range n {
			if fates[j] == Folded && w.Events[j].Values[Key] == key {
				in = append(in, &w.Events[j])
			}
		}
		slices.SortFunc(in, compare)
		if m := f.Window.MaxValues; f.Window.Exact && len(in) > m {
			in = in[len(in)-m:]
		}
		in = slices.DeleteFunc(in, func(e *features.Event) bool { return !inside(f.Window, e.Time, asOf) })
		out[i] = aggregate(f, in)
	}
	return out
}

func compare(a, b *features.Event) int {
	if a.Time != b.Time {
		if a.Time < b.Time {
			return -1
		}
		return 1
	}
	return int(a.Order) - int(b.Order)
}

// inside is the definition of the windows.
func inside(w features.Window, t, asOf int64) bool {
	size := w.Size.Microseconds()
	switch {
	case w.Kind == features.Lifetime:
		return t <= asOf
	case w.Kind == features.Tumbling:
		end := floor(asOf-w.Offset.Microseconds(), size) + w.Offset.Microseconds()
		if w.Open {
			return end <= t && t <= asOf
		}
		return end-size <= t && t < end
	case w.Exact:
		return asOf-size < t && t <= asOf
	}
	return floor(asOf-size, w.Hop.Microseconds()) < t && t <= asOf
}

func floor(t, step int64) int64 {
	return int64(math.Floor(float64(t)/float64(step))) * step
}

func aggregate(f features.Feature, in []*features.Event) features.Value {
	if f.Of == "*" {
		return expr.IntValue(int64(len(in)))
	}
	var vals []features.Value
	for _, e := range in {
		v := field(e.Values, f.Of)
		if v.Kind != expr.Missing && (v.Kind != expr.Float || !math.IsNaN(v.Float())) {
			vals = append(vals, v)
		}
	}
	if f.Agg == "count" {
		return expr.IntValue(int64(len(vals)))
	}
	if len(vals) == 0 {
		return features.Value{}
	}
	switch f.Agg {
	case "first":
		return vals[0]
	case "last":
		return vals[len(vals)-1]
	case "min":
		return slices.MinFunc(vals, compareValues)
	case "max":
		return slices.MaxFunc(vals, compareValues)
	}
	return number(f.Agg, vals)
}

func field(v []features.Value, name string) features.Value {
	switch name {
	case "x":
		return v[X]
	case "n":
		return v[N]
	case "s":
		return v[S]
	case "at":
		return v[Time]
	}
	return Derived(v)
}

func compareValues(a, b features.Value) int { return exact(a).Cmp(exact(b)) }

func exact(v features.Value) *big.Float {
	x := new(big.Float).SetPrec(400)
	if v.Kind == expr.Float {
		return x.SetFloat64(v.Float())
	}
	return x.SetInt64(v.Int())
}

// number computes sum, mean, variance, std and delta with 400 bits.
func number(agg string, vals []features.Value) features.Value {
	n := new(big.Float).SetPrec(400).SetInt64(int64(len(vals)))
	sum := new(big.Float).SetPrec(400)
	for _, v := range vals {
		sum.Add(sum, exact(v))
	}
	mean := new(big.Float).SetPrec(400).Quo(sum, n)
	switch agg {
	case "sum":
		return inKind(sum, vals[0].Kind)
	case "mean":
		return inKind(mean, expr.Float)
	case "delta":
		return inKind(sum.Sub(exact(vals[len(vals)-1]), exact(vals[0])), vals[0].Kind)
	}
	if len(vals) < 2 {
		return features.Value{}
	}
	squares := new(big.Float).SetPrec(400)
	for _, v := range vals {
		d := new(big.Float).SetPrec(400).Sub(exact(v), mean)
		squares.Add(squares, d.Mul(d, d))
	}
	variance := squares.Quo(squares, n.Sub(n, big.NewFloat(1)))
	if agg == "std" {
		return inKind(variance.Sqrt(variance), expr.Float)
	}
	return inKind(variance, expr.Float)
}

// inKind rounds x to a Float, or gives the Int that x is if it fits.
func inKind(x *big.Float, kind features.Kind) features.Value {
	if kind == expr.Float {
		f, _ := x.Float64()
		return expr.FloatValue(f)
	}
	i, acc := x.Int64()
	if acc != big.Exact {
		return features.Value{}
	}
	return expr.IntValue(i)
}

// Magnitude is the sum of the magnitudes of everything that the naive
// definition of a feature adds up: what a relative error is relative to.
func (w *World) Magnitude(feature string) float64 {
	i := slices.IndexFunc(w.View.Features, func(f features.Feature) bool { return f.Name == feature })
	total := 1.0
	for j := range w.Events {
		if x, ok := field(w.Events[j].Values, w.View.Features[i].Of).Number(); ok && !math.IsNaN(x) {
			total += math.Abs(x)
		}
	}
	return total
}

// Near reports whether got is what the naive definition of a feature wants, the
// world's Magnitude of it being magnitude: the very value, but for sums of
// floats, which may differ by 1e-12 of the sum of magnitudes, and of their
// squares for variances.
func Near(agg string, magnitude float64, got, want features.Value) bool {
	if got.Kind != expr.Float || want.Kind != expr.Float {
		return got == want
	}
	a, b := got.Float(), want.Float()
	switch agg {
	case "min", "max", "first", "last":
		return a == b
	case "variance":
		magnitude *= magnitude
	case "std": // the square root of a small difference
		return math.Abs(a*a-b*b) <= 1e-12*magnitude*magnitude
	}
	return math.Abs(a-b) <= 1e-12*magnitude
}
