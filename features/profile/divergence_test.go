package profile

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"testing"
)

// An answer is a case of testdata/drift.json.
type answer struct {
	ID       string
	Method   string
	Input    json.RawMessage
	Expected struct {
		LInf       *float64
		NAD        *float64
		Key        string
		Alarm      *bool
		Error      bool
		Divergence *float64 `json:"divergence_base2"`
	}
	Tolerance float64
}

func TestKnownAnswers(t *testing.T) {
	data, err := os.ReadFile("testdata/drift.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []answer }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) != 14 {
		t.Errorf("%d cases, want 14", len(file.Cases))
	}
	for _, c := range file.Cases {
		t.Run(c.ID, func(t *testing.T) { checkDivergence[c.Method](t, &c) })
	}
}

// checkDivergence has a check for each method of testdata/drift.json.
var checkDivergence = map[string]func(*testing.T, *answer){
	"linf,normalized_absolute_difference": checkMaps,
	"linf":                                checkMaps,
	"linf alarm":                          checkAlarm,
	"jensen_shannon":                      checkShares,
	"jensen_shannon numeric":              checkHistograms,
	"jensen_shannon numeric with missing": checkHistograms,
}

func input[T any](t *testing.T, c *answer) (in T) {
	if err := json.Unmarshal(c.Input, &in); err != nil {
		t.Fatal(err)
	}
	return in
}

func checkMaps(t *testing.T, c *answer) {
	in := input[struct{ Baseline, Current map[string]float64 }](t, c)
	got, key := LInfinity(in.Baseline, in.Current)
	if math.Abs(got-*c.Expected.LInf) > c.Tolerance || c.Expected.Key != "" && key != c.Expected.Key {
		t.Errorf("L-infinity is %v at %q, want %v at %q", got, key, *c.Expected.LInf, c.Expected.Key)
	}
	if c.Expected.NAD == nil {
		return
	}
	if got, _ := NormalizedDifference(in.Baseline, in.Current); math.Abs(got-*c.Expected.NAD) > c.Tolerance {
		t.Errorf("the normalised difference is %v, want %v", got, *c.Expected.NAD)
	}
}

// checkAlarm makes two maps with that distance: what equals a threshold is not
// beyond it, also after the division.
func checkAlarm(t *testing.T, c *answer) {
	in := input[struct{ LInf, Threshold float64 }](t, c)
	got, _ := LInfinity(map[string]float64{"a": in.LInf, "b": 1 - in.LInf}, map[string]float64{"b": 1})
	if alarm := got > in.Threshold; alarm != *c.Expected.Alarm {
		t.Errorf("%v > %v is %t, want %t", got, in.Threshold, alarm, *c.Expected.Alarm)
	}
}

func checkShares(t *testing.T, c *answer) {
	in := input[struct{ P, Q []float64 }](t, c)
	got, err := JensenShannon(in.P, in.Q)
	if err != nil || math.Abs(got-*c.Expected.Divergence) > c.Tolerance {
		t.Errorf("got %v, %v, want %v", got, err, *c.Expected.Divergence)
	}
}

func checkHistograms(t *testing.T, c *answer) {
	in := input[struct {
		Baseline, Current [][3]float64
		BaselineNaN       int64 `json:"baseline_nan"`
		CurrentNaN        int64 `json:"current_nan"`
	}](t, c)
	histogram := func(rows [][3]float64, missing int64) Histogram {
		h := Histogram{Missing: missing}
		for _, r := range rows {
			h.Buckets = append(h.Buckets, Bucket{r[0], r[1], int64(r[2])})
		}
		return h
	}
	got, err := JensenShannonHistograms(histogram(in.Baseline, in.BaselineNaN), histogram(in.Current, in.CurrentNaN))
	if c.Expected.Error {
		if !errors.Is(err, ErrEmpty) {
			t.Errorf("got %v, %v, want ErrEmpty", got, err)
		}
		return
	}
	if err != nil || math.Abs(got-*c.Expected.Divergence) > c.Tolerance {
		t.Errorf("got %v, %v, want %v", got, err, *c.Expected.Divergence)
	}
}

func TestTiesGoToTheLastKey(t *testing.T) {
	if d, key := LInfinity(map[string]float64{"a": 1, "c": 1}, map[string]float64{"b": 2}); d != 1 || key != "b" {
		t.Errorf("got %v at %q, want 1 at b", d, key)
	}
	if d, key := LInfinity(map[string]float64{"a": 3}, map[string]float64{"z": 1}); d != 1 || key != "z" {
		t.Errorf("got %v at %q, want 1 at z", d, key)
	}
}

// randomHistogram has buckets with gaps, some of no width, some at the ends of
// the doubles.
func randomHistogram(r *rand.Rand) Histogram {
	h := Histogram{Missing: r.Int64N(3)}
	at := float64(r.IntN(5))
	for range 1 + r.IntN(10) {
		width := float64(r.IntN(3))
		h.Buckets = append(h.Buckets, Bucket{at, at + width, 1 + r.Int64N(9)})
		at += width + float64(1+r.IntN(2))
	}
	switch r.IntN(4) {
	case 0:
		h.Buckets = append(h.Buckets, Bucket{1e308, math.MaxFloat64, 3})
	case 1:
		h.Buckets = append([]Bucket{{-math.MaxFloat64, math.MaxFloat64, 3}}, h.Buckets[:0]...)
	case 2:
		h.Buckets = append([]Bucket{{-math.SmallestNonzeroFloat64, 0, 2}}, h.Buckets...)
	}
	return h
}

func TestDivergenceOfHistogramsIsADivergence(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 2))
	for i := range 3000 {
		a, b := randomHistogram(r), randomHistogram(r)
		ab, err1 := JensenShannonHistograms(a, b)
		ba, err2 := JensenShannonHistograms(b, a)
		self, err3 := JensenShannonHistograms(a, a)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		if !(ab >= 0 && ab <= 1) || math.Abs(ab-ba) > 1e-12 || self != 0 {
			t.Fatalf("case %d: %v and %v are %v apart, the other way %v, and the first is %v from itself", i, a, b, ab, ba, self)
		}
		// Cut buckets in halves: the same density is the same distribution.
		var cut Histogram
		cut.Missing = 2 * a.Missing
		for _, k := range a.Buckets {
			if middle := k.Low/2 + k.High/2; middle > k.Low && middle < k.High {
				cut.Buckets = append(cut.Buckets, Bucket{k.Low, middle, k.Count}, Bucket{middle, k.High, k.Count})
			} else {
				cut.Buckets = append(cut.Buckets, Bucket{k.Low, k.High, 2 * k.Count})
			}
		}
		if d, err := JensenShannonHistograms(a, cut); err != nil || d > 1e-12 {
			t.Fatalf("case %d: %v is %v, %v from itself in halves, %v", i, a, d, err, cut)
		}
	}
}

// naiveOver adds up each bucket's part of each interval, by the definition.
func naiveOver(h Histogram, cells [][2]float64) []float64 {
	out := make([]float64, len(cells))
	for i, c := range cells {
		for _, k := range h.Buckets {
			switch {
			case k.Low == k.High && c[0] == c[1] && c[0] == k.Low:
				out[i] += float64(k.Count)
			case k.Low < k.High && c[0] < c[1]:
				out[i] += float64(k.Count) * max(0, min(k.High, c[1])-max(k.Low, c[0])) / (k.High - k.Low)
			}
		}
	}
	return append(out, float64(h.Missing))
}

func TestDivergenceOfHistogramsByTheDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 1))
	for range 1000 {
		var h [2]Histogram
		var cells [][2]float64
		for x := range 80 { // all ends are whole numbers below 80
			cells = append(cells, [2]float64{float64(x), float64(x)}, [2]float64{float64(x), float64(x + 1)})
		}
		for i := range h {
			for h[i] = randomHistogram(r); h[i].Buckets[0].Low < 0 || h[i].Buckets[len(h[i].Buckets)-1].High > 80; {
				h[i] = randomHistogram(r)
			}
		}
		want, err1 := JensenShannon(naiveOver(h[0], cells), naiveOver(h[1], cells))
		got, err2 := JensenShannonHistograms(h[0], h[1])
		if err := errors.Join(err1, err2); err != nil || math.Abs(got-want) > 1e-12 {
			t.Fatalf("%v and %v are %v apart, want %v; %v", h[0], h[1], got, want, err)
		}
	}
}

func TestOneOutlierIsNotDrift(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	build := func(outlier bool) Histogram {
		b := New([]Column{{"x", floatKind}})
		for range 10_000 {
			b.Add(floats(r.NormFloat64()))
		}
		if outlier {
			b.Add(floats(1e8))
		}
		p := b.Profile()
		return p.Columns[0].Histogram()
	}
	if d, err := JensenShannonHistograms(build(false), build(true)); err != nil || d > 0.15 {
		t.Errorf("one outlier of 10,001 values makes a divergence of %v, %v", d, err)
	}
}
