package trees

import (
	"errors"
	"fmt"
	"math"
)

// An xgboostTree has a value for each node in most of its lists.
type xgboostTree struct {
	Param struct {
		LeafSize text `json:"size_leaf_vector"`
		Nodes    text `json:"num_nodes"`
	} `json:"tree_param"`
	Left        []int32   `json:"left_children"` // -1: a leaf
	Right       []int32   `json:"right_children"`
	Feature     []int32   `json:"split_indices"`
	Condition   []float32 `json:"split_conditions"` // of a leaf, its value
	DefaultLeft []flag    `json:"default_left"`
	Hessian     []float32 `json:"sum_hessian"`
	// Of splits by category only, and empty where a model has none.
	SplitType  []int8  `json:"split_type"` // 1: by category; absent before 1.3
	Nodes      []int32 `json:"categories_nodes"`
	Segments   []int   `json:"categories_segments"`
	Sizes      []int   `json:"categories_sizes"`
	Categories []int   `json:"categories"`
}

// maxCategory is what XGBoost's categories are below.
const maxCategory = 1 << 24

// An xgboostReader reads trees.
type xgboostReader struct {
	features int
	words    int // of sets that may still come
}

func (r *xgboostReader) tree(t *xgboostTree, weight float64) ([]Node, error) {
	if t.Param.LeafSize != "" && t.Param.LeafSize != "0" && t.Param.LeafSize != "1" {
		return nil, fmt.Errorf("its leaves are vectors of %s values (multi_strategy multi_output_tree): train with one_output_per_tree", t.Param.LeafSize)
	}
	n := len(t.Left)
	if claimed, err := t.Param.Nodes.count("num_nodes", maxNodes); err != nil || claimed != n {
		return nil, fmt.Errorf("num_nodes is %q, and there are %d", t.Param.Nodes, n)
	}
	for _, list := range []struct {
		name string
		n    int
	}{
		{"right_children", len(t.Right)}, {"split_indices", len(t.Feature)}, {"split_conditions", len(t.Condition)},
		{"default_left", len(t.DefaultLeft)}, {"sum_hessian", len(t.Hessian)},
	} {
		if list.n != n {
			return nil, fmt.Errorf("%s has %d values for %d nodes", list.name, list.n, n)
		}
	}
	if len(t.SplitType) != n && len(t.SplitType) != 0 {
		return nil, fmt.Errorf("split_type has %d values for %d nodes", len(t.SplitType), n)
	}
	sets, err := r.sets(t)
	if err != nil {
		return nil, err
	}
	return ordered(n, func(i int) (Node, error) { return r.node(t, sets, i, weight) })
}

// sets returns the set of each node that splits by category.
func (r *xgboostReader) sets(t *xgboostTree) (map[int32][]uint64, error) {
	if len(t.Segments) != len(t.Nodes) || len(t.Sizes) != len(t.Nodes) {
		return nil, fmt.Errorf("categories_nodes, categories_segments and categories_sizes have %d, %d and %d values", len(t.Nodes), len(t.Segments), len(t.Sizes))
	}
	sets := make(map[int32][]uint64, len(t.Nodes))
	for i, node := range t.Nodes {
		from, size := t.Segments[i], t.Sizes[i]
		if from < 0 || size < 0 || from > len(t.Categories) || size > len(t.Categories)-from {
			return nil, fmt.Errorf("node %d has categories %d to %d of %d", node, from, from+size-1, len(t.Categories))
		}
		words := 0
		for _, c := range t.Categories[from : from+size] {
			if c < 0 || c >= maxCategory {
				return nil, fmt.Errorf("node %d has category %d: there are 0 to %d", node, c, maxCategory-1)
			}
			words = max(words, c/64+1)
		}
		if r.words -= words; r.words < 0 {
			return nil, fmt.Errorf("the sets of categories of the trees so far take more than %d bytes", maxWords*8)
		}
		set := make([]uint64, words)
		for _, c := range t.Categories[from : from+size] {
			set[c>>6] |= 1 << (c & 63)
		}
		sets[node] = set
	}
	return sets, nil
}

// node returns node i of the tree, its children still by the file's numbers.
func (r *xgboostReader) node(t *xgboostTree, sets map[int32][]uint64, i int, weight float64) (Node, error) {
	n := Node{Feature: -1, Cover: float64(t.Hessian[i])}
	if t.Left[i] == -1 {
		n.Value = float64(t.Condition[i]) * weight
		return n, nil
	}
	if err := checkSplit(int(t.Feature[i]), r.features); err != nil {
		return n, err
	}
	n.Feature, n.MissingLeft = t.Feature[i], bool(t.DefaultLeft[i])
	n.Left, n.Right = t.Left[i], t.Right[i]
	if len(t.SplitType) == 0 || t.SplitType[i] == 0 {
		n.Threshold = below(t.Condition[i])
		return n, nil
	}
	set, ok := sets[int32(i)]
	if !ok || t.SplitType[i] != 1 {
		return n, errors.New("it splits by category and has no categories, or its split_type is neither 0 nor 1")
	}
	// What is in XGBoost's set goes right.
	n.Set, n.MissingLeft = set, !n.MissingLeft
	n.Left, n.Right = n.Right, n.Left
	return n, nil
}

// below returns the greatest double that is less than t once it is rounded to a
// float32, which is how XGBoost compares.
func below(t float32) float64 {
	before := math.Nextafter32(t, float32(math.Inf(-1)))
	if math.IsInf(float64(before), -1) {
		// Half a step beyond the least float32 rounds to -Inf, being a tie.
		return -(math.MaxFloat32 + 0x1p103)
	}
	middle := (float64(before) + float64(t)) / 2 // exact
	if float32(middle) < t {
		return middle
	}
	return math.Nextafter(middle, math.Inf(-1))
}
