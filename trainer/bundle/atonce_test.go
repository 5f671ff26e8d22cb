package bundle_test

import (
	"crypto/ed25519"
	"encoding/json"
	"os"
	"reflect"
	"sync"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
)

// TestEachFormAtOnce scores and explains with bundles of all forms in many
// goroutines: each gets what one alone gets.
func TestEachFormAtOnce(t *testing.T) {
	type asked struct {
		b        *bundle.Bundle
		x        []features.Value
		score    float64
		explains *bundle.Explanation
	}
	var all []asked
	open := func(c *bundle.Contents, rows [][]features.Value) {
		dir, key := t.TempDir(), testKey(1)
		id, err := bundle.Write(dir, c, key)
		if err != nil {
			t.Fatal(err)
		}
		b, err := bundle.Open(dir, id, []ed25519.PublicKey{public(key)})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range rows[:20] {
			a := asked{b: b, x: x}
			if a.score, err = b.Score(x); err != nil {
				t.Fatal(err)
			}
			a.explains, _ = b.Explain(x)
			all = append(all, a)
		}
	}
	w := newWorld(t, learn.Binary, 6, 300)
	open(&w.contents, w.rows)
	open(grown(t, 1))
	for _, p := range peers(t) {
		file, err := os.ReadFile(p.file)
		if err != nil {
			t.Fatal(err)
		}
		model, err := bundle.Import(p.format, file, p.inputs, learn.Binary)
		if err != nil {
			t.Fatal(err)
		}
		open(&bundle.Contents{
			Manifest:  bundle.Manifest{Project: "shop", Model: "returns", Task: learn.Binary, Inputs: p.inputs, Learner: "exec", Weights: p.format, Params: json.RawMessage("{}"), Metrics: json.RawMessage("{}")},
			Transform: bundle.NewPlain(p.inputs), Model: model, Golden: p.rows[:1],
		}, p.rows)
	}
	var workers sync.WaitGroup
	for start := range 8 {
		workers.Go(func() {
			for k := range 5 * len(all) {
				a := &all[(k*7+start)%len(all)]
				score, err := a.b.Score(a.x)
				if err != nil || score != a.score {
					t.Errorf("%v scores %v, want %v: %v", a.x, score, a.score, err)
					return
				}
				if e, _ := a.b.Explain(a.x); !reflect.DeepEqual(e, a.explains) {
					t.Errorf("%v is explained by %v, want %v", a.x, e, a.explains)
					return
				}
			}
		})
	}
	workers.Wait()
}
