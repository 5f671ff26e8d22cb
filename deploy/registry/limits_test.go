package registry

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestServingRevisions(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	var last Serving
	expect := func(what string, changed bool, champion, shadow int) {
		t.Helper()
		s, err := w.Serving(ctx, model)
		w.must(err)
		if s.Champion != champion || s.Shadow != shadow || changed != (s.Revision > last.Revision) {
			t.Errorf("%s: serving %+v after %+v, want champion %d and shadow %d", what, s, last, champion, shadow)
		}
		last = s
	}
	expect("new", false, 0, NoVersion)
	number, id := w.inShadow()
	expect("in shadow", true, 0, number)
	w.must(w.Switch(ctx, id, nil))
	expect("switched", true, number, 0)
	w.candidate()
	expect("a candidate", false, number, 0)
	w.must(w.Finish(ctx, id, nil))
	expect("finished", true, number, NoVersion)

	for _, c := range []struct {
		name    string
		rate    BaseRate
		changed bool
	}{
		{"first", BaseRate{0.25, 6, 100}, true},
		{"again", BaseRate{0.25, 6, 100}, false},
		{"older", BaseRate{0.75, 9, 99}, false},
		{"newer", BaseRate{0.75, 9, 101}, true},
	} {
		w.must(w.SetBaseRate(ctx, model, c.rate))
		expect(c.name, c.changed, number, NoVersion)
	}
	if want := (BaseRate{0.75, 9, 101}); last.BaseRate != want {
		t.Errorf("base rate %+v, want %+v", last.BaseRate, want)
	}
}

func TestLimits(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	number := w.promote(w.candidate())
	long, huge := strings.Repeat("x", maxText+1), json.RawMessage(`"`+strings.Repeat("x", maxReport)+`"`)
	run, v := trained(9)
	add := func(change func(*Run, *Version)) error {
		r, v := run, *v
		change(&r, &v)
		_, err := w.AddRun(ctx, r, &v)
		return err
	}
	for want, err := range map[string]error{
		"comment has 4097 bytes":                             w.Approve(ctx, model, number, "ben", long),
		"comment is not UTF-8":                               w.Reject(ctx, model, number, "ben", "\xff"),
		"the reviewer's name is empty":                       w.Approve(ctx, model, number, "", ""),
		"the reviewer's name \" ben\" has":                   w.Approve(ctx, model, number, " ben", ""),
		"the reason has 4097 bytes":                          w.RequestRollback(ctx, model, "ben", long),
		"the name of who asks is empty":                      w.RequestRollback(ctx, model, "", ""),
		"verdict \"yes\" is none of":                         w.Judge(ctx, model, number, Judgement{Verdict: "yes"}),
		"baseline -1":                                        w.Judge(ctx, model, number, Judgement{Verdict: promote, Baseline: -1}),
		"101 reasons; the most are 100":                      w.Judge(ctx, model, number, Judgement{Verdict: promote, Reasons: make([]string, 101)}),
		"report is not JSON":                                 w.Judge(ctx, model, number, Judgement{Verdict: promote, Report: json.RawMessage("{")}),
		"NaN of 1 labels is not a base rate":                 w.SetBaseRate(ctx, model, BaseRate{Value: math.NaN(), Count: 1}),
		"report has 4194306 bytes; the most are 4194304":     add(func(r *Run, _ *Version) { r.Report = huge }),
		"it has no spec":                                     add(func(r *Run, _ *Version) { r.Spec = nil }),
		"status \"\" is none of":                             add(func(r *Run, _ *Version) { r.Status = "" }),
		"a run that is failed comes with a version if it":    add(func(r *Run, _ *Version) { r.Status, r.Bundle = Failed, "" }),
		"bundle \"\": a run that is trained has a bundle":    add(func(r *Run, _ *Version) { r.Bundle = "" }),
		"the version is of model other":                      add(func(_ *Run, v *Version) { v.Model = "other" }),
		"the version has bundle b, and the run bundle9":      add(func(_ *Run, v *Version) { v.Bundle = "b" }),
		"model has 250 bytes; the most are 249":              add(func(r *Run, _ *Version) { r.Model = strings.Repeat("m", maxName+1) }),
		"author is empty":                                    add(func(_ *Run, v *Version) { v.Author = "" }),
		"it began at 0001-01-01 00:00:00 +0000 UTC":          add(func(r *Run, _ *Version) { r.Began = time.Time{} }),
		"there is no such version":                           w.Approve(ctx, model, 99, "ben", ""),
		"model other has no version 1":                       second(w.Version(ctx, "other", 1)),
		"there is no run 99":                                 second(w.Run(ctx, 99)),
		"begin the rollout of version 1 of big_move: marks ": second(w.Begin(ctx, model, number, json.RawMessage("["))),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	// What a program has written is cut, so that its length fails nothing.
	w.must(w.Break(ctx, model, number, long+"\xff"))
	history, err := w.History(ctx, model)
	w.must(err)
	if got := history[len(history)-1].Why; len(got) != maxText || !strings.HasSuffix(got, "x...") {
		t.Errorf("the reason has %d bytes, and ends in %q", len(got), got[len(got)-4:])
	}
}

func second[T any](_ T, err error) error { return err }

func TestACallWhoseContextHasEndedChangesNothing(t *testing.T) {
	w := newWorld(t)
	number := w.promote(w.candidate())
	before := w.everything()
	why := errors.New("the user left")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := w.Approve(ctx, model, number, "anna", ""); !errors.Is(err, why) {
		t.Errorf("error %v, want %v", err, why)
	}
	if _, err := w.Serving(ctx, model); !errors.Is(err, why) {
		t.Errorf("error %v, want %v", err, why)
	}
	if !reflect.DeepEqual(before, w.everything()) {
		t.Error("something has changed")
	}
}

// TestDueIsWhatADeployerActsOn goes through all situations, without and with a
// person who has asked to go back.
func TestDueIsWhatADeployerActsOn(t *testing.T) {
	for name, situation := range situations {
		w, ctx := newWorld(t), t.Context()
		number, _ := situation(w)
		for _, unreviewed := range []bool{false, true} {
			want := slices.Contains([]string{"approved", "shadow", "watch"}, name) || name == "review" && unreviewed
			due, err := w.Due(ctx, model, unreviewed)
			w.must(err)
			if due != want {
				t.Errorf("%s, unreviewed %v: due %v", name, unreviewed, due)
			}
			due, err = w.Due(ctx, "other", unreviewed)
			w.must(err)
			if due {
				t.Errorf("%s: the other model is due", name)
			}
		}
		if name != "done" {
			continue
		}
		w.must(w.RequestRollback(ctx, model, "ben", "complaints"))
		due, err := w.Due(ctx, model, false)
		w.must(err)
		ro, _, _, asked, err := w.RollbackRequested(ctx, model)
		w.must(err)
		if !due || !asked || ro.Version != number {
			t.Errorf("asked to go back: due %v, asked %v for %+v", due, asked, ro)
		}
		w.must(w.Undo(ctx, ro.ID, "ben", nil))
		due, err = w.Due(ctx, model, false)
		w.must(err)
		if due {
			t.Error("still due once it is undone")
		}
	}
}

func TestACandidateIsAskedFor(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	if at, ok, err := w.Asked(ctx, model); ok || err != nil {
		t.Errorf("asked for %d, %v, error %v", at, ok, err)
	}
	w.must(w.Ask(ctx, model, -5, "monitor", "drift of a"))
	w.must(w.Ask(ctx, model, -7, "monitor", "drift of b")) // earlier: nothing new
	w.must(w.Ask(ctx, model, -5, "monitor", "drift of a"))
	w.must(w.Ask(ctx, "other", 9, "monitor", "drift of c"))
	if at, ok, err := w.Asked(ctx, model); at != -5 || !ok || err != nil {
		t.Errorf("asked for %d, %v, error %v", at, ok, err)
	}
	w.must(w.Ask(ctx, model, 3, "monitor", "drift of d"))
	if at, ok, err := w.Asked(ctx, model); at != 3 || !ok || err != nil {
		t.Errorf("asked for %d, %v, error %v", at, ok, err)
	}
	history, err := w.History(ctx, model)
	w.must(err)
	var why []string
	for _, e := range history {
		if e.What == "candidate_requested" && e.Who == "monitor" && e.Version == 0 {
			why = append(why, e.Why)
		}
	}
	if !slices.Equal(why, []string{"drift of a", "drift of d"}) {
		t.Errorf("history %+v", history)
	}
	if err := w.Ask(ctx, "", 3, "monitor", "drift"); err == nil {
		t.Error("a candidate of no model is asked for")
	}
}
