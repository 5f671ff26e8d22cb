package pipeline

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestReadable counts arrivals as a list of them would. Beyond so many that
// neighbours are counted together, each counts as what took as long or longer, up to
// the width of a run.
func TestReadable(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 3))
		h := New(Config{})
		var a arrivals
		now := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
		var want [len(readableEdges) + 1]int64
		seconds, exact := 0.0, true
		for range 1 + random.IntN(4) { // commits
			at := now.UnixMicro() - random.Int64N(20_000_000)
			var all []int64
			for range random.IntN([]int{50, 5000}[seed%2]) {
				at += random.Int64N(3) * 1000 * random.Int64N(20)
				if random.IntN(50) == 0 {
					at -= random.Int64N(100) * 1000 // out of order
				}
				a.add(at)
				all = append(all, at)
			}
			if len(a.runs) > maxRuns {
				t.Fatalf("%d runs", len(a.runs))
			}
			exact = exact && a.width == 0
			now = now.Add(time.Duration(random.Int64N(1_000_000)) * time.Microsecond)
			h.committed("v", &a, now)
			for _, at := range all {
				took := max(0, now.Sub(time.UnixMicro(at)).Seconds())
				seconds += took
				i := 0
				for i < len(readableEdges) && took > readableEdges[i] {
					i++
				}
				want[i]++
			}
		}
		var got Readable
		for _, r := range h.Readable() {
			got = r
		}
		if exact {
			if got.Counts != want || got.Seconds < seconds-1e-6 || got.Seconds > seconds+1e-6 {
				t.Errorf("seed %d: %v, %v s, want %v, %v s", seed, got.Counts, got.Seconds, want, seconds)
			}
			continue
		}
		sum, sumWant := int64(0), int64(0)
		for i := range want {
			sum, sumWant = sum+got.Counts[i], sumWant+want[i]
			if i < len(want)-1 && sum > sumWant {
				t.Errorf("seed %d: %d took up to %v s, want at most %d", seed, sum, readableEdges[i], sumWant)
			}
		}
		if sum != sumWant || got.Seconds < seconds-1e-6 {
			t.Errorf("seed %d: %d records, %v s; want %d, at least %v s", seed, sum, got.Seconds, sumWant, seconds)
		}
	}
}

func BenchmarkArrivals(b *testing.B) {
	var a arrivals
	for i := range int64(b.N) {
		a.add(i / 8 * 1000)
	}
}
