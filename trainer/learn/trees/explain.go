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
// each split adds its change times those sums. No factor of G and no weight of the
// rule is negative, so that rounding does little however deep a tree is.

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
		for q := range s.levels[0].g {
			s.levels[0].g[q] = 1
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
	features, points := e.Features, len(s.rules)-1
	s.states = &sync.Pool{New: func() any { return newShapState(features, deepest+1, points) }}
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
		left, right := shares(t.Nodes, n)
		means[i] = left*means[n.Left] + right*means[n.Right]
	}
	return means[0]
}

// shares returns what shares of the training rows that came to a split went left
// and right. Where none came both ways are as likely.
func shares(nodes []Node, n *Node) (left, right float64) {
	left, right = nodes[n.Left].Cover, nodes[n.Right].Cover
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
	x, sums []float64
	nodes   []Node
	rule    rule
	share   []float64 // of each feature, over its splits above; 1 where there are none
	failed  []bool    // the row does not pass one of them
	levels  []shapLevel
}

// A shapLevel is what is known on the way to a node, with a value for each point.
type shapLevel struct {
	g       []float64 // G
	sums    []float64 // sum of v G over the leaves below
	without []float64 // G without the feature that is split here: G/F
	inverse []float64 // 1/F
}

func newShapState(features, levels, points int) *shapState {
	s := &shapState{share: make([]float64, features), failed: make([]bool, features), levels: make([]shapLevel, levels)}
	for i := range s.share {
		s.share[i] = 1
	}
	all := make([]float64, 4*levels*points)
	for i := range s.levels {
		for _, field := range []*[]float64{&s.levels[i].g, &s.levels[i].sums, &s.levels[i].without, &s.levels[i].inverse} {
			*field, all = all[:points:points], all[points:]
		}
	}
	return s
}

// visit leaves in its level the sums over the leaves at or below a node, and adds
// to s.sums what the splits below it add.
func (s *shapState) visit(at int32, level int) {
	n, l, points := &s.nodes[at], &s.levels[level], len(s.rule.at)
	g, sums := l.g[:points], l.sums[:points]
	if n.Feature == -1 {
		for q := range sums {
			sums[q] = g[q] * n.Value
		}
		return
	}
	clear(sums)
	share, failed := s.share[n.Feature], s.failed[n.Feature]
	left, right := shares(s.nodes, n)
	if failed {
		s.passive(n.Left, level, left)
		s.passive(n.Right, level, right)
		return
	}
	without, inverse := l.without[:points], l.inverse[:points]
	for q, t := range s.rule.at {
		without[q], inverse[q] = g[q], 1
		if share != 1 {
			inverse[q] = 1 / ((1-t)*share + t)
			without[q] = g[q] * inverse[q]
		}
	}
	if !n.goesLeft(s.x[n.Feature]) {
		s.active(n.Right, level, n.Feature, share, right, true)
		s.active(n.Left, level, n.Feature, share, left, false)
	} else {
		s.active(n.Left, level, n.Feature, share, left, true)
		s.active(n.Right, level, n.Feature, share, right, false)
	}
	s.share[n.Feature], s.failed[n.Feature] = share, false
}

// passive goes down to a child of a split whose feature has failed above, so that
// it only takes the child's part of the rows.
func (s *shapState) passive(child int32, level int, part float64) {
	l, next := &s.levels[level], &s.levels[level+1]
	if n := &s.nodes[child]; n.Feature == -1 {
		for q := range s.rule.at {
			l.sums[q] += l.g[q] * part * n.Value
		}
		return
	}
	for q := range s.rule.at {
		next.g[q] = l.g[q] * part
	}
	s.visit(child, level+1)
	for q := range s.rule.at {
		l.sums[q] += next.sums[q]
	}
}

// active goes down to a child of a split whose feature has not failed above, and
// adds what the split adds to the feature on this side. The feature's share is
// that above the split, and the child's part is of the rows there.
func (s *shapState) active(child int32, level int, feature int32, share, part float64, passes bool) {
	below := share * part
	if n := &s.nodes[child]; n.Feature == -1 {
		s.sums[feature] += s.activeLeaf(level, share, below, n.Value, passes)
		return
	}
	l, next := &s.levels[level], &s.levels[level+1]
	s.share[feature], s.failed[feature] = below, !passes
	for q, t := range s.rule.at {
		f := (1 - t) * below
		if passes {
			f += t
		}
		next.g[q] = l.without[q] * f
	}
	s.visit(child, level+1)
	sum := 0.0
	for q, t := range s.rule.at {
		change := s.rule.fail[q]
		if passes {
			change = (1 - below) / ((1-t)*below + t)
		}
		sum += s.rule.weight[q] * next.sums[q] * (change - (1-share)*l.inverse[q])
		l.sums[q] += next.sums[q]
	}
	s.sums[feature] += sum
}

// activeLeaf returns what active adds where the child is a leaf. There is half of
// all nodes, and F, which is a factor of G as well, need not be divided by.
func (s *shapState) activeLeaf(level int, share, below, value float64, passes bool) float64 {
	l, sum := &s.levels[level], 0.0
	passed := 0.0
	if passes {
		passed = 1
	}
	for q, t := range s.rule.at {
		rest := l.without[q] * value
		here := rest * ((1-t)*below + t*passed)
		sum += s.rule.weight[q] * (rest*(passed-below) - here*(1-share)*l.inverse[q])
		l.sums[q] += here
	}
	return sum
}

// A rule integrates polynomials over [0, 1]: the sum of their values at points
// times weights is exact up to degree 2n-1.
type rule struct {
	at, weight []float64
	fail       []float64 // -1/(1-t): (o - z)/F where o is 0
}

// newRule returns the rule of Gauss and Legendre with n points, which are the
// zeros of the Legendre polynomial of degree n, found by Newton's method.
func newRule(n int) rule {
	r := rule{at: make([]float64, n), weight: make([]float64, n), fail: make([]float64, n)}
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
		r.fail[i] = -1 / (1 - r.at[i])
	}
	return r
}
