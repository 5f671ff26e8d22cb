package onnx

// A flatNode is a split or a leaf. A row goes to the first child where its value is
// at most the threshold, otherwise to the second, and where it is NaN to the one
// that nan says. Both children of a leaf are the leaf itself, and its threshold is
// what it adds, where one target is a sum.
type flatNode[T float32 | float64] struct {
	threshold T
	place     uint32 // of the value in the row, times 2, plus nan
	child     [2]int32
}

// A flatForest is an ensemble laid out for one row at a time.
type flatForest[T float32 | float64] struct {
	nodes   []flatNode[T]
	roots   []int32
	leafOf  []int32       // the leaf of a node; nil: leaves are just added
	starts  []int32       // where a leaf's votes begin in votes
	votes   []flatVote[T] //
	targets int
	base    []T
	average bool
	extreme func(a, b T) T // MIN or MAX; nil: votes are added
	steps   int            // that a row takes, at most
}

type flatVote[T float32 | float64] struct {
	target int32
	value  T
}

// next returns where a row goes from a node. The choice is made without a branch:
// no processor could predict it.
func (n *flatNode[T]) next(row []T) int32 {
	v := row[n.place>>1]
	side := uint32(1)
	if v <= n.threshold {
		side = 0
	}
	if v != v {
		side = n.place
	}
	return n.child[side&1]
}

// leaf returns the node of the leaf that a row reaches from a root.
func (f *flatForest[T]) leaf(at int32, row []T) int32 {
	for {
		next := f.nodes[at].next(row)
		if next == at {
			return at
		}
		at = next
	}
}

// four walks four trees at once, so that the processor waits for four nodes at once.
func (f *flatForest[T]) four(at [4]int32, row []T) [4]int32 {
	a, b, c, d, nodes := at[0], at[1], at[2], at[3], f.nodes
	for {
		na, nb, nc, nd := nodes[a].next(row), nodes[b].next(row), nodes[c].next(row), nodes[d].next(row)
		if (na^a)|(nb^b)|(nc^c)|(nd^d) == 0 {
			return [4]int32{a, b, c, d}
		}
		a, b, c, d = na, nb, nc, nd
	}
}

// sum adds the votes of a row to scores, one a target, and marks those that had any.
func (f *flatForest[T]) sum(row, scores []T, voted []bool) {
	if f.leafOf == nil {
		scores[0], voted[0] = f.total(row), true
		return
	}
	clear(scores)
	clear(voted)
	roots := f.roots
	for ; len(roots) >= 4; roots = roots[4:] {
		for _, leaf := range f.four([4]int32(roots), row) {
			f.vote(leaf, scores, voted)
		}
	}
	for _, root := range roots {
		f.vote(f.leaf(root, row), scores, voted)
	}
}

// total is the sum of the leaves, added in the order of the trees.
func (f *flatForest[T]) total(row []T) T {
	var sum T
	roots := f.roots
	for ; len(roots) >= 4; roots = roots[4:] {
		for _, leaf := range f.four([4]int32(roots), row) {
			sum += f.nodes[leaf].threshold
		}
	}
	for _, root := range roots {
		sum += f.nodes[f.leaf(root, row)].threshold
	}
	return sum
}

func (f *flatForest[T]) vote(leaf int32, scores []T, voted []bool) {
	leaf = f.leafOf[leaf]
	for _, v := range f.votes[f.starts[leaf]:f.starts[leaf+1]] {
		score := &scores[v.target]
		if f.extreme == nil || !voted[v.target] {
			*score += v.value
		} else {
			*score = f.extreme(*score, v.value)
		}
		voted[v.target] = true
	}
}

// finish turns sums into the scores of a regression.
func (f *flatForest[T]) finish(sums []T, voted []bool) {
	for i := range sums {
		if f.average {
			sums[i] /= T(len(f.roots))
		}
		switch {
		case f.targets > 1 && !voted[i]: // as onnxruntime: without a base, too
			sums[i] = 0
		case len(f.base) == f.targets:
			sums[i] += f.base[i]
		}
	}
}
