// Package codec turns the bytes of records into events and back.
//
// JSON is read by jsontext, the tokenizer of encoding/json/v2. Of the libraries
// that were measured it alone refuses all that RFC 8259 refuses (fastjson,
// jsonparser, gjson, sonic and simdjson-go take invalid UTF-8, most of them
// more), and it neither copies nor allocates: about 300 ns for an event of four
// fields, of which a scanner of our own could save half. See BenchmarkDecode.
package codec

import (
	"bytes"
	"fmt"
	"math"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// MaxValue bounds the bytes of one record value, and of one line of a file.
const MaxValue = 1 << 20

// The reasons of an Error, as dead letters carry them.
const (
	BadJSON      = "bad_json"      // not one JSON object, or a declared field twice
	BadCSV       = "bad_csv"       // not one line of RFC 4180 with the declared columns
	MissingField = "missing_field" // absent and not optional, or an event without its time
	WrongType    = "wrong_type"    // not of the field's kind, or an int beyond 64 bits
	NotFinite    = "not_finite"    // NaN or infinite, where the source does not allow it
	BadTime      = "bad_time"      // not a time, or outside the years 0001 to 9999
	TooLarge     = "too_large"     // more than MaxValue bytes
)

// An Error says why a record value is not an event of its source.
type Error struct {
	Reason  string // one of the reasons above
	Field   string // the field at fault; empty: the value as a whole
	Problem string // one line for people, at most a few hundred bytes
}

func (e *Error) Error() string {
	if e.Field == "" {
		return "codec: " + e.Reason + ": " + e.Problem
	}
	return fmt.Sprintf("codec: %s: field %q: %s", e.Reason, e.Field, e.Problem)
}

// A Decoder decodes the record values of one source. It belongs to one
// goroutine at a time.
type Decoder struct {
	fields    []features.Field
	byName    map[string]int
	eventTime int // index in fields
	csv       bool
	columns   []int // CSV: the field of each column; -1: the column is ignored
	nonfinite bool

	seen   []uint64 // the generation in which each field was last seen: needs no clearing
	gen    uint64
	json   jsontext.Decoder
	source bytes.Buffer // what json reads: a Buffer is read in place
	name   []byte       // scratch for names with escapes
}

// New returns a decoder for src. It refuses formats other than json and csv,
// and fields that no event could be decoded by.
func New(src features.Source) (*Decoder, error) {
	if src.Format != "json" && src.Format != "csv" {
		return nil, fmt.Errorf("codec: source %q: format %q is not supported; use json or csv", src.Name, src.Format)
	}
	d := &Decoder{
		fields:    src.EventFields(),
		byName:    map[string]int{},
		csv:       src.Format == "csv",
		nonfinite: src.AllowNonfinite,
	}
	for i, f := range d.fields {
		if _, twice := d.byName[f.Name]; twice {
			return nil, fmt.Errorf("codec: source %q: field %q is declared twice", src.Name, f.Name)
		}
		if f.Kind == expr.Missing || f.Kind > expr.Time || f.Unit > features.EpochMicros {
			return nil, fmt.Errorf("codec: source %q: field %q has no type", src.Name, f.Name)
		}
		d.byName[f.Name] = i
		d.columns = append(d.columns, i)
	}
	d.eventTime = d.byName[src.EventTime]
	if d.fields[d.eventTime].Kind != expr.Time {
		return nil, fmt.Errorf("codec: source %q: event_time %q is a %s; make it a time", src.Name, src.EventTime, d.fields[d.eventTime].Kind)
	}
	d.seen = make([]uint64, len(d.fields))
	return d, nil
}

// Decode fills ev.Values in the order of the source's EventFields, and ev.Time;
// it leaves the rest of ev alone. It reuses the array behind ev.Values. Texts
// alias value, which must not change while they are in use; only those with
// escapes are copied. After an error, always an *Error, ev.Values and ev.Time
// are not an event.
//
// A JSON value is one object with nothing after it. Fields that the source does
// not declare are checked for syntax and ignored; null is a missing value. In
// CSV the columns are the fields in their order; an empty cell is a missing
// value, except that "" in quotes is the empty text. An int has neither
// fraction nor exponent. Times are RFC 3339 with any offset, digits below the
// microsecond dropped, no leap seconds; or whole numbers since the Unix epoch.
// "NaN", "Infinity" and "-Infinity" as texts are floats where the source allows
// them, and so are numbers beyond a double's range, which become infinite.
func (d *Decoder) Decode(value []byte, ev *features.Event) error {
	if len(value) > MaxValue {
		return &Error{Reason: TooLarge, Problem: fmt.Sprintf("%d bytes; at most %d are taken", len(value), MaxValue)}
	}
	if cap(ev.Values) < len(d.fields) {
		ev.Values = make([]features.Value, len(d.fields))
	}
	ev.Values = ev.Values[:len(d.fields)]
	clear(ev.Values)
	d.gen++
	decode := (*Decoder).decodeJSON
	if d.csv {
		decode = (*Decoder).decodeCSV
	}
	if err := decode(d, value, ev.Values); err != nil {
		return err
	}
	for i := range d.fields {
		if d.seen[i] != d.gen && !d.fields[i].Optional {
			return &Error{Reason: MissingField, Field: d.fields[i].Name, Problem: "absent; declare it with a ? if it may be"}
		}
	}
	if ev.Values[d.eventTime].Kind == expr.Missing {
		return &Error{Reason: MissingField, Field: d.fields[d.eventTime].Name, Problem: "an event needs its time"}
	}
	ev.Time = ev.Values[d.eventTime].Int()
	return nil
}

// parse reads text as f's kind, the rules that JSON and CSV share. It returns a
// reason, empty if all is well.
func (d *Decoder) parse(f *features.Field, text string) (v features.Value, reason string) {
	switch f.Kind {
	case expr.Int:
		i, ok := parseInt(text)
		if !ok {
			return v, WrongType
		}
		return expr.IntValue(i), ""
	case expr.Float:
		x, ok := parseFloat(text)
		if !ok {
			return v, WrongType
		}
		return d.float(x)
	}
	if f.Unit != features.RFC3339 {
		i, ok := parseInt(text)
		if !ok {
			return v, WrongType
		}
		us, ok := fromEpoch(i, f.Unit)
		if !ok {
			return v, BadTime
		}
		return expr.TimeValue(us), ""
	}
	us, ok := parseTime(text)
	if !ok {
		return v, BadTime
	}
	return expr.TimeValue(us), ""
}

func (d *Decoder) float(x float64) (features.Value, string) {
	if !d.nonfinite && (math.IsNaN(x) || math.IsInf(x, 0)) {
		return features.Value{}, NotFinite
	}
	return expr.FloatValue(x), ""
}

// fieldError explains why shown, the field as it was written, was refused.
func fieldError(f *features.Field, reason, shown string) *Error {
	e := &Error{Reason: reason, Field: f.Name}
	shown = truncate(shown)
	switch reason {
	case NotFinite:
		e.Problem = shown + " is not a finite number; allow_nonfinite takes such"
	case BadTime:
		e.Problem = shown + " is not a time in the years 0001 to 9999 as " + unitNames[f.Unit]
	default:
		e.Problem = "want " + wanted(f) + ", got " + shown
	}
	return e
}

var unitNames = [...]string{"RFC 3339 writes it", "seconds since 1970", "milliseconds since 1970", "microseconds since 1970"}

func wanted(f *features.Field) string {
	switch f.Kind {
	case expr.Int:
		return "a whole number of 64 bits"
	case expr.Float:
		return "a number"
	case expr.Bool:
		return "true or false"
	case expr.Time:
		if f.Unit != features.RFC3339 {
			return "a whole number of " + unitNames[f.Unit]
		}
		return "a time as " + unitNames[f.Unit]
	}
	return "a text"
}

// truncate keeps enough of s to recognise it.
func truncate(s string) string {
	const most = 64
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.ToValidUTF8(s, "")
}
