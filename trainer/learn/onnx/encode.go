package onnx

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

func scaler(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	x, err := c.floats(n, in[0])
	if err != nil || x.rank() == 0 {
		return nil, errFirst(err, fmt.Errorf("its input is a scalar"))
	}
	scale, offset := n.floats("scale"), n.floats("offset")
	width := x.dims[min(x.rank()-1, 1)]
	if len(scale) != len(offset) || len(scale) != width && len(scale) != 1 {
		return nil, fmt.Errorf("%d offsets and %d scales for %d columns", len(offset), len(scale), width)
	}
	y := c.new(n, float32Type, x.dims)
	c.do(n, x.size(), func(st *state) {
		out := st.slots[y.slot].f
		for i, v := range st.slots[x.slot].f {
			k := i % len(scale)
			out[i] = (v - offset[k]) * scale[k]
		}
	})
	return []*value{y}, nil
}

func imputer(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	x := in[0]
	if x.rank() == 0 {
		return nil, fmt.Errorf("its input is a scalar")
	}
	width := x.dims[min(x.rank()-1, 1)]
	y := c.new(n, x.typ, x.dims)
	floats, ints := n.floats("imputed_value_floats"), n.ints("imputed_value_int64s")
	missing, missingInt := n.float("replaced_value_float", 0), n.int("replaced_value_int64", 0)
	switch {
	case x.typ == float32Type && len(floats) > 0:
		c.do(n, x.size(), imputed(x, y, width, missing, floats))
	case x.typ == int64Type && len(ints) > 0:
		c.do(n, x.size(), imputed(x, y, width, missingInt, ints))
	default:
		return nil, fmt.Errorf("it has no values to put into %v", x)
	}
	return []*value{y}, nil
}

func imputed[T float32 | int64](x, y *value, width int, missing T, values []T) step {
	return func(st *state) {
		from, to := of[T](&st.slots[x.slot]), of[T](&st.slots[y.slot])
		for i, v := range from {
			if to[i] = v; v == missing || v != v && missing != missing {
				if len(values) == width {
					to[i] = values[i%width]
				} else {
					to[i] = values[0]
				}
			}
		}
	}
}

func normalizer(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	x, err := c.floats(n, in[0])
	if err != nil {
		return nil, err
	}
	if _, err := rowWidth(x); err != nil {
		return nil, err
	}
	norm := n.text("norm", "MAX")
	if !slices.Contains([]string{"MAX", "L1", "L2"}, norm) {
		return nil, fmt.Errorf("a norm of %q is not supported", norm)
	}
	y := c.new(n, float32Type, x.dims)
	c.do(n, 2*x.size(), func(st *state) {
		from, to := st.slots[x.slot].f, st.slots[y.slot].f
		by := float32(0)
		if norm == "MAX" {
			by = -math.MaxFloat32
		}
		for _, v := range from {
			switch norm {
			case "MAX":
				by = max(by, v)
			case "L1":
				by += abs(v)
			default:
				by += float32(v * v)
			}
		}
		if by == 0 {
			copy(to, from)
			return
		}
		for i, v := range from {
			switch {
			case norm != "L2":
				to[i] = v / by
			case v < 0:
				to[i] = -root(float32(v*v) / by)
			default:
				to[i] = root(float32(v*v) / by)
			}
		}
	})
	return []*value{y}, nil
}

// binarizer builds a test against a threshold. A row with NaN has no score.
func binarizer(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	threshold := n.float("threshold", 0)
	if in[0].typ != float32Type {
		return nil, errType(in[0])
	}
	y := c.new(n, float32Type, in[0].dims)
	x := in[0]
	c.do(n, y.size(), func(st *state) {
		out := st.slots[y.slot].f
		for i, v := range st.slots[x.slot].f {
			st.failed = st.failed || v != v
			out[i] = oneIf[float32](v > threshold)
		}
	})
	return []*value{y}, nil
}

func featureVectorizer(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, maxInputs); err != nil {
		return nil, err
	}
	widths := n.ints("inputdimensions")
	if len(widths) != len(in) {
		return nil, fmt.Errorf("%d inputs and %d inputdimensions", len(in), len(widths))
	}
	parts := make([]concatPart, 0, len(in))
	total := 0
	for i, v := range in {
		if v == nil {
			return nil, fmt.Errorf("an input is left out")
		}
		x, err := c.floats(n, v)
		if err != nil {
			return nil, err
		}
		width, err := rowWidth(x)
		if err != nil {
			return nil, err
		}
		if int64(width) != widths[i] {
			return nil, fmt.Errorf("input %d has %d columns instead of %d", i, width, widths[i])
		}
		if width > 0 {
			parts = append(parts, concatPart{x.slot, total, width})
		}
		total += width
	}
	y := c.new(n, float32Type, []int{1, total})
	c.do(n, total, joined[float32](parts, y.slot, total))
	return []*value{y}, nil
}

// oneHotEncoder builds a column of 0 and 1 for each category. A category that it
// does not know is all zeros, or leaves the row without a score.
func oneHotEncoder(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	x, zeros := in[0], n.flag("zeros", true)
	ints, texts := n.ints("cats_int64s"), n.strings("cats_strings")
	if (len(ints) == 0) == (len(texts) == 0) || x.rank() > 2 || (x.typ == stringType) != (len(texts) > 0) {
		return nil, fmt.Errorf("%d whole and %d text categories do not fit %v", len(ints), len(texts), x)
	}
	categories := max(len(ints), len(texts))
	y := c.new(n, float32Type, append(slices.Clone(x.dims), categories))
	var find func(st *state, i int) (int, bool)
	switch {
	case x.typ == stringType:
		find = finder(x, placesOf(texts), func(v string) string { return v })
	case x.typ == float32Type:
		find = finder(x, placesOf(ints), func(v float32) int64 { return toInt(float64(v)) })
	case x.typ == float64Type:
		find = finder(x, placesOf(ints), toInt)
	case x.typ.isInt():
		find = finder(x, placesOf(ints), func(v int64) int64 { return v })
	default:
		return nil, errType(x)
	}
	rows := x.size()
	c.do(n, y.size(), func(st *state) {
		out := st.slots[y.slot].f
		clear(out)
		for i := range rows {
			if k, ok := find(st, i); ok {
				out[i*categories+k] = 1
			} else if !zeros {
				st.failed = true
			}
		}
	})
	return []*value{y}, nil
}

// placesOf returns where each key is; of two equal ones, the last.
func placesOf[K comparable](keys []K) map[K]int {
	m := make(map[K]int, len(keys))
	for i, k := range keys {
		m[k] = i
	}
	return m
}

func finder[T element, K comparable](x *value, places map[K]int, key func(T) K) func(*state, int) (int, bool) {
	return func(st *state, i int) (int, bool) {
		k, ok := places[key(of[T](&st.slots[x.slot])[i])]
		return k, ok
	}
}

// zipMap builds a map of labels and probabilities, which is what scikit-learn's
// exports give unless told otherwise.
func zipMap(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	labels, err := classLabels(n, "classlabels_int64s")
	if err != nil {
		return nil, err
	}
	keys := slices.Clone(labels.s)
	for _, v := range labels.i {
		keys = append(keys, strconv.FormatInt(v, 10))
	}
	width, err := rowWidth(in[0])
	if err != nil || in[0].typ != float32Type || width != len(keys) {
		return nil, errFirst(err, fmt.Errorf("%d labels do not fit %v", len(keys), in[0]))
	}
	y := alias(in[0], in[0].dims)
	y.typ, y.keys, y.probs = mapType, keys, in[0]
	return []*value{y}, nil
}
