package onnx

import "fmt"

// treeInput returns the row that trees read: of floats, or of doubles as it is.
func (c *compiler) treeInput(n *node, in []*value) (x *value, width int, err error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, 0, err
	}
	x = in[0]
	if x.typ != float64Type {
		if x, err = c.floats(n, x); err != nil {
			return nil, 0, err
		}
	}
	if width, err = rowWidth(x); err == nil && width == 0 {
		err = fmt.Errorf("%v has no columns", x)
	}
	return x, width, err
}

func treeEnsembleRegressor(c *compiler, n *node, in []*value) ([]*value, error) {
	x, width, err := c.treeInput(n, in)
	if err != nil {
		return nil, err
	}
	if x.typ == float64Type {
		return regressor[float64](c, n, x, width)
	}
	return regressor[float32](c, n, x, width)
}

func regressor[T float32 | float64](c *compiler, n *node, x *value, width int) ([]*value, error) {
	targets, after, aggregate := n.int("n_targets", 1), n.post(), n.text("aggregate_function", "SUM")
	if targets < 1 || targets > maxCells {
		return nil, fmt.Errorf("%d targets are not supported", targets)
	}
	spec, err := readForest[T](n, "target", int(targets), width)
	if err != nil {
		return nil, err
	}
	if len(spec.base) != 0 && len(spec.base) != spec.targets {
		return nil, fmt.Errorf("%d base_values for %d targets", len(spec.base), targets)
	}
	spec.aggregate = aggregate
	return scored(c, n, spec, x, after, float32Type)
}

func treeEnsemble(c *compiler, n *node, in []*value) ([]*value, error) {
	x, width, err := c.treeInput(n, in)
	if err != nil {
		return nil, err
	}
	if n.opset < 5 {
		return nil, fmt.Errorf("it is in ai.onnx.ml 5 and later, not in %d", n.opset)
	}
	if x.typ == float64Type {
		spec, after, err := readForest5[float64](n, width)
		if err != nil {
			return nil, err
		}
		return scored(c, n, spec, x, after, float64Type)
	}
	spec, after, err := readForest5[float32](n, width)
	if err != nil {
		return nil, err
	}
	return scored(c, n, spec, x, after, float32Type)
}

// work is about how many operations the trees take for a row.
func (f *flatForest[T]) work() int { return f.steps + 16*f.targets }

// scored compiles the trees of a regression.
func scored[T float32 | float64](c *compiler, n *node, spec *forestSpec[T], x *value, after post, typ dtype) ([]*value, error) {
	f, err := spec.flatten()
	if err != nil {
		return nil, err
	}
	sums, voted := c.new(n, x.typ, []int{f.targets}), c.new(n, boolType, []int{f.targets})
	scores, y := c.new(n, float32Type, []int{f.targets}), c.new(n, typ, []int{1, f.targets})
	c.do(n, f.work(), func(st *state) {
		total, votes := of[T](&st.slots[sums.slot]), st.slots[voted.slot].b
		f.sum(of[T](&st.slots[x.slot]), total, votes)
		f.finish(total, votes)
		if typ == float64Type && (after == postNone || after != postProbit && len(total) == 1) {
			copy(st.slots[y.slot].d, of[float64](&st.slots[sums.slot]))
			return
		}
		out := st.slots[scores.slot].f
		for i, v := range total {
			out[i] = float32(v)
		}
		if len(out) == 1 {
			out[0] = after.applyOne(out[0])
		} else {
			after.apply(out)
		}
		copy(st.slots[y.slot].f, out)
		for i := range st.slots[y.slot].d {
			st.slots[y.slot].d[i] = float64(out[i])
		}
	})
	return []*value{y}, nil
}

func treeEnsembleClassifier(c *compiler, n *node, in []*value) ([]*value, error) {
	x, width, err := c.treeInput(n, in)
	if err != nil {
		return nil, err
	}
	if x.typ == float64Type {
		return classifier[float64](c, n, x, width)
	}
	return classifier[float32](c, n, x, width)
}

func classifier[T float32 | float64](c *compiler, n *node, x *value, width int) ([]*value, error) {
	labels, err := classLabels(n, "classlabels_int64s")
	if err != nil {
		return nil, err
	}
	classes := labels.dims[0]
	if classes < 2 || classes > maxCells {
		return nil, fmt.Errorf("a classifier of %d classes is not supported: train on rows of two", classes)
	}
	ballot := &ballot[T]{after: n.post()}
	spec, err := readForest[T](n, "class", classes, width)
	if err != nil {
		return nil, err
	}
	if l := len(spec.base); l != 0 && l != classes && (classes > 2 || l != 1) {
		return nil, fmt.Errorf("%d base_values for %d classes", l, classes)
	}
	f, err := spec.flatten()
	if err != nil {
		return nil, err
	}
	ballot.learn(f, classes)
	sums, voted := c.new(n, x.typ, []int{classes}), c.new(n, boolType, []int{classes})
	y, best := c.new(n, float32Type, []int{1, classes}), c.new(n, int64Type, []int{1})
	c.do(n, f.work(), func(st *state) {
		total, votes := of[T](&st.slots[sums.slot]), st.slots[voted.slot].b
		f.sum(of[T](&st.slots[x.slot]), total, votes)
		st.slots[best.slot].i[0] = int64(ballot.count(st.slots[y.slot].f, total, votes))
	})
	label := c.labelled(n, labels, func(st *state) int { return int(st.slots[best.slot].i[0]) })
	return []*value{label, y}, nil
}

// A ballot turns the votes of a classifier's trees into probabilities. The file
// says little about how; this is what onnxruntime does with it.
type ballot[T float32 | float64] struct {
	after    post
	base     []T
	one      bool // two classes, and all votes are for one of them
	positive bool // no vote is negative
}

func (b *ballot[T]) learn(f *flatForest[T], classes int) {
	b.base, b.positive, b.one = f.base, true, classes == 2
	for _, v := range f.votes {
		b.positive = b.positive && v.value >= 0
		b.one = b.one && v.target == f.votes[0].target
	}
}

// count writes the probabilities and returns the place of the winner. It changes
// sums and voted.
func (b *ballot[T]) count(out []float32, sums []T, voted []bool) int {
	if len(sums) > 2 {
		return b.countMany(out, sums, voted)
	}
	single := !voted[1] && len(b.base) < 2
	switch {
	case len(b.base) == 2 && voted[1]:
		sums[1] = b.base[1] + sums[0]
		sums[0] = -sums[1]
	case len(b.base) == 2:
		sums[0] += b.base[0]
	case len(b.base) == 1:
		sums[0] += b.base[0]
	}
	if !voted[0] {
		sums[0] = 0
	}
	positive := sums[0]
	if voted[1] {
		positive = sums[1]
	}
	winner := 0
	if positive > 0.5 || positive > 0 && (!b.one || !b.positive) {
		winner = 1
	}
	if !single {
		out[0], out[1] = float32(sums[0]), float32(sums[1])
		b.after.apply(out)
		return winner
	}
	b.spreadOne(out, float32(sums[0]))
	return winner
}

// spreadOne makes two probabilities of one score.
func (b *ballot[T]) spreadOne(out []float32, score float32) {
	switch {
	case b.after == postProbit:
		out[0], out[1] = probit(score), 0
	case b.after == postLogistic && (b.one || len(b.base) == 0):
		out[0], out[1] = logistic(-score), logistic(score)
	case b.one && b.positive:
		out[0], out[1] = 1-score, score
	case b.one || len(b.base) == 0:
		out[0], out[1] = -score, score
	default:
		out[0], out[1] = score, 0
	}
}

func (b *ballot[T]) countMany(out []float32, sums []T, voted []bool) int {
	winner := -1
	for i := range sums {
		if len(b.base) > 0 {
			sums[i] += b.base[i]
		}
		if (voted[i] || len(b.base) > 0) && (winner < 0 || sums[i] > sums[winner]) {
			winner = i
		}
		out[i] = float32(sums[i])
	}
	b.after.apply(out)
	return max(winner, 0)
}
