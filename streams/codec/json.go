package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"unsafe"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// maxProblem bounds the tokenizer's words, which quote names of the input.
const maxProblem = 200

// decodeJSON reads one object. Duplicates among declared fields are refused
// here, by seen; the tokenizer's own check, which covers ignored fields as well,
// would cost a fifth of the time and protect nothing that is used.
func (d *Decoder) decodeJSON(value []byte, values []features.Value) error {
	d.source = *bytes.NewBuffer(value)
	d.json.Reset(&d.source, jsontext.AllowDuplicateNames(true))
	start, err := d.json.ReadToken()
	if err != nil {
		return badJSON(err, len(value))
	}
	if start.Kind() != jsontext.KindBeginObject {
		return &Error{Reason: BadJSON, Problem: "want one object, got " + truncate(string(bytes.TrimSpace(value)))}
	}
	for next := 0; d.json.PeekKind() != jsontext.KindEndObject; {
		name, err := d.json.ReadValue()
		if err != nil {
			return badJSON(err, len(value))
		}
		i := d.lookup(name, next)
		v, err := d.json.ReadValue()
		if err != nil {
			return badJSON(err, len(value))
		}
		if i < 0 {
			continue
		}
		if d.seen[i] == d.gen {
			return &Error{Reason: BadJSON, Field: d.fields[i].Name, Problem: "is there twice"}
		}
		d.seen[i] = d.gen
		next = i + 1
		var reason string
		if values[i], reason = d.jsonValue(&d.fields[i], v); reason != "" {
			return fieldError(&d.fields[i], reason, string(v[:min(len(v), 2*maxProblem)]))
		}
	}
	if _, err := d.json.ReadToken(); err != nil {
		return badJSON(err, len(value))
	}
	if rest := bytes.TrimLeft(value[d.json.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return &Error{Reason: BadJSON, Problem: "after the object there is " + truncate(string(rest))}
	}
	return nil
}

// lookup returns the field that the quoted name stands for, or -1. Producers
// write fields in one order, so the field after the last one is tried first.
func (d *Decoder) lookup(quoted []byte, next int) int {
	name := quoted[1 : len(quoted)-1]
	if next < len(d.fields) && string(name) == d.fields[next].Name {
		return next
	}
	if bytes.IndexByte(name, '\\') >= 0 {
		d.name, _ = jsontext.AppendUnquote(d.name[:0], quoted) // the tokenizer has checked it
		name = d.name
	}
	if i, ok := d.byName[string(name)]; ok {
		return i
	}
	return -1
}

// jsonValue returns the checked JSON value raw as f's kind. An empty reason
// says that all is well.
func (d *Decoder) jsonValue(f *features.Field, raw jsontext.Value) (v features.Value, reason string) {
	kind := raw.Kind()
	if kind == jsontext.KindNull {
		return v, ""
	}
	text := f.Kind == expr.String || f.Kind == expr.Time && f.Unit == features.RFC3339
	switch {
	case kind == jsontext.KindString && text:
		s := unquote(raw)
		if f.Kind == expr.String {
			return expr.StringValue(s), ""
		}
		return d.parse(f, s)
	case kind == jsontext.KindString && f.Kind == expr.Float:
		x, ok := nonfinite(unquote(raw))
		if !ok {
			return v, WrongType
		}
		return d.float(x)
	case kind == jsontext.KindNumber && !text && f.Kind != expr.Bool:
		return d.parse(f, alias(raw))
	case (kind == jsontext.KindTrue || kind == jsontext.KindFalse) && f.Kind == expr.Bool:
		return expr.BoolValue(kind == jsontext.KindTrue), ""
	}
	return v, WrongType
}

// unquote returns the text of a checked JSON string, copied only if it has escapes.
func unquote(raw jsontext.Value) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return alias(raw[1 : len(raw)-1])
	}
	b, _ := jsontext.AppendUnquote(nil, raw)
	return alias(b)
}

// alias returns b as a string without a copy: b must not change any more.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// nonfinite returns the float that s is the wire form of; JSON has no number for it.
func nonfinite(s string) (float64, bool) {
	switch s {
	case "NaN":
		return math.NaN(), true
	case "Infinity":
		return math.Inf(1), true
	case "-Infinity":
		return math.Inf(-1), true
	}
	return 0, false
}

func badJSON(err error, size int) *Error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &Error{Reason: BadJSON, Problem: fmt.Sprintf("ends too early, after %d bytes", size)}
	}
	text := err.Error()
	if len(text) > maxProblem {
		text = text[:maxProblem] + "..."
	}
	return &Error{Reason: BadJSON, Problem: text}
}
