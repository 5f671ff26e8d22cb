package gbdt

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/trees"
)

// lossOf scores rows with the ensemble as it is served.
func lossOf(t *testing.T, e *trees.Ensemble, task learn.Task, d *Data) float64 {
	t.Helper()
	m, err := trees.New(e, task)
	if err != nil {
		t.Fatal(err)
	}
	sum, weights := 0.0, 0.0
	for i, y := range d.Label {
		p := m.Probabilities(nil, d.X[i*d.Features:][:d.Features])
		w := 1.0
		if d.Weight != nil {
			w = d.Weight[i]
		}
		weights += w
		switch task {
		case learn.Regression:
			sum += w * (p[0] - y) * (p[0] - y)
		case learn.Binary:
			sum -= w * math.Log(1-math.Abs(y-p[0]))
		case learn.Multiclass:
			sum -= w * math.Log(p[int(y)])
		}
	}
	return sum / weights
}

func TestEarlyStoppingKeepsTheBestRounds(t *testing.T) {
	for seed, task := range tasks {
		d, valid := few(uint64(seed), task, 800, 4, 5), few(uint64(seed)+10, task, 400, 4, 5)
		p := Params{Trees: 400, Stop: 10, Rate: 0.3}.WithDefaults()
		calls := 0
		e, r, err := Train(t.Context(), p, task, d, valid, 2, func(done, of int) {
			if calls++; done != calls || of != 400 {
				t.Errorf("progress %d of %d in call %d", done, of, calls)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if !r.Stopped || r.Grown != r.Rounds+10 || calls != r.Grown || len(r.Losses) != 1+r.Grown || len(e.Trees) != r.Rounds*len(e.Base) {
			t.Fatalf("%s: %+v, %d calls, %d trees", task, r, calls, len(e.Trees))
		}
		if r.Loss() != slices.Min(r.Losses) || !(r.Loss() < 0.8*r.Losses[0]) {
			t.Errorf("%s: loss %v is not the least of %v, or not far below the constant's", task, r.Loss(), r.Losses)
		}
		for _, rounds := range []int{0, 1, r.Rounds} {
			part := *e
			part.Trees = e.Trees[:rounds*len(e.Base)]
			if want := lossOf(t, &part, task, valid); math.Abs(r.Losses[rounds]-want) > 1e-12 {
				t.Errorf("%s: the loss after %d rounds is %v, want %v", task, rounds, r.Losses[rounds], want)
			}
		}
		p.Trees = r.Rounds
		alone, _, err := Train(t.Context(), p, task, d, nil, 1, nil)
		if err != nil || saved(t, alone, task) != saved(t, e, task) {
			t.Errorf("%s: without validation rows another ensemble: %v", task, err)
		}
		// Going on finds nothing better in what was tried before, and keeps what there is.
		p.Trees = 10
		same, r, err := Continue(t.Context(), e, p, task, d, valid, 1, nil)
		if err != nil || r.Rounds != 0 || saved(t, same, task) != saved(t, e, task) {
			t.Errorf("%s: %+v %v after going on", task, r, err)
		}
	}
}

// Two classes with one margin each are what one margin is: the sum of their
// derivatives is the same, but for lambda.
func TestTwoClassesAreBinary(t *testing.T) {
	d := many(1, learn.Binary, 2000, 4)
	p := Params{Trees: 20, Lambda: least}.WithDefaults()
	one, err1 := trained(t, p, learn.Binary, d)
	two, err2 := trained(t, p, learn.Multiclass, d)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	a, b := lossOf(t, one, learn.Binary, d), lossOf(t, two, learn.Multiclass, d)
	if math.Abs(a-b) > 0.02*a {
		t.Errorf("log loss %v as binary, %v as two classes", a, b)
	}
}

func trained(t *testing.T, p Params, task learn.Task, d *Data) (*trees.Ensemble, error) {
	e, _, err := Train(t.Context(), p, task, d, nil, 1, nil)
	return e, err
}

func TestMulticlassGoesOn(t *testing.T) {
	d := few(2, learn.Multiclass, 600, 4, 5)
	p := Params{Trees: 7}.WithDefaults()
	want, err := trained(t, p, learn.Multiclass, d)
	if err != nil {
		t.Fatal(err)
	}
	p.Trees = 3
	first, _ := trained(t, p, learn.Multiclass, d)
	p.Trees = 4
	got, _, err := Continue(t.Context(), first, p, learn.Multiclass, d, nil, 3, nil)
	if err != nil || saved(t, got, learn.Multiclass) != saved(t, want, learn.Multiclass) || len(first.Trees) != 9 {
		t.Error("3 and 4 rounds are not 7", err)
	}
}

func TestSamplesOfRowsAndColumns(t *testing.T) {
	for seed, task := range tasks {
		d := few(uint64(seed), task, 1200, 6, 5)
		test := few(uint64(seed)+10, task, 600, 6, 5)
		p := Params{Trees: 30, SampleRows: 0.5, SampleColumns: 0.5, Seed: 3}.WithDefaults()
		e, _, err := Train(t.Context(), p, task, d, nil, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		again, _, _ := Train(t.Context(), p, task, d, nil, 3, nil)
		if saved(t, again, task) != saved(t, e, task) {
			t.Errorf("%s: with 3 threads another ensemble", task)
		}
		p.Seed++
		other, _ := trained(t, p, task, d)
		if saved(t, other, task) == saved(t, e, task) {
			t.Errorf("%s: with another seed the same ensemble", task)
		}
		for _, tree := range e.Trees {
			used := map[int32]bool{}
			for _, n := range tree.Nodes {
				used[n.Feature] = true
			}
			if len(used) > 6 { // with that of leaves; 6 of 6 is one draw in 64
				t.Errorf("%s: a tree splits on all columns", task)
			}
		}
		p.SampleRows, p.SampleColumns = 1, 1
		full, _ := trained(t, p, task, d)
		if a, b := lossOf(t, e, task, test), lossOf(t, full, task, test); !(a < 1.2*b) {
			t.Errorf("%s: loss %v with samples, %v without", task, a, b)
		}
		// Rows of weight 0 do not move the draws of the others.
		more := &Data{Features: 6, Categories: d.Categories}
		for i, y := range d.Label {
			more.X = append(append(more.X, d.X[i*6:i*6+6]...), test.X[i%600*6:][:6]...)
			more.Label, more.Weight = append(more.Label, y, 1), append(more.Weight, d.Weight[i], 0)
		}
		p.SampleRows, p.SampleColumns, p.Seed = 0.5, 0.5, 3
		if wide, err := trained(t, p, task, more); err != nil || saved(t, wide, task) != saved(t, e, task) {
			t.Errorf("%s: rows of weight 0 change the ensemble: %v", task, err)
		}
	}
}

func TestNothingToLearnEndsAtOnce(t *testing.T) {
	for _, task := range tasks {
		d := &Data{Features: 2, X: make([]float64, 200), Label: make([]float64, 100)}
		d.Label[3] = 1
		e, r, err := Train(t.Context(), Params{}.WithDefaults(), task, d, nil, 1, nil)
		if err != nil || !r.Complete || len(e.Trees) != 0 || !math.IsNaN(r.Loss()) {
			t.Errorf("%s: %+v, %d trees, %v", task, r, len(e.Trees), err)
		}
	}
}

func TestTheContextEndsATraining(t *testing.T) {
	d := many(3, learn.Binary, 3000, 4)
	ctx, cancel := context.WithCancel(t.Context())
	rounds := 0
	e, _, err := Train(ctx, Params{Trees: maxTrees}.WithDefaults(), learn.Binary, d, nil, 2, func(done, _ int) {
		if rounds = done; done == 3 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || e != nil || rounds != 3 {
		t.Errorf("%v after %d rounds", err, rounds)
	}
	if e, _, err := Train(ctx, Params{}.WithDefaults(), learn.Binary, d, nil, 2, nil); !errors.Is(err, context.Canceled) || e != nil {
		t.Error(err)
	}
}

func TestBadInputIsNamed(t *testing.T) {
	ok := many(4, learn.Binary, 50, 2)
	third := *ok
	third.Label = slices.Clone(ok.Label)
	third.Label[7] = 2
	wide := &Data{Features: 3, X: make([]float64, 150), Label: ok.Label}
	p := Params{}.WithDefaults()
	with := func(change func(*Params)) Params { p := p; change(&p); return p }
	e, err := trained(t, Params{Trees: 1}.WithDefaults(), learn.Binary, ok)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want string
		p    Params
		task learn.Task
		d, v *Data
		from *trees.Ensemble
	}{
		{"gbdt: trees -1: give 1 to 10000", with(func(p *Params) { p.Trees = -1 }), learn.Binary, ok, nil, nil},
		{"gbdt: depth 13: give 1 to 12", with(func(p *Params) { p.Depth = 13 }), learn.Binary, ok, nil, nil},
		{"gbdt: bins 256: give 2 to 255", with(func(p *Params) { p.Bins = 256 }), learn.Binary, ok, nil, nil},
		{"gbdt: rate 1.5: give 1e-09 to 1", with(func(p *Params) { p.Rate = 1.5 }), learn.Binary, ok, nil, nil},
		{"gbdt: lambda NaN: give 1e-09 to 1e+09", with(func(p *Params) { p.Lambda = math.NaN() }), learn.Binary, ok, nil, nil},
		{`gbdt: task "ranking": give binary, regression or multiclass`, p, "ranking", ok, nil, nil},
		{"gbdt: training row 7: label 2: give 0 or 1", p, learn.Binary, &third, nil, nil},
		{"gbdt: validation row 7: label 2: give 0 or 1", p, learn.Binary, ok, &third, nil},
		{"gbdt: validation rows have 3 classes, training rows 2: keep rows of each class in both", p, learn.Multiclass, ok, &third, nil},
		{"gbdt: validation rows have 3 features, training rows 2", p, learn.Binary, ok, wide, nil},
		{"gbdt: training rows: 5000 features: give 1 to 4096", p, learn.Binary, &Data{Features: 5000}, nil, nil},
		{`gbdt: an ensemble of 2 features with link "logistic" and 1 margins cannot go on with 3 features, task "binary" and 1 margins: train anew`, p, learn.Binary, wide, nil, e},
		{`gbdt: an ensemble of 2 features with link "logistic" and 1 margins cannot go on with 2 features, task "regression" and 1 margins: train anew`, p, learn.Regression, ok, nil, e},
	} {
		var got *trees.Ensemble
		var err error
		if c.from != nil {
			got, _, err = Continue(t.Context(), c.from, c.p, c.task, c.d, c.v, 1, nil)
		} else {
			got, _, err = Train(t.Context(), c.p, c.task, c.d, c.v, 1, nil)
		}
		if got != nil || err == nil || err.Error() != c.want {
			t.Errorf("%v\nwant %s", err, c.want)
		}
	}
	if _, _, err := Train(t.Context(), p, learn.Binary, ok, nil, 0, nil); err == nil || !strings.Contains(err.Error(), "0 threads") {
		t.Error(err)
	}
	if tooMany(maxRows, 32) || !tooMany(maxRows+1, 1) || !tooMany(maxRows, 33) || tooMany(maxValues/maxFeatures, maxFeatures) {
		t.Error("other tables are too large than those beyond the limits")
	}
	if checkSize(maxAllTrees, maxAllNodes) != nil || checkSize(maxAllTrees+1, 0) == nil || checkSize(1, maxAllNodes+1) == nil {
		t.Error("other ensembles are too large than those beyond the limits")
	}
	ok.Names = []string{"a", "b"}
	e.Names = []string{"b", "a"}
	if _, _, err := Continue(t.Context(), e, p, learn.Binary, ok, nil, 1, nil); err == nil || !strings.Contains(err.Error(), "another order") {
		t.Error(err)
	}
}

// With categories beyond the bins the rare ones count together.
func TestRareCategoriesShareABin(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	d := &Data{Features: 1, Categories: []int{600}}
	for range 8000 {
		k := min(int(r.ExpFloat64()*40), 599)
		y := 0.0
		if r.Float64() < 0.1+0.8*float64(k%2) {
			y = 1
		}
		d.X, d.Label = append(d.X, float64(k)), append(d.Label, y)
	}
	e, err := trained(t, Params{Trees: 40}.WithDefaults(), learn.Binary, d)
	if err != nil {
		t.Fatal(err)
	}
	if got, best := lossOf(t, e, learn.Binary, d), -0.1*math.Log(0.1)-0.9*math.Log(0.9); got > 1.1*best {
		t.Errorf("log loss %v, the best is %v", got, best)
	}
}
