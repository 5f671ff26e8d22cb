package deploy

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/registry"
)

// lives are ways in which deployers live and die. Each returns what lets an hour
// go by.
var lives = map[string]func(w *world) func(){
	"one that lives on": (*world).steps,
	"one for each step": func(w *world) func() { return func() { w.steps()() } },
	"one for each change of the registry": func(w *world) func() {
		return func() {
			for w.change() {
			}
		}
	},
	"killed at any moment": func(w *world) func() {
		random := rand.New(rand.NewPCG(3, 4))
		return func() {
			for range 3 {
				ctx, kill := context.WithTimeout(w.t.Context(), time.Duration(random.IntN(3000))*time.Microsecond)
				d := w.deployer()
				_ = d.Step(ctx)
				d.Close()
				kill()
			}
			w.steps()()
		}
	},
	"two at once": func(w *world) func() {
		var two []*Deployer
		for range 2 {
			cfg := w.cfg
			var err error
			cfg.Registry, err = registry.Open(w.path)
			must(w.t, err)
			w.t.Cleanup(func() { cfg.Registry.Close() })
			d := New(cfg)
			w.t.Cleanup(d.Close)
			two = append(two, d)
		}
		return func() {
			var wg sync.WaitGroup
			for _, d := range two {
				wg.Go(func() {
					if err := d.Step(w.t.Context()); err != nil {
						w.t.Error(err)
					}
				})
			}
			wg.Wait()
		}
	},
}

// change has a new deployer make one change of the registry, and reports whether
// it did.
func (w *world) change() bool {
	w.t.Helper()
	d, ctx := w.deployer(), w.t.Context()
	defer d.Close()
	m := &d.cfg.Models[0]
	must(w.t, d.takeBack(ctx, m))
	ro, open, err := w.registry.Rollout(ctx, model)
	must(w.t, err)
	changed := false
	if open {
		changed, err = d.advance(ctx, m, &ro)
	} else {
		changed, err = d.begin(ctx, m)
	}
	must(w.t, err)
	return changed
}

// A story is what came of a world.
type story struct {
	history  []string
	rollouts []string
	hours    int64
}

// TestHoweverDeployersDie brings one model into service, then one that is worse,
// then another: what comes of it is the same whatever befalls the deployers.
func TestHoweverDeployersDie(t *testing.T) {
	t.Parallel()
	stories := make(chan story, len(lives))
	t.Run("lives", func(t *testing.T) {
		for name, life := range lives {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, true)
				step := life(w)
				w.approved(right)
				w.pass(step, 60, w.in(registry.Done))
				w.approved(inverted)
				w.pass(step, 60, w.in(registry.Undone))
				wantEqual(t, "champion after the rollback", w.serving().Champion, 1)
				w.approved(right)
				w.pass(step, 60, w.in(registry.Done))
				stories <- w.story()
			})
		}
	})
	close(stories)
	want := <-stories
	wantEqual(t, "history", strings.Join(want.history, ", "), "1 trained, 1 judged, 1 review, 1 approved, 1 shadow, 1 champion, 1 done, "+
		"2 trained, 2 judged, 2 review, 2 approved, 2 shadow, 1 retired, 2 champion, 2 rolled_back, 1 champion, "+
		"3 trained, 3 judged, 3 review, 3 approved, 3 shadow, 1 retired, 3 champion, 3 done")
	for got := range stories {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("one life:\n%+v\nanother:\n%+v", want, got)
		}
	}
}

func (w *world) story() story {
	w.t.Helper()
	s := story{history: w.history(), hours: w.hours}
	all, err := w.registry.Rollouts(w.t.Context(), model)
	must(w.t, err)
	for _, ro := range all {
		var r watchReport
		must(w.t, json.Unmarshal(ro.Report, &r))
		r.Unanswered = 0 // as far as was read
		s.rollouts = append(s.rollouts, string(ro.Phase)+": "+ro.Why+" "+string(encode(r)))
	}
	return s
}
