package expr

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/containers"
	"cel.dev/cel-go/common/decls"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/parser"
)

// What an expression may be at most. The checker and the closures recurse, so
// depth bounds their stack.
const (
	maxSource = 4096 // bytes
	maxDepth  = 100  // levels of the tree; a sum of 100 terms has as many
)

// A script is an expression on its way through parse, declare, admit and
// check.
type script struct {
	source string
	text   common.Source
	tree   *ast.AST
	index  map[string]int // of the variables, by name
	names  []string       // of the variables, for suggestions
}

func parse(source string) (*script, error) {
	if strings.TrimSpace(source) == "" {
		return nil, errors.New("expression is empty; write one, as in volume > 0, or leave the key out")
	}
	if len(source) > maxSource {
		return nil, fmt.Errorf("expression %s: %d bytes long, at most %d are allowed; split it into several derivations", excerpt(source), len(source), maxSource)
	}
	s := &script{source: source, text: common.NewTextSource(source)}
	p, err := parser.NewParser(parser.MaxRecursionDepth(maxDepth), parser.EnableIdentEscapeSyntax(false),
		parser.ErrorRecoveryLimit(1), parser.ErrorReportingLimit(1))
	if err != nil {
		return nil, fmt.Errorf("expression: %w", err)
	}
	tree, faults := p.Parse(s.text)
	if all := faults.GetErrors(); len(all) > 0 {
		return nil, s.faultAt(all[0].Location, "%s", shortened(all[0].Message))
	}
	s.tree = tree
	return s, nil
}

// shortened cuts what the parser says: it lists every token that could have
// followed.
func shortened(message string) string {
	message, _, _ = strings.Cut(message, " expecting {")
	message = strings.TrimSuffix(message, " expecting <EOF>")
	switch {
	case strings.HasSuffix(message, "'<EOF>'"):
		return "the expression ends too early; an operand or a closing bracket is missing"
	case strings.Contains(message, "recursion"):
		return fmt.Sprintf("nested more than %d levels deep; split the expression into several derivations", maxDepth)
	}
	return strings.Replace(message, "Syntax error", "syntax error", 1)
}

// fault returns an error about e.
func (s *script) fault(e ast.Expr, format string, args ...any) error {
	return s.faultAt(s.place(e), format, args...)
}

func (s *script) faultAt(at common.Location, format string, args ...any) error {
	where := fmt.Sprintf("column %d", at.Column()+1)
	if at.Line() > 1 {
		where = fmt.Sprintf("line %d, %s", at.Line(), where)
	}
	if at.Line() < 1 {
		where = "column 1"
	}
	return fmt.Errorf("expression %s: %s: %s", excerpt(s.source), where, fmt.Sprintf(format, args...))
}

// place returns where to look for e: a name at its beginning, an operator
// where it stands, a call at the function's name. CEL puts a call at its
// bracket and a selection a.b at its dot.
func (s *script) place(e ast.Expr) common.Location {
	at := s.tree.SourceInfo().GetStartLocation(e.ID())
	switch e.Kind() {
	case ast.SelectKind:
		return s.place(e.AsSelect().Operand())
	case ast.CallKind:
		name := e.AsCall().FunctionName()
		line, _ := s.text.Snippet(at.Line())
		if r := []rune(line); at.Column() <= len(r) && strings.HasSuffix(string(r[:at.Column()]), name) {
			return common.NewLocation(at.Line(), at.Column()-len(name))
		}
	}
	return at
}

func (s *script) declare(vars []Variable) error {
	s.index = make(map[string]int, len(vars))
	for i, v := range vars {
		if _, twice := s.index[v.Name]; twice {
			return fmt.Errorf("expression %s: the variable %q is given twice", excerpt(s.source), v.Name)
		}
		if _, ok := celTypes[v.Kind]; !ok {
			return fmt.Errorf("expression %s: the variable %q has kind %v; it needs bool, int, float, string or time", excerpt(s.source), v.Name, v.Kind)
		}
		s.index[v.Name] = i
		s.names = append(s.names, v.Name)
	}
	return nil
}

// celTypes are the types that the checker gives to variables. An Int is a
// double, because numbers do not mix in CEL.
var celTypes = map[Kind]*types.Type{
	Bool: types.BoolType, Int: types.DoubleType, Float: types.DoubleType,
	String: types.StringType, Time: types.TimestampType,
}

// kindOf returns the kind of a node of the checked tree, or Missing.
func (s *script) kindOf(e ast.Expr) Kind {
	switch s.tree.GetType(e.ID()).Kind() {
	case types.BoolKind:
		return Bool
	case types.DoubleKind:
		return Float
	case types.StringKind:
		return String
	case types.TimestampKind:
		return Time
	}
	return Missing
}

// admit refuses what is not provided, before the checker can speak of it in
// terms of CEL, and turns integer literals into doubles.
func (s *script) admit(e ast.Expr, depth int) error {
	if depth > maxDepth {
		return s.fault(e, "nested more than %d levels deep; split the expression into several derivations", maxDepth)
	}
	switch e.Kind() {
	case ast.LiteralKind:
		return s.admitLiteral(e)
	case ast.IdentKind, ast.SelectKind:
		return s.admitName(e)
	case ast.CallKind:
		return s.admitCall(e, depth)
	case ast.ListKind:
		return s.fault(e, "a list is allowed only after in, as in symbol in [\"A\", \"B\"]")
	case ast.MapKind:
		return s.fault(e, "maps are not provided; use ?: to choose between values")
	case ast.StructKind:
		return s.fault(e, "messages are not provided; name the fields one by one")
	}
	return s.fault(e, "this construct is not provided; use operators and functions")
}

func (s *script) admitLiteral(e ast.Expr) error {
	switch v := e.AsLiteral().(type) {
	case types.Int:
		if !exactAsDouble(int64(v)) {
			return s.fault(e, "%d is not exact as a double; numbers are doubles here, exact up to 2^53", int64(v))
		}
		e.SetKindCase(ast.NewExprFactory().NewLiteral(e.ID(), types.Double(v)))
		return nil
	case types.Double, types.Bool, types.String:
		return nil
	case types.Uint:
		return s.fault(e, "unsigned integers are not provided; write %d, numbers are doubles", uint64(v))
	case types.Bytes:
		return s.fault(e, "bytes are not provided; write a string")
	case types.Null:
		return s.fault(e, "null is not provided; ask is_missing(x)")
	}
	return s.fault(e, "a literal of this type is not provided; use numbers, strings, true and false")
}

// admitName looks up x or request.x.
func (s *script) admitName(e ast.Expr) error {
	name, of := "", e
	for of.Kind() == ast.SelectKind {
		name = "." + of.AsSelect().FieldName() + name
		of = of.AsSelect().Operand()
	}
	if of.Kind() != ast.IdentKind {
		return s.fault(e, "fields of values are not provided; only names such as request.x have a dot")
	}
	name = of.AsIdent() + name
	if _, ok := s.index[name]; ok {
		return nil
	}
	return s.fault(e, "unknown name %q; %s", name, suggest(name, s.names))
}

func (s *script) admitCall(e ast.Expr, depth int) error {
	call := e.AsCall()
	name := call.FunctionName()
	if hint, ok := refused[name]; ok {
		return s.fault(e, "%s", hint)
	}
	if !slices.ContainsFunc(signatures, func(x signature) bool { return x.name == name }) {
		return s.fault(e, "unknown function %q; %s", name, suggest(name, callable()))
	}
	args := operands(e)
	if name == operators.In && args[1].Kind() == ast.ListKind {
		list := args[1].AsList().Elements()
		args = append([]ast.Expr{args[0]}, list...)
	}
	for _, arg := range args {
		if err := s.admit(arg, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// check gives every node of the tree its type.
func (s *script) check(vars []Variable) error {
	env, err := environment(vars)
	if err != nil {
		return fmt.Errorf("expression %s: %w", excerpt(s.source), err)
	}
	places := map[int64]ast.Expr{}
	ast.PreOrderVisit(s.tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) { places[e.ID()] = e }))
	tree, faults := checker.Check(s.tree, s.text, env)
	if all := faults.GetErrors(); len(all) > 0 {
		return s.typeFault(all[0], places[all[0].ExprID])
	}
	s.tree = tree
	return nil
}

func environment(vars []Variable) (*checker.Env, error) {
	env, err := checker.NewEnv(containers.DefaultContainer, types.NewEmptyRegistry())
	if err != nil {
		return nil, err
	}
	var failed error
	overloads := map[string][]decls.FunctionOpt{}
	for _, x := range signatures {
		overloads[x.name] = append(overloads[x.name], x.overload())
	}
	for name, list := range overloads {
		f, err := decls.NewFunction(name, list...)
		if err == nil {
			err = env.AddFunctions(f)
		}
		failed = errors.Join(failed, err)
	}
	for _, v := range vars {
		failed = errors.Join(failed, env.AddIdents(decls.NewVariable(v.Name, celTypes[v.Kind])))
	}
	return env, failed
}

// typeFault says what the checker found in our words: CEL calls a number a
// double and + an overload of _+_.
func (s *script) typeFault(found *common.Error, e ast.Expr) error {
	quoted := strings.Split(found.Message, "'")
	if e == nil || e.Kind() != ast.CallKind || len(quoted) < 4 {
		return s.faultAt(found.Location, "%s", ourTypes.Replace(found.Message))
	}
	name := e.AsCall().FunctionName()
	given := strings.Replace(ourTypes.Replace(quoted[3]), ".(", "."+name+"(", 1)
	var takes []string
	for _, x := range signatures {
		if x.name == name {
			takes = append(takes, x.String())
		}
	}
	if shown, ok := operators.FindReverse(name); ok && shown != "" {
		name = shown
	}
	if name == operators.Conditional {
		name = "?:"
	}
	needed := strings.Join(takes, " or ")
	if strings.Contains(needed, "T") {
		needed += ", T being one type"
	}
	return s.fault(e, "%s does not take %s; it takes %s", name, given, needed)
}
