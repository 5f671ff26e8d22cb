package trees

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// stump returns a small ensemble with a split of each kind.
func stump() *Ensemble {
	return &Ensemble{
		Features: 3, Names: []string{"a", "b", "c"}, Link: Logistic, Base: []float64{0.5},
		Trees: []Tree{{Nodes: []Node{
			{Feature: 1, Left: 1, Right: 2, Threshold: 2.5, MissingLeft: true, ZeroMissing: true, Cover: 10},
			{Feature: -1, Value: -1, Cover: 4},
			{Feature: 2, Left: 3, Right: 4, Set: []uint64{5}, Cover: 6},
			{Feature: -1, Value: 2, Cover: 5},
			{Feature: -1, Value: 3, Cover: 1},
		}}, {Nodes: []Node{{Feature: -1, Value: 0.25}}}},
	}
}

func TestCheckNamesTheFault(t *testing.T) {
	if err := stump().Check(); err != nil {
		t.Fatal(err)
	}
	endless := stump()
	endless.Trees[0].Nodes[0].Threshold = math.Inf(-1)
	if err := endless.Check(); err != nil {
		t.Error(err)
	}
	inf, nan := math.Inf(1), math.NaN()
	node := func(i int, change func(*Node)) func(*Ensemble) {
		return func(e *Ensemble) { change(&e.Trees[0].Nodes[i]) }
	}
	for want, change := range map[string]func(*Ensemble){
		"-1 features":                        func(e *Ensemble) { e.Features = -1 },
		"65537 features":                     func(e *Ensemble) { e.Features = 1<<16 + 1 },
		"2 names for 3 features":             func(e *Ensemble) { e.Names = e.Names[:2] },
		"the name of feature 1":              func(e *Ensemble) { e.Names[1] = strings.Repeat("x", 1025) },
		"the name of feature 2":              func(e *Ensemble) { e.Names[2] = "\xff" },
		`link "other" is not known`:          func(e *Ensemble) { e.Link = "other" },
		"0 bases with link":                  func(e *Ensemble) { e.Base = nil },
		"2 bases with link":                  func(e *Ensemble) { e.Base = []float64{1, 2} },
		`1 classes: link "softmax"`:          func(e *Ensemble) { e.Link = Softmax },
		`1025 classes: link "softmax"`:       func(e *Ensemble) { e.Link, e.Base = Softmax, make([]float64, 1025) },
		"the base of class 0 is NaN":         func(e *Ensemble) { e.Base[0] = nan },
		"the base of class 0 is -Inf":        func(e *Ensemble) { e.Base[0] = -inf },
		"131073 trees":                       func(e *Ensemble) { e.Trees = slices.Repeat(e.Trees[1:], 1<<17+1) },
		"tree 1: class 1 of 1":               func(e *Ensemble) { e.Trees[1].Class = 1 },
		"tree 0: class -1 of 1":              func(e *Ensemble) { e.Trees[0].Class = -1 },
		"tree 1: it has no nodes":            func(e *Ensemble) { e.Trees[1].Nodes = nil },
		"tree 0: node 1: value NaN":          node(1, func(n *Node) { n.Value = nan }),
		"tree 0: node 1: value +Inf":         node(1, func(n *Node) { n.Value = inf }),
		"tree 0: node 1: value 1e+101":       node(1, func(n *Node) { n.Value = 1e101 }),
		"node 3: cover -1":                   node(3, func(n *Node) { n.Cover = -1 }),
		"node 3: cover NaN":                  node(3, func(n *Node) { n.Cover = nan }),
		"node 0: feature 3 of 3":             node(0, func(n *Node) { n.Feature = 3 }),
		"node 0: feature -2 of 3":            node(0, func(n *Node) { n.Feature = -2 }),
		"node 0: threshold NaN":              node(0, func(n *Node) { n.Threshold = nan }),
		"node 2: it has a set, and a":        node(2, func(n *Node) { n.Threshold = 1 }),
		"node 2: it has a set, and":          node(2, func(n *Node) { n.ZeroMissing = true }),
		"the sets of the ensemble hold more": node(2, func(n *Node) { n.Set = make([]uint64, maxWords+1) }),
		"node 0: child 0: children come":     node(0, func(n *Node) { n.Left = 0 }),
		"node 0: child -1":                   node(0, func(n *Node) { n.Right = -1 }),
		"node 2: child 1: children come":     node(2, func(n *Node) { n.Left = 1 }),
		"node 2: child 5":                    node(2, func(n *Node) { n.Right = 5 }),
		"child 3 is the child of two nodes":  node(2, func(n *Node) { n.Right = 3 }),
		"node 1: no node before it has it":   node(0, func(n *Node) { n.Left = 3 }),
	} {
		e := stump()
		change(e)
		if err := e.Check(); err == nil || !strings.HasPrefix(err.Error(), "trees: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want one with %q", err, want)
		}
	}
}

// chain returns a tree with so many splits below each other.
func chain(depth int) Tree {
	var t Tree
	for i := range depth {
		at := int32(2 * i)
		t.Nodes = append(t.Nodes, Node{Left: at + 1, Right: at + 2, Cover: 1}, Node{Feature: -1, Cover: 1})
	}
	t.Nodes = append(t.Nodes, Node{Feature: -1, Value: 1, Cover: 1})
	return t
}

func TestDepthHasALimit(t *testing.T) {
	e := &Ensemble{Features: 1, Link: Identity, Base: []float64{0}, Trees: []Tree{chain(maxDepth)}}
	if err := e.Check(); err != nil {
		t.Error(err)
	}
	e.Trees[0] = chain(maxDepth + 1)
	if err := e.Check(); err == nil || !strings.Contains(err.Error(), "node 2048") {
		t.Error(err)
	}
}

func TestNodesHaveALimit(t *testing.T) {
	leaf := Tree{Nodes: []Node{{Feature: -1}}}
	c := checker{e: stump(), nodes: maxNodes - 1}
	if err := c.tree(&leaf); err != nil {
		t.Error(err)
	}
	if err := c.tree(&leaf); err == nil || !strings.Contains(err.Error(), "more than 8388608 nodes") {
		t.Error(err)
	}
}
