package onnx

import (
	"fmt"
	"math"
)

// where builds a choice between two values by a condition.
func where(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 3, 3); err != nil {
		return nil, err
	}
	if in[0].typ != boolType || in[1].typ != in[2].typ {
		return nil, fmt.Errorf("inputs of types %v, %v and %v do not go together", in[0].typ, in[1].typ, in[2].typ)
	}
	dims, _, _, err := spread(in[1].dims, in[2].dims)
	if err == nil {
		dims, _, _, err = spread(in[0].dims, dims)
	}
	if err != nil {
		return nil, err
	}
	y := c.new(n, in[1].typ, dims)
	total := y.size()
	from := [3][]int32{places(in[0].dims, dims, total), places(in[1].dims, dims, total), places(in[2].dims, dims, total)}
	var s step
	switch {
	case y.typ == float32Type:
		s = choose[float32](in, y, from)
	case y.typ == float64Type:
		s = choose[float64](in, y, from)
	case y.typ.isInt():
		s = choose[int64](in, y, from)
	case y.typ == boolType:
		s = choose[bool](in, y, from)
	case y.typ == stringType:
		s = choose[string](in, y, from)
	default:
		return nil, errType(y)
	}
	c.do(n, total, s)
	return []*value{y}, nil
}

func choose[T element](in []*value, y *value, from [3][]int32) step {
	test, yes, no, to := in[0].slot, in[1].slot, in[2].slot, y.slot
	at := func(places []int32, i int) int {
		if places == nil {
			return i
		}
		return int(places[i])
	}
	return func(st *state) {
		tests, a, b, out := st.slots[test].b, of[T](&st.slots[yes]), of[T](&st.slots[no]), of[T](&st.slots[to])
		for i := range out {
			if tests[at(from[0], i)] {
				out[i] = a[at(from[1], i)]
			} else {
				out[i] = b[at(from[2], i)]
			}
		}
	}
}

// clip builds limits from below and above, which are inputs since opset 11.
func clip(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 3); err != nil {
		return nil, err
	}
	low, high := input(in, 1), input(in, 2)
	if n.opset < 11 {
		if len(in) > 1 {
			return nil, fmt.Errorf("limits are attributes in opset %d", n.opset)
		}
		low = c.constant(&constant{typ: float32Type, tensor: tensor{f: []float32{n.float("min", -math.MaxFloat32)}}})
		high = c.constant(&constant{typ: float32Type, tensor: tensor{f: []float32{n.float("max", math.MaxFloat32)}}})
	}
	x := in[0]
	for _, limit := range []*value{low, high} {
		if limit != nil && (limit.typ != x.typ || limit.size() != 1) {
			return nil, fmt.Errorf("a limit of %v is not one %v", limit, x.typ)
		}
	}
	y := c.new(n, x.typ, x.dims)
	switch x.typ { // no limit is the least or greatest number, and no infinity
	case float32Type:
		c.do(n, y.size(), clipped[float32](x, low, high, y, -math.MaxFloat32, math.MaxFloat32))
	case float64Type:
		c.do(n, y.size(), clipped[float64](x, low, high, y, -math.MaxFloat64, math.MaxFloat64))
	case int64Type:
		c.do(n, y.size(), clipped[int64](x, low, high, y, math.MinInt64, math.MaxInt64))
	default:
		return nil, errType(x)
	}
	return []*value{y}, nil
}

func clipped[T number](x, low, high, y *value, least, most T) step {
	return func(st *state) {
		from, to := least, most
		if low != nil {
			from = of[T](&st.slots[low.slot])[0]
		}
		if high != nil {
			to = of[T](&st.slots[high.slot])[0]
		}
		out := of[T](&st.slots[y.slot])
		for i, v := range of[T](&st.slots[x.slot]) {
			if v < from {
				v = from
			}
			if v > to {
				v = to
			}
			out[i] = v
		}
	}
}

// pick compiles a value whose elements are those of x at the places.
func (c *compiler) pick(n *node, x *value, dims []int, places []int32) *value {
	y := c.new(n, x.typ, dims)
	if n.err != nil {
		return y
	}
	var s step
	switch {
	case x.typ == float32Type:
		s = picked[float32](x, y, places)
	case x.typ == float64Type:
		s = picked[float64](x, y, places)
	case x.typ == boolType:
		s = picked[bool](x, y, places)
	case x.typ == stringType:
		s = picked[string](x, y, places)
	default:
		s = picked[int64](x, y, places)
	}
	c.do(n, len(places), s)
	return y
}

func picked[T element](x, y *value, places []int32) step {
	from, to := x.slot, y.slot
	return func(st *state) {
		a, b := of[T](&st.slots[from]), of[T](&st.slots[to])
		for i, place := range places {
			b[i] = a[place]
		}
	}
}

// taken compiles Gather where the indices are known only with the row: blocks of
// inner elements at an index of axis elements, for each of outer.
func (c *compiler) taken(n *node, x, index *value, dims []int, outer, axis, inner int) *value {
	y := c.new(n, x.typ, dims)
	if n.err != nil {
		return y
	}
	var s step
	switch {
	case x.typ == float32Type:
		s = takenAt[float32](x, index, y, outer, axis, inner)
	case x.typ == float64Type:
		s = takenAt[float64](x, index, y, outer, axis, inner)
	case x.typ == boolType:
		s = takenAt[bool](x, index, y, outer, axis, inner)
	case x.typ == stringType:
		s = takenAt[string](x, index, y, outer, axis, inner)
	default:
		s = takenAt[int64](x, index, y, outer, axis, inner)
	}
	c.do(n, y.size(), s)
	return y
}

func takenAt[T element](x, index, y *value, outer, axis, inner int) step {
	return func(st *state) {
		a, b := of[T](&st.slots[x.slot]), of[T](&st.slots[y.slot])
		to := 0
		for o := range outer {
			for _, i := range st.slots[index.slot].i {
				if i < 0 {
					i += int64(axis)
				}
				if i < 0 || i >= int64(axis) { // onnxruntime refuses the row
					st.failed = true
					i = 0
				}
				from := (o*axis + int(i)) * inner
				to += copy(b[to:to+inner], a[from:from+inner])
			}
		}
	}
}
