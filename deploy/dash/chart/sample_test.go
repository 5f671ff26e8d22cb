package chart

import (
	"math"
	"math/rand/v2"
	"testing"
)

// randomPoints are n points by X with gaps and an interval around each.
func randomPoints(r *rand.Rand, n int) []point {
	gaps := r.Float64() * 0.2
	var points []point
	x := 0.0
	for range n {
		x += r.ExpFloat64()
		p := point{x: x, y: r.NormFloat64()}
		p.lo, p.hi = p.y-r.Float64(), p.y+r.Float64()
		if r.Float64() < gaps {
			p.y, p.lo, p.hi = none, none, none
		}
		points = append(points, p)
	}
	return points
}

// TestSampleKeepsExtremes compares what is drawn with all points: in each column the
// least and the greatest value are there, the ends are, and nothing else than points
// that were given.
func TestSampleKeepsExtremes(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 5))
		points := randomPoints(r, 3000+r.IntN(20000))
		x := scale{lo: points[0].x, hi: points[len(points)-1].x, a: 40, b: 40 + 100 + float64(r.IntN(500))}
		for _, area := range []bool{false, true} {
			s := sampler{area: area}
			given := map[point]bool{}
			lows, highs := map[int]float64{}, map[int]float64{}
			all := runs(points, 0)
			for _, run := range all {
				for _, p := range run {
					given[p] = true
					c := int(math.Floor(x.at(p.x)))
					lows[c] = min(at(lows, c, math.Inf(1)), s.low(p))
					highs[c] = max(at(highs, c, math.Inf(-1)), s.high(p))
				}
			}
			n, before := 0, math.Inf(-1)
			gotLow, gotHigh := map[int]float64{}, map[int]float64{}
			out := sample(all, x, area)
			for _, run := range out {
				for _, p := range run {
					if !given[p] || p.x < before {
						t.Fatalf("seed %d: drawn is %v, which was not given, or not in this order", seed, p)
					}
					c := int(math.Floor(x.at(p.x)))
					gotLow[c] = min(at(gotLow, c, math.Inf(1)), s.low(p))
					gotHigh[c] = max(at(gotHigh, c, math.Inf(-1)), s.high(p))
					before = p.x
					n++
				}
			}
			for c := range lows {
				if gotLow[c] != lows[c] || gotHigh[c] != highs[c] {
					t.Fatalf("seed %d, area %v, column %d: %v to %v drawn, %v to %v given", seed, area, c, gotLow[c], gotHigh[c], lows[c], highs[c])
				}
			}
			if most := 2*(int(x.b-x.a)+1) + 2; n > most {
				t.Fatalf("seed %d: %d points drawn, at most %d", seed, n, most)
			}
			first, last := all[0][0], all[len(all)-1]
			end := out[len(out)-1]
			if out[0][0] != first || end[len(end)-1].x != last[len(last)-1].x {
				t.Fatalf("seed %d: the ends are not drawn", seed)
			}
		}
	}
}

func at(m map[int]float64, k int, otherwise float64) float64 {
	if v, ok := m[k]; ok {
		return v
	}
	return otherwise
}

// TestSampleJoinsNothingAcrossAGap: where whole columns have no value, no drawn line
// crosses them.
func TestSampleJoinsNothingAcrossAGap(t *testing.T) {
	var points []point
	for i := range 10000 {
		p := point{x: float64(i), y: math.Sin(float64(i)), lo: none, hi: none}
		if i >= 4000 && i < 4200 {
			p.y = none
		}
		points = append(points, p)
	}
	out := sample(runs(points, 0), scale{lo: 0, hi: 9999, a: 0, b: 200}, false)
	if len(out) != 2 {
		t.Fatalf("%d runs, want 2", len(out))
	}
	left := out[0][len(out[0])-1].x
	if left >= 4000 || out[1][0].x < 4200 {
		t.Errorf("runs end at %v and go on at %v, want before 4000 and from 4200", left, out[1][0].x)
	}
	// Few points are drawn as they are, with every gap.
	if got := len(sample(runs(points[3990:4010], 0), scale{lo: 3990, hi: 4009, a: 0, b: 200}, false)); got != 1 {
		t.Errorf("%d runs before a gap, want 1", got)
	}
	if got := len(runs(points[:100], 0.5)); got != 100 {
		t.Errorf("points farther apart than the gap make %d runs, want 100", got)
	}
}

func TestPointsOfTakesWhatIsThere(t *testing.T) {
	nan, all := math.NaN(), func(float64) bool { return true }
	got := pointsOf([]float64{3, 1, nan, 2, 9}, []float64{30, 10, 5, math.Inf(1)}, []float64{29, 11}, []float64{31, 9}, all, Line{}.value)
	want := []point{{1, 10, 9, 11}, {2, none, none, none}, {3, 30, 29, 31}}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i].x != want[i].x || !same(got[i].y, want[i].y) || !same(got[i].lo, want[i].lo) || !same(got[i].hi, want[i].hi) {
			t.Errorf("point %d is %v, want %v", i, got[i], want[i])
		}
	}
}

func same(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }
