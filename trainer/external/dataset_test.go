package external

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/streams/lake"
)

// randomSet is a data set and its rows.
func randomSet(r *rand.Rand) (*Dataset, []Row) {
	d := &Dataset{Validation: []float64{0, 0.01, 0.2, 0.5}[r.IntN(4)]}
	for i := range 1 + r.IntN(6) {
		d.Columns = append(d.Columns, Column{fmt.Sprintf("v.f%d", i), []features.Kind{expr.Bool, expr.Int, expr.Float, expr.String}[r.IntN(4)]})
	}
	var rows []Row
	span := int64(1) << r.IntN(12) // with few times, many rows share one
	for range 1 + r.IntN(300) {
		row := Row{Label: float64(r.IntN(2)), Weight: r.Float64() * float64(r.IntN(2)), Time: r.Int64N(span) - span/2}
		row.Known = row.Time + r.Int64N(1+span/4)
		for _, c := range d.Columns {
			v := features.Value{}
			switch k := r.IntN(6); {
			case k == 0:
			case c.Kind == expr.Bool:
				v = expr.BoolValue(k%2 == 0)
			case c.Kind == expr.Int || c.Kind == expr.Float && k == 1: // whole numbers stand for others
				v = expr.IntValue(int64(k - 3))
			case c.Kind == expr.Float:
				v = expr.FloatValue([]float64{math.NaN(), math.Inf(1), r.NormFloat64()}[k%3])
			default:
				v = expr.StringValue(strings.Repeat("ü", k-1))
			}
			row.Values = append(row.Values, v)
		}
		rows = append(rows, row)
	}
	d.Rows = slices.Values(rows)
	return d, rows
}

// naiveFirst is when the validation set begins: the earliest time that fewer rows
// are after than are wanted, but never that of the oldest.
func naiveFirst(rows []Row, share float64) int64 {
	if share == 0 {
		share = DefaultValidation
	}
	want := max(1, int(share*float64(len(rows))))
	var times []int64
	for _, x := range rows {
		times = append(times, x.Time)
	}
	newer := func(t int64) (n int) {
		for _, x := range times {
			if x > t {
				n++
			}
		}
		return n
	}
	oldest, first := slices.Min(times), int64(math.MaxInt64)
	for _, t := range times {
		if t > oldest && t < first && newer(t) < want {
			first = t
		}
	}
	return first
}

// naiveSplit says which part a row is in, by the words of README.md.
func naiveSplit(r Row, first int64) string {
	switch {
	case r.Time >= first:
		return "validation"
	case r.Known > first:
		return "gap"
	}
	return "train"
}

// TestDataset reads data sets back and compares each cell with what README.md says.
func TestDataset(t *testing.T) {
	parts := map[string]int{}
	for seed := range uint64(30) {
		d, rows := randomSet(rand.New(rand.NewPCG(seed, 1)))
		path := filepath.Join(t.TempDir(), "train.parquet")
		n, err := d.write(t.Context(), path)
		if err != nil || n != len(rows) {
			t.Fatalf("seed %d: %d rows, %v", seed, n, err)
		}
		f, err := lake.OpenFlat(path)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for i, c := range f.Fields {
			names = append(names, c.Name)
			if i < len(d.Columns) && (c.Name != d.Columns[i].Name || (c.Kind == expr.String) != (d.Columns[i].Kind == expr.String) || c.Kind != expr.String && c.Kind != expr.Float) {
				t.Fatalf("seed %d: column %v, want %v as a float or a text", seed, c, d.Columns[i])
			}
		}
		if got := strings.Join(names[len(d.Columns):], " "); got != "label weight time known split" {
			t.Fatalf("seed %d: the inputs are followed by %s", seed, got)
		}
		i, first := 0, naiveFirst(rows, d.Validation)
		for got, err := range f.Rows(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			want := naiveRow(d, rows[i], first)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d: row %d is %v, want %v", seed, i, got, want)
			}
			parts[want[len(want)-1].Str]++
			i++
		}
	}
	if len(parts) != 3 || parts["gap"] < 20 {
		t.Errorf("the parts are %v: the test shows little", parts)
	}
}

func naiveRow(d *Dataset, r Row, first int64) (out []features.Value) {
	for i, v := range r.Values {
		x := math.NaN()
		switch v.Kind {
		case expr.Float:
			x = v.Float()
		case expr.Int:
			x = float64(v.Int())
		case expr.Bool:
			x = map[bool]float64{true: 1}[v.Bool()]
		}
		switch {
		case d.Columns[i].Kind == expr.String:
			out = append(out, expr.StringValue(v.Text()))
		case math.IsNaN(x):
			out = append(out, features.Value{})
		default:
			out = append(out, expr.FloatValue(x))
		}
	}
	return append(out, expr.FloatValue(r.Label), expr.FloatValue(r.Weight), expr.TimeValue(r.Time), expr.TimeValue(r.Known), expr.StringValue(naiveSplit(r, first)))
}

// TestBadDatasets holds what is said of data that no program can be given.
func TestBadDatasets(t *testing.T) {
	x := Column{"v.x", expr.Float}
	good := Row{Values: []features.Value{expr.FloatValue(1)}, Weight: 1}
	with := func(change func(*Row)) []Row {
		r := good
		change(&r)
		return []Row{good, r}
	}
	for want, d := range map[string]*Dataset{
		"the data set has no columns":                             {Rows: slices.Values([]Row{good})},
		"the data set has no rows":                                {Columns: []Column{x}, Rows: slices.Values([]Row{})},
		`an input is named "label"`:                               {Columns: []Column{{"label", expr.Float}}, Rows: slices.Values([]Row{good})},
		`column "t" is of kind time`:                              {Columns: []Column{{"t", expr.Time}}, Rows: slices.Values([]Row{good})},
		`column "v.x" is there twice`:                             {Columns: []Column{x, x}, Rows: slices.Values([]Row{{Values: make([]features.Value, 2)}})},
		"the share of rows for validation is 0.6":                 {Columns: []Column{x}, Rows: slices.Values([]Row{good}), Validation: 0.6},
		"the share of rows for validation is NaN":                 {Columns: []Column{x}, Rows: slices.Values([]Row{good}), Validation: math.NaN()},
		"row 2 of the data set: the label is NaN":                 {Columns: []Column{x}, Rows: slices.Values(with(func(r *Row) { r.Label = math.NaN() }))},
		"row 2 of the data set: the weight is -1":                 {Columns: []Column{x}, Rows: slices.Values(with(func(r *Row) { r.Weight = -1 }))},
		"row 2 of the data set: the weight is +Inf":               {Columns: []Column{x}, Rows: slices.Values(with(func(r *Row) { r.Weight = math.Inf(1) }))},
		"row 2 of the data set: 0 values for 1 columns":           {Columns: []Column{x}, Rows: slices.Values(with(func(r *Row) { r.Values = nil }))},
		`column "v.x" is of kind float, and the value of kind st`: {Columns: []Column{x}, Rows: slices.Values(with(func(r *Row) { r.Values = []features.Value{expr.StringValue("")} }))},
	} {
		_, err := fake("good").Train(t.Context(), t.TempDir(), d)
		var fault *ProgramError
		if err == nil || !strings.Contains(err.Error(), want) || errors.As(err, &fault) {
			t.Errorf("the error is %v, want one with %q", err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	many := func(yield func(Row) bool) {
		for range 200_000 {
			if !yield(good) {
				return
			}
		}
	}
	d := &Dataset{Columns: []Column{x}, Rows: many}
	if _, err := d.write(ctx, filepath.Join(t.TempDir(), "x")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled, the error is %v", err)
	}
}
