package monitor

import (
	"fmt"
	"testing"
	"time"
)

// daily is the usual config, with hours for days.
func daily(std ...string) Config {
	return Config{Every: time.Hour, Std: std}.WithDefaults(2 * time.Hour)
}

func BenchmarkCalibrate(b *testing.B) {
	for _, columns := range []int{10, 998} {
		b.Run(fmt.Sprint(columns+2), func(b *testing.B) {
			w := &world{columns: columns, rows: 5, phi: 0.5, learned: 400}
			f := newFleet(b, daily(), w.model())
			w.feed(f, 401)
			b.ResetTimer()
			for b.Loop() {
				f.seen.calibrated(f.seen.within(35, 400), 400)
			}
		})
	}
}

func BenchmarkCalibrateStd(b *testing.B) {
	w := &world{columns: 10, rows: 5, phi: 0.5, learned: 1000}
	f := newFleet(b, daily("a.x0"), w.model())
	w.feed(f, 400)
	for b.Loop() {
		f.seen.calibrateStd(399)
	}
}

// BenchmarkTick is a look at all monitors of a model, without thresholds anew.
func BenchmarkTick(b *testing.B) {
	for _, columns := range []int{10, 998} {
		b.Run(fmt.Sprint(columns+2), func(b *testing.B) {
			w := &world{columns: columns, rows: 20, phi: 0.5, learned: 400}
			f := newFleet(b, daily(), w.model())
			f.Hurry(1)
			w.feed(f, 440)
			for b.Loop() {
				b.StopTimer()
				ps, _ := w.next()
				for i := range ps {
					f.Predicted(&ps[i])
				}
				b.StartTimer()
				f.Tick(int64(w.hourly) * hour)
			}
		})
	}
}

// BenchmarkPredicted is a prediction of 1,000 columns taken in.
func BenchmarkPredicted(b *testing.B) {
	w := &world{columns: 998, rows: 1000, learned: 400}
	f := newFleet(b, daily(), w.model())
	ps, _ := w.next()
	for i := 0; b.Loop(); i++ {
		p := ps[i%len(ps)]
		p.ID = fmt.Sprint(i)
		f.Predicted(&p)
	}
}
