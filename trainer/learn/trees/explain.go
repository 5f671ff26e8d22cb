package trees

import (
	"fmt"
	"math"
	"sync"

	"github.com/millrace/millrace/trainer/learn"
)

// Contributions are the Shapley values of the game in which a coalition of
// features is worth what a tree is expected to say where only their values are
// known: at a split of another feature both ways are taken, each by its share of
// the training rows. That is the game of path-dependent TreeSHAP (Lundberg, Erion
// and Lee, "Consistent Individualized Feature Attribution for Tree Ensembles",
// 2018; Lundberg et al., Nature Machine Intelligence 2, 2020), whose algorithm
// takes time in the square of the depth for each leaf. We get the same numbers in
// another way, once around the tree.
//
// For a leaf with value v, let a feature j of the path to it have a share z_j (the
// product of the shares of its splits) and o_j = 1 where the row passes all its
// splits, else 0. A coalition S makes the leaf worth v times the o_j of S and the
// z_j of the rest, and because the weight |S|! (m-|S|-1)!/m! is the integral of
// t^|S| (1-t)^(m-|S|-1) over [0, 1], feature i adds
//
//	integral of v G(t) (o_i - z_i)/F_i(t) dt,  F_j = (1-t) z_j + t o_j,  G = product of the F_j.
//
// The integrand is a polynomial of degree m - 1, which the rule of Gauss and
// Legendre with m/2 points integrates exactly. So it is enough to know G at a few
// points: 3 at depth 6. Going down, a split changes one factor of G; coming up,
// the sums of v G over the leaves below it are added up. What (o_i - z_i)/F_i is
// at a leaf is the sum of its changes at the splits of i on the way to it, so
// each split adds its change times those sums. (Yu et al., "Linear TreeShap",
// 2022, evaluate such polynomials at Chebyshev points and divide them; with an
// integral nothing needs dividing by a power of t, and all weights are positive.)

// Contributions appends to dst what each dense value of the row has added to the
// margin, 0 for each hashed place, and the margin expected of a row of which
// nothing is known. The sum of all is the margin of the row, up to rounding. It
// panics where Predict does.
func (m *Model) Contributions(dst []float64, r learn.Row) []float64 {
	if len(m.ensemble.Base) != 1 {
		panic("trees: Contributions of a model of several classes: call ContributionsOf")
	}
	dst = m.contributions(0, dst, r.Dense)
	if len(r.Hashed) > 0 {
		expected := dst[len(dst)-1]
		dst = append(dst[:len(dst)-1], make([]float64, len(r.Hashed))...)
		dst = append(dst, expected)
	}
	return dst
}

// ContributionsOf appends to dst what each value of the row x has added to the
// margin of a class, and last the margin of the class expected of no row in
// particular: Features + 1 values, whose sum is the margin, up to rounding.
func (m *Model) ContributionsOf(class int, dst, x []float64) []float64 {
	if class < 0 || class >= len(m.ensemble.Base) {
		panic(fmt.Sprintf("trees: class %d of %d", class, len(m.ensemble.Base)))
	}
	return m.contributions(class, dst, x)
}

func (m *Model) contributions(class int, dst, x []float64) []float64 {
	if len(x) != m.ensemble.Features {
		panic(fmt.Sprintf("trees: a row of %d values for a model of %d", len(x), m.ensemble.Features))
	}
	n := len(dst)
	for range x {
		dst = append(dst, 0)
	}
	s := m.shap.states.Get().(*shapState)
	s.x, s.sums = x, dst[n:]
	for i := range m.ensemble.Trees {
		t := &m.ensemble.Trees[i]
		if t.Class != class {
			continue
		}
		s.nodes, s.rule = t.Nodes, m.shap.rules[m.shap.points[i]]
		for q := range s.rule.at {
			s.down[q] = 1
		}
		s.visit(0, 0)
	}
	s.x, s.sums, s.nodes = nil, nil, nil
	m.shap.states.Put(s)
	return append(dst, m.shap.expected[class])
}

// A shap is what a model needs to know for contributions.
type shap struct {
	expected []float64 // margin of each class
	points   []int     // of the rule for each tree
	rules    []rule    // by their number of points; empty where no tree needs it
	states   *sync.Pool
}

// newShap looks at an ensemble, which has been checked, and at how deep its
// trees are.
func newShap(e *Ensemble, walks []walk) shap {
	s := shap{expected: append([]float64(nil), e.Base...), points: make([]int, len(e.Trees)), rules: make([]rule, 2)}
	deepest := 0
	last := make([]int, e.Features) // tree that has split the feature, counted from 1
	for i := range e.Trees {
		t := &e.Trees[i]
		distinct := 0
		for j := range t.Nodes {
			if f := t.Nodes[j].Feature; f >= 0 && last[f] != i+1 {
				last[f] = i + 1
				distinct++
			}
		}
		points := max(1, (min(distinct, walks[i].depth)+1)/2)
		for len(s.rules) <= points {
			s.rules = append(s.rules, rule{})
		}
		if s.rules[points].at == nil {
			s.rules[points] = newRule(points)
		}
		s.points[i] = points
		deepest = max(deepest, walks[i].depth)
		s.expected[t.Class] += t.expected()
	}
	features, size := e.Features, (deepest+1)*(len(s.rules)-1)
	s.states = &sync.Pool{New: func() any { return newShapState(features, size) }}
	return s
}

// expected returns the mean of the leaves, each by its share of the rows.
func (t *Tree) expected() float64 {
	means := make([]float64, len(t.Nodes))
	for i := len(t.Nodes) - 1; i >= 0; i-- {
		n := &t.Nodes[i]
		if n.Feature == -1 {
			means[i] = n.Value
			continue
		}
		left, right := t.shares(n)
		means[i] = left*means[n.Left] + right*means[n.Right]
	}
	return means[0]
}

// shares returns what shares of the training rows that came to a split went left
// and right. Where none came both ways are as likely.
func (t *Tree) shares(n *Node) (left, right float64) {
	left, right = t.Nodes[n.Left].Cover, t.Nodes[n.Right].Cover
	if sum := left + right; sum > 0 {
		return left / sum, right / sum
	}
	return 0.5, 0.5
}

// goesLeft says whether a row goes left at a split of whose feature it has value x.
func (n *Node) goesLeft(x float64) bool {
	switch {
	case x != x || n.ZeroMissing && x >= -zero && x <= zero:
		return n.MissingLeft
	case n.Set != nil:
		return in(n.Set, x)
	}
	return x <= n.Threshold
}

// A shapState is what going around a tree needs to remember.
type shapState struct {
	x, sums  []float64
	nodes    []Node
	rule     rule
	share    []float64 // of each feature, over its splits above; 1 where there are none
	failed   []bool    // the row does not pass one of them
	down, up []float64 // for each level the points' values of G, and of the sums of v G
}

func newShapState(features, size int) *shapState {
	s := &shapState{share: make([]float64, features), failed: make([]bool, features), down: make([]float64, size), up: make([]float64, size)}
	for i := range s.share {
		s.share[i] = 1
	}
	return s
}

// visit leaves in its level of up the sums over the leaves at or below a node,
// and adds to s.sums what the splits below it add.
func (s *shapState) visit(at int32, level int) {
	points := len(s.rule.at)
	down, up := s.down[level*points:][:points], s.up[level*points:][:points]
	n := &s.nodes[at]
	if n.Feature == -1 {
		for q, g := range down {
			up[q] = g * n.Value
		}
		return
	}
	clear(up)
	share, failed := s.share[n.Feature], s.failed[n.Feature]
	t := Tree{Nodes: s.nodes}
	left, right := t.shares(n)
	goesLeft := n.goesLeft(s.x[n.Feature])
	sum := s.child(n.Left, level, n.Feature, left, share, failed, goesLeft)
	sum += s.child(n.Right, level, n.Feature, right, share, failed, !goesLeft)
	s.sums[n.Feature] += sum
	s.share[n.Feature], s.failed[n.Feature] = share, failed
}

// child goes down to a child whose share of the rows at its parent is part, and
// adds its up to that of its parent. It returns what the split has added to the
// feature's sum on this side. The feature's share and failed are those above.
func (s *shapState) child(at int32, level int, feature int32, part, share float64, failed, passes bool) float64 {
	points := len(s.rule.at)
	down, up := s.down[level*points:][:points], s.up[level*points:][:points]
	nextDown, nextUp := s.down[(level+1)*points:][:points], s.up[(level+1)*points:][:points]
	below := share * part
	s.share[feature], s.failed[feature] = below, failed || !passes
	if failed {
		for q := range nextDown {
			nextDown[q] = down[q] * part
		}
		s.visit(at, level+1)
		for q := range up {
			up[q] += nextUp[q]
		}
		return 0
	}
	for q, t := range s.rule.at {
		f := (1 - t) * below
		if passes {
			f += t
		}
		nextDown[q] = down[q] * f / ((1-t)*share + t)
	}
	s.visit(at, level+1)
	sum := 0.0
	for q, t := range s.rule.at {
		change := -1 / (1 - t)
		if passes {
			change = (1 - below) / ((1-t)*below + t)
		}
		change -= (1 - share) / ((1-t)*share + t)
		sum += s.rule.weight[q] * nextUp[q] * change
		up[q] += nextUp[q]
	}
	return sum
}

// A rule integrates polynomials over [0, 1]: the sum of their values at points
// times weights is exact up to degree 2n-1.
type rule struct{ at, weight []float64 }

// newRule returns the rule of Gauss and Legendre with n points, which are the
// zeros of the Legendre polynomial of degree n, found by Newton's method.
func newRule(n int) rule {
	r := rule{at: make([]float64, n), weight: make([]float64, n)}
	for i := range n {
		x := math.Cos(math.Pi * (float64(i) + 0.75) / (float64(n) + 0.5))
		slope := 0.0
		for range 8 { // it doubles the digits in each turn, and starts with two
			p, before := 1.0, 0.0
			for k := 1; k <= n; k++ {
				p, before = (float64(2*k-1)*x*p-float64(k-1)*before)/float64(k), p
			}
			slope = float64(n) * (x*p - before) / (x*x - 1)
			x -= p / slope
		}
		r.at[i] = (1 + x) / 2
		r.weight[i] = 1 / ((1 - x*x) * slope * slope)
	}
	return r
}
