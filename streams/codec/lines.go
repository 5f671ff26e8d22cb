package codec

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/millrace/millrace/features"
)

// A Line is one event of a file. Its parts are valid until the next one.
type Line struct {
	Number int             // the line of the file on which the event begins, from 1
	Value  []byte          // the record value, in the format of the source
	Event  *features.Event // what Value decodes to
}

// A LineError is one line of a file that is not an event.
type LineError struct {
	Number int // from 1
	Err    error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Number, e.Err) }

// Unwrap returns the error about the line, an *Error.
func (e *LineError) Unwrap() error { return e.Err }

// Lines reads the events of a file. Format is that of the file: json, one
// object on each line, or csv, with a header line whose names are matched with
// the source's fields in any order; other columns are ignored. Blank lines are
// skipped, as is a byte order mark.
//
// A line that is not an event of src is yielded as a *LineError, and the lines
// after it can still be had; any other error ends the sequence. Lines are held
// one at a time, and none longer than MaxValue.
func Lines(r io.Reader, src features.Source, format string) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		f, err := newFile(r, src, format)
		if err != nil {
			yield(Line{}, err)
			return
		}
		for {
			line, err := f.event()
			if errors.Is(err, io.EOF) {
				return
			}
			var bad *LineError
			if !yield(line, err) || err != nil && !errors.As(err, &bad) {
				return
			}
		}
	}
}

// A file reads the events of a file.
type file struct {
	lines lineReader
	dec   *Decoder
	from  string // the format of the file
	to    string // the format of the source
	ev    features.Event
	value []byte
}

func newFile(r io.Reader, src features.Source, format string) (*file, error) {
	if _, err := New(src); err != nil {
		return nil, err
	}
	f := &file{from: format, to: src.Format}
	f.lines = lineReader{r: bufio.NewReaderSize(r, 64<<10), quoted: format == "csv"}
	src.Format = format
	var err error
	if f.dec, err = New(src); err != nil {
		return nil, err
	}
	if format == "csv" {
		return f, f.readHeader()
	}
	return f, nil
}

// event returns the next event, io.EOF after the last.
func (f *file) event() (Line, error) {
	line, number, err := f.lines.next()
	if err == nil {
		err = f.dec.Decode(line, &f.ev)
	}
	if err == nil {
		f.encode(line)
		if len(f.value) > MaxValue {
			err = &Error{Reason: TooLarge, Problem: fmt.Sprintf("makes a record of %d bytes; at most %d are taken", len(f.value), MaxValue)}
		}
	}
	var bad *Error
	switch {
	case err == nil:
		return Line{number, f.value, &f.ev}, nil
	case errors.As(err, &bad):
		return Line{}, &LineError{number, err}
	case errors.Is(err, io.EOF):
		return Line{}, err
	}
	return Line{}, fmt.Errorf("codec: reading line %d: %w", number, err)
}

// encode makes the record value of a line. A JSON line goes on a JSON topic as
// it is, with the fields that the source does not declare.
func (f *file) encode(line []byte) {
	switch {
	case f.to == "csv":
		f.value = AppendCSV(f.value[:0], f.dec.fields, f.ev.Values)
	case f.from == "json":
		f.value = line
	default:
		f.value = AppendJSON(f.value[:0], f.dec.fields, f.ev.Values)
	}
}

// readHeader points the columns of the decoder at the fields that the header names.
func (f *file) readHeader() error {
	line, number, err := f.lines.next()
	if errors.Is(err, io.EOF) {
		return errors.New("codec: the file is empty; a CSV file begins with a header line")
	}
	if err != nil {
		return fmt.Errorf("codec: the header in line %d: %w", number, err)
	}
	d := f.dec
	d.columns = d.columns[:0]
	named := make([]bool, len(d.fields))
	for rest, more := line, true; more; {
		var c cell
		var problem string
		if c, rest, more, problem = nextCell(rest); problem != "" {
			return fmt.Errorf("codec: the header in line %d: column %d %s", number, len(d.columns)+1, problem)
		}
		i, ok := d.byName[c.text]
		if !ok {
			i = -1
		} else if named[i] {
			return fmt.Errorf("codec: the header in line %d has the column %q twice", number, c.text)
		} else {
			named[i] = true
		}
		d.columns = append(d.columns, i)
	}
	for i, field := range d.fields {
		if !named[i] && (!field.Optional || i == d.eventTime) {
			return fmt.Errorf("codec: the header in line %d has no column %q; it is %s", number, field.Name, truncate(string(line)))
		}
	}
	return nil
}

// A lineReader cuts a file into lines; a line break inside a quoted cell belongs
// to the line if quoted is set.
type lineReader struct {
	r      *bufio.Reader
	quoted bool
	line   []byte
	number int // lines read so far
}

// next returns the next line that is not blank, without its break, and the
// number of the line on which it begins. An *Error says that the line is too
// long; it has been skipped.
func (f *lineReader) next() (line []byte, number int, err error) {
	for {
		number = f.number + 1
		if err = f.read(); err != nil {
			return nil, number, err
		}
		if number == 1 {
			f.line = bytes.TrimPrefix(f.line, []byte("\ufeff"))
		}
		if len(bytes.TrimSpace(f.line)) > 0 {
			return f.line, number, nil
		}
	}
}

func (f *lineReader) read() error {
	f.line = f.line[:0]
	size, at := 0, cellBegin
	for {
		part, err := f.r.ReadSlice('\n')
		if f.quoted {
			cells := part
			if f.number == 0 && size == 0 {
				cells = bytes.TrimPrefix(cells, []byte("\ufeff"))
			}
			at = at.after(cells)
		}
		if size += len(part); size <= MaxValue+len("\r\n") {
			f.line = append(f.line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && size > 0:
		case err != nil:
			return err
		case at == inQuotes && size <= MaxValue:
			f.number++
			continue
		}
		f.number++
		f.line = trimBreak(f.line)
		if size > MaxValue+len("\r\n") || len(f.line) > MaxValue {
			return &Error{Reason: TooLarge, Problem: fmt.Sprintf("%d bytes; at most %d are taken", size, MaxValue)}
		}
		return nil
	}
}

// A place is where in a line of CSV one is, as nextCell sees it.
type place int

const (
	cellBegin  place = iota
	inCell           // in one without quotes
	inQuotes         // where a line break is part of the cell
	afterQuote       // behind one in quotes: it is doubled, or closes the cell
	inBadLine        // a quote is where none may be, and says nothing from there on
)

// after returns the place behind text, which begins at p.
func (p place) after(text []byte) place {
	for len(text) > 0 && p != inBadLine {
		b := text[0]
		text = text[1:]
		switch {
		case p == inQuotes:
			if b == '"' {
				p = afterQuote
			} else if i := bytes.IndexByte(text, '"'); i >= 0 {
				text = text[i:]
			} else {
				return p
			}
		case b == ',':
			p = cellBegin
		case b == '"' && (p == cellBegin || p == afterQuote):
			p = inQuotes
		case b == '"' || p == afterQuote:
			p = inBadLine
		default:
			p = inCell
		}
	}
	return p
}
