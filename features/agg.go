package features

import (
	"math"

	"github.com/millrace/millrace/features/expr"
)

// An aggregation is what a feature does with its input's values.
type aggregation struct {
	name   string
	inputs func(Kind) bool // the kinds it takes
	result func(Kind) Kind
	needs  func(g *group) []*int // the parts of a group that it reads, beside n
	value  func(g *group, t []uint64) Value
}

func anyKind(Kind) bool      { return true }
func ordered(k Kind) bool    { return k.Numeric() || k == expr.Time }
func sameKind(k Kind) Kind   { return k }
func floatKind(Kind) Kind    { return expr.Float }
func intKind(Kind) Kind      { return expr.Int }
func numeric(k Kind) bool    { return k.Numeric() }
func sums(g *group) []*int   { return []*int{&g.sum} }
func spread(g *group) []*int { return []*int{&g.moments} }

// aggregations lists all that there are, in the order of the documentation.
// Value functions are called with at least one value in the group, but count.
var aggregations = []aggregation{
	{"count", anyKind, intKind, func(*group) []*int { return nil }, func(g *group, t []uint64) Value { return expr.IntValue(int64(t[g.n])) }},
	{"sum", numeric, sameKind, sums, (*group).sumValue},
	{"mean", numeric, floatKind, sums, (*group).meanValue},
	{"min", ordered, sameKind, func(g *group) []*int { return []*int{&g.min} }, func(g *group, t []uint64) Value { return Value{Kind: g.kind, Bits: t[g.min]} }},
	{"max", ordered, sameKind, func(g *group) []*int { return []*int{&g.max} }, func(g *group, t []uint64) Value { return Value{Kind: g.kind, Bits: t[g.max]} }},
	{"variance", numeric, floatKind, spread, (*group).varianceValue},
	{"std", numeric, floatKind, spread, (*group).stdValue},
	{"first", anyKind, sameKind, func(g *group) []*int { return []*int{&g.first} }, func(g *group, t []uint64) Value { return Value{Kind: g.kind, Bits: t[g.first+2]} }},
	{"last", anyKind, sameKind, func(g *group) []*int { return []*int{&g.last} }, func(g *group, t []uint64) Value { return Value{Kind: g.kind, Bits: t[g.last+2]} }},
	{"delta", numeric, sameKind, func(g *group) []*int { return []*int{&g.first, &g.last} }, (*group).deltaValue},
}

// Aggregations returns the names of all aggregations.
func Aggregations() []string {
	names := make([]string, len(aggregations))
	for i, a := range aggregations {
		names[i] = a.name
	}
	return names
}

// partWidth is the number of words of the part at *part.
func (g *group) partWidth(part *int) int {
	switch part {
	case &g.sum, &g.moments:
		return 2
	case &g.first, &g.last:
		return 3
	}
	return 1
}

// finite gives a missing value for what is not a number, as Inf - Inf.
func finite(x float64) Value {
	if math.IsNaN(x) {
		return Value{}
	}
	return expr.FloatValue(x)
}

func (g *group) floatSum(t []uint64) float64 {
	if g.kind == expr.Float {
		return math.Float64frombits(t[g.sum]) + math.Float64frombits(t[g.sum+1])
	}
	lo, hi := t[g.sum], int64(t[g.sum+1])
	if hi == int64(lo)>>63 {
		return float64(int64(lo))
	}
	return float64(hi)*0x1p64 + float64(lo)
}

// sumValue of Ints is exact, and missing where it does not fit 64 bits.
func (g *group) sumValue(t []uint64) Value {
	if g.kind == expr.Float {
		return finite(g.floatSum(t))
	}
	lo, hi := int64(t[g.sum]), int64(t[g.sum+1])
	if hi != lo>>63 {
		return Value{}
	}
	return expr.IntValue(lo)
}

func (g *group) meanValue(t []uint64) Value {
	return finite(g.floatSum(t) / float64(t[g.n]))
}

// varianceValue is the sample variance (n-1): missing for one value.
func (g *group) varianceValue(t []uint64) Value {
	if t[g.n] < 2 {
		return Value{}
	}
	return finite(math.Float64frombits(t[g.moments+1]) / float64(t[g.n]-1))
}

func (g *group) stdValue(t []uint64) Value {
	v := g.varianceValue(t)
	if v.Kind == expr.Missing {
		return v
	}
	return expr.FloatValue(math.Sqrt(v.Float()))
}

// deltaValue is last minus first; of Ints exact, and missing on overflow.
func (g *group) deltaValue(t []uint64) Value {
	first, last := t[g.first+2], t[g.last+2]
	if g.kind == expr.Float {
		return finite(math.Float64frombits(last) - math.Float64frombits(first))
	}
	a, b := int64(last), int64(first)
	d := a - b
	if (a >= 0) != (b >= 0) && (d >= 0) != (a >= 0) {
		return Value{}
	}
	return expr.IntValue(d)
}
