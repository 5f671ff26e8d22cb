package offline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/streams/lake"
)

// A Table is a data set in a file: .parquet, or a text, as BuildFiles writes it.
type Table struct {
	Fields []features.Field
	rows   func(context.Context) iter.Seq2[[]features.Value, error]
}

// Rows reads the rows, each with a value by t.Fields, which is valid until the
// next one; its texts may be kept. The first error ends the sequence, and names
// the file and, of a text, the line.
func (t *Table) Rows(ctx context.Context) iter.Seq2[[]features.Value, error] { return t.rows(ctx) }

// maxTableColumns bounds what is held of the columns of a file: a model has at
// most 1024 inputs.
const maxTableColumns = 4096

// OpenTable reads which columns a file has. A text does not say what is in them:
// a column is what all its values can be, the first of bool, int, float, time
// (as RFC 3339) and string, but for the kinds in want, which are taken where all
// values can be read so, and where there are none. The file is read twice.
func OpenTable(ctx context.Context, path string, want map[string]features.Kind) (*Table, error) {
	if strings.EqualFold(filepath.Ext(path), ".parquet") {
		flat, err := lake.OpenFlat(path)
		if err != nil {
			return nil, fmt.Errorf("offline: %w", err)
		}
		if err := checkTable(len(flat.Fields)); err != nil {
			return nil, fmt.Errorf("offline: %s: %w", path, err)
		}
		return &Table{flat.Fields, flat.Rows}, nil
	}
	format, err := textFormat(path)
	if err != nil {
		return nil, fmt.Errorf("offline: %s: cannot tell its format from its name: use one that ends with .csv, .jsonl or .parquet", path)
	}
	t := &textTable{path: path, json: format == "json"}
	if err := t.guess(ctx, want); err != nil {
		return nil, err
	}
	return &Table{t.fields, t.rows}, nil
}

func checkTable(columns int) error {
	if columns > maxTableColumns {
		return fmt.Errorf("it has %d columns; at most %d are read", columns, maxTableColumns)
	}
	return nil
}

// A textTable is a text file of rows.
type textTable struct {
	path   string
	json   bool
	names  []string
	fields []features.Field
}

// kindSet is a set of kinds, by their bits.
type kindSet uint8

const allKinds = ^kindSet(0)

func (s kindSet) has(k features.Kind) bool { return s>>k&1 == 1 }

// byChoice are the kinds, what says most of a value first.
var byChoice = [...]features.Kind{expr.Bool, expr.Int, expr.Float, expr.Time, expr.String}

// guess reads the file for the kinds of its columns.
func (t *textTable) guess(ctx context.Context, want map[string]features.Kind) error {
	var can []kindSet // by column; 0: it has no values yet
	for cells, err := range t.lines(ctx) {
		if err != nil {
			return err
		}
		for len(can) < len(cells) {
			can = append(can, 0)
		}
		for i, cell := range cells {
			if t.missing(cell) {
				continue
			}
			if can[i] == 0 {
				can[i] = allKinds
			}
			can[i] = t.kinds(cell, can[i])
		}
	}
	for i, name := range t.names {
		set := kindSet(0)
		if i < len(can) {
			set = can[i]
		}
		t.fields = append(t.fields, features.Field{Name: name, Kind: set.choose(want[name]), Optional: true})
	}
	return nil
}

// choose returns want if it is a kind and in the set, or else the first of the
// set by byChoice. Of an empty set it is want or string.
func (s kindSet) choose(want features.Kind) features.Kind {
	if want != expr.Missing && (s == 0 || s.has(want)) {
		return want
	}
	for _, k := range byChoice {
		if s.has(k) {
			return k
		}
	}
	return expr.String
}

func (t *textTable) missing(cell string) bool { return cell == "" || t.json && cell == "null" }

// kinds returns which kinds of those in can a cell can be read as.
func (t *textTable) kinds(cell string, can kindSet) kindSet {
	var set kindSet
	for _, k := range byChoice {
		if !can.has(k) {
			continue
		}
		if _, ok := t.value(cell, k); ok {
			set |= 1 << k
		}
	}
	return set
}

// value reads a cell that is not missing as a kind, or reports that it cannot.
// A text of JSON is no bool and no number, but for what JSON has no number for.
func (t *textTable) value(cell string, kind features.Kind) (v features.Value, ok bool) {
	text, quoted := cell, false
	if t.json && cell[0] == '"' {
		quoted = json.Unmarshal([]byte(cell), &text) == nil
	}
	switch kind {
	case expr.Bool:
		return expr.BoolValue(text == "true"), !quoted && (text == "true" || text == "false")
	case expr.Int:
		i, err := strconv.ParseInt(text, 10, 64)
		return expr.IntValue(i), err == nil && !quoted
	case expr.Float:
		x, err := strconv.ParseFloat(text, 64)
		return expr.FloatValue(x), err == nil && (!quoted || x-x != 0)
	case expr.Time:
		at, err := time.Parse(time.RFC3339Nano, text)
		return expr.TimeValue(at.UnixMicro()), err == nil && (!t.json || quoted)
	}
	return expr.StringValue(text), true
}

// rows reads the rows again, by the fields.
func (t *textTable) rows(ctx context.Context) iter.Seq2[[]features.Value, error] {
	return func(yield func([]features.Value, error) bool) {
		row := make([]features.Value, len(t.fields))
		for cells, err := range t.lines(ctx) {
			if err != nil {
				yield(nil, err)
				return
			}
			clear(row)
			for i, cell := range cells {
				if !t.missing(cell) {
					row[i], _ = t.value(cell, t.fields[i].Kind) // guess has read them all
				}
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}

// lines reads the cells of each row, by the names of the columns, which it sets.
// A line of JSON may have columns that none before it had: those have fewer cells.
// They are valid until the next row.
func (t *textTable) lines(ctx context.Context) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		in, err := os.Open(t.path)
		if err != nil {
			yield(nil, fmt.Errorf("offline: %w", err))
			return
		}
		defer in.Close()
		if err := t.scan(ctx, in, func(cells []string) bool { return yield(cells, nil) }); err != nil {
			yield(nil, err)
		}
	}
}

// scan calls do for each row until it returns false.
func (t *textTable) scan(ctx context.Context, in io.Reader, do func([]string) bool) error {
	text, err := skipMark(in)
	if err != nil {
		return fmt.Errorf("offline: %s: %w", t.path, err)
	}
	lines := csvLines
	if t.json {
		lines = jsonLines
	}
	file := probeFile{}
	for line, err := range lines(text) {
		if err == nil && line.number%reportEvery == 0 {
			err = ctx.Err()
		}
		switch {
		case err != nil:
		case file.columns == nil:
			file.columns = line.columns
			t.names = line.columns
			err = errors.Join(checkTwice(line.columns), checkTable(len(line.columns)))
		default:
			if t.json {
				err = file.widen(line.columns)
				t.names = file.columns
			}
			file.cells = file.cells[:0]
			if err == nil {
				err = file.arrange(line)
			}
			if err == nil && !do(file.cells) {
				return nil
			}
		}
		if err != nil {
			return fmt.Errorf("offline: %s:%d: %w", t.path, line.number, err)
		}
	}
	if file.columns == nil {
		return fmt.Errorf("offline: %s: there is nothing in it", t.path)
	}
	return nil
}

// widen adds the columns of a line that no line before it had.
func (f *probeFile) widen(columns []string) error {
	for i, name := range columns {
		if (i >= len(f.columns) || f.columns[i] != name) && !slices.Contains(f.columns, name) {
			f.columns = append(f.columns, name)
		}
	}
	return checkTable(len(f.columns))
}
