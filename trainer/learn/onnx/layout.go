package onnx

import (
	"fmt"
	"math"
)

// A mode is how a split of a file compares a value with its threshold.
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

// A forestSpec is an ensemble as read from a file, before it is laid out.
type forestSpec[T float32 | float64] struct {
	splits    []splitSpec[T]
	leaves    [][]flatVote[T]
	roots     []int32
	sets      [][]T
	base      []T
	targets   int
	aggregate string // SUM, AVERAGE, MIN or MAX
}

// A splitSpec is a split of a file. Its children, and the roots of a forestSpec,
// are places in its splits, or leaves: ^place in those.
type splitSpec[T float32 | float64] struct {
	threshold T
	feature   int32
	yes, no   int32
	mode      mode
	missing   bool  // NaN goes to yes
	set       int32 // of modeMember
}

// acyclic checks that walks end, and returns how many steps those from the roots
// take at most, together.
func (s *forestSpec[T]) acyclic() (steps int, err error) {
	const open = -1
	heights := make([]int, len(s.splits)) // 0: not seen yet
	height := func(child int32) int {
		if child < 0 {
			return 0
		}
		return heights[child]
	}
	for _, root := range s.roots {
		for stack := []int32{root}; len(stack) > 0; {
			at := stack[len(stack)-1]
			switch {
			case at < 0 || heights[at] > 0:
				stack = stack[:len(stack)-1]
			case heights[at] == open: // its children are done
				split := s.splits[at]
				heights[at] = 1 + max(height(split.yes), height(split.no))
				if split.mode == modeMember {
					heights[at] += 2 * len(s.sets[split.set])
				}
				stack = stack[:len(stack)-1]
			default:
				heights[at] = open
				for _, child := range []int32{s.splits[at].no, s.splits[at].yes} {
					if child >= 0 && heights[child] == open {
						return 0, fmt.Errorf("a tree has a cycle through its node %d", child)
					}
					stack = append(stack, child)
				}
			}
		}
		if steps += 1 + height(root); steps > maxWork {
			return 0, fmt.Errorf("a row passes more than %d nodes of the trees", maxWork)
		}
	}
	return steps, nil
}

// flatten checks a forest and lays it out.
func (s *forestSpec[T]) flatten() (*flatForest[T], error) {
	steps, err := s.acyclic()
	if err != nil {
		return nil, err
	}
	f := &flatForest[T]{base: s.base, targets: s.targets, steps: steps}
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
	l := layer[T]{forestSpec: s, forest: f, places: make([]int32, len(s.splits)), leaves: make([]int32, len(s.leaves))}
	if err := l.splitNodes(); err != nil {
		return nil, err
	}
	l.leafNodes()
	for i, split := range s.splits {
		l.connect(l.places[i], split)
	}
	for _, root := range s.roots {
		f.roots = append(f.roots, l.at(root))
	}
	return f, nil
}

// A layer lays a forest out.
type layer[T float32 | float64] struct {
	*forestSpec[T]
	forest *flatForest[T]
	places []int32 // of the first node of each split
	leaves []int32 // and of each leaf
}

// at returns the node of a child or root of the spec.
func (l *layer[T]) at(child int32) int32 {
	if child < 0 {
		return l.leaves[^child]
	}
	return l.places[child]
}

// splitNodes makes room for all splits: one node for an order, two for each value
// of a set.
func (l *layer[T]) splitNodes() error {
	count := 0
	for i, split := range l.splits {
		l.places[i] = int32(count)
		count += max(1, 2*len(l.members(split)))
		if isNaN := split.threshold != split.threshold; isNaN && split.mode != modeMember {
			return fmt.Errorf("the threshold of a node is NaN")
		}
		if count > 2*maxTreeNodes {
			return fmt.Errorf("the trees have more than %d nodes and members of sets", 2*maxTreeNodes)
		}
	}
	l.forest.nodes = make([]flatNode[T], count, count+len(l.leaves))
	return nil
}

func (l *layer[T]) leafNodes() {
	f := l.forest
	several := l.targets > 1 || f.extreme != nil
	if several {
		f.leafOf = make([]int32, len(f.nodes), len(f.nodes)+len(l.leaves))
	}
	f.starts = make([]int32, 1, len(l.leaves)+1)
	for i, votes := range l.forestSpec.leaves {
		at := int32(len(f.nodes))
		l.leaves[i] = at
		leaf := flatNode[T]{child: [2]int32{at, at}}
		for _, v := range votes {
			leaf.threshold += v.value
		}
		f.nodes = append(f.nodes, leaf)
		f.votes = append(f.votes, votes...)
		f.starts = append(f.starts, int32(len(f.votes)))
		if several {
			f.leafOf = append(f.leafOf, int32(i))
		}
	}
}

// members returns the values that a split tests for being equal.
func (l *layer[T]) members(split splitSpec[T]) []T {
	switch split.mode {
	case modeEQ, modeNE:
		return []T{split.threshold}
	case modeMember:
		return l.sets[split.set]
	}
	return nil
}

// connect writes the nodes of a split, the first of which is at a place.
func (l *layer[T]) connect(place int32, split splitSpec[T]) {
	yes, no := l.at(split.yes), l.at(split.no)
	missing := no
	if split.missing || split.mode == modeNE { // NaN is unlike any number
		missing = yes
	}
	if split.mode == modeNE {
		yes, no = no, yes
	}
	set := func(at int32, threshold T, low, high, nan int32) {
		n := flatNode[T]{threshold, uint32(split.feature) << 1, [2]int32{low, high}}
		if nan == high {
			n.place |= 1
		}
		l.forest.nodes[at] = n
	}
	switch split.mode {
	case modeLE:
		set(place, split.threshold, yes, no, missing)
	case modeLT:
		set(place, below(split.threshold), yes, no, missing)
	case modeGE:
		set(place, below(split.threshold), no, yes, missing)
	case modeGT:
		set(place, split.threshold, no, yes, missing)
	default:
		l.connectMembers(set, place, l.members(split), yes, no, missing)
	}
}

// connectMembers writes a chain of two nodes a member: a value above it goes on to
// the next one, and so does one below it; what is left is equal.
func (l *layer[T]) connectMembers(set func(at int32, threshold T, low, high, nan int32), at int32, members []T, yes, no, missing int32) {
	if len(members) == 0 {
		set(at, T(math.Inf(1)), no, missing, missing)
	}
	for i, v := range members {
		if i < len(members)-1 {
			set(at, v, at+1, at+2, at+2) // NaN goes on to the last member
			set(at+1, below(v), at+2, yes, yes)
			at += 2
			continue
		}
		nan := no
		if missing != no {
			nan = at + 1 // from where it can go to either
		}
		set(at, v, at+1, no, nan)
		set(at+1, below(v), no, yes, missing)
	}
}

// below returns the greatest number below v, or NaN, which no value is at most,
// where there is none.
func below[T float32 | float64](v T) T {
	var b any
	switch x := any(v).(type) {
	case float32:
		b = math.Nextafter32(x, float32(math.Inf(-1)))
	case float64:
		b = math.Nextafter(x, math.Inf(-1))
	}
	if math.IsInf(float64(v), -1) {
		return T(math.NaN())
	}
	return b.(T)
}
