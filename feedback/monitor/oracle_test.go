package monitor

import (
	"cmp"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/profile"
	"github.com/millrace/millrace/feedback"
)

func TestExactIsTheRoundedSum(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		var sum exact
		want := new(big.Float).SetPrec(4000)
		for range 1 + rng.IntN(30) {
			x := rng.NormFloat64() * math.Pow(2, float64(rng.IntN(400)-200))
			switch rng.IntN(4) {
			case 0:
				x = math.Trunc(x)
			case 1:
				x = math.Ldexp(1, rng.IntN(120)-60) // halves of last places
			}
			sum.add(x)
			want.Add(want, new(big.Float).SetFloat64(x))
		}
		if got, w := sum.value(), round(want); got != w {
			t.Fatalf("sum %v, want %v", got, w)
		}
	}
}

func round(x *big.Float) float64 { f, _ := x.Float64(); return f }

// history is all that a world has said, for naive recomputation.
type history struct {
	model Model
	ps    []feedback.Prediction
	es    []feedback.Example
}

func (w *world) tell(f *Fleet, hours int) history {
	h := history{model: w.model()}
	for range hours {
		ps, es := w.next()
		h.ps, h.es = append(h.ps, ps...), append(h.es, es...)
	}
	for i := range h.ps {
		f.Predicted(&h.ps[i])
	}
	for i := range h.es {
		f.Known(&h.es[i])
	}
	f.Tick(int64(w.hourly) * hour)
	f.Passed(int64(w.hourly) * hour)
	return h
}

// values returns a column's values as numbers, by unit; missing ones are NaN. Of
// texts they are empty.
func (h *history) values(column string) map[int64][]float64 {
	units := make(map[int64][]float64)
	if column == LabelColumn {
		for _, e := range h.es {
			units[e.Prediction.Time/hour] = append(units[e.Prediction.Time/hour], e.Label)
		}
		return units
	}
	i := slices.IndexFunc(h.model.Inputs, func(f features.Field) bool { return f.Name == column })
	for _, p := range h.ps {
		x := math.NaN()
		switch {
		case i < 0 && p.Score.Version == 0:
			continue
		case i < 0:
			x = p.Score.Value
		case p.Vector[i].Kind == expr.Bool:
			x = float64(p.Vector[i].Bits)
		case p.Vector[i].Kind == expr.Float:
			x = p.Vector[i].Float()
		}
		units[p.Time/hour] = append(units[p.Time/hour], x)
	}
	return units
}

func mean(values []float64) (m float64, n int) {
	sum := 0.0
	for _, x := range values {
		if x == x {
			sum += x
			n++
		}
	}
	return sum / float64(n), n
}

func std(values []float64) float64 {
	m, n := mean(values)
	if n < 2 {
		return math.NaN()
	}
	sum := 0.0
	for _, x := range values {
		if x == x {
			sum += (x - m) * (x - m)
		}
	}
	return math.Sqrt(sum / float64(n-1))
}

func same(a, b float64) bool {
	return a != a && b != b || math.Abs(a-b) <= 1e-9*max(1, math.Abs(a))
}

// gaps is a world with silent hours and missing values.
func gaps(seed uint64) *world {
	return &world{
		seed: seed, columns: 3, rows: 4, phi: 0.6, learned: 70,
		silence: func(hour int) bool { return hour%17 > 13 },
		change: func(hour, column int, x float64) float64 {
			if column == 1 && (hour*7+int(math.Abs(x)*100))%5 == 0 {
				return math.NaN()
			}
			return x
		},
	}
}

func TestSeriesIsWhatAllRowsGive(t *testing.T) {
	for seed := range uint64(5) {
		w := gaps(seed)
		f := newFleet(t, small(), w.model())
		f.Hurry(1)
		h := w.tell(f, 150)
		for _, c := range f.Columns() {
			if c.Kind == expr.String {
				continue
			}
			units := h.values(c.Name)
			points := f.Series(c.Name, 10*hour, 140*hour)
			seen := 0
			for _, p := range points {
				at := p.Time/hour - 1
				m, n := mean(units[at])
				missing := int64(len(units[at]) - n)
				if p.Rows != int64(n) || p.Missing != missing || !same(p.Mean, m) {
					t.Fatalf("%s at %d: %+v, want %d rows with mean %v and %d missing", c.Name, at, p, n, m, missing)
				}
				now, past := span(units, at-5, at), span(units, at-65, at-6)
				wantRef := std(past)
				if _, n := mean(past); n < minPresent {
					wantRef = math.NaN()
				}
				rollMean, n := mean(now)
				if n < 2 {
					rollMean = math.NaN()
				}
				if !same(p.RollStd, std(now)) || !same(p.RollMean, rollMean) || !same(p.RefStd, wantRef) {
					t.Fatalf("%s at %d: %+v, want %v, %v and %v", c.Name, at, p, rollMean, std(now), wantRef)
				}
				seen++
			}
			want := 0
			for at := range allUnits(h.values("a.bool")) {
				if (at+1)*hour >= 10*hour && (at+1)*hour < 140*hour {
					want++
				}
			}
			if seen != want {
				t.Fatalf("%s: %d units, want %d", c.Name, seen, want)
			}
		}
		if f.Series("none", 0, hour) != nil {
			t.Fatal("a series of no column")
		}
	}
}

func allUnits(units map[int64][]float64) map[int64]bool {
	all := make(map[int64]bool)
	for at := range units {
		all[at] = true
	}
	return all
}

// span returns the unit means from a unit to another.
func span(units map[int64][]float64, from, to int64) (means []float64) {
	for at := from; at <= to; at++ {
		if m, n := mean(units[at]); n > 0 {
			means = append(means, m)
		}
	}
	return means
}

// TestCellsAreWhatAllRowsGive counts the cells anew from all rows, with the edges
// that a reading shows, and the distances by the functions of another package.
func TestCellsAreWhatAllRowsGive(t *testing.T) {
	for seed := range uint64(4) {
		w := gaps(seed)
		f := newFleet(t, small(), w.model())
		f.Hurry(1)
		h := w.tell(f, 150)
		newest := f.Counts().Clock/hour - 1
		for _, column := range []string{"a.bool", "a.x0", "a.x1", "a.x2"} {
			r, ok := f.Reading(DriftMonitor, column)
			if !ok || r.State == NoReference || len(r.Cells) < 3 {
				t.Fatalf("%s: %+v", column, r)
			}
			units := h.values(column)
			var reference, now []float64
			for at, values := range units {
				if at >= 70-60 && at < 70 {
					reference = append(reference, values...)
				}
				if at > newest-6 && at <= newest {
					now = append(now, values...)
				}
			}
			p, q := count(r.Cells, reference), count(r.Cells, now)
			if r.Rows != int64(len(now)) || r.Reference != int64(len(reference)) {
				t.Fatalf("%s: %d rows and %d, want %d and %d", column, r.Rows, r.Reference, len(now), len(reference))
			}
			js, _ := profile.JensenShannon(p, q)
			psi, _ := profile.PSI(p, q, profile.PSIFloor)
			linf, ks, below := 0.0, 0.0, 0.0
			for i, c := range r.Cells {
				x, y := p[i]/float64(len(reference)), q[i]/float64(len(now))
				if !same(c.Reference, x) || !same(c.Now, y) {
					t.Fatalf("%s, cell %+v: want %v and %v", column, c, x, y)
				}
				linf = max(linf, math.Abs(x-y))
				below += x - y
				ks = max(ks, math.Abs(below))
			}
			if column == "a.bool" {
				ks = linf
			}
			if !same(r.JS, js) || !same(r.PSI, psi) || !same(r.LInf, linf) || !same(r.KS, ks) || r.Value != r.JS {
				t.Fatalf("%s: %+v, want %v, %v, %v, %v", column, r, js, psi, linf, ks)
			}
		}
	}
}

func count(cells []Cell, values []float64) []float64 {
	counts := make([]float64, len(cells))
	for _, x := range values {
		for i, c := range cells {
			if (x != x && c.Text == "(missing)") || c.Text == "" && x > c.Low && x <= c.High || x == 1 && c.Text == "true" || x == 0 && c.Text == "false" {
				counts[i]++
			}
		}
	}
	return counts
}

func TestCutNumbers(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for range 500 {
		values := make([]float64, 1+rng.IntN(200))
		for i := range values {
			values[i] = float64(rng.IntN(1 + rng.IntN(300)))
		}
		bins := 4 + rng.IntN(17)
		c := cutNumbers(slices.Clone(values), bins)
		counts := make([]int, c.cells)
		for _, x := range values {
			counts[c.cell(x)]++
		}
		distinct := slices.Compact(slices.Sorted(slices.Values(values)))
		for i, n := range counts {
			// A cell has its share, or is one value, or reaches up to one that is often.
			if n > 2*(len(values)/bins+1) {
				high := c.edges[min(i, len(c.edges)-1)]
				if share := timesIn(values, high); share < n-len(values)/bins-1 {
					t.Fatalf("cell %d of %v: %d of %d values, edge %v is %d of them", i, c.edges, n, len(values), high, share)
				}
			}
		}
		if !slices.IsSorted(c.edges) || c.cell(math.NaN()) != c.cells-1 || counts[c.cells-1] != 0 {
			t.Fatalf("%+v", c)
		}
		if len(distinct) == 1 && (c.cell(distinct[0]-1) == c.cell(distinct[0]) || c.cell(distinct[0]+1) == c.cell(distinct[0])) {
			t.Fatalf("a constant could change unseen: %+v", c)
		}
	}
}

func timesIn(values []float64, x float64) (n int) {
	for _, v := range values {
		if cmp.Compare(v, x) == 0 {
			n++
		}
	}
	return n
}

func TestBoundIsAboveDivergence(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for range 5000 {
		p, q := make([]float64, 12), make([]float64, 12)
		for i := range p {
			p[i], q[i] = float64(rng.IntN(20)*rng.IntN(2)), float64(rng.IntN(20)*rng.IntN(2))
		}
		js := JensenShannon.apart(p, q, false)
		if bound := JensenShannon.atMost(p, q, false); js > bound || js < bound*0.9 {
			t.Fatalf("%v and %v: %v, bound %v", p, q, js, bound)
		}
	}
}
