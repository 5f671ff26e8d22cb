package ftrl

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

// The known answers lie beside the checkout: the data may not be copied.
var answers = filepath.Join("..", "..", "..", "..", "shared", "known-answers")

// vwCase is a case of vw.json.
type vwCase struct {
	ID      string          `json:"id"`
	Args    json.RawMessage `json:"args"`
	Loss    float64         `json:"average_loss_own_float64"`
	LossVW  float64         `json:"average_loss_vw_python"`
	Own     []float64       `json:"predictions_own_float64"`
	After   []float64       `json:"first_after_training"` // those of VW, in float32
	Nonzero int             `json:"nonzero_weights"`
}

func readVWCase(t *testing.T, id string) vwCase {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(answers, "vw.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []vwCase }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, c := range file.Cases {
		if c.ID == id {
			return c
		}
	}
	t.Fatalf("vw.json has no case %s", id)
	return vwCase{}
}

// readVW reads Vowpal Wabbit's text: a label, a namespace, and names of features
// with their values. Each name is a column here. The last column is VW's constant
// feature of 1, which is beside the file's own feature named const.
func readVW(t *testing.T) (rows []learn.Row, labels []float64) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(answers, "learners", "vw_0001.dat"))
	if err != nil {
		t.Fatal(err)
	}
	columns := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		label, features, ok := strings.Cut(line, " |features ")
		y, err := strconv.ParseFloat(label, 64)
		if !ok || err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		dense := make([]float64, len(columns))
		for _, f := range strings.Fields(features) {
			name, value, _ := strings.Cut(f, ":")
			x, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			column, known := columns[name]
			if !known {
				column = len(columns)
				columns[name] = column
				dense = append(dense, 0)
			}
			dense[column] += x
		}
		rows, labels = append(rows, learn.Row{Dense: dense}), append(labels, y)
	}
	for i := range rows {
		dense := make([]float64, len(columns)+1)
		copy(dense, rows[i].Dense)
		dense[len(columns)] = 1
		rows[i].Dense = dense
	}
	return rows, labels
}

// noBias puts the bias back to what it was before the first example: VW's
// constant is a feature with L1 as others, and is a column here.
func noBias(m *Model) { m.bias = place{} }

func TestVWSquared(t *testing.T) {
	const id = "ftrl-squared"
	c := readVWCase(t, id)
	rows, labels := readVW(t)
	p := Params{HashBits: 1, Epochs: 1, RawLabels: true}
	if err := json.Unmarshal(c.Args, &p); err != nil {
		t.Fatal(err)
	}
	m := New(learn.Regression, len(rows[0].Dense), p)
	loss := 0.0
	for i, r := range rows {
		got := m.Predict(r)
		wantNear(t, i, got, c.Own[i], 1e-6)
		loss += (got - labels[i]) * (got - labels[i]) / float64(len(rows))
		m.Learn(r, labels[i], 1)
		noBias(m)
	}
	wantNear(t, len(rows), loss, c.Loss, 1e-9)
	wantNear(t, len(rows), loss, c.LossVW, 1e-5)
	for i, want := range c.After {
		wantNear(t, i, m.Predict(rows[i]), want, 2e-4)
	}
	wantZeroWeights(t, m, c.Nonzero)
}

func TestVWLogistic(t *testing.T) {
	const id = "ftrl-logistic"
	c := readVWCase(t, id)
	rows, labels := readVW(t)
	p := Params{HashBits: 1, Epochs: 1}
	if err := json.Unmarshal(c.Args, &p); err != nil {
		t.Fatal(err)
	}
	m := New(learn.Binary, len(rows[0].Dense), p)
	loss := 0.0
	for i, r := range rows {
		p := m.Predict(r)
		wantNear(t, i, math.Log(p/(1-p)), c.Own[i], 1e-6)
		loss -= math.Log(1-math.Abs(labels[i]-p)) / float64(len(rows))
		m.Learn(r, labels[i], 1)
		noBias(m)
	}
	wantNear(t, len(rows), loss, c.Loss, 1e-9)
	wantNear(t, len(rows), loss, c.LossVW, 1e-5)
	wantZeroWeights(t, m, c.Nonzero)
}

func wantNear(t *testing.T, row int, got, want, within float64) {
	t.Helper()
	if !(math.Abs(got-want) <= within) {
		t.Errorf("row %d: %v, want %v", row, got, want)
	}
}

// wantZeroWeights asks for each weight by a row that has its column only.
func wantZeroWeights(t *testing.T, m *Model, nonzero int) {
	t.Helper()
	nothing := m.Predict(learn.Row{Dense: make([]float64, len(m.dense))})
	got := 0
	for i, s := range m.dense {
		row := learn.Row{Dense: make([]float64, len(m.dense))}
		row.Dense[i] = 1
		moved := m.Predict(row) != nothing
		if moved {
			got++
		}
		if moved != (math.Abs(s.z) > m.params.L1) {
			t.Errorf("column %d with z %v moves a prediction: %v", i, s.z, moved)
		}
	}
	if got != nonzero {
		t.Errorf("%d weights are not zero, want %d", got, nonzero)
	}
}
