package bundle_test

import (
	"crypto/ed25519"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
)

// TestOpenedScoresAsTrained is the whole point: what serves computes the bits of
// what trained, on rows that neither has seen.
func TestOpenedScoresAsTrained(t *testing.T) {
	for _, task := range []learn.Task{learn.Binary, learn.Regression} {
		for seed := range uint64(5) {
			w, dir := newWorld(t, task, seed, 400), t.TempDir()
			id := w.write(t, dir)
			b, err := bundle.Open(dir, id, []ed25519.PublicKey{public(testKey(9)), public(w.key)})
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(seed, 1))
			for range 1000 {
				x := randomRow(r)
				got, err := b.Score(x)
				if want := w.score(x); err != nil || math.Float64bits(got) != math.Float64bits(want) {
					t.Fatalf("%s, seed %d: score %v of %v, %v; in memory %v", task, seed, got, x, err, want)
				}
			}
		}
	}
}
