package clicks

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

func TestRowsFollowTheLaw(t *testing.T) {
	const n = 50_000
	g := NewGenerator(1)
	var r Row
	none, logs, squares := 0.0, 0.0, 0.0
	var first, values [Categories]float64
	labels, expected, truths := 0.0, 0.0, 0.0
	for range n {
		p := g.Next(&r)
		for _, x := range r.Numbers {
			if x == 0 {
				none++
				continue
			}
			logs += math.Log(float64(x))
			squares += math.Pow(math.Log(float64(x))-logMean, 2)
		}
		for j, c := range r.Categories {
			if c == 0 {
				first[j]++
			}
			values[j] = max(values[j], float64(c))
		}
		labels += float64(r.Label)
		expected += p
		truths += p * (1 - p)
	}
	near := func(what string, got, want, within float64) {
		if !(math.Abs(got-want) <= within) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	drawn := n*Numbers - none
	near("missing numbers", none/(n*Numbers), missing, 0.003)
	near("mean of logarithms", logs/drawn, logMean, 0.01)
	near("their deviation", math.Sqrt(squares/drawn), logScale, 0.01)
	near("labels against their probabilities", labels, expected, 4*math.Sqrt(truths))
	for j := range values {
		sum := 0.0
		for k := range cardinality(j) {
			sum += math.Pow(float64(k+1), -zipf)
		}
		near(fmt.Sprint("the most common value of category ", j), first[j]/n, 1/sum, 0.01)
		if values[j] >= float64(cardinality(j)) {
			t.Errorf("category %d has value %v of %d", j, values[j], cardinality(j))
		}
	}
	if a, b := cardinality(0), cardinality(Categories-1); a != 10 || b != 100_000 {
		t.Errorf("%d to %d values, want 10 to 100000", a, b)
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

func TestEncodeTellsValuesApart(t *testing.T) {
	var r Row
	var x learn.Row
	r.Numbers[2] = float32(math.E - 1)
	seen := make(map[uint32]string)
	for c := range uint32(2000) {
		for j := range r.Categories {
			r.Categories[j] = c
		}
		r.Encode(&x)
		if len(x.Dense) != Numbers || x.Dense[0] != -1 || math.Abs(x.Dense[2]) > 1e-7 {
			t.Fatalf("the numbers %v became %v", r.Numbers, x.Dense)
		}
		for j, h := range x.Hashed {
			seen[h] = fmt.Sprint(j, c)
		}
	}
	// 52,000 values in 2^24 places: chance lets about 80 of them share.
	if want := Categories * 2000; len(seen) < want-200 {
		t.Errorf("%d values have %d places", want, len(seen))
	}
}

func TestBenchLearns(t *testing.T) {
	d := Generate(40_000, 4)
	res, err := Bench(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if !(d.Bayes < res.LogLoss && res.LogLoss < 0.9*res.Trivial) {
		t.Errorf("log loss %v, the truth's %v, the base rate's %v", res.LogLoss, res.Bayes, res.Trivial)
	}
	if res.Learn.Rows != 40_000 || res.Predict.Rows != 8_000 || res.Learn.PerCPUSecond <= 0 || res.Predict.CPUSeconds <= 0 {
		t.Errorf("%+v", res)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Bench(ctx, d); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
}

func TestTrivial(t *testing.T) {
	d := &Data{Test: make([]Row, 4)}
	if got := d.Trivial(); got != 0 {
		t.Errorf("one label: %v, want 0", got)
	}
	d.Test[2].Label = 1
	if got, want := d.Trivial(), -(math.Log(0.25)+3*math.Log(0.75))/4; math.Abs(got-want) > 1e-15 {
		t.Errorf("one in four: %v, want %v", got, want)
	}
}

// write writes a file of rows as the benchmarks of other learners have them.
func write(t *testing.T, d *Data, meta string) string {
	t.Helper()
	var b []byte
	for _, rows := range [][]Row{d.Train, d.Test} {
		for _, r := range rows {
			b = append(b, r.Label)
			for _, x := range r.Numbers {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
			}
			for _, c := range r.Categories {
				b = binary.LittleEndian.AppendUint32(b, c)
			}
		}
	}
	name := filepath.Join(t.TempDir(), "w4.bin")
	for file, data := range map[string][]byte{name: b, strings.TrimSuffix(name, ".bin") + ".meta.json": []byte(meta)} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return name
}

func TestRead(t *testing.T) {
	d := Generate(50, 3)
	const meta = `{"train": 50, "test": 10, "bayes_logloss": 0.25, "base_rate": 0.2}`
	got, err := Read(write(t, d, meta))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got.Train, got.Test) != fmt.Sprint(d.Train, d.Test) || got.Bayes != 0.25 {
		t.Errorf("%+v, want the rows %+v", got, d)
	}
	for want, fault := range map[string]struct {
		meta   string
		change func(*Row)
	}{
		"the 61 rows":                  {meta: `{"train": 51, "test": 10}`},
		"train 0 and test 10":          {meta: `{"test": 10}`},
		"invalid character":            {meta: `x`},
		"row 3: label 2":               {change: func(r *Row) { r.Label = 2 }},
		"row 3: number 12 is -1":       {change: func(r *Row) { r.Numbers[12] = -1 }},
		"row 3: number 0 is NaN":       {change: func(r *Row) { r.Numbers[0] = float32(math.NaN()) }},
		"row 3: number 0 is +Inf; it ": {change: func(r *Row) { r.Numbers[0] = float32(math.Inf(1)) }},
	} {
		d := Generate(50, 3)
		if fault.change != nil {
			fault.meta = meta
			fault.change(&d.Train[3])
		}
		if _, err := Read(write(t, d, fault.meta)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "w4.bin")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
