package gbdt

import (
	"math"
	"slices"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/trees"
)

func TestBetweenIsNeverTheUpperValue(t *testing.T) {
	tiny := math.SmallestNonzeroFloat64
	for _, c := range []struct {
		a, b, want float64
		ok         bool
	}{
		{1, 2, 1.5, true},
		{1, math.Nextafter(1, 2), 1, true},
		{math.Nextafter(1, 2), math.Nextafter(math.Nextafter(1, 2), 2), math.Nextafter(1, 2), true}, // the middle rounds up
		{0, tiny, 0, true},
		{-tiny, 0, -tiny, true},
		{-math.MaxFloat64, math.MaxFloat64, 0, true},
		{math.Inf(-1), 0, -math.MaxFloat64 / 2, true},
		{1e308, math.Inf(1), 1.398846567431158e308, true},
		{math.Inf(-1), -math.MaxFloat64, 0, false}, // no finite number is between
		{math.MaxFloat64, math.Inf(1), 0, false},
	} {
		if got, ok := between(c.a, c.b); ok != c.ok || ok && got != c.want {
			t.Errorf("between %v and %v: %v %v, want %v %v", c.a, c.b, got, ok, c.want, c.ok)
		}
	}
}

func TestTheBaseIsTheBestConstant(t *testing.T) {
	for _, c := range []struct {
		task learn.Task
		d    Data
		want []float64
	}{
		{learn.Binary, Data{Label: []float64{0, 0, 0, 1}}, []float64{-math.Log(3)}},
		{learn.Binary, Data{Label: []float64{0, 1}, Weight: []float64{1, 4}}, []float64{math.Log(4)}},
		{learn.Binary, Data{Label: make([]float64, 9)}, []float64{math.Log(0.05 / 0.95)}},
		{learn.Regression, Data{Label: []float64{1, 5}, Weight: []float64{3, 1}}, []float64{2}},
		{learn.Multiclass, Data{Label: []float64{0, 2, 2, 2}}, []float64{math.Log(0.25), math.Log(0.1), math.Log(0.75)}},
		{learn.Multiclass, Data{Label: []float64{0, 1, 7}, Weight: []float64{1, 1, 0}}, []float64{math.Log(0.5), math.Log(0.5)}},
	} {
		c.d.Features, c.d.X = 1, make([]float64, len(c.d.Label))
		e, err := trained(t, Params{}.WithDefaults(), c.task, &c.d)
		if err != nil || !slices.EqualFunc(e.Base, c.want, func(a, b float64) bool { return math.Abs(a-b) < 1e-15 }) {
			t.Errorf("%s of %v: %v %v, want %v", c.task, c.d.Label, e, err, c.want)
		}
	}
}

// What rounding leaves of equal labels is nothing to split on.
func TestEqualLabelsAreNotSplit(t *testing.T) {
	for _, label := range []float64{0, 1, 0.1, -1e-7, 1e50 / 3} {
		for _, task := range tasks {
			d := plain(1, learn.Regression, 1000, 3)
			for i := range d.Label {
				if d.Label[i] = label; task != learn.Regression {
					d.Label[i] = math.Abs(math.Trunc(min(label, 1)))
				}
			}
			e, r, err := Train(t.Context(), Params{Lambda: least}.WithDefaults(), task, d, nil, 1, nil)
			if err != nil || !r.Complete || len(e.Trees) != 0 {
				t.Errorf("%s, all labels %v: %+v %v", task, d.Label[0], r, err)
			}
		}
	}
}

// A missing value that a node has not seen goes where most rows go.
func TestNewMissingValuesGoWithMost(t *testing.T) {
	seen := map[bool]bool{}
	for _, high := range []int{20, 70} {
		y := make([]float64, 100)
		for i := range high {
			y[i] = 1
		}
		for _, categories := range []int{0, 3} {
			d := &Data{Features: 1, Categories: []int{categories}, X: y, Label: y}
			e, err := trained(t, Params{Trees: 1, Depth: 1}.WithDefaults(), learn.Regression, d)
			if err != nil {
				t.Fatal(err)
			}
			nodes := e.Trees[0].Nodes
			if n := nodes[0]; n.MissingLeft != (nodes[n.Left].Cover > nodes[n.Right].Cover) {
				t.Errorf("%d of 100 are high, %d categories: missing left is %v", high, categories, n.MissingLeft)
			}
			seen[nodes[0].MissingLeft] = true
		}
	}
	if len(seen) != 2 {
		t.Error("missing values always go to the same side")
	}
}

// Rare categories are never in a set, so that one with most rows must do.
func TestASetMayHaveMostRows(t *testing.T) {
	d := &Data{Features: 1, Categories: []int{100}}
	for i := range 1000 {
		k, y := float64(i%3), 1.0
		if i%5 == 0 {
			k, y = float64(10+i%90), 0
		}
		d.X, d.Label = append(d.X, k), append(d.Label, y)
	}
	e, err := trained(t, Params{Trees: 1, Depth: 1, Bins: 4}.WithDefaults(), learn.Regression, d)
	if err != nil {
		t.Fatal(err)
	}
	n := e.Trees[0].Nodes[0]
	if len(n.Set) != 1 || n.Set[0] != 7 || n.Cover != 1000 || e.Trees[0].Nodes[n.Left].Cover != 800 {
		t.Errorf("%+v, want categories 0, 1 and 2 on the left", n)
	}
}

func TestATreeHasOneColumnAtLeast(t *testing.T) {
	d := plain(2, learn.Regression, 200, 3)
	e, err := trained(t, Params{Trees: 10, SampleColumns: 0.01}.WithDefaults(), learn.Regression, d)
	if err != nil || len(e.Trees) != 10 {
		t.Fatal(err)
	}
	for k, tree := range e.Trees {
		if len(tree.Nodes) < 3 {
			t.Errorf("tree %d splits on nothing", k)
		}
	}
}

// Ensembles go on from where they are, however far that is, also where nothing
// but the mean is to be learned.
func TestGoingOnFromFarOff(t *testing.T) {
	for _, task := range tasks[:2] {
		for _, telling := range []bool{true, false} {
			d := plain(3, task, 1000, 3)
			if !telling {
				clear(d.X)
			}
			p := Params{Trees: 60, Rate: 0.3, Lambda: least, MinChild: least, Depth: 2}.WithDefaults()
			best, err := trained(t, p, task, d)
			if err != nil {
				t.Fatal(err)
			}
			e, r, err := Continue(t.Context(), &trees.Ensemble{Features: 3, Link: linkOf(task), Base: []float64{-34}}, p, task, d, nil, 1, nil)
			if err != nil {
				t.Fatal(err)
			}
			if a, b := lossOf(t, e, task, d), lossOf(t, best, task, d); !(a < 1.1*b) {
				t.Errorf("%s, telling %v: loss %v, from the mean on %v (%+v)", task, telling, a, b, r)
			}
			if !telling && !r.Complete {
				t.Errorf("%s: %d rounds for a mean", task, r.Rounds)
			}
		}
	}
}

func TestAChildMayHaveTheLeastThereIs(t *testing.T) {
	d := &Data{Features: 1, X: []float64{1, 2}, Label: []float64{0, 1}}
	e, err := trained(t, Params{Trees: 1, MinChild: 1}.WithDefaults(), learn.Regression, d)
	if err != nil || len(e.Trees) != 1 || len(e.Trees[0].Nodes) != 3 {
		t.Errorf("%+v %v, want one row on each side", e, err)
	}
	e, err = trained(t, Params{Trees: 1, MinChild: 1.01}.WithDefaults(), learn.Regression, d)
	if err != nil || len(e.Trees) != 0 {
		t.Errorf("%+v %v, want no split", e, err)
	}
}

// What is learned to a millionth of the labels' deviation is learned.
func TestALearnedStepEndsTheTraining(t *testing.T) {
	d := plain(4, learn.Regression, 300, 1)
	for i, v := range d.X {
		d.Label[i] = math.Copysign(3, v)
	}
	e, r, err := Train(t.Context(), Params{}.WithDefaults(), learn.Regression, d, nil, 1, nil)
	if err != nil || !r.Complete || r.Rounds > 200 || lossOf(t, e, learn.Regression, d) > 1e-9 {
		t.Errorf("%d rounds, complete %v, loss %v, %v", r.Rounds, r.Complete, lossOf(t, e, learn.Regression, d), err)
	}
}
