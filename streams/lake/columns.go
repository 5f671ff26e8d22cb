package lake

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"os"
	"strings"

	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/schema"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// A Flat is a Parquet file of columns that are not nested, of the lake or of
// another tool.
type Flat struct {
	Fields []features.Field

	path    string
	columns []flatColumn
}

// flatColumn is where a field is in the file, and what makes a value of it.
type flatColumn struct {
	place, valid int // valid: of the lake's column that says which are not missing; -1: there is none
	kind         features.Kind
	micros       func(int64) int64 // of times
	optional     bool              // the file itself says which are missing
}

// OpenFlat reads which columns a Parquet file has: booleans, integers, doubles,
// texts, dates and timestamps, each of which may be missing. A column X_valid
// beside a column X is no field, but says which of its values are there, as
// those of the lake do. Of other columns that cannot be missing, NaN is.
func OpenFlat(path string) (*Flat, error) {
	f := &Flat{path: path}
	in, pq, err := f.open()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if err := guard(func() error { return f.layout(pq.MetaData().Schema) }); err != nil {
		return nil, fmt.Errorf("lake: %s: %w", path, err)
	}
	return f, nil
}

func (f *Flat) open() (in *os.File, pq *file.Reader, err error) {
	if in, err = os.Open(f.path); err != nil {
		return nil, nil, fmt.Errorf("lake: %w", err)
	}
	err = guard(func() error {
		pq, err = file.NewParquetReader(in)
		return err
	})
	if err != nil {
		in.Close()
		return nil, nil, fmt.Errorf("lake: %s: not a Parquet file: %w", f.path, err)
	}
	return in, pq, nil
}

func (f *Flat) layout(s *schema.Schema) error {
	for i := range s.NumColumns() {
		if isValidity(s, i) {
			continue
		}
		c, err := newFlatColumn(s, i)
		if err != nil {
			return err
		}
		f.columns = append(f.columns, c)
		f.Fields = append(f.Fields, features.Field{Name: s.Column(i).Name(), Kind: c.kind, Optional: true})
	}
	return nil
}

const validSuffix = "_valid"

func isValidity(s *schema.Schema, i int) bool {
	of, ok := strings.CutSuffix(s.Column(i).Name(), validSuffix)
	return ok && s.Column(i).PhysicalType() == parquet.Types.Boolean && s.ColumnIndexByName(of) >= 0
}

func newFlatColumn(s *schema.Schema, i int) (c flatColumn, err error) {
	d := s.Column(i)
	if d.MaxRepetitionLevel() > 0 || d.MaxDefinitionLevel() > 1 || len(d.ColumnPath()) > 1 {
		return c, fmt.Errorf("column %q is nested; leave it out", d.Path())
	}
	c = flatColumn{place: i, valid: -1, optional: d.MaxDefinitionLevel() == 1}
	if v := s.ColumnIndexByName(d.Name() + validSuffix); v >= 0 && isValidity(s, v) && s.Column(v).MaxDefinitionLevel() == 0 {
		c.valid = v
	}
	c.kind, c.micros = kindOfColumn(d)
	if c.kind == expr.Missing {
		return c, fmt.Errorf("column %q is %s, which no feature is; leave it out or cast it", d.Name(), typeName(d.PhysicalType(), d.LogicalType()))
	}
	return c, nil
}

// kindOfColumn returns the kind of a column's values, and of times what makes
// microseconds since the Unix epoch of them.
func kindOfColumn(d *schema.Column) (features.Kind, func(int64) int64) {
	switch l := d.LogicalType().(type) {
	case *schema.TimestampLogicalType:
		units := map[schema.TimeUnitType]func(int64) int64{
			schema.TimeUnitMillis: func(x int64) int64 { return x * 1000 },
			schema.TimeUnitMicros: func(x int64) int64 { return x },
			schema.TimeUnitNanos:  func(x int64) int64 { return x / 1000 },
		}
		if micros := units[l.TimeUnit()]; micros != nil {
			return expr.Time, micros
		}
		return expr.Missing, nil
	case schema.DateLogicalType:
		return expr.Time, func(days int64) int64 { return days * 24 * 3600 * 1e6 }
	case schema.StringLogicalType, schema.EnumLogicalType:
		return expr.String, nil
	case *schema.IntLogicalType:
		if !l.IsSigned() && l.BitWidth() >= 32 { // its upper half would come out negative
			return expr.Missing, nil
		}
	case schema.NoLogicalType, schema.UnknownLogicalType, schema.NullLogicalType:
	default:
		return expr.Missing, nil
	}
	switch d.PhysicalType() {
	case parquet.Types.Boolean:
		return expr.Bool, nil
	case parquet.Types.Int32, parquet.Types.Int64:
		return expr.Int, nil
	case parquet.Types.Float, parquet.Types.Double:
		return expr.Float, nil
	case parquet.Types.ByteArray:
		return expr.String, nil
	}
	return expr.Missing, nil
}

// Rows reads the rows, each with a value by f.Fields, which is valid until the
// next one; its texts may be kept. The first error ends the sequence.
func (f *Flat) Rows(ctx context.Context) iter.Seq2[[]features.Value, error] {
	return func(yield func([]features.Value, error) bool) {
		in, pq, err := f.open()
		if err != nil {
			yield(nil, err)
			return
		}
		defer in.Close()
		row := make([]features.Value, len(f.columns))
		for chunk, err := range f.chunks(ctx, pq) {
			if err != nil {
				yield(nil, fmt.Errorf("lake: %s: %w", f.path, err))
				return
			}
			for r := range chunk.rows {
				for i := range row {
					row[i] = chunk.values[i][r]
				}
				if !yield(row, nil) {
					return
				}
			}
		}
	}
}

// A flatChunk is some rows, by column.
type flatChunk struct {
	rows   int
	values [][]features.Value
}

// chunks decodes the file, a chunk at a time.
func (f *Flat) chunks(ctx context.Context, pq *file.Reader) iter.Seq2[*flatChunk, error] {
	return func(yield func(*flatChunk, error) bool) {
		chunk := &flatChunk{values: make([][]features.Value, len(f.columns))}
		for g := range pq.NumRowGroups() {
			var group *flatGroup
			err := guard(func() (err error) {
				group, err = f.group(pq.RowGroup(g))
				return err
			})
			for err == nil && group.left > 0 {
				if err = ctx.Err(); err == nil {
					err = guard(func() error { return group.next(f, chunk) })
				}
				if err == nil && !yield(chunk, nil) {
					return
				}
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// A flatGroup is what is being read of one row group.
type flatGroup struct {
	left   int64
	values []file.ColumnChunkReader // by column
	valid  []file.ColumnChunkReader // by column; nil: there is none
}

func (f *Flat) group(group *file.RowGroupReader) (*flatGroup, error) {
	g := &flatGroup{left: group.NumRows(), values: make([]file.ColumnChunkReader, len(f.columns)), valid: make([]file.ColumnChunkReader, len(f.columns))}
	for i, c := range f.columns {
		var err error
		if g.values[i], err = group.Column(c.place); err != nil {
			return nil, err
		}
		if c.valid < 0 {
			continue
		}
		if g.valid[i], err = group.Column(c.valid); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// next decodes the next rows.
func (g *flatGroup) next(f *Flat, chunk *flatChunk) error {
	chunk.rows = int(min(g.left, chunkRows))
	g.left -= int64(chunk.rows)
	for i := range f.columns {
		c := &f.columns[i]
		chunk.values[i] = sized(chunk.values[i], chunk.rows)
		if err := c.decode(chunk.values[i], g.values[i]); err != nil {
			return fmt.Errorf("column %q: %w", f.Fields[i].Name, cmp.Or(g.values[i].Err(), err))
		}
		if g.valid[i] == nil {
			continue
		}
		valid := make([]features.Value, chunk.rows)
		flags := flatColumn{kind: expr.Bool, valid: -1}
		if err := flags.decode(valid, g.valid[i]); err != nil {
			return fmt.Errorf("column %q: %w", f.Fields[i].Name+validSuffix, cmp.Or(g.valid[i].Err(), err))
		}
		for r, v := range valid {
			if !v.Bool() {
				chunk.values[i][r] = features.Value{}
			}
		}
	}
	return nil
}

// decode reads the next len(dst) values of a column.
func (c *flatColumn) decode(dst []features.Value, r file.ColumnChunkReader) error {
	switch r := r.(type) {
	case *file.BooleanColumnChunkReader:
		return decodeFlat(c, dst, r.ReadBatch, func(x bool) features.Value { return expr.BoolValue(x) })
	case *file.Int32ColumnChunkReader:
		return decodeFlat(c, dst, r.ReadBatch, func(x int32) features.Value { return c.integer(int64(x)) })
	case *file.Int64ColumnChunkReader:
		return decodeFlat(c, dst, r.ReadBatch, c.integer)
	case *file.Float32ColumnChunkReader:
		return decodeFlat(c, dst, r.ReadBatch, func(x float32) features.Value { return c.float(float64(x)) })
	case *file.Float64ColumnChunkReader:
		return decodeFlat(c, dst, r.ReadBatch, c.float)
	case *file.ByteArrayColumnChunkReader:
		return decodeFlat(c, dst, r.ReadBatch, func(x parquet.ByteArray) features.Value { return expr.StringValue(string(x)) })
	}
	return fmt.Errorf("cannot be read as %v", c.kind)
}

func (c *flatColumn) integer(x int64) features.Value {
	if c.kind == expr.Time {
		return expr.TimeValue(c.micros(x))
	}
	return expr.IntValue(x)
}

func (c *flatColumn) float(x float64) features.Value {
	if math.IsNaN(x) && !c.optional && c.valid < 0 {
		return features.Value{}
	}
	return expr.FloatValue(x)
}

// decodeFlat reads the next len(dst) values, of which the reader gives those
// that are there side by side. It reads from page to page.
func decodeFlat[T any](c *flatColumn, dst []features.Value, read func(int64, []T, []int16, []int16) (int64, int, error), value func(T) features.Value) error {
	values, levels := make([]T, len(dst)), make([]int16, len(dst))
	for done := 0; done < len(dst); {
		n, there, err := read(int64(len(dst)-done), values, levels, nil)
		if err != nil {
			return err
		}
		if n <= 0 || !c.optional && there != int(n) {
			return fmt.Errorf("%d values of %d", done, len(dst))
		}
		k := 0
		for i := range int(n) {
			dst[done+i] = features.Value{}
			if !c.optional || levels[i] == 1 {
				dst[done+i] = value(values[k])
				k++
			}
		}
		done += int(n)
	}
	return nil
}
