package registry

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestARunAndItsVersionAreKeptWhole(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	run, v := trained(1)
	run.Anomalies = json.RawMessage(`[ "drift" ]`)
	run.Began = run.Began.In(time.FixedZone("", 3600)).Add(time.Microsecond)
	added, err := w.AddRun(ctx, run, v)
	w.must(err)
	run.ID, run.Version, run.Began = 1, 1, run.Began.UTC()
	kept, err := w.Run(ctx, 1)
	w.must(err)
	if !reflect.DeepEqual(added, run) || !reflect.DeepEqual(kept, run) {
		t.Errorf("added %+v, kept %+v, want %+v", added, kept, run)
	}
	got, err := w.Version(ctx, model, 1)
	w.must(err)
	want := Version{Model: model, Number: 1, Bundle: "bundle1", Run: 1, State: Judging, Author: "trainer", Created: got.Created, Cutoff: 1, Baseline: NoVersion, Reasons: []string{}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("version %+v, want %+v", got, want)
	}

	j := Judgement{Verdict: promote, Reasons: []string{"a", "b"}, Report: json.RawMessage(`{"rows": 1000}`), At: 99}
	w.must(w.Judge(ctx, model, 1, j))
	w.must(w.Approve(ctx, model, 1, "anna", "looks\nright"))
	got, err = w.Version(ctx, model, 1)
	w.must(err)
	want.State, want.Baseline, want.Verdict, want.Reasons, want.Report, want.Judged = Approved, 0, promote, j.Reasons, j.Report, 99
	want.Reviewer, want.Comment, want.Reviewed = "anna", "looks\nright", got.Reviewed
	if !reflect.DeepEqual(got, want) || got.Reviewed.Before(got.Created) {
		t.Errorf("version %+v, want %+v", got, want)
	}
}

func TestARunOfTheSameSpecIsNotAddedAgain(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.candidate()
	run, v := trained(1)
	again, err := w.AddRun(ctx, run, v)
	if !errors.Is(err, ErrConflict) || again.ID != 1 || again.Version != 1 {
		t.Errorf("run %d, version %d, error %v", again.ID, again.Version, err)
	}
	run.Model = "other"
	if other, err := w.AddRun(ctx, run, v); err != nil || other.Version != 1 {
		t.Errorf("another model's run: version %d, error %v", other.Version, err)
	}
	stopped := Run{Model: model, Status: Stopped, Began: run.Began, Ended: run.Ended, Spec: json.RawMessage(`{}`), Anomalies: json.RawMessage(`[1]`)}
	if got, err := w.AddRun(ctx, stopped, nil); err != nil || got.Version != 0 {
		t.Errorf("a run that stopped: version %d, error %v", got.Version, err)
	}
	if n := w.candidate(); n != 2 {
		t.Errorf("the next version has number %d, want 2", n)
	}
}

func TestListsAreNewestFirst(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.now = time.Now().Truncate(time.Hour).Local // all at the same time
	for range 3 {
		w.candidate()
	}
	w.promote(2)
	runs, err := w.Runs(ctx, model)
	w.must(err)
	versions, err := w.Versions(ctx, "")
	w.must(err)
	for i := range 3 {
		if len(runs) != 3 || runs[i].ID != int64(3-i) || len(versions) != 3 || versions[i].Number != 3-i {
			t.Fatalf("runs %+v, versions %+v", runs, versions)
		}
	}
	in, err := w.VersionsIn(ctx, model, Judging, Review)
	if err != nil || len(in) != 3 || in[0].Number != 1 || in[1].State != Review {
		t.Errorf("versions in judging or review: %+v, %v", in, err)
	}
	if none, err := w.Runs(ctx, "other"); err != nil || none == nil || len(none) != 0 {
		t.Errorf("runs of another model: %+v, %v", none, err)
	}
}

// TestTheChampionMovesUnderOthers has each way in which a champion changes meet
// versions that were judged against the one before.
func TestTheChampionMovesUnderOthers(t *testing.T) {
	for _, c := range []struct {
		name string
		move func(w *world, id int64) // the champion of rollout id goes
	}{
		{"undone", func(w *world, id int64) { w.must(w.Undo(t.Context(), id, "worse", nil)) }},
		{"broken", func(w *world, id int64) { w.must(w.Break(t.Context(), model, w.champion(), "checksum")) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, ctx := newWorld(t), t.Context()
			_, id := w.done()
			young, judging := w.promote(w.candidate()), w.candidate()
			shadow, later := w.inShadow()
			approved := w.approve(w.promote(w.candidate()))
			c.move(w, id)
			w.check()
			for number, want := range map[int]State{young: Superseded, judging: Judging, shadow: Superseded, approved: Superseded} {
				if v, err := w.Version(ctx, model, number); err != nil || v.State != want {
					t.Errorf("version %d is %s, want %s (%v)", number, v.State, want, err)
				}
			}
			before := w.everything()
			if err := w.Switch(ctx, later, nil); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "the base rate is the champion") {
				t.Errorf("switch after the champion moved: %v", err)
			}
			if err := w.Approve(ctx, model, young, "ben", ""); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "superseded, by deployer at") {
				t.Errorf("approval after the champion moved: %v", err)
			}
			if !reflect.DeepEqual(before, w.everything()) {
				t.Error("calls that lost have changed something")
			}
		})
	}
}

// TestASwitchGivesUpWhatIsOlder has candidates wait to be judged when another
// becomes the champion: those that learned from less than it are given up.
func TestASwitchGivesUpWhatIsOlder(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	older := w.candidate()
	number, id := w.inShadow()
	younger := w.candidate()
	w.must(w.Switch(ctx, id, nil))
	w.check()
	for n, want := range map[int]State{older: Superseded, number: Champion, younger: Judging} {
		if v, err := w.Version(ctx, model, n); err != nil || v.State != want {
			t.Errorf("version %d is %s, want %s (%v)", n, v.State, want, err)
		}
	}
}

// TestJudgementsAreNotForgotten judges more versions than a list has.
func TestJudgementsAreNotForgotten(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	if got, err := w.JudgedAt(ctx, model); err != nil || len(got) != 0 {
		t.Errorf("%v, %v where nothing was judged", got, err)
	}
	w.promote(w.candidate())
	w.must(w.Judge(ctx, model, w.candidate(), Judgement{Verdict: inconclusive})) // was given up
	w.candidate()
	if _, err := w.writes.ExecContext(ctx, `WITH RECURSIVE n(i) AS (SELECT 4 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		INSERT INTO versions (model, number, bundle, run, state, author, created, cutoff, verdict, judged)
		SELECT ?, i, 'b', 1, 'closed', 'trainer', i, 0, 'reject', 1000 - i FROM n`, MaxList+100, model); err != nil {
		t.Fatal(err)
	}
	got, err := w.JudgedAt(ctx, model)
	if err != nil || len(got) != MaxList+98-1 || !slices.IsSorted(got) || !slices.Contains(got, 7) {
		t.Errorf("%d judgements, %v", len(got), err)
	}
	if other, err := w.JudgedAt(ctx, "other"); err != nil || len(other) != 0 {
		t.Errorf("of another model: %v, %v", other, err)
	}
}

// TestLostSwapsAreNoticed changes the champion behind the registry's back, as no
// call does: what counts is the swap, and not that others keep the rules.
func TestLostSwapsAreNoticed(t *testing.T) {
	for _, c := range []struct {
		name  string
		begin func(w *world) (int, int64)
		call  string
		want  error
		text  string
		state State
	}{
		{"approve", situations["review"], "approve", ErrRefused, "it was judged against version 1, and now version 77 serves", Superseded},
		{"begin", situations["approved"], "begin", ErrRefused, "it was judged against version 1, and now version 77 serves", Superseded},
		{"switch", situations["shadow"], "switch", ErrConflict, "it began beside version 1, and now version 77 serves", Superseded},
		{"undo", situations["done"], "undo", ErrConflict, "it is in state champion", Champion},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, ctx := newWorld(t), t.Context()
			w.done()
			number, id := c.begin(w)
			if _, err := w.writes.ExecContext(ctx, `UPDATE serving SET champion = 77`); err != nil {
				t.Fatal(err)
			}
			err := calls[c.call](w, number, id)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %v with %q", err, c.want, c.text)
			}
			if v, err := w.Version(ctx, model, number); err != nil || v.State != c.state {
				t.Errorf("it is %s, want %s (%v)", v.State, c.state, err)
			}
			if got := w.champion(); got != 77 {
				t.Errorf("champion %d, want 77", got)
			}
		})
	}
}

func TestAJudgementAgainstAnEarlierChampion(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.done()
	a, b := w.candidate(), w.candidate()
	w.must(w.Judge(ctx, model, a, Judgement{Verdict: promote, Baseline: 0}))
	w.must(w.Judge(ctx, model, b, Judgement{Verdict: reject, Baseline: 0}))
	w.check()
	for number, want := range map[int]State{a: Superseded, b: Closed} {
		if v, err := w.Version(ctx, model, number); err != nil || v.State != want || v.Verdict == "" {
			t.Errorf("version %d is %s with verdict %q, want %s (%v)", number, v.State, v.Verdict, want, err)
		}
	}
}

// TestARollbackComesFirst: once a person has asked, nothing goes forward.
func TestARollbackComesFirst(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	first, id := w.done()
	approved := w.approve(w.promote(w.candidate()))
	if _, _, _, ok, err := w.RollbackRequested(ctx, model); ok || err != nil {
		t.Errorf("somebody asked: %t, %v", ok, err)
	}
	w.must(w.RequestRollback(ctx, model, "ben", "complaints"))
	ro, who, why, ok, err := w.RollbackRequested(ctx, model)
	if err != nil || !ok || ro.ID != id || ro.Version != first || who != "ben" || why != "complaints" {
		t.Errorf("asked: %+v, %q, %q, %t, %v", ro, who, why, ok, err)
	}
	if err := w.RequestRollback(ctx, model, "anna", "too"); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "ben has asked for it already (complaints)") {
		t.Errorf("asked again: %v", err)
	}
	if _, err := w.Begin(ctx, model, approved, nil); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "ben has asked to take version 1 back") {
		t.Errorf("begun: %v", err)
	}
	w.must(w.Undo(ctx, id, "ben: complaints", nil))
	if _, _, _, ok, err := w.RollbackRequested(ctx, model); ok || err != nil {
		t.Errorf("still asked: %t, %v", ok, err)
	}

	_, id = w.inShadow() // one asks while it is in shadow
	w.must(w.RequestRollback(ctx, model, "ben", ""))
	if err := w.Switch(ctx, id, nil); !errors.Is(err, ErrConflict) {
		t.Errorf("switched: %v", err)
	}
	w.check()
	w.must(w.Undo(ctx, id, "ben", nil))
	if got := w.champion(); got != BaseRateVersion {
		t.Errorf("champion %d, want the base rate", got)
	}
}

// TestChampionsGoBackOneByOne undoes three rollouts that were done.
func TestChampionsGoBackOneByOne(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	for range 3 {
		w.done()
	}
	for want := 2; want >= 0; want-- {
		w.must(w.RequestRollback(ctx, model, "ben", ""))
		ro, _, _, _, err := w.RollbackRequested(ctx, model)
		w.must(err)
		w.must(w.Undo(ctx, ro.ID, "ben", json.RawMessage(`{"seen":1}`)))
		w.check()
		if got := w.champion(); got != want {
			t.Errorf("champion %d, want %d", got, want)
		}
	}
	if err := w.RequestRollback(ctx, model, "ben", ""); !errors.Is(err, ErrRefused) {
		t.Errorf("rolled back the base rate: %v", err)
	}
}

func TestARolloutTellsItsStory(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	number, id := w.watched()
	w.must(w.Observe(ctx, id, json.RawMessage(`{"rows":3}`)))
	ro, ok, err := w.Rollout(ctx, model)
	if err != nil || !ok || string(ro.Report) != `{"rows":3}` || string(ro.Marks) != `{"offset":2}` || ro.Switched.Before(ro.Began) || !ro.Ended.IsZero() {
		t.Errorf("rollout %+v, %t, %v", ro, ok, err)
	}
	w.must(w.Undo(ctx, id, "worse by 0.1", json.RawMessage(`{"rows":4}`)))
	all, err := w.Rollouts(ctx, model)
	if err != nil || len(all) != 1 || all[0].Phase != Undone || all[0].Why != "worse by 0.1" || string(all[0].Report) != `{"rows":4}` || all[0].Ended.IsZero() {
		t.Errorf("rollouts %+v, %v", all, err)
	}
	if err := w.Observe(ctx, id, nil); !errors.Is(err, ErrConflict) {
		t.Errorf("observed version %d after the end: %v", number, err)
	}
}

func TestTheOldestApprovalIsNext(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	w.now = func() time.Time { at = at.Add(time.Second); return at }
	if _, ok, err := w.Approved(ctx, model); ok || err != nil {
		t.Errorf("approved: %t, %v", ok, err)
	}
	a, b := w.promote(w.candidate()), w.promote(w.candidate())
	w.approve(b)
	w.approve(a)
	v, ok, err := w.Approved(ctx, model)
	if err != nil || !ok || v.Number != b {
		t.Errorf("approved: version %d, %t, %v; want %d", v.Number, ok, err, b)
	}
	w.begin(b)
	if _, err := w.Begin(ctx, model, a, nil); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "version 2 is in phase shadow") {
		t.Errorf("a second rollout: %v", err)
	}
}
