package onnx

import (
	"fmt"
	"math"
	"slices"
)

// reduce builds the operators that make one element of the elements of some axes.
func reduce(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 2); err != nil {
		return nil, err
	}
	x, since := in[0], int64(18)
	if n.op == "ReduceSum" {
		since = 13
	}
	along, err := axes(n, in, since, x.rank())
	if err != nil {
		return nil, err
	}
	keep := n.flag("keepdims", true)
	if len(along) == 0 {
		if n.flag("noop_with_empty_axes", false) {
			return []*value{alias(x, x.dims)}, nil
		}
		for i := range x.dims {
			along = append(along, i)
		}
	}
	kept, dims := reduced(x.dims, along, keep)
	y := c.new(n, x.typ, dims)
	groups := places(kept, x.dims, x.size())
	if groups == nil {
		groups = make([]int32, x.size())
		for i := range groups {
			groups[i] = int32(i)
		}
	}
	if total, _ := size(x.dims); total == 0 {
		return nil, fmt.Errorf("its input %v is empty", x)
	}
	switch sums := c.new(n, float64Type, dims); {
	case n.op == "ReduceLogSumExp" && x.typ == float32Type:
		c.do(n, 4*x.size(), logSumExp[float32](x, y, sums, groups))
	case n.op == "ReduceLogSumExp" && x.typ == float64Type:
		c.do(n, 4*x.size(), logSumExp[float64](x, y, sums, groups))
	case n.op == "ReduceLogSumExp":
		return nil, errType(x)
	case x.typ == float32Type:
		c.do(n, x.size(), reduction[float32](n.op, x, y, groups))
	case x.typ == float64Type:
		c.do(n, x.size(), reduction[float64](n.op, x, y, groups))
	case x.typ == int64Type:
		c.do(n, x.size(), reduction[int64](n.op, x, y, groups))
	default:
		return nil, errType(x)
	}
	return []*value{y}, nil
}

// reduced returns a shape with axes of 1, and without them if they are not kept.
func reduced(from, along []int, keep bool) (kept, dims []int) {
	kept = slices.Clone(from)
	for i := range kept {
		if slices.Contains(along, i) {
			kept[i] = 1
		}
		if keep || !slices.Contains(along, i) {
			dims = append(dims, kept[i])
		}
	}
	return kept, dims
}

// reduction is a step that folds each element of x into that of y which its group
// names.
func reduction[T number](op string, x, y *value, groups []int32) step {
	start, fold := folds[T](op)
	share := T(1)
	if op == "ReduceMean" {
		share = T(max(1, len(groups)/max(1, y.size())))
	}
	return func(st *state) {
		from, to := of[T](&st.slots[x.slot]), of[T](&st.slots[y.slot])
		if start != nil {
			for i := range to {
				to[i] = *start
			}
		} else { // begin with an element of the group
			for i := len(from) - 1; i >= 0; i-- {
				to[groups[i]] = from[i]
			}
		}
		for i, v := range from {
			to[groups[i]] = fold(to[groups[i]], v)
		}
		if op == "ReduceMean" {
			for i := range to {
				to[i] /= share
			}
		}
		if op == "ReduceL2" {
			for i := range to {
				to[i] = T(math.Sqrt(float64(to[i])))
			}
		}
	}
}

// folds returns what a group begins with, nil for its own elements, and how an
// element is folded in.
func folds[T number](op string) (*T, func(sum, v T) T) {
	zero, one := T(0), T(1)
	switch op {
	case "ReduceMax":
		return nil, larger[T]
	case "ReduceMin":
		return nil, smaller[T]
	case "ReduceProd":
		return &one, multiply[T]
	case "ReduceSumSquare", "ReduceL2":
		return &zero, func(sum, v T) T { return sum + T(v*v) }
	}
	return &zero, add[T] // ReduceSum, ReduceMean
}

func logSumExp[T number](x, y, sums *value, groups []int32) step {
	return func(st *state) {
		from, to, sum := of[T](&st.slots[x.slot]), of[T](&st.slots[y.slot]), st.slots[sums.slot].d
		for i := len(from) - 1; i >= 0; i-- {
			to[groups[i]] = from[i]
		}
		for i, v := range from {
			to[groups[i]] = larger(to[groups[i]], v)
		}
		clear(sum)
		for i, v := range from {
			sum[groups[i]] += exp(float64(v - to[groups[i]]))
		}
		for i := range to {
			to[i] += T(math.Log(sum[i]))
		}
	}
}

// argExtreme builds ArgMax and ArgMin.
func argExtreme(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	x := in[0]
	axis := n.axis(n.int("axis", 0), x.rank())
	last, keep := n.flag("select_last_index", false), n.flag("keepdims", true)
	if n.err != nil {
		return nil, n.err
	}
	outer, length, inner := axisBlocks(x.dims, axis)
	if length == 0 {
		return nil, fmt.Errorf("axis %d of %v is empty", axis, x)
	}
	_, dims := reduced(x.dims, []int{axis}, keep)
	y := c.new(n, int64Type, dims)
	most := n.op == "ArgMax"
	switch {
	case x.typ == float32Type:
		c.do(n, x.size(), argStep[float32](x, y, outer, length, inner, most, last))
	case x.typ == float64Type:
		c.do(n, x.size(), argStep[float64](x, y, outer, length, inner, most, last))
	case x.typ.isInt():
		c.do(n, x.size(), argStep[int64](x, y, outer, length, inner, most, last))
	default:
		return nil, errType(x)
	}
	return []*value{y}, nil
}

func argStep[T number](x, y *value, outer, length, inner int, most, last bool) step {
	return func(st *state) {
		from, to := of[T](&st.slots[x.slot]), st.slots[y.slot].i
		for o := range outer {
			for i := range inner {
				best := 0
				for k := 1; k < length; k++ {
					v, b := from[(o*length+k)*inner+i], from[(o*length+best)*inner+i]
					if most && v > b || !most && v < b || last && v == b {
						best = k
					}
				}
				to[o*inner+i] = int64(best)
			}
		}
	}
}

// softmax builds Softmax and LogSoftmax: along one axis, or before opset 13 over
// all from the axis on.
func softmax(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	x, otherwise := in[0], int64(-1)
	if n.opset < 13 {
		otherwise = 1
	}
	axis := n.axis(n.int("axis", otherwise), x.rank())
	if n.err != nil {
		return nil, n.err
	}
	outer, length, inner := axisBlocks(x.dims, axis)
	if n.opset < 13 {
		length, inner = length*inner, 1
	}
	y := c.new(n, x.typ, x.dims)
	switch x.typ {
	case float32Type:
		c.do(n, 4*x.size(), softmaxStep[float32](x, y, outer, length, inner, n.op == "LogSoftmax"))
	case float64Type:
		c.do(n, 4*x.size(), softmaxStep[float64](x, y, outer, length, inner, n.op == "LogSoftmax"))
	default:
		return nil, errType(x)
	}
	return []*value{y}, nil
}

func softmaxStep[T float32 | float64](x, y *value, outer, length, inner int, log bool) step {
	return func(st *state) {
		from, to := of[T](&st.slots[x.slot]), of[T](&st.slots[y.slot])
		for o := range outer {
			for i := range inner {
				at := func(k int) int { return (o*length+k)*inner + i }
				most, sum := T(math.Inf(-1)), 0.0
				for k := range length {
					most = max(most, from[at(k)])
				}
				for k := range length {
					sum += exp(float64(from[at(k)] - most))
				}
				for k := range length {
					v := float64(from[at(k)] - most)
					if log {
						to[at(k)] = T(v - math.Log(sum))
					} else {
						to[at(k)] = T(exp(v) / sum)
					}
				}
			}
		}
	}
}
