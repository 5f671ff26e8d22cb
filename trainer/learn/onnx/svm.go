package onnx

import (
	"fmt"
	"math"
	"slices"
)

// kernelOf returns the row that a support vector machine takes, its width and the
// kernel.
func (c *compiler) kernelOf(n *node, in []*value) (x *value, width int, k svmKernel, err error) {
	if err = arity(in, 1, 1); err == nil {
		x, err = c.floats(n, in[0])
	}
	if err == nil {
		width, err = rowWidth(x)
	}
	if err == nil {
		k, err = n.kernel(width)
	}
	return x, width, k, err
}

// svmRegressor builds a weighted sum of the kernel of a row and each support
// vector, or a linear function.
func svmRegressor(c *compiler, n *node, in []*value) ([]*value, error) {
	x, width, k, err := c.kernelOf(n, in)
	if err != nil {
		return nil, err
	}
	after, oneClass, rho, weights := n.post(), n.flag("one_class", false), n.floats("rho"), n.floats("coefficients")
	vectors, supports := n.floats("support_vectors"), n.int("n_supports", 0)
	if supports == 0 { // a linear model: one vector of coefficients
		vectors, weights, supports = weights, []float32{1}, 1
		k.name = "LINEAR"
	}
	if len(rho) != 1 || int64(len(weights)) != supports || len(vectors) != len(weights)*width {
		return nil, fmt.Errorf("%d support vectors of %d columns need as many of each, not %d coefficients, %d numbers and %d rho", supports, width, len(weights), len(vectors), len(rho))
	}
	y := c.new(n, float32Type, []int{1, 1})
	c.do(n, 2*len(vectors), func(st *state) {
		row, sum := st.slots[x.slot].f, float32(0)
		for i, w := range weights {
			sum += float32(w * k.of(row, vectors[i*width:(i+1)*width]))
		}
		sum += rho[0]
		if oneClass {
			sum = map[bool]float32{true: 1, false: -1}[sum > 0]
		}
		st.slots[y.slot].f[0] = after.applyOne(sum)
	})
	return []*value{y}, nil
}

// A svmKernel is the similarity of two rows.
type svmKernel struct {
	name                string
	gamma, coef, degree float32
}

func (n *node) kernel(width int) (svmKernel, error) {
	k := svmKernel{name: n.text("kernel_type", "LINEAR")}
	if p := n.floats("kernel_params"); len(p) == 3 {
		k.gamma, k.coef, k.degree = p[0], p[1], p[2]
	}
	if !slices.Contains([]string{"LINEAR", "POLY", "RBF", "SIGMOID"}, k.name) || width == 0 {
		return k, fmt.Errorf("a kernel %q of %d columns is not supported", k.name, width)
	}
	return k, n.err
}

func (k svmKernel) of(a, b []float32) float32 {
	if k.name == "RBF" {
		var sum float32
		for i, v := range a {
			d := v - b[i]
			sum += float32(d * d)
		}
		return exp32(-k.gamma * sum)
	}
	sum := dot(a, b)
	switch k.name {
	case "POLY":
		return float32(math.Pow(float64(float32(k.gamma*sum)+k.coef), float64(k.degree)))
	case "SIGMOID":
		return float32(math.Tanh(float64(float32(k.gamma*sum) + k.coef)))
	}
	return sum
}

// svmClassifier builds a support vector machine of two classes: their probabilities
// where the file has a scale for them, otherwise the distance from the border.
func svmClassifier(c *compiler, n *node, in []*value) ([]*value, error) {
	x, width, k, err := c.kernelOf(n, in)
	if err != nil {
		return nil, err
	}
	labels, err := classLabels(n, "classlabels_ints")
	if err != nil {
		return nil, err
	}
	weights, vectors, rho, perClass := n.floats("coefficients"), n.floats("support_vectors"), n.floats("rho"), n.ints("vectors_per_class")
	scale, shift := n.floats("prob_a"), n.floats("prob_b")
	switch {
	case labels.dims[0] != 2 || len(perClass) != 2 || len(rho) != 1:
		return nil, fmt.Errorf("only support vectors of two classes are supported, not %v of %d classes", perClass, labels.dims[0])
	case len(vectors) != len(weights)*width || len(weights) == 0:
		return nil, fmt.Errorf("%d coefficients do not fit support vectors of %d numbers and %d columns", len(weights), len(vectors), width)
	case len(scale) != len(shift) || len(scale) > 1:
		return nil, fmt.Errorf("%d prob_a and %d prob_b instead of one of each", len(scale), len(shift))
	case n.post() != postNone:
		return nil, fmt.Errorf("a post_transform is not supported")
	}
	y, first := c.new(n, float32Type, []int{1, 2}), c.new(n, boolType, []int{1})
	c.do(n, 2*len(vectors), func(st *state) {
		row, sum, out := st.slots[x.slot].f, 0.0, st.slots[y.slot].f
		for i, w := range weights {
			sum += float64(float32(w * k.of(row, vectors[i*width:(i+1)*width])))
		}
		score := float32(sum + float64(rho[0]))
		st.slots[first.slot].b[0] = score > 0
		if len(scale) == 0 {
			out[0], out[1] = -score, score
			return
		}
		p := 1 - logistic(float32(score*scale[0])+shift[0])
		out[0], out[1] = coupled(min(max(p, 1e-7), 1-1e-7))
	})
	label := c.labelled(n, labels, func(st *state) int {
		if st.slots[first.slot].b[0] {
			return 0
		}
		return 1
	})
	return []*value{label, y}, nil
}

// coupled returns the probabilities of two classes by the iteration of Wu, Lin and
// Weng, Probability estimates for multi-class classification by pairwise coupling,
// which libsvm and onnxruntime run for any number of classes. It stops before it
// reaches r and 1 - r.
func coupled(r float32) (float32, float32) {
	s := 1 - r
	q := [2][2]float32{{s * s, -s * r}, {-s * r, r * r}}
	p := [2]float32{.5, .5}
	for range 100 {
		var qp [2]float32
		var pqp float32
		for i := range qp {
			qp[i] = float32(q[i][0]*p[0]) + float32(q[i][1]*p[1])
			pqp += float32(p[i] * qp[i])
		}
		if max(abs(qp[0]-pqp), abs(qp[1]-pqp)) < .0025 {
			break
		}
		for i := range p {
			d := (pqp - qp[i]) / q[i][i]
			p[i] += d
			pqp = (pqp + float32(d*(float32(d*q[i][i])+2*qp[i]))) / (1 + d) / (1 + d)
			for j := range p {
				qp[j] = (qp[j] + float32(d*q[i][j])) / (1 + d)
				p[j] /= 1 + d
			}
		}
	}
	return p[0], p[1]
}
