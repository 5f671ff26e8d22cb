package bundle_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
)

// A peer is a model of another program with what that program answers.
type peer struct {
	format, file string
	inputs       []bundle.Input
	rows         [][]features.Value
	want         []float64
}

func readJSON(t *testing.T, file string, v any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
}

// peers are binary models of XGBoost and of scikit-learn by ONNX.
func peers(t *testing.T) []peer {
	t.Helper()
	var xgb struct {
		Inputs [][]*float64
		Cases  []struct {
			ID         string
			Features   []string
			Prediction json.RawMessage
		}
	}
	readJSON(t, "../learn/trees/testdata/xgboost.json", &xgb)
	x := peer{format: bundle.XGBoost, file: "../learn/trees/testdata/learners/xgb_binary.json", rows: vectorsOf(xgb.Inputs)}
	for _, c := range xgb.Cases {
		if c.ID == "xgb_binary" {
			if err := json.Unmarshal(c.Prediction, &x.want); err != nil {
				t.Fatal(err)
			}
			for _, name := range c.Features {
				x.inputs = append(x.inputs, input(name, expr.Float))
			}
		}
	}
	var on struct {
		Cases []struct {
			ID          string
			Inputs      [][]*float64
			Onnxruntime []float64
		}
	}
	readJSON(t, "../learn/onnx/testdata/known/onnx.json", &on)
	o := peer{format: bundle.ONNX, file: "../learn/onnx/testdata/known/onnx_imputer_scaler_logistic.onnx"}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		o.inputs = append(o.inputs, input(name, expr.Float))
	}
	for _, c := range on.Cases {
		if c.ID == "onnx_imputer_scaler_logistic" {
			o.rows, o.want = vectorsOf(c.Inputs), c.Onnxruntime
		}
	}
	return []peer{x, o}
}

func vectorsOf(rows [][]*float64) (out [][]features.Value) {
	for _, r := range rows {
		x := make([]features.Value, len(r))
		for i, v := range r {
			if v != nil {
				x[i] = expr.FloatValue(*v)
			}
		}
		out = append(out, x)
	}
	return out
}

// TestImportedModelsInABundle writes models of other programs, opens them and
// scores as those programs do. The weights are their files, to the byte.
func TestImportedModelsInABundle(t *testing.T) {
	for _, p := range peers(t) {
		file, err := os.ReadFile(p.file)
		if err != nil || len(p.rows) == 0 || len(p.rows) != len(p.want) {
			t.Fatal(err, len(p.rows), len(p.want))
		}
		model, err := bundle.Import(p.format, file, p.inputs, learn.Binary)
		if err != nil {
			t.Fatal(err)
		}
		dir, key := t.TempDir(), testKey(1)
		id, err := bundle.Write(dir, &bundle.Contents{
			Manifest: bundle.Manifest{
				Project: "shop", Model: "returns", Task: learn.Binary, Inputs: p.inputs, Learner: "exec", Weights: p.format, Params: json.RawMessage("{}"),
				Metrics: json.RawMessage("{}"), Data: bundle.Data{Topic: "shop.examples"},
			},
			Transform: bundle.NewPlain(p.inputs), Model: model, Golden: p.rows[:20],
		}, key)
		if err != nil {
			t.Fatal(err)
		}
		if weights, err := os.ReadFile(filepath.Join(dir, id, bundle.WeightsName)); err != nil || !bytes.Equal(weights, file) {
			t.Errorf("%s: the weights are not the file: %v", p.format, err)
		}
		b, err := bundle.Open(dir, id, []ed25519.PublicKey{public(key)})
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range p.rows {
			if got, err := b.Score(x); err != nil || math.Abs(got-p.want[i]) > 1e-5 {
				t.Errorf("%s: row %d scores %v, want %v: %v", p.format, i, got, p.want[i], err)
			}
		}
		_, err = b.Explain(p.rows[0])
		if trees := p.format == bundle.XGBoost; trees != (err == nil) || !trees && !errors.Is(err, bundle.ErrNoExplanation) {
			t.Errorf("%s: explained with %v", p.format, err)
		}
	}
}

// TestImportRefuses wants an error that says what is wrong with a file.
func TestImportRefuses(t *testing.T) {
	all := peers(t)
	xgb, scaler := all[0], all[1]
	read := func(file string) []byte {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	swapped := slices.Clone(xgb.inputs)
	swapped[0], swapped[1] = swapped[1], swapped[0]
	text := slices.Clone(xgb.inputs)
	text[5] = input("sector", expr.String)
	for _, c := range []struct {
		want, format string
		file         []byte
		inputs       []bundle.Input
		task         learn.Task
	}{
		{`format is "pickle"`, "pickle", read(xgb.file), xgb.inputs, learn.Binary},
		{"train on the columns in the order of the data set", bundle.XGBoost, read(xgb.file), swapped, learn.Binary},
		{"it has 6 features, and the model 5", bundle.XGBoost, read(xgb.file), xgb.inputs[:5], learn.Binary},
		{`input "sector" is a text`, bundle.XGBoost, read(xgb.file), text, learn.Binary},
		{"regression", bundle.XGBoost, read(xgb.file), xgb.inputs, learn.Regression},
		{"softmax", bundle.XGBoost, read("../learn/trees/testdata/learners/xgb_softprob.json"), xgb.inputs, learn.Binary},
		{"", bundle.XGBoost, read(xgb.file)[:5000], xgb.inputs, learn.Binary},
		{"", bundle.LightGBM, read(xgb.file), xgb.inputs, learn.Binary},
		{"", bundle.ONNX, read(scaler.file)[:300], scaler.inputs, learn.Binary},
		{"", bundle.ONNX, read(scaler.file), scaler.inputs[:4], learn.Binary},
		{"it is a classifier", bundle.ONNX, read(scaler.file), scaler.inputs, learn.Regression},
	} {
		if _, err := bundle.Import(c.format, c.file, c.inputs, c.task); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.format, err, c.want)
		}
	}
}
