package lake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

var flatKinds = []features.Kind{expr.Bool, expr.Int, expr.Float, expr.String, expr.Time}

// flatWorld is random columns and rows.
func flatWorld(seed uint64, n int) (fields []features.Field, rows [][]features.Value) {
	r := rand.New(rand.NewPCG(seed, 7))
	for i := range 1 + r.IntN(9) {
		fields = append(fields, features.Field{Name: fmt.Sprintf("view.f%d", i), Kind: flatKinds[r.IntN(len(flatKinds))], Optional: r.IntN(2) == 0})
	}
	for range n {
		row := make([]features.Value, len(fields))
		for i, f := range fields {
			if !f.Optional || r.IntN(4) > 0 {
				row[i] = flatValue(r, f.Kind)
			}
		}
		rows = append(rows, row)
	}
	return fields, rows
}

func flatValue(r *rand.Rand, k features.Kind) features.Value {
	switch k {
	case expr.Bool:
		return expr.BoolValue(r.IntN(2) == 0)
	case expr.Int:
		return expr.IntValue([]int64{math.MinInt64, math.MaxInt64, 0, r.Int64()}[r.IntN(4)])
	case expr.Float:
		return expr.FloatValue([]float64{math.Inf(1), math.Copysign(0, -1), math.MaxFloat64, r.NormFloat64()}[r.IntN(4)])
	case expr.String:
		return expr.StringValue([]string{"", "ünïcode, \"quoted\"\n", strings.Repeat("long", r.IntN(50)), fmt.Sprint(r.IntN(20))}[r.IntN(4)])
	}
	return expr.TimeValue(r.Int64N(4e15) - 2e15)
}

func writeFlat(t *testing.T, fields []features.Field, rows iter.Seq[[]features.Value]) string {
	t.Helper()
	var buf bytes.Buffer
	if err := WriteFlat(t.Context(), &buf, fields, rows); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.parquet")
	if err := os.WriteFile(path, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWriteFlatComesBack reads what was written, in one row group and in many.
func TestWriteFlatComesBack(t *testing.T) {
	for seed := range uint64(40) {
		fields, rows := flatWorld(seed, []int{0, 1, 50, 9000}[seed%4])
		gotFields, got, err := flatRows(t, writeFlat(t, fields, slices.Values(rows)))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for i, f := range fields {
			if gotFields[i].Name != f.Name || gotFields[i].Kind != f.Kind {
				t.Errorf("seed %d: column %d is %v, want %v", seed, i, gotFields[i], f)
			}
		}
		if len(got) != len(rows) {
			t.Fatalf("seed %d: %d rows, want %d", seed, len(got), len(rows))
		}
		for i := range rows {
			if !reflect.DeepEqual(got[i], rows[i]) {
				t.Fatalf("seed %d: row %d is %v, want %v", seed, i, got[i], rows[i])
			}
		}
	}
}

// TestWriteFlatInGroups has more rows than a group takes, by number and by bytes.
func TestWriteFlatInGroups(t *testing.T) {
	fields := []features.Field{{Name: "n", Kind: expr.Int}, {Name: "s", Kind: expr.String, Optional: true}}
	many := func(n, size int) iter.Seq[[]features.Value] {
		return func(yield func([]features.Value) bool) {
			row := make([]features.Value, 2)
			for i := range n {
				row[0], row[1] = expr.IntValue(int64(i)), expr.StringValue(strings.Repeat(string(rune('a'+i%26)), size))
				if i%3 == 0 {
					row[1] = features.Value{}
				}
				if !yield(row) {
					return
				}
			}
		}
	}
	for _, c := range []struct{ rows, size int }{{groupRows + 1, 0}, {100, groupBytes / 30}} {
		path := writeFlat(t, fields, many(c.rows, c.size))
		f, err := OpenFlat(path)
		if err != nil {
			t.Fatal(err)
		}
		_, pq, err := f.open()
		if err != nil {
			t.Fatal(err)
		}
		if pq.NumRowGroups() < 2 {
			t.Errorf("%d rows of %d bytes are in one row group", c.rows, c.size)
		}
		next, stop := iter.Pull(many(c.rows, c.size))
		defer stop()
		n := 0
		for got, err := range f.Rows(t.Context()) {
			if want, _ := next(); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("row %d: %v, %v; want %v", n, got, err, want)
			}
			n++
		}
		if n != c.rows {
			t.Errorf("%d rows, want %d", n, c.rows)
		}
	}
}

// TestWriteFlatRefuses has what cannot be written.
func TestWriteFlatRefuses(t *testing.T) {
	x := features.Field{Name: "x", Kind: expr.Float}
	for want, c := range map[string]struct {
		fields []features.Field
		row    []features.Value
	}{
		"0 columns; give 1 to 4096":       {nil, nil},
		"4097 columns":                    {make([]features.Field, maxFlatColumns+1), nil},
		`column "x" is there twice`:       {[]features.Field{x, x}, nil},
		`column "x" has no kind`:          {[]features.Field{{Name: "x"}}, nil},
		"row 1: 2 values for 1 columns":   {[]features.Field{x}, make([]features.Value, 2)},
		`row 1: column "x": the value is`: {[]features.Field{x}, make([]features.Value, 1)},
		`row 1: column "x": a value of kind string, and the column is of kind float`: {[]features.Field{x}, []features.Value{expr.StringValue("")}},
	} {
		var rows [][]features.Value
		if c.row != nil {
			rows = append(rows, c.row)
		}
		if err := WriteFlat(t.Context(), io.Discard, c.fields, slices.Values(rows)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one with %q", err, want)
		}
	}
}

// fullDisk takes some bytes and then no more.
type fullDisk struct{ left int }

var errFull = errors.New("no space left")

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.left -= len(p); d.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// TestWriteFlatSaysWhatFailed wants the cause, at whichever write the disk is full.
func TestWriteFlatSaysWhatFailed(t *testing.T) {
	fields, rows := flatWorld(3, 5000)
	var whole bytes.Buffer
	if err := WriteFlat(t.Context(), &whole, fields, slices.Values(rows)); err != nil {
		t.Fatal(err)
	}
	for left := 0; left < whole.Len(); left += 1 + whole.Len()/50 {
		if err := WriteFlat(t.Context(), &fullDisk{left}, fields, slices.Values(rows)); !errors.Is(err, errFull) {
			t.Fatalf("with room for %d bytes of %d the error is %v", left, whole.Len(), err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	endless := func(yield func([]features.Value) bool) {
		for yield(rows[0]) {
		}
	}
	if err := WriteFlat(ctx, io.Discard, fields, endless); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled, the error is %v", err)
	}
}
