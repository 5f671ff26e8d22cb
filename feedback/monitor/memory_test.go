package monitor

import (
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"testing"
)

// TestMemoryIsBounded: 1,000 columns over 400 units, each with as many rows as are
// kept.
func TestMemoryIsBounded(t *testing.T) {
	w := &world{columns: 998, rows: 1, learned: 1000}
	f := newFleet(t, daily(), w.model())
	if bytes := f.seen.most * 760 * 1001 * 8; bytes > keptBytes || bytes < keptBytes/2 {
		t.Fatalf("%d rows of a unit are kept: %d bytes", f.seen.most, bytes)
	}
	before := heap()
	w.next()
	row := w.prediction(0, 0)
	for at := range 400 {
		for i := range f.seen.most {
			row.ID, row.Time = string(rune('a'+at))+string(rune('a'+i)), int64(at)*hour
			f.Predicted(&row)
		}
		f.Tick(int64(at+1) * hour)
	}
	const most = 400.0/760*keptBytes*1.2 + 400*1001*24*1.2
	if used := heap() - before; used > most {
		t.Errorf("%.0f bytes are used, want at most %.0f", used, most)
	}
	if n := len(f.Series("a.x3", 0, math.MaxInt64)); n != 400 {
		t.Errorf("%d units", n)
	}
}

func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// TestEntitiesAreThoseOfKeptRows compares what is counted along with the rows
// themselves, while units come and go.
func TestEntitiesAreThoseOfKeptRows(t *testing.T) {
	w := &world{columns: 1, rows: 3, learned: 1 << 30}
	f := newFleet(t, small(), w.model())
	f.seen.maxUnits = 140
	for at := range 300 {
		ps, _ := w.next()
		for i := range ps {
			ps[i].Entity[0].Expr = fmt.Sprintf("w%d", (at+i)/7)
			f.Predicted(&ps[i])
		}
		f.Tick(int64(w.hourly) * hour)
		counts := map[string]int{}
		for _, u := range f.seen.units {
			for _, r := range u.kept {
				counts[r.entity.Value()]++
			}
		}
		if got, want := f.Entities(1000), slices.Sorted(maps.Keys(counts)); !slices.Equal(got, want) {
			t.Fatalf("hour %d: %v, want %v", at, got, want)
		}
		for name, n := range counts {
			if got := len(f.EntitySeries(name, "a.x0")); got != n {
				t.Fatalf("hour %d: %d points of %s, want %d", at, got, name, n)
			}
		}
	}
	if len(f.EntitySeries("w0", "a.x0")) != 0 || len(f.Entities(5)) != 5 {
		t.Error("what is too old is still there")
	}
}
