package trees

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bits of a decision_type.
const (
	lightgbmCategorical = 1
	lightgbmDefaultLeft = 2
	lightgbmMissing     = 3 << 2
	missingNone         = 0 << 2 // a NaN is 0
	missingZero         = 1 << 2 // a NaN and a 0 are missing
	missingNaN          = 2 << 2
)

// A lightgbmTree has n leaves and n - 1 splits. A child below 0 is leaf -child-1.
type lightgbmTree struct {
	features                 int
	scale                    float64
	feature, decision        []int
	left, right              []int
	threshold                []float64
	value                    []float64 // of leaves
	leafCount, internalCount []float64 // training rows
	boundaries               []int     // of the sets, in words
	words                    []uint32  // of the sets
}

// readTree reads the lines of one tree.
func readTree(s string, features int, scale float64) ([]Node, error) {
	b, err := newBlock(s)
	if err != nil {
		return nil, err
	}
	if linear := strings.TrimSpace(b["is_linear"]); linear != "" && linear != "0" {
		return nil, errors.New("its leaves are linear models: train with linear_tree=false")
	}
	leaves, err := b.count("num_leaves", maxNodes/2)
	if err != nil {
		return nil, err
	}
	if leaves == 0 {
		return nil, errors.New("num_leaves is 0")
	}
	t := lightgbmTree{features: features, scale: scale}
	splits := leaves - 1
	t.value, err = list(b, "leaf_value", leaves, float)
	if err == nil && splits > 0 {
		err = t.readSplits(b, splits)
	}
	if err != nil {
		return nil, err
	}
	return ordered(leaves+splits, t.node)
}

// readSplits reads what a tree has that is not a single leaf.
func (t *lightgbmTree) readSplits(b block, splits int) (err error) {
	for _, l := range []struct {
		key string
		to  *[]int
	}{
		{"split_feature", &t.feature}, {"decision_type", &t.decision},
		{"left_child", &t.left}, {"right_child", &t.right},
	} {
		if *l.to, err = list(b, l.key, splits, strconv.Atoi); err != nil {
			return err
		}
	}
	for _, l := range []struct {
		key string
		n   int
		to  *[]float64
	}{
		{"threshold", splits, &t.threshold},
		{"leaf_count", splits + 1, &t.leafCount}, {"internal_count", splits, &t.internalCount},
	} {
		if *l.to, err = list(b, l.key, l.n, float); err != nil {
			return err
		}
	}
	sets, err := b.count("num_cat", splits)
	if err != nil || sets == 0 {
		return err
	}
	if t.boundaries, err = list(b, "cat_boundaries", sets+1, strconv.Atoi); err != nil {
		return err
	}
	t.words, err = list(b, "cat_threshold", t.boundaries[sets], word)
	return err
}

// list reads n values with spaces between them.
func list[T any](b block, key string, n int, parse func(string) (T, error)) ([]T, error) {
	s, ok := b[key]
	if !ok {
		return nil, fmt.Errorf("it has no %s, as if it was cut off", key)
	}
	fields := strings.Fields(s)
	if len(fields) != n {
		return nil, fmt.Errorf("%s has %d values and not %d", key, len(fields), n)
	}
	values := make([]T, n)
	for i, f := range fields {
		v, err := parse(f)
		if err != nil {
			return nil, fmt.Errorf("value %d of %s is %.40q and no such number", i, key, f)
		}
		values[i] = v
	}
	return values, nil
}

func float(s string) (float64, error) { return strconv.ParseFloat(s, 64) }

func word(s string) (uint32, error) {
	w, err := strconv.ParseUint(s, 10, 32)
	return uint32(w), err
}

// node returns what is in a place: the splits come first and then the leaves.
func (t *lightgbmTree) node(i int) (Node, error) {
	if leaf := i - len(t.feature); leaf >= 0 {
		n := Node{Feature: -1, Value: t.value[leaf]}
		if t.scale != 1 {
			n.Value *= t.scale
		}
		if t.leafCount != nil {
			n.Cover = t.leafCount[leaf]
		}
		return n, nil
	}
	if err := checkSplit(t.feature[i], t.features); err != nil {
		return Node{}, err
	}
	n := Node{Feature: int32(t.feature[i]), Threshold: t.threshold[i], Cover: t.internalCount[i]}
	var err error
	if n.Left, err = t.place(t.left[i]); err != nil {
		return n, err
	}
	if n.Right, err = t.place(t.right[i]); err != nil {
		return n, err
	}
	d := t.decision[i]
	n.MissingLeft = d&lightgbmDefaultLeft != 0
	switch {
	case d&lightgbmCategorical != 0:
		n.Set, err = t.set(n.Threshold)
		n.Threshold, n.MissingLeft = 0, false
	case d&lightgbmMissing == missingNone:
		n.MissingLeft = 0 <= n.Threshold
	case d&lightgbmMissing == missingZero:
		n.ZeroMissing = true
	case d&lightgbmMissing != missingNaN:
		err = fmt.Errorf("decision_type %d has a missing type that is not known", d)
	}
	if math.IsNaN(n.Threshold) {
		err = errors.New("threshold NaN: nothing is at most that")
	}
	return n, err
}

// place returns the place of a child.
func (t *lightgbmTree) place(child int) (int32, error) {
	switch {
	case child >= 0 && child < len(t.feature):
		return int32(child), nil
	case child < 0 && child >= -len(t.value):
		return int32(len(t.feature) - child - 1), nil
	}
	return 0, fmt.Errorf("child %d: there are %d splits and %d leaves", child, len(t.feature), len(t.value))
}

// set returns the set of a split by category, whose number is its threshold.
func (t *lightgbmTree) set(number float64) ([]uint64, error) {
	if !(number >= 0 && number < float64(len(t.boundaries)-1)) {
		return nil, fmt.Errorf("set %v of %d", number, max(0, len(t.boundaries)-1))
	}
	from, to := t.boundaries[int(number)], t.boundaries[int(number)+1]
	if from < 0 || to < from || to > len(t.words) {
		return nil, fmt.Errorf("cat_boundaries %d to %d of %d words", from, to, len(t.words))
	}
	set := make([]uint64, (to-from+1)/2)
	for i, w := range t.words[from:to] {
		set[i/2] |= uint64(w) << (i % 2 * 32)
	}
	return set, nil
}
