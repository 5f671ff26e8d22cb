package onnx

import (
	"fmt"
	"math"
)

// labelEncoder builds a table from one value to another, and what all others
// become.
func labelEncoder(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	keys, values, err := labelTable(n, in[0])
	if err != nil {
		return nil, err
	}
	count, _ := size(keys.dims)
	if have, _ := size(values.dims); have != count {
		return nil, fmt.Errorf("%d keys and %d values", count, have)
	}
	if keys.typ != in[0].typ {
		return nil, fmt.Errorf("keys of type %v do not fit %v", keys.typ, in[0])
	}
	otherwise, err := labelDefault(n, values.typ)
	if err != nil {
		return nil, err
	}
	find, err := labelFinder(in[0], keys)
	if err != nil {
		return nil, err
	}
	y := c.new(n, values.typ, in[0].dims)
	switch {
	case y.typ == float32Type:
		c.do(n, y.size(), mapped(y, find, values.f, otherwise.f))
	case y.typ == float64Type:
		c.do(n, y.size(), mapped(y, find, values.d, otherwise.d))
	case y.typ == stringType:
		c.do(n, y.size(), mapped(y, find, values.s, otherwise.s))
	case y.typ.isInt():
		c.do(n, y.size(), mapped(y, find, values.i, otherwise.i))
	default:
		return nil, fmt.Errorf("values of type %v are not supported", y.typ)
	}
	return []*value{y}, nil
}

// labelTable returns the keys and the values.
func labelTable(n *node, x *value) (keys, values *constant, err error) {
	if n.opset < 2 { // texts and their places, in the direction of the input
		texts := n.strings("classes_strings")
		places := make([]int64, len(texts))
		for i := range places {
			places[i] = int64(i)
		}
		keys = &constant{typ: stringType, dims: []int{len(texts)}, tensor: tensor{s: texts}}
		values = &constant{typ: int64Type, dims: []int{len(texts)}, tensor: tensor{i: places}}
		if x.typ == int64Type {
			return values, keys, nil
		}
		return keys, values, nil
	}
	if keys, err = n.list("keys"); err != nil {
		return nil, nil, err
	}
	values, err = n.list("values")
	return keys, values, err
}

// list returns the one of the attributes name_strings, name_int64s, name_floats
// and name_tensor that is there.
func (n *node) list(name string) (*constant, error) {
	var found []*constant
	if s := n.strings(name + "_strings"); len(s) > 0 {
		found = append(found, &constant{typ: stringType, dims: []int{len(s)}, tensor: tensor{s: s}})
	}
	if i := n.ints(name + "_int64s"); len(i) > 0 {
		found = append(found, &constant{typ: int64Type, dims: []int{len(i)}, tensor: tensor{i: i}})
	}
	if f := n.floats(name + "_floats"); len(f) > 0 {
		found = append(found, &constant{typ: float32Type, dims: []int{len(f)}, tensor: tensor{f: f}})
	}
	if t := n.tensor(name + "_tensor"); t != nil {
		found = append(found, t)
	}
	if len(found) != 1 {
		return nil, errFirst(n.err, fmt.Errorf("it has %d lists of %s instead of 1", len(found), name))
	}
	return found[0], nil
}

// labelDefault returns what an unknown key becomes, as one element.
func labelDefault(n *node, typ dtype) (*constant, error) {
	text, whole, float := n.text("default_string", "_Unused"), n.int("default_int64", -1), n.float("default_float", float32(math.Copysign(0, -1)))
	if t := n.tensor("default_tensor"); t != nil {
		if elements, _ := size(t.dims); t.typ != typ || elements != 1 {
			return nil, fmt.Errorf("its default %v%v is not one %v", t.typ, t.dims, typ)
		}
		return t, nil
	}
	return &constant{typ: typ, tensor: tensor{
		s: []string{text}, i: []int64{whole}, f: []float32{float}, d: []float64{float64(float)},
	}}, nil
}

func mapped[T element](y *value, find func(*state, int) (int, bool), values, otherwise []T) step {
	return func(st *state) {
		out := of[T](&st.slots[y.slot])
		for i := range out {
			if place, ok := find(st, i); ok {
				out[i] = values[place]
			} else {
				out[i] = otherwise[0]
			}
		}
	}
}

// labelFinder returns how the place of a key is found. NaN is a key like others.
func labelFinder(x *value, keys *constant) (func(*state, int) (int, bool), error) {
	switch {
	case keys.typ == stringType:
		return finder(x, firstPlaces(keys.s), func(v string) string { return v }), nil
	case keys.typ == boolType:
		return finder(x, firstPlaces(keys.b), func(v bool) bool { return v }), nil
	case keys.typ.isInt():
		return finder(x, firstPlaces(keys.i), func(v int64) int64 { return v }), nil
	case keys.typ == float32Type:
		return finder(x, firstPlaces(comparables(keys.f)), comparableBits[float32]), nil
	case keys.typ == float64Type:
		return finder(x, firstPlaces(comparables(keys.d)), comparableBits[float64]), nil
	}
	return nil, fmt.Errorf("keys of type %v are not supported", keys.typ)
}

// firstPlaces returns where each key is; of two equal ones, the first, as
// onnxruntime does against the standard.
func firstPlaces[K comparable](keys []K) map[K]int {
	m := make(map[K]int, len(keys))
	for i, k := range keys {
		if _, twice := m[k]; !twice {
			m[k] = i
		}
	}
	return m
}

// comparableBits makes equal numbers equal keys, and all NaN one.
func comparableBits[T float32 | float64](v T) uint64 {
	switch {
	case v != v:
		return math.Float64bits(math.NaN())
	case v == 0:
		return 0
	}
	return math.Float64bits(float64(v))
}

func comparables[T float32 | float64](values []T) []uint64 {
	keys := make([]uint64, len(values))
	for i, v := range values {
		keys[i] = comparableBits(v)
	}
	return keys
}
