package profile

import (
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// drawn has ties where step is not 0.
func drawn(r *rand.Rand, n int, step float64) []float64 {
	values := make([]float64, n)
	for i := range values {
		values[i] = r.NormFloat64()
		if step > 0 {
			values[i] = step * math.Round(values[i]/step)
		}
	}
	return values
}

// below is the distribution function of a sample, right after the value.
func below(values []float64, at float64) float64 {
	n := 0
	for _, v := range values {
		if v <= at {
			n++
		}
	}
	return float64(n) / float64(len(values))
}

func TestKolmogorovSmirnovByTheDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 1))
	for i := range 2000 {
		x, y := drawn(r, 1+r.IntN(30), []float64{0, 0.5, 1}[i%3]), drawn(r, 1+r.IntN(30), []float64{0, 0.5, 1}[i%3])
		if i%50 == 0 {
			x[0], y[0] = math.Inf(1), math.Inf(-1)
		}
		want := 0.0
		for _, at := range slices.Concat(x, y) {
			want = max(want, math.Abs(below(x, at)-below(y, at)))
		}
		got, err := KolmogorovSmirnov(x, y)
		back, err2 := KolmogorovSmirnov(y, x)
		if errors.Join(err, err2) != nil || math.Abs(got.Statistic-want) > 1e-12 || back.Statistic != got.Statistic {
			t.Fatalf("case %d: %v and the other way %v, %v, want %v", i, got.Statistic, back.Statistic, errors.Join(err, err2), want)
		}
		a, _ := got.Exact()
		b, _ := back.Exact()
		if math.Abs(a-b) > 1e-12*a || got.Asymptotic() != back.Asymptotic() {
			t.Fatalf("case %d: p is %v and the other way %v", i, a, b)
		}
		for j, v := range x {
			x[j] = math.Atan(v) // keeps the order
		}
		for j, v := range y {
			y[j] = math.Atan(v)
		}
		if bent, _ := KolmogorovSmirnov(x, y); bent != got {
			t.Fatalf("case %d: %v, and %v of values in the same order", i, got, bent)
		}
	}
}

// TestExactKSOfAllOrders goes through all orders of two samples.
func TestExactKSOfAllOrders(t *testing.T) {
	for m := 1; m <= 6; m++ {
		for n := 1; n <= 6; n++ {
			var tests []KS
			for set := range 1 << (m + n) {
				var x, y []float64
				for i := range m + n {
					if set>>i&1 == 1 {
						x = append(x, float64(i))
					} else {
						y = append(y, float64(i))
					}
				}
				if len(x) != m {
					continue
				}
				ks, err := KolmogorovSmirnov(x, y)
				if err != nil {
					t.Fatal(err)
				}
				tests = append(tests, ks)
			}
			for _, ks := range tests {
				as := 0
				for _, other := range tests {
					if other.steps >= ks.steps {
						as++
					}
				}
				want := float64(as) / float64(len(tests))
				if got, err := ks.Exact(); err != nil || math.Abs(got-want) > 1e-13 {
					t.Fatalf("%d and %d values, statistic %v: p is %v, %v, want %v", m, n, ks.Statistic, got, err, want)
				}
			}
		}
	}
}

func TestExactKSOfSmallChances(t *testing.T) {
	x, y := make([]float64, 60), make([]float64, 40)
	for i := range x {
		x[i] = 1
	}
	ks, err := KolmogorovSmirnov(x, y)
	if err != nil {
		t.Fatal(err)
	}
	// Two of all orders have no value of one sample beside one of the other.
	all, _ := new(big.Float).SetInt(new(big.Int).Binomial(100, 40)).Float64()
	if got, _ := ks.Exact(); ks.Statistic != 1 || math.Abs(got*all/2-1) > 1e-12 {
		t.Errorf("statistic %v, p %v, want 1 and %v", ks.Statistic, got, 2/all)
	}
	if _, err := (KS{steps: 1, m: MaxExactKS + 1, n: 1}).Exact(); err == nil || !strings.Contains(err.Error(), "asymptotic") {
		t.Errorf("beyond the limit: %v", err)
	}
}

// TestKolmogorovTail has values of SciPy 1.17.1's kstwo.sf, at least two of each
// way to compute it.
func TestKolmogorovTail(t *testing.T) {
	for _, c := range []struct{ n, d, want float64 }{
		{1, 0.7, 0.6000000000000001},
		{3, 0.2, 0.9982222222222222},
		{5, 0.3, 0.664},
		{10, 0.1, 0.99963712},
		{10, 0.6, 0.0005681672000000003},
		{48, 0.0375, 0.9999988029042285},
		{86, 0.14833333333333334, 0.040778417680711956},
		{86, 0.3, 2.3222437412723717e-07},
		{140, 0.04, 0.9719726587618661},
		{140, 0.15, 0.0032495604415101703},
		{141, 0.06, 0.6677160791348915},
		{500, 0.03, 0.7473166700457021},
		{500, 0.05, 0.15866260223815387},
		{500, 0.1, 8.342293067263533e-05},
		{5000, 0.002, 1.0},
		{5000, 0.0105, 0.6359192095445171},
		{5000, 0.02, 0.03613941395325637},
		{5000, 0.04, 2.1805586378557164e-07},
		{99999, 0.0005, 1.0},
		{99999, 0.003, 0.32846216508750103},
		{200000, 0.002, 0.39995085369038097},
		{200000, 0.0035, 0.014858338517072333},
		{1000000, 0.0008, 0.5438713666611479},
		{1000000, 0.0017, 0.006170418708998026},
		{1000000, 0.01, 2.7373304415481205e-87},
	} {
		if got := kolmogorovTail(c.n, c.d); !(math.Abs(got-c.want) <= 1e-6*c.want) {
			t.Errorf("n %v, d %v: %v, want %v (%v apart)", c.n, c.d, got, c.want, got/c.want-1)
		}
	}
	for _, n := range []float64{1, 2, 10, 100, 140, 141, 1000, 100_000, 100_001} {
		last := 1.0
		for d := 0.0; d <= 1.001; d += 1.0 / 128 {
			p := kolmogorovTail(n, d)
			if !(p >= 0 && p <= last+1e-6*last+1e-9) { // where one way ends and another begins
				t.Fatalf("n %v, d %v: p is %v after %v", n, d, p, last)
			}
			last = p
		}
		if last != 0 {
			t.Errorf("n %v: p of 1 is %v", n, last)
		}
	}
}

func TestWassersteinByTheDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 2))
	for i := range 1000 {
		n := 1 + r.IntN(20)
		step := []float64{0, 0.5}[i%2]
		x, y, z := drawn(r, n, step), drawn(r, n, step), drawn(r, 1+r.IntN(20), step)
		a, b := slices.Sorted(slices.Values(x)), slices.Sorted(slices.Values(y))
		want := 0.0
		for j := range a { // of as many values, the least work moves each to that of its rank
			want += math.Abs(a[j]-b[j]) / float64(n)
		}
		xy, xz, zy := wasserstein(t, x, y, nil, nil), wasserstein(t, x, z, nil, nil), wasserstein(t, z, y, nil, nil)
		if math.Abs(xy-want) > 1e-12 || xy > xz+zy+1e-12 || wasserstein(t, y, x, nil, nil) != xy || wasserstein(t, x, x, nil, nil) != 0 {
			t.Fatalf("case %d: %v, want %v; by way of another %v and %v", i, xy, want, xz, zy)
		}
		moved := make([]float64, n)
		for j, v := range x {
			moved[j] = v - 3
		}
		if d := wasserstein(t, x, moved, nil, nil); math.Abs(d-3) > 1e-12 {
			t.Fatalf("case %d: %v after a shift by 3", i, d)
		}

		// A weight is how often the value is there.
		var often []float64
		weights := make([]float64, n)
		for j, v := range x {
			weights[j] = float64(r.IntN(4))
			if j == 0 {
				weights[j]++
			}
			often = append(often, slices.Repeat([]float64{v}, int(weights[j]))...)
		}
		if got, want := wasserstein(t, x, z, weights, nil), wasserstein(t, often, z, nil, nil); math.Abs(got-want) > 1e-12 {
			t.Fatalf("case %d: %v with weights, %v with as many values", i, got, want)
		}
	}
}

func wasserstein(t *testing.T, x, y, xWeights, yWeights []float64) float64 {
	t.Helper()
	d, err := Wasserstein(x, y, xWeights, yWeights)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestWassersteinAtTheEndsOfDoubles(t *testing.T) {
	most := math.MaxFloat64
	if d := wasserstein(t, []float64{-most}, []float64{most}, nil, nil); !math.IsInf(d, 1) {
		t.Errorf("%v from one end to the other", d)
	}
	if d := wasserstein(t, []float64{-most, most}, []float64{most, -most}, []float64{most, most}, nil); d != 0 {
		t.Errorf("%v between two samples that are alike", d)
	}
	// Deviation 1e200, whose square no double holds: the distance is one of them.
	if d, err := NormedWasserstein([]float64{-1e200, 1e200}, []float64{0, 2e200}); err != nil || math.Abs(d-1) > 1e-12 {
		t.Errorf("normed %v, %v, want 1", d, err)
	}
	if d, err := NormedWasserstein([]float64{2, 2, 2}, []float64{3}); err != nil || d != 1000 {
		t.Errorf("from a constant reference %v, %v, want 1000", d, err)
	}
}

func TestPSIIsAnIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 3))
	for i := range 1000 {
		p, q := make([]float64, 1+r.IntN(12)), []float64(nil)
		for j := range p {
			p[j] = float64(r.IntN(20))
			q = append(q, float64(r.IntN(20)))
		}
		p[0], q[0] = p[0]+1, q[0]+1
		pq, err1 := PSI(p, q, PSIFloor)
		qp, err2 := PSI(q, p, PSIFloor)
		pp, err3 := PSI(p, p, PSIFloor)
		for j := range p {
			p[j] *= 7
		}
		more, err4 := PSI(p, q, PSIFloor)
		if err := errors.Join(err1, err2, err3, err4); err != nil || pq < 0 || math.Abs(pq-qp) > 1e-12 || pp != 0 || math.Abs(more-pq) > 1e-12 {
			t.Fatalf("case %d: %v, the other way %v, from itself %v, seven times as many %v, %v", i, pq, qp, pp, more, err)
		}
	}
}

func TestQuantileEdges(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 4))
	for i := range 500 {
		values := drawn(r, 1+r.IntN(200), []float64{0, 0.25}[i%2])
		cells := 2 + r.IntN(20)
		edges, err := QuantileEdges(values, cells)
		if err != nil || !slices.IsSorted(edges) || len(edges) >= cells || len(slices.Compact(slices.Clone(edges))) != len(edges) {
			t.Fatalf("case %d: %v, %v", i, edges, err)
		}
		counts := mustCount(t, edges, values)
		total := 0.0
		for j, n := range counts {
			total += n
			want := 0
			for _, v := range values {
				if (j == 0 || v >= edges[j-1]) && (j == len(edges) || v < edges[j]) {
					want++
				}
			}
			if n != float64(want) {
				t.Fatalf("case %d: cell %d has %v, want %d", i, j, n, want)
			}
			if most := math.Ceil(float64(len(values))/float64(cells)) + 1; i%2 == 0 && n > most {
				t.Fatalf("case %d: cell %d has %v of %d values without ties in %d cells", i, j, n, len(values), cells)
			}
		}
		if total != float64(len(values)) {
			t.Fatalf("case %d: %v of %d values", i, total, len(values))
		}
	}
	for _, c := range []struct{ values, want []float64 }{
		{[]float64{4, 1, 3, 2}, []float64{1.75, 2.5, 3.25}},
		{[]float64{5}, []float64{5}},
		{[]float64{1, 1, 1, 9}, []float64{1, 3}},
		{[]float64{-0x1p1023, 0x1p1023}, []float64{-0x1p1022, 0, 0x1p1022}},
	} {
		if got, err := QuantileEdges(c.values, 4); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("quarters of %v are %v, %v, want %v", c.values, got, err, c.want)
		}
	}
}
