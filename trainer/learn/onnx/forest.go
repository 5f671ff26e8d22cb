package onnx

import (
	"fmt"
	"slices"
)

var modeNames = []string{"BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER", "LEAF"}

func toSlice[T float32 | float64](floats []float32, doubles []float64) []T {
	v := make([]T, 0, len(floats)+len(doubles))
	for _, x := range floats {
		v = append(v, T(x))
	}
	for _, x := range doubles {
		v = append(v, T(x))
	}
	return v
}

// numbers returns the floats of an attribute, or of the tensor that may stand for it.
func numbers[T float32 | float64](n *node, name string) []T {
	list := n.floats(name)
	if t := n.tensor(name + "_as_tensor"); t != nil {
		if len(list) > 0 || !t.typ.isFloat() {
			n.fail("attribute %s and its tensor do not go together", name)
		}
		return toSlice[T](t.f, t.d)
	}
	return toSlice[T](list, nil)
}

// readForest reads the attributes of TreeEnsembleClassifier and
// TreeEnsembleRegressor; votes are called class and target there.
func readForest[T float32 | float64](n *node, votes string, targets, features int) (*forestSpec[T], error) {
	n.ignore("nodes_hitrates", "nodes_hitrates_as_tensor")
	trees, ids := n.ints("nodes_treeids"), n.ints("nodes_nodeids")
	columns, modes, missing := n.ints("nodes_featureids"), n.strings("nodes_modes"), n.ints("nodes_missing_value_tracks_true")
	yes, no, thresholds := n.ints("nodes_truenodeids"), n.ints("nodes_falsenodeids"), numbers[T](n, "nodes_values")
	base := numbers[T](n, "base_values")
	if n.err != nil {
		return nil, n.err
	}
	count := len(ids)
	for _, l := range []int{len(trees), len(columns), len(modes), len(yes), len(no), len(thresholds)} {
		if l != count {
			return nil, fmt.Errorf("its lists of nodes have %d and %d entries", count, l)
		}
	}
	if count == 0 || count > maxTreeNodes || missing != nil && len(missing) != count {
		return nil, fmt.Errorf("%d nodes (and %d missing_value_tracks_true) are not supported; the limit is %d", count, len(missing), maxTreeNodes)
	}
	s := &forestSpec[T]{targets: targets, base: base, aggregate: "SUM"}
	at := make(map[[2]int64]int32, count) // a node's place among the splits, or ^ among the leaves
	for i, id := range ids {
		key := [2]int64{trees[i], id}
		if _, twice := at[key]; twice {
			return nil, fmt.Errorf("node %d of tree %d is there twice", id, trees[i])
		}
		m := slices.Index(modeNames, modes[i])
		switch {
		case m < 0 || mode(m) == modeMember:
			return nil, fmt.Errorf("a node's mode %q is not supported", modes[i])
		case mode(m) == modeLeaf:
			at[key] = ^int32(len(s.leaves))
			s.leaves = append(s.leaves, nil)
		default:
			if columns[i] < 0 || columns[i] >= int64(features) {
				return nil, fmt.Errorf("a tree asks for column %d of %d", columns[i], features)
			}
			at[key] = int32(len(s.splits))
			s.splits = append(s.splits, splitSpec[T]{
				threshold: thresholds[i], feature: int32(columns[i]), mode: mode(m),
				missing: missing != nil && missing[i] != 0,
			})
		}
	}
	return s, s.link(n, votes, trees, ids, yes, no, at)
}

// link sets the children of the splits, the roots and the votes of the leaves.
func (s *forestSpec[T]) link(n *node, votes string, trees, ids, yes, no []int64, at map[[2]int64]int32) error {
	started := make(map[int64]bool)
	for i := range ids {
		place := at[[2]int64{trees[i], ids[i]}]
		if !started[trees[i]] { // the first node of a tree is its root
			started[trees[i]] = true
			s.roots = append(s.roots, place)
		}
		if place < 0 {
			continue
		}
		left, ok1 := at[[2]int64{trees[i], yes[i]}]
		right, ok2 := at[[2]int64{trees[i], no[i]}]
		if !ok1 || !ok2 {
			return fmt.Errorf("node %d of tree %d has children %d and %d, which are not all there", ids[i], trees[i], yes[i], no[i])
		}
		s.splits[place].yes, s.splits[place].no = left, right
	}
	treeIDs, nodeIDs := n.ints(votes+"_treeids"), n.ints(votes+"_nodeids")
	targets, weights := n.ints(votes+"_ids"), numbers[T](n, votes+"_weights")
	if len(treeIDs) != len(targets) || len(nodeIDs) != len(targets) || len(weights) != len(targets) {
		return fmt.Errorf("its lists of votes have %d, %d, %d and %d entries", len(treeIDs), len(nodeIDs), len(targets), len(weights))
	}
	for i, target := range targets {
		place, ok := at[[2]int64{treeIDs[i], nodeIDs[i]}]
		if !ok {
			return fmt.Errorf("a vote is at node %d of tree %d, which is not there", nodeIDs[i], treeIDs[i])
		}
		if target < 0 || target >= int64(s.targets) {
			return fmt.Errorf("a leaf votes for target %d of %d", target, s.targets)
		}
		if place < 0 {
			s.leaves[^place] = append(s.leaves[^place], flatVote[T]{int32(target), weights[i]})
		}
	}
	return n.err
}

// lists5 are the attributes of TreeEnsemble: entry by entry the splits, which it
// calls nodes, and the leaves.
type lists5[T float32 | float64] struct {
	columns, missing []int64
	modes            []int64
	thresholds       []T
	children, leafs  [2][]int64 // of yes and no: which split or leaf, and which of both
	weights          []T
	targets          []int64
}

// readForest5 reads the attributes of TreeEnsemble.
func readForest5[T float32 | float64](n *node, features int) (*forestSpec[T], post, error) {
	aggregate, after, targets := n.int("aggregate_function", 1), n.int("post_transform", 0), n.int("n_targets", 1)
	roots, members := n.ints("tree_roots"), n.tensor("membership_values")
	l, err := readLists5[T](n)
	if err != nil {
		return nil, 0, err
	}
	if p := post(after); p == postSoftmax || p == postLogistic {
		return nil, 0, fmt.Errorf("post_transform %d: onnxruntime takes SOFTMAX (1) for LOGISTIC (2) and the other way round, so that nobody knows which is meant: leave it out and export the function as an operator", after)
	}
	if aggregate < 0 || aggregate > 3 || after < 0 || after > int64(postProbit) || targets < 1 || targets > maxCells {
		return nil, 0, fmt.Errorf("aggregate_function %d, post_transform %d or n_targets %d is not supported", aggregate, after, targets)
	}
	s := &forestSpec[T]{targets: int(targets), aggregate: []string{"AVERAGE", "SUM", "MIN", "MAX"}[aggregate]}
	for i := range l.columns {
		if err := s.addSplit(l, i, features); err != nil {
			return nil, 0, err
		}
	}
	for _, root := range roots {
		if root < 0 || root >= int64(len(s.splits)) {
			return nil, 0, fmt.Errorf("a tree begins at node %d of %d", root, len(s.splits))
		}
		s.roots = append(s.roots, int32(root))
	}
	for i, target := range l.targets {
		if target < 0 || target >= targets {
			return nil, 0, fmt.Errorf("a leaf votes for target %d of %d", target, targets)
		}
		s.leaves = append(s.leaves, []flatVote[T]{{int32(target), l.weights[i]}})
	}
	return s, post(after), s.readSets(members)
}

// readLists5 reads the lists of TreeEnsemble and compares their lengths.
func readLists5[T float32 | float64](n *node) (*lists5[T], error) {
	n.ignore("nodes_hitrates")
	modes, splits, weights := n.tensor("nodes_modes"), n.tensor("nodes_splits"), n.tensor("leaf_weights")
	l := &lists5[T]{
		columns: n.ints("nodes_featureids"), missing: n.ints("nodes_missing_value_tracks_true"), targets: n.ints("leaf_targetids"),
		children: [2][]int64{n.ints("nodes_truenodeids"), n.ints("nodes_falsenodeids")},
		leafs:    [2][]int64{n.ints("nodes_trueleafs"), n.ints("nodes_falseleafs")},
	}
	if n.err != nil || modes == nil || splits == nil || weights == nil || modes.typ != uint8Type {
		return nil, errFirst(n.err, fmt.Errorf("nodes_modes, nodes_splits or leaf_weights are left out or of another type"))
	}
	l.modes, l.thresholds, l.weights = modes.i, toSlice[T](splits.f, splits.d), toSlice[T](weights.f, weights.d)
	count := len(l.columns)
	for _, other := range []int{len(l.modes), len(l.thresholds), len(l.children[0]), len(l.children[1]), len(l.leafs[0]), len(l.leafs[1])} {
		if other != count {
			return nil, fmt.Errorf("its lists of nodes have %d and %d entries", count, other)
		}
	}
	leaves := len(l.weights)
	if count == 0 || count > maxTreeNodes || l.missing != nil && len(l.missing) != count || leaves != len(l.targets) || leaves > maxTreeNodes {
		return nil, fmt.Errorf("%d nodes and %d leaves (%d targets) are not supported; the limit is %d", count, leaves, len(l.targets), maxTreeNodes)
	}
	return l, nil
}

// addSplit appends entry i of the lists.
func (s *forestSpec[T]) addSplit(l *lists5[T], i, features int) error {
	column, m := l.columns[i], l.modes[i]
	if column < 0 || column >= int64(features) || m < 0 || m > int64(modeMember) {
		return fmt.Errorf("node %d asks for column %d of %d in mode %d", i, column, features, m)
	}
	split := splitSpec[T]{
		threshold: l.thresholds[i], feature: int32(column), mode: mode(m), missing: l.missing != nil && l.missing[i] != 0,
	}
	if split.mode == modeMember {
		split.set = int32(len(s.sets))
		s.sets = append(s.sets, nil)
	}
	for side, child := range []*int32{&split.yes, &split.no} {
		to, leaf := l.children[side][i], l.leafs[side][i] != 0
		if to < 0 || leaf && to >= int64(len(l.weights)) || !leaf && to >= int64(len(l.columns)) {
			return fmt.Errorf("node %d has a child %d, which is not there", i, to)
		}
		if *child = int32(to); leaf {
			*child = ^*child
		}
	}
	s.splits = append(s.splits, split)
	return nil
}

// readSets reads the members of the sets, in the order of their nodes; NaN ends one.
func (s *forestSpec[T]) readSets(members *constant) error {
	if len(s.sets) == 0 {
		return nil
	}
	if members == nil {
		return fmt.Errorf("it has no membership_values")
	}
	at := 0
	var set []T
	for _, v := range append(toSlice[T](members.f, members.d), nanOf[T]()) {
		if v == v {
			set = append(set, v)
			continue
		}
		if at < len(s.sets) {
			s.sets[at] = set
		}
		at, set = at+1, nil
	}
	if at < len(s.sets) {
		return fmt.Errorf("membership_values are %d sets for %d nodes", at, len(s.sets))
	}
	return nil
}

func nanOf[T float32 | float64]() T {
	var zero T
	return zero / zero
}
