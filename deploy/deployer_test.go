package deploy

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
)

// TestWorseModelsAreRolledBack plants models that are worse after their approval:
// labels alone tell.
func TestWorseModelsAreRolledBack(t *testing.T) {
	for name, chance := range map[string]func([]features.Value) float64{"inverted": inverted, "constant": constant, "subtle": subtle} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, true)
			w.champion()
			w.cfg.Models[0].Steps.Watch = 5000
			w.approved(chance)
			w.pass(w.steps(), 300, w.in(registry.Undone))
			seen := w.seen()
			t.Logf("rolled back after %d answers in %d blocks: its loss is worse by %.3f, by at least %.3f", seen.Answers, seen.Blocks, *seen.Worse, *seen.AtLeast)
			wantEqual(t, "champion", w.serving(), registry.Serving{Revision: 6, Champion: 1, Shadow: registry.NoVersion})
			wantEqual(t, "state", w.version(2).State, registry.RolledBack)
			wantText(t, w.rollout().Why, "its loss is greater than that of version 1 by at least 0.")
			if !(*seen.AtLeast > 0) || *seen.Worse < *seen.AtLeast {
				t.Errorf("report %+v", seen)
			}
		})
	}
}

func TestRollbackByAPerson(t *testing.T) {
	for _, phase := range []registry.Phase{registry.InShadow, registry.Watching, registry.Done} {
		for _, before := range []int{0, 1} {
			t.Run(string(phase)+" beside "+named(before), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, true)
				if before == 1 {
					w.champion()
				}
				n := w.approved(right)
				step := w.steps()
				w.pass(step, 60, w.in(phase))
				must(t, w.registry.RequestRollback(t.Context(), model, "ben", "complaints"))
				w.cluster.Close() // it needs no Kafka
				step()
				wantEqual(t, "champion", w.serving().Champion, before)
				wantEqual(t, "shadow", w.serving().Shadow, registry.NoVersion)
				wantEqual(t, "state", w.version(n).State, registry.RolledBack)
				wantEqual(t, "why", w.rollout().Why, "ben: complaints")
				if w.rollout().Report == nil {
					t.Error("what the rollout has seen is gone")
				}
				step()
			})
		}
	}
}

// TestBrokenBundlesNeverServe damages the bundle of an approved version, before
// its rollout or in it. The champion stays, and the next version is taken up.
func TestBrokenBundlesNeverServe(t *testing.T) {
	remove := func(w *world, n int) { must(w.t, os.RemoveAll(filepath.Join(w.dir, w.versions[n-1].ID()))) }
	for name, test := range map[string]struct {
		damage   func(w *world, version int)
		inShadow bool
		lives    bool // the deployer has opened it before
		why      string
	}{
		"a byte is flipped":                  {(*world).flip, false, true, "it was changed or damaged"},
		"it is gone":                         {remove, false, false, `copy its folder there, or make it again by "millrace runs reproduce RUN --dir DATA/models"`},
		"a byte is flipped in shadow":        {(*world).flip, true, true, "it was changed or damaged"},
		"it is gone in shadow":               {remove, true, true, "it is not in"},
		"it is gone while no deployer lives": {remove, true, false, "it is not in"},
		"it was trained on other features":   {func(w *world, _ int) { w.cfg.Models[0].Set = "0123456789abcdef" }, false, false, "the project now defines 0123456789abcdef; train again"},
		"the model is another kind":          {func(w *world, _ int) { w.cfg.Models[0].Task = learn.Regression }, false, false, "and this is the regression model buys"},
		"the server has another one":         {func(w *world, _ int) { w.versions[1] = w.versions[0] }, true, true, "and the version is bundle"},
		"the server scores in another way":   {func(w *world, _ int) { w.skewed = true }, true, true, "and the bundle scores"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, true)
			w.champion()
			w.cfg.Models[0].Steps.Shadow = 50
			n := w.approved(right)
			step := lives["one for each step"](w)
			if test.lives {
				step = w.steps()
			}
			if test.inShadow {
				w.pass(step, 1, w.in(registry.InShadow))
			}
			as := w.cfg.Models[0]
			test.damage(w, n)
			w.pass(step, 10, func() bool { return w.version(n).State == registry.Broken })
			wantEqual(t, "champion", w.serving().Champion, 1)
			wantEqual(t, "shadow", w.serving().Shadow, registry.NoVersion)
			events, err := w.registry.History(t.Context(), model)
			must(t, err)
			i := slices.IndexFunc(events, func(e registry.Event) bool { return e.What == string(registry.Broken) })
			wantText(t, events[i].Why, test.why)

			w.cfg.Models[0], w.skewed = as, false
			n = w.approved(right)
			w.pass(step, 60, w.in(registry.Done))
			wantEqual(t, "champion", w.serving().Champion, n)
		})
	}
}

// TestWhatMayPassIsWaitedFor: a disk or keys that cannot be read are no fault of
// the version's.
func TestWhatMayPassIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	away := errors.New("the keys' disk is away")
	w.cfg.Trusted = func() ([]ed25519.PublicKey, error) {
		keys, _ := w.trusted()
		return keys, away
	}
	n := w.approved(right)
	d := w.deployer()
	fails := func(want string) {
		t.Helper()
		err := d.Step(t.Context())
		if err == nil {
			t.Fatal("no error")
		}
		wantText(t, err.Error(), want)
		wantText(t, strings.Join(d.Problems(), "\n"), "deployment waits: model buys: ")
		wantEqual(t, "state", w.version(n).State, registry.Approved)
	}
	fails("the keys' disk is away")
	away = nil
	must(t, os.Rename(w.dir, w.dir+".away"))
	fails("the folder of bundles cannot be read")
	must(t, os.Rename(w.dir+".away", w.dir))
	folder := filepath.Join(w.dir, w.versions[n-1].ID())
	must(t, os.Rename(folder, folder+".away"))
	must(t, os.Symlink(folder, folder)) // what even root cannot read
	fails("too many levels of symbolic links")
	must(t, os.Remove(folder))
	must(t, os.Rename(folder+".away", folder))
	key := w.key
	w.key = ed25519.NewKeyFromSeed([]byte("another 32 bytes another 32 bytes")[:32])
	fails(`not trusted here; if it is a trainer of yours, print its key there by "millrace keys show"`)
	w.key = key
	must(t, d.Step(t.Context()))
	wantEqual(t, "state", w.version(n).State, registry.Shadow)
	wantEqual(t, "problems", len(d.Problems()), 0)
}

// TestKeyIsNoLongerTrusted in shadow: the version waits for the key there as well.
func TestKeyIsNoLongerTrusted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	n := w.approved(right)
	w.pass(w.steps(), 1, w.in(registry.InShadow))
	w.predict(w.cfg.Models[0].Steps.Shadow)
	trusted := w.cfg.Trusted
	w.cfg.Trusted = func() ([]ed25519.PublicKey, error) { return nil, nil }
	d := w.deployer()
	if err := d.Step(t.Context()); !errors.Is(err, bundle.ErrUntrusted) {
		t.Errorf("%v, want that its key is not trusted", err)
	}
	wantEqual(t, "state", w.version(n).State, registry.Shadow)
	w.cfg.Trusted = trusted
	w.pass(w.steps(), 60, w.in(registry.Done))
}

// TestFeaturesChangeInWatch: what cannot be compared any more ends by itself, and
// the next versions go their way.
func TestFeaturesChangeInWatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	w.champion()
	w.approved(right)
	w.pass(w.steps(), 60, w.in(registry.Watching))
	w.inputs = slices.Clone(inputs)
	w.inputs[1].Fingerprint = "0123456789abcdef"
	w.cfg.Models[0].Set = bundle.SetID(w.inputs)
	w.pass(w.steps(), 1, w.in(registry.Done))
	wantText(t, w.seen().Ended, "version 2 cannot be compared with version 1 any more: bundle ")
	wantText(t, w.seen().Ended, "and the project now defines "+w.cfg.Models[0].Set)
	wantEqual(t, "champion", w.serving().Champion, 2)

	w.approved(right) // beside one of other features
	w.pass(w.steps(), 60, w.in(registry.Done))
	wantText(t, w.seen().Ended, "version 3 cannot be compared with version 2 any more")
	wantEqual(t, "champion", w.serving().Champion, 3)

	w.approved(right)
	w.pass(w.steps(), 60, w.in(registry.Done))
	wantEqual(t, "why it ended", w.seen().Ended, "")
	wantEqual(t, "answers awaited", w.seen().Awaited, 0)
	wantEqual(t, "champion", w.serving().Champion, 4)
}

// TestBundlesAreAwayInWatch: labels are compared all the same.
func TestBundlesAreAwayInWatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	w.champion()
	w.approved(right)
	w.pass(w.steps(), 60, w.in(registry.Watching))
	must(t, os.Rename(w.dir, w.dir+".away"))
	d := w.deployer()
	w.pass(func() {
		if err := d.Step(t.Context()); err != nil {
			wantText(t, err.Error(), "the folder of bundles cannot be read")
		}
	}, 60, w.in(registry.Done))
	wantEqual(t, "answers awaited", w.seen().Awaited, 0)
}

// TestApprovalsOfWhatIsSuperseded: two versions are approved, and a third is in
// review. One serves, and the others were judged against another champion.
func TestApprovalsOfWhatIsSuperseded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	w.approved(right)
	second, third := w.approved(right), w.candidate(right)
	w.pass(w.steps(), 60, w.in(registry.Done))
	wantEqual(t, "champion", w.serving().Champion, 1)
	for _, n := range []int{second, third} {
		wantEqual(t, "state", w.version(n).State, registry.Superseded)
		if err := w.registry.Approve(t.Context(), model, n, "ben", ""); err == nil {
			t.Errorf("version %d can be approved", n)
		}
	}
	all, err := w.registry.Rollouts(t.Context(), model)
	must(t, err)
	wantEqual(t, "rollouts", len(all), 1)
}

// TestApproversAndDeployersAtOnce: four people approve while two deployers work.
func TestApproversAndDeployersAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	step := lives["two at once"](w)
	for range 3 {
		n := w.candidate(right)
		var wg sync.WaitGroup
		approvals := make(chan error, 4)
		for i := range 4 {
			wg.Go(func() {
				approvals <- w.registry.Approve(w.t.Context(), model, n, []string{"anna", "ben", "cleo", "dan"}[i], "")
			})
		}
		step()
		wg.Wait()
		step()
		first := 0
		for range 4 {
			if err := <-approvals; err == nil {
				first++
			} else if !errors.Is(err, registry.ErrConflict) {
				t.Error(err)
			}
		}
		wantEqual(t, "approvals", first, 1)
		w.pass(step, 60, w.in(registry.Done))
		wantEqual(t, "champion", w.serving().Champion, n)
	}
}

// TestTheChampionIsMovedInShadow: the version that was judged against it is
// superseded, and the next goes its way.
func TestTheChampionIsMovedInShadow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	w.champion()
	n := w.approved(right)
	step := w.steps()
	w.pass(step, 3, w.in(registry.InShadow))
	must(t, w.registry.Break(t.Context(), model, 1, "its folder is gone"))
	step()
	wantEqual(t, "state", w.version(n).State, registry.Superseded)
	wantEqual(t, "serving", w.serving().Champion, 0)
	next := w.approved(right)
	w.pass(step, 60, w.in(registry.Done))
	wantEqual(t, "champion", w.serving().Champion, next)
}

func TestReviewNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	w.cfg.Models[0].Review = false
	n := w.candidate(right)
	w.pass(w.steps(), 60, w.in(registry.Done))
	wantEqual(t, "reviewer", w.version(n).Reviewer, NoReview)
	w.cfg.Models[0].Review = true
	n = w.candidate(right)
	must(t, w.deployer().Step(t.Context()))
	wantEqual(t, "state where a person reviews", w.version(n).State, registry.Review)
}

// TestTopicsThatAreNotThere, or not as they were, delay a rollout at most: the
// marks of a phase only save time.
func TestTopicsThatAreNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	n := w.approved(right)
	step := w.steps()
	step()
	wantEqual(t, "state before there is a topic", w.version(n).State, registry.Shadow)
	step()
	w.ensure()
	w.pass(step, 60, w.in(registry.Done))
	wantEqual(t, "champion", w.serving().Champion, n)
}

func TestMarksThatTheLogDoesNotHave(t *testing.T) {
	for name, marks := range map[string]json.RawMessage{
		"lost":                      json.RawMessage("[900000,900000,900000]"),
		"of fewer partitions":       json.RawMessage("[0]"),
		"none":                      nil,
		"of a topic before it came": json.RawMessage("null"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, true)
			w.champion()
			n := w.approved(right)
			ro, err := w.registry.Begin(t.Context(), model, n, marks)
			must(t, err)
			w.predict(perHour)
			w.predict(perHour)
			d := w.deployer()
			for range 2 { // the second, where the first has found that there is no such offset
				must(t, d.Step(t.Context()))
			}
			wantEqual(t, "phase", w.rollout().Phase, registry.Watching)
			must(t, w.registry.RequestRollback(t.Context(), model, "ben", "again"))
			must(t, d.Step(t.Context()))

			n = w.approved(right)
			ro, err = w.registry.Begin(t.Context(), model, n, marks)
			must(t, err)
			must(t, w.registry.Switch(t.Context(), ro.ID, marks))
			w.pass(w.steps(), 60, w.in(registry.Done))
			wantEqual(t, "champion", w.serving().Champion, n)
		})
	}
}

// TestWhatIsAwaited: without traffic nothing happens, and the registry says what
// is awaited. It is told at most once a second.
func TestWhatIsAwaited(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	w.approved(right)
	d := w.deployer()
	now := time.Now()
	d.now = func() time.Time { return now }
	shadow := func(want trialReport) {
		t.Helper()
		must(t, d.Step(t.Context()))
		var got trialReport
		must(t, json.Unmarshal(w.rollout().Report, &got))
		wantEqual(t, "report", got, want)
	}
	shadow(trialReport{Awaited: 30})
	w.predict(7)
	shadow(trialReport{Awaited: 30})
	now = now.Add(tellEvery)
	shadow(trialReport{Scored: 7, Awaited: 23})
	w.offline = true
	w.predict(5)
	now = now.Add(tellEvery)
	shadow(trialReport{Scored: 7, Unscored: 5, Awaited: 23})
	wantEqual(t, "phase", w.rollout().Phase, registry.InShadow)
	w.offline = false
	w.predict(23)
	must(t, d.Step(t.Context()))
	wantEqual(t, "report of the watch", w.seen(), watchReport{Awaited: 120})
	must(t, d.Step(t.Context()))
	wantEqual(t, "phase", w.rollout().Phase, registry.Watching)
}

// TestRunDeploysAndStops has Run do it all, and end with its context.
func TestRunDeploysAndStops(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	w.approved(right)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	d := New(w.cfg)
	go func() { ended <- d.Run(ctx) }()
	w.pass(func() { time.Sleep(10 * time.Millisecond) }, 6000, w.in(registry.Done))
	stop()
	must(t, <-ended)
	wantEqual(t, "readings left", len(d.readings), 0)
	wantEqual(t, "problems", len(d.Problems()), 0)
}

// TestAStepThatIsCut ends with its context, which is no problem of the deployer's,
// and leaves the problem that there was.
func TestAStepThatIsCut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	w.approved(right)
	d := w.deployer()
	cut, cancel := context.WithCancel(t.Context())
	cancel()
	for _, problems := range []int{0, 1} {
		if err := d.Step(cut); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want that it was cut", err)
		}
		wantEqual(t, "problems", len(d.Problems()), problems)
		must(t, os.RemoveAll(w.dir))
		if err := d.Step(t.Context()); err == nil {
			t.Error("it works without a folder of bundles")
		}
	}
}

// TestSeveralModels: what is wrong with one does not hold up the others.
func TestSeveralModels(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	other := w.cfg.Models[0]
	other.Name = "other"
	w.cfg.Models = append([]Model{other}, w.cfg.Models...)
	now := time.Now()
	run, err := w.registry.AddRun(t.Context(), registry.Run{Model: "other", Status: registry.Trained, Began: now, Ended: now, Bundle: "no id", Spec: json.RawMessage("1")},
		&registry.Version{Author: "trainer"})
	must(t, err)
	must(t, w.registry.Judge(t.Context(), "other", run.Version, registry.Judgement{Verdict: "promote"}))
	must(t, w.registry.Approve(t.Context(), "other", run.Version, "anna", ""))
	n := w.approved(right)
	w.pass(w.steps(), 60, w.in(registry.Done))
	wantEqual(t, "champion", w.serving().Champion, n)
	v, err := w.registry.Version(t.Context(), "other", run.Version)
	must(t, err)
	wantEqual(t, "the other's state", v.State, registry.Broken)
}
