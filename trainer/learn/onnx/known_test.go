package onnx

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

// A number is one of a JSON file, where null is a missing value.
type jsonNumber float64

func (n *jsonNumber) UnmarshalJSON(b []byte) error {
	var v *float64
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*n = jsonNumber(math.NaN())
	if v != nil {
		*n = jsonNumber(*v)
	}
	return nil
}

func plain(values []jsonNumber) []float64 {
	row := make([]float64, len(values))
	for i, v := range values {
		row[i] = float64(v)
	}
	return row
}

func readJSON(t testing.TB, v any, path ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
}

func readModel(t testing.TB, path ...string) *Model {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	m, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestKnownAnswers scores the models of the known answers by their names.
func TestKnownAnswers(t *testing.T) {
	var file struct {
		Tolerance map[string]float64
		Cases     []struct {
			ID, Model   string
			Inputs      [][]jsonNumber
			Onnxruntime []float64
			Sklearn     []float64
		}
	}
	readJSON(t, &file, "testdata", "known", "onnx.json")
	if len(file.Cases) != 5 {
		t.Fatalf("%d cases", len(file.Cases))
	}
	for _, c := range file.Cases {
		t.Run(c.ID, func(t *testing.T) {
			m := readModel(t, "testdata", "known", filepath.Base(c.Model))
			for i, row := range c.Inputs {
				got := m.Predict(learn.Row{Dense: plain(row)})
				if diff := math.Abs(got - c.Onnxruntime[i]); !(diff <= file.Tolerance["against onnxruntime"]) {
					t.Errorf("row %d: %v, onnxruntime says %v", i, got, c.Onnxruntime[i])
				}
				if diff := math.Abs(got - c.Sklearn[i]); !(diff <= file.Tolerance["against scikit-learn"]) {
					t.Errorf("row %d: %v, scikit-learn says %v", i, got, c.Sklearn[i])
				}
			}
		})
	}
}
