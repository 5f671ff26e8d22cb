package trainer

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/trainer/bundle"
)

// A label is what became known of a prediction, for the naive definitions.
type label struct {
	*written
	partition int
	offset    int64
}

// labelsOf are the labels of a world that were known at a time: of each prediction
// the last in the topic, byKnown.
func labelsOf(w *world, known int64) []label {
	last := map[string]label{}
	for p, records := range w.records {
		for i := range records {
			if e := &records[i]; e.Kind == "example" && e.Known <= known {
				last[e.Prediction.ID] = label{e, p, int64(i)}
			}
		}
	}
	var all []label
	for _, l := range last {
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b label) int {
		return cmp.Or(cmp.Compare(a.Known, b.Known), cmp.Compare(a.Prediction.Time, b.Prediction.Time), strings.Compare(a.Prediction.ID, b.Prediction.ID))
	})
	return all
}

// feed gives a book a world's partitions in a random order, and calls look
// between two times at which labels became known.
func feed(b *book, w *world, random *rand.Rand, look func()) {
	next, left := make([]int, len(w.records)), 0
	for _, records := range w.records {
		left += len(records)
	}
	for left > 0 {
		p := random.IntN(len(next))
		n := min(random.IntN(300), len(w.records[p])-next[p])
		for range n {
			b.read(&w.records[p][next[p]].Example, p, int64(next[p]))
			next[p]++
		}
		left -= n
		b.release()
		for b.take() {
			look()
		}
	}
}

// TestBookIsTheNewestLabels compares what a candidate would learn from with the
// definition, for several partitions, read in random orders, with corrections
// and with more examples than are kept.
func TestBookIsTheNewestLabels(t *testing.T) {
	for seed := range uint64(4) {
		m := testModel()
		m.Train.Window, m.Gate.Rows = 300, 20
		partitions := 1 + int(seed%3)
		w := newWorld(t, &m, seed, partitions, 150, planted)
		random := rand.New(rand.NewPCG(seed, 2))
		b := newBook(&m, partitions)
		corrections, looks := 0, 0
		feed(b, w, random, func() {
			if random.IntN(20) > 0 {
				return
			}
			looks++
			want := labelsOf(w, b.known)
			sum := 0.0
			for _, l := range want {
				sum += l.Label
			}
			if b.all != (tally{float64(len(want)), sum}) || b.fresh != len(want) {
				t.Fatalf("seed %d: %v of %v, %d of %d new", seed, b.all, tally{float64(len(want)), sum}, b.fresh, len(want))
			}
			want = want[max(0, len(want)-m.Train.Window):]
			got := b.newest()
			if len(got) != len(want) {
				t.Fatalf("seed %d: %d rows, want %d", seed, len(got), len(want))
			}
			ranges := make([]bundle.Range, partitions)
			for i, l := range want {
				if r := got[i]; r.ID != l.Prediction.ID || r.label != l.Label || r.known != l.Known || r.offset != l.offset || r.partition != l.partition {
					t.Fatalf("seed %d, row %d: %s %v at %d, want %s %v at %d", seed, i, r.ID, r.label, r.known, l.Prediction.ID, l.Label, l.Known)
				}
				if l.Correction {
					corrections++
				}
				g := &ranges[l.partition]
				if g.Partition = l.partition; g.Next == 0 || l.offset < g.First {
					g.First = l.offset
				}
				g.Next = max(g.Next, l.offset+1)
			}
			if got := rangesOf(got, partitions); !slices.Equal(got, ranges) && len(want) == m.Train.Window {
				t.Fatalf("seed %d: ranges %v, want %v", seed, got, ranges)
			}
		})
		if looks < 20 || corrections < 20 || b.before.all.count < 300 {
			t.Errorf("seed %d: %d looks, %d corrections, %v rows forgotten: this tests little", seed, looks, corrections, b.before.all.count)
		}
	}
}

// TestBookWaitsForEveryPartition takes nothing in before all partitions have
// passed it, and nothing of the time that they have passed.
func TestBookWaitsForEveryPartition(t *testing.T) {
	m := testModel()
	b := newBook(&m, 2)
	example := func(id string, known int64) *written {
		e := new(written)
		e.Kind, e.Known, e.Prediction.ID, e.Prediction.Model, e.Prediction.Set = "example", known, id, m.Name, b.set
		e.Prediction.Vector = vector(rand.New(rand.NewPCG(1, 1)), 0)
		return e
	}
	tick := func(known int64) *written {
		e := new(written)
		e.Kind, e.Known = "tick", known
		return e
	}
	for i, step := range []struct {
		partition int
		e         *written
		known     int64
	}{
		{0, example("a", 5), never}, {0, tick(5), never}, {0, example("b", 5), never}, {0, tick(9), never},
		{1, example("c", 7), never}, {1, tick(5), never}, {1, tick(6), 5}, {1, tick(7), 5}, {1, tick(8), 7}, {0, tick(20), 7},
	} {
		b.read(&step.e.Example, step.partition, int64(i))
		b.release()
		for b.take() {
		}
		if b.known != step.known {
			t.Errorf("after step %d up to %d, want %d", i, b.known, step.known)
		}
	}
	if len(b.rows) != 3 {
		t.Errorf("%d rows", len(b.rows))
	}
}

// TestCorrectionMayBeKnownBefore gives a correction that became known before
// what it corrects: the later in the topic wins.
func TestCorrectionMayBeKnownBefore(t *testing.T) {
	m := testModel()
	b := newBook(&m, 1)
	for i, known := range []int64{10, 7} {
		e := new(written)
		e.Kind, e.Known, e.Label, e.Prediction.ID, e.Prediction.Model, e.Prediction.Set = "example", known, float64(i), "a", m.Name, b.set
		e.Prediction.Vector = vector(rand.New(rand.NewPCG(1, 1)), 0)
		b.read(&e.Example, 0, int64(i))
	}
	b.passed[0] = 11
	b.release()
	for b.take() {
	}
	if rows := b.newest(); len(rows) != 1 || rows[0].label != 1 || b.all != (tally{1, 1}) || b.fresh != 1 {
		t.Errorf("%+v, %+v, %d", rows, b.all, b.fresh)
	}
}

// TestCohortIsHonest compares cohorts with the definition: the first predictions
// after the cut-off whose labels are final, whole times, and nothing that became
// known before.
func TestCohortIsHonest(t *testing.T) {
	for seed := range uint64(3) {
		m := testModel()
		m.Train.Window, m.Gate.Rows, m.Gate.Periods = 400, 60, 1
		partitions := 1 + int(seed%3)
		w := newWorld(t, &m, seed, partitions, 200, planted)
		random := rand.New(rand.NewPCG(seed, 3))
		b := newBook(&m, partitions)
		var cutoffs []int64
		cohorts, none := 0, 0
		feed(b, w, random, func() {
			if random.IntN(60) == 0 {
				cutoffs = append(cutoffs, b.known)
				b.hold = min(b.hold, b.known)
			}
			if len(cutoffs) == 0 || random.IntN(10) > 0 {
				return
			}
			after := cutoffs[random.IntN(len(cutoffs))]
			got, lost := b.cohort(after)
			if lost {
				t.Fatalf("seed %d: rows after %d are lost", seed, after)
			}
			want := naiveCohort(w, b, after)
			if !slices.EqualFunc(got, want, func(r *row, l label) bool { return r.ID == l.Prediction.ID && r.label == l.Label }) {
				t.Fatalf("seed %d: %d rows after %d, want %d", seed, len(got), after, len(want))
			}
			if got == nil {
				none++
				return
			}
			cohorts++
			for _, r := range got {
				if r.known <= after || r.Time <= after {
					t.Fatalf("seed %d: %s of %d, known at %d, is in the cohort after %d", seed, r.ID, r.Time, r.known, after)
				}
			}
		})
		if cohorts < 10 || none < 1 {
			t.Errorf("seed %d: %d cohorts, %d times none: this tests little", seed, cohorts, none)
		}
	}
}

// naiveCohort goes by the final labels, which the world knows.
func naiveCohort(w *world, b *book, after int64) []label {
	until := slices.Min(b.passed)
	for _, l := range labelsOf(w, until-1) { // those that are not taken in yet
		if l.Known > b.known {
			until = min(until, l.Known)
		}
	}
	var all []label
	for _, l := range labelsOf(w, 1<<62) {
		if l.Prediction.Time > after && l.Prediction.Time+7*hour < until {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(a, b label) int {
		return cmp.Or(cmp.Compare(a.Prediction.Time, b.Prediction.Time), strings.Compare(a.Prediction.ID, b.Prediction.ID))
	})
	times := make([]int64, len(all))
	for i := range all {
		times[i] = all[i].Prediction.Time
	}
	n, ok := b.model.Gate.Enough(times, b.model.Label.Horizon) // which has a definition of its own to be held against
	if !ok {
		return nil
	}
	return all[:n]
}

// TestLostCohortIsSaid forgets rows that a candidate waits for.
func TestLostCohortIsSaid(t *testing.T) {
	m := testModel()
	m.Train.Window, m.Gate.Rows, m.Gate.Periods = 200, 20, 1
	w := newWorld(t, &m, 1, 1, 100, planted)
	b := newBook(&m, 1)
	feed(b, w, rand.New(rand.NewPCG(1, 3)), func() {})
	if _, lost := b.cohort(10 * hour); !lost {
		t.Error("nothing is lost")
	}
	m.Label.Horizon = 3600e9 // so that what is held makes blocks enough
	if rows, lost := b.cohort(b.forgotten); lost || len(rows) < 20 {
		t.Errorf("%d rows after what is forgotten, lost %v", len(rows), lost)
	}
}

// TestFreshSinceALaterRun counts, when another trainer has made a run, the
// predictions that were answered first after it.
func TestFreshSinceALaterRun(t *testing.T) {
	m := testModel()
	w := newWorld(t, &m, 14, 2, 100, planted)
	b := newBook(&m, 2)
	feed(b, w, rand.New(rand.NewPCG(1, 7)), func() {})
	const run = 50 * hour
	first := map[string]int64{}
	for _, records := range w.records {
		for i := range records {
			e := &records[i]
			if at, ok := first[e.Prediction.ID]; e.Kind == "example" && e.Known <= b.known && (!ok || e.Known < at) {
				first[e.Prediction.ID] = e.Known
			}
		}
	}
	want, corrections := 0, 0
	for _, at := range first {
		if at > run {
			want++
		}
	}
	for _, r := range b.rows {
		if r.correction {
			corrections++
		}
	}
	b.after([]pastRun{{known: run}, {known: run / 2}})
	if b.fresh != want || corrections < 20 {
		t.Errorf("%d are new, want %d; %d corrections", b.fresh, want, corrections)
	}
}

// TestBooksAreBounded asks for more rows than are held, and has a candidate wait
// for all of them.
func TestBooksAreBounded(t *testing.T) {
	for _, c := range []struct{ window, gate int }{{maxWindow, 1000}, {1000, maxGateRows}, {1000, 10 * maxWindow}, {maxWindow/2 + 1, 1000}} {
		m := testModel()
		m.Train.Window, m.Gate.Rows = c.window, c.gate
		if b := newBook(&m, 1); b.limit < c.window || b.limit > maxWindow || b.full <= b.limit || b.full > maxRows {
			t.Errorf("%+v: %d rows are kept, and there may be %d", c, b.limit, b.full)
		}
	}
	m := testModel()
	b := newBook(&m, 1)
	b.hold = never
	b.rows = slices.Repeat([]*row{{known: 1}}, maxRows)
	b.forget()
	if n := len(b.rows); n != maxWindow || b.full <= n || b.full > maxRows {
		t.Errorf("%d rows are kept, and there may be %d", n, b.full)
	}
}

// TestGateRowsThatNoBookHolds refuses them, and what else is wrong with a gate.
func TestGateRowsThatNoBookHolds(t *testing.T) {
	m := testModel()
	m.Gate = m.Gate.WithDefaults()
	for rows, want := range map[int]string{
		maxGateRows: "", maxGateRows + 1: "rows: 1000001: give at most 1000000", -1: "rows: -1: give 1 to",
	} {
		m.Gate.Rows = rows
		if err := m.CheckGate(); (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%d rows: %v, want %q", rows, err, want)
		}
	}
}
