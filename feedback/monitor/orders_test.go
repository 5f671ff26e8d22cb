package monitor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/millrace/millrace/feedback"
)

// told is all that a fleet says.
func everything(f *Fleet, alarms map[string]Alarm) string {
	s := fmt.Sprintln(f.Counts(), alarms, f.Open(), f.Readings(), f.SliceNames(), f.Entities(10), f.Calibration(1), f.Calibration(0))
	for _, slice := range f.SliceNames() {
		s += fmt.Sprintln(f.Quality(slice))
	}
	for _, c := range f.Columns() {
		r, _ := f.Reading(DriftMonitor, c.Name)
		s += fmt.Sprintln(c.Name, r, f.Series(c.Name, 0, math.MaxInt64), f.EntitySeries("w1", c.Name))
	}
	return s
}

// TestOrderAndBatchesDoNotMatter gives the same records in other orders, some
// twice, with corrections anywhere, and with looks that come late or never until
// the end.
func TestOrderAndBatchesDoNotMatter(t *testing.T) {
	for seed := range uint64(3) {
		var ps []feedback.Prediction
		var es []feedback.Example
		w := gaps(seed)
		w.change = shift(100, 0, 3)
		for range 150 {
			p, e := w.next()
			ps, es = append(ps, p...), append(es, e...)
		}
		for i := 0; i < 150*4; i += 7 {
			if i < len(es) {
				e := es[i]
				e.Seq, e.Label, e.Correction, e.Known = e.Seq+1, 1-e.Label, true, e.Known+hour/2
				es = append(es, e)
			}
		}
		run := func(every int64, shuffle func([]feedback.Prediction, []feedback.Example)) string {
			f := newFleet(t, small(), w.model())
			f.Hurry(200)
			p, e := slices.Clone(ps), slices.Clone(es)
			shuffle(p, e)
			alarms := make(map[string]Alarm)
			for now := every; now-every < 160*hour; now += every {
				for i := range p {
					if p[i].Time >= now-every && p[i].Time < now {
						f.Predicted(&p[i])
					}
				}
				for i := range e {
					if e[i].Known > now-every && e[i].Known <= now {
						f.Known(&e[i])
					}
				}
				for _, a := range append(f.Tick(now), f.Passed(now)...) {
					alarms[a.ID] = a
				}
			}
			return everything(f, alarms)
		}
		want := run(hour, func([]feedback.Prediction, []feedback.Example) {})
		rng := rand.New(rand.NewPCG(seed, 5))
		for _, every := range []int64{hour / 3, 7 * hour, 40 * hour, 160 * hour} {
			got := run(every, func(p []feedback.Prediction, e []feedback.Example) {
				rng.Shuffle(len(p), reflect.Swapper(p))
				rng.Shuffle(len(e), reflect.Swapper(e))
			})
			if got != want {
				t.Fatalf("seed %d, looks every %d: \n%.3000s\nwant\n%.3000s", seed, every, got, want)
			}
		}
	}
}

// TestRepeatsAndLateRows: a prediction that comes twice counts once, and one whose
// unit was looked at is late and in no monitor.
func TestRepeatsAndLateRows(t *testing.T) {
	w := gaps(1)
	f, g := newFleet(t, small(), w.model()), newFleet(t, small(), w.model())
	for range 20 {
		ps, _ := w.next()
		for i := range ps {
			f.Predicted(&ps[i])
			g.Predicted(&ps[i])
			g.Predicted(&ps[i])
		}
		now := int64(w.hourly) * hour
		f.Tick(now)
		g.Tick(now)
		for i := range ps {
			p := ps[i]
			p.ID += "-late"
			g.Predicted(&p)
		}
	}
	if n := f.Counts().Predictions; g.Counts().Late != n || g.Counts().Predictions != 2*n || n == 0 {
		t.Errorf("%+v, and of those alone %+v", g.Counts(), f.Counts())
	}
	if a, b := fmt.Sprint(f.Series("a.x0", 0, math.MaxInt64)), fmt.Sprint(g.Series("a.x0", 0, math.MaxInt64)); a != b {
		t.Errorf("%s\nwant\n%s", b, a)
	}
	p, _ := w.next()
	p[0].Set = "other"
	g.Predicted(&p[0])
	if g.Counts().Foreign != 1 || g.Counts().Predictions != 2*f.Counts().Predictions {
		t.Errorf("%+v", g.Counts())
	}
}

// TestKeptRowsAreBounded: of a unit with more rows than are kept, counts and means
// are of all, and the kept ones do not hang on the order.
func TestKeptRowsAreBounded(t *testing.T) {
	w := &world{columns: 1, rows: 3000, learned: 100}
	ps, _ := w.next()
	var want string
	for i := range 3 {
		f := newFleet(t, small(), w.model())
		rand.New(rand.NewPCG(uint64(i), 0)).Shuffle(len(ps), reflect.Swapper(ps))
		for i := range ps {
			f.Predicted(&ps[i])
		}
		f.Tick(hour)
		if p := f.Series("a.x0", 0, 2*hour); len(p) != 1 || p[0].Rows != 3000 {
			t.Fatalf("%+v", p)
		}
		if n := len(f.seen.units[0].kept); n != keptRows {
			t.Fatalf("%d rows are kept, want %d", n, keptRows)
		}
		got := fmt.Sprint(f.EntitySeries("w0", "a.x0"), f.Series("a.x0", 0, 2*hour))
		if i > 0 && got != want {
			t.Fatal("what is kept hangs on the order")
		}
		want = got
	}
}

// shift moves a column by some from an hour on.
func shift(from, which int, by float64) func(hour, column int, x float64) float64 {
	return func(hour, column int, x float64) float64 {
		if hour >= from && column == which {
			return x + by
		}
		return x
	}
}
