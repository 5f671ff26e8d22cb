package onnx

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

// modelFiles returns the files of testdata by name.
func modelFiles(t testing.TB) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	for _, pattern := range []string{"known", "exports"} {
		paths, err := filepath.Glob(filepath.Join("testdata", pattern, "*.onnx"))
		if err != nil || len(paths) == 0 {
			t.Fatal(paths, err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files[filepath.Base(path)] = data
		}
	}
	return files
}

// bindInputs binds a model to features that are called as its inputs, or as many
// as its one input takes, and returns rows that it can score.
func bindInputs(m *Model) ([]learn.Row, error) {
	var features []string
	var kinds []FeatureKind
	rows := []learn.Row{{}, {}, {}}
	for _, in := range m.Inputs() {
		width := in.Width
		if width < 0 {
			width = 2
		}
		for i := range width {
			name, kind := in.Name, Number
			if width > 1 {
				name = fmt.Sprint(in.Name, i)
			}
			if in.Kind == String {
				kind = Text
			}
			features, kinds = append(features, name), append(kinds, kind)
			for k := range rows {
				if kind == Text {
					rows[k].Texts = append(rows[k].Texts, []string{"", "Rome", "1"}[k])
				} else {
					rows[k].Dense = append(rows[k].Dense, []float64{0, math.NaN(), -1e30}[k])
				}
			}
		}
	}
	return rows, m.Bind(features, kinds)
}

// tryAll reads a file and scores rows, if it can be read: nothing may panic.
func tryAll(data []byte) error {
	m, err := Read(data)
	if err != nil {
		return err
	}
	rows, err := bindInputs(m)
	if err != nil {
		return err
	}
	for _, row := range rows {
		m.Predict(row)
	}
	return nil
}

// TestCutFiles cuts every file at every few bytes.
func TestCutFiles(t *testing.T) {
	for name, data := range modelFiles(t) {
		if err := tryAll(data); err != nil {
			t.Errorf("%s, whole: %v", name, err)
		}
		for n := 0; n < len(data); n += 1 + len(data)/100 {
			err := tryAll(data[:n])
			if err == nil && len(data)-n > 30 { // an opset of no use may be missing
				t.Errorf("%s cut to %d of %d bytes is read", name, n, len(data))
			}
		}
	}
}

// TestTamperedFiles changes bytes of every file: what is read after that must score
// without a panic.
func TestTamperedFiles(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, data := range modelFiles(t) {
		for range 60 {
			changed := bytes.Clone(data)
			for range 1 + r.IntN(3) {
				changed[r.IntN(len(changed))] = byte(r.Uint32())
			}
			_ = tryAll(changed)
		}
	}
}

// FuzzRead looks for files that are read but cannot be scored.
func FuzzRead(f *testing.F) {
	for _, data := range modelFiles(f) {
		if len(data) < 4000 {
			f.Add(data)
		}
	}
	for i, c := range readOperators(f) {
		if i%4 == 0 {
			f.Add(c.Model)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) { _ = tryAll(data) })
}

// TestBytes writes and reads a model.
func TestBytes(t *testing.T) {
	data := modelFiles(t)["gradient_boosting.onnx"]
	m, err := Read(data)
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.AppendBinary([]byte("before"))
	if err != nil || !bytes.Equal(out, append([]byte("before"), data...)) {
		t.Errorf("%d bytes and %v for a file of %d", len(out), err, len(data))
	}
	row := learn.Row{Dense: []float64{.1, -.2, 1, 0, 3}}
	want := m.Predict(row)
	var again Model
	if err := again.UnmarshalBinary(data); err != nil || again.Predict(row) != want {
		t.Errorf("read again: %v, %v instead of %v", err, again.Predict(row), want)
	}
	if err := again.UnmarshalBinary(data[:100]); err == nil || again.Predict(row) != want {
		t.Errorf("a cut file gives error %v and changes the model", err)
	}
	clear(data)
	if got := m.Predict(row); got != want {
		t.Errorf("the model changes with the bytes that it was read from")
	}
}

// TestAtOnce scores rows of several goroutines.
func TestAtOnce(t *testing.T) {
	m := readModel(t, "testdata", "exports", "columns_ordinal_forest.onnx")
	rows, names, kinds := readExports(t).rowsOf("mixed")
	if err := m.Bind(names, kinds); err != nil {
		t.Fatal(err)
	}
	want := make([]float64, len(rows))
	for i, row := range rows {
		want[i] = m.Predict(row)
	}
	var wait sync.WaitGroup
	for g := range 4 {
		wait.Go(func() {
			for i := range 400 {
				k := (i*7 + g) % len(rows)
				if got := m.Predict(rows[k]); got != want[k] {
					t.Errorf("row %d: %v, alone it is %v", k, got, want[k])
					return
				}
			}
		})
	}
	wait.Wait()
}

// TestStepsAllocateNothing runs compiled graphs on a state that is there already.
func TestStepsAllocateNothing(t *testing.T) {
	for name, data := range modelFiles(t) {
		m, err := Read(data)
		if err != nil {
			t.Fatal(err)
		}
		st := m.program.newState()
		if n := testing.AllocsPerRun(20, func() { m.program.run(st) }); n != 0 {
			t.Errorf("%s: %v allocations a row", name, n)
		}
	}
}

// TestInputs tells what models take and give.
func TestInputs(t *testing.T) {
	m := readModel(t, "testdata", "exports", "columns_onehot_logistic.onnx")
	want := "[{amount float 1} {age float 1} {visits int64 1} {city string 1} {plan string 1}]"
	var got []string
	for _, in := range m.Inputs() {
		got = append(got, fmt.Sprint("{", in.Name, " ", in.Kind, " ", in.Width, "}"))
	}
	if s := "[" + strings.Join(got, " ") + "]"; s != want {
		t.Errorf("inputs %s, want %s", s, want)
	}
	if m.Task() != learn.Binary {
		t.Errorf("its task is %q", m.Task())
	}
	if task := readModel(t, "testdata", "exports", "minmax_ridge.onnx").Task(); task != learn.Regression {
		t.Errorf("the task of ridge regression is %q", task)
	}
}
