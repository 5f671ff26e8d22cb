package bundle_test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/ftrl"
)

// A world is a trained model of random data, all of it from a seed.
type world struct {
	inputs    []bundle.Input
	rows      [][]features.Value
	params    ftrl.Params
	transform *bundle.Transform
	learner   *ftrl.Model
	contents  bundle.Contents
	key       ed25519.PrivateKey
}

// testKey returns the key pair of a seed.
func testKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(slices.Repeat([]byte{seed}, ed25519.SeedSize))
}

func public(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

// input returns an input whose fingerprint is of its name.
func input(name string, kind features.Kind) bundle.Input {
	return bundle.Input{Name: name, Kind: kind, Fingerprint: fmt.Sprintf("%016x", len(name))}
}

// newWorld trains a model of the task on n rows.
func newWorld(t testing.TB, task learn.Task, seed uint64, n int) *world {
	t.Helper()
	w := &world{
		inputs: []bundle.Input{
			input("shop.rate", expr.Float), input("shop.orders", expr.Int), input("shop.known", expr.Bool),
			input("shop.city", expr.String), input("shop.spent", expr.Float),
		},
		params: ftrl.Params{HashBits: 6}.WithDefaults(),
		key:    testKey(1),
	}
	r := rand.New(rand.NewPCG(seed, 0x62756e64))
	for range n {
		w.rows = append(w.rows, randomRow(r))
	}
	w.transform = bundle.FitTransform(w.inputs, slices.Values(w.rows), w.params.HashBits)
	w.learner = ftrl.New(task, w.transform.Dense(), w.params)
	var row learn.Row
	for i, x := range w.rows {
		w.transform.Row(&row, x)
		w.learner.Learn(row, float64(i*i%3%2), 1)
	}
	params, err := json.Marshal(w.params)
	if err != nil {
		t.Fatal(err)
	}
	w.contents = bundle.Contents{
		Manifest: bundle.Manifest{
			Project: "shop", Model: "returns", Task: task, Inputs: w.inputs, Learner: "ftrl", Params: params,
			Seed: seed, Code: "v1.2.3", Examples: n, Metrics: json.RawMessage(`{"log_loss":0.5}`),
			Data: bundle.Data{Topic: "shop.examples", Ranges: []bundle.Range{{Partition: 0, First: 3, Next: 3 + int64(n)}}, Window: 1000, To: 9},
		},
		Transform: w.transform, Model: w.learner, Golden: w.rows[:min(n, 5)],
		Extra: map[string][]byte{"profile.json": []byte("{}\n")},
	}
	return w
}

// randomRow returns a vector of newWorld's inputs: every kind, missing values,
// values that are not finite and a long tail.
func randomRow(r *rand.Rand) []features.Value {
	x := []features.Value{
		expr.FloatValue(r.NormFloat64()*3 + 100), expr.IntValue(r.Int64N(50)), expr.BoolValue(r.IntN(2) == 1),
		expr.StringValue([]string{"Oslo", "Rome", "", "São Paulo", "a\x00b\u2028<&>"}[r.IntN(5)]),
		expr.FloatValue(math.Exp(r.NormFloat64() * 4)),
	}
	for i := range x {
		if r.IntN(6) == 0 {
			x[i] = features.Value{}
		}
	}
	for _, i := range []int{0, 4} {
		if r.IntN(20) == 0 {
			x[i] = expr.FloatValue([]float64{math.NaN(), math.Inf(1), math.Copysign(0, -1)}[r.IntN(3)])
		}
	}
	return x
}

// score is what the model in memory predicts.
func (w *world) score(x []features.Value) float64 {
	var row learn.Row
	w.transform.Row(&row, x)
	return w.learner.Predict(row)
}

func (w *world) write(t testing.TB, dir string) string {
	t.Helper()
	id, err := bundle.Write(dir, &w.contents, w.key)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// column returns vectors of one input.
func column(values ...features.Value) iter.Seq[[]features.Value] {
	return func(yield func([]features.Value) bool) {
		for _, v := range values {
			if !yield([]features.Value{v}) {
				return
			}
		}
	}
}

func floats(values ...float64) []features.Value {
	var vs []features.Value
	for _, x := range values {
		vs = append(vs, expr.FloatValue(x))
	}
	return vs
}
