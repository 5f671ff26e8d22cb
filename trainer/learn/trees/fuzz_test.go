package trees

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

// scoresAsItSays checks an ensemble that has been read: it passes Check, scores
// as its nodes say, adds up, and is the same once it is saved and loaded.
func scoresAsItSays(t *testing.T, e *Ensemble) {
	t.Helper()
	m, err := New(e, tasksOf[e.Link])
	if err != nil {
		t.Fatal(err)
	}
	saved := encoded(t, m)
	var other Model
	if err := other.UnmarshalBinary(saved); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(encoded(t, &other), saved) {
		t.Fatal("loaded it has other bytes")
	}
	k := maker{Rand: rand.New(rand.NewPCG(1, 1)), features: e.Features}
	x := k.rows(5)
	for i := range 5 {
		row := x[i*e.Features : (i+1)*e.Features]
		want := naive(e, row)
		if got := m.Margins(nil, row); !slices.Equal(patterns(got), patterns(want)) {
			t.Fatalf("row %v: margins %v, want %v", row, got, want)
		}
		for class, margin := range want {
			sum, size := 0.0, 1.0
			for _, c := range m.ContributionsOf(class, nil, row) {
				sum += c
				size += math.Abs(c)
			}
			for _, tree := range e.Trees {
				for _, n := range tree.Nodes {
					size += math.Abs(n.Value)
				}
			}
			if !(math.Abs(sum-margin) <= 1e-9*size) {
				t.Fatalf("row %v: contributions add up to %v, want %v", row, sum, margin)
			}
		}
	}
}

// worthScoring bounds what is scored, not what is read: naive scoring is slow.
func worthScoring(e *Ensemble) bool {
	nodes := e.Features + len(e.Base)
	for _, t := range e.Trees {
		nodes += len(t.Nodes)
		for _, n := range t.Nodes {
			nodes += len(n.Set)
		}
	}
	return nodes < 5000 && len(e.Base) < 20
}

func FuzzUnmarshalBinary(f *testing.F) {
	for _, k := range kinds(4) {
		if k.features > 30 {
			continue
		}
		k.trees = min(k.trees, 2)
		saved := encoded(f, k.model(f))
		f.Add(saved[:len(saved)-4])
	}
	m, err := New(stump(), learn.Binary)
	if err != nil {
		f.Fatal(err)
	}
	saved := encoded(f, m)
	f.Add(saved[:len(saved)-4])
	f.Fuzz(func(t *testing.T, data []byte) {
		var m Model
		if err := m.UnmarshalBinary(summed(data)); err != nil {
			return
		}
		if again := encoded(t, &m); !bytes.Equal(again, summed(data)) {
			t.Errorf("read %x and wrote %x", data, again)
		}
		if worthScoring(m.Ensemble()) {
			scoresAsItSays(t, m.Ensemble())
		}
	})
}

func fuzzReader(f *testing.F, files string, read func([]byte) (*Ensemble, error)) {
	paths, err := filepath.Glob(filepath.Join("testdata", "learners", files))
	if err != nil || len(paths) == 0 {
		f.Fatal(paths, err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := read(data)
		if err == nil && worthScoring(e) {
			scoresAsItSays(t, e)
		}
	})
}

func FuzzReadXGBoost(f *testing.F) {
	f.Add(fmt.Appendf(nil, smallXGBoost, gbtree(smallTree, smallTree), smallParam, "count:poisson"))
	fuzzReader(f, "*.json", ReadXGBoost)
}

func FuzzReadLightGBM(f *testing.F) {
	f.Add([]byte(small("binary sigmoid:2", "average_output\n", "1.5", 6)))
	fuzzReader(f, "*.txt", ReadLightGBM)
}
