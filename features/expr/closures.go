package expr

import "cmp"

// A status says whether a closure gave a value. The bits of several operands
// are joined with |, so that overflow survives beside missing.
type status uint8

const (
	present  status = 0
	absent   status = 1
	overflow status = 3 // absent, because an operation gave a number that is not finite
)

// An fn computes one node of an expression. When the status is not present,
// the value means nothing. It captures only what Compile fixed, so that it is
// safe for concurrent use, and it neither boxes nor allocates.
type fn[T any] func(row []Value) (T, status)

func constant[T any](x T) fn[T] {
	return func([]Value) (T, status) { return x, present }
}

func choose[T any](cond fn[bool], yes, no fn[T]) fn[T] {
	return func(row []Value) (T, status) {
		c, st := cond(row)
		if st != present {
			var none T
			return none, st
		}
		if c {
			return yes(row)
		}
		return no(row)
	}
}

func coalesce[T any](x, y fn[T]) fn[T] {
	return func(row []Value) (T, status) {
		a, sa := x(row)
		if sa == present {
			return a, present
		}
		b, sb := y(row)
		if sb != present {
			sb |= sa
		}
		return b, sb
	}
}

func isMissing[T any](x fn[T]) fn[bool] {
	return func(row []Value) (bool, status) {
		_, st := x(row)
		return st != present, present
	}
}

// and is false as soon as either side is false, even when the other is
// missing; or is its mirror image. Neither depends on the order of its sides.
func and(x, y fn[bool]) fn[bool] {
	return func(row []Value) (bool, status) {
		a, sa := x(row)
		if sa == present && !a {
			return false, present
		}
		b, sb := y(row)
		if sb == present && !b {
			return false, present
		}
		return true, sa | sb
	}
}

func or(x, y fn[bool]) fn[bool] {
	return func(row []Value) (bool, status) {
		a, sa := x(row)
		if sa == present && a {
			return true, present
		}
		b, sb := y(row)
		if sb == present && b {
			return true, present
		}
		return false, sa | sb
	}
}

func not(x fn[bool]) fn[bool] {
	return func(row []Value) (bool, status) {
		a, st := x(row)
		return !a, st
	}
}

func equal[T comparable](x, y fn[T], want bool) fn[bool] {
	return func(row []Value) (bool, status) {
		a, sa := x(row)
		b, sb := y(row)
		return (a == b) == want, sa | sb
	}
}

func less[T cmp.Ordered](x, y fn[T]) fn[bool] {
	return func(row []Value) (bool, status) {
		a, sa := x(row)
		b, sb := y(row)
		return a < b, sa | sb
	}
}

func lessEqual[T cmp.Ordered](x, y fn[T]) fn[bool] {
	return func(row []Value) (bool, status) {
		a, sa := x(row)
		b, sb := y(row)
		return a <= b, sa | sb
	}
}

// oneOf is a set beyond a few constants, a scan of them before.
func oneOf[T comparable](x fn[T], list []T) fn[bool] {
	if len(list) <= 8 {
		return func(row []Value) (bool, status) {
			a, st := x(row)
			for _, b := range list {
				if a == b {
					return true, st
				}
			}
			return false, st
		}
	}
	set := make(map[T]struct{}, len(list))
	for _, b := range list {
		set[b] = struct{}{}
	}
	return func(row []Value) (bool, status) {
		a, st := x(row)
		_, ok := set[a]
		return ok, st
	}
}

func textToTruth(f func(s, t string) bool, x, y fn[string]) fn[bool] {
	return func(row []Value) (bool, status) {
		a, sa := x(row)
		b, sb := y(row)
		if st := sa | sb; st != present {
			return false, st
		}
		return f(a, b), present
	}
}

func matching(f func(string) bool, x fn[string]) fn[bool] {
	return func(row []Value) (bool, status) {
		a, st := x(row)
		if st != present {
			return false, st
		}
		return f(a), present
	}
}

// concat is the one operation that allocates.
func concat(x, y fn[string]) fn[string] {
	return func(row []Value) (string, status) {
		a, sa := x(row)
		b, sb := y(row)
		if st := sa | sb; st != present {
			return "", st
		}
		return a + b, present
	}
}

func loadTruth(i int) fn[bool] {
	return func(row []Value) (bool, status) {
		if v := &row[i]; v.Kind == Bool {
			return v.Bool(), present
		}
		return false, absent
	}
}

func loadText(i int) fn[string] {
	return func(row []Value) (string, status) {
		if v := &row[i]; v.Kind == String {
			return v.Str, present
		}
		return "", absent
	}
}

func loadInstant(i int) fn[int64] {
	return func(row []Value) (int64, status) {
		if v := &row[i]; v.Kind == Time {
			return v.Int(), present
		}
		return 0, absent
	}
}
