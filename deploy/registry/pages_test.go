package registry

import (
	"reflect"
	"slices"
	"testing"
)

// What pages are shown is what the whole lists have.
func TestPagesShowWhatTheListsHave(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	if seq, err := w.Newest(ctx); seq != 0 || err != nil {
		t.Fatalf("Newest of an empty registry: %d, %v", seq, err)
	}
	for range 7 {
		w.promote(w.candidate())
	}
	w.approve(2)
	w.must(w.Reject(ctx, model, 3, "bob", "no"))
	other, v := trained(99)
	other.Model = "other"
	_, err := w.AddRun(ctx, other, v)
	w.must(err)

	for _, f := range []EventFilter{
		{}, {Limit: 3}, {Model: model}, {Model: "other"}, {Model: "none"}, {Version: 3}, {Model: model, Version: 2, Limit: 2},
		{What: []string{"approved"}}, {What: []string{"approved", "rejected"}, Model: model}, {Below: 9}, {Below: 9, Model: model, Limit: 4},
	} {
		want := []Event{}
		all, err := w.History(ctx, f.Model)
		w.must(err)
		for _, e := range slices.Backward(all) {
			if (f.Version == 0 || e.Version == f.Version) && (len(f.What) == 0 || slices.Contains(f.What, e.What)) && (f.Below == 0 || e.Seq < f.Below) && (f.Limit == 0 || len(want) < f.Limit) {
				want = append(want, e)
			}
		}
		got, err := w.Events(ctx, f)
		w.must(err)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("Events(%+v):\n%+v\nwant\n%+v", f, got, want)
		}
	}
	all, err := w.History(ctx, "")
	w.must(err)
	if seq, err := w.Newest(ctx); seq != all[len(all)-1].Seq || err != nil {
		t.Errorf("Newest: %d, %v; the last event has %d", seq, err, all[len(all)-1].Seq)
	}

	versions, err := w.Versions(ctx, "")
	w.must(err)
	states := map[string]map[State]int{}
	var below []Version
	for _, v := range versions {
		if states[v.Model] == nil {
			states[v.Model] = map[State]int{}
		}
		states[v.Model][v.State]++
		if v.Model == model && v.Number < 6 && len(below) < 3 {
			below = append(below, v)
		}
	}
	if got, err := w.States(ctx); err != nil || !reflect.DeepEqual(got, states) {
		t.Errorf("States: %v, %v; want %v", got, err, states)
	}
	if got, err := w.VersionsBelow(ctx, model, 6, 3); err != nil || !reflect.DeepEqual(got, below) {
		t.Errorf("VersionsBelow(6, 3): %v, %v; want %v", got, err, below)
	}
	if got, err := w.VersionsBelow(ctx, model, 0, 0); err != nil || len(got) != 7 {
		t.Errorf("VersionsBelow(0, 0): %d, %v; want all 7", len(got), err)
	}
}

func TestRolloutOf(t *testing.T) {
	w := newWorld(t)
	n := w.approve(w.promote(w.candidate()))
	if _, ok, err := w.RolloutOf(t.Context(), model, n); ok || err != nil {
		t.Errorf("before it began: %v, %v", ok, err)
	}
	began, err := w.Begin(t.Context(), model, n, nil)
	w.must(err)
	if ro, ok, err := w.RolloutOf(t.Context(), model, n); !ok || err != nil || !reflect.DeepEqual(ro, began) {
		t.Errorf("RolloutOf: %+v, %v, %v; want %+v", ro, ok, err, began)
	}
}
