package expr

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/common/decls"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// A signature is one way to call a function or operator. Those of CEL keep
// CEL's overload id, so that its own evaluator can run the checked tree in
// tests.
type signature struct {
	name, id string
	member   bool // called as a.f(b)
	args     []*types.Type
	result   *types.Type
}

var (
	numT  = types.DoubleType
	boolT = types.BoolType
	textT = types.StringType
	timeT = types.TimestampType
	anyT  = types.NewTypeParamType("T") // the same type at each place of a signature
)

// signatures are everything that an expression may call.
var signatures = append([]signature{
	{operators.Conditional, overloads.Conditional, false, []*types.Type{boolT, anyT, anyT}, anyT},
	{operators.LogicalAnd, overloads.LogicalAnd, false, []*types.Type{boolT, boolT}, boolT},
	{operators.LogicalOr, overloads.LogicalOr, false, []*types.Type{boolT, boolT}, boolT},
	{operators.LogicalNot, overloads.LogicalNot, false, []*types.Type{boolT}, boolT},
	{operators.Equals, overloads.Equals, false, []*types.Type{anyT, anyT}, boolT},
	{operators.NotEquals, overloads.NotEquals, false, []*types.Type{anyT, anyT}, boolT},
	{operators.Less, overloads.LessDouble, false, []*types.Type{numT, numT}, boolT},
	{operators.Less, overloads.LessString, false, []*types.Type{textT, textT}, boolT},
	{operators.Less, overloads.LessTimestamp, false, []*types.Type{timeT, timeT}, boolT},
	{operators.LessEquals, overloads.LessEqualsDouble, false, []*types.Type{numT, numT}, boolT},
	{operators.LessEquals, overloads.LessEqualsString, false, []*types.Type{textT, textT}, boolT},
	{operators.LessEquals, overloads.LessEqualsTimestamp, false, []*types.Type{timeT, timeT}, boolT},
	{operators.Greater, overloads.GreaterDouble, false, []*types.Type{numT, numT}, boolT},
	{operators.Greater, overloads.GreaterString, false, []*types.Type{textT, textT}, boolT},
	{operators.Greater, overloads.GreaterTimestamp, false, []*types.Type{timeT, timeT}, boolT},
	{operators.GreaterEquals, overloads.GreaterEqualsDouble, false, []*types.Type{numT, numT}, boolT},
	{operators.GreaterEquals, overloads.GreaterEqualsString, false, []*types.Type{textT, textT}, boolT},
	{operators.GreaterEquals, overloads.GreaterEqualsTimestamp, false, []*types.Type{timeT, timeT}, boolT},
	{operators.In, overloads.InList, false, []*types.Type{anyT, types.NewListType(anyT)}, boolT},
	{operators.Add, overloads.AddDouble, false, []*types.Type{numT, numT}, numT},
	{operators.Add, overloads.AddString, false, []*types.Type{textT, textT}, textT},
	{operators.Subtract, overloads.SubtractDouble, false, []*types.Type{numT, numT}, numT},
	{operators.Subtract, "subtract_times", false, []*types.Type{timeT, timeT}, numT},
	{operators.Multiply, overloads.MultiplyDouble, false, []*types.Type{numT, numT}, numT},
	{operators.Divide, overloads.DivideDouble, false, []*types.Type{numT, numT}, numT},
	{operators.Negate, overloads.NegateDouble, false, []*types.Type{numT}, numT},
	{"size", overloads.SizeString, false, []*types.Type{textT}, numT},
	{"size", overloads.SizeStringInst, true, []*types.Type{textT}, numT},
	{"startsWith", overloads.StartsWithString, true, []*types.Type{textT, textT}, boolT},
	{"endsWith", overloads.EndsWithString, true, []*types.Type{textT, textT}, boolT},
	{"contains", overloads.ContainsString, true, []*types.Type{textT, textT}, boolT},
	{"matches", overloads.MatchesString, true, []*types.Type{textT, textT}, boolT},
	{"timestamp", overloads.StringToTimestamp, false, []*types.Type{textT}, timeT},
	{"hour", "hour", false, []*types.Type{timeT}, numT},
	{"day_of_week", "day_of_week", false, []*types.Type{timeT}, numT},
	{"is_missing", "is_missing", false, []*types.Type{anyT}, boolT},
	{"coalesce", "coalesce_2", false, []*types.Type{anyT, anyT}, anyT},
	{"coalesce", "coalesce_3", false, []*types.Type{anyT, anyT, anyT}, anyT},
	{"pow", "pow", false, []*types.Type{numT, numT}, numT},
	{"min", "min_2", false, []*types.Type{numT, numT}, numT},
	{"min", "min_3", false, []*types.Type{numT, numT, numT}, numT},
	{"max", "max_2", false, []*types.Type{numT, numT}, numT},
	{"max", "max_3", false, []*types.Type{numT, numT, numT}, numT},
}, unarySignatures()...)

func unarySignatures() []signature {
	var all []signature
	for name := range unary {
		all = append(all, signature{name, name, false, []*types.Type{numT}, numT})
	}
	return all
}

func (x signature) overload() decls.FunctionOpt {
	if x.member {
		return decls.MemberOverload(x.id, x.args, x.result)
	}
	return decls.Overload(x.id, x.args, x.result)
}

// String writes x as errors show it: f(number), string.f(string), and for an
// operator only (number, number).
func (x signature) String() string {
	parts := make([]string, len(x.args))
	for i, t := range x.args {
		parts[i] = t.String()
	}
	text := "(" + strings.Join(parts, ", ") + ")"
	switch {
	case x.member:
		text = parts[0] + "." + x.name + "(" + strings.Join(parts[1:], ", ") + ")"
	case !x.operator():
		text = x.name + text
	}
	return ourTypes.Replace(text)
}

// operator reports whether x is written between or before its operands.
func (x signature) operator() bool {
	return strings.ContainsAny(x.name, "!?@&|=<>+-*/") || x.name == operators.In
}

// ourTypes turns CEL's names of types into those of the project file.
var ourTypes = strings.NewReplacer("double", "number", "google.protobuf.Timestamp", "time", "timestamp", "time", "<T>", "T", "list(dyn)", "list")

// refused says what to use instead of calls that users of CEL would try.
var refused = map[string]string{
	operators.Modulo:    "% is not provided, numbers are doubles; use x - y*floor(x/y)",
	operators.Index:     "[ ] is not provided; every value has a name of its own",
	operators.OptIndex:  "[?] is not provided; use coalesce(a, b)",
	operators.OptSelect: ".? is not provided; use coalesce(a, b)",
	"has":               "has is not provided; ask !is_missing(x)",
	"all":               "the comprehension all is not provided; use &&",
	"exists":            "the comprehension exists is not provided; use || or in",
	"exists_one":        "the comprehension exists_one is not provided; use && and ||",
	"map":               "the comprehension map is not provided; write one derivation for each value",
	"filter":            "the comprehension filter is not provided; use where or ?:",
	"dyn":               "dyn is not provided; every value has one type",
	"type":              "type is not provided; the fields' types are fixed",
	"double":            "double is not needed, numbers are doubles; leave it out, or declare the field as float",
	"int":               "int is not provided, numbers are doubles; use floor, ceil or round, or declare the field as int",
	"uint":              "uint is not provided, numbers are doubles; use floor, ceil or round",
	"string":            "string is not provided; declare the field as string",
	"bool":              "bool is not provided; compare with == or declare the field as bool",
	"bytes":             "bytes are not provided; use strings",
	"duration":          "durations are not provided; a difference of times is a number of seconds, as in t - u > 3600",
	"getHours":          "getHours is not provided; use hour(t), in UTC",
	"getDayOfWeek":      "getDayOfWeek is not provided; use day_of_week(t), in UTC, 0 for Sunday",
}

// callable returns the names of the functions, without the operators.
func callable() []string {
	var names []string
	for _, x := range signatures {
		if !x.operator() {
			names = append(names, x.name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// suggest names the known name that is closest to the unknown one, or some of
// the known ones where none is close.
func suggest(unknown string, known []string) string {
	best, least := "", len(unknown)/3+2
	for _, name := range known {
		if d := distance(unknown, name); d < least {
			best, least = name, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("did you mean %q?", best)
	case len(known) == 0:
		return "no names are known here"
	case len(known) > 30:
		return "known are " + strings.Join(known[:30], ", ") + " and others"
	}
	return "known are " + strings.Join(known, ", ")
}

// distance is Levenshtein's: how many bytes to insert, delete or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
