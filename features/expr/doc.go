// Package expr holds the typed values of events and rows, and compiles CEL
// expressions over them to Go closures.
//
// CEL's parser and type checker read an expression; the checked tree is then
// translated to closures over a row of Values that neither box nor allocate
// (concatenation of strings does allocate). CEL's own evaluator is not used,
// except by the tests as an oracle.
//
// # What an expression may hold
//
//	numbers      1  0.5  1e-3        every number is a double: integer literals and fields too
//	others       true  "a"  'a'      timestamp("2024-01-31T09:30:00Z"), of a constant only
//	names        volume  request.ret
//	arithmetic   + - * /  -x         of numbers
//	comparison   == !=               of two values of one kind
//	             < <= > >=           of numbers, strings (by bytes) or times
//	logic        && || !  c ? a : b
//	constants    x in [1, 2]         also strings
//	numbers      abs ceil exp floor log log2 log10 log1p max min pow round sign sqrt
//	             min and max take two or three; round takes halves away from zero
//	strings      a + b  size(s)      size counts characters
//	             s.contains(t)  s.startsWith(t)  s.endsWith(t)
//	             s.matches("RE2")    a constant pattern, found anywhere in s unless it has ^ and $
//	times        t - u               seconds, as a number
//	             hour(t)             0 to 23, UTC
//	             day_of_week(t)      0 is Sunday, UTC
//	missing      is_missing(x)  coalesce(a, b)  coalesce(a, b, c)
//
// All else of CEL is refused by Compile: comprehensions, lists elsewhere,
// maps, messages, int, uint, bytes, null, duration, dyn and conversions.
// A source has at most 4096 bytes and 100 levels of nesting.
//
// # Missing values
//
// A missing operand gives a missing result, with these exceptions:
//
//	false && missing     false, and so missing && false
//	true || missing      true, and so missing || true
//	c ? a : b            needs c and the side that c chooses; the other may be missing
//	is_missing(x)        never missing
//	coalesce(a, b)       the first that is not missing
//
// A NaN in a row is missing, and so is a value of another kind than the
// variable's (an Int for a Float and a Float for an Int are both numbers).
//
// # Numbers that are not finite
//
// An operation that makes a number which is not finite out of finite ones, as
// 1/0, log(0) and exp(1000) do, gives a missing value there and then: 1/0 > 5
// is missing and coalesce(a/b, 0) is 0 where b is 0. Where such a value makes
// the whole result missing, Eval reports it as nonfinite. What the exceptions
// above absorb is not reported. An infinity in a row (a source with
// allow_nonfinite) is a number like others: inf > 5 is true, and an operation
// on it may give an infinity, but not NaN. A result that is infinite at the
// top is missing and nonfinite.
//
// # Exactness
//
// An Int beyond 2^53 is rounded when an expression reads it, so two
// neighbouring large Ints may compare equal; an integer literal that would be
// rounded is refused. Operators, comparisons, abs, ceil, floor, round, sign,
// sqrt, min and max give the same bits on every architecture. exp, pow and the
// logarithms are those of package math, whose last bit may differ between
// architectures.
package expr
