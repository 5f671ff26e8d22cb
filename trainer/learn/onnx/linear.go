package onnx

import (
	"fmt"
	"slices"
)

// A dense is a matrix of weights and what is added: y = x·w + b for each row of x.
type dense[T float32 | float64] struct {
	rows, in, out int
	x, w, y       int // slots; w is in by out
	flip          bool
	alpha         T
}

// run multiplies. Sums are taken in T and in the order of the inputs, without the
// fused operations that some machines would use.
func (m dense[T]) run(st *state) {
	x, w, y := of[T](&st.slots[m.x]), of[T](&st.slots[m.w]), of[T](&st.slots[m.y])
	for r := range m.rows {
		row, sums := x[r*m.in:(r+1)*m.in], y[r*m.out:(r+1)*m.out]
		if m.flip { // w is out by in
			for j := range sums {
				sums[j] = dot(row, w[j*m.in:(j+1)*m.in])
			}
		} else {
			clear(sums)
			for k, v := range row {
				for j, weight := range w[k*m.out : (k+1)*m.out] {
					sums[j] += T(v * weight)
				}
			}
		}
		if m.alpha != 1 {
			for j := range sums {
				sums[j] *= m.alpha
			}
		}
	}
}

func dot[T float32 | float64](a, b []T) T {
	var sum T
	for i, v := range a {
		sum += T(v * b[i])
	}
	return sum
}

// product compiles x·w, where x is rows by in and w is in by out, or out by in if
// it is flipped.
func (c *compiler) product(n *node, x, w *value, rows, in, out int, flip bool, alpha float32, dims []int) (*value, error) {
	if x.typ != w.typ {
		return nil, fmt.Errorf("inputs of types %v and %v do not go together", x.typ, w.typ)
	}
	y := c.new(n, x.typ, dims)
	if rows*out != 0 && in > maxWork/(rows*out) {
		return nil, fmt.Errorf("multiplying %v by %v takes more than %d operations", x, w, maxWork)
	}
	switch x.typ {
	case float32Type:
		c.do(n, rows*in*out, dense[float32]{rows, in, out, x.slot, w.slot, y.slot, flip, alpha}.run)
	case float64Type:
		c.do(n, rows*in*out, dense[float64]{rows, in, out, x.slot, w.slot, y.slot, flip, float64(alpha)}.run)
	default:
		return nil, errType(x)
	}
	return y, nil
}

func matMul(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	a, b := slices.Clone(in[0].dims), slices.Clone(in[1].dims)
	if len(a) == 0 || len(a) > 2 || len(b) == 0 || len(b) > 2 {
		return nil, fmt.Errorf("multiplying %v by %v is not supported: only matrices and vectors are", in[0], in[1])
	}
	dims := slices.Concat(a[:len(a)-1], b[1:])
	if len(b) == 1 {
		dims = a[:len(a)-1]
	}
	if len(a) == 1 {
		a = []int{1, a[0]}
	}
	if len(b) == 1 {
		b = []int{b[0], 1}
	}
	if a[1] != b[0] {
		return nil, fmt.Errorf("shapes %v and %v do not fit each other", in[0].dims, in[1].dims)
	}
	y, err := c.product(n, in[0], in[1], a[0], a[1], b[1], false, 1, dims)
	return []*value{y}, err
}

func gemm(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 2, 3); err != nil {
		return nil, err
	}
	a, b := in[0], in[1]
	if a.rank() != 2 || b.rank() != 2 {
		return nil, fmt.Errorf("%v and %v are not matrices", a, b)
	}
	alpha, beta := n.float("alpha", 1), n.float("beta", 1)
	if n.flag("transA", false) {
		flipped, err := transpose(c, &node{op: "Transpose"}, []*value{a})
		if err != nil {
			return nil, err
		}
		a = flipped[0]
	}
	flip := n.flag("transB", false)
	inner, out := b.dims[0], b.dims[1]
	if flip {
		inner, out = out, inner
	}
	if a.dims[1] != inner {
		return nil, fmt.Errorf("shapes %v and %v do not fit each other", a.dims, b.dims)
	}
	y, err := c.product(n, a, b, a.dims[0], inner, out, flip, alpha, []int{a.dims[0], out})
	if add := input(in, 2); add != nil && err == nil {
		y, err = c.added(n, y, add, beta)
	}
	return []*value{y}, err
}

// added compiles y + beta·b.
func (c *compiler) added(n *node, y, b *value, beta float32) (*value, error) {
	dims, _, from, err := spread(y.dims, b.dims)
	if err != nil || !slices.Equal(dims, y.dims) || b.typ != y.typ {
		return nil, fmt.Errorf("%v cannot be added to %v", b, y)
	}
	sum := c.new(n, y.typ, dims)
	switch y.typ {
	case float32Type:
		c.do(n, sum.size(), pairs(y, b, sum, nil, from, func(y, b float32) float32 { return y + float32(beta*b) }))
	case float64Type:
		c.do(n, sum.size(), pairs(y, b, sum, nil, from, func(y, b float64) float64 { return y + float64(float64(beta)*b) }))
	}
	return sum, nil
}

// batchNormalization builds what a trained net makes of it: a scale and an offset
// for each of the columns.
func batchNormalization(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 5, 5); err != nil {
		return nil, err
	}
	n.ignore("momentum", "spatial")
	if n.flag("training_mode", false) {
		return nil, fmt.Errorf("its training mode is not supported")
	}
	epsilon, x := n.float("epsilon", 1e-5), in[0]
	if x.rank() < 2 || x.typ != float32Type {
		return nil, errType(x)
	}
	for _, p := range in[1:] {
		if p.typ != float32Type || p.size() != x.dims[1] {
			return nil, fmt.Errorf("parameters of %v do not fit %v", p, x)
		}
	}
	y := c.new(n, x.typ, x.dims)
	_, columns, inner := axisBlocks(x.dims, 1)
	c.do(n, 4*x.size(), func(st *state) {
		scale, offset, mean, variance := st.slots[in[1].slot].f, st.slots[in[2].slot].f, st.slots[in[3].slot].f, st.slots[in[4].slot].f
		out := st.slots[y.slot].f
		for i, v := range st.slots[x.slot].f {
			k := i / inner % columns
			factor := scale[k] / root(variance[k]+epsilon)
			out[i] = float32(v*factor) + (offset[k] - float32(mean[k]*factor))
		}
	})
	return []*value{y}, nil
}
