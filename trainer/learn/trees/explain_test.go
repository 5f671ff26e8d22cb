package trees

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

// worth returns what a tree is expected to say of a row of which only the
// features in known, a set of bits, are known.
func worth(t *Tree, at int32, x []float64, known uint) float64 {
	n := &t.Nodes[at]
	if n.Feature == -1 {
		return n.Value
	}
	if known>>n.Feature&1 != 0 {
		v, left := x[n.Feature], false
		switch {
		case math.IsNaN(v), n.ZeroMissing && math.Abs(v) <= 1.0000000180025095e-35:
			left = n.MissingLeft
		case n.Set != nil:
			left = slices.Contains(members(n.Set), v)
		default:
			left = v <= n.Threshold
		}
		if left {
			return worth(t, n.Left, x, known)
		}
		return worth(t, n.Right, x, known)
	}
	l, r := t.Nodes[n.Left].Cover, t.Nodes[n.Right].Cover
	if l+r == 0 {
		l, r = 1, 1
	}
	return (l*worth(t, n.Left, x, known) + r*worth(t, n.Right, x, known)) / (l + r)
}

func members(set []uint64) (all []float64) {
	for k := range len(set) * 64 {
		if set[k/64]&(1<<(k%64)) != 0 {
			all = append(all, float64(k))
		}
	}
	return all
}

// shapley returns the contributions of a row by their definition, a sum over all
// coalitions of features, and last what no row in particular is expected to have.
func shapley(e *Ensemble, class int, x []float64) []float64 {
	m := e.Features
	worths := make([]float64, 1<<m)
	for known := range worths {
		worths[known] = e.Base[class]
		for i := range e.Trees {
			if e.Trees[i].Class == class {
				worths[known] += worth(&e.Trees[i], 0, x, uint(known))
			}
		}
	}
	factorial := func(n int) float64 { return math.Gamma(float64(n + 1)) }
	all := make([]float64, m+1)
	all[m] = worths[0]
	for f := range m {
		for known := range worths {
			if known>>f&1 == 0 {
				size := bits.OnesCount(uint(known))
				all[f] += factorial(size) * factorial(m-size-1) / factorial(m) * (worths[known|1<<f] - worths[known])
			}
		}
	}
	return all
}

func TestContributionsAreThoseOfTheDefinition(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		for name, k := range map[string]maker{
			"full":    {Rand: r, features: 7, trees: 3, depth: 6},
			"ragged":  {Rand: r, features: 4, trees: 4, depth: 8, stop: 0.3},
			"sets":    {Rand: r, features: 4, trees: 4, depth: 5, sets: true, zeros: true},
			"classes": {Rand: r, features: 4, trees: 6, depth: 4, classes: 3},
			"one":     {Rand: r, features: 1, trees: 2, depth: 9, stop: 0.1},
			"leaves":  {Rand: r, features: 2, trees: 2},
			"empty":   {Rand: r, features: 5, trees: 3, depth: 5, noCover: 0.3},
			"unknown": {Rand: r, features: 5, trees: 3, depth: 5, noCover: 1},
		} {
			m := k.model(t)
			x := k.rows(4)
			for i := range 4 {
				row := x[i*k.features : (i+1)*k.features]
				for class := range m.Ensemble().Base {
					got, want := m.ContributionsOf(class, nil, row), shapley(m.Ensemble(), class, row)
					near(t, name, got, want)
				}
			}
		}
	}
}

// TestContributionsOfDeepTrees has paths of many features, for which rules of many
// points are used.
func TestContributionsOfDeepTrees(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for range 3 {
		k := maker{Rand: r, features: 11, trees: 1, depth: 25, stop: 0.42}
		m := k.model(t)
		x := k.rows(2)
		for i := range 2 {
			row := x[i*11 : i*11+11]
			near(t, "deep", m.ContributionsOf(0, nil, row), shapley(m.Ensemble(), 0, row))
		}
	}
	// A chain of as many features as a tree can have above a leaf: its contributions
	// have no definition that ends in time, but must add up.
	e := &Ensemble{Features: maxDepth, Link: Identity, Base: []float64{0}, Trees: []Tree{chain(maxDepth)}}
	for i := range e.Trees[0].Nodes {
		if n := &e.Trees[0].Nodes[i]; n.Feature != -1 {
			n.Feature, n.Cover = int32(i/2), 2000-float64(i)/2
		} else {
			n.Value, n.Cover = r.NormFloat64(), 1
		}
	}
	m, err := New(e, learn.Regression)
	if err != nil {
		t.Fatal(err)
	}
	row := make([]float64, maxDepth)
	for range 3 {
		for f := range row {
			row[f] = float64(min(r.IntN(200), 1)) // 0 goes to the leaf
		}
		sum := 0.0
		for _, c := range m.ContributionsOf(0, nil, row) {
			sum += c
		}
		near(t, "chain", []float64{sum}, m.Margins(nil, row))
	}
}

// near reports numbers that differ by more than rounding.
func near(t *testing.T, name string, got, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %v, want %v", name, got, want)
	}
	for i := range want {
		if !(math.Abs(got[i]-want[i]) <= 1e-11) {
			t.Fatalf("%s: %v, want %v", name, got, want)
		}
	}
}

// TestContributionsAddUp takes trees that are too large for the definition.
func TestContributionsAddUp(t *testing.T) {
	for name, k := range kinds(3) {
		m := k.model(t)
		x := k.rows(5)
		for i := range 5 {
			row := x[i*k.features : (i+1)*k.features]
			for class, margin := range m.Margins(nil, row) {
				sum := 0.0
				for _, c := range m.ContributionsOf(class, nil, row) {
					sum += c
				}
				near(t, name, []float64{sum}, []float64{margin})
			}
		}
	}
}

// TestContributionsOfARow has hashed places, which trees do not look at.
func TestContributionsOfARow(t *testing.T) {
	k := maker{Rand: rand.New(rand.NewPCG(9, 9)), features: 3, trees: 4, depth: 3}
	m := k.model(t)
	x := k.rows(1)
	want := m.ContributionsOf(0, nil, x)
	if got := m.Contributions([]float64{7}, learn.Row{Dense: x}); !slices.Equal(got, append([]float64{7}, want...)) {
		t.Errorf("%v, want 7 and %v", got, want)
	}
	want = append(want[:3:3], 0, 0, want[3])
	if got := m.Contributions(nil, learn.Row{Dense: x, Hashed: []uint32{5, 6}}); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestRulesIntegrate checks each rule on the powers that it is exact for.
func TestRulesIntegrate(t *testing.T) {
	for _, n := range []int{1, 2, 3, 4, 7, 16, 64, 512} {
		r := newRule(n)
		for power := range 2 * n {
			sum := 0.0
			for i, x := range r.at {
				if !(x > 0 && x < 1 && r.weight[i] > 0) {
					t.Fatalf("%d points: %v with weight %v", n, x, r.weight[i])
				}
				sum += r.weight[i] * math.Pow(x, float64(power))
			}
			if want := 1 / float64(power+1); math.Abs(sum-want) > 1e-13 {
				t.Errorf("%d points, power %d: %v, want %v", n, power, sum, want)
			}
		}
	}
}
