package offline

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/streams/codec"
)

// The columns of a file of probes that are not the view's.
const (
	asOfColumn    = "as_of"
	knownByColumn = "known_by"
)

// A probeFile is a file of probes in memory.
type probeFile struct {
	path    string
	json    bool
	columns []string
	cells   []string // of all probes, by columns: a cell of CSV, or JSON
	probes  []Probe
}

// row returns the cells of a probe.
func (f *probeFile) row(probe int) []string {
	n := len(f.columns)
	return f.cells[probe*n : (probe+1)*n]
}

// needArrivals reports whether a probe asks when events arrived.
func (f *probeFile) needArrivals() bool {
	return slices.ContainsFunc(f.probes, func(p Probe) bool { return p.KnownBy != features.AnyArrival })
}

// readProbes reads a file of probes of a plan.
func readProbes(ctx context.Context, path string, plan *features.Plan, knownByArrival bool) (*probeFile, error) {
	var probes []Probe
	var cells []string
	f, err := scanProbes(ctx, path, plan, knownByArrival, func(p Probe, row []string) error {
		probes, cells = append(probes, p), append(cells, row...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	f.probes, f.cells = probes, cells
	return f, nil
}

// scanProbes calls do for each probe of a file, with its cells, which it may not
// keep, and returns what is known of the file besides.
func scanProbes(ctx context.Context, path string, plan *features.Plan, knownByArrival bool, do func(Probe, []string) error) (*probeFile, error) {
	format, err := textFormat(path)
	if err != nil {
		return nil, err
	}
	in, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("offline: probes: %w", err)
	}
	defer in.Close()
	f := &probeFile{path: path, json: format == "json"}
	lines := csvLines
	if f.json {
		lines = jsonLines
	}
	var p *probeParser
	text, err := skipMark(in)
	if err != nil {
		return nil, fmt.Errorf("offline: %s: %w", path, err)
	}
	for line, err := range lines(text) {
		if err == nil && p == nil {
			f.columns = line.columns
			p, err = newProbeParser(f, plan, knownByArrival)
		} else if err == nil {
			err = f.pass(p, line, do)
		}
		if err == nil && line.number%reportEvery == 0 {
			err = ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("offline: %s:%d: %w", path, line.number, err)
		}
	}
	if p == nil {
		return nil, fmt.Errorf("offline: %s: there is no probe in it", path)
	}
	return f, nil
}

// pass hands a line on as a probe.
func (f *probeFile) pass(p *probeParser, line probeLine, do func(Probe, []string) error) error {
	f.cells = f.cells[:0]
	if err := f.arrange(line); err != nil {
		return err
	}
	probe, err := p.parse(f.cells)
	if err != nil {
		return err
	}
	return do(probe, f.cells)
}

// arrange adds the cells of a line that has the columns of the first one in any
// order.
func (f *probeFile) arrange(line probeLine) error {
	at := len(f.cells)
	for range f.columns {
		f.cells = append(f.cells, "")
	}
	row := f.cells[at:]
	for i, name := range line.columns {
		c := i // most files keep their order
		if c >= len(f.columns) || f.columns[c] != name {
			if c = slices.Index(f.columns, name); c < 0 {
				return fmt.Errorf("the first line has no %q; give every column there", name)
			}
		}
		row[c] = line.cells[i]
	}
	return nil
}

// A probeLine is one line of a file of probes. The first one has no cells: it
// names the columns.
type probeLine struct {
	number  int
	columns []string
	cells   []string
}

// skipMark skips a byte order mark.
func skipMark(r io.Reader) (*bufio.Reader, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	if mark, _ := b.Peek(3); string(mark) == "\ufeff" {
		_, err := b.Discard(len(mark))
		return b, err
	}
	return b, nil
}

func csvLines(in *bufio.Reader) iter.Seq2[probeLine, error] {
	return func(yield func(probeLine, error) bool) {
		r := csv.NewReader(in)
		var line probeLine
		for {
			cells, err := r.Read()
			if err == io.EOF {
				return
			}
			var bad *csv.ParseError
			if errors.As(err, &bad) {
				line.number, err = bad.StartLine, bad.Err
			} else if err == nil {
				line.number, _ = r.FieldPos(0)
			}
			if line.cells = cells; line.columns == nil {
				line.columns, line.cells = cells, nil
			}
			if !yield(line, err) || err != nil {
				return
			}
		}
	}
}

func jsonLines(in *bufio.Reader) iter.Seq2[probeLine, error] {
	return func(yield func(probeLine, error) bool) {
		s := bufio.NewScanner(in)
		s.Buffer(nil, codec.MaxValue)
		first := true
		number := 0
		for s.Scan() {
			number++
			if len(bytes.TrimSpace(s.Bytes())) == 0 {
				continue
			}
			line, err := parseObject(s.Bytes())
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			line.number = number
			if first && !yield(probeLine{number: number, columns: line.columns}, err) {
				return
			}
			if first = false; !yield(line, err) || err != nil {
				return
			}
		}
		if err := s.Err(); err != nil {
			yield(probeLine{number: number + 1}, err)
		}
	}
}

// parseObject reads one JSON object, its values as JSON.
func parseObject(text []byte) (line probeLine, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return line, fmt.Errorf("is not a JSON object")
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return line, err
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return line, err
		}
		line.columns = append(line.columns, name.(string))
		line.cells = append(line.cells, string(raw))
	}
	if _, err := d.Token(); err != nil {
		return line, err
	}
	if _, err := d.Token(); err != io.EOF {
		return line, fmt.Errorf("there is more behind the JSON object")
	}
	return line, checkTwice(line.columns)
}

func checkTwice(columns []string) error {
	seen := make(map[string]bool, len(columns))
	for _, c := range columns {
		if seen[c] {
			return fmt.Errorf("the column %q is there twice", c)
		}
		seen[c] = true
	}
	return nil
}

// A probeParser makes probes of lines.
type probeParser struct {
	plan           *features.Plan
	json           bool
	knownByArrival bool
	asOf, knownBy  int          // columns; -1: there is none
	entity         []entityCell // by the view's entity
	request        []int        // columns, by Plan.Request

	values []features.Value // of an event that has the entity alone
	key    []byte
}

// An entityCell is a column and the field of the events that it stands for.
type entityCell struct {
	column, field int
	kind          features.Kind
	name          string
}

func newProbeParser(f *probeFile, plan *features.Plan, knownByArrival bool) (*probeParser, error) {
	if err := checkTwice(f.columns); err != nil {
		return nil, err
	}
	p := &probeParser{plan: plan, json: f.json, knownByArrival: knownByArrival, values: make([]features.Value, len(plan.Fields()))}
	column := func(name string) int { return slices.Index(f.columns, name) }
	if p.asOf, p.knownBy = column(asOfColumn), column(knownByColumn); p.asOf < 0 {
		return nil, fmt.Errorf("there is no column %q: the moment that a probe is about", asOfColumn)
	}
	for _, name := range plan.View.Entity {
		at := slices.IndexFunc(plan.Fields(), func(f features.Field) bool { return f.Name == name })
		p.entity = append(p.entity, entityCell{column(name), at, plan.Fields()[at].Kind, name})
		if column(name) < 0 {
			return nil, fmt.Errorf("there is no column %q, which the entity of view %q needs", name, plan.View.Name)
		}
	}
	for _, name := range plan.Request() {
		p.request = append(p.request, column(name))
		if column(name) < 0 {
			return nil, fmt.Errorf("there is no column %q, which the view %q uses as request.%s", name, plan.View.Name, name)
		}
	}
	for _, o := range plan.Outputs() {
		if column(o.Name) >= 0 {
			return nil, fmt.Errorf("the column %q has the name of a feature of view %q: rename it", o.Name, plan.View.Name)
		}
	}
	return p, nil
}

// parse makes a probe of a line's cells.
func (p *probeParser) parse(row []string) (probe Probe, err error) {
	if probe.AsOf, err = p.time(row[p.asOf]); err != nil {
		return probe, fmt.Errorf("%s: %w", asOfColumn, err)
	}
	probe.KnownBy = features.AnyArrival
	if p.knownByArrival {
		probe.KnownBy = probe.AsOf
	}
	if p.knownBy >= 0 && !p.empty(row[p.knownBy]) {
		if probe.KnownBy, err = p.time(row[p.knownBy]); err != nil {
			return probe, fmt.Errorf("%s: %w", knownByColumn, err)
		}
	}
	for _, e := range p.entity {
		if p.values[e.field], err = p.entityValue(row[e.column], e.kind); err != nil {
			return probe, fmt.Errorf("%s: %w", e.name, err)
		}
	}
	if p.key, err = p.plan.AppendEntity(p.key[:0], p.values); err != nil {
		return probe, err
	}
	probe.Entity = string(p.key)
	for i, c := range p.request {
		v, err := p.number(row[c])
		if err != nil {
			return probe, fmt.Errorf("%s: %w", p.plan.Request()[i], err)
		}
		probe.Request = append(probe.Request, v)
	}
	return probe, nil
}

// empty reports whether a cell has no value. A key that a line of JSON does not
// have is an empty cell.
func (p *probeParser) empty(cell string) bool { return cell == "" || p.json && cell == "null" }

// text returns the text of a cell, in JSON that of a string.
func (p *probeParser) text(cell string) (string, error) {
	if !p.json || p.empty(cell) {
		return cell, nil
	}
	if cell[0] != '"' {
		return "", fmt.Errorf("%s is not a string", cell)
	}
	var s string
	err := json.Unmarshal([]byte(cell), &s)
	return s, err
}

func (p *probeParser) time(cell string) (int64, error) {
	s, err := p.text(cell)
	if err != nil {
		return 0, err
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a time; give RFC 3339, as 2026-03-01T09:30:00Z", s)
	}
	return t.UnixMicro(), nil
}

// entityValue returns the value of an entity's field, missing for an empty cell.
func (p *probeParser) entityValue(cell string, kind features.Kind) (features.Value, error) {
	if p.empty(cell) {
		return features.Value{}, nil
	}
	if kind == expr.Int {
		i, err := strconv.ParseInt(cell, 10, 64)
		if err != nil {
			return features.Value{}, fmt.Errorf("%s is not a whole number of 64 bits", cell)
		}
		return expr.IntValue(i), nil
	}
	s, err := p.text(cell)
	return expr.StringValue(s), err
}

func (p *probeParser) number(cell string) (features.Value, error) {
	if p.empty(cell) {
		return features.Value{}, nil
	}
	x, err := strconv.ParseFloat(cell, 64)
	if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
		return features.Value{}, fmt.Errorf("%s is not a finite number", cell)
	}
	return expr.FloatValue(x), nil
}
