//go:build python

package external

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/onnx"
	"github.com/millrace/millrace/trainer/learn/trees"
)

// python is an interpreter that has the packages of testdata/requirements.txt.
func python(t *testing.T) string {
	t.Helper()
	path := os.Getenv("MILLRACE_PYTHON")
	if path == "" {
		t.Fatal("MILLRACE_PYTHON is not the path of a python3: run make test-python")
	}
	return path
}

// shop is rows whose label depends on each column, and on one of them being missing.
func shop(n int) *Dataset {
	r := rand.New(rand.NewPCG(1, 2))
	var rows []Row
	for i := range n {
		spend, orders, member := r.ExpFloat64()*100, r.IntN(20), r.IntN(2) == 0
		plan := []string{"free", "basic", "gold", ""}[r.IntN(4)]
		z := spend/50 - float64(orders)/5 + map[string]float64{"gold": 2, "basic": -1}[plan]
		x := []features.Value{expr.FloatValue(spend), expr.IntValue(int64(orders)), expr.BoolValue(member), expr.StringValue(plan)}
		if r.IntN(5) == 0 {
			x[0], z = features.Value{}, z-1
		}
		if member {
			z++
		}
		row := Row{Values: x, Weight: 0.5 + r.Float64(), Time: int64(i) * 1e6, Known: int64(i+50) * 1e6}
		if r.Float64() < 1/(1+math.Exp(-z)) {
			row.Label = 1
		}
		rows = append(rows, row)
	}
	columns := []Column{{"shop.spend_30d", expr.Float}, {"shop.orders", expr.Int}, {"customer.member", expr.Bool}, {"customer.plan", expr.String}}
	return &Dataset{Columns: columns, Rows: slices.Values(rows)}
}

// only is a data set of the texts or of the numbers of another.
func only(d *Dataset, texts bool) *Dataset {
	out := &Dataset{}
	for _, c := range d.Columns {
		if texts == (c.Kind == expr.String) {
			out.Columns = append(out.Columns, c)
		}
	}
	out.Rows = func(yield func(Row) bool) {
		for r := range d.Rows {
			var values []features.Value
			for i, v := range r.Values {
				if texts == (d.Columns[i].Kind == expr.String) {
					values = append(values, v)
				}
			}
			if r.Values = values; !yield(r) {
				return
			}
		}
	}
	return out
}

// rowOf is a row as a model gets it.
func rowOf(r *Row) learn.Row {
	var x learn.Row
	for _, v := range r.Values {
		number, ok := v.Number()
		switch {
		case v.Kind == expr.String:
			x.Texts = append(x.Texts, v.Str)
		case v.Kind == expr.Bool:
			x.Dense = append(x.Dense, float64(v.Bits))
		case ok:
			x.Dense = append(x.Dense, number)
		default:
			x.Dense = append(x.Dense, math.NaN())
		}
	}
	return x
}

func readModel(t *testing.T, d *Dataset, task learn.Task, out *Output) learn.Model {
	t.Helper()
	var e *trees.Ensemble
	var m learn.Model
	var err error
	switch out.Format {
	case XGBoost:
		e, err = trees.ReadXGBoost(out.Model)
	case LightGBM:
		e, err = trees.ReadLightGBM(out.Model)
	case ONNX:
		var o *onnx.Model
		if o, err = onnx.Read(out.Model); err == nil {
			var names []string
			var kinds []onnx.FeatureKind
			for _, c := range d.Columns {
				names, kinds = append(names, c.Name), append(kinds, map[bool]onnx.FeatureKind{true: onnx.Text, false: onnx.Number}[c.Kind == expr.String])
			}
			m, err = o, o.Bind(names, kinds)
		}
	}
	if err == nil && e != nil {
		var names []string
		for _, c := range d.Columns {
			names = append(names, c.Name)
		}
		if !slices.Equal(e.Names, names) {
			t.Errorf("the model is of %q, want %q", e.Names, names)
		}
		m, err = trees.New(e, task)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestPythonTrains runs the programs that the documents show, and holds that models
// that they leave score here as there.
func TestPythonTrains(t *testing.T) {
	all := shop(4000)
	numbers := only(all, false)
	for name, want := range map[string]struct {
		script, format, parameters string
		task                       learn.Task
		d                          *Dataset
	}{
		"sklearn":             {"sklearn_train.py", ONNX, `{"C": 0.5}`, learn.Binary, all},
		"sklearn numbers":     {"sklearn_train.py", ONNX, `{}`, learn.Binary, numbers},
		"sklearn texts":       {"sklearn_train.py", ONNX, `{}`, learn.Binary, only(all, true)},
		"xgboost":             {"xgboost_train.py", XGBoost, `{"max_depth": 3, "rounds": 100}`, learn.Binary, numbers},
		"xgboost regression":  {"xgboost_train.py", XGBoost, `{"rounds": 50}`, learn.Regression, numbers},
		"lightgbm":            {"lightgbm_train.py", LightGBM, `{"num_leaves": 7, "rounds": 100}`, learn.Binary, numbers},
		"lightgbm regression": {"lightgbm_train.py", LightGBM, `{"rounds": 50}`, learn.Regression, numbers},
	} {
		t.Run(name, func(t *testing.T) {
			d := want.d
			c := Command{
				Args: []string{python(t), want.script}, Dir: "testdata", Task: want.task, Parameters: json.RawMessage(want.parameters),
				Timeout: 10 * time.Minute, Log: lines(func(string) {}),
			}
			if memoryLimited {
				c.Memory = 1 << 30 // of address space they take more on a few processors
			}
			out, err := c.Train(t.Context(), t.TempDir(), d)
			if err != nil {
				t.Fatal(err)
			}
			if out.Format != want.format || len(out.Predictions) != 100 || len(out.Report) == 0 || out.Log == "" {
				t.Fatalf("a model of %s with %d predictions, the report %s and the log %q", out.Format, len(out.Predictions), out.Report, out.Log)
			}
			m := readModel(t, d, want.task, out)
			i, worst, different := 0, 0.0, map[float64]bool{}
			for r := range d.Rows {
				if i == len(out.Predictions) {
					break
				}
				worst = max(worst, math.Abs(m.Predict(rowOf(&r))-out.Predictions[i]))
				different[out.Predictions[i]] = true
				i++
			}
			if !(worst <= 1e-5) || len(different) < 4 {
				t.Errorf("scores differ from Python's by up to %v; it made %d different ones\n%s", worst, len(different), out.Log)
			}
			t.Logf("%s, %d bytes, scores differ by up to %.2g, %s", out.Format, len(out.Model), worst, out.Report)
		})
	}
}

// TestPythonReads holds what pandas makes of a data set: types, missing values,
// texts and times.
func TestPythonReads(t *testing.T) {
	const script = `
import argparse, json, pathlib, pandas
p = argparse.ArgumentParser()
for a in ("data", "params", "out"): p.add_argument("--" + a, type=pathlib.Path)
a = p.parse_args()
f = pandas.read_parquet(a.data)
print(*(f"{c} {t}" for c, t in f.dtypes.items()), sep="; ")
for r in f.itertuples(index=False, name=None): print(*r, sep="|")
(a.out / "model.txt").write_text("tree\n")
`
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "read.py"), []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	rows := []Row{
		{Values: []features.Value{expr.FloatValue(1.5), expr.IntValue(-3), expr.BoolValue(true), expr.StringValue("ü|")}, Weight: 1, Time: 0, Known: 2e6},
		{Values: []features.Value{{}, {}, {}, {}}, Label: 1, Weight: 0.5, Time: 1700000000123456, Known: 1700000001000000},
		{Values: []features.Value{expr.FloatValue(math.NaN()), expr.IntValue(1 << 53), expr.BoolValue(false), expr.StringValue("")}, Weight: 1, Time: 1700000002000000, Known: 1700000003000000},
	}
	d := &Dataset{Columns: shop(0).Columns, Rows: slices.Values(rows), Validation: 0.4}
	c := Command{Args: []string{python(t), "read.py"}, Dir: dir, Log: lines(func(string) {})}
	out, err := c.Train(t.Context(), t.TempDir(), d)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"shop.spend_30d float64; shop.orders float64; customer.member float64; customer.plan TEXT; label float64; weight float64; time datetime64[us, UTC]; known datetime64[us, UTC]; split TEXT",
		"1.5|-3.0|1.0|ü||0.0|1.0|1970-01-01 00:00:00+00:00|1970-01-01 00:00:02+00:00|train",
		"nan|nan|nan||1.0|0.5|2023-11-14 22:13:20.123456+00:00|2023-11-14 22:13:21+00:00|train",
		fmt.Sprintf("nan|%.1f|0.0||0.0|1.0|2023-11-14 22:13:22+00:00|2023-11-14 22:13:23+00:00|validation", 9007199254740992.0),
	}
	got := strings.Split(out.Log, "\n")
	got[0] = strings.NewReplacer(" str;", " TEXT;", " object;", " TEXT;").Replace(got[0] + ";")
	got[0] = strings.TrimSuffix(got[0], ";")
	if !slices.Equal(got, want) {
		t.Errorf("pandas reads\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestPythonFails holds what is said of scripts that fail, and of one that takes
// more memory than it may: numpy's, which no limit of address space fits.
func TestPythonFails(t *testing.T) {
	for want, script := range map[string]string{
		"it failed with exit status 1; the last that it printed:\n\tTraceback": "raise ValueError('no such column')",
		"ValueError: no such column":                                               "raise ValueError('no such column')",
		"No module named 'no_such_package'":                                        "import no_such_package",
		"of memory, where 256.0 MiB are allowed (memory), and was killed: give it": "import numpy, time; x = numpy.ones(1 << 27); time.sleep(600)",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "train.py"), []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		c := Command{Args: []string{python(t), "train.py"}, Dir: dir, Log: lines(func(string) {})}
		if strings.Contains(script, "numpy") {
			if !memoryLimited {
				continue
			}
			c.Memory = 256 << 20
		}
		var fault *ProgramError
		if _, err := c.Train(t.Context(), t.TempDir(), shop(10)); !errors.As(err, &fault) || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one with %q", err, want)
		}
	}
}
