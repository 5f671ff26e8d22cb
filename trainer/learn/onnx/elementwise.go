package onnx

import (
	"cmp"
	"fmt"
	"math"
)

// number is what can be reckoned with.
type number interface{ float32 | float64 | int64 }

// A kernel1 is a function of one element, for each type that has it.
type kernel1 struct {
	f func(float32) float32
	d func(float64) float64
	i func(int64) int64
}

// wide makes a float32 function of a float64 one: it is at least as exact as
// what onnxruntime computes.
func wide(f func(float64) float64) kernel1 {
	return kernel1{f: func(x float32) float32 { return float32(f(float64(x))) }, d: f}
}

func abs[T number](x T) T {
	if x < 0 {
		return -x
	}
	return x + 0 // -0 is 0
}

func sign[T number](x T) T {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return x
}

func relu[T number](x T) T {
	if x < 0 {
		return 0
	}
	return x
}

func sigmoid(x float64) float64 { return 1 / (1 + exp(-x)) }

var unaries = map[string]kernel1{
	"Abs":        {abs[float32], abs[float64], abs[int64]},
	"Neg":        {func(x float32) float32 { return -x }, func(x float64) float64 { return -x }, func(x int64) int64 { return -x }},
	"Sign":       {sign[float32], sign[float64], sign[int64]},
	"Relu":       {relu[float32], relu[float64], relu[int64]},
	"Reciprocal": {f: func(x float32) float32 { return 1 / x }, d: func(x float64) float64 { return 1 / x }},
	"Exp":        wide(exp), "Log": wide(math.Log), "Sqrt": wide(math.Sqrt), "Floor": wide(math.Floor), "Ceil": wide(math.Ceil),
	"Tanh": wide(math.Tanh), "Sigmoid": wide(sigmoid),
	"Softplus": wide(func(x float64) float64 { return max(x, 0) + math.Log1p(exp(-math.Abs(x))) }),
}

// unary builds the operators of one input and its shape.
func unary(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	k := unaries[n.op]
	switch n.op {
	case "LeakyRelu":
		alpha := n.float("alpha", 0.01)
		k = kernel1{f: func(x float32) float32 {
			if x < 0 {
				return alpha * x
			}
			return x
		}, d: func(x float64) float64 {
			if x < 0 {
				return float64(alpha) * x
			}
			return x
		}}
	case "Elu":
		alpha := float64(n.float("alpha", 1))
		k = wide(func(x float64) float64 {
			if x < 0 {
				return alpha * math.Expm1(x)
			}
			return x
		})
	}
	x, y := in[0], c.new(n, in[0].typ, in[0].dims)
	switch {
	case x.typ == float32Type && k.f != nil:
		c.do(n, y.size(), map1(x, y, k.f))
	case x.typ == float64Type && k.d != nil:
		c.do(n, y.size(), map1(x, y, k.d))
	case x.typ == int64Type && k.i != nil:
		c.do(n, y.size(), map1(x, y, k.i))
	default:
		return nil, errType(x)
	}
	return []*value{y}, nil
}

func map1[A, B element](x, y *value, f func(A) B) step {
	from, to := x.slot, y.slot
	return func(st *state) {
		a, b := of[A](&st.slots[from]), of[B](&st.slots[to])
		for i := range b {
			b[i] = f(a[i])
		}
	}
}

func isNaN(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	y := c.new(n, boolType, in[0].dims)
	switch in[0].typ {
	case float32Type:
		c.do(n, y.size(), map1(in[0], y, func(x float32) bool { return x != x }))
	case float64Type:
		c.do(n, y.size(), map1(in[0], y, func(x float64) bool { return x != x }))
	default:
		return nil, errType(in[0])
	}
	return []*value{y}, nil
}

func not(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	if in[0].typ != boolType {
		return nil, errType(in[0])
	}
	y := c.new(n, boolType, in[0].dims)
	c.do(n, y.size(), map1(in[0], y, func(x bool) bool { return !x }))
	return []*value{y}, nil
}

// spread returns the shape of an operation on two shapes, and the places that each
// of its elements takes from them; nil are all in their order.
func spread(a, b []int) (dims []int, fromA, fromB []int32, err error) {
	rank := max(len(a), len(b))
	dims = make([]int, rank)
	at := func(s []int, i int) int {
		if i -= rank - len(s); i >= 0 {
			return s[i]
		}
		return 1
	}
	for i := range dims {
		da, db := at(a, i), at(b, i)
		if da != db && da != 1 && db != 1 {
			return nil, nil, nil, fmt.Errorf("shapes %v and %v do not fit each other", a, b)
		}
		dims[i] = max(da, db)
		if da == 0 || db == 0 {
			dims[i] = 0
		}
	}
	total, ok := size(dims)
	if !ok || total > maxCells {
		return nil, nil, nil, fmt.Errorf("shapes %v and %v make more than %d elements", a, b, maxCells)
	}
	return dims, places(a, dims, total), places(b, dims, total), nil
}

// places returns which element of a shape each of total elements of a wider shape
// comes from.
func places(from, to []int, total int) []int32 {
	if n, _ := size(from); n == total {
		return nil
	}
	index := make([]int32, total)
	for i := range index {
		rest, place, stride := i, 0, 1
		for d := 1; d <= len(to); d++ {
			at := rest % to[len(to)-d]
			rest /= to[len(to)-d]
			if d <= len(from) {
				if width := from[len(from)-d]; width > 1 {
					place += at * stride
					stride *= width
				}
			}
		}
		index[i] = int32(place)
	}
	return index
}

// pairs is a step that computes each element of y of one of a and one of b.
func pairs[A, B, C element](a, b, y *value, fromA, fromB []int32, f func(A, B) C) step {
	slotA, slotB, slotY := a.slot, b.slot, y.slot
	return func(st *state) {
		va, vb, vy := of[A](&st.slots[slotA]), of[B](&st.slots[slotB]), of[C](&st.slots[slotY])
		for i := range vy {
			ia, ib := i, i
			if fromA != nil {
				ia = int(fromA[i])
			}
			if fromB != nil {
				ib = int(fromB[i])
			}
			vy[i] = f(va[ia], vb[ib])
		}
	}
}

// A kernel2 is a function of two elements, for each type that has it.
type kernel2 struct {
	f func(a, b float32) float32
	d func(a, b float64) float64
	i func(a, b int64) int64
}

func add[T number](a, b T) T      { return a + b }
func subtract[T number](a, b T) T { return a - b }
func multiply[T number](a, b T) T { return a * b }

func larger[T number](a, b T) T {
	if a > b || a != a {
		return a
	}
	return b
}

func smaller[T number](a, b T) T {
	if a < b || a != a {
		return a
	}
	return b
}

func divideInts(a, b int64) int64 {
	if b == 0 { // onnxruntime does not survive it
		return 0
	}
	return a / b
}

var binaries = map[string]kernel2{
	"Add": {add[float32], add[float64], add[int64]}, "Sum": {add[float32], add[float64], add[int64]},
	"Sub": {subtract[float32], subtract[float64], subtract[int64]},
	"Mul": {multiply[float32], multiply[float64], multiply[int64]},
	"Div": {func(a, b float32) float32 { return a / b }, func(a, b float64) float64 { return a / b }, divideInts},
	"Pow": {func(a, b float32) float32 { return float32(math.Pow(float64(a), float64(b))) }, math.Pow,
		func(a, b int64) int64 { return toInt(math.Pow(float64(a), float64(b))) }},
	"Max": {larger[float32], larger[float64], larger[int64]},
	"Min": {smaller[float32], smaller[float64], smaller[int64]},
}

func arithmetic(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	a, b := in[0], in[1]
	if n.op == "Pow" && b.typ != a.typ {
		b = c.converted(n, b, a.typ)
	}
	y, err := c.pairwise(n, a, b)
	return []*value{y}, err
}

// pairwise compiles an operation of two values of one type.
func (c *compiler) pairwise(n *node, a, b *value) (*value, error) {
	if a.typ != b.typ {
		return nil, fmt.Errorf("inputs of types %v and %v do not go together", a.typ, b.typ)
	}
	dims, fromA, fromB, err := spread(a.dims, b.dims)
	if err != nil {
		return nil, err
	}
	y, k := c.new(n, a.typ, dims), binaries[n.op]
	switch a.typ {
	case float32Type:
		c.do(n, y.size(), pairs(a, b, y, fromA, fromB, k.f))
	case float64Type:
		c.do(n, y.size(), pairs(a, b, y, fromA, fromB, k.d))
	case int64Type:
		c.do(n, y.size(), pairs(a, b, y, fromA, fromB, k.i))
	default:
		return nil, errType(a)
	}
	return y, nil
}

// variadic builds Max, Min and Sum of any number of inputs.
func variadic(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, maxInputs); err != nil {
		return nil, err
	}
	y := in[0]
	for _, v := range in[1:] {
		var err error
		if v == nil {
			return nil, fmt.Errorf("an input is left out")
		}
		if y, err = c.pairwise(n, y, v); err != nil {
			return nil, err
		}
	}
	return []*value{y}, nil
}

var comparisons = map[string]func(order int) bool{ // order 2: not comparable, as NaN
	"Equal": func(o int) bool { return o == 0 }, "Less": func(o int) bool { return o == -1 },
	"LessOrEqual": func(o int) bool { return o == -1 || o == 0 }, "Greater": func(o int) bool { return o == 1 },
	"GreaterOrEqual": func(o int) bool { return o == 1 || o == 0 },
}

func compared[T cmp.Ordered](test func(int) bool) func(a, b T) bool {
	return func(a, b T) bool {
		if a != a || b != b {
			return test(2)
		}
		return test(cmp.Compare(a, b))
	}
}

func compare(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	a, b := in[0], in[1]
	if a.typ != b.typ {
		return nil, fmt.Errorf("inputs of types %v and %v do not go together", a.typ, b.typ)
	}
	dims, fromA, fromB, err := spread(a.dims, b.dims)
	if err != nil {
		return nil, err
	}
	y, test := c.new(n, boolType, dims), comparisons[n.op]
	switch {
	case a.typ == float32Type:
		c.do(n, y.size(), pairs(a, b, y, fromA, fromB, compared[float32](test)))
	case a.typ == float64Type:
		c.do(n, y.size(), pairs(a, b, y, fromA, fromB, compared[float64](test)))
	case a.typ.isInt():
		c.do(n, y.size(), pairs(a, b, y, fromA, fromB, compared[int64](test)))
	case a.typ == stringType && n.op == "Equal":
		c.do(n, y.size(), pairs(a, b, y, fromA, fromB, compared[string](test)))
	case a.typ == boolType && n.op == "Equal":
		c.do(n, y.size(), pairs(a, b, y, fromA, fromB, func(a, b bool) bool { return a == b }))
	default:
		return nil, errType(a)
	}
	return []*value{y}, nil
}

func logic(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 2, 2); err != nil {
		return nil, err
	}
	if in[0].typ != boolType || in[1].typ != boolType {
		return nil, fmt.Errorf("inputs of types %v and %v are not bool", in[0].typ, in[1].typ)
	}
	dims, fromA, fromB, err := spread(in[0].dims, in[1].dims)
	if err != nil {
		return nil, err
	}
	f := map[string]func(a, b bool) bool{
		"And": func(a, b bool) bool { return a && b },
		"Or":  func(a, b bool) bool { return a || b },
		"Xor": func(a, b bool) bool { return a != b },
	}[n.op]
	y := c.new(n, boolType, dims)
	c.do(n, y.size(), pairs(in[0], in[1], y, fromA, fromB, f))
	return []*value{y}, nil
}
