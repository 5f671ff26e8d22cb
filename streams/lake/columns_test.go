package lake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/schema"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// flatRows reads a file whole.
func flatRows(t *testing.T, path string) ([]features.Field, [][]features.Value, error) {
	t.Helper()
	f, err := OpenFlat(path)
	if err != nil {
		return nil, nil, err
	}
	var rows [][]features.Value
	for row, err := range f.Rows(t.Context()) {
		if err != nil {
			return nil, nil, err
		}
		rows = append(rows, slices.Clone(row))
	}
	return f.Fields, rows, nil
}

// TestFlatReadsTheLake reads a file of events as columns: what the lake marks as
// missing is missing, and its marks are no columns.
func TestFlatReadsTheLake(t *testing.T) {
	for _, allow := range []bool{false, true} {
		root := t.TempDir()
		src := everything
		src.AllowNonfinite = allow
		tab := newTestTable(t, src)
		const n = chunkRows + 100
		var want [][]features.Value
		for o := range int64(n) {
			ev := randomEvent(src, 3, o)
			tab.append(&ev, 3, o)
			row := append(slices.Clone(ev.Values), expr.IntValue(3), expr.IntValue(o), expr.TimeValue(ev.Time), expr.TimeValue(ev.Arrival), expr.TimeValue(int64(dayOf(ev.Time))*24*3600*1e6))
			want = append(want, row)
		}
		if err := publish(eventsOf(root, src.Name), Header{Range: Range{3, 0, n}, EventTime: "t"}, tab); err != nil {
			t.Fatal(err)
		}
		fields, rows, err := flatRows(t, filepath.Join(Folder(root, src.Name), fileName(3, 0)))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range fields {
			names = append(names, f.Name)
		}
		if got, want := strings.Join(names, " "), "s i f b t u _partition _offset _event_time _arrival _event_day"; got != want {
			t.Errorf("columns %s, want %s", got, want)
		}
		for i := range want {
			if !reflect.DeepEqual(rows[i], want[i]) {
				t.Fatalf("row %d is %v, want %v", i, rows[i], want[i])
			}
		}
		if len(rows) != len(want) {
			t.Errorf("%d rows, want %d", len(rows), len(want))
		}
	}
}

// nullable is a Parquet file of another tool: each column may be null, and has a
// row group of each size.
func nullable(t *testing.T, sizes ...int) (path string, want [][]features.Value) {
	t.Helper()
	node := func(name string, l schema.LogicalType, p parquet.Type) schema.Node {
		n, err := schema.NewPrimitiveNodeLogical(name, parquet.Repetitions.Optional, l, p, -1, -1)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	root, err := schema.NewGroupNode("rows", parquet.Repetitions.Required, schema.FieldList{
		node("ms", schema.NewTimestampLogicalType(true, schema.TimeUnitMillis), parquet.Types.Int64),
		node("ns", schema.NewTimestampLogicalType(true, schema.TimeUnitNanos), parquet.Types.Int64),
		node("i", schema.NewIntLogicalType(32, true), parquet.Types.Int32),
		node("f", schema.NoLogicalType{}, parquet.Types.Float),
		node("s", schema.StringLogicalType{}, parquet.Types.ByteArray),
		node("b", schema.NoLogicalType{}, parquet.Types.Boolean),
	}, -1)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := file.NewParquetWriter(&buf, root)
	r := rand.New(rand.NewPCG(2, 8))
	for _, n := range sizes {
		at := len(want)
		for range n {
			want = append(want, make([]features.Value, 6))
		}
		g := w.AppendRowGroup()
		writeNullable(t, g, r, want[at:], 0, func(x int64) (int64, features.Value) { return x, expr.TimeValue(x * 1000) })
		writeNullable(t, g, r, want[at:], 1, func(x int64) (int64, features.Value) { return x * 1000, expr.TimeValue(x) })
		writeNullable(t, g, r, want[at:], 2, func(x int64) (int32, features.Value) { return int32(x), expr.IntValue(x) })
		writeNullable(t, g, r, want[at:], 3, func(x int64) (float32, features.Value) {
			if x%7 == 0 {
				return float32(math.Inf(1)), expr.FloatValue(math.Inf(1))
			}
			return float32(x) / 4, expr.FloatValue(float64(x) / 4)
		})
		writeNullable(t, g, r, want[at:], 4, func(x int64) (parquet.ByteArray, features.Value) {
			return parquet.ByteArray(fmt.Sprint(x)), expr.StringValue(fmt.Sprint(x))
		})
		writeNullable(t, g, r, want[at:], 5, func(x int64) (bool, features.Value) { return x%2 == 0, expr.BoolValue(x%2 == 0) })
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "x.parquet")
	if err := os.WriteFile(path, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, want
}

// writeNullable writes the next column of a row group, and sets it in want.
func writeNullable[T any](t *testing.T, g file.SerialRowGroupWriter, r *rand.Rand, want [][]features.Value, column int, value func(int64) (T, features.Value)) {
	t.Helper()
	w, err := g.NextColumn()
	if err != nil {
		t.Fatal(err)
	}
	var there []T
	levels := make([]int16, len(want))
	for i := range want {
		if r.IntN(4) == 0 {
			continue
		}
		levels[i] = 1
		x, v := value(r.Int64N(1e6))
		there, want[i][column] = append(there, x), v
	}
	batch := w.(interface {
		WriteBatch([]T, []int16, []int16) (int64, error)
	})
	if _, err := batch.WriteBatch(there, levels, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFlatReadsNulls(t *testing.T) {
	path, want := nullable(t, 10, chunkRows, 2*chunkRows+1)
	fields, rows, err := flatRows(t, path)
	if err != nil {
		t.Fatal(err)
	}
	for i, kind := range []features.Kind{expr.Time, expr.Time, expr.Int, expr.Float, expr.String, expr.Bool} {
		if fields[i].Kind != kind {
			t.Errorf("column %s is %v, want %v", fields[i].Name, fields[i].Kind, kind)
		}
	}
	if len(rows) != len(want) {
		t.Fatalf("%d rows, want %d", len(rows), len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(rows[i], want[i]) {
			t.Fatalf("row %d is %v, want %v", i, rows[i], want[i])
		}
	}
}

func TestFlatRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	parquetOf := func(name string, column schema.Node) string {
		root, err := schema.NewGroupNode("rows", parquet.Repetitions.Required, schema.FieldList{column}, -1)
		if err != nil {
			t.Fatal(err)
		}
		var buf bytes.Buffer
		if err := file.NewParquetWriter(&buf, root).Close(); err != nil {
			t.Fatal(err)
		}
		return write(name, buf.Bytes())
	}
	list := schema.NewByteArrayNode("words", parquet.Repetitions.Repeated, -1)
	odd := schema.NewInt96Node("when", parquet.Repetitions.Required, -1)
	unsigned, err := schema.NewPrimitiveNodeLogical("n", parquet.Repetitions.Required, schema.NewIntLogicalType(64, false), parquet.Types.Int64, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		parquetOf("unsigned.parquet", unsigned):          `column "n" is INT64 Int(`,
		filepath.Join(dir, "absent.parquet"):             "no such file",
		write("empty.parquet", nil):                      "not a Parquet file",
		write("text.parquet", []byte("a,b\n1,2\n3,4\n")): "not a Parquet file",
		parquetOf("list.parquet", list):                  `column "words" is nested`,
		parquetOf("odd.parquet", odd):                    `column "when" is INT96`,
	} {
		if _, _, err := flatRows(t, path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

// TestFlatReadsDamage flips bytes and cuts files: there is an error or there are
// rows, and never a panic.
func TestFlatReadsDamage(t *testing.T) {
	path, _ := nullable(t, 300)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 6))
	failed := 0
	for range 300 {
		data := slices.Clone(whole)
		for range 1 + r.IntN(3) {
			data[r.IntN(len(data))] ^= byte(1 + r.IntN(255))
		}
		if r.IntN(4) == 0 {
			data = data[:r.IntN(len(data))]
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := flatRows(t, path); err != nil {
			failed++
		}
	}
	if failed == 0 {
		t.Error("no damage was an error")
	}
}

func TestFlatStopsWhenAsked(t *testing.T) {
	path, _ := nullable(t, 3*chunkRows)
	f, err := OpenFlat(path)
	if err != nil {
		t.Fatal(err)
	}
	for range f.Rows(t.Context()) {
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for _, err = range f.Rows(ctx) {
		n++
		cancel()
	}
	if !errors.Is(err, context.Canceled) || n > chunkRows+1 {
		t.Errorf("after %d rows: %v", n, err)
	}
}
