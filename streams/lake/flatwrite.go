package lake

import (
	"context"
	"fmt"
	"io"
	"iter"

	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/schema"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

const (
	maxFlatColumns = 4096

	// What a row group has at most: enough for a column's pages to compress well,
	// little enough to be held in memory until it is written.
	groupRows  = 64 << 10
	groupBytes = 32 << 20
)

// WriteFlat writes rows, each with a value by fields, as a Parquet file for other
// programs, which OpenFlat reads, too. What is missing is null; NaN is not
// missing. A missing value of a field that is not Optional is an error, and so is
// one of another kind than its field's, but that an Int may stand for a Float. The
// same rows give the same bytes.
//
// Bools are BOOLEAN, Ints INT64, Floats DOUBLE, Strings STRING, and Times
// TIMESTAMP in microseconds of UTC; no name is split at its dots.
func WriteFlat(ctx context.Context, w io.Writer, fields []features.Field, rows iter.Seq[[]features.Value]) error {
	f, err := newFlatTable(fields)
	if err != nil {
		return fmt.Errorf("lake: writing a flat file: %w", err)
	}
	var nodes schema.FieldList
	for _, c := range f.columns {
		n, err := schema.NewPrimitiveNodeLogical(c.name, c.repetition(), c.logical, c.typ, -1, -1)
		if err != nil {
			return fmt.Errorf("lake: writing a flat file: column %q: %w", c.name, err)
		}
		nodes = append(nodes, n)
	}
	root, err := schema.NewGroupNode("rows", parquet.Repetitions.Required, nodes, -1)
	if err == nil {
		// In pages of version 1 arrow copies the levels of a nullable column once more for
		// each 8 rows, which takes five times as long as all the rest.
		properties := propertiesOf(root, parquet.WithDataPageVersion(parquet.DataPageV2))
		err = writing(w, root, func(pw *file.Writer) error { return f.fill(ctx, pw, rows) }, file.WithWriterProps(properties))
	}
	if err != nil {
		return fmt.Errorf("lake: writing a flat file: %w", err)
	}
	return nil
}

// A flatTable holds the rows of one row group.
type flatTable struct {
	columns []*flatOut
	rows    int // in this group
	bytes   int // that they take in memory
	written int // in the groups before
}

// A flatOut holds one column of a row group.
type flatOut struct {
	column   // of the values that are there, side by side
	kind     features.Kind
	optional bool
	levels   []int16 // by row: 1 where the value is there; only where optional
}

func (c *flatOut) repetition() parquet.Repetition {
	if c.optional {
		return parquet.Repetitions.Optional
	}
	return parquet.Repetitions.Required
}

func newFlatTable(fields []features.Field) (*flatTable, error) {
	if len(fields) == 0 || len(fields) > maxFlatColumns {
		return nil, fmt.Errorf("%d columns; give 1 to %d", len(fields), maxFlatColumns)
	}
	f := &flatTable{}
	seen := map[string]bool{}
	for _, in := range fields {
		if in.Name == "" || seen[in.Name] {
			return nil, fmt.Errorf("column %q is there twice or has no name", in.Name)
		}
		seen[in.Name] = true
		c, ok := columnOf(in.Name, in.Kind)
		if !ok {
			return nil, fmt.Errorf("column %q has no kind", in.Name)
		}
		f.columns = append(f.columns, &flatOut{column: c, kind: in.Kind, optional: in.Optional})
	}
	return f, nil
}

// fill appends the rows, a group at a time.
func (f *flatTable) fill(ctx context.Context, pw *file.Writer, rows iter.Seq[[]features.Value]) error {
	for row := range rows {
		if err := f.append(row); err != nil {
			return fmt.Errorf("row %d: %w", f.written+f.rows+1, err)
		}
		if f.rows < groupRows && f.bytes < groupBytes {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.flush(pw); err != nil {
			return err
		}
	}
	if f.rows == 0 {
		return nil
	}
	return f.flush(pw)
}

func (f *flatTable) append(row []features.Value) error {
	if len(row) != len(f.columns) {
		return fmt.Errorf("%d values for %d columns", len(row), len(f.columns))
	}
	for i, c := range f.columns {
		if err := c.append(row[i]); err != nil {
			return fmt.Errorf("column %q: %w", c.name, err)
		}
		f.bytes += 8 + len(row[i].Str)
	}
	f.rows++
	return nil
}

func (c *flatOut) append(v features.Value) error {
	switch {
	case v.Kind == expr.Missing && c.optional:
		c.levels = append(c.levels, 0)
		return nil
	case v.Kind == expr.Missing:
		return fmt.Errorf("the value is missing, and the column has no nulls")
	case v.Kind == expr.Int && c.kind == expr.Float:
		v = expr.FloatValue(float64(v.Int()))
	case v.Kind != c.kind:
		return fmt.Errorf("a value of kind %v, and the column is of kind %v", v.Kind, c.kind)
	}
	switch c.kind {
	case expr.Bool:
		c.flags = append(c.flags, v.Bool())
	case expr.Float:
		c.floats = append(c.floats, v.Float())
	case expr.String:
		c.text = append(c.text, v.Str...)
		c.ends = append(c.ends, len(c.text))
	default:
		c.int64s = append(c.int64s, v.Int())
	}
	if c.optional {
		c.levels = append(c.levels, 1)
	}
	return nil
}

// flush writes the rows as a row group.
func (f *flatTable) flush(pw *file.Writer) error {
	group := pw.AppendRowGroup()
	for _, c := range f.columns {
		cw, err := group.NextColumn()
		if err == nil {
			err = c.encode(cw)
		}
		if err == nil {
			err = cw.Close()
		}
		if err != nil {
			return fmt.Errorf("column %q: %w", c.name, err)
		}
		c.reset()
		c.levels = c.levels[:0]
	}
	f.written += f.rows
	f.rows, f.bytes = 0, 0
	return group.Close()
}

func (c *flatOut) encode(cw file.ColumnChunkWriter) (err error) {
	if !c.optional {
		return encodeColumn(cw, &c.column)
	}
	switch cw := cw.(type) {
	case *file.BooleanColumnChunkWriter:
		_, err = cw.WriteBatch(c.flags, c.levels, nil)
	case *file.Int64ColumnChunkWriter:
		_, err = cw.WriteBatch(c.int64s, c.levels, nil)
	case *file.Float64ColumnChunkWriter:
		_, err = cw.WriteBatch(c.floats, c.levels, nil)
	case *file.ByteArrayColumnChunkWriter:
		texts := make([]parquet.ByteArray, len(c.ends))
		start := 0
		for i, end := range c.ends {
			texts[i], start = c.text[start:end], end
		}
		_, err = cw.WriteBatch(texts, c.levels, nil)
	}
	return err
}
