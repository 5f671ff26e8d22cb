package trainer

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestRestartsChangeNothing cuts a replay elsewhere and starts it again now and
// then: the same runs, versions, bundles and verdicts come of it.
func TestRestartsChangeNothing(t *testing.T) {
	m := testModel()
	w := newWorld(t, &m, 2, 3, 280, planted)
	want := newRig(t, m, 3)
	want.replay(w, want.loop(), 2)
	if n := len(want.runs()); n < 3 {
		t.Fatalf("%d runs", n)
	}
	for seed := range uint64(3) {
		random := rand.New(rand.NewPCG(seed, 1))
		r := newRig(t, m, 3)
		l := r.loop()
		for h := 0; h < w.hours; {
			h += 1 + random.IntN(120)
			r.write(w, h)
			if random.IntN(3) == 0 {
				l.Close()
				l = r.loop()
			}
			if random.IntN(3) > 0 {
				r.step(l)
			}
		}
		r.step(l)
		if got := r.outcome(); !slices.Equal(got, want.outcome()) {
			t.Fatalf("seed %d:\n%.2000q\nwant\n%.2000q", seed, got, want.outcome())
		}
	}
}

// TestCandidatesAreMadeInTime counts the examples between two candidates, by the
// definition.
func TestCandidatesAreMadeInTime(t *testing.T) {
	for _, atMost := range []int{1, 2} {
		m := testModel()
		m.Train.AtMost, m.Train.Per = atMost, 200*time.Hour
		r := newRig(t, m, 2)
		w := newWorld(t, &m, 3, 2, 420, planted)
		r.write(w, w.hours)
		r.step(r.loop())
		var got []int64
		for _, run := range r.runs() {
			var s spec
			if err := json.Unmarshal(run.Spec, &s); err != nil {
				t.Fatal(err)
			}
			got = append(got, s.Known)
		}
		if want := dueTimes(r, &m); !slices.Equal(got, want) || len(want) < 2 {
			t.Errorf("at most %d: %v, want %v", atMost, got, want)
		}
	}
}

// TestCandidatesThatAreAskedFor: what is asked for at a time is made from then on,
// as soon as the schedule leaves room, and once.
func TestCandidatesThatAreAskedFor(t *testing.T) {
	m := testModel()
	m.Train.AtMost, m.Train.Per = 1, 20*time.Hour
	per := m.Train.Per.Microseconds()
	learned := func(asked ...int64) (known []int64) {
		r := newRig(t, m, 2)
		w := newWorld(t, &m, 3, 2, 420, planted)
		for _, at := range asked {
			if err := r.registry.Ask(t.Context(), m.Name, at, "monitor", "drift"); err != nil {
				t.Fatal(err)
			}
		}
		r.write(w, w.hours)
		l := r.loop()
		r.step(l)
		r.step(l)
		for _, run := range r.runs() {
			var s spec
			if err := json.Unmarshal(run.Spec, &s); err != nil {
				t.Fatal(err)
			}
			known = append(known, s.Known)
		}
		return known
	}
	due := learned()
	if len(due) < 2 || due[1]-due[0] < per+4*time.Hour.Microseconds() {
		t.Fatalf("runs at %v leave no room for one between them", due)
	}
	if got := learned(due[0]); !slices.Equal(got, due) {
		t.Errorf("runs at %v, want %v: the first has learned from what is asked for", got, due)
	}
	for _, at := range []int64{due[0] + 1, due[0] + per + 2*time.Hour.Microseconds()} {
		got, want := learned(at), max(at, due[0]+per)
		if len(got) < 2 || got[0] != due[0] || got[1] < want || got[1] > want+2*time.Hour.Microseconds() {
			t.Errorf("asked for at %d: runs at %v, want the second at %d", at, got, want)
		}
	}
}

// dueTimes are the times at which candidates are due.
func dueTimes(r *rig, m *Model) (due []int64) {
	var known []int64
	had := map[string]int64{}
	until := least(r)
	for _, e := range r.collect() { // of a prediction, the first label that became known
		if at, ok := had[e.Prediction.ID]; e.Kind == "example" && e.Known < until && (!ok || e.Known < at) {
			had[e.Prediction.ID] = e.Known
		}
	}
	for _, at := range had {
		known = append(known, at)
	}
	slices.Sort(known)
	fresh := 0
	for i, at := range known {
		fresh++
		if i+1 < len(known) && known[i+1] == at {
			continue
		}
		recent := 0
		for _, d := range due {
			if at-d < m.Train.Per.Microseconds() {
				recent++
			}
		}
		if fresh >= m.Train.Every && recent < m.Train.AtMost {
			due, fresh = append(due, at), 0
		}
	}
	return due
}

// least is what all partitions have passed.
func least(r *rig) int64 {
	passed := make([]int64, len(r.sent))
	for _, e := range r.collect() {
		if e.Kind == "tick" {
			passed[e.Partition] = e.Known
		}
	}
	return slices.Min(passed)
}
