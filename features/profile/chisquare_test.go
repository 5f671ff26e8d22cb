package profile

import (
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
)

// tail is the chance that chi-square exceeds x, in closed form: a sum of Poisson's
// terms for an even number of degrees of freedom, and erfc for 1.
func tail(freedom int, x float64) float64 {
	if freedom == 1 {
		return math.Erfc(math.Sqrt(x / 2))
	}
	term, sum := math.Exp(-x/2), 0.0
	for i := range freedom / 2 {
		sum += term
		term *= x / 2 / float64(i+1)
	}
	return sum
}

func TestChiSquareTail(t *testing.T) {
	for _, freedom := range []int{1, 2, 4, 10, 40, 200} {
		for _, x := range []float64{0, 0.1, 1, 5, 20, 100, 400} {
			want := tail(freedom, x)
			if got := chiSquare(x, freedom).P; math.Abs(got-want) > 1e-11*want {
				t.Errorf("%d degrees, %v: %v, want %v", freedom, x, got, want)
			}
		}
	}
}

func TestChiSquareByTheDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 5))
	for i := range 1000 {
		table := make([][]float64, 2+r.IntN(3))
		columns := 1 + r.IntN(6)
		for j := range table {
			table[j] = make([]float64, columns)
			for k := range table[j] {
				table[j][k] = float64(1 + r.IntN(30))
			}
		}
		want := 0.0
		sum := func(rows, columns int) (s float64) { // -1: all
			for j, row := range table {
				for k, c := range row {
					if (rows < 0 || rows == j) && (columns < 0 || columns == k) {
						s += c
					}
				}
			}
			return s
		}
		for j, row := range table {
			for k, c := range row {
				e := sum(j, -1) * sum(-1, k) / sum(-1, -1)
				want += (c - e) * (c - e) / e
			}
		}
		got, err := ChiSquareHomogeneity(table, false)
		if err != nil || math.Abs(got.Statistic-want) > 1e-9 || got.Freedom != (len(table)-1)*(columns-1) {
			t.Fatalf("case %d: %+v, %v, want %v", i, got, err, want)
		}
		if columns == 1 && got.P != 1 {
			t.Fatalf("case %d: one cell has p %v", i, got.P)
		}
		for j := range table {
			table[j] = append(table[j], 0) // a cell that nobody is in
		}
		if again, err := ChiSquareHomogeneity(table, false); err != nil || again != got {
			t.Fatalf("case %d: %+v, %v with an empty cell, %+v without", i, again, err, got)
		}
	}
}

// TestYates compares with the formula for 2x2, which has the correction in one
// place, where it does not go beyond what is expected.
func TestYates(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	compared := 0
	for range 1000 {
		a, b, c, d := float64(1+r.IntN(20)), float64(1+r.IntN(20)), float64(1+r.IntN(20)), float64(1+r.IntN(20))
		n, cross := a+b+c+d, math.Abs(a*d-b*c)
		want := 0.0
		if cross > n/2 {
			compared++
			want = n * (cross - n/2) * (cross - n/2) / ((a + b) * (c + d) * (a + c) * (b + d))
		}
		got, err := ChiSquareHomogeneity([][]float64{{a, b}, {c, d}}, true)
		if err != nil || math.Abs(got.Statistic-want) > 1e-9 {
			t.Fatalf("%v %v %v %v: %v, %v, want %v", a, b, c, d, got.Statistic, err, want)
		}
	}
	if compared < 500 {
		t.Errorf("the formula held in %d cases only", compared)
	}
}

func TestChiSquareFit(t *testing.T) {
	got, err := ChiSquareFit([]float64{10, 20, 30, 0}, []float64{1, 1, 1, 0})
	if err != nil || got.Freedom != 2 || math.Abs(got.Statistic-10) > 1e-12 || math.Abs(got.P-math.Exp(-5)) > 1e-12 {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := ChiSquareFit([]float64{10, 1}, []float64{5, 0}); err != nil || !math.IsInf(got.Statistic, 1) || got.P != 0 {
		t.Errorf("what cannot be, is: %+v, %v", got, err)
	}
}

// TestFisherByTheDefinition counts tables in whole numbers.
func TestFisherByTheDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 7))
	for range 300 {
		a, b, c, d := r.Int64N(25), r.Int64N(25), 1+r.Int64N(25), r.Int64N(25)
		if a+b == 0 {
			b = 1
		}
		ways := func(k int64) *big.Int { // tables with k at the top left
			w := new(big.Int).Binomial(a+b, k)
			return w.Mul(w, new(big.Int).Binomial(c+d, a+c-k))
		}
		all, within, here := new(big.Int), new(big.Int), ways(a)
		for k := max(0, a+c-(c+d)); k <= min(a+b, a+c); k++ {
			w := ways(k)
			all.Add(all, w)
			if w.Cmp(here) <= 0 {
				within.Add(within, w)
			}
		}
		want, _ := new(big.Rat).SetFrac(within, all).Float64()
		if got, err := FisherExact([2][2]int64{{a, b}, {c, d}}); err != nil || math.Abs(got-want) > 1e-11*want {
			t.Fatalf("%d %d %d %d: %v, %v, want %v", a, b, c, d, got, err, want)
		}
	}
	if p, err := FisherExact([2][2]int64{{MaxFisher / 2, 0}, {0, MaxFisher / 2}}); err != nil || p != 0 {
		t.Errorf("far out: %v, %v", p, err)
	}
}

func TestBadSamples(t *testing.T) {
	nan, inf, one := math.NaN(), math.Inf(1), []float64{1}
	ks := func(x, y []float64) error { _, err := KolmogorovSmirnov(x, y); return err }
	w1 := func(x, y, v, w []float64) error { _, err := Wasserstein(x, y, v, w); return err }
	psi := func(x, y []float64, floor float64) error { _, err := PSI(x, y, floor); return err }
	cut := func(x []float64, cells int) error { _, err := QuantileEdges(x, cells); return err }
	cells := func(edges, x []float64) error { _, err := CountCells(edges, x); return err }
	chi := func(table [][]float64, yates bool) error { _, err := ChiSquareHomogeneity(table, yates); return err }
	fit := func(x, y []float64) error { _, err := ChiSquareFit(x, y); return err }
	fisher := func(a, b, c, d int64) error { _, err := FisherExact([2][2]int64{{a, b}, {c, d}}); return err }
	_, normed := NormedWasserstein(nil, one)
	for _, err := range []error{
		ks(nil, one), ks(one, nil), w1(nil, one, nil, nil), w1(one, nil, nil, nil), w1(one, one, []float64{0}, nil), normed,
		psi([]float64{0}, one, 0.1), psi(one, []float64{0}, 0.1), psi(nil, nil, 0.1), cut(nil, 2),
		chi([][]float64{{1, 2}, {0, 0}}, false), chi([][]float64{{}, {}}, false), fit([]float64{0}, one), fit(one, []float64{0}), fisher(0, 0, 1, 1), fisher(1, 1, 0, 0),
	} {
		if !errors.Is(err, ErrEmpty) {
			t.Errorf("%v is not ErrEmpty", err)
		}
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{ks([]float64{1, nan}, one), "x[1] is NaN: leave such values out"},
		{ks(one, []float64{nan}), "y[0] is NaN"},
		{w1([]float64{inf}, one, nil, nil), "x[0] is +Inf"},
		{w1(one, one, nil, []float64{1, 2}), "1 values and 2 weights"},
		{w1(one, one, []float64{-1}, nil), "weight 0 of x is -1"},
		{w1(one, one, []float64{nan}, nil), "weight 0 of x is NaN"},
		{psi(one, one, 0), "floor 0: give"},
		{psi(one, one, nan), "floor NaN: give"},
		{psi(one, []float64{1, 2}, 0.1), "1 cells and 2 cells"},
		{psi([]float64{-1}, one, 0.1), "reference[0] is -1"},
		{psi([]float64{inf}, one, 0.1), "infinite"},
		{cut(one, 1), "1 cells: give 2 to"},
		{cut([]float64{nan}, 2), "reference[0] is NaN"},
		{cells([]float64{1, 1}, one), "give edges that rise"},
		{cells([]float64{nan}, one), "give edges that rise"},
		{cells(one, []float64{nan}), "value 0 is NaN"},
		{chi([][]float64{{1, 2}}, false), "at least two"},
		{chi([][]float64{{1, 2}, {1}}, false), "row 1 has 1 cells and row 0 2"},
		{chi([][]float64{{1, nan}, {1, 1}}, false), "row 0[1] is NaN"},
		{chi([][]float64{{1, 2, 3}, {1, 1, 1}}, true), "2x3: it is for 2x2"},
		{fit(one, []float64{1, 2}), "1 cells and 2 cells"},
		{fisher(-1, 1, 1, 1), "a count is -1"},
		{fisher(MaxFisher, 1, 1, 1), "use ChiSquareHomogeneity"},
		{fisher(math.MaxInt64, math.MaxInt64, 1, 1), "use ChiSquareHomogeneity"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) || errors.Is(c.err, ErrEmpty) {
			t.Errorf("the error is %v, want %q", c.err, c.want)
		}
	}
}
