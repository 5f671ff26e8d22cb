package trees

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// Limits of an ensemble. The counts keep what bytes can make us allocate within
// reason; the magnitudes keep each margin finite.
const (
	maxFeatures = 1 << 16
	maxClasses  = 1 << 10
	maxTrees    = 1 << 17
	maxNodes    = 1 << 23 // of all trees: 0.6 GB as nodes
	maxDepth    = 1 << 10 // splits above a leaf
	maxWords    = 1 << 23 // of all sets: 64 MiB
	maxName     = 1 << 10 // bytes
	maxValue    = 1e100   // of a leaf, a base or a cover
)

// Check reports the first thing in the ensemble that is not as the types say or
// is beyond a limit. Whoever makes an ensemble calls it; scoring relies on it.
//
// Each node but the root is the child of exactly one, which is before it. A
// threshold is not NaN, and 0 where there is a set. Values and bases are at most
// 1e100 in magnitude, and covers are 0 to 1e100.
func (e *Ensemble) Check() error {
	if err := e.checkHead(); err != nil {
		return fmt.Errorf("trees: %w", err)
	}
	c := checker{e: e}
	for i := range e.Trees {
		if err := c.tree(&e.Trees[i]); err != nil {
			return fmt.Errorf("trees: tree %d: %w", i, err)
		}
	}
	return nil
}

// checkHead looks at everything but the nodes.
func (e *Ensemble) checkHead() error {
	if e.Features < 0 || e.Features > maxFeatures {
		return fmt.Errorf("%d features: 0 to %d are supported", e.Features, maxFeatures)
	}
	if e.Names != nil && len(e.Names) != e.Features {
		return fmt.Errorf("%d names for %d features", len(e.Names), e.Features)
	}
	for i, name := range e.Names {
		if len(name) > maxName || !utf8.ValidString(name) {
			return fmt.Errorf("the name of feature %d is longer than %d bytes or no UTF-8", i, maxName)
		}
	}
	switch e.Link {
	case Identity, Logistic, Exp:
		if len(e.Base) != 1 {
			return fmt.Errorf("%d bases with link %q, which has one margin", len(e.Base), e.Link)
		}
	case Softmax:
		if len(e.Base) < 2 || len(e.Base) > maxClasses {
			return fmt.Errorf("%d classes: link %q takes 2 to %d", len(e.Base), e.Link, maxClasses)
		}
	default:
		return fmt.Errorf("link %q is not known: %s, %s, %s and %s are", e.Link, Identity, Logistic, Softmax, Exp)
	}
	for k, b := range e.Base {
		if !(math.Abs(b) <= maxValue) {
			return fmt.Errorf("the base of class %d is %v: give a number within %g", k, b, float64(maxValue))
		}
	}
	if len(e.Trees) > maxTrees {
		return fmt.Errorf("%d trees: at most %d are supported", len(e.Trees), maxTrees)
	}
	return nil
}

// A checker goes through the trees and counts what is limited over all of them.
type checker struct {
	e            *Ensemble
	nodes, words int
	depth        []int32 // of the nodes of a tree; -1: no parent so far
}

func (c *checker) tree(t *Tree) error {
	if t.Class < 0 || t.Class >= len(c.e.Base) {
		return fmt.Errorf("class %d of %d", t.Class, len(c.e.Base))
	}
	if len(t.Nodes) == 0 {
		return errors.New("it has no nodes; a tree that says nothing is a leaf of value 0")
	}
	if c.nodes += len(t.Nodes); c.nodes > maxNodes {
		return fmt.Errorf("the ensemble has more than %d nodes", maxNodes)
	}
	if cap(c.depth) < len(t.Nodes) {
		c.depth = make([]int32, len(t.Nodes))
	}
	c.depth = c.depth[:len(t.Nodes)]
	for i := range c.depth {
		c.depth[i] = -1
	}
	c.depth[0] = 0
	for i := range t.Nodes {
		if c.depth[i] < 0 {
			return fmt.Errorf("node %d: no node before it has it as a child", i)
		}
		if err := c.node(t, i); err != nil {
			return fmt.Errorf("node %d: %w", i, err)
		}
	}
	return nil
}

func (c *checker) node(t *Tree, i int) error {
	n := &t.Nodes[i]
	if !(n.Cover >= 0 && n.Cover <= maxValue) {
		return fmt.Errorf("cover %v: give 0 to %g", n.Cover, float64(maxValue))
	}
	if n.Feature == -1 {
		if !(math.Abs(n.Value) <= maxValue) {
			return fmt.Errorf("value %v: give a number within %g", n.Value, float64(maxValue))
		}
		return nil
	}
	if n.Feature < 0 || int(n.Feature) >= c.e.Features {
		return fmt.Errorf("feature %d of %d", n.Feature, c.e.Features)
	}
	if math.IsNaN(n.Threshold) {
		return errors.New("threshold NaN: nothing is at most that")
	}
	if n.Set != nil && (n.Threshold != 0 || n.ZeroMissing) {
		return errors.New("it has a set, and a threshold or zeros that are missing: give one or the other")
	}
	if c.words += len(n.Set); c.words > maxWords {
		return fmt.Errorf("the sets of the ensemble hold more than %d places", maxWords*64)
	}
	if c.depth[i] == maxDepth {
		return fmt.Errorf("it is a split with %d splits above it, which is the most", maxDepth)
	}
	for _, child := range [...]int32{n.Left, n.Right} {
		if int(child) <= i || int(child) >= len(t.Nodes) {
			return fmt.Errorf("child %d: children come after their parents, and there are %d nodes", child, len(t.Nodes))
		}
		if c.depth[child] >= 0 {
			return fmt.Errorf("child %d is the child of two nodes", child)
		}
		c.depth[child] = c.depth[i] + 1
	}
	return nil
}
