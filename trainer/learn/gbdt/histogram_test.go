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

// fitterOf has measured the gradients of the first round.
func fitterOf(t testing.TB, p Params, task learn.Task, d *Data, threads int) *fitter {
	t.Helper()
	classes, err := d.check(task, "test")
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.weighted(classes)
	if err != nil {
		t.Fatal(err)
	}
	e := &trees.Ensemble{Features: d.Features, Link: linkOf(task), Base: base(task, s)}
	f, err := newFitter(t.Context(), e, p.WithDefaults(), task, s, threads)
	if err != nil {
		t.Fatal(err)
	}
	f.measureClass(0, 0)
	return f
}

// plain makes rows of standard normal values and a label that few of them tell.
func plain(seed uint64, task learn.Task, rows, features int) *Data {
	r := rand.New(rand.NewPCG(seed, 2))
	d := &Data{Features: features, X: make([]float64, rows*features), Label: make([]float64, rows)}
	for i := range d.X {
		d.X[i] = r.NormFloat64()
	}
	for i := range d.Label {
		x := d.X[i*features:][:features]
		y := x[0] + x[0]*x[1%features] + math.Abs(x[features/2]) + r.NormFloat64()
		if task == learn.Binary {
			y = float64(min(max(math.Ceil(y), 0), 1))
		}
		d.Label[i] = y
	}
	return d
}

// Sums over any part of the rows, with any number of columns and threads, are
// those of a plain loop.
func TestHistogramsAreSums(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, rows := range []int{1000, packRows + 1} {
		for _, features := range []int{1, 4, 5, 12, 33, 70} {
			if rows > 1000 && features != 5 {
				continue
			}
			for _, threads := range []int{1, 3} {
				f := fitterOf(t, Params{Bins: 200}, learn.Binary, plain(1, learn.Binary, rows, features), threads)
				if (f.m.shared != nil) != (rows >= packRows) {
					t.Fatal("words are shared where they should not be, or not where they should")
				}
				g := &growth{fitter: f, rows: f.rows}
				for i := range g.rows {
					g.rows[i] = uint32(r.IntN(rows)) // any rows, some twice
				}
				part := region{0, r.IntN(rows / 3), rows - r.IntN(rows/3)}
				h := f.take()
				for _, p := range g.count(h, part, threads) {
					for b := range p {
						h[b].join(&p[b], f.t.of(b%f.t.blocks))
					}
				}
				for j, c := range f.t.columns {
					var want [256]sums
					for _, i := range g.rows[part.lo:part.hi] {
						b := c.binOf(f.s.x(int(i))[c.feature])
						if f.m.shared != nil {
							want[b] = want[b].plus(unpack(f.m.shared[i]))
						} else {
							want[b] = want[b].plus(sums{f.m.g[i], f.m.h[i]})
						}
					}
					for b := range c.bins {
						got := unpack(h[j/width][j%width][b])
						if f.m.shared == nil {
							got = sums{h[j/width][j%width][b], h[f.t.blocks+j/width][j%width][b]}
						}
						if got != want[b] {
							t.Fatalf("%d rows, %d features, %d threads: column %d, bin %d has %v, want %v", rows, features, threads, j, b, got, want[b])
						}
					}
				}
			}
		}
	}
}

// Rounding by chance is right on average, and the sum of all fits.
func TestSharedWordsKeepTheSums(t *testing.T) {
	for _, weighted := range []bool{false, true} {
		d := plain(2, learn.Binary, 80_000, 2)
		r := rand.New(rand.NewPCG(3, 3))
		for range d.Label {
			if weighted {
				d.Weight = append(d.Weight, 1e-3*math.Exp(r.NormFloat64()))
			}
		}
		f := fitterOf(t, Params{}, learn.Binary, d, 2)
		if f.m.shared == nil {
			t.Fatal("words are not shared")
		}
		var total, all sums
		var g, h, n float64
		for i, v := range f.m.shared {
			s := unpack(v)
			if pack(s.g, s.h) != v || s.h < 1 {
				t.Fatalf("%x is taken apart as %v", v, s)
			}
			total, all.g = total.plus(s), all.g+max(s.g, -s.g)
			w := f.s.weightOf(i)
			g, h, n = g+w*f.gradients[i].g, h+w*f.gradients[i].h, n+1
		}
		if total != f.m.total || all.g >= 1<<31 || total.h >= 1<<32 {
			t.Errorf("sums %v and %v, kept is %v", total, all, f.m.total)
		}
		if math.Abs(float64(total.g)-g/f.m.unitG) > 3*math.Sqrt(n) || math.Abs(float64(total.h)-h/f.m.unitH) > 3*math.Sqrt(n) {
			t.Errorf("sums %v, want %v and %v", total, g/f.m.unitG, h/f.m.unitH)
		}
	}
}

// A gradient that dwarfs the others would leave them less than a unit.
func TestOutliersGetWordsOfTheirOwn(t *testing.T) {
	d := plain(4, learn.Regression, packRows, 2)
	if f := fitterOf(t, Params{}, learn.Regression, d, 1); f.m.shared == nil {
		t.Error("without outliers words are not shared")
	}
	outlier := *d
	outlier.Label = slices.Clone(d.Label)
	outlier.Label[77] = 1e9
	f := fitterOf(t, Params{}, learn.Regression, &outlier, 1)
	if f.m.shared != nil || f.m.unitG > 1e-3 {
		t.Errorf("with an outlier words are shared, or a unit is %v", f.m.unitG)
	}
	// One kind after the other, as when an outlier has been learned.
	f = fitterOf(t, Params{}, learn.Regression, d, 2)
	margins := slices.Clone(f.margins[0])
	want := f.grow(0, 5)
	f.s.label = outlier.Label
	if f.grow(0, 6); f.m.shared != nil {
		t.Error("words are still shared")
	}
	f.s.label = d.Label
	copy(f.margins[0], margins)
	got := f.grow(0, 5)
	if f.m.shared == nil || !slices.EqualFunc(got.Nodes, want.Nodes, func(a, b trees.Node) bool { return a.Feature == b.Feature && a.Value == b.Value }) {
		t.Error("after words apart, shared ones grow another tree")
	}
}

// Both ways to sum learn as much.
func TestSharedWordsLearnAsMuch(t *testing.T) {
	d, test := plain(5, learn.Binary, packRows, 3), plain(6, learn.Binary, 10_000, 3)
	p := Params{Trees: 6, Rate: 0.3}.WithDefaults()
	shared, err := trained(t, p, learn.Binary, d)
	if err != nil {
		t.Fatal(err)
	}
	d.X, d.Label = d.X[3:], d.Label[1:]
	apart, err := trained(t, p, learn.Binary, d)
	if err != nil {
		t.Fatal(err)
	}
	a, b := lossOf(t, shared, learn.Binary, test), lossOf(t, apart, learn.Binary, test)
	if math.Abs(a-b) > 0.002*b {
		t.Errorf("log loss %v with shared words, %v without", a, b)
	}
}

func TestCutsHoldAboutAsMuchEach(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for _, bins := range []int{2, 7, 255} {
		for _, heavy := range []float64{0, 0.3, 0.9} {
			d := &Data{Features: 1}
			weights := 0.0
			for range 5000 {
				v := r.ExpFloat64()
				if r.Float64() < heavy {
					v = 0.5
				}
				d.X, d.Label, d.Weight = append(d.X, v), append(d.Label, 0), append(d.Weight, 0.5+r.Float64())
				weights += d.Weight[len(d.Weight)-1]
			}
			s, err := d.weighted(1)
			if err != nil {
				t.Fatal(err)
			}
			columns, _ := fit(s, 0, 1, bins)
			c := columns[0]
			in := make([]float64, 256)
			for i, v := range d.X {
				b := c.binOf(v)
				if b == 0 || int(b) >= c.bins || int(b) > 1 && v <= c.upper[b-2] || int(b) <= len(c.upper) && v > c.upper[b-1] {
					t.Fatalf("%v is in bin %d of %v", v, b, c.upper)
				}
				if v != 0.5 {
					in[b] += d.Weight[i]
				}
			}
			if bins == 2 && heavy > 0 {
				continue // one bin may be little more than the heavy value
			}
			for b := 1; b < c.bins; b++ {
				if share := in[b] / (weights * (1 - heavy)); share > 2.2/float64(bins) {
					t.Errorf("%d bins, %v of one value: bin %d has %v of the others", bins, heavy, b, share)
				}
			}
			if c.bins != bins+1 {
				t.Errorf("%d bins, want %d", c.bins-1, bins)
			}
		}
	}
}

func TestLogIsTheLogarithm(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	for range 100_000 {
		x := math.Exp(40 * (r.Float64() - 0.5))
		if got, want := log(x), math.Log(x); math.Abs(got-want) > 4e-16*max(1, math.Abs(want)) {
			t.Fatalf("log(%v) is %v, want %v", x, got, want)
		}
	}
}

// What a round allocates depends on its nodes and not on its rows.
func TestRoundsAllocateByNode(t *testing.T) {
	for _, rows := range []int{2000, packRows} {
		f := fitterOf(t, Params{Depth: 4}, learn.Regression, plain(9, learn.Regression, rows, 5), 1)
		round, nodes := 0, 0
		allocations := testing.AllocsPerRun(2, func() {
			nodes = len(f.grow(0, round).Nodes)
			round++
		})
		if nodes < 10 || allocations > 12*float64(nodes) {
			t.Errorf("%d rows: %v allocations for a tree of %d nodes", rows, allocations, nodes)
		}
		var g gatherer
		h := f.take()
		words := make([]uint32, rows)
		left := new([256]uint8)
		for i := range words {
			words[i] = uint32(i)
		}
		if n := testing.AllocsPerRun(3, func() {
			g.count(h, f.t, &f.m, words)
			sides(words, f.spare, f.t.bins[0], left)
		}); n != 0 {
			t.Errorf("%d rows: %v allocations where rows are counted and divided", rows, n)
		}
	}
}

// BenchmarkCount is the sums of all rows: a value is a row of a column.
func BenchmarkCount(b *testing.B) {
	for _, features := range []int{4, 28} {
		for _, rows := range []int{10_000, 200_000} {
			b.Run(fmt.Sprintf("%dx%d", rows, features), func(b *testing.B) {
				f := fitterOf(b, Params{}, learn.Binary, plain(1, learn.Binary, rows, features), 1)
				for i := range f.rows {
					f.rows[i] = uint32(i)
				}
				var g gatherer
				h := f.take()
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					g.count(h, f.t, &f.m, f.rows)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rows*features), "ns/value")
			})
		}
	}
}

func BenchmarkDivide(b *testing.B) {
	f := fitterOf(b, Params{}, learn.Binary, plain(1, learn.Binary, 200_000, 1), 1)
	var left [256]uint8
	for i := range 128 {
		left[i] = 1
	}
	b.ReportAllocs()
	for b.Loop() {
		for i := range f.rows {
			f.rows[i] = uint32(i)
		}
		sides(f.rows, f.spare, f.t.bins[0], &left)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/200_000, "ns/row")
}

func BenchmarkTrain(b *testing.B) {
	for _, rows := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("%dx28", rows), func(b *testing.B) {
			d := plain(1, learn.Binary, rows, 28)
			p := Params{Trees: 20, Depth: 6}.WithDefaults()
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := Train(b.Context(), p, learn.Binary, d, nil, 1, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestSharedWordsAreTheSameWithAnyNumberOfThreads(t *testing.T) {
	d := plain(10, learn.Regression, packRows+5000, 2)
	p := Params{Trees: 2, Depth: 3, SampleRows: 0.9}.WithDefaults()
	e, err := trained(t, p, learn.Regression, d)
	if err != nil {
		t.Fatal(err)
	}
	want := saved(t, e, learn.Regression)
	for _, threads := range []int{2, 3} {
		if e, _, err = Train(t.Context(), p, learn.Regression, d, nil, threads, nil); err != nil || saved(t, e, learn.Regression) != want {
			t.Errorf("%d threads: another ensemble, %v", threads, err)
		}
	}
	p.Trees = 1
	if e, err = trained(t, p, learn.Regression, d); err != nil {
		t.Fatal(err)
	}
	if e, _, err = Continue(t.Context(), e, p, learn.Regression, d, nil, 2, nil); err != nil || saved(t, e, learn.Regression) != want {
		t.Errorf("1 round and 1 more are not 2: %v", err)
	}
}

// Of many rows some are looked at, but a missing value is seen wherever it is.
func TestBinsOfManyRowsAreFittedOnSome(t *testing.T) {
	n := 2*binRows + 1
	d := &Data{Features: 2, X: make([]float64, 2*n), Label: make([]float64, n)}
	r := rand.New(rand.NewPCG(11, 11))
	for i := range n {
		d.X[2*i] = r.Float64()
		d.X[2*i+1] = 5
	}
	s, err := d.weighted(1)
	if err != nil {
		t.Fatal(err)
	}
	columns, use := fit(s, 0, 2, 100)
	if !use[0] || use[1] || columns[0].bins != 101 {
		t.Fatalf("%v %v", use, columns[0].bins)
	}
	for b, u := range columns[0].upper {
		if want := float64(b+1) / 100; math.Abs(u-want) > 0.01 {
			t.Errorf("bin %d ends at %v, want about %v", b+1, u, want)
		}
	}
	alone := 0
	for _, i := range []int{0, 1} { // one of two is looked at
		d.X[2*i+1] = math.NaN()
		if points, missing := s.points(1, 1); missing[0] && len(points[0]) == binRows {
			alone++
		}
		if _, use = fit(s, 0, 2, 100); !use[1] {
			t.Errorf("row %d alone has no value, and it is not seen", i)
		}
		d.X[2*i+1] = 5
	}
	if alone != 1 {
		t.Errorf("%d of 2 rows are not looked at, want 1", alone)
	}
}
