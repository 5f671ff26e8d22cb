package expr

import (
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
)

// vars of the table tests: f and g are numbers, i is an int, and so on; every
// name that starts with no is missing in the row.
var tableVars = []Variable{
	{"f", Float}, {"i", Int}, {"s", String}, {"t", Time}, {"b", Bool}, {"inf", Float}, {"nan", Float},
	{"nof", Float}, {"noi", Int}, {"nos", String}, {"not", Time}, {"nob", Bool}, {"request.ret", Float}, {"big", Int},
}

var tableRow = []Value{
	FloatValue(2.5), IntValue(7), StringValue("héllo"), TimeValue(1_700_000_000_250_000), BoolValue(true),
	FloatValue(math.Inf(1)), FloatValue(math.NaN()), {}, {}, {}, {}, {}, FloatValue(0.25), IntValue(1<<53 + 1),
}

func TestEval(t *testing.T) {
	n, yes, no, gone := FloatValue, BoolValue(true), BoolValue(false), Value{}
	for _, x := range []struct {
		source    string
		want      Value
		nonfinite bool
	}{
		// Numbers are doubles.
		{"i", n(7), false},
		{"i > 0", yes, false},
		{"7 / 2", n(3.5), false},
		{"i / 2 + 0x10", n(19.5), false},
		{"-i - -3", n(-4), false},
		{"abs(f / 2 - 1) >= 0.25", yes, false},
		{"(request.ret - 1) * 4", n(-3), false},
		{"0.1 + 0.2", n(0.30000000000000004), false},
		{"9007199254740992", n(1 << 53), false},
		{"big == 9007199254740992", yes, false}, // an Int beyond 2^53 is rounded
		// Functions.
		{"log(exp(2))", n(2), false},
		{"log2(8) + log10(1000) + log1p(0)", n(6), false},
		{"sqrt(16) + pow(2, 10)", n(1028), false},
		{"min(3, 1, 2) + max(1, 2)", n(3), false},
		{"floor(-1.5) + ceil(-1.5)", n(-3), false},
		{"round(2.5) + round(-2.5) + round(0.4)", n(0), false},
		{"sign(-3) + sign(0) * 10 + sign(inf) * 100", n(99), false},
		// Missing operands.
		{"nof", gone, false},
		{"nan", gone, false},
		{"f + nof", gone, false},
		{"nof > 1", gone, false},
		{"nof == nof", gone, false},
		{"nof != 1", gone, false},
		{"nos == 'a'", gone, false},
		{"nos in ['a']", gone, false},
		{"nos.contains('')", gone, false},
		{"nos.matches('')", gone, false},
		{"size(nos)", gone, false},
		{"s + nos", gone, false},
		{"not < t", gone, false},
		{"hour(not)", gone, false},
		{"t - not", gone, false},
		{"-noi", gone, false},
		{"!nob", gone, false},
		{"log(nof)", gone, false},
		{"false && nob", no, false},
		{"nob && false", no, false},
		{"true && nob", gone, false},
		{"nob && true", gone, false},
		{"nob && nob", gone, false},
		{"true || nob", yes, false},
		{"nob || true", yes, false},
		{"false || nob", gone, false},
		{"nob || false", gone, false},
		{"nob ? 1 : 2", gone, false},
		{"b ? 1 : nof", n(1), false},
		{"b ? nof : 1", gone, false},
		{"is_missing(nof)", yes, false},
		{"is_missing(nan) && is_missing(nos) && is_missing(not) && is_missing(nob)", yes, false},
		{"is_missing(f) || is_missing(s) || is_missing(t) || is_missing(b)", no, false},
		{"coalesce(nof, noi, 3)", n(3), false},
		{"coalesce(f, nof)", n(2.5), false},
		{"coalesce(nos, s)", StringValue("héllo"), false},
		{"coalesce(not, t)", TimeValue(1_700_000_000_250_000), false},
		{"coalesce(nob, b)", yes, false},
		{"coalesce(nof, noi)", gone, false},
		// Numbers that are not finite.
		{"1 / 0", gone, true},
		{"0 / 0", gone, true},
		{"1 / 0 > 5", gone, true},
		{"f / (i - 7) == 0", gone, true},
		{"log(0)", gone, true},
		{"log(-1)", gone, true},
		{"sqrt(-1)", gone, true},
		{"exp(1000)", gone, true},
		{"1e308 * 10", gone, true},
		{"1e308 + 1e308", gone, true},
		{"-1e308 - 1e308", gone, true},
		{"pow(0, -1)", gone, true},
		{"1 / (1 / 0)", gone, true},
		{"nof + 1 / 0", gone, true},
		{"false && 1 / 0 > 5", no, false},
		{"1 / 0 > 5 || true", yes, false},
		{"true && 1 / 0 > 5", gone, true},
		{"is_missing(1 / 0)", yes, false},
		{"coalesce(1 / 0, 4)", n(4), false},
		{"coalesce(1 / 0, nof)", gone, true},
		{"1 / 0 > 5 ? 1 : 2", gone, true},
		{"hour(t) / 0 == 1 ? 'a' : 'b'", gone, true},
		{"inf", gone, true},
		{"inf > 5", yes, false},
		{"inf + 1 > 5", yes, false},
		{"1 / inf", n(0), false},
		{"1 / inf == 0", yes, false},
		{"inf - inf < 1", gone, true},
		{"inf * 0 < 1", gone, true},
		{"min(inf, f)", n(2.5), false},
		{"-inf < 0", yes, false},
		// Strings.
		{"s == 'héllo' && s != \"hello\"", yes, false},
		{"'Z' < 'a' && 'a' <= 'a' && 'b' > 'a' && !('a' >= 'b')", yes, false},
		{"size(s) + s.size()", n(10), false},
		{"s.startsWith('hé') && s.endsWith('lo') && s.contains('ll')", yes, false},
		{"s.matches('l+') && !s.matches('^l+$')", yes, false},
		{"s in ['a', 'héllo']", yes, false},
		{"s in ['a', 'b']", no, false},
		{"s in []", no, false},
		{"i in [-1, 7]", yes, false},
		{"i in [0,1,2,3,4,5,6,8,9,10,11]", no, false},
		{"i in [0,1,2,3,4,5,6,7,8,9,10]", yes, false},
		{"s + '!' + s", StringValue("héllo!héllo"), false},
		{"b ? s : 'x'", StringValue("héllo"), false},
		// Times.
		{"t", TimeValue(1_700_000_000_250_000), false},
		{"t - timestamp('2023-11-14T22:13:20Z')", n(0.25), false},
		{"timestamp('2023-11-14T22:13:20Z') - t", n(-0.25), false},
		{"t > timestamp('2023-11-14T23:13:20+01:00') && t <= t && t == t", yes, false},
		{"hour(t) * 10 + day_of_week(t)", n(222), false}, // Tuesday, 22:13
		{"hour(timestamp('1969-12-31T23:00:00Z'))", n(23), false},
		{"day_of_week(timestamp('1969-12-28T00:00:00Z'))", n(0), false},
		{"day_of_week(timestamp('1969-12-27T23:59:59.999999Z'))", n(6), false},
		// Precedence and layout.
		{"1 + 2 * 3 - 4 / 2", n(5), false},
		{"b || b && false", yes, false},
		{"!b ? 1 : b ? 2 : 3", n(2), false},
		{"f\n  > 1 // a comment", yes, false},
	} {
		p, err := Compile(x.source, tableVars)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		got, nonfinite := p.Eval(tableRow)
		if got != x.want || nonfinite != x.nonfinite {
			t.Errorf("%s: %v %s, nonfinite %t; want %v %s, nonfinite %t", x.source, got.Kind, got.Text(), nonfinite, x.want.Kind, x.want.Text(), x.nonfinite)
		}
		if got.Kind != Missing && got.Kind != p.Kind() {
			t.Errorf("%s: a %v from a program of kind %v", x.source, got.Kind, p.Kind())
		}
	}
}

// TestEvalOtherKinds gives variables values of kinds that they do not have.
func TestEvalOtherKinds(t *testing.T) {
	vars := []Variable{{"f", Float}, {"i", Int}, {"s", String}, {"t", Time}, {"b", Bool}}
	values := []Value{{}, BoolValue(true), IntValue(1), FloatValue(1), StringValue("1"), TimeValue(1)}
	fits := map[Kind][]Kind{Float: {Int, Float}, Int: {Int, Float}, String: {String}, Time: {Time}, Bool: {Bool}}
	for i, v := range vars {
		p, err := Compile(v.Name, vars)
		if err != nil {
			t.Fatal(err)
		}
		for _, given := range values {
			row := make([]Value, len(vars))
			row[i] = given
			got, _ := p.Eval(row)
			if present := got.Kind != Missing; present != slices.Contains(fits[v.Kind], given.Kind) {
				t.Errorf("a variable of kind %v read from a %v: present %t", v.Kind, given.Kind, present)
			}
		}
	}
}

func TestSecondsBeyondInt64(t *testing.T) {
	p, err := Compile("a - b", []Variable{{"a", Time}, {"b", Time}})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := p.Eval([]Value{TimeValue(math.MaxInt64), TimeValue(math.MinInt64)})
	if want := FloatValue(math.Exp2(64) / 1e6); got != want {
		t.Errorf("the longest difference is %s, want %s", got.Text(), want.Text())
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, x := range []struct{ source, want string }{
		{"", "empty"},
		{" \n ", "empty"},
		{"ff > 0", `column 1: unknown name "ff"; did you mean "f"?`},
		{"1 + lg(f)", `column 5: unknown function "lg"; did you mean "log"?`},
		{"f > 0 &&\n  request.rte > 1", `line 2, column 3: unknown name "request.rte"; did you mean "request.ret"?`},
		{"something > 0", `column 1: unknown name "something"; known are f, i, s, t,`},
		{"request > 0", `column 1: unknown name "request"`},
		{".f > 0", `unknown name ".f"`},
		{"f.size", `column 1: unknown name "f.size"`},
		{"(s + s).x", "column 4: fields of values are not provided"},
		{"f + s", "column 3: + does not take (number, string); it takes (number, number) or (string, string)"},
		{"f + t", "column 3: + does not take (number, time)"},
		{"s == 1", "column 3: == does not take (string, number)"},
		{"b ? 1 : 'a'", "column 3: ?: does not take (bool, number, string)"},
		{"f ? 1 : 2", "column 3: ?: does not take (number, number, number)"},
		{"f && b", "column 1: expected type 'bool' but found 'number'"},
		{"!f", "column 1: ! does not take (number)"},
		{"true < false", "column 6: < does not take (bool, bool)"},
		{"1 + abs(s)", "column 5: abs does not take (string); it takes abs(number)"},
		{"min(1)", "min(number, number) or min(number, number, number)"},
		{"s.startsWith(f)", "column 3: startsWith does not take string.startsWith(number); it takes string.startsWith(string)"},
		{"coalesce(f, s)", "column 1: coalesce does not take (number, string)"},
		{"f % 2", "column 3: % is not provided"},
		{"[1, 2].map(x, x)", "column 8: the comprehension map is not provided"},
		{"[1, 2].all(x, x > 1)", "the comprehension all is not provided"},
		{"[1, 2].exists(x, x > 1)", "the comprehension exists is not provided"},
		{"[1, 2].exists_one(x, x > 1)", "the comprehension exists_one is not provided"},
		{"[1, 2].filter(x, x > 1)", "the comprehension filter is not provided"},
		{"has(request.ret)", "column 1: has is not provided; ask !is_missing(x)"},
		{"[f]", "column 1: a list is allowed only after in"},
		{"size([f])", "column 6: a list is allowed only after in"},
		{"{'a': 1}", "column 1: maps are not provided"},
		{"f in {1: 2}", "column 6: maps are not provided"},
		{"Point{x: 1}", "messages are not provided"},
		{"f[0]", "column 2: [ ] is not provided"},
		{"1u", "column 1: unsigned integers are not provided; write 1"},
		{"b'a'", "column 1: bytes are not provided"},
		{"f == null", "column 6: null is not provided"},
		{"dyn(f)", "column 1: dyn is not provided"},
		{"type(f)", "column 1: type is not provided"},
		{"double(f)", "column 1: double is not needed"},
		{"int(f)", "use floor, ceil or round"},
		{"string(f)", "column 1: string is not provided"},
		{"t + duration('1h')", "column 5: durations are not provided"},
		{"t.getHours()", "column 3: getHours is not provided; use hour(t)"},
		{"f in [i]", "column 7: the list after in holds constants"},
		{"f in [1, 'a']", "column 10: the list after in holds constants"},
		{"b in [true]", "column 1: in needs a string or a number before it"},
		{"s in 'abc'", "column 3: in does not take (string, string)"},
		{"s.matches(s)", "column 11: the pattern of matches must be a constant"},
		{"s.matches('(')", "missing closing ): `(`; patterns are RE2"},
		{"s.matches('(?:a{999}){999}')", "invalid repeat count"},
		{"s.matches('(?:a{30}b{30}){30}')", "the pattern needs more than 1000 steps"},
		{"timestamp(s)", "column 1: timestamp takes a constant"},
		{"timestamp('yesterday')", `timestamp "yesterday" is not RFC 3339`},
		{"timestamp('2024-01-31T00:00:00.0000001Z')", "with at most microseconds"},
		{"9007199254740993", "column 1: 9007199254740993 is not exact as a double"},
		{"9223372036854775807 > f", "9223372036854775807 is not exact as a double"},
		{"99999999999999999999", "column 1: invalid int literal"},
		{"1e999", "column 1: invalid double literal"},
		{"f > ", "column 5: the expression ends too early"},
		{"(f > 1", "column 7: the expression ends too early"},
		{"f > 1)", "column 6: syntax error"},
		{"f > > 1", "column 5: syntax error"},
		{"f = 1", "column 3: syntax error"},
		{"'abc", "column 1: syntax error"},
		{"package > 1", "column 1: reserved identifier: package"},
		{strings.Repeat("(", 300) + "f" + strings.Repeat(")", 300), "nested more than 100 levels deep"},
		{strings.Repeat("abs(", 101) + "f" + strings.Repeat(")", 101), "nested more than 100 levels deep"},
		{"f" + strings.Repeat(" + f", 200), "nested more than 100 levels deep"},
		{"s" + strings.Repeat(".size()", 200), "nested more than 100 levels deep"},
		{"f > 0" + strings.Repeat(" ", maxSource), "at most 4096 are allowed"},
	} {
		p, err := Compile(x.source, tableVars)
		if err == nil {
			t.Errorf("%s: compiled to a %v; want an error with %q", x.source, p.Kind(), x.want)
			continue
		}
		if !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v; want one line with %q", err, x.want)
		}
	}
}

func TestCompileRefusesVariables(t *testing.T) {
	for _, vars := range [][]Variable{{{"a", Float}, {"a", Int}}, {{"a", Missing}}} {
		if _, err := Compile("1", vars); err == nil || !strings.Contains(err.Error(), `the variable "a"`) {
			t.Errorf("%v: %v; want an error about the variable", vars, err)
		}
	}
}

func TestSuggest(t *testing.T) {
	many := make([]string, 40)
	for i := range many {
		many[i] = strings.Repeat("long", 3) + string(rune('A'+i))
	}
	for _, x := range []struct {
		unknown string
		known   []string
		want    string
	}{
		{"x", nil, "no names are known here"},
		{"volum", []string{"open", "volume"}, `did you mean "volume"?`},
		{"rte", []string{"rate", "ret"}, `did you mean "rate"?`},
		{"open", []string{"symbol"}, "known are symbol"},
		{"q", many, "and others"},
	} {
		if got := suggest(x.unknown, x.known); !strings.Contains(got, x.want) {
			t.Errorf("%s among %d names: %s; want %s", x.unknown, len(x.known), got, x.want)
		}
	}
}

// TestCompileTakes holds what is long or unusual and yet allowed.
func TestCompileTakes(t *testing.T) {
	for _, source := range []string{
		"f" + strings.Repeat(" + f", 99),
		"f > 1" + strings.Repeat(" && f > 1", 400),
		"s in [" + strings.Repeat("'a', ", 800) + "'b']",
		strings.Repeat("(", 80) + "f" + strings.Repeat(")", 80),
		"int + string > double", // names of CEL's types are free
	} {
		vars := append(slices.Clone(tableVars), Variable{"int", Float}, Variable{"string", Float}, Variable{"double", Float}, Variable{"in valid", Float})
		if _, err := Compile(source, vars); err != nil {
			t.Error(err)
		}
	}
}

func TestUses(t *testing.T) {
	for _, x := range []struct {
		source string
		want   []int
	}{
		{"1", nil},
		{"request.ret + f + request.ret", []int{0, 12}},
		{"false && nob", []int{11}},
		{"is_missing(s) ? t : not", []int{2, 3, 10}},
	} {
		p, err := Compile(x.source, tableVars)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Uses(); !slices.Equal(got, x.want) {
			t.Errorf("%s uses %v, want %v", x.source, got, x.want)
		}
	}
}

func TestRequestFields(t *testing.T) {
	for _, x := range []struct {
		source string
		want   []string
	}{
		{"f > 0", nil},
		{"(request.ret - mean) / request.a + log(request.ret)", []string{"a", "ret"}},
		{"other.request > request.x ? 1 : requests.y", []string{"x"}},
		{"request.s.startsWith('a') || request.n in [1]", []string{"n", "s"}},
	} {
		got, err := RequestFields(x.source)
		if err != nil || !slices.Equal(got, x.want) {
			t.Errorf("%s: %v, %v; want %v", x.source, got, err, x.want)
		}
	}
	if _, err := RequestFields("request. > 1"); err == nil {
		t.Error("RequestFields took a source that does not parse")
	}
}

func TestEvalDoesNotAllocate(t *testing.T) {
	for _, x := range plain {
		p, err := Compile(x.source, stocks)
		if err != nil {
			t.Fatal(err)
		}
		if v, _ := p.Eval(stockRow); v.Kind == Missing && x.name != "coalesce" {
			t.Errorf("%s: missing; the test would measure little", x.source)
		}
		if strings.Contains(x.source, "matches") {
			continue // regexp takes its memory from a sync.Pool, which the race detector empties at random
		}
		if n := testing.AllocsPerRun(100, func() { p.Eval(stockRow) }); n != 0 {
			t.Errorf("%s: %v allocations per Eval", x.source, n)
		}
	}
}

// TestEvalConcurrently is for the race detector.
func TestEvalConcurrently(t *testing.T) {
	var wait sync.WaitGroup
	for _, x := range plain {
		p, err := Compile(x.source, stocks)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := p.Eval(stockRow)
		for range 4 {
			wait.Go(func() {
				for range 100 {
					if got, _ := p.Eval(stockRow); got != want {
						t.Errorf("%s: %s, alone %s", x.source, got.Text(), want.Text())
					}
				}
			})
		}
	}
	wait.Wait()
}

func FuzzCompile(f *testing.F) {
	for _, x := range plain {
		f.Add(x.source)
	}
	for _, source := range []string{"f in [1, -2]", "s.matches('a|b')", "coalesce(nof, 1/0)", "t - timestamp('2024-01-31T00:00:00Z')", "[1].map(x, x)", "{1: 2}[1]", "request.ret", "\x00'", "((((", "f.g.h()"} {
		f.Add(source)
	}
	vars := append(slices.Clone(tableVars), stocks...)
	vars = slices.DeleteFunc(vars, func(v Variable) bool { return v.Name == "request.ret" })
	f.Fuzz(func(t *testing.T, source string) {
		fields, _ := RequestFields(source)
		with := slices.Clone(vars)
		for _, name := range fields {
			with = append(with, Variable{"request." + name, Float})
		}
		p, err := Compile(source, with)
		if err != nil {
			return
		}
		row := make([]Value, len(with))
		for i, v := range with {
			row[i] = Value{Kind: v.Kind, Bits: uint64(i)}
		}
		for _, row := range [][]Value{row, make([]Value, len(with))} {
			v, nonfinite := p.Eval(row)
			if v.Kind != Missing && (v.Kind != p.Kind() || nonfinite) {
				t.Fatalf("%q: a %v, nonfinite %t, from a program of kind %v", source, v.Kind, nonfinite, p.Kind())
			}
			if x, ok := v.Number(); ok && !finite(x) {
				t.Fatalf("%q gives %v", source, x)
			}
		}
	})
}
