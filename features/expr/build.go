package expr

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// maxPattern bounds the instructions of a compiled pattern, and so the time
// that one event can take: matching a text takes their product with its length.
const maxPattern = 1000

// A builder translates a checked tree. Every node has a type there, so each
// method serves the nodes of one type; what the types cannot express (a
// pattern must be constant) becomes err, the first of them.
type builder struct {
	*script
	used map[int]bool
	err  error
}

func (b *builder) fail(e ast.Expr, format string, args ...any) {
	if b.err == nil {
		b.err = b.fault(e, format, args...)
	}
}

func (b *builder) use(e ast.Expr) int {
	i := b.index[e.AsIdent()]
	b.used[i] = true
	return i
}

// operands returns the arguments of a call, the receiver first.
func operands(e ast.Expr) []ast.Expr {
	call := e.AsCall()
	if call.IsMemberFunction() {
		return append([]ast.Expr{call.Target()}, call.Args()...)
	}
	return call.Args()
}

func (b *builder) number(e ast.Expr) fn[float64] {
	switch e.Kind() {
	case ast.LiteralKind:
		return constant(float64(e.AsLiteral().(types.Double)))
	case ast.IdentKind:
		return loadNumber(b.use(e))
	}
	name, args := e.AsCall().FunctionName(), operands(e)
	if f := unary[name]; f != nil {
		return apply1(f, b.number(args[0]))
	}
	if f := binary[name]; f != nil {
		x := b.number(args[0])
		for _, arg := range args[1:] {
			x = apply2(f, x, b.number(arg))
		}
		return x
	}
	switch name {
	case operators.Negate:
		return negate(b.number(args[0]))
	case "size":
		return size(b.text(args[0]))
	case "hour":
		return hour(b.instant(args[0]))
	case "day_of_week":
		return dayOfWeek(b.instant(args[0]))
	case operators.Add:
		return add(b.number(args[0]), b.number(args[1]))
	case operators.Multiply:
		return multiply(b.number(args[0]), b.number(args[1]))
	case operators.Divide:
		return divide(b.number(args[0]), b.number(args[1]))
	case operators.Subtract:
		if b.kindOf(args[0]) == Time {
			return seconds(b.instant(args[0]), b.instant(args[1]))
		}
		return subtract(b.number(args[0]), b.number(args[1]))
	}
	return either(b, e, b.number)
}

func (b *builder) truth(e ast.Expr) fn[bool] {
	switch e.Kind() {
	case ast.LiteralKind:
		return constant(bool(e.AsLiteral().(types.Bool)))
	case ast.IdentKind:
		return loadTruth(b.use(e))
	}
	name, args := e.AsCall().FunctionName(), operands(e)
	switch name {
	case operators.LogicalAnd:
		return and(b.truth(args[0]), b.truth(args[1]))
	case operators.LogicalOr:
		return or(b.truth(args[0]), b.truth(args[1]))
	case operators.LogicalNot:
		return not(b.truth(args[0]))
	case operators.Equals, operators.NotEquals:
		return b.equality(args, name == operators.Equals)
	case operators.Less, operators.Greater, operators.LessEquals, operators.GreaterEquals:
		return b.order(name, args)
	case operators.In:
		return b.in(args[0], args[1])
	case "is_missing":
		return b.missing(args[0])
	case "startsWith":
		return textToTruth(strings.HasPrefix, b.text(args[0]), b.text(args[1]))
	case "endsWith":
		return textToTruth(strings.HasSuffix, b.text(args[0]), b.text(args[1]))
	case "contains":
		return textToTruth(strings.Contains, b.text(args[0]), b.text(args[1]))
	case "matches":
		return matching(b.pattern(args[1]), b.text(args[0]))
	}
	return either(b, e, b.truth)
}

func (b *builder) text(e ast.Expr) fn[string] {
	switch e.Kind() {
	case ast.LiteralKind:
		return constant(string(e.AsLiteral().(types.String)))
	case ast.IdentKind:
		return loadText(b.use(e))
	}
	if args := operands(e); e.AsCall().FunctionName() == operators.Add {
		return concat(b.text(args[0]), b.text(args[1]))
	}
	return either(b, e, b.text)
}

func (b *builder) instant(e ast.Expr) fn[int64] {
	if e.Kind() == ast.IdentKind {
		return loadInstant(b.use(e))
	}
	if e.AsCall().FunctionName() == "timestamp" {
		return constant(b.timestamp(e))
	}
	return either(b, e, b.instant)
}

// either translates ?: and coalesce, which exist for every type. The checker
// has admitted no other call.
func either[T any](b *builder, e ast.Expr, build func(ast.Expr) fn[T]) fn[T] {
	args := operands(e)
	if e.AsCall().FunctionName() == operators.Conditional {
		return choose(b.truth(args[0]), build(args[1]), build(args[2]))
	}
	last := len(args) - 1
	x := build(args[last])
	for i := last - 1; i >= 0; i-- {
		x = coalesce(build(args[i]), x)
	}
	return x
}

func (b *builder) equality(args []ast.Expr, want bool) fn[bool] {
	switch b.kindOf(args[0]) {
	case Bool:
		return equal(b.truth(args[0]), b.truth(args[1]), want)
	case String:
		return equal(b.text(args[0]), b.text(args[1]), want)
	case Time:
		return equal(b.instant(args[0]), b.instant(args[1]), want)
	}
	return equal(b.number(args[0]), b.number(args[1]), want)
}

// order translates a > b as b < a.
func (b *builder) order(name string, args []ast.Expr) fn[bool] {
	x, y := args[0], args[1]
	if name == operators.Greater || name == operators.GreaterEquals {
		x, y = y, x
	}
	strict := name == operators.Less || name == operators.Greater
	kind := b.kindOf(x)
	switch {
	case kind == String && strict:
		return less(b.text(x), b.text(y))
	case kind == String:
		return lessEqual(b.text(x), b.text(y))
	case kind == Time && strict:
		return less(b.instant(x), b.instant(y))
	case kind == Time:
		return lessEqual(b.instant(x), b.instant(y))
	case strict:
		return less(b.number(x), b.number(y))
	}
	return lessEqual(b.number(x), b.number(y))
}

func (b *builder) missing(e ast.Expr) fn[bool] {
	switch b.kindOf(e) {
	case Bool:
		return isMissing(b.truth(e))
	case String:
		return isMissing(b.text(e))
	case Time:
		return isMissing(b.instant(e))
	}
	return isMissing(b.number(e))
}

func (b *builder) in(x, list ast.Expr) fn[bool] {
	switch b.kindOf(x) {
	case String:
		return oneOf(b.text(x), constants(b, list, func(v types.String) string { return string(v) }))
	case Float:
		return oneOf(b.number(x), constants(b, list, func(v types.Double) float64 { return float64(v) }))
	}
	b.fail(x, "in needs a string or a number before it; compare with == instead")
	return nil
}

// constants returns the elements of a list of literals. CEL would take a list
// of mixed types as one of dyn, so each is looked at here.
func constants[L, T any](b *builder, list ast.Expr, value func(L) T) []T {
	var all []T
	for _, e := range list.AsList().Elements() {
		if e.Kind() == ast.LiteralKind {
			if v, ok := e.AsLiteral().(L); ok {
				all = append(all, value(v))
				continue
			}
		}
		b.fail(e, "the list after in holds constants of the type before it; use == and || for anything else")
	}
	return all
}

func (b *builder) pattern(e ast.Expr) func(string) bool {
	if e.Kind() != ast.LiteralKind {
		b.fail(e, "the pattern of matches must be a constant; use contains, startsWith or endsWith for a value of the row")
		return nil
	}
	text := string(e.AsLiteral().(types.String))
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		b.fail(e, "%v; patterns are RE2", err)
		return nil
	}
	if prog, err := syntax.Compile(tree.Simplify()); err != nil || len(prog.Inst) > maxPattern {
		b.fail(e, "the pattern needs more than %d steps for each byte; use smaller repetitions", maxPattern)
		return nil
	}
	return regexp.MustCompile(text).MatchString
}

func (b *builder) timestamp(e ast.Expr) int64 {
	arg := operands(e)[0]
	if arg.Kind() != ast.LiteralKind {
		b.fail(e, "timestamp takes a constant, as in timestamp(\"2024-01-31T00:00:00Z\"); declare the field as time instead")
		return 0
	}
	text := string(arg.AsLiteral().(types.String))
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.Nanosecond()%1000 != 0 {
		b.fail(e, "timestamp %q is not RFC 3339 with at most microseconds, as in \"2024-01-31T00:00:00Z\"", text)
		return 0
	}
	return t.UnixMicro()
}
