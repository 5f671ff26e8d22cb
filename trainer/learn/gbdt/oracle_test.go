package gbdt

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/trees"
)

// few makes rows of which each value has its own bin: some columns have ties,
// some missing values, and the last is a category of so many, unless 0.
func few(seed uint64, task learn.Task, rows, features, categories int) *Data {
	r := rand.New(rand.NewPCG(seed, 1))
	d := &Data{Features: features, Categories: make([]int, features)}
	d.Categories[features-1] = categories
	for range rows {
		score := r.NormFloat64() / 2
		for j := range features {
			v := r.NormFloat64()
			switch {
			case j == features-1 && categories > 0:
				v = float64(r.IntN(categories))
				score += math.Sin(7 * v)
			case j%3 == 1:
				v = math.Round(2 * v)
				fallthrough
			default:
				score += v / float64(1+j)
			}
			if j%2 == 1 && r.IntN(5) == 0 {
				v = math.NaN()
				score++
			}
			d.X = append(d.X, v)
		}
		switch task {
		case learn.Binary:
			score = float64(min(max(int(math.Round(score)), 0), 1))
		case learn.Multiclass:
			score = float64(min(max(int(math.Round(score))+1, 0), 2))
		}
		d.Label = append(d.Label, score)
		d.Weight = append(d.Weight, []float64{1, 1, 2, 0.25}[r.IntN(4)])
	}
	return d
}

// An oracle looks at each node of an ensemble with the naive definition: the
// gradients of the rows that come there, and all splits that there are.
type oracle struct {
	*testing.T
	p       Params
	task    learn.Task
	d       *Data
	margins [][]float64 // of a row
	g, h    []float64
}

func (o *oracle) derive(class int, before [][]float64) {
	for i, y := range o.d.Label {
		w := o.d.Weight[i]
		switch o.task {
		case learn.Regression:
			o.g[i], o.h[i] = w*(before[i][0]-y), w
		case learn.Binary:
			p := 1 / (1 + math.Exp(-before[i][0]))
			o.g[i], o.h[i] = w*(p-y), w*p*(1-p)
		case learn.Multiclass:
			sum := 0.0
			for _, m := range before[i] {
				sum += math.Exp(m)
			}
			p, hit := math.Exp(before[i][class])/sum, 0.0
			if int(y) == class {
				hit = 1
			}
			k := float64(len(before[i]))
			o.g[i], o.h[i] = w*(p-hit), w*k/(k-1)*p*(1-p)
		}
	}
}

func (o *oracle) x(i, j int) float64 { return o.d.X[i*o.d.Features+j] }

// gain is that of a division of rows, or -Inf where a side has too little.
func (o *oracle) gain(rows []int, left func(i int) bool, extra float64) float64 {
	var gl, hl, gr, hr float64
	for _, i := range rows {
		if left(i) {
			gl, hl = gl+o.g[i], hl+o.h[i]
		} else {
			gr, hr = gr+o.g[i], hr+o.h[i]
		}
	}
	if min(hl, hr) < o.p.MinChild*(1-1e-12) {
		return math.Inf(-1)
	}
	lambda := o.p.Lambda
	g, h := gl+gr, hl+hr
	return gl*gl/(hl+lambda+extra) + gr*gr/(hr+lambda+extra) - g*g/(h+lambda)
}

// best tries every column, every value that a row of the data has, both sides
// for what is missing, and of a category every subset.
func (o *oracle) best(rows []int) float64 {
	best := math.Inf(-1)
	for j := range o.d.Features {
		for _, missing := range []bool{false, true} {
			if k := o.d.Categories[j]; k > 0 {
				for set := range 1 << k {
					best = max(best, o.gain(rows, func(i int) bool {
						v := o.x(i, j)
						return v != v && missing || v == v && set>>int(v)&1 == 1
					}, o.p.CategoryLambda))
				}
				continue
			}
			for _, r := range rows {
				t := o.x(r, j)
				best = max(best, o.gain(rows, func(i int) bool { return o.x(i, j) != o.x(i, j) && missing || o.x(i, j) <= t }, 0))
			}
		}
	}
	return best
}

func (o *oracle) node(nodes []trees.Node, at int32, rows []int, depth int) {
	n := &nodes[at]
	weight, g, h := 0.0, 0.0, 0.0
	for _, i := range rows {
		weight, g, h = weight+o.d.Weight[i], g+o.g[i], h+o.h[i]
	}
	if n.Cover != weight {
		o.Fatalf("node %d has cover %v, want %v", at, n.Cover, weight)
	}
	best := math.Inf(-1)
	if depth > 0 {
		best = o.best(rows)
	}
	if n.Feature < 0 {
		if want := -o.p.Rate * g / (h + o.p.Lambda); math.Abs(n.Value-want) > 1e-9*(1+math.Abs(want)) {
			o.Fatalf("leaf %d has value %v, want %v", at, n.Value, want)
		}
		if best > o.p.MinGain+1e-8 {
			o.Fatalf("node %d is a leaf, and some split gains %v", at, best)
		}
		return
	}
	var left, right []int
	for _, i := range rows {
		if goesLeft(n, o.x(i, int(n.Feature))) {
			left = append(left, i)
		} else {
			right = append(right, i)
		}
	}
	extra := 0.0
	if n.Set != nil {
		extra = o.p.CategoryLambda
	}
	if got := o.gain(rows, func(i int) bool { return slices.Contains(left, i) }, extra); !(math.Abs(got-best) < 1e-9*(1+best)) {
		o.Fatalf("node %d: %+v gains %v, the best split %v", at, *n, got, best)
	}
	o.node(nodes, n.Left, left, depth-1)
	o.node(nodes, n.Right, right, depth-1)
}

// goesLeft is the definition of a split.
func goesLeft(n *trees.Node, v float64) bool {
	switch {
	case v != v:
		return n.MissingLeft
	case n.Set != nil:
		return int(v)/64 < len(n.Set) && n.Set[int(v)/64]>>(int(v)%64)&1 == 1
	}
	return v <= n.Threshold
}

func leafOf(nodes []trees.Node, x []float64) float64 {
	at := int32(0)
	for nodes[at].Feature >= 0 {
		n := &nodes[at]
		if at = n.Right; goesLeft(n, x[n.Feature]) {
			at = n.Left
		}
	}
	return nodes[at].Value
}

func (o *oracle) check(e *trees.Ensemble) {
	all := make([]int, len(o.d.Label))
	for i := range all {
		all[i] = i
		o.margins = append(o.margins, slices.Clone(e.Base))
	}
	o.g, o.h = make([]float64, len(all)), make([]float64, len(all))
	var before [][]float64
	for k, tree := range e.Trees {
		if k%len(e.Base) == 0 { // classes of a round see the same margins
			before = nil
			for _, m := range o.margins {
				before = append(before, slices.Clone(m))
			}
		}
		o.derive(tree.Class, before)
		o.node(tree.Nodes, 0, all, o.p.Depth)
		for i := range all {
			o.margins[i][tree.Class] += leafOf(tree.Nodes, o.d.X[i*o.d.Features:][:o.d.Features])
		}
	}
}

func TestEachSplitIsTheBestThereIs(t *testing.T) {
	for seed := range uint64(6) {
		for _, task := range []learn.Task{learn.Binary, learn.Regression, learn.Multiclass} {
			for _, p := range []Params{
				{Depth: 3, Lambda: 1, MinChild: 0.5, MinGain: 0.01},
				{Depth: 4, Lambda: 0.1, MinChild: least, Rate: 0.5},
				{Depth: 2, Lambda: 5, MinChild: 2},
			} {
				p.Trees = 3
				p = p.WithDefaults()
				t.Run(fmt.Sprint(seed, task, p.Depth), func(t *testing.T) {
					d := few(seed, task, 40, 4, 0)
					e, r, err := Train(t.Context(), p, task, d, nil, 1, nil)
					if err != nil || r.Rounds != 3 {
						t.Fatal(r, err)
					}
					(&oracle{T: t, p: p, task: task, d: d}).check(e)
				})
			}
		}
	}
}

// Fisher's theorem needs a loss that is not pulled to 0.
func TestSortedCategoriesAreAsGoodAsAllSubsets(t *testing.T) {
	p := Params{Trees: 2, Depth: 2, Lambda: least, MinChild: least, CategoryLambda: least}.WithDefaults()
	for seed := range uint64(20) {
		for _, task := range []learn.Task{learn.Binary, learn.Regression} {
			d := few(seed, task, 60, 2, 6)
			d.Categories = d.Categories[1:]
			d.Features = 1
			for i := range d.Label {
				d.X[i] = d.X[2*i+1]
			}
			d.X = d.X[:len(d.Label)]
			for i := range d.X { // what is missing is a category apart, with two sides
				if d.X[i] != d.X[i] && seed%2 == 0 {
					d.X[i] = 0
				}
			}
			e, _, err := Train(t.Context(), p, task, d, nil, 1, nil)
			if err != nil {
				t.Fatal(err)
			}
			(&oracle{T: t, p: p, task: task, d: d}).check(e)
		}
	}
}
