package monitor

import (
	"maps"
	"math"
	"testing"
)

// TestReadersMayLookAside reads all that there is while thresholds are found, and
// ends with the same as a fleet that nobody reads. The race detector sees whether
// what is read changes meanwhile.
func TestReadersMayLookAside(t *testing.T) {
	run := func(aside func(f *Fleet, do func())) string {
		w := gaps(4)
		w.change = shift(100, 0, 3)
		var f *Fleet
		m := w.model()
		if aside != nil {
			m.Aside = func(do func()) { aside(f, do) }
		}
		f = newFleet(t, small(), m)
		f.Hurry(200)
		alarms := make(map[string]Alarm)
		for range 3 { // so that units are gathered and looked at many at a time
			maps.Copy(alarms, w.feed(f, 50))
		}
		return everything(f, alarms)
	}
	work, empty := 0, 0
	got := run(func(f *Fleet, do func()) {
		before := f.thresholds()
		done := make(chan struct{})
		go func() {
			defer close(done)
			do()
		}()
		_ = everything(f, nil)
		<-done
		if now := f.thresholds(); now != before && !(math.IsNaN(now) && math.IsNaN(before)) {
			t.Errorf("thresholds are %v aside, and were %v", now, before)
		}
		if f.seen.drift == nil {
			empty++
		} else {
			work++
		}
	})
	if want := run(nil); got != want {
		t.Fatalf("%.3000s\nwant\n%.3000s", got, want)
	}
	if work < 10 || empty < 10 {
		t.Errorf("only %d and %d times aside with and without thresholds", work, empty)
	}
}

// thresholds is a sum over all monitors, which differs where any does.
func (f *Fleet) thresholds() float64 {
	total := 0.0
	for i, r := range f.Readings() {
		if !math.IsInf(r.Threshold, 0) {
			total += r.Threshold * float64(i+1)
		}
	}
	return total
}
