package onnx

import (
	"fmt"
	"slices"
)

func constantNode(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 0, 0); err != nil {
		return nil, err
	}
	data := &constant{}
	switch {
	case n.has("value"):
		data = n.tensor("value")
	case n.has("value_float"):
		*data = constant{typ: float32Type, tensor: tensor{f: []float32{n.float("value_float", 0)}}}
	case n.has("value_floats"):
		f := n.floats("value_floats")
		*data = constant{typ: float32Type, dims: []int{len(f)}, tensor: tensor{f: f}}
	case n.has("value_int"):
		*data = constant{typ: int64Type, tensor: tensor{i: []int64{n.int("value_int", 0)}}}
	case n.has("value_ints"):
		i := n.ints("value_ints")
		*data = constant{typ: int64Type, dims: []int{len(i)}, tensor: tensor{i: i}}
	case n.has("value_string"):
		*data = constant{typ: stringType, tensor: tensor{s: []string{n.text("value_string", "")}}}
	case n.has("value_strings"):
		s := n.strings("value_strings")
		*data = constant{typ: stringType, dims: []int{len(s)}, tensor: tensor{s: s}}
	default:
		return nil, fmt.Errorf("it has no value")
	}
	if n.err != nil {
		return nil, n.err
	}
	return []*value{c.constant(data)}, nil
}

func constantOfShape(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	shape, err := constantInts(in[0], "shape")
	if err != nil {
		return nil, err
	}
	dims := make([]int, len(shape))
	for i, d := range shape {
		if d < 0 || d > maxCells {
			return nil, fmt.Errorf("a shape of %v is not supported", shape)
		}
		dims[i] = int(d)
	}
	fill := n.tensor("value")
	if fill == nil {
		fill = &constant{typ: float32Type, dims: []int{1}, tensor: tensor{f: []float32{0}}}
	}
	if elements, _ := size(fill.dims); elements != 1 {
		return nil, fmt.Errorf("its value has %d elements instead of 1", elements)
	}
	elements, ok := size(dims)
	if !ok || elements > maxCells || len(dims) > maxRank {
		return nil, fmt.Errorf("a shape of %v is not supported", shape)
	}
	return []*value{c.pick(n, c.constant(fill), dims, make([]int32, elements))}, n.err
}

// shapeOf builds Shape, which is known without a row, as a row is always one.
func shapeOf(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	rank := int64(in[0].rank())
	limit := func(v int64) int64 {
		if v < 0 {
			v += rank
		}
		return min(max(v, 0), rank)
	}
	start, end := limit(n.int("start", 0)), limit(n.int("end", rank))
	var data []int64
	for i := start; i < end; i++ {
		data = append(data, int64(in[0].dims[i]))
	}
	return []*value{c.constant(&constant{typ: int64Type, dims: []int{len(data)}, tensor: tensor{i: data}})}, nil
}

// identity builds what changes nothing; Dropout is one of them, but for training.
func identity(c *compiler, n *node, in []*value) ([]*value, error) {
	if n.op == "Dropout" {
		if len(in) > 2 {
			return nil, fmt.Errorf("its training mode is not supported")
		}
		n.ignore("seed", "ratio")
		in = in[:min(1, len(in))]
	}
	if len(in) != 1 || in[0] == nil {
		return nil, fmt.Errorf("it has %d inputs instead of 1", len(in))
	}
	return []*value{alias(in[0], in[0].dims)}, nil
}

func reshape(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	shape, err := constantInts(in[1], "shape")
	if err != nil {
		return nil, err
	}
	if len(shape) > maxRank {
		return nil, fmt.Errorf("a shape of %d dimensions is not supported", len(shape))
	}
	zero := n.flag("allowzero", false)
	dims, open, known := make([]int, len(shape)), -1, 1
	for i, d := range shape {
		switch {
		case d == 0 && !zero && i < in[0].rank():
			dims[i] = in[0].dims[i]
		case d == -1 && open < 0:
			open = i
			continue
		case d < 0 || d > maxCells:
			return nil, fmt.Errorf("a shape of %v is not supported", shape)
		default:
			dims[i] = int(d)
		}
		if known *= dims[i]; known > maxTensor {
			return nil, fmt.Errorf("a shape of %v is not supported", shape)
		}
	}
	elements := in[0].size()
	if open >= 0 && known > 0 {
		dims[open] = elements / known
		known *= dims[open]
	}
	if known != elements {
		return nil, fmt.Errorf("%v does not fit the shape %v", in[0], shape)
	}
	return []*value{alias(in[0], dims)}, nil
}

func flatten(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	axis, rank := n.int("axis", 1), in[0].rank()
	if axis < 0 {
		axis += int64(rank)
	}
	if axis < 0 || axis > int64(rank) {
		return nil, fmt.Errorf("axis %d is outside a shape of %d dimensions", axis, rank)
	}
	first, _ := size(in[0].dims[:axis])
	rest, _ := size(in[0].dims[axis:])
	return []*value{alias(in[0], []int{first, rest})}, nil
}

// axes returns the axes of a node: an attribute until the opset since, then the
// second input. Nil are none.
func axes(n *node, in []*value, since int64, rank int) ([]int, error) {
	given := n.ints("axes")
	if n.opset >= since {
		if n.has("axes") {
			return nil, fmt.Errorf("axes are an input in opset %d", n.opset)
		}
		if v := input(in, 1); v != nil {
			var err error
			if given, err = constantInts(v, "axes"); err != nil {
				return nil, err
			}
		}
	} else if len(in) > 1 {
		return nil, fmt.Errorf("axes are an attribute in opset %d", n.opset)
	}
	var found []int
	for _, a := range given {
		axis := n.axis(a, rank)
		if slices.Contains(found, axis) {
			return nil, fmt.Errorf("axis %d is there twice", axis)
		}
		found = append(found, axis)
	}
	return found, n.err
}

func squeeze(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 2); err != nil {
		return nil, err
	}
	drop, err := axes(n, in, 13, in[0].rank())
	if err != nil {
		return nil, err
	}
	var dims []int
	for i, d := range in[0].dims {
		named := slices.Contains(drop, i)
		if named && d != 1 {
			return nil, fmt.Errorf("axis %d of %v is not 1", i, in[0])
		}
		if !named && (drop != nil || d != 1) {
			dims = append(dims, d)
		}
	}
	return []*value{alias(in[0], dims)}, nil
}

func unsqueeze(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 2); err != nil {
		return nil, err
	}
	count := len(n.ints("axes"))
	if v := input(in, 1); v != nil {
		count = v.size()
	}
	rank := in[0].rank() + count
	if rank > maxRank {
		return nil, fmt.Errorf("%d dimensions are not supported", rank)
	}
	insert, err := axes(n, in, 13, rank)
	if err != nil {
		return nil, err
	}
	dims, rest := make([]int, rank), in[0].dims
	for i := range dims {
		if slices.Contains(insert, i) {
			dims[i] = 1
			continue
		}
		dims[i], rest = rest[0], rest[1:]
	}
	return []*value{alias(in[0], dims)}, nil
}
