package whatif

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams/lake"
)

// examples are the newest labelled examples of a model, by the time of their
// predictions, with the vectors that were served.
type examples struct {
	model   *model
	id      string
	times   []int64
	labels  []float64
	keys    [][]string // by view: whom it was about
	about   []string   // the entity's values, as entityText
	served  *matrix
	foreign int // of other features, left out
}

func (x *examples) rows() int { return len(x.times) }

func (x *examples) bytes() int64 {
	return x.served.bytes() + int64(x.rows()*(32+16*len(x.keys)))
}

// An exampleRow is one of them while they are read.
type exampleRow struct {
	time, known, offset int64
	partition           int
	label               float64
	row                 int // in served
	id, about           string
}

// readExamples reads the newest examples of a model, at most n: those whose label
// became known last. A correction takes the place of what it corrects.
func (m *model) readExamples(ctx context.Context, root, id string, n int) (*examples, error) {
	for want := int64(n + n/4 + 1000); ; want *= 4 {
		e := &exampleReader{model: m, n: n, at: map[string]int{}, served: newMatrix(0, len(m.Inputs)), read: map[int]int64{}, found: map[int]int{}}
		for row, err := range m.examples.ReadLast(ctx, root, want) {
			if err != nil {
				return nil, err
			}
			e.take(&row)
		}
		if e.complete(want) {
			return e.finish(id)
		}
	}
}

// The columns that are read of the table.
var columns = []string{"kind", "id", "set", "known", "label"}

const (
	atKind = iota
	atID
	atSet
	atKnown
	atLabel
)

type exampleReader struct {
	*model
	n       int
	places  []int // of columns
	rows    []exampleRow
	at      map[string]int // in rows, by prediction
	served  *matrix
	foreign int
	read    map[int]int64 // rows by partition
	found   map[int]int   // of those, usable ones
}

// take takes a row of the table.
func (e *exampleReader) take(r *lake.Row) {
	if e.places == nil {
		for _, name := range columns {
			e.places = append(e.places, slices.IndexFunc(e.examples.Fields(), func(f features.Field) bool { return f.Name == name }))
		}
	}
	e.read[r.Partition]++
	v := r.Event.Values
	if v[e.places[atKind]].Str != string(feedback.Labelled) {
		return
	}
	label := v[e.places[atLabel]]
	if v[e.places[atSet]].Str != e.set || label.Kind != expr.Float || math.IsInf(label.Float(), 0) || math.IsNaN(label.Float()) {
		e.foreign++
		return
	}
	inputs := len(v) - len(e.Inputs)
	row := exampleRow{
		time: r.Event.Time, known: v[e.places[atKnown]].Int(), offset: r.Offset, partition: r.Partition,
		label: label.Float(), id: v[e.places[atID]].Str, about: entityText(v[inputs-len(e.Entity) : inputs]),
	}
	key := row.about + row.id
	at, corrects := e.at[key]
	if corrects {
		row.row = e.rows[at].row
		e.served.put(row.row, v[inputs:])
		e.rows[at] = row
		return
	}
	row.row = len(e.rows)
	e.served.grow(v[inputs:])
	e.at[key] = len(e.rows)
	e.rows = append(e.rows, row)
	e.found[r.Partition]++
}

// complete reports whether no file that was left out can have one of the newest:
// the rows of a partition are in the order in which their labels became known.
func (e *exampleReader) complete(want int64) bool {
	for partition, n := range e.read {
		if n >= want && e.found[partition] < e.n {
			return false
		}
	}
	return true
}

// finish keeps the newest.
func (e *exampleReader) finish(id string) (*examples, error) {
	slices.SortFunc(e.rows, func(a, b exampleRow) int {
		return cmp.Or(cmp.Compare(b.known, a.known), cmp.Compare(b.time, a.time), cmp.Compare(a.partition, b.partition), cmp.Compare(b.offset, a.offset))
	})
	e.rows = e.rows[:min(e.n, len(e.rows))]
	slices.SortFunc(e.rows, func(a, b exampleRow) int {
		return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.partition, b.partition), cmp.Compare(a.offset, b.offset))
	})
	x := &examples{model: e.model, id: id, foreign: e.foreign, served: newMatrix(len(e.rows), len(e.Inputs)), keys: make([][]string, len(e.views))}
	keys := map[string][]string{} // by entity
	var vector []features.Value
	for i, r := range e.rows {
		x.times, x.labels, x.about = append(x.times, r.time), append(x.labels, r.label), append(x.about, r.about)
		vector = e.served.row(vector[:0], r.row)
		x.served.put(i, vector)
		if keys[r.about] == nil {
			var err error
			if keys[r.about], err = e.keysOf(r.about); err != nil {
				return nil, fmt.Errorf("whatif: prediction %s: %w", r.id, err)
			}
		}
		for v, key := range keys[r.about] {
			x.keys[v] = append(x.keys[v], key)
		}
	}
	return x, nil
}

// entityText is the values of an entity as one text.
func entityText(values []features.Value) string {
	var b strings.Builder
	for _, v := range values {
		b.WriteString(strconv.Quote(v.Text()))
	}
	return b.String()
}

// valuesOf is the inverse of entityText.
func valuesOf(about string) (values []string) {
	for about != "" {
		quoted, err := strconv.QuotedPrefix(about)
		if err != nil {
			return values // entityText wrote it, so it does not happen
		}
		value, _ := strconv.Unquote(quoted)
		values, about = append(values, value), about[len(quoted):]
	}
	return values
}

// keysOf returns whom the views are about, of an entity's text.
func (m *model) keysOf(about string) ([]string, error) {
	values := make([]features.Value, len(m.Entity))
	for i, text := range valuesOf(about) {
		var err error
		if values[i], err = parse(text, m.Entity[i].Kind); err != nil {
			return nil, fmt.Errorf("its %s: %w", m.Entity[i].Name, err)
		}
	}
	return m.keys(values)
}
