package codec

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// decodeCSV reads one line of RFC 4180, with or without its line break.
func (d *Decoder) decodeCSV(value []byte, values []features.Value) error {
	if !utf8.Valid(value) {
		return &Error{Reason: BadCSV, Problem: "is not UTF-8"}
	}
	rest := trimBreak(value)
	for column, more := 0, true; more; column++ {
		var c cell
		var problem string
		if c, rest, more, problem = nextCell(rest); problem != "" {
			return &Error{Reason: BadCSV, Problem: fmt.Sprintf("column %d %s", column+1, problem)}
		}
		if more == (column == len(d.columns)-1) {
			return d.columnCount(value)
		}
		i := d.columns[column]
		if i < 0 {
			continue
		}
		d.seen[i] = d.gen
		var reason string
		if values[i], reason = d.cellValue(&d.fields[i], c); reason != "" {
			return fieldError(&d.fields[i], reason, strconv.Quote(truncate(c.text)))
		}
	}
	return nil
}

func (d *Decoder) columnCount(value []byte) error {
	n := 0
	for rest, more := trimBreak(value), true; more; n++ {
		_, rest, more, _ = nextCell(rest)
	}
	return &Error{Reason: BadCSV, Problem: fmt.Sprintf("has %d columns, not %d", n, len(d.columns))}
}

// cellValue returns c as f's kind. An empty reason says that all is well.
func (d *Decoder) cellValue(f *features.Field, c cell) (v features.Value, reason string) {
	if c.text == "" && !(c.quoted && f.Kind == expr.String) {
		return v, ""
	}
	switch f.Kind {
	case expr.String:
		return expr.StringValue(c.text), ""
	case expr.Bool:
		yes := strings.EqualFold(c.text, "true")
		if !yes && !strings.EqualFold(c.text, "false") {
			return v, WrongType
		}
		return expr.BoolValue(yes), ""
	}
	return d.parse(f, c.text)
}

// A cell is one value of a line.
type cell struct {
	text   string // aliases the line unless a quote was doubled
	quoted bool
}

// nextCell cuts the first cell off line. More says that a comma followed it.
func nextCell(line []byte) (c cell, rest []byte, more bool, problem string) {
	if len(line) > 0 && line[0] == '"' {
		return quotedCell(line)
	}
	for i, b := range line {
		switch b {
		case ',':
			return cell{text: alias(line[:i])}, line[i+1:], true, ""
		case '"':
			return c, nil, false, "has a quote inside a cell that does not begin with one"
		case '\r', '\n':
			return c, nil, false, "has a line break outside quotes"
		}
	}
	return cell{text: alias(line)}, nil, false, ""
}

func quotedCell(line []byte) (c cell, rest []byte, more bool, problem string) {
	end, doubled := 1, false
	for {
		i := bytes.IndexByte(line[end:], '"')
		if i < 0 {
			return c, nil, false, "has no closing quote"
		}
		end += i
		if end+1 >= len(line) || line[end+1] != '"' {
			break
		}
		doubled = true
		end += 2
	}
	c = cell{text: alias(line[1:end]), quoted: true}
	if doubled {
		c.text = strings.ReplaceAll(c.text, `""`, `"`)
	}
	switch rest = line[end+1:]; {
	case len(rest) == 0:
		return c, nil, false, ""
	case rest[0] == ',':
		return c, rest[1:], true, ""
	}
	return c, nil, false, "goes on after its closing quote"
}

// trimBreak takes one line break off the end of line.
func trimBreak(line []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
}
