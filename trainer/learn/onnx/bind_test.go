package onnx

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

// weighted is a model of inputs that adds them up, each column times its weight.
func weighted(inputs ...[]byte) []byte {
	fields := append(inputs, outY)
	return file(append(fields,
		op("", "Concat", names("a", "b"), names("x"), intAttr("axis", 1)),
		op(domainML, "LinearRegressor", names("x"), names("Y"), floatsAttr("coefficients", 1, 10), intAttr("targets", 1)))...)
}

func kindsOf(s string) []FeatureKind {
	var kinds []FeatureKind
	for _, c := range s {
		kinds = append(kinds, map[rune]FeatureKind{'n': Number, 't': Text}[c])
	}
	return kinds
}

func TestBind(t *testing.T) {
	byName := weighted(inputInfo("a", float32Type, -1, 1), inputInfo("b", float32Type, -1, 1))
	vectors := weighted(inputInfo("a", float32Type, -1, 1), inputInfo("b", float32Type, -1, 1))
	inOrder := file(inputInfo("X", float32Type, -1, 2), outY,
		op(domainML, "LinearRegressor", names("X"), names("Y"), floatsAttr("coefficients", 1, 10), intAttr("targets", 1)))
	open := file(inputInfo("X", float32Type, -1, -1), outY,
		op(domainML, "LinearRegressor", names("X"), names("Y"), floatsAttr("coefficients", 1, 10), intAttr("targets", 1)))
	told := append(slices.Clone(inOrder), message(14, text(1, FeaturesKey), text(2, `["a","b"]`))...)
	ints := file(inputInfo("X", int64Type, -1, 2), outY,
		op(domainML, "Imputer", names("X"), names("I"), intsAttr("imputed_value_int64s", 7), intAttr("replaced_value_int64", math.MinInt64)),
		op("", "Cast", names("I"), names("F"), intAttr("to", 1)),
		op(domainML, "LinearRegressor", names("F"), names("Y"), floatsAttr("coefficients", 1, 10), intAttr("targets", 1)))
	row := []float64{1, 2, 3}
	tests := []struct {
		name     string
		file     []byte
		features string // of one letter each
		kinds    string
		want     float64 // or
		fault    string
	}{
		{"by name", byName, "ab", "nn", 21, ""},
		{"by name in another order", vectors, "ba", "nn", 12, ""},
		{"by name of more", byName, "bca", "nnn", 13, ""},
		{"by name past a text", byName, "bta", "ntn", 12, ""},
		{"by name of a text", byName, "ab", "nt", 0, "a float[N, 1], b float[N, 1], which are not the features a number, b text"},
		{"a name that is not there", byName, "ac", "nn", 0, "are not the features a number, c number"},
		{"in order", inOrder, "pq", "nn", 21, ""},
		{"in order of too many", inOrder, "pqr", "nnn", 0, "X float[N, 2], which are not the features p number, q number, r number"},
		{"in order with a text", inOrder, "pqr", "nnt", 0, "which are not the features"},
		{"an open width", open, "pq", "nn", 21, ""},
		{"an open width that does not fit", open, "pqr", "nnn", 0, "2 coefficients do not make 1 outputs of 3 columns"},
		{"the names of its training", told, "ab", "nn", 21, ""},
		{"the names of its training in another order", told, "ba", "nn", 0, "trained on the features a, b, and the rows have b, a"},
		{"whole numbers", ints, "pq", "nn", 21, ""},
		{"too few kinds", inOrder, "pq", "n", 0, "2 names and 1 kinds"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, err := Read(test.file)
			if err != nil {
				t.Fatal(err)
			}
			err = m.Bind(strings.Split(test.features, ""), kindsOf(test.kinds))
			if test.fault != "" {
				if err == nil || !strings.Contains(err.Error(), test.fault) {
					t.Errorf("error %v does not say %q", err, test.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Predict(learn.Row{Dense: row, Texts: names("t")}); got != test.want {
				t.Errorf("score %v, want %v", got, test.want)
			}
		})
	}
	m, err := Read(open)
	if err != nil {
		t.Fatal(err)
	}
	if m.Inputs()[0].Width != -1 || m.Task() != "" {
		t.Errorf("before Bind the width is %d and the task %q", m.Inputs()[0].Width, m.Task())
	}
	if m.Bind(names("p", "q", "r"), kindsOf("nnn")) == nil || m.Bind(names("p", "q"), kindsOf("nn")) != nil {
		t.Error("a width that does not fit is bound, or one that does is not afterwards")
	}
	if got := m.Predict(learn.Row{Dense: row}); got != 21 || m.Task() != learn.Regression {
		t.Errorf("score %v, task %q", got, m.Task())
	}
	m, err = Read(ints)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Bind(names("p", "q"), kindsOf("nn")); err != nil {
		t.Fatal(err)
	}
	if got := m.Predict(learn.Row{Dense: []float64{math.NaN(), 2}}); got != 27 {
		t.Errorf("a missing whole number scores %v, want the 7 that is put in for it, and 20", got)
	}
}

// TestExportedNames binds inputs that skl2onnx has renamed.
func TestExportedNames(t *testing.T) {
	m, err := Read(file(inputInfo("spend_sum_7d", float32Type, -1, 1), inputInfo("_2nd+", float32Type, -1, 1), outY,
		op("", "Sub", names("spend_sum_7d", "_2nd+"), names("Y"))))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Bind(names("2nd+", "spend.sum 7d"), kindsOf("nn")); err != nil {
		t.Fatal(err)
	}
	if got := m.Predict(learn.Row{Dense: []float64{1, 5}}); got != 4 {
		t.Errorf("score %v, want 5 - 1", got)
	}
	if err := m.Bind(names("2nd+", "spend.sum 7d", "spend_sum.7d"), kindsOf("nnn")); err == nil {
		t.Error("two features that are renamed to one input are bound")
	}
	if err := m.Bind(names("2nd+", "spend.sum 7d", "spend_sum_7d"), kindsOf("nnn")); err != nil {
		t.Error(err)
	}
	if got := m.Predict(learn.Row{Dense: []float64{1, 5, 9}}); got != 8 {
		t.Errorf("score %v, want that of the exact name", got)
	}
}

// TestUnbound predicts before the inputs are known.
func TestUnbound(t *testing.T) {
	defer func() {
		if r := recover(); r == nil || !strings.Contains(r.(string), "before Bind") {
			t.Errorf("it says %v", r)
		}
	}()
	m, err := Read(weighted(inputInfo("a", float32Type, -1, 1), inputInfo("b", float32Type, -1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	m.Predict(learn.Row{Dense: []float64{1, 2}})
}
