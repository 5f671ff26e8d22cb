package onnx

import (
	"fmt"
	"math"
	"slices"
)

// A concatPart is where an input of Concat goes: runs of length elements, the first
// at start, the next ones a stride later.
type concatPart struct{ slot, start, length int }

func concat(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, maxInputs); err != nil {
		return nil, err
	}
	rank := in[0].rank()
	axis := n.axis(n.int("axis", math.MinInt32), rank)
	if n.err != nil {
		return nil, n.err
	}
	dims := slices.Clone(in[0].dims)
	dims[axis] = 0
	for _, v := range in {
		if v == nil || v.typ != in[0].typ || v.rank() != rank {
			return nil, fmt.Errorf("inputs %v and %v do not go together", in[0], v)
		}
		for i, d := range v.dims {
			if i != axis && d != dims[i] {
				return nil, fmt.Errorf("inputs %v and %v do not go together", in[0], v)
			}
		}
		dims[axis] += v.dims[axis]
	}
	y := c.new(n, in[0].typ, dims)
	if n.err != nil {
		return nil, n.err
	}
	inner, _ := size(dims[axis+1:])
	stride := dims[axis] * inner
	parts, start := make([]concatPart, 0, len(in)), 0
	for _, v := range in {
		length := v.dims[axis] * inner
		if length > 0 {
			parts = append(parts, concatPart{v.slot, start, length})
		}
		start += length
	}
	var s step
	switch {
	case y.typ == float32Type:
		s = joined[float32](parts, y.slot, stride)
	case y.typ == float64Type:
		s = joined[float64](parts, y.slot, stride)
	case y.typ == boolType:
		s = joined[bool](parts, y.slot, stride)
	case y.typ == stringType:
		s = joined[string](parts, y.slot, stride)
	default:
		s = joined[int64](parts, y.slot, stride)
	}
	c.do(n, y.size(), s)
	return []*value{y}, nil
}

func joined[T element](parts []concatPart, to, stride int) step {
	return func(st *state) {
		out := of[T](&st.slots[to])
		for _, p := range parts {
			from := of[T](&st.slots[p.slot])
			for at := p.start; len(from) > 0; at += stride {
				copy(out[at:], from[:p.length])
				from = from[p.length:]
			}
		}
	}
}

// axisBlocks returns how a shape is cut at an axis: how many blocks, of how many
// elements of the axis, of how many elements each.
func axisBlocks(dims []int, axis int) (outer, length, inner int) {
	outer, _ = size(dims[:axis])
	inner, _ = size(dims[axis+1:])
	return outer, dims[axis], inner
}

// alongAxis returns the places of a shape where the axis takes only these indices.
func alongAxis(dims []int, axis int, indices []int) []int32 {
	outer, length, inner := axisBlocks(dims, axis)
	places := make([]int32, 0, outer*len(indices)*inner)
	for o := range outer {
		for _, index := range indices {
			for i := range inner {
				places = append(places, int32((o*length+index)*inner+i))
			}
		}
	}
	return places
}

func split(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 2); err != nil {
		return nil, err
	}
	x := in[0]
	axis := n.axis(n.int("axis", 0), x.rank())
	sizes := n.ints("split")
	n.ignore("num_outputs")
	if v := input(in, 1); v != nil {
		var err error
		if sizes, err = constantInts(v, "sizes"); err != nil {
			return nil, err
		}
	}
	if n.err != nil || len(n.outputs) == 0 {
		return nil, errFirst(n.err, fmt.Errorf("it has no outputs"))
	}
	if sizes == nil {
		each := (x.dims[axis] + len(n.outputs) - 1) / len(n.outputs)
		for left := x.dims[axis]; len(sizes) < len(n.outputs); left -= each {
			sizes = append(sizes, int64(max(min(each, left), 0)))
		}
	}
	var out []*value
	from := 0
	for _, s := range sizes {
		if s < 0 || s > int64(x.dims[axis]-from) {
			return nil, fmt.Errorf("parts of %v are more than axis %d of %v", sizes, axis, x)
		}
		indices := make([]int, s)
		for i := range indices {
			indices[i] = from + i
		}
		from += int(s)
		dims := slices.Clone(x.dims)
		dims[axis] = int(s)
		out = append(out, c.pick(n, x, dims, alongAxis(x.dims, axis, indices)))
	}
	if from != x.dims[axis] {
		return nil, fmt.Errorf("parts of %v are not axis %d of %v", sizes, axis, x)
	}
	return out, n.err
}

func gather(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	x, index := in[0], in[1]
	axis := n.axis(n.int("axis", 0), x.rank())
	if n.err != nil || !index.typ.isInt() {
		return nil, errFirst(n.err, errType(index))
	}
	dims := slices.Concat(x.dims[:axis], index.dims, x.dims[axis+1:])
	y, err := c.gathered(n, x, index, dims, axis)
	return []*value{y}, err
}

// gathered compiles the elements of x at the indices of an axis.
func (c *compiler) gathered(n *node, x, index *value, dims []int, axis int) (*value, error) {
	if total, ok := size(dims); !ok || total > maxCells || len(dims) > maxRank {
		return nil, fmt.Errorf("a shape of %v is not supported", dims)
	}
	outer, length, inner := axisBlocks(x.dims, axis)
	if index.data == nil {
		if length == 0 {
			return nil, fmt.Errorf("axis %d of %v is empty", axis, x)
		}
		return c.taken(n, x, index, dims, outer, length, inner), n.err
	}
	indices := make([]int, len(index.data.i))
	for i, at := range index.data.i {
		if at < 0 {
			at += int64(length)
		}
		if at < 0 || at >= int64(length) {
			return nil, fmt.Errorf("index %d is outside axis %d of %v", index.data.i[i], axis, x)
		}
		indices[i] = int(at)
	}
	return c.pick(n, x, dims, alongAxis(x.dims, axis, indices)), n.err
}

// arrayFeatureExtractor builds a choice of columns. What is in one dimension
// becomes one row.
func arrayFeatureExtractor(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	x, index := in[0], in[1]
	if x.rank() == 0 || index.size() == 0 || !index.typ.isInt() {
		return nil, fmt.Errorf("columns %v of %v cannot be chosen", index, x)
	}
	dims := slices.Clone(x.dims)
	dims[x.rank()-1] = index.size()
	if x.rank() == 1 {
		dims = []int{1, index.size()}
	}
	y, err := c.gathered(n, x, index, dims, x.rank()-1)
	return []*value{y}, err
}

// slice builds parts of axes. The limits are inputs since opset 10.
func sliceOp(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 5); err != nil {
		return nil, err
	}
	x := in[0]
	limits := [4][]int64{n.ints("starts"), n.ints("ends"), n.ints("axes"), nil} // and steps
	for i := range limits {
		v := input(in, i+1)
		if v == nil {
			continue
		}
		var err error
		if limits[i], err = constantInts(v, "limits"); err != nil {
			return nil, err
		}
	}
	starts, ends, along, steps := limits[0], limits[1], limits[2], limits[3]
	if len(ends) != len(starts) || along != nil && len(along) != len(starts) || steps != nil && len(steps) != len(starts) {
		return nil, fmt.Errorf("its limits are of different lengths")
	}
	for i := range starts {
		axis, step := int64(i), int64(1)
		if along != nil {
			axis = along[i]
		}
		if steps != nil {
			step = steps[i]
		}
		a := n.axis(axis, x.rank())
		if n.err != nil || step == 0 {
			return nil, errFirst(n.err, fmt.Errorf("a step is 0"))
		}
		indices := sliceIndices(starts[i], ends[i], step, x.dims[a])
		dims := slices.Clone(x.dims)
		dims[a] = len(indices)
		x = c.pick(n, x, dims, alongAxis(x.dims, a, indices))
	}
	return []*value{x}, n.err
}

// sliceIndices returns what start:end:step takes of length elements, as numpy.
func sliceIndices(start, end, step int64, length int) []int {
	low, high := int64(0), int64(length)
	if step < 0 {
		low, high = -1, int64(length)-1
	}
	limit := func(v int64) int64 {
		if v < 0 {
			v += int64(length)
		}
		return min(max(v, low), high)
	}
	var indices []int
	step = min(max(step, -int64(length)-1), int64(length)+1)
	for i, stop := limit(start), limit(end); step > 0 && i < stop || step < 0 && i > stop; i += step {
		indices = append(indices, int(i))
	}
	return indices
}

func transpose(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	x := in[0]
	order := make([]int, x.rank())
	for i := range order {
		order[i] = len(order) - 1 - i
	}
	if perm := n.ints("perm"); perm != nil {
		given := slices.Clone(perm)
		slices.Sort(given)
		for i, p := range given {
			if p != int64(i) || len(given) != len(order) {
				return nil, fmt.Errorf("%v is no order of %d axes", perm, len(order))
			}
		}
		for i, p := range perm {
			order[i] = int(p)
		}
	}
	dims, strides := make([]int, len(order)), make([]int, len(order))
	for i, axis := range order {
		dims[i] = x.dims[axis]
		strides[i], _ = size(x.dims[axis+1:])
	}
	places := make([]int32, x.size())
	for i := range places {
		rest, place := i, 0
		for d := len(dims) - 1; d >= 0; d-- {
			place += rest % dims[d] * strides[d]
			rest /= dims[d]
		}
		places[i] = int32(place)
	}
	return []*value{c.pick(n, x, dims, places)}, n.err
}

func expand(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	shape, err := constantInts(in[1], "shape")
	if err != nil {
		return nil, err
	}
	to := make([]int, len(shape))
	for i, d := range shape {
		if to[i] = int(d); d < 0 || d > maxCells || len(shape) > maxRank {
			return nil, fmt.Errorf("a shape of %v is not supported", shape)
		}
	}
	dims, from, _, err := spread(in[0].dims, to)
	if err != nil {
		return nil, err
	}
	if from == nil {
		return []*value{alias(in[0], dims)}, nil
	}
	return []*value{c.pick(n, in[0], dims, from)}, n.err
}
