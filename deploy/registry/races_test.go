package registry

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// race runs each call at once, from a Registry of its own on the same file, and
// returns their errors.
func race(t *testing.T, path string, calls ...func(*Registry) error) []error {
	t.Helper()
	handles := make([]*Registry, len(calls))
	for i := range handles {
		handles[i] = open(t, path)
	}
	errs := make([]error, len(calls))
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i, call := range calls {
		wg.Go(func() {
			<-start
			errs[i] = call(handles[i])
		})
	}
	close(start)
	wg.Wait()
	for _, r := range handles {
		r.Close()
	}
	return errs
}

// winners counts the calls that returned nil; the others must have lost.
func winners(t *testing.T, errs []error, lost error) int {
	t.Helper()
	n := 0
	for _, err := range errs {
		if err == nil {
			n++
		} else if !errors.Is(err, lost) {
			t.Errorf("error %v, want %v", err, lost)
		}
	}
	return n
}

func TestOfSeveralReviewersOneIsFirst(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	for range 5 {
		number := w.promote(w.candidate())
		var calls []func(*Registry) error
		for i := range 4 {
			who := fmt.Sprintf("person%d", i)
			calls = append(calls, func(r *Registry) error { return r.Approve(ctx, model, number, who, who) })
		}
		if n := winners(t, race(t, w.path, calls...), ErrConflict); n != 1 {
			t.Errorf("%d have approved", n)
		}
		history, err := w.History(ctx, model)
		w.must(err)
		approvals := 0
		for _, e := range history {
			if e.Version == number && e.What == string(Approved) {
				approvals++
				if v, err := w.Version(ctx, model, number); err != nil || v.Reviewer != e.Who || v.Comment != e.Who {
					t.Errorf("version %+v, and history %+v (%v)", v, e, err)
				}
			}
		}
		if approvals != 1 {
			t.Errorf("%d approvals in the history", approvals)
		}
		w.check()
	}
}

func TestOfSeveralDeployersOneBeginsAnother(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	a, b := w.approve(w.promote(w.candidate())), w.approve(w.promote(w.candidate()))
	begin := func(number int) func(*Registry) error {
		return func(r *Registry) error { return second(r.Begin(ctx, model, number, nil)) }
	}
	// Beginning the same one is what a deployer does that was killed, and fine.
	if n := winners(t, race(t, w.path, begin(a), begin(b), begin(a), begin(b)), ErrConflict); n != 2 {
		t.Errorf("%d have begun, want the two of one version", n)
	}
	w.check()
	ro, _, err := w.Rollout(ctx, model)
	w.must(err)
	do := func(r *Registry) error { return r.Switch(ctx, ro.ID, nil) }
	if n := winners(t, race(t, w.path, do, do, do), nil); n != 3 {
		t.Errorf("%d have switched", n)
	}
	history, err := w.History(ctx, model)
	w.must(err)
	champions := 0
	for _, e := range history {
		if e.What == string(Champion) {
			champions++
		}
	}
	if champions != 1 {
		t.Errorf("the history has %d champions", champions)
	}
	w.check()
}

// TestAnApprovalMeetsASwitch: whichever is first, nothing approved is left that
// was judged against another champion.
func TestAnApprovalMeetsASwitch(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	for range 5 {
		_, id := w.inShadow()
		late := w.promote(w.candidate())
		errs := race(t, w.path,
			func(r *Registry) error { return r.Switch(ctx, id, nil) },
			func(r *Registry) error { return r.Approve(ctx, model, late, "ben", "") })
		if errs[0] != nil || errs[1] != nil && !errors.Is(errs[1], ErrConflict) {
			t.Errorf("switch: %v, approve: %v", errs[0], errs[1])
		}
		w.check()
		if v, err := w.Version(ctx, model, late); err != nil || v.State != Superseded {
			t.Errorf("it is %s (%v)", v.State, err)
		}
		w.must(w.Finish(ctx, id, nil))
	}
}

func TestOfSeveralTrainersOneAddsARun(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	add := func(r *Registry) error {
		run, v := trained(1)
		got, err := r.AddRun(ctx, run, v)
		if got.ID != 1 || got.Version != 1 {
			t.Errorf("run %d, version %d", got.ID, got.Version)
		}
		return err
	}
	if n := winners(t, race(t, w.path, add, add, add), ErrConflict); n != 1 {
		t.Errorf("%d have added it", n)
	}
}

// TestReadersSeeWholeChanges reads while champions change: each answer must be
// one that was true between two calls.
func TestReadersSeeWholeChanges(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	other := open(t, w.path)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for _, r := range []*Registry{w.Registry, other} {
		wg.Go(func() {
			last, reads := Serving{}, 0
			for ; !stop.Load() || reads == 0; reads++ {
				s, err := r.Serving(ctx, model)
				if err != nil {
					t.Error(err)
					return
				}
				if s.Revision < last.Revision || s.Revision == last.Revision && s != last && reads > 0 {
					t.Errorf("serving %+v after %+v", s, last)
				}
				// A candidate is in shadow, or the champion before, or nothing is.
				if s.Shadow == s.Champion || s.Shadow > s.Champion+1 || s.Shadow != NoVersion && s.Shadow < s.Champion-1 {
					t.Errorf("serving %+v", s)
				}
				last = s
			}
		})
	}
	for range 4 {
		w.done()
	}
	stop.Store(true)
	wg.Wait()
}

// TestRandomLives does what comes to a seeded mind, and checks after each call
// what must hold between any two. Now and then the file is opened anew.
func TestRandomLives(t *testing.T) {
	names := slices.Sorted(maps.Keys(calls))
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			w := newWorld(t)
			for range 100 {
				switch k := rng.IntN(40); {
				case k == 0:
					w.must(w.Close())
					w.Registry = open(t, w.path)
				case k < 20:
					w.forward()
				default:
					w.any(rng, names[rng.IntN(len(names))])
				}
				w.check()
			}
			history, err := w.History(t.Context(), model)
			w.must(err)
			reached := map[State]bool{}
			for _, e := range history {
				reached[State(e.What)] = true
			}
			if !reached[Champion] || !reached[Superseded] || !reached[RolledBack] || !reached[Broken] {
				t.Errorf("a dull life: %v", reached)
			}
		})
	}
}

// forward brings what is farthest on a step on.
func (w *world) forward() {
	ctx := w.t.Context()
	ro, ok, err := w.Rollout(ctx, model)
	w.must(err)
	_, _, _, asked, err := w.RollbackRequested(ctx, model)
	w.must(err)
	waiting, err := w.VersionsIn(ctx, model, Review, Approved)
	w.must(err)
	switch {
	case ok && asked:
		w.must(w.Undo(ctx, ro.ID, "asked", nil))
	case ok && ro.Phase == InShadow:
		w.must(w.Switch(ctx, ro.ID, nil))
	case ok:
		w.must(w.Finish(ctx, ro.ID, nil))
	case asked || len(waiting) == 0:
		w.promote(w.candidate())
	case waiting[0].State == Review:
		w.approve(waiting[0].Number)
	default:
		w.begin(waiting[0].Number)
	}
}

// any makes a call about some recent version and rollout, or adds a candidate.
func (w *world) any(rng *rand.Rand, name string) {
	if rng.IntN(4) == 0 {
		w.candidate()
	}
	ros, err := w.Rollouts(w.t.Context(), model)
	w.must(err)
	number, id := max(1, w.runs-rng.IntN(5)), max(1, len(ros)-rng.IntN(2))
	err = calls[name](w, number, int64(id))
	if err != nil && !errors.Is(err, ErrConflict) && !errors.Is(err, ErrRefused) && !errors.Is(err, ErrNotFound) {
		w.t.Fatalf("%s of version %d, rollout %d: %v", name, number, id, err)
	}
}
