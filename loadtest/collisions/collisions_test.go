package collisions

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// moments are of one column.
type moments struct{ sum, squares float64 }

func (m *moments) add(x float64) { m.sum, m.squares = m.sum+x, m.squares+x*x }

func TestRowsFollowTheLaw(t *testing.T) {
	const n = 100_000
	g := NewGenerator(1)
	var r Row
	var columns [Features]moments
	var truths, labels, scores moments
	for range n {
		truth := g.Next(&r)
		for i, x := range r.X {
			columns[i].add(float64(x))
		}
		scores.add(math.Log(truth/(1-truth)) / 1.2)
		truths.add(truth)
		labels.add(float64(r.Label))
	}
	near := func(what string, got, want, within float64) {
		if !(math.Abs(got-want) <= within) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	for i, c := range columns {
		if i < 21 {
			near(fmt.Sprint("mean of column ", i), c.sum/n, 0, 0.015)
			near(fmt.Sprint("variance of column ", i), c.squares/n, 1, 0.025)
			continue
		}
		// A product of two has variance 1, half a third one 1/4. Of |ab + c/2| the
		// mean is that of the root of a^2 + 1/4 times the root of 2/pi, or 0.796.
		near(fmt.Sprint("mean of column ", i), c.sum/n, 0.796, 0.015)
		near(fmt.Sprint("mean square of column ", i), c.squares/n, 1.25, 0.05)
	}
	near("mean of scores", scores.sum/n, 0, 0.02)
	near("labels against their probabilities", labels.sum, truths.sum, 4*math.Sqrt(truths.sum-truths.squares))
}

// TestTruth computes a row's probability by hand.
func TestTruth(t *testing.T) {
	var x [Features]float32
	if got, want := score(&x), -0.4+0.5*math.Sqrt(2/math.Pi); math.Abs(got-want) > 1e-15 {
		t.Errorf("zeros: %v, want %v", got, want)
	}
	for i, v := range map[int]float32{0: 2, 1: -1, 2: 0.25, 3: 3, 4: -2, 5: 1, 6: 0.5, 8: 1, 9: 1, 10: 0.5, 11: 4, 21: 3, 22: 1, 23: 2} {
		x[i] = v
	}
	want := -1.2 + 0.5*math.Sin(0.5) + 3.2 - 1 + 0.5*math.Sqrt(2/math.Pi) + 0.4 + 0.3 - 0.3*math.Tanh(0.5) + 0.6 + 2
	if got := score(&x); math.Abs(got-want) > 1e-14 {
		t.Errorf("%v, want %v", got, want)
	}
	x[6] = -0.5
	if got := score(&x); math.Abs(got-want+0.4) > 1e-14 {
		t.Errorf("without the step: %v, want %v", got, want-0.4)
	}
}

// TestPredictionsCanBeThisGood holds the optimum against that of the same law
// from numpy's random numbers, 0.78235.
func TestPredictionsCanBeThisGood(t *testing.T) {
	d := Generate(300_000, 2)
	if math.Abs(d.BayesAUC-0.78235) > 0.006 { // four deviations
		t.Errorf("AUC of the true probabilities %v, want about 0.78235", d.BayesAUC)
	}
	if !(d.BayesLoss > 0.5 && d.BayesLoss < 0.6) {
		t.Errorf("log loss of the true probabilities %v", d.BayesLoss)
	}
}

func TestOneSeedMakesTheSameRows(t *testing.T) {
	a, b, c := Generate(200, 7), Generate(100, 7), Generate(200, 8)
	for i, r := range b.Train {
		if a.Train[i] != r {
			t.Fatalf("row %d is %+v and %+v", i, a.Train[i], r)
		}
	}
	if a.Train[0] == c.Train[0] {
		t.Error("another seed makes the same row")
	}
	if len(a.Test) != 40 {
		t.Errorf("%d test rows, want 40", len(a.Test))
	}
}

// TestFilesOfASeed says which bytes a seed makes, for figures of one version to be
// compared with those of another.
func TestFilesOfASeed(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "rows")
	if err := Generate(1000, 5).Write(prefix); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(prefix + "_train.f32")
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != 1000*116 {
		t.Errorf("%d bytes, want 116 for each of 1000 rows", len(b))
	}
	sum := sha256.Sum256(b)
	if got, want := hex.EncodeToString(sum[:8]), "33263989b7f3eb44"; got != want {
		t.Errorf("bytes have digest %s, want %s", got, want)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	d := Generate(300, 3)
	d.Train[4].X[2] = float32(math.Copysign(0, -1))
	prefix := filepath.Join(t.TempDir(), "rows")
	if err := d.Write(prefix); err != nil {
		t.Fatal(err)
	}
	got, err := Read(prefix + ".meta.json")
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(d) {
		t.Errorf("read %+v, want %+v", got, d)
	}
}

func TestReadSaysWhatIsWrong(t *testing.T) {
	const fine = `{"train": 200, "test": 40, "bayes_auc": 0.78, "bayes_logloss": 0.55}`
	for want, fault := range map[string]struct {
		meta   string
		change func(*Data)
	}{
		"rows_train.f32 has 23200 bytes; 201 rows": {meta: strings.Replace(fine, "200", "201", 1)},
		"rows_test.f32 has 4640 bytes; 39 rows":    {meta: strings.Replace(fine, "40", "39", 1)},
		"train 0 and test 40":                      {meta: strings.Replace(fine, "200", "0", 1)},
		"train 200 and test 10000001":              {meta: strings.Replace(fine, "40", "10000001", 1)},
		"has no bayes_auc":                         {meta: strings.Replace(fine, "bayes_auc", "auc", 1)},
		"invalid character":                        {meta: "x"},
		"row 3: label 2":                           {meta: fine, change: func(d *Data) { d.Train[3].Label = 2 }},
		"rows_test.f32: row 3: label NaN":          {meta: fine, change: func(d *Data) { d.Test[3].Label = float32(math.NaN()) }},
		"row 3: number 27 is -Inf":                 {meta: fine, change: func(d *Data) { d.Train[3].X[27] = float32(math.Inf(-1)) }},
	} {
		d := Generate(200, 3)
		if fault.change != nil {
			fault.change(d)
		}
		prefix := filepath.Join(t.TempDir(), "rows")
		if err := d.Write(prefix); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(prefix+metaFile, []byte(fault.meta), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(prefix + metaFile); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "w5.meta.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Read("w5_train.f32"); err == nil || !strings.Contains(err.Error(), "give the file that ends with .meta.json") {
		t.Errorf("another file: %v", err)
	}
}
