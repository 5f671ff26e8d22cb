package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const model = "big_move"

// A world is a registry in which a test does what trainer, people and deployer
// do.
type world struct {
	*Registry
	t    *testing.T
	path string
	runs int
}

func newWorld(t *testing.T) *world {
	path := filepath.Join(t.TempDir(), "data", "registry.db")
	return &world{Registry: open(t, path), t: t, path: path}
}

func open(t *testing.T, path string) *Registry {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// trained is the n-th run of a model, as the trainer hands it in.
func trained(n int) (Run, *Version) {
	began := time.Date(2026, 3, 1, 10, n, 0, 0, time.UTC)
	return Run{
		Model: model, Status: Trained, Began: began, Ended: began.Add(time.Minute), Bundle: fmt.Sprintf("bundle%d", n),
		Spec: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)), Report: json.RawMessage(`{"loss":0.5}`),
	}, &Version{Author: "trainer", Cutoff: int64(n)}
}

// candidate adds a version and returns its number.
func (w *world) candidate() int {
	w.t.Helper()
	w.runs++
	run, v := trained(w.runs)
	run, err := w.AddRun(w.t.Context(), run, v)
	w.must(err)
	return run.Version
}

// promote has the gate promote a version against the champion.
func (w *world) promote(number int) int {
	w.t.Helper()
	w.must(w.Judge(w.t.Context(), model, number, Judgement{Verdict: promote, Baseline: w.champion(), Reasons: []string{"gain 0.02 [0.01, 0.03]"}, At: 7}))
	return number
}

func (w *world) champion() int {
	w.t.Helper()
	s, err := w.Serving(w.t.Context(), model)
	w.must(err)
	return s.Champion
}

func (w *world) approve(number int) int {
	w.t.Helper()
	w.must(w.Approve(w.t.Context(), model, number, "anna", "looks right"))
	return number
}

func (w *world) begin(number int) int64 {
	w.t.Helper()
	ro, err := w.Begin(w.t.Context(), model, number, json.RawMessage(`{"offset":1}`))
	w.must(err)
	return ro.ID
}

// inShadow brings a new version into shadow, and watched further on.
func (w *world) inShadow() (number int, id int64) {
	number = w.approve(w.promote(w.candidate()))
	return number, w.begin(number)
}

func (w *world) watched() (number int, id int64) {
	w.t.Helper()
	number, id = w.inShadow()
	w.must(w.Switch(w.t.Context(), id, json.RawMessage(`{"offset":2}`)))
	return number, id
}

func (w *world) done() (number int, id int64) {
	w.t.Helper()
	number, id = w.watched()
	w.must(w.Finish(w.t.Context(), id, nil))
	return number, id
}

// situations are the states of a version, champion in both phases in which it
// may be.
var situations = map[string]func(w *world) (number int, id int64){
	"judging": func(w *world) (int, int64) { return w.candidate(), 0 },
	"closed": func(w *world) (int, int64) {
		number := w.candidate()
		w.must(w.Judge(w.t.Context(), model, number, Judgement{Verdict: inconclusive}))
		return number, 0
	},
	"review": func(w *world) (int, int64) { return w.promote(w.candidate()), 0 },
	"rejected": func(w *world) (int, int64) {
		number := w.promote(w.candidate())
		w.must(w.Reject(w.t.Context(), model, number, "anna", "no"))
		return number, 0
	},
	"superseded": func(w *world) (int, int64) {
		number := w.promote(w.candidate())
		w.done()
		return number, 0
	},
	"approved": func(w *world) (int, int64) { return w.approve(w.promote(w.candidate())), 0 },
	"shadow":   (*world).inShadow,
	"watch":    (*world).watched,
	"done":     (*world).done,
	"retired": func(w *world) (int, int64) {
		number, id := w.done()
		w.done()
		return number, id
	},
	"rolled_back": func(w *world) (int, int64) {
		number, id := w.watched()
		w.must(w.Undo(w.t.Context(), id, "worse", nil))
		return number, id
	},
	"broken": func(w *world) (int, int64) {
		number, id := w.watched()
		w.must(w.Break(w.t.Context(), model, number, "checksum"))
		return number, id
	},
}

// calls are all that change a version.
var calls = map[string]func(w *world, number int, id int64) error{
	"promote": func(w *world, number int, _ int64) error {
		return w.Judge(w.t.Context(), model, number, Judgement{Verdict: promote, Baseline: w.champion()})
	},
	"close": func(w *world, number int, _ int64) error {
		return w.Judge(w.t.Context(), model, number, Judgement{Verdict: reject, Baseline: w.champion()})
	},
	"supersede": func(w *world, number int, _ int64) error {
		return w.Supersede(w.t.Context(), model, number, "old")
	},
	"approve": func(w *world, number int, _ int64) error {
		return w.Approve(w.t.Context(), model, number, "ben", "")
	},
	"own": func(w *world, number int, _ int64) error {
		return w.Approve(w.t.Context(), model, number, "Trainer", "")
	},
	"reject": func(w *world, number int, _ int64) error {
		return w.Reject(w.t.Context(), model, number, "ben", "")
	},
	"begin": func(w *world, number int, _ int64) error {
		_, err := w.Begin(w.t.Context(), model, number, nil)
		return err
	},
	"switch": func(w *world, _ int, id int64) error { return w.Switch(w.t.Context(), id, nil) },
	"finish": func(w *world, _ int, id int64) error { return w.Finish(w.t.Context(), id, nil) },
	"undo":   func(w *world, _ int, id int64) error { return w.Undo(w.t.Context(), id, "worse", nil) },
	"break": func(w *world, number int, _ int64) error {
		return w.Break(w.t.Context(), model, number, "checksum")
	},
	"rollback": func(w *world, _ int, _ int64) error {
		return w.RequestRollback(w.t.Context(), model, "ben", "complaints")
	},
}

// machine says what state each call leads to in each situation, or by which
// error it is refused. After = nothing may change: the call was made already.
const machine = `
             promote   close     supersede   approve   own      reject    begin     switch    finish    undo         break     rollback
judging      review    closed    superseded  conflict  refused  conflict  conflict  missing   missing   missing      broken    refused
closed       conflict  conflict  conflict    conflict  refused  conflict  conflict  missing   missing   missing      conflict  refused
review       conflict  conflict  superseded  approved  refused  rejected  conflict  missing   missing   missing      broken    refused
rejected     conflict  conflict  conflict    conflict  refused  conflict  conflict  missing   missing   missing      conflict  refused
superseded   conflict  conflict  conflict    conflict  refused  conflict  conflict  missing   missing   missing      conflict  superseded
approved     conflict  conflict  conflict    conflict  refused  rejected  shadow    missing   missing   missing      broken    refused
shadow       conflict  conflict  conflict    conflict  refused  conflict  =shadow   champion  conflict  rolled_back  broken    shadow
watch        conflict  conflict  conflict    conflict  refused  conflict  conflict  =champion champion  rolled_back  broken    champion
done         conflict  conflict  conflict    conflict  refused  conflict  conflict  conflict  =champion rolled_back  broken    champion
retired      conflict  conflict  conflict    conflict  refused  conflict  conflict  conflict  =retired  conflict     conflict  retired
rolled_back  conflict  conflict  conflict    conflict  refused  conflict  conflict  conflict  conflict  =rolled_back conflict  refused
broken       conflict  conflict  conflict    conflict  refused  conflict  conflict  conflict  conflict  =broken      =broken   refused
`

func TestEveryCallInEveryState(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(machine), "\n")
	names := strings.Fields(lines[0])
	if len(names) != len(calls) || len(lines)-1 != len(situations) {
		t.Fatalf("the table has %d calls and %d situations; there are %d and %d", len(names), len(lines)-1, len(calls), len(situations))
	}
	for _, line := range lines[1:] {
		cells := strings.Fields(line)
		t.Run(cells[0], func(t *testing.T) {
			t.Parallel()
			var w *world
			var number int
			var id int64
			for i, name := range names {
				if w == nil {
					w = newWorld(t)
					number, id = situations[cells[0]](w)
				}
				if changed := w.testCall(number, id, name, cells[i+1]); changed {
					w = nil
				}
			}
		})
	}
}

// testCall makes a call and checks what has come of it. It reports whether
// anything has changed.
func (w *world) testCall(number int, id int64, call, want string) bool {
	w.t.Helper()
	w.check()
	before := w.everything()
	err := calls[call](w, number, id)
	w.check()
	kind, refused := map[string]error{"conflict": ErrConflict, "refused": ErrRefused, "missing": ErrNotFound}[want]
	state, same := strings.CutPrefix(want, "=")
	switch {
	case refused && !errors.Is(err, kind):
		w.t.Errorf("%s: error %v, want %v", call, err, kind)
	case !refused:
		w.must(err)
		v, err := w.Version(w.t.Context(), model, number)
		w.must(err)
		if string(v.State) != state {
			w.t.Errorf("%s: state %s, want %s", call, v.State, state)
		}
	}
	changed := !reflect.DeepEqual(before, w.everything())
	if changed == (refused || same) {
		w.t.Errorf("%s: changed %t, of a call that should give %s", call, changed, want)
	}
	return changed
}

// everything is all that the registry holds.
func (w *world) everything() []any {
	w.t.Helper()
	ctx := w.t.Context()
	var all []any
	keep := func(x any, err error) { w.t.Helper(); w.must(err); all = append(all, x) }
	runs, err := w.Runs(ctx, "")
	keep(runs, err)
	versions, err := w.Versions(ctx, "")
	keep(versions, err)
	rollouts, err := w.Rollouts(ctx, "")
	keep(rollouts, err)
	serving, err := w.Serving(ctx, model)
	keep(serving, err)
	history, err := w.History(ctx, "")
	keep(history, err)
	return all
}

// check checks what holds between any two calls.
func (w *world) check() {
	w.t.Helper()
	ctx := w.t.Context()
	s, err := w.Serving(ctx, model)
	w.must(err)
	versions, err := w.Versions(ctx, model)
	w.must(err)
	history, err := w.History(ctx, model)
	w.must(err)
	last := map[int]State{}
	for _, e := range history {
		switch e.What {
		case "trained":
			last[e.Version] = Judging
		case "judged", "done", "rollback_requested", "stopped", "failed":
		default:
			last[e.Version] = State(e.What)
		}
	}
	states := map[int]State{}
	for _, v := range versions {
		states[v.Number] = v.State
		if last[v.Number] != v.State {
			w.t.Errorf("version %d is %s, and by the history %s", v.Number, v.State, last[v.Number])
		}
		if (v.State == Champion) != (v.Number == s.Champion) {
			w.t.Errorf("version %d is %s, and version %d serves", v.Number, v.State, s.Champion)
		}
		if (v.State == Review || v.State == Approved) && v.Baseline != s.Champion {
			w.t.Errorf("version %d in %s was judged against %d, and %d serves", v.Number, v.State, v.Baseline, s.Champion)
		}
		if v.State == Shadow && v.Number != s.Shadow {
			w.t.Errorf("version %d is in shadow, and serving has %d there", v.Number, s.Shadow)
		}
	}
	w.checkRollout(s, states)
}

func (w *world) checkRollout(s Serving, states map[int]State) {
	w.t.Helper()
	ro, ok, err := w.Rollout(w.t.Context(), model)
	w.must(err)
	switch {
	case !ok && s.Shadow != NoVersion:
		w.t.Errorf("nothing is rolled out, and %d is in shadow", s.Shadow)
	case ok && ro.Phase == InShadow && (s.Shadow != ro.Version || s.Champion != ro.Previous || states[ro.Version] != Shadow):
		w.t.Errorf("rollout %+v with serving %+v; its version is %s", ro, s, states[ro.Version])
	case ok && ro.Phase == Watching && (s.Shadow != ro.Previous || s.Champion != ro.Version):
		w.t.Errorf("rollout %+v with serving %+v", ro, s)
	case ok && ro.Phase == Watching && ro.Previous != BaseRateVersion && states[ro.Previous] != Retired:
		w.t.Errorf("rollout %+v, and the one before is %s", ro, states[ro.Previous])
	}
}
