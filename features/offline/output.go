package offline

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/streams/codec"
)

// A writer writes the lines of a dataset.
type writer struct {
	probes *probeFile
	json   bool
	order  []int            // columns of the probes, in the order of the dataset
	fields []features.Field // those columns, then the features
	names  [][]byte         // those columns as JSON
	values []features.Value
	line   []byte
}

func newWriter(path string, plan *features.Plan, probes *probeFile) *writer {
	format, _ := textFormat(path) // was checked
	w := &writer{probes: probes, json: format == "json"}
	first := append(slices.Clone(plan.View.Entity), asOfColumn)
	for _, name := range first {
		w.order = append(w.order, slices.Index(probes.columns, name))
	}
	for i, name := range probes.columns {
		if !slices.Contains(first, name) {
			w.order = append(w.order, i)
		}
	}
	for _, c := range w.order {
		name := probes.columns[c]
		w.fields = append(w.fields, features.Field{Name: name, Kind: probeKind(plan, name)})
		w.names = append(w.names, appendJSON(nil, name))
	}
	for _, o := range plan.Outputs() {
		w.fields = append(w.fields, features.Field{Name: o.Name, Kind: o.Kind})
	}
	return w
}

// probeKind says how a column of a CSV file is written in JSON.
func probeKind(plan *features.Plan, column string) features.Kind {
	if slices.Contains(plan.Request(), column) {
		return expr.Float
	}
	i := slices.IndexFunc(plan.Fields(), func(f features.Field) bool { return f.Name == column })
	if slices.Contains(plan.View.Entity, column) {
		return plan.Fields()[i].Kind
	}
	return expr.String
}

// write writes the dataset to path, whole or not at all.
func write(ctx context.Context, path string, plan *features.Plan, probes *probeFile, set *Set) (err error) {
	partial := path + ".partial"
	f, err := os.Create(partial)
	if err != nil {
		return fmt.Errorf("offline: %w", err)
	}
	defer func() {
		f.Close()
		if err != nil {
			err = fmt.Errorf("offline: %s: %w", path, errors.Join(err, os.Remove(partial)))
		}
	}()
	out := bufio.NewWriterSize(f, 256<<10)
	w := newWriter(path, plan, probes)
	if _, err := out.Write(w.header()); err != nil {
		return err
	}
	for i := range probes.probes {
		if i%reportEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := out.Write(w.probe(i, set)); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(partial, path)
}

// header returns the first line of a CSV file.
func (w *writer) header() []byte {
	if w.json {
		return nil
	}
	names := make([]features.Value, len(w.fields))
	for i, f := range w.fields {
		names[i] = expr.StringValue(f.Name)
	}
	return append(codec.AppendCSV(nil, w.fields, names), '\n')
}

// probe returns the line of a probe.
func (w *writer) probe(i int, set *Set) []byte {
	w.values, w.line = w.values[:0], w.line[:0]
	row := w.probes.row(i)
	if w.json && w.probes.json { // JSON stays as it is
		w.line = append(w.line, '{')
		for k, c := range w.order {
			w.line = append(w.line, w.names[k]...)
			w.line = append(append(w.line, ':'), orNull(row[c])...)
			w.line = append(w.line, ',')
		}
		w.values = set.AppendVector(w.values, i)
		at := len(w.line) - 1
		w.line = codec.AppendJSON(w.line[:at], w.fields[len(w.order):], w.values)
		w.line[at] = ','
		return append(w.line, '\n')
	}
	for k, c := range w.order {
		w.values = append(w.values, w.value(row[c], w.fields[k].Kind))
	}
	w.values = set.AppendVector(w.values, i)
	if w.json {
		w.line = codec.AppendJSON(w.line, w.fields, w.values)
	} else {
		w.line = codec.AppendCSV(w.line, w.fields, w.values)
	}
	return append(w.line, '\n')
}

func orNull(cell string) string {
	if cell == "" {
		return "null"
	}
	return cell
}

// value returns a cell of a probe as the value to write.
func (w *writer) value(cell string, kind features.Kind) features.Value {
	switch {
	case cell == "", w.probes.json && cell == "null":
		return features.Value{}
	case w.probes.json && cell[0] == '"':
		var s string
		if json.Unmarshal([]byte(cell), &s) == nil {
			return expr.StringValue(s)
		}
	case w.json && kind == expr.Int:
		if n, err := strconv.ParseInt(cell, 10, 64); err == nil {
			return expr.IntValue(n)
		}
	case w.json && kind == expr.Float:
		if x, err := strconv.ParseFloat(cell, 64); err == nil {
			return expr.FloatValue(x)
		}
	}
	return expr.StringValue(cell)
}

// appendJSON appends s as a JSON string.
func appendJSON(dst []byte, s string) []byte {
	object := codec.AppendJSON(nil, []features.Field{{Name: s}}, []features.Value{{}})
	return append(dst, object[1:len(object)-len(":null}")]...)
}
