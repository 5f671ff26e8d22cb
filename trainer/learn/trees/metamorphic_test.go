package trees

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

// shuffled returns the tree with its nodes in another order, parents first.
func shuffled(r *rand.Rand, t Tree) Tree {
	type visit struct {
		from   int32
		parent int32
		left   bool
	}
	out := Tree{Class: t.Class}
	for open := []visit{{0, -1, false}}; len(open) > 0; {
		i := r.IntN(len(open))
		v := open[i]
		open = slices.Delete(open, i, i+1)
		at := int32(len(out.Nodes))
		n := t.Nodes[v.from]
		out.Nodes = append(out.Nodes, n)
		switch {
		case v.parent < 0:
		case v.left:
			out.Nodes[v.parent].Left = at
		default:
			out.Nodes[v.parent].Right = at
		}
		if n.Feature != -1 {
			open = append(open, visit{n.Left, at, true}, visit{n.Right, at, false})
		}
	}
	return out
}

func TestOrderOfNodesChangesNothing(t *testing.T) {
	for name, k := range kinds(5) {
		m := k.model(t)
		other := *m.Ensemble()
		other.Trees = nil
		for _, tree := range m.Ensemble().Trees {
			other.Trees = append(other.Trees, shuffled(k.Rand, tree))
		}
		n, err := New(&other, m.Task())
		if err != nil {
			t.Fatal(name, err)
		}
		x := k.rows(40)
		for i := range 40 {
			row := x[i*k.features : (i+1)*k.features]
			if a, b := m.Margins(nil, row), n.Margins(nil, row); !slices.Equal(a, b) {
				t.Fatalf("%s: %v, and in another order %v", name, a, b)
			}
			near(t, name, n.ContributionsOf(0, nil, row), m.ContributionsOf(0, nil, row))
		}
	}
}

func TestHalvesAddUp(t *testing.T) {
	for name, k := range kinds(6) {
		m := k.model(t)
		half := func(trees []Tree) *Model {
			e := *m.Ensemble()
			e.Trees = trees
			h, err := New(&e, m.Task())
			if err != nil {
				t.Fatal(name, err)
			}
			return h
		}
		at := len(m.Ensemble().Trees) / 2
		first, second := half(m.Ensemble().Trees[:at]), half(m.Ensemble().Trees[at:])
		x := k.rows(20)
		for i := range 20 {
			row := x[i*k.features : (i+1)*k.features]
			sum := func(a, b []float64, base float64) []float64 {
				for i := range a {
					a[i] += b[i]
				}
				a[len(a)-1] -= base
				return a
			}
			for class, base := range m.Ensemble().Base {
				got := sum(first.Margins(nil, row)[class:class+1], second.Margins(nil, row)[class:], base)
				near(t, name, got, m.Margins(nil, row)[class:class+1])
				got = sum(first.ContributionsOf(class, nil, row), second.ContributionsOf(class, nil, row), base)
				near(t, name, got, m.ContributionsOf(class, nil, row))
			}
		}
	}
}

// TestFeaturesMayChangePlaces gives the features of an ensemble other places.
func TestFeaturesMayChangePlaces(t *testing.T) {
	for name, k := range kinds(7) {
		m := k.model(t)
		to := k.Perm(k.features)
		e := *m.Ensemble()
		e.Trees = nil
		for _, tree := range m.Ensemble().Trees {
			nodes := slices.Clone(tree.Nodes)
			for i := range nodes {
				if nodes[i].Feature != -1 {
					nodes[i].Feature = int32(to[nodes[i].Feature])
				}
			}
			e.Trees = append(e.Trees, Tree{Class: tree.Class, Nodes: nodes})
		}
		n, err := New(&e, m.Task())
		if err != nil {
			t.Fatal(name, err)
		}
		x := k.rows(20)
		for i := range 20 {
			row := x[i*k.features : (i+1)*k.features]
			moved, want := make([]float64, len(row)), m.ContributionsOf(0, nil, row)
			added := slices.Clone(want)
			for f := range row {
				moved[to[f]], added[to[f]] = row[f], want[f]
			}
			if a, b := m.Margins(nil, row), n.Margins(nil, moved); !slices.Equal(a, b) {
				t.Fatalf("%s: %v, and with features elsewhere %v", name, a, b)
			}
			near(t, name, n.ContributionsOf(0, nil, moved), added)
		}
	}
}

// TestSplitByThresholdOrBySet says the same twice.
func TestSplitByThresholdOrBySet(t *testing.T) {
	k := maker{Rand: rand.New(rand.NewPCG(4, 4)), features: 4, trees: 12, depth: 5}
	e := k.ensemble()
	sets := *e
	sets.Trees = nil
	for _, tree := range e.Trees {
		nodes := slices.Clone(tree.Nodes)
		for i := range nodes {
			if n := &nodes[i]; n.Feature != -1 {
				below := k.IntN(70)
				tree.Nodes[i].Threshold = float64(below) - 0.5
				n.Threshold, n.Set = 0, make([]uint64, 2)
				for c := range below {
					n.Set[c/64] |= 1 << (c % 64)
				}
			}
		}
		sets.Trees = append(sets.Trees, Tree{Nodes: nodes})
	}
	m, err := New(e, learn.Binary)
	if err != nil {
		t.Fatal(err)
	}
	n, err := New(&sets, learn.Binary)
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		row := make([]float64, 4)
		for f := range row {
			row[f] = float64(k.IntN(80))
		}
		if a, b := m.Margins(nil, row), n.Margins(nil, row); !slices.Equal(a, b) {
			t.Fatalf("row %v: %v by threshold, %v by set", row, a, b)
		}
	}
}
