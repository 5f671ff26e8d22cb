package bundle_test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/ftrl"
)

// Train a model, write it as a bundle, and open it as a server does.
func Example() {
	dir, err := os.MkdirTemp("", "models")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	inputs := []bundle.Input{
		{Name: "customer.orders_30d", Kind: expr.Int, Fingerprint: "4f1d6a0c35e2b897"},
		{Name: "customer.city", Kind: expr.String, Fingerprint: "90b2e7d1c4a3f586"},
	}
	rows := [][]features.Value{
		{expr.IntValue(1), expr.StringValue("Oslo")},
		{expr.IntValue(9), expr.StringValue("Rome")},
		{features.Value{}, expr.StringValue("Rome")}, // an unknown number of orders
	}
	labels := []float64{0, 1, 1}

	params := ftrl.Params{HashBits: 10}.WithDefaults()
	transform := bundle.FitTransform(inputs, slices.Values(rows), params.HashBits)
	model := ftrl.New(learn.Binary, transform.Dense(), params)
	var row learn.Row
	for i, x := range rows {
		transform.Row(&row, x)
		model.Learn(row, labels[i], 1)
	}

	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) // a project has one of OpenKeys
	encoded, err := json.Marshal(params)
	if err != nil {
		panic(err)
	}
	id, err := bundle.Write(dir, &bundle.Contents{
		Manifest:  bundle.Manifest{Project: "shop", Model: "returns", Task: learn.Binary, Inputs: inputs, Learner: "ftrl", Params: encoded, Examples: len(rows)},
		Transform: transform,
		Model:     model,
		Golden:    rows,
	}, key)
	if err != nil {
		panic(err)
	}

	b, err := bundle.Open(dir, id, []ed25519.PublicKey{key.Public().(ed25519.PublicKey)})
	if err != nil {
		panic(err)
	}
	score, err := b.Score([]features.Value{expr.IntValue(7), expr.StringValue("Rome")})
	fmt.Println(b.Manifest().Model, score > 0.5, err)

	_, err = bundle.Open(dir, id, nil) // by somebody who trusts no key
	fmt.Println(err != nil)
	// Output:
	// returns true <nil>
	// true
}
