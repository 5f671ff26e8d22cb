package onnx

import (
	"math"
	"slices"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

// An exportCase is a model of exports.json with the scores of its rows.
type exportCase struct {
	Name        string
	Rows        string // of rows, or else of tables
	Onnxruntime []float64
	Library     []float64
}

type exportFile struct {
	Rows   map[string][][]jsonNumber
	Tables map[string]map[string][]any
	Cases  []exportCase
}

func readExports(t testing.TB) exportFile {
	t.Helper()
	var file exportFile
	readJSON(t, &file, "testdata", "exports", "exports.json")
	return file
}

// rowsOf returns the rows of a case, and what features they have, if they are of a
// table.
func (f exportFile) rowsOf(name string) (rows []learn.Row, names []string, kinds []FeatureKind) {
	for _, row := range f.Rows[name] {
		rows = append(rows, learn.Row{Dense: plain(row)})
	}
	for column, values := range f.Tables[name] {
		names = append(names, column)
		_ = values
	}
	slices.Sort(names) // another order than that of the file's inputs
	for _, column := range names {
		values := f.Tables[name][column]
		rows = slices.Grow(rows, len(values))[:len(values)]
		_, text := values[0].(string)
		kinds = append(kinds, map[bool]FeatureKind{true: Text}[text])
		for i, v := range values {
			switch v := v.(type) {
			case string:
				rows[i].Texts = append(rows[i].Texts, v)
			case float64:
				rows[i].Dense = append(rows[i].Dense, v)
			default:
				rows[i].Dense = append(rows[i].Dense, math.NaN())
			}
		}
	}
	return rows, names, kinds
}

// TestExports scores models of scikit-learn, XGBoost and LightGBM, and compares with
// onnxruntime and with the library that made them.
func TestExports(t *testing.T) {
	file := readExports(t)
	if len(file.Cases) < 45 {
		t.Fatalf("%d cases", len(file.Cases))
	}
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			m := readModel(t, "testdata", "exports", c.Name+".onnx")
			rows, names, kinds := file.rowsOf(c.Rows)
			if names != nil {
				if err := m.Bind(names, kinds); err != nil {
					t.Fatal(err)
				}
			}
			if len(rows) != len(c.Onnxruntime) || len(rows) < 20 {
				t.Fatalf("%d rows, %d scores", len(rows), len(c.Onnxruntime))
			}
			for i, row := range rows {
				got := m.Predict(row)
				if diff := math.Abs(got - c.Onnxruntime[i]); !(diff <= 2e-6*max(1, math.Abs(got))) {
					t.Errorf("row %d: %v, onnxruntime says %v", i, got, c.Onnxruntime[i])
				}
				if diff := math.Abs(got - c.Library[i]); !(diff <= 1e-5) {
					t.Errorf("row %d: %v, the library says %v", i, got, c.Library[i])
				}
			}
		})
	}
}
