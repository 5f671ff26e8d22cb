package onnx

import "fmt"

// A mode is how a node compares a value with its threshold.
type mode uint8

const (
	modeLE mode = iota
	modeLT
	modeGE
	modeGT
	modeEQ
	modeNE
	modeMember
	modeLeaf // of files before ai.onnx.ml 5
)

// A flatNode is a split. Its children are places in the nodes of the ensemble, or
// leaves: ^place in those.
type flatNode[T float32 | float64] struct {
	threshold T
	feature   int32
	yes, no   int32
	mode      mode
	missing   bool  // NaN goes to yes
	set       int32 // of modeMember
}

// A flatForest is an ensemble laid out for one row at a time.
type flatForest[T float32 | float64] struct {
	nodes   []flatNode[T]
	roots   []int32
	plain   bool           // all nodes are modeLE or modeLT, by uniform
	uniform mode           //
	sets    []map[T]bool   //
	single  []T            // of one target: what a leaf adds
	starts  []int32        // of more: where a leaf's votes begin in votes
	votes   []flatVote[T]  //
	targets int            //
	base    []T            //
	average bool           //
	extreme func(a, b T) T // MIN or MAX; nil: votes are added
}

type flatVote[T float32 | float64] struct {
	target int32
	value  T
}

// leaf returns the leaf that a row reaches from a root.
func (f *flatForest[T]) leaf(at int32, row []T) int32 {
	nodes := f.nodes
	if f.plain && f.uniform == modeLE {
		for at >= 0 {
			n := &nodes[at]
			v := row[n.feature]
			at = n.no
			if v <= n.threshold || n.missing && v != v {
				at = n.yes
			}
		}
		return ^at
	}
	if f.plain {
		for at >= 0 {
			n := &nodes[at]
			v := row[n.feature]
			at = n.no
			if v < n.threshold || n.missing && v != v {
				at = n.yes
			}
		}
		return ^at
	}
	for at >= 0 {
		n := &nodes[at]
		v := row[n.feature]
		at = n.no
		if f.holds(n, v) || n.missing && v != v {
			at = n.yes
		}
	}
	return ^at
}

func (f *flatForest[T]) holds(n *flatNode[T], v T) bool {
	switch n.mode {
	case modeLE:
		return v <= n.threshold
	case modeLT:
		return v < n.threshold
	case modeGE:
		return v >= n.threshold
	case modeGT:
		return v > n.threshold
	case modeEQ:
		return v == n.threshold
	case modeNE:
		return v != n.threshold
	}
	return f.sets[n.set][v]
}

// sum adds the votes of a row to scores, one a target, and marks those that had any.
func (f *flatForest[T]) sum(row, scores []T, voted []bool) {
	clear(scores)
	clear(voted)
	if f.single != nil {
		f.sumSingle(row, scores, voted)
		return
	}
	for _, root := range f.roots {
		leaf := f.leaf(root, row)
		for _, v := range f.votes[f.starts[leaf]:f.starts[leaf+1]] {
			f.fold(scores, voted, v.target, v.value)
		}
	}
}

func (f *flatForest[T]) sumSingle(row, scores []T, voted []bool) {
	if f.extreme == nil {
		var sum T
		for _, root := range f.roots {
			sum += f.single[f.leaf(root, row)]
		}
		scores[0], voted[0] = sum, true
		return
	}
	for _, root := range f.roots {
		f.fold(scores, voted, 0, f.single[f.leaf(root, row)])
	}
}

func (f *flatForest[T]) fold(scores []T, voted []bool, target int32, v T) {
	switch {
	case f.extreme == nil:
		scores[target] += v
	case !voted[target]:
		scores[target] = v
	default:
		scores[target] = f.extreme(scores[target], v)
	}
	voted[target] = true
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

// A forestSpec is an ensemble as read from a file, before it is laid out.
type forestSpec[T float32 | float64] struct {
	splits    []splitSpec[T]
	leaves    [][]flatVote[T]
	roots     []int32 // as in flatNode
	sets      []map[T]bool
	base      []T
	targets   int
	aggregate string // SUM, AVERAGE, MIN or MAX
	features  int
}

// A splitSpec is a flatNode before its children are checked.
type splitSpec[T float32 | float64] = flatNode[T]

// flatten checks a forest and lays it out: parents before children, so that a walk
// ends, and a tree's nodes together.
func (s *forestSpec[T]) flatten() (*flatForest[T], error) {
	f := &flatForest[T]{sets: s.sets, base: s.base, targets: s.targets, plain: true, uniform: modeLE}
	if err := s.order(f); err != nil {
		return nil, err
	}
	if len(f.nodes) > 0 {
		f.uniform = f.nodes[0].mode
	}
	for i := range f.nodes {
		if n := &f.nodes[i]; n.feature < 0 || int(n.feature) >= s.features {
			return nil, fmt.Errorf("a tree asks for column %d of %d", n.feature, s.features)
		}
		f.plain = f.plain && f.nodes[i].mode == f.uniform && f.uniform <= modeLT
	}
	f.starts = make([]int32, 1, len(s.leaves)+1)
	for _, votes := range s.leaves {
		var sum T
		for _, v := range votes {
			if v.target < 0 || int(v.target) >= s.targets {
				return nil, fmt.Errorf("a leaf votes for target %d of %d", v.target, s.targets)
			}
			sum += v.value
		}
		f.votes = append(f.votes, votes...)
		f.starts = append(f.starts, int32(len(f.votes)))
		if s.targets == 1 {
			f.single = append(f.single, sum)
		}
	}
	switch s.aggregate {
	case "SUM":
	case "AVERAGE":
		f.average = true
	case "MIN":
		f.extreme = smaller[T]
	case "MAX":
		f.extreme = larger[T]
	default:
		return nil, fmt.Errorf("aggregate_function %q is none of SUM, AVERAGE, MIN, MAX", s.aggregate)
	}
	return f, nil
}

// order puts the splits into f.nodes and refuses cycles.
func (s *forestSpec[T]) order(f *flatForest[T]) error {
	const unseen, open = -1, -2
	place := make([]int32, len(s.splits))
	for i := range place {
		place[i] = unseen
	}
	type visit struct {
		split int32
		done  bool
	}
	for _, root := range s.roots {
		var finished []int32 // children before their parents
		stack := []visit{{split: root}}
		for len(stack) > 0 {
			v := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			switch {
			case v.split < 0: // a leaf
				if int(^v.split) >= len(s.leaves) {
					return fmt.Errorf("a tree has no leaf %d", ^v.split)
				}
			case int(v.split) >= len(s.splits):
				return fmt.Errorf("a tree has no node %d", v.split)
			case v.done:
				place[v.split] = int32(len(s.splits)) // finished
				finished = append(finished, v.split)
			case place[v.split] == open:
				return fmt.Errorf("a tree has a cycle through node %d", v.split)
			case place[v.split] == unseen:
				place[v.split] = open
				stack = append(stack, visit{v.split, true}, visit{split: s.splits[v.split].no}, visit{split: s.splits[v.split].yes})
			}
		}
		for i := len(finished) - 1; i >= 0; i-- {
			place[finished[i]] = int32(len(f.nodes))
			f.nodes = append(f.nodes, s.splits[finished[i]])
		}
	}
	for i := range f.nodes {
		for _, child := range []*int32{&f.nodes[i].yes, &f.nodes[i].no} {
			if *child >= 0 {
				*child = place[*child]
			}
		}
	}
	for _, root := range s.roots {
		if root >= 0 {
			root = place[root]
		}
		f.roots = append(f.roots, root)
	}
	return nil
}
