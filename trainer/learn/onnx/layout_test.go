package onnx

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// walk is what a file says of a row: the definition of each mode, and nothing clever.
func walk[T float32 | float64](s *forestSpec[T], at int32, row []T) []flatVote[T] {
	for at >= 0 {
		n := s.splits[at]
		v, yes := row[n.feature], false
		switch n.mode {
		case modeLE:
			yes = v <= n.threshold
		case modeLT:
			yes = v < n.threshold
		case modeGE:
			yes = v >= n.threshold
		case modeGT:
			yes = v > n.threshold
		case modeEQ:
			yes = v == n.threshold
		case modeNE:
			yes = v != n.threshold
		case modeMember:
			yes = slices.Contains(s.sets[n.set], v)
		}
		if yes || n.missing && v != v {
			at = n.yes
		} else {
			at = n.no
		}
	}
	return s.leaves[^at]
}

// randomForest makes trees of all modes, some of them a leaf only. Some children are
// those of other splits, too.
func randomForest[T float32 | float64](r *rand.Rand, targets int) *forestSpec[T] {
	s := &forestSpec[T]{targets: targets, aggregate: "SUM"}
	var grow func(depth int) int32
	grow = func(depth int) int32 {
		if depth == 0 || r.IntN(5) == 0 {
			if len(s.leaves) > 0 && r.IntN(4) == 0 {
				return ^int32(r.IntN(len(s.leaves)))
			}
			var votes []flatVote[T]
			for range r.IntN(3) {
				votes = append(votes, flatVote[T]{int32(r.IntN(targets)), T(r.IntN(100))})
			}
			s.leaves = append(s.leaves, votes)
			return ^int32(len(s.leaves) - 1)
		}
		n := splitSpec[T]{
			threshold: special[T](r), feature: int32(r.IntN(4)), mode: mode(r.IntN(7)), missing: r.IntN(2) == 0,
			set: int32(len(s.sets)), yes: grow(depth - 1), no: grow(depth - 1),
		}
		if n.mode == modeMember {
			n.set = int32(len(s.sets))
			var set []T
			for range r.IntN(4) {
				set = append(set, special[T](r))
			}
			s.sets = append(s.sets, set)
		}
		if r.IntN(8) == 0 {
			n.no = n.yes
		}
		s.splits = append(s.splits, n)
		return int32(len(s.splits) - 1)
	}
	for range 1 + r.IntN(11) {
		s.roots = append(s.roots, grow(r.IntN(8)))
	}
	return s
}

// special returns numbers that are often equal, or next to each other, or at an end.
func special[T float32 | float64](r *rand.Rand) T {
	v := []T{0, T(math.Copysign(0, -1)), 1, -1, T(math.Inf(1)), T(math.Inf(-1)), 2, .5}[r.IntN(8)]
	if r.IntN(3) == 0 {
		return below(v)
	}
	return v
}

func testLayout[T float32 | float64](t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	for range 400 {
		s := randomForest[T](r, 1+r.IntN(3))
		for i := range s.splits { // below(-Inf) is none
			if v := &s.splits[i].threshold; *v != *v {
				*v = 3
			}
		}
		f, err := s.flatten()
		if err != nil {
			t.Fatal(err)
		}
		got, voted := make([]T, s.targets), make([]bool, s.targets)
		for range 60 {
			row := make([]T, 4)
			for i := range row {
				if row[i] = special[T](r); r.IntN(4) == 0 {
					row[i] = nanOf[T]()
				}
			}
			want := make([]T, s.targets)
			for _, root := range s.roots {
				for _, v := range walk(s, root, row) {
					want[v.target] += v.value
				}
			}
			if f.sum(row, got, voted); !slices.Equal(got, want) {
				t.Fatalf("row %v: %v, want %v, of %+v", row, got, want, s)
			}
		}
	}
}

// TestLayout compares forests as they are walked with what their files say.
func TestLayout(t *testing.T) {
	t.Run("float", testLayout[float32])
	t.Run("double", testLayout[float64])
}

// TestLayoutRefuses gives trees whose walks do not end, or take too long.
func TestLayoutRefuses(t *testing.T) {
	leaf := [][]flatVote[float32]{{{0, 1}}}
	chain := make([]splitSpec[float32], 100_000)
	for i := range chain {
		chain[i] = splitSpec[float32]{yes: int32(i) + 1, no: ^0}
	}
	chain[len(chain)-1].yes = ^0
	roots := make([]int32, 1000)
	for _, test := range []struct {
		name string
		spec forestSpec[float32]
		want string
	}{
		{"a node of itself", forestSpec[float32]{splits: []splitSpec[float32]{{yes: 0, no: ^0}}, roots: []int32{0}}, "a cycle through its node 0"},
		{"two nodes of each other", forestSpec[float32]{splits: []splitSpec[float32]{{yes: ^0, no: 1}, {yes: 0, no: ^0}}, roots: []int32{0}}, "a cycle"},
		{"a long way, many times", forestSpec[float32]{splits: chain, roots: roots}, "a row passes more than"},
		{"an unknown sum", forestSpec[float32]{roots: []int32{^0}, aggregate: "PRODUCT"}, `"PRODUCT" is none of SUM`},
	} {
		test.spec.leaves, test.spec.targets = leaf, 1
		if _, err := test.spec.flatten(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v does not say %q", test.name, err, test.want)
		}
	}
}
