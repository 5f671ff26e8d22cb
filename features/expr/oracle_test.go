package expr

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/stdlib"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// The oracle is CEL's own evaluator on the tree that Compile translates. A
// missing variable is one that CEL does not know, which is an error there; the
// errors of CEL spread as our missing values do.

// An evaluator runs trees with CEL. overflows counts the operations that made
// a number which is not finite.
type evaluator struct {
	env       *cel.Env
	overflows int
}

var errOverflow = errors.New("not finite")

func newEvaluator(t *testing.T) *evaluator {
	o := &evaluator{}
	own := o.bindings()
	var opts []cel.EnvOption
	for _, x := range signatures {
		f := own[x.id]
		if f == nil {
			continue // && and the like are part of CEL's interpreter
		}
		overload := cel.Overload
		if x.member {
			overload = cel.MemberOverload
		}
		bind := []cel.OverloadOpt{cel.FunctionBinding(f)}
		switch len(x.args) {
		case 1:
			bind[0] = cel.UnaryBinding(func(a ref.Val) ref.Val { return f(a) })
		case 2:
			bind[0] = cel.BinaryBinding(func(a, b ref.Val) ref.Val { return f(a, b) })
		}
		if x.name == "coalesce" || x.name == "is_missing" {
			bind = append(bind, cel.OverloadIsNonStrict())
		}
		opts = append(opts, cel.Function(x.name, overload(x.id, x.args, x.result, bind...)))
	}
	env, err := cel.NewCustomEnv(opts...)
	if err != nil {
		t.Fatal(err)
	}
	o.env = env
	return o
}

// bindings returns CEL's own implementation of each overload that it has, and
// plain ones of ours.
func (o *evaluator) bindings() map[string]functions.FunctionOp {
	own := map[string]functions.FunctionOp{}
	for _, f := range stdlib.Functions() {
		list, err := f.Bindings()
		if err != nil {
			panic(err)
		}
		for _, b := range list {
			for _, overload := range f.OverloadDecls() {
				if b.Operator == overload.ID() || b.Operator == f.Name() && own[overload.ID()] == nil {
					own[overload.ID()] = o.checked(b)
				}
			}
		}
	}
	for _, special := range []string{"conditional", "logical_and", "logical_or", "equals", "not_equals"} {
		delete(own, special)
	}
	number := func(v ref.Val) float64 { return float64(v.(types.Double)) }
	utc := func(v ref.Val) time.Time { return v.(types.Timestamp).UTC() }
	own["subtract_times"] = func(v ...ref.Val) ref.Val { return types.Double(utc(v[0]).Sub(utc(v[1])).Seconds()) }
	own["hour"] = func(v ...ref.Val) ref.Val { return types.Double(utc(v[0]).Hour()) }
	own["day_of_week"] = func(v ...ref.Val) ref.Val { return types.Double(utc(v[0]).Weekday()) }
	own["is_missing"] = func(v ...ref.Val) ref.Val { return types.Bool(types.IsError(v[0])) }
	first := func(v ...ref.Val) ref.Val {
		for _, x := range v {
			if !types.IsError(x) {
				return x
			}
		}
		return v[0]
	}
	own["coalesce_2"], own["coalesce_3"] = first, first
	for name, f := range unary {
		own[name] = func(v ...ref.Val) ref.Val { return o.finite(types.Double(f(number(v[0]))), v...) }
	}
	own["pow"] = func(v ...ref.Val) ref.Val { return o.finite(types.Double(math.Pow(number(v[0]), number(v[1]))), v...) }
	fold := func(f func(x, y float64) float64) functions.FunctionOp {
		return func(v ...ref.Val) ref.Val {
			x := number(v[0])
			for _, y := range v[1:] {
				x = f(x, number(y))
			}
			return types.Double(x)
		}
	}
	own["min_2"], own["min_3"] = fold(math.Min), fold(math.Min)
	own["max_2"], own["max_3"] = fold(math.Max), fold(math.Max)
	return own
}

// checked calls CEL's implementation and applies our rule of finite numbers.
func (o *evaluator) checked(b *functions.Overload) functions.FunctionOp {
	return func(v ...ref.Val) ref.Val {
		switch {
		case b.Unary != nil && len(v) == 1:
			return o.finite(b.Unary(v[0]), v...)
		case b.Binary != nil && len(v) == 2:
			return o.finite(b.Binary(v[0], v[1]), v...)
		}
		return o.finite(b.Function(v...), v...)
	}
}

// finite turns an Int into the Double that it is for us, and a Double that is
// not finite, though its operands are, into an error.
func (o *evaluator) finite(r ref.Val, operands ...ref.Val) ref.Val {
	if i, ok := r.(types.Int); ok {
		return types.Double(i)
	}
	d, ok := r.(types.Double)
	if !ok || !math.IsInf(float64(d), 0) && !math.IsNaN(float64(d)) {
		return r
	}
	for _, v := range operands {
		if x, ok := v.(types.Double); ok && math.IsInf(float64(x), 0) && !math.IsNaN(float64(d)) {
			return r
		}
	}
	o.overflows++
	return types.WrapErr(errOverflow)
}

// plan readies source for CEL's evaluator.
func (o *evaluator) plan(t *testing.T, source string, vars []Variable) cel.Program {
	s, err := parse(source)
	if err == nil {
		err = errors.Join(s.declare(vars), s.admit(s.tree.Expr(), 1), s.check(vars))
	}
	if err != nil {
		t.Fatal(err)
	}
	program, err := o.env.PlanProgram(s.tree)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// eval returns the value that CEL computes, or the missing Value.
func (o *evaluator) eval(t *testing.T, program cel.Program, vars []Variable, row []Value) Value {
	o.overflows = 0
	out, _, err := program.Eval(activation(vars, row))
	if err != nil {
		if !errors.Is(err, errOverflow) && !strings.Contains(err.Error(), "no such attribute") {
			t.Fatalf("CEL: %v", err)
		}
		return Value{}
	}
	switch x := out.(type) {
	case types.Double:
		if math.IsInf(float64(x), 0) {
			o.overflows++
			return Value{}
		}
		return FloatValue(float64(x))
	case types.Bool:
		return BoolValue(bool(x))
	case types.String:
		return StringValue(string(x))
	case types.Timestamp:
		return TimeValue(x.UnixMicro())
	}
	t.Fatalf("CEL gives a %s", out.Type())
	return Value{}
}

func activation(vars []Variable, row []Value) map[string]any {
	known := map[string]any{}
	for i, v := range row {
		name := vars[i].Name
		switch v.Kind {
		case Float:
			if !math.IsNaN(v.Float()) {
				known[name] = v.Float()
			}
		case Int:
			known[name] = float64(v.Int())
		case Bool:
			known[name] = v.Bool()
		case String:
			known[name] = v.Str
		case Time:
			known[name] = time.UnixMicro(v.Int()).UTC()
		}
	}
	return known
}

// A grammar makes random expressions of a wanted kind.
type grammar struct{ *rand.Rand }

var oracleVars = []Variable{
	{"f", Float}, {"g", Float}, {"n", Int}, {"request.x", Float},
	{"s", String}, {"u", String}, {"t", Time}, {"at", Time}, {"b", Bool}, {"c", Bool},
}

func (g grammar) pick(options ...string) string { return options[g.IntN(len(options))] }

// expand replaces N, B, S and T in one of the options by expressions of that
// kind, and I by a name of a function of one number.
func (g grammar) expand(depth int, options ...string) string {
	var out strings.Builder
	for _, r := range g.pick(options...) {
		switch r {
		case 'N':
			out.WriteString(g.number(depth - 1))
		case 'B':
			out.WriteString(g.truth(depth - 1))
		case 'S':
			out.WriteString(g.text(depth - 1))
		case 'T':
			out.WriteString(g.instant(depth - 1))
		case 'I':
			out.WriteString(g.pick("log", "log2", "log10", "log1p", "exp", "sqrt", "abs", "floor", "ceil", "round", "sign"))
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

func (g grammar) number(depth int) string {
	if depth <= 0 {
		return g.pick("f", "g", "n", "request.x", "0", "1", "-2", "0.5", "3e2", "1e300")
	}
	return g.expand(depth, "(N + N)", "(N - N)", "N * N", "N / N", "-(N)", "I(N)", "pow(N, N)", "min(N, N)", "max(N, N, N)",
		"(B ? N : N)", "coalesce(N, N)", "coalesce(N, N, N)", "size(S)", "S.size()", "(T - T)", "hour(T)", "day_of_week(T)")
}

func (g grammar) truth(depth int) string {
	if depth <= 0 {
		return g.pick("b", "c", "true", "false")
	}
	return g.expand(depth, "(B && B)", "(B || B)", "(B && B)", "(B || B)", "!(B)", "(N < N)", "(N <= N)", "(N > N)", "(N >= N)", "(N == N)", "(N != N)",
		"(S < S)", "(S >= S)", "(S == S)", "(S != S)", "(T < T)", "(T >= T)", "(T == T)", "(B == B)", "(B != B)",
		"(B ? B : B)", "coalesce(B, B)", "is_missing(N)", "is_missing(B)", "is_missing(S)", "is_missing(T)",
		"(S in ['a', 'b', 'ab'])", "(N in [0, 1, -2, 3, 4, 5, 6, 7, 8, 300])", "(N in [])",
		"S.startsWith(S)", "S.endsWith(S)", "S.contains(S)", "S.matches('^a*b?$')", "S.matches('é|b')")
}

func (g grammar) text(depth int) string {
	if depth <= 0 {
		return g.pick("s", "u", "''", "'a'", "\"b\"", "'é'")
	}
	return g.expand(depth, "(S + S)", "(B ? S : S)", "coalesce(S, S)", "s", "u")
}

func (g grammar) instant(depth int) string {
	if depth <= 0 {
		return g.pick("t", "at", "timestamp('1969-12-31T23:59:59.999999Z')", "timestamp('2024-02-29T12:00:00+02:00')")
	}
	return g.expand(depth, "(B ? T : T)", "coalesce(T, T)", "t", "at")
}

// row fills every variable; a share of them is missing, and of the numbers
// some are zero, huge, NaN or infinite.
func (g grammar) row(missing float64) []Value {
	row := make([]Value, len(oracleVars))
	for i, v := range oracleVars {
		if g.Float64() < missing {
			continue
		}
		switch v.Kind {
		case Float:
			row[i] = FloatValue([]float64{0, 1, -2, 0.5, 1e300, g.NormFloat64(), g.NormFloat64() * 1e3, math.Inf(1), math.Inf(-1)}[g.IntN(9)])
		case Int:
			row[i] = IntValue([]int64{0, 1, 300, -7, 1 << 53, int64(g.IntN(1000))}[g.IntN(6)])
		case Bool:
			row[i] = BoolValue(g.IntN(2) == 0)
		case String:
			row[i] = StringValue(g.pick("", "a", "b", "ab", "é", "aab"))
		case Time:
			row[i] = TimeValue(int64(g.IntN(4e15)) - 2e15)
		}
	}
	if missing > 0 && g.IntN(8) == 0 {
		row[0] = FloatValue(math.NaN())
	}
	return row
}

func TestEvalEqualsCEL(t *testing.T) {
	o := newEvaluator(t)
	present, missing := map[Kind]int{}, map[Kind]int{}
	for seed := range uint64(600) {
		g := grammar{rand.New(rand.NewPCG(seed, 1))}
		depth := 1 + g.IntN(4)
		source := []func(int) string{g.number, g.truth, g.truth, g.text, g.instant}[g.IntN(5)](depth)
		p, err := Compile(source, oracleVars)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		program := o.plan(t, source, oracleVars)
		for i := range 20 {
			row := g.row([]float64{0, 0.2}[i%2])
			got, nonfinite := p.Eval(row)
			want := o.eval(t, program, oracleVars, row)
			if got != want {
				t.Fatalf("seed %d: %s on %s: %v %s, CEL has %v %s", seed, source, show(row), got.Kind, got.Text(), want.Kind, want.Text())
			}
			if nonfinite && got.Kind != Missing {
				t.Fatalf("seed %d: %s on %s: nonfinite and yet %s", seed, source, show(row), got.Text())
			}
			if complete := i%2 == 0; complete && got.Kind == Missing && (!nonfinite || o.overflows == 0) {
				t.Fatalf("seed %d: %s on %s: missing, nonfinite %t, %d overflows of CEL", seed, source, show(row), nonfinite, o.overflows)
			}
			if got.Kind == Missing {
				missing[p.Kind()]++
			} else {
				present[p.Kind()]++
			}
		}
	}
	t.Logf("present %v, missing %v", present, missing)
	for _, k := range []Kind{Float, Bool, String, Time} {
		if present[k] < 200 || missing[k] < 20 {
			t.Errorf("too few results of kind %v for a comparison: %d present, %d missing", k, present[k], missing[k])
		}
	}
}

func show(row []Value) string {
	var out []string
	for i, v := range row {
		out = append(out, fmt.Sprintf("%s=%s", oracleVars[i].Name, v.Text()))
	}
	return strings.Join(out, " ")
}
