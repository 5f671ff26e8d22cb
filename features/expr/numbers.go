package expr

import (
	"math"
	"unicode/utf8"
)

// Each arithmetic operation is a closure of its own that returns its result
// through an indirect call, so no compiler fuses a product and a sum of the
// expression into one rounding. Within a closure a product is converted before
// it is used: without that, finite's a*b - a*b may become one fused operation,
// which is not 0, on arm64 and others.

func loadNumber(i int) fn[float64] {
	return func(row []Value) (float64, status) {
		v := &row[i]
		switch v.Kind {
		case Float:
			if x := v.Float(); !math.IsNaN(x) {
				return x, present
			}
		case Int:
			return float64(v.Int()), present
		}
		return 0, absent
	}
}

// finite reports whether x is neither infinite nor NaN: for those x-x is NaN.
func finite(x float64) bool { return x-x == 0 }

// settle gives the result r of an operation on a and b its status: overflow if
// r is not finite, unless it is the infinity that an infinite operand passes
// on.
func settle(r, a, b float64) (float64, status) {
	if finite(r) {
		return r, present
	}
	return unsettled(r, a, b)
}

func unsettled(r, a, b float64) (float64, status) {
	if !math.IsNaN(r) && (math.IsInf(a, 0) || math.IsInf(b, 0)) {
		return r, present
	}
	return 0, overflow
}

func add(x, y fn[float64]) fn[float64] {
	return func(row []Value) (float64, status) {
		a, sa := x(row)
		b, sb := y(row)
		if st := sa | sb; st != present {
			return 0, st
		}
		return settle(a+b, a, b)
	}
}

func subtract(x, y fn[float64]) fn[float64] {
	return func(row []Value) (float64, status) {
		a, sa := x(row)
		b, sb := y(row)
		if st := sa | sb; st != present {
			return 0, st
		}
		return settle(a-b, a, b)
	}
}

func multiply(x, y fn[float64]) fn[float64] {
	return func(row []Value) (float64, status) {
		a, sa := x(row)
		b, sb := y(row)
		if st := sa | sb; st != present {
			return 0, st
		}
		return settle(float64(a*b), a, b)
	}
}

func divide(x, y fn[float64]) fn[float64] {
	return func(row []Value) (float64, status) {
		a, sa := x(row)
		b, sb := y(row)
		if st := sa | sb; st != present {
			return 0, st
		}
		return settle(a/b, a, b)
	}
}

func negate(x fn[float64]) fn[float64] {
	return func(row []Value) (float64, status) {
		a, st := x(row)
		return -a, st
	}
}

// apply1 and apply2 call a function of package math.
func apply1(f func(float64) float64, x fn[float64]) fn[float64] {
	return func(row []Value) (float64, status) {
		a, st := x(row)
		if st != present {
			return 0, st
		}
		return settle(f(a), a, a)
	}
}

func apply2(f func(x, y float64) float64, x, y fn[float64]) fn[float64] {
	return func(row []Value) (float64, status) {
		a, sa := x(row)
		b, sb := y(row)
		if st := sa | sb; st != present {
			return 0, st
		}
		return settle(f(a, b), a, b)
	}
}

// unary are the functions of one number, named as in C.
var unary = map[string]func(float64) float64{
	"log": math.Log, "log2": math.Log2, "log10": math.Log10, "log1p": math.Log1p,
	"exp": math.Exp, "sqrt": math.Sqrt, "abs": math.Abs,
	"floor": math.Floor, "ceil": math.Ceil, "round": math.Round, "sign": sign,
}

// binary are the functions of two numbers.
var binary = map[string]func(x, y float64) float64{
	"pow": math.Pow,
	"min": func(x, y float64) float64 { return min(x, y) },
	"max": func(x, y float64) float64 { return max(x, y) },
}

func sign(x float64) float64 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return 0
}

func size(x fn[string]) fn[float64] {
	return func(row []Value) (float64, status) {
		a, st := x(row)
		return float64(utf8.RuneCountInString(a)), st
	}
}

const (
	secondMicros = int64(1e6)
	hourMicros   = 3600 * secondMicros
	dayMicros    = 24 * hourMicros
)

// seconds is the difference of two times. It is exact to the microsecond up to
// 2^53 microseconds, 285 years.
func seconds(x, y fn[int64]) fn[float64] {
	return func(row []Value) (float64, status) {
		a, sa := x(row)
		b, sb := y(row)
		d := a - b
		if (d < 0) != (a < b) { // beyond int64
			return (float64(a) - float64(b)) / 1e6, sa | sb
		}
		return float64(d) / 1e6, sa | sb
	}
}

func hour(x fn[int64]) fn[float64] {
	return func(row []Value) (float64, status) {
		us, st := x(row)
		return float64((us - floorDiv(us, dayMicros)*dayMicros) / hourMicros), st
	}
}

// dayOfWeek counts from Sunday, 0; the epoch was a Thursday.
func dayOfWeek(x fn[int64]) fn[float64] {
	return func(row []Value) (float64, status) {
		us, st := x(row)
		day := floorDiv(us, dayMicros) + 4
		return float64(day - floorDiv(day, 7)*7), st
	}
}

// floorDiv rounds towards minus infinity, so that times before the epoch fall
// in their day.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
