package onnx

import (
	"fmt"
	"math"
	"slices"

	"github.com/millrace/millrace/trainer/learn"
)

// A post is what the operators of ai.onnx.ml do with scores at the end.
type post uint8

const (
	postNone post = iota
	postSoftmax
	postLogistic
	postSoftmaxZero
	postProbit
)

var postNames = []string{"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"}

func (n *node) post() post {
	name := n.text("post_transform", "NONE")
	i := slices.Index(postNames, name)
	if i < 0 {
		n.fail("post_transform %q is none of %v", name, postNames)
		return postNone
	}
	return post(i)
}

func exp32(x float32) float32 { return float32(exp(float64(x))) }
func root(x float32) float32  { return float32(math.Sqrt(float64(x))) }

func logistic(x float32) float32 {
	v := 1 / (1 + exp32(-abs(x)))
	if x < 0 {
		return 1 - v
	}
	return v
}

// probit is what onnxruntime computes: an approximation of the inverse of the
// error function.
func probit(p float32) float32 {
	x := 2*p - 1
	side := float32(1)
	if x < 0 {
		side = -1
	}
	log := float32(math.Log(float64(float32((1 - x) * (1 + x)))))
	a, pi := float32(0.147), float32(3.14159) // no constants: their products are rounded
	v := float32(2/float32(pi*a)) + float32(0.5*log)
	w := float32(float32(1/a) * log)
	return 1.41421356 * float32(side*root(-v+root(float32(v*v)-w)))
}

// apply changes two or more scores in place.
func (p post) apply(scores []float32) {
	switch p {
	case postLogistic:
		for i, v := range scores {
			scores[i] = logistic(v)
		}
	case postProbit:
		for i, v := range scores {
			scores[i] = probit(v)
		}
	case postSoftmax, postSoftmaxZero:
		most := float32(-math.MaxFloat32)
		for _, v := range scores {
			most = max(most, v)
		}
		var sum float32
		for i, v := range scores {
			if p == postSoftmaxZero && v <= 1e-7 && v >= -1e-7 {
				scores[i] = v * exp32(-most) // 0 stays 0
				continue
			}
			scores[i] = exp32(v - most)
			sum += scores[i]
		}
		for i := range scores {
			scores[i] /= sum
		}
	}
}

// applyOne changes a single score, of which onnxruntime transforms nothing but
// PROBIT, whatever the file says.
func (p post) applyOne(score float32) float32 {
	if p == postProbit {
		return probit(score)
	}
	return score
}

// classLabels returns the labels of a classifier as a constant.
func classLabels(n *node, ints string) (*constant, error) {
	texts, numbers := n.strings("classlabels_strings"), n.ints(ints)
	switch {
	case len(texts) > 0:
		return &constant{typ: stringType, dims: []int{len(texts)}, tensor: tensor{s: texts}}, nil
	case len(numbers) > 0:
		return &constant{typ: int64Type, dims: []int{len(numbers)}, tensor: tensor{i: numbers}}, nil
	}
	return nil, errFirst(n.err, fmt.Errorf("it has no class labels"))
}

// labelled compiles the label of the class whose place the step finds.
func (c *compiler) labelled(n *node, labels *constant, pick func(st *state) int) *value {
	y := c.new(n, labels.typ, []int{1})
	c.do(n, 1, func(st *state) {
		if labels.typ == stringType {
			st.slots[y.slot].s[0] = labels.s[pick(st)]
		} else {
			st.slots[y.slot].i[0] = labels.i[pick(st)]
		}
	})
	return y
}

// rowWidth returns the width of a value that is one row, [1, n] or [n].
func rowWidth(v *value) (int, error) {
	if v.rank() == 0 || v.rank() > 2 || v.rank() == 2 && v.dims[0] != 1 {
		return 0, fmt.Errorf("%v is not one row", v)
	}
	return v.dims[v.rank()-1], nil
}

func linearClassifier(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	n.ignore("multi_class")
	after, weights, intercepts := n.post(), n.floats("coefficients"), n.floats("intercepts")
	labels, err := classLabels(n, "classlabels_ints")
	if err != nil {
		return nil, err
	}
	classes := len(intercepts)
	twice := classes == 1 && labels.dims[0] == 2 // two classes of one score
	if !twice && classes != labels.dims[0] {
		return nil, fmt.Errorf("%d intercepts for %d classes", classes, labels.dims[0])
	}
	raw, err := c.affine(n, in[0], weights, intercepts)
	if err != nil {
		return nil, err
	}
	width := classes
	if twice {
		width = 2
	}
	y := c.new(n, float32Type, []int{1, width})
	c.do(n, 8*width, func(st *state) {
		from, to := st.slots[raw.slot].f, st.slots[y.slot].f
		copy(to, from)
		switch {
		case twice && after == postProbit: // as onnxruntime, which leaves the other empty
			to[0], to[1] = probit(from[0]), 0
		case twice && after == postLogistic:
			to[0], to[1] = logistic(-from[0]), logistic(from[0])
		case twice:
			to[0], to[1] = 1-from[0], from[0]
		case classes == 1:
			to[0] = after.applyOne(from[0])
		default:
			after.apply(to)
		}
	})
	label := c.labelled(n, labels, func(st *state) int {
		scores := st.slots[raw.slot].f
		if len(scores) == 1 {
			if twice && scores[0] > 0 {
				return 1
			}
			return 0
		}
		best := 0
		for i, v := range scores {
			if v > scores[best] {
				best = i
			}
		}
		return best
	})
	return []*value{label, y}, nil
}

func linearRegressor(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	after, weights, intercepts := n.post(), n.floats("coefficients"), n.floats("intercepts")
	targets := n.int("targets", 1)
	if targets < 1 || targets > int64(len(weights)) {
		return nil, fmt.Errorf("%d targets of %d coefficients", targets, len(weights))
	}
	if int64(len(intercepts)) != targets {
		intercepts = make([]float32, targets)
	}
	y, err := c.affine(n, in[0], weights, intercepts)
	if err != nil || after == postNone {
		return []*value{y}, err
	}
	c.do(n, 8*y.size(), func(st *state) {
		scores := st.slots[y.slot].f
		if len(scores) == 1 {
			scores[0] = after.applyOne(scores[0])
		} else {
			after.apply(scores)
		}
	})
	return []*value{y}, nil
}

// affine compiles a row times weights, outputs by inputs, plus an offset for each
// output.
func (c *compiler) affine(n *node, x *value, weights, offsets []float32) (*value, error) {
	x, err := c.floats(n, x)
	if err != nil {
		return nil, err
	}
	width, err := rowWidth(x)
	if err != nil {
		return nil, err
	}
	outputs := len(offsets)
	if outputs == 0 || len(weights) != width*outputs {
		return nil, fmt.Errorf("%d coefficients do not make %d outputs of %d columns", len(weights), outputs, width)
	}
	y := c.new(n, float32Type, []int{1, outputs})
	c.do(n, len(weights), func(st *state) {
		row, sums := st.slots[x.slot].f, st.slots[y.slot].f
		for j := range sums {
			sums[j] = dot(row, weights[j*width:(j+1)*width]) + offsets[j]
		}
	})
	return y, n.err
}

// exp returns e to the x with the same bits on each machine, so that a bundle's
// golden rows score the same where it serves; beyond what learn.Exp takes, where
// nearly all is 0 or infinite in the end, it is the library's.
func exp(x float64) float64 {
	if math.Abs(x) <= 700 {
		return learn.Exp(x)
	}
	return math.Exp(x)
}
