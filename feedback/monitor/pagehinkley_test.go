package monitor

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// naivePageHinkley is the definition of one side over all values since the last
// alarm, from the first on each time.
func naivePageHinkley(c PageHinkleyConfig, sign float64, values []float64) float64 {
	sum, s := 0.0, 0.0
	for i, x := range values {
		sum += x
		s = max(0, c.Alpha*s+sign*(x-sum/float64(i+1))-c.Delta)
	}
	return s
}

func TestPageHinkleyByTheDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 1))
	found := map[Side]int{}
	for i := range 60 {
		c := PageHinkleyConfig{
			Min: 1 + r.IntN(60), Delta: 0.001 + 0.1*r.Float64(), Threshold: 5 + 30*r.Float64(),
			Alpha: []float64{1, 0.9999, 0.95}[r.IntN(3)], Side: []Side{Up, Down, Both}[i%3],
		}
		p := mustPageHinkley(t, c)
		var values []float64
		for j, x := range changing(r, 500) {
			values = append(values, x)
			up, down := naivePageHinkley(c, 1, values), naivePageHinkley(c, -1, values)
			want := len(values) >= c.Min && (c.Side != Down && up > c.Threshold || c.Side != Up && down > c.Threshold)
			if got := p.Add(x); got != want {
				t.Fatalf("%+v, value %d: %t, want %t", c, j, got, want)
			}
			if want {
				found[c.Side]++
				values = nil
			}
		}
	}
	if found[Up] < 10 || found[Down] < 10 || found[Both] < 10 {
		t.Errorf("alarms: %v: the streams show little", found)
	}
}

// TestPageHinkleyTurned: up is down of values with the other sign, and the first
// alarm of both sides is that of the side that is sooner.
func TestPageHinkleyTurned(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 2))
	for range 50 {
		values := changing(r, 1000)
		turned := make([]float64, len(values))
		for i, x := range values {
			turned[i] = -x
		}
		up := alarms(mustPageHinkley(t, PageHinkleyConfig{Side: Up}), values)
		down := alarms(mustPageHinkley(t, PageHinkleyConfig{Side: Down}), values)
		both := alarms(mustPageHinkley(t, PageHinkleyConfig{}), values)
		back := alarms(mustPageHinkley(t, PageHinkleyConfig{Side: Down}), turned)
		if len(up) != len(back) {
			t.Fatalf("alarms up at %v and down of the other sign at %v", up, back)
		}
		for i := range up {
			if up[i] != back[i] {
				t.Fatalf("alarms up at %v and down of the other sign at %v", up, back)
			}
		}
		first := len(values)
		for _, list := range [][]int{up, down} {
			if len(list) > 0 {
				first = min(first, list[0])
			}
		}
		if len(both) > 0 && both[0] != first || len(both) == 0 && first < len(values) {
			t.Fatalf("up %v, down %v, both %v", up, down, both)
		}
	}
}

func TestPageHinkleyOfAConstantIsSilent(t *testing.T) {
	for _, x := range []float64{0, 1, 0.1, -1e15, MaxDetected} {
		p := mustPageHinkley(t, PageHinkleyConfig{Min: 1, Delta: 1e-300, Threshold: 1e-290, Alpha: 1})
		for i := range 5000 {
			if p.Add(x) {
				t.Fatalf("%v: an alarm at %d", x, i)
			}
		}
	}
}

func TestPageHinkleyConfig(t *testing.T) {
	for want, c := range map[string]PageHinkleyConfig{
		"min: -1": {Min: -1}, "delta: -1": {Delta: -1}, "delta: NaN": {Delta: math.NaN()}, "threshold: -2": {Threshold: -2},
		"threshold: +Inf": {Threshold: math.Inf(1)}, "alpha: 1.5": {Alpha: 1.5}, "alpha: -1": {Alpha: -1}, `side: "left": give up, down or both`: {Side: "left"},
	} {
		if _, err := NewPageHinkley(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
}

func BenchmarkPageHinkley(b *testing.B) {
	p := mustPageHinkley(b, PageHinkleyConfig{})
	r := rand.New(rand.NewPCG(1, 1))
	values := make([]float64, 1<<12)
	for i := range values {
		values[i] = r.Float64()
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p.Add(values[i%len(values)])
	}
}
