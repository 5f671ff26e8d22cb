package bundle_test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/trees"
)

var mixed = []bundle.Input{input("shop.rate", expr.Float), input("shop.city", expr.String), input("shop.orders", expr.Int), input("shop.known", expr.Bool)}

// TestCategories wants numbers as they are, to the bit, and texts as the places
// of their categories: the most frequent first, and one place for all others.
func TestCategories(t *testing.T) {
	var rows [][]features.Value
	add := func(n int, city features.Value) {
		for range n {
			rows = append(rows, []features.Value{expr.FloatValue(0.1), city, expr.IntValue(3), expr.BoolValue(true)})
		}
	}
	add(2, expr.StringValue("Oslo"))
	add(5, expr.StringValue("Rome"))
	add(2, expr.StringValue("Bern"))
	add(3, expr.StringValue("a\xffb"))
	add(1, features.Value{})
	tr := bundle.FitCategories(mixed, slices.Values(rows))
	if got := tr.Categories(); !slices.Equal(got, []int{0, 5, 0, 0}) {
		t.Errorf("categories %v", got)
	}
	for _, c := range []struct {
		x    []features.Value
		want []float64
	}{
		{[]features.Value{expr.FloatValue(1e-300), expr.StringValue("Rome"), expr.IntValue(-7), expr.BoolValue(false)}, []float64{1e-300, 0, -7, 0}},
		{[]features.Value{expr.FloatValue(math.Inf(1)), expr.StringValue("a\xffb"), expr.FloatValue(0.5), expr.BoolValue(true)}, []float64{math.Inf(1), 1, 0.5, 1}},
		{[]features.Value{expr.IntValue(2), expr.StringValue("a\uFFFDb"), {}, {}}, []float64{2, 1, math.NaN(), math.NaN()}},
		{[]features.Value{{}, expr.StringValue("Bern"), {}, {}}, []float64{math.NaN(), 2, math.NaN(), math.NaN()}},
		{[]features.Value{expr.FloatValue(math.NaN()), expr.StringValue("Paris"), {}, {}}, []float64{math.NaN(), 4, math.NaN(), math.NaN()}},
		{[]features.Value{{}, expr.StringValue(""), {}, {}}, []float64{math.NaN(), 4, math.NaN(), math.NaN()}},
		{make([]features.Value, 4), []float64{math.NaN(), math.NaN(), math.NaN(), math.NaN()}},
	} {
		var row learn.Row
		tr.Row(&row, c.x)
		same := func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }
		if !slices.EqualFunc(row.Dense, c.want, same) || len(row.Hashed)+len(row.Texts) != 0 {
			t.Errorf("%v is %v, want %v", c.x, row, c.want)
		}
	}
}

// TestManyCategories has a text for each row: what has no category of its own
// shares one.
func TestManyCategories(t *testing.T) {
	var rows [][]features.Value
	for i := range 5000 {
		rows = append(rows, []features.Value{{}, expr.StringValue(fmt.Sprint(i)), {}, {}}, []features.Value{{}, expr.StringValue("often"), {}, {}})
	}
	tr := bundle.FitCategories(mixed, slices.Values(rows))
	if got := tr.Categories()[1]; got != bundle.MaxCategories+1 {
		t.Errorf("%d categories", got)
	}
	var row learn.Row
	if tr.Row(&row, rows[1]); row.Dense[1] != 0 {
		t.Errorf("the most frequent text is category %v", row.Dense[1])
	}
	if tr.Row(&row, []features.Value{{}, expr.StringValue("999999"), {}, {}}); row.Dense[1] != bundle.MaxCategories {
		t.Errorf("an unknown text is category %v", row.Dense[1])
	}
}

// TestPlain wants numbers as they are and texts as they are, each in their order.
func TestPlain(t *testing.T) {
	tr := bundle.NewPlain(mixed)
	var row learn.Row
	for range 2 {
		tr.Row(&row, []features.Value{expr.FloatValue(0.1), expr.StringValue("a\xffb"), {}, expr.BoolValue(true)})
		if len(row.Dense) != 3 || row.Dense[0] != 0.1 || !math.IsNaN(row.Dense[1]) || row.Dense[2] != 1 || !slices.Equal(row.Texts, []string{"a\uFFFDb"}) {
			t.Errorf("%v", row)
		}
	}
	if tr.Row(&row, make([]features.Value, 4)); !slices.Equal(row.Texts, []string{""}) {
		t.Errorf("%v", row)
	}
}

// grown is a bundle of trees over the mixed inputs, and the rows that it was
// written with.
func grown(t testing.TB, seed uint64) (*bundle.Contents, [][]features.Value) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0x67726f77))
	var rows [][]features.Value
	for range 200 {
		x := []features.Value{expr.FloatValue(r.NormFloat64()), expr.StringValue([]string{"Oslo", "Rome", "Bern"}[r.IntN(3)]), expr.IntValue(r.Int64N(9)), expr.BoolValue(r.IntN(2) == 1)}
		for i := range x {
			if r.IntN(6) == 0 {
				x[i] = features.Value{}
			}
		}
		rows = append(rows, x)
	}
	leaf := func(value, cover float64) trees.Node { return trees.Node{Feature: -1, Value: value, Cover: cover} }
	e := &trees.Ensemble{Features: 4, Link: trees.Logistic, Base: []float64{-0.5}, Trees: []trees.Tree{
		{Nodes: []trees.Node{{Feature: 0, Left: 1, Right: 2, Threshold: 0.1, Cover: 200}, leaf(-0.25, 110), {Feature: 1, Left: 3, Right: 4, Set: []uint64{0b101}, MissingLeft: true, Cover: 90}, leaf(0.75, 60), leaf(0.5, 30)}},
		{Nodes: []trees.Node{{Feature: 2, Left: 1, Right: 2, Threshold: 4, Cover: 200}, leaf(0.125, 120), leaf(-1, 80)}},
	}}
	m, err := trees.New(e, learn.Binary)
	if err != nil {
		t.Fatal(err)
	}
	return &bundle.Contents{
		Manifest: bundle.Manifest{
			Project: "shop", Model: "returns", Task: learn.Binary, Inputs: mixed, Learner: "gbdt", Params: json.RawMessage("{}"), Examples: len(rows),
			Metrics: json.RawMessage("{}"), Data: bundle.Data{Topic: "shop.examples"},
		},
		Transform: bundle.FitCategories(mixed, slices.Values(rows)), Model: m, Golden: rows[:20],
	}, rows
}

// TestTreesInABundle writes trees, opens them and scores as before; contributions
// add up to the log-odds.
func TestTreesInABundle(t *testing.T) {
	c, rows := grown(t, 1)
	dir, key := t.TempDir(), testKey(1)
	id, err := bundle.Write(dir, c, key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Open(dir, id, []ed25519.PublicKey{public(key)})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range rows {
		var row learn.Row
		c.Transform.Row(&row, x)
		want := c.Model.Predict(row)
		got, err := b.Score(x)
		if err != nil || got != want {
			t.Fatalf("%v scores %v, want %v: %v", x, got, want, err)
		}
		e, err := b.Explain(x)
		if err != nil {
			t.Fatal(err)
		}
		if odds := math.Log(got / (1 - got)); math.Abs(e.Score-odds) > 1e-9 || len(e.ByInput) != 4 || e.ByInput[3] != 0 {
			t.Fatalf("%v: %+v, and the log-odds are %v", x, e, odds)
		}
	}
}
