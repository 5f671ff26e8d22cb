package loadtest

import (
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	waits := make([]time.Duration, 100)
	for i := range waits {
		waits[i] = time.Duration(i+1) * time.Millisecond
	}
	for q, want := range map[float64]float64{0: 1, 0.5: 51, 0.99: 100, 1: 100} {
		if got := Millis(Quantile(waits, q)); got != want {
			t.Errorf("%v of the waits are within %v ms, want %v", q, got, want)
		}
	}
	if got := Quantile(waits[:1], 0.99); got != time.Millisecond {
		t.Errorf("of one wait, %v", got)
	}
}

func TestCPUTimeGrows(t *testing.T) {
	before := CPUTime()
	for deadline := time.Now().Add(10 * time.Second); CPUTime() == before; {
		if time.Now().After(deadline) {
			t.Fatal("ten seconds of work took no CPU time")
		}
	}
}
