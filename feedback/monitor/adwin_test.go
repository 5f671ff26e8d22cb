package monitor

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"strings"
	"testing"
)

// A naiveADWIN keeps every value of its window, and of the buckets their sizes
// only. What it says follows from the definitions.
type naiveADWIN struct {
	config  ADWINConfig
	values  []float64
	sizes   []int // the oldest first
	seen    int
	changed bool
}

func (a *naiveADWIN) add(x float64) bool {
	if a.changed {
		*a = naiveADWIN{config: a.config}
	}
	a.values, a.sizes = append(a.values, x), append(a.sizes, 1)
	a.seen++
	for size := 1; ; size *= 2 {
		first, n := -1, 0
		for i, s := range a.sizes {
			if s == size {
				if n == 0 {
					first = i
				}
				n++
			}
		}
		if n <= 5 {
			break
		}
		a.sizes[first] = 2 * size // the two oldest are side by side
		a.sizes = append(a.sizes[:first+1], a.sizes[first+2:]...)
	}
	if a.seen%a.config.Clock != 0 || len(a.values) <= a.config.Grace {
		return false
	}
	for a.cut() {
		a.values, a.sizes, a.changed = a.values[a.sizes[0]:], a.sizes[1:], true
	}
	return a.changed
}

func (a *naiveADWIN) cut() bool {
	n, at := float64(len(a.values)), 0
	for _, size := range a.sizes[:len(a.sizes)-1] {
		at += size
		if at < a.config.MinWindow || len(a.values)-at < a.config.MinWindow {
			continue
		}
		unlikely := math.Log(2 * math.Log(n) / a.config.Delta)
		m := 1 / (1/float64(at-a.config.MinWindow+1) + 1/float64(len(a.values)-at-a.config.MinWindow+1))
		bound := math.Sqrt(2/m*varianceOf(a.values)*unlikely) + 2/(3*m)*unlikely
		if math.Abs(meanOf(a.values[:at])-meanOf(a.values[at:])) > bound {
			return true
		}
	}
	return false
}

func meanOf(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

func varianceOf(values []float64) float64 {
	mean, sum := meanOf(values), 0.0
	for _, v := range values {
		sum += (v - mean) * (v - mean)
	}
	return sum / float64(len(values))
}

// changing is a stream whose mean changes now and then.
func changing(r *rand.Rand, n int) []float64 {
	values, mean := make([]float64, n), 0.0
	for i := range values {
		if r.IntN(150) == 0 {
			mean = 2 * r.NormFloat64()
		}
		values[i] = mean + 0.5*r.NormFloat64()
	}
	return values
}

func TestADWINByTheDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 1))
	found := 0
	for i := range 60 {
		c := ADWINConfig{
			Delta: []float64{0.002, 0.05, 0.5}[i%3], Clock: []int{1, 3, 32}[r.IntN(3)],
			Grace: 1 + r.IntN(40), MinWindow: 1 + r.IntN(9),
		}
		naive, real := &naiveADWIN{config: c}, mustADWIN(t, c)
		for j, x := range changing(r, 600) {
			want := naive.add(x)
			if want {
				found++
			}
			if got := real.Add(x); got != want || real.Width() != int64(len(naive.values)) {
				t.Fatalf("%+v, value %d: %t and a window of %d, want %t and %d", c, j, got, real.Width(), want, len(naive.values))
			}
			if mean, variance := meanOf(naive.values), varianceOf(naive.values); math.Abs(real.Mean()-mean) > 1e-12 || math.Abs(real.Variance()-variance) > 1e-12 {
				t.Fatalf("%+v, value %d: mean %v and variance %v, want %v and %v", c, j, real.Mean(), real.Variance(), mean, variance)
			}
		}
	}
	if found < 100 {
		t.Errorf("%d alarms in all: the streams show little", found)
	}
}

// TestADWINKnowsOnlyDifferences: values moved, and values of the other sign, have
// the same alarms.
func TestADWINKnowsOnlyDifferences(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 2))
	for range 20 {
		values := changing(r, 1500)
		a, moved, turned := mustADWIN(t, ADWINConfig{Clock: 1}), mustADWIN(t, ADWINConfig{Clock: 1}), mustADWIN(t, ADWINConfig{Clock: 1})
		for i, x := range values {
			x = math.Round(x*64) / 64 // so that the sum below is exact
			want := a.Add(x)
			if moved.Add(x+1e12) != want || turned.Add(-x) != want || moved.Width() != a.Width() || turned.Width() != a.Width() {
				t.Fatalf("value %d: windows of %d, moved %d, turned %d", i, a.Width(), moved.Width(), turned.Width())
			}
		}
	}
}

func TestADWINOfAConstantIsSilent(t *testing.T) {
	for _, x := range []float64{0, 1, 0.1, -1e15, MaxDetected, math.SmallestNonzeroFloat64} {
		a := mustADWIN(t, ADWINConfig{Delta: 0.99, Clock: 1, Grace: 1, MinWindow: 1})
		for i := range 5000 {
			if a.Add(x) {
				t.Fatalf("%v: an alarm at %d", x, i)
			}
		}
		if a.Width() != 5000 || a.Mean() != x || a.Variance() != 0 {
			t.Errorf("%v: %d values, mean %v, variance %v", x, a.Width(), a.Mean(), a.Variance())
		}
	}
}

// TestADWINAfterAChange: the oldest values go, no more than must, and the next
// value is the first of a new window.
func TestADWINAfterAChange(t *testing.T) {
	a := mustADWIN(t, ADWINConfig{Clock: 1})
	for range 500 {
		a.Add(0)
	}
	for i := range 500 {
		if !a.Add(1) {
			if a.Width() != int64(501+i) {
				t.Fatalf("%d values in the window after %d without an alarm", a.Width(), 501+i)
			}
			continue
		}
		if i > 20 || a.Width() <= int64(i) || a.Width() > 500 || math.Abs(a.Mean()-float64(i+1)/float64(a.Width())) > 1e-12 {
			t.Errorf("an alarm after %d; %d values of mean %v are left", i+1, a.Width(), a.Mean())
		}
		a.Add(0.5)
		if a.Width() != 1 || a.Mean() != 0.5 {
			t.Errorf("%d values of mean %v in a new window", a.Width(), a.Mean())
		}
		return
	}
	t.Error("no alarm")
}

// TestADWINForgetsNothingByRounding: values whose squares have sixteen digits more
// than their variance.
func TestADWINForgetsNothingByRounding(t *testing.T) {
	a := mustADWIN(t, ADWINConfig{})
	for i := range 200 {
		a.Add(1e8 + float64(i%7))
	}
	want := make([]float64, 200)
	for i := range want {
		want[i] = float64(i % 7)
	}
	if got := a.Variance(); math.Abs(got-varianceOf(want)) > 1e-12 || a.Width() != 200 {
		t.Errorf("variance %v of %d values, want %v", got, a.Width(), varianceOf(want))
	}
}

func TestADWINHasFewBuckets(t *testing.T) {
	a := mustADWIN(t, ADWINConfig{Clock: 1 << 30}) // it only gathers
	r := rand.New(rand.NewPCG(7, 3))
	for n := 1; n <= 1<<17; n++ {
		a.Add(r.Float64())
		if most := bits.Len(uint(n)); len(a.rows) > most {
			t.Fatalf("%d sizes of buckets for %d values", len(a.rows), n)
		}
	}
	for i, row := range a.rows {
		if row.n < 1 || row.n > bucketsOfASize {
			t.Errorf("%d buckets of 2^%d", row.n, i)
		}
		for _, b := range row.at[:row.n] {
			if b.n != 1<<i {
				t.Errorf("a bucket of %d among those of 2^%d", b.n, i)
			}
		}
	}
	if n := testing.AllocsPerRun(1000, func() { a.Add(r.Float64()) }); n != 0 {
		t.Errorf("%v allocations a value", n)
	}
	if a.Width() < 1<<17 {
		t.Errorf("%d values in the window", a.Width())
	}
}

func TestDetectorsIgnoreWhatIsNoNumber(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 4))
	bad := []float64{math.NaN(), math.Inf(1), math.Inf(-1), 2 * MaxDetected, -math.MaxFloat64}
	begin := []func() detector{
		func() detector { return mustADWIN(t, ADWINConfig{Clock: 1}) },
		func() detector { return mustPageHinkley(t, PageHinkleyConfig{}) },
	}
	for i, begin := range begin {
		plain, mixed, found := begin(), begin(), 0
		for j, x := range changing(r, 2000) {
			for range r.IntN(3) {
				if mixed.Add(bad[r.IntN(len(bad))]) {
					t.Fatalf("detector %d: an alarm by what is ignored", i)
				}
			}
			want := plain.Add(x)
			if mixed.Add(x) != want {
				t.Fatalf("detector %d, value %d: %t without what is ignored", i, j, want)
			}
			if want {
				found++
			}
		}
		if found == 0 {
			t.Errorf("detector %d has no alarm", i)
		}
	}
	// The greatest values do not blind it.
	a := mustADWIN(t, ADWINConfig{Clock: 1})
	for range 100 {
		a.Add(-MaxDetected)
	}
	for range 100 {
		if a.Add(MaxDetected) {
			return
		}
	}
	t.Error("no alarm from the least value to the greatest")
}

func TestADWINConfig(t *testing.T) {
	for want, c := range map[string]ADWINConfig{
		"delta: 1: give a chance": {Delta: 1}, "delta: -0.1": {Delta: -0.1}, "delta: NaN": {Delta: math.NaN()},
		"clock: -1: give at least 1": {Clock: -1}, "grace: -1": {Grace: -1}, "min window: -2": {MinWindow: -2},
	} {
		if _, err := NewADWIN(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
	if a := mustADWIN(t, ADWINConfig{}); a.Width() != 0 || !math.IsNaN(a.Mean()) || !math.IsNaN(a.Variance()) {
		t.Errorf("an empty window: %d, %v, %v", a.Width(), a.Mean(), a.Variance())
	}
}

func BenchmarkADWIN(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	values := make([]float64, 1<<12)
	for i := range values {
		values[i] = r.Float64()
	}
	for name, clock := range map[string]int{"clock=1": 1, "clock=32": 32} {
		b.Run(name, func(b *testing.B) {
			a := mustADWIN(b, ADWINConfig{Clock: clock})
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				a.Add(values[i%len(values)])
			}
		})
	}
}
