package expr

import (
	"fmt"
	"math"
	"slices"

	"cel.dev/cel-go/common/ast"
)

// A Program is a compiled expression. It never changes, so any number of
// goroutines may use it at once.
type Program struct {
	kind    Kind
	uses    []int
	number  fn[float64] // set for Float
	truth   fn[bool]    // set for Bool
	text    fn[string]  // set for String
	instant fn[int64]   // set for Time
}

// Compile parses source, checks its types against vars and translates it to
// closures. The error says in which column what is wrong and what to write
// instead; it fits on one line.
func Compile(source string, vars []Variable) (*Program, error) {
	s, err := parse(source)
	if err != nil {
		return nil, err
	}
	if err := s.declare(vars); err != nil {
		return nil, err
	}
	if err := s.admit(s.tree.Expr(), 1); err != nil {
		return nil, err
	}
	if err := s.check(vars); err != nil {
		return nil, err
	}
	return s.translate()
}

// translate turns the checked tree into a Program.
func (s *script) translate() (*Program, error) {
	b := &builder{script: s, used: map[int]bool{}}
	root := s.tree.Expr()
	p := &Program{kind: s.kindOf(root)}
	switch p.kind {
	case Float:
		p.number = b.number(root)
	case Bool:
		p.truth = b.truth(root)
	case String:
		p.text = b.text(root)
	case Time:
		p.instant = b.instant(root)
	default:
		return nil, s.fault(root, "the result is a %s; a number, bool, string or time is needed", s.tree.GetType(root.ID()))
	}
	if b.err != nil {
		return nil, b.err
	}
	for i := range b.used {
		p.uses = append(p.uses, i)
	}
	slices.Sort(p.uses)
	return p, nil
}

// Kind returns the kind of the results that are not missing: Float, Bool,
// String or Time. It is never Int, because numbers are doubles.
func (p *Program) Kind() Kind { return p.kind }

// Uses returns, in rising order, the indexes of the variables that the
// expression names. The caller must not change it.
func (p *Program) Uses() []int { return p.uses }

// Eval computes the expression for one row, where row[i] is the value of
// vars[i] of Compile; it panics on a row that is shorter than that. The result
// is missing or of the Program's kind. nonfinite reports that it is missing
// because a number was not finite. A String may share the memory of a String
// in the row.
func (p *Program) Eval(row []Value) (v Value, nonfinite bool) {
	var st status
	switch p.kind {
	case Float:
		var x float64
		if x, st = p.number(row); st == present {
			if finite(x) {
				return FloatValue(x), false
			}
			return Value{}, true
		}
	case Bool:
		var x bool
		if x, st = p.truth(row); st == present {
			return BoolValue(x), false
		}
	case String:
		var x string
		if x, st = p.text(row); st == present {
			return StringValue(x), false
		}
	case Time:
		var x int64
		if x, st = p.instant(row); st == present {
			return TimeValue(x), false
		}
	}
	return Value{}, st == overflow
}

// RequestFields returns the names of the request fields that source uses, in
// order and each once: "ret" for request.ret. It only parses, so that a caller
// can declare the fields as variables ("request.ret") before Compile.
func RequestFields(source string) ([]string, error) {
	s, err := parse(source)
	if err != nil {
		return nil, err
	}
	var fields []string
	ast.PreOrderVisit(s.tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.SelectKind {
			return
		}
		of := e.AsSelect().Operand()
		if of.Kind() == ast.IdentKind && of.AsIdent() == "request" {
			fields = append(fields, e.AsSelect().FieldName())
		}
	}))
	slices.Sort(fields)
	return slices.Compact(fields), nil
}

// exactAsDouble reports whether i survives the conversion to a double.
func exactAsDouble(i int64) bool {
	f := float64(i)
	return f < math.MaxInt64 && int64(f) == i
}

// excerpt returns source as errors quote it, cut to one short line.
func excerpt(source string) string {
	if len(source) > 60 {
		source = source[:57] + "..."
	}
	return fmt.Sprintf("%q", source)
}
