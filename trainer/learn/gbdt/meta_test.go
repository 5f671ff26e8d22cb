package gbdt

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/trees"
)

// grown trains, and returns the margins of the rows besides.
func grown(t *testing.T, p Params, task learn.Task, d *Data) (*trees.Ensemble, []float64) {
	t.Helper()
	e, _, err := Train(t.Context(), p, task, d, nil, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := trees.New(e, task)
	if err != nil {
		t.Fatal(err)
	}
	var margins []float64
	for i := range d.Label {
		margins = m.Margins(margins, d.X[i*d.Features:][:d.Features])
	}
	return e, margins
}

func saved(t *testing.T, e *trees.Ensemble, task learn.Task) string {
	t.Helper()
	m, err := trees.New(e, task)
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// many makes rows with more distinct values than bins.
func many(seed uint64, task learn.Task, rows, features int) *Data {
	d := few(seed, task, rows, features, 0)
	d.Weight = nil
	return d
}

var tasks = []learn.Task{learn.Binary, learn.Regression, learn.Multiclass}

func TestOnlyTheOrderOfValuesCounts(t *testing.T) {
	p := Params{Trees: 10}.WithDefaults()
	for seed, task := range tasks {
		d := many(uint64(seed), task, 1000, 5)
		_, want := grown(t, p, task, d)
		bent := *d
		bent.X = slices.Clone(d.X)
		for i, v := range bent.X {
			switch i % d.Features {
			case 0:
				bent.X[i] = math.Exp(v)
			case 1:
				bent.X[i] = 1e100 * v
			case 2:
				bent.X[i] = v*v*v + 7
			case 3:
				bent.X[i] = math.Atan(v) * 1e-200
			}
		}
		if _, got := grown(t, p, task, &bent); !slices.Equal(got, want) {
			t.Errorf("%s: other predictions of the training rows", task)
		}
	}
}

func TestColumnsMayTradePlaces(t *testing.T) {
	p := Params{Trees: 10, MinChild: 10}.WithDefaults()
	for seed, task := range tasks[:2] { // of many classes some columns tie
		d := many(uint64(seed), task, 1000, 5)
		e, want := grown(t, p, task, d)
		order := []int{3, 0, 4, 2, 1}
		moved := *d
		moved.X = slices.Clone(d.X)
		for i := range d.Label {
			for to, from := range order {
				moved.X[i*5+to] = d.X[i*5+from]
			}
		}
		other, got := grown(t, p, task, &moved)
		if !slices.Equal(got, want) {
			t.Errorf("%s: other predictions", task)
		}
		for k := range e.Trees {
			for i, n := range other.Trees[k].Nodes {
				if n.Feature >= 0 && order[n.Feature] != int(e.Trees[k].Nodes[i].Feature) {
					t.Fatalf("%s: tree %d, node %d splits on %d, was %d", task, k, i, order[n.Feature], e.Trees[k].Nodes[i].Feature)
				}
			}
		}
	}
}

func TestTheOrderOfRowsDoesNotCount(t *testing.T) {
	p := Params{Trees: 10}.WithDefaults()
	for _, task := range []learn.Task{learn.Binary, learn.Multiclass} {
		d := many(5, task, 1000, 5)
		e, _ := grown(t, p, task, d)
		shuffled := &Data{Features: 5}
		for _, i := range rand.New(rand.NewPCG(1, 1)).Perm(1000) {
			shuffled.X = append(shuffled.X, d.X[i*5:i*5+5]...)
			shuffled.Label = append(shuffled.Label, d.Label[i])
		}
		other, _ := grown(t, p, task, shuffled)
		if saved(t, e, task) != saved(t, other, task) {
			t.Errorf("%s: another ensemble", task)
		}
	}
}

// Labels times a power of two scale all that is computed, exactly.
func TestRegressionScalesWithItsLabels(t *testing.T) {
	p := Params{Trees: 10}.WithDefaults()
	d := many(6, learn.Regression, 1000, 5)
	_, want := grown(t, p, learn.Regression, d)
	for _, factor := range []float64{0x1p-60, 1024, 0x1p200} {
		scaled := *d
		scaled.Label = slices.Clone(d.Label)
		for i := range scaled.Label {
			scaled.Label[i] *= factor
		}
		_, got := grown(t, p, learn.Regression, &scaled)
		for i := range got {
			if got[i] != want[i]*factor {
				t.Fatalf("labels times %v: row %d is predicted to be %v, want %v", factor, i, got[i], want[i]*factor)
			}
		}
	}
}

func TestAColumnTwiceIsOnce(t *testing.T) {
	p := Params{Trees: 10}.WithDefaults()
	for _, task := range tasks {
		d := many(7, task, 1000, 4)
		_, want := grown(t, p, task, d)
		twice := &Data{Features: 8, Label: d.Label}
		for i := range d.Label {
			x := d.X[i*4 : i*4+4]
			twice.X = append(append(twice.X, x...), x...)
		}
		e, got := grown(t, p, task, twice)
		if !slices.Equal(got, want) {
			t.Errorf("%s: other predictions", task)
		}
		for _, tree := range e.Trees {
			for _, n := range tree.Nodes {
				if n.Feature >= 4 {
					t.Fatalf("%s: a split on feature %d: of equals the first counts", task, n.Feature)
				}
			}
		}
	}
}

// Thresholds are where each row of the training is on the side in which it was
// counted, values next to each other included.
func TestCoversAreWhatScoringFinds(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	d := &Data{Features: 3}
	for range 2000 {
		a := 1 + float64(r.IntN(300))*0x1p-52
		b := math.Ldexp(1+r.Float64(), -1060-r.IntN(14)) // most digits are lost
		c := []float64{-math.MaxFloat64, math.MaxFloat64, 0, math.Inf(1), math.Inf(-1), math.NaN()}[r.IntN(6)]
		d.X = append(d.X, a, b, c)
		y := 0.0
		if r.Float64() < 0.2+0.3*math.Abs(math.Sin(a*0x1p50))+0.3*math.Abs(math.Sin(b*0x1p1000*0x1p66)) != (c > 0) {
			y = 1
		}
		d.Label = append(d.Label, y)
	}
	e, _ := grown(t, Params{Trees: 20, Depth: 8}.WithDefaults(), learn.Binary, d)
	used := map[int32]bool{}
	for k, tree := range e.Trees {
		count := make([]float64, len(tree.Nodes))
		for i := range d.Label {
			for at := int32(0); ; {
				count[at]++
				n := &tree.Nodes[at]
				if n.Feature < 0 {
					break
				}
				used[n.Feature] = true
				if at = n.Right; goesLeft(n, d.X[i*3+int(n.Feature)]) {
					at = n.Left
				}
			}
		}
		for at, n := range tree.Nodes {
			if n.Cover != count[at] {
				t.Fatalf("tree %d, node %d: %v rows were counted, and scoring finds %v", k, at, n.Cover, count[at])
			}
		}
	}
	if len(used) != 3 {
		t.Errorf("splits on features %v only", used)
	}
}
