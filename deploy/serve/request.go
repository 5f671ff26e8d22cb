package serve

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/streams"
)

// The members of a body of /get-online-features.
var members = []string{"features", "view", "entities", "full_feature_names", "request", "as_of", "exclude_current", "at_least", "wait_ms"}

// The first and the last moment that RFC 3339 can write.
var (
	minTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	maxTime = time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)
)

// decodeQuery reads the body of /get-online-features. It checks what the body
// says by itself; Lookup checks it against the views. Null is as absent. The
// error is a *Problem. The query keeps nothing of body.
func decodeQuery(body []byte) (*Query, error) {
	q := &Query{AsOf: features.NoTime}
	err := decodeObject(body, func(d *decoder, name string) error { return d.member(q, name) })
	var p *Problem
	if err != nil && !errors.As(err, &p) {
		return nil, &Problem{Status: 400, Err: "the body is not the JSON object of a query; " + example, Detail: err.Error()}
	}
	return q, err
}

// decodeObject reads a text that is one object and calls f for each member.
// Errors other than f's say where it is no JSON.
func decodeObject(text []byte, f func(d *decoder, name string) error) error {
	d := decoder{jsontext.NewDecoder(bytes.NewBuffer(text))}
	if err := d.object(func(name string) error { return f(&d, name) }); err != nil {
		return err
	}
	if _, end := d.ReadToken(); !errors.Is(end, io.EOF) {
		return errors.New("more follows after the object")
	}
	return nil
}

const example = `send {"features": ["view:feature"], "entities": {"field": ["value"]}}`

// A decoder reads the values of a query, and says where one is not as wanted.
type decoder struct{ *jsontext.Decoder }

func (d *decoder) member(q *Query, name string) (err error) {
	if d.PeekKind() == jsontext.KindNull && name != "entities" {
		return d.SkipValue()
	}
	switch name {
	case "features":
		return d.array(name, func() error {
			s, err := d.text(name)
			q.Features = append(q.Features, s)
			return err
		})
	case "view":
		q.View, err = d.text(name)
	case "entities":
		q.Entities, err = d.table(name)
	case "full_feature_names":
		q.FullNames, err = d.bool(name)
	case "request":
		q.Inputs, err = d.table(name)
	case "as_of":
		q.AsOf, err = d.time(name)
	case "exclude_current":
		q.ExcludeCurrent, err = d.bool(name)
	case "at_least":
		return d.positions(q)
	case "wait_ms":
		return d.wait(q)
	case "feature_service":
		return badRequest("feature_service: there are no feature services; list features, or give view: all features of a view")
	case "include_feature_view_version_metadata":
		if yes, err := d.bool(name); err != nil || !yes {
			return err
		}
		return badRequest("%s: views have no versions; leave it out", name)
	default:
		return badRequest("%s is not known; a query has %s", short(name), strings.Join(members, ", "))
	}
	return err
}

// object reads an object and calls f for each member, which reads its value.
func (d *decoder) object(f func(name string) error) error {
	start, err := d.ReadToken()
	if err != nil {
		return err
	}
	if start.Kind() != jsontext.KindBeginObject {
		return fmt.Errorf("want an object, got %s", kindName(start.Kind()))
	}
	for d.PeekKind() != jsontext.KindEndObject {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		if err := f(name.String()); err != nil {
			return err
		}
	}
	_, err = d.ReadToken()
	return err
}

// array reads an array and calls f for each of its elements.
func (d *decoder) array(name string, f func() error) error {
	start, err := d.ReadToken()
	if err != nil {
		return err
	}
	if start.Kind() != jsontext.KindBeginArray {
		return badRequest("%s: want an array, got %s", name, kindName(start.Kind()))
	}
	for d.PeekKind() != jsontext.KindEndArray {
		if err := f(); err != nil {
			return err
		}
	}
	_, err = d.ReadToken()
	return err
}

// table reads an object of arrays: the columns of entities and of request.
func (d *decoder) table(name string) ([]Column, error) {
	if d.PeekKind() != jsontext.KindBeginObject {
		return nil, d.wrong(name, "an object of arrays")
	}
	var columns []Column
	err := d.object(func(column string) error {
		c := Column{Name: column}
		where := name + ": " + short(column)
		if n := len(columns); n > 0 {
			c.Cells = make([]features.Value, 0, len(columns[n-1].Cells))
		}
		err := d.array(where, func() error {
			x, err := d.cell(where, len(c.Cells))
			c.Cells = append(c.Cells, x)
			return err
		})
		columns = append(columns, c)
		return err
	})
	return columns, err
}

// cell reads a value of a column.
func (d *decoder) cell(where string, row int) (features.Value, error) {
	return d.scalar(func() string { return fmt.Sprintf("%s, row %d", where, row) })
}

// scalar reads a value that is neither an object nor an array.
func (d *decoder) scalar(where func() string) (features.Value, error) {
	t, err := d.ReadToken()
	if err != nil {
		return features.Value{}, err
	}
	switch t.Kind() {
	case jsontext.KindNull:
		return features.Value{}, nil
	case jsontext.KindTrue, jsontext.KindFalse:
		return expr.BoolValue(t.Bool()), nil
	case jsontext.KindString:
		return expr.StringValue(t.String()), nil
	case jsontext.KindNumber:
		s := t.String()
		if i, err := strconv.ParseInt(s, 10, 64); err == nil {
			return expr.IntValue(i), nil
		}
		x, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsInf(x, 0) {
			return features.Value{}, badRequest("%s: %s is beyond the range of a double", where(), shortNumber(s))
		}
		return expr.FloatValue(x), nil
	}
	return features.Value{}, badRequest("%s: want a text, a number, true, false or null, got %s", where(), kindName(t.Kind()))
}

// shortNumber is short for a number, which needs no quotes.
func shortNumber(s string) string { return strings.Trim(short(s), `"`) }

func (d *decoder) text(name string) (string, error) {
	if d.PeekKind() != jsontext.KindString {
		return "", d.wrong(name, "a text")
	}
	t, err := d.ReadToken()
	if err != nil {
		return "", err
	}
	return t.String(), nil
}

func (d *decoder) bool(name string) (bool, error) {
	if k := d.PeekKind(); k != jsontext.KindTrue && k != jsontext.KindFalse {
		return false, d.wrong(name, "true or false")
	}
	t, err := d.ReadToken()
	if err != nil {
		return false, err
	}
	return t.Bool(), nil
}

// int reads a whole number of 64 bits, written without fraction or exponent.
func (d *decoder) int(name string) (int64, error) {
	const want = "a whole number of 64 bits"
	if d.PeekKind() != jsontext.KindNumber {
		return 0, d.wrong(name, want)
	}
	t, err := d.ReadToken()
	if err != nil {
		return 0, err
	}
	i, err := strconv.ParseInt(t.String(), 10, 64)
	if err != nil {
		return 0, badRequest("%s: want %s, got %s", name, want, shortNumber(t.String()))
	}
	return i, nil
}

func (d *decoder) time(name string) (int64, error) {
	s, err := d.text(name)
	if err != nil {
		return 0, err
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.Before(minTime) || t.After(maxTime) {
		return 0, badRequest("%s: %s is not a time in the years 0001 to 9999 as RFC 3339 writes it, as 2026-01-02T15:04:05Z", name, short(s))
	}
	return t.UnixMicro(), nil
}

func (d *decoder) wait(q *Query) error {
	ms, err := d.int("wait_ms")
	if err != nil {
		return err
	}
	if most := MaxWait.Milliseconds(); ms < 1 || ms > most {
		return badRequest("wait_ms: %d: give 1 to %d milliseconds", ms, most)
	}
	q.Wait = time.Duration(ms) * time.Millisecond
	return nil
}

// positions reads at_least, which is one position or an array of them.
func (d *decoder) positions(q *Query) error {
	if d.PeekKind() == jsontext.KindBeginObject {
		return d.position(q)
	}
	return d.array("at_least", func() error { return d.position(q) })
}

// position reads one position of at_least.
func (d *decoder) position(q *Query) error {
	if d.PeekKind() != jsontext.KindBeginObject {
		return d.wrong("at_least", "{topic, partition, offset} or an array of these")
	}
	var at streams.Position
	var seen []string
	err := d.object(func(name string) (err error) {
		seen = append(seen, name)
		switch name {
		case "topic":
			at.Topic, err = d.text("at_least: topic")
		case "partition":
			var n int64
			n, err = d.int("at_least: partition")
			at.Partition = int(n)
		case "offset":
			at.Offset, err = d.int("at_least: offset")
		default:
			err = badRequest("at_least: %s is not known; a position has topic, partition and offset", short(name))
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range []string{"topic", "partition", "offset"} {
		if !slices.Contains(seen, name) {
			return badRequest("at_least: a position without %s; it has topic, partition and offset, as /v1/events answers them", name)
		}
	}
	q.AtLeast = append(q.AtLeast, at)
	return nil
}

// wrong says what stands where something else is wanted.
func (d *decoder) wrong(name, want string) error {
	v, err := d.ReadValue()
	if err != nil {
		return err
	}
	return badRequest("%s: want %s, got %s", name, want, kindName(v.Kind()))
}

func kindName(k jsontext.Kind) string {
	switch k {
	case jsontext.KindNull:
		return "null"
	case jsontext.KindTrue, jsontext.KindFalse:
		return "true or false"
	case jsontext.KindString:
		return "a text"
	case jsontext.KindNumber:
		return "a number"
	case jsontext.KindBeginObject:
		return "an object"
	case jsontext.KindBeginArray:
		return "an array"
	}
	return "a closing bracket"
}
