package trainer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/trainer/learn"
)

// TestBaselines compares what the base rate and the last outcome would have
// answered with the definition.
func TestBaselines(t *testing.T) {
	for _, task := range []learn.Task{learn.Binary, learn.Regression} {
		for seed := range uint64(2) {
			m := testModel()
			m.Task = task
			m.Train.Window, m.Gate.Rows = 200, 20
			w := newWorld(t, &m, seed, 2, 80, planted)
			b := newBook(&m, 2)
			feed(b, w, rand.New(rand.NewPCG(seed, 4)), func() {})
			var asked []*row
			for _, r := range b.newest() {
				if r.Time > b.forgotten {
					asked = append(asked, r)
				}
			}
			slices.SortFunc(asked, byTime)
			if len(asked) < 100 || b.before.all.count < 100 {
				t.Fatalf("%d asked, %v forgotten: this tests little", len(asked), b.before.all.count)
			}
			base, last := b.baselines(asked)
			all := labelsOf(w, b.known)
			for i, r := range asked {
				wantBase, wantLast := naiveBaselines(all, task, r)
				if base[i] != wantBase || last[i] != wantLast {
					t.Fatalf("%s, seed %d, row %d: %v and %v, want %v and %v", task, seed, i, base[i], last[i], wantBase, wantLast)
				}
			}
		}
	}
}

// naiveBaselines are the baselines of one row by all labels.
func naiveBaselines(all []label, task learn.Task, asked *row) (base, last float64) {
	var known []label
	var sum float64
	for _, l := range all {
		if l.Known <= asked.Time && l.Prediction.Time < asked.Time {
			known = append(known, l)
			sum += l.Label
		}
	}
	rate := func(sum, count float64) float64 {
		switch {
		case task == learn.Binary:
			return (sum + 1) / (count + 2)
		case count == 0:
			return 0
		}
		return sum / count
	}
	base = rate(sum, float64(len(known)))
	newest := map[string]float64{}
	count, positive := map[float64]float64{}, map[float64]float64{}
	for _, l := range known {
		entity := l.Prediction.Entity[0].Expr
		if before, ok := newest[entity]; ok {
			count[before]++
			positive[before] += l.Label
		}
		newest[entity] = l.Label
	}
	before, ok := newest[asked.Entity[0].Expr]
	switch {
	case !ok:
		return base, base
	case task == learn.Regression:
		return base, before
	}
	return base, rate(positive[before], count[before])
}

// TestOwnLabelIsNotKnownWhenAsked has labels that are known at the very time of
// the question.
func TestOwnLabelIsNotKnownWhenAsked(t *testing.T) {
	rows := []*row{{label: 1, known: 5}, {label: 1, known: 5}}
	rows[0].Time, rows[1].Time = 4, 5
	var seen []int64
	known := history{rows: rows}
	for _, asked := range []int64{4, 5, 6} {
		n := 0
		known.until(asked, func(*row) { n++ })
		seen = append(seen, int64(n))
	}
	if !slices.Equal(seen, []int64{0, 1, 1}) {
		t.Errorf("%v labels became known", seen)
	}
}

// TestEntityOfSeveralFields tells entities of several fields apart.
func TestEntityOfSeveralFields(t *testing.T) {
	seen := map[string]bool{}
	for _, values := range [][]string{{"a", "b"}, {"ab", ""}, {"a\"", "b"}, {"a", "\"b"}, {"b", "a"}} {
		r := new(row)
		for i, v := range values {
			r.Entity = append(r.Entity, features.Named{Name: fmt.Sprint("f", i), Expr: v})
		}
		seen[r.entity()] = true
	}
	if len(seen) != 5 {
		t.Errorf("%v", seen)
	}
	one := new(row)
	one.Entity = append(one.Entity, features.Named{Name: "f0", Expr: "a"})
	if one.entity() != "a" {
		t.Error(one.entity())
	}
}
