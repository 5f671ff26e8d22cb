package feedback

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// A decoder reads the values of a record, and says where one is not as wanted.
type decoder struct{ *jsontext.Decoder }

// object reads an object and calls f for each member, which reads its value.
func (d decoder) object(name string, f func(member string) error) error {
	if d.PeekKind() != jsontext.KindBeginObject {
		return d.wrong(name, "an object")
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() != jsontext.KindEndObject {
		member, err := d.ReadToken()
		if err != nil {
			return err
		}
		if err := f(member.String()); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

func (d decoder) text(name string) (string, error) {
	if d.PeekKind() != jsontext.KindString {
		return "", d.wrong(name, "a text")
	}
	t, err := d.ReadToken()
	return t.String(), err
}

func (d decoder) bool(name string) (bool, error) {
	if k := d.PeekKind(); k != jsontext.KindTrue && k != jsontext.KindFalse {
		return false, d.wrong(name, "true or false")
	}
	t, err := d.ReadToken()
	return err == nil && t.Bool(), err
}

// int reads a whole number of 64 bits, written without fraction or exponent.
func (d decoder) int(name string) (int64, error) {
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
		return 0, fmt.Errorf("%s is %s; want %s", name, short(t.String()), want)
	}
	return i, nil
}

func (d decoder) float(name string) (float64, error) {
	if d.PeekKind() != jsontext.KindNumber {
		return 0, d.wrong(name, "a number")
	}
	t, err := d.ReadToken()
	if err != nil {
		return 0, err
	}
	x, err := strconv.ParseFloat(t.String(), 64)
	if err != nil {
		return 0, fmt.Errorf("%s is %s, beyond the range of a double", name, short(t.String()))
	}
	return x, nil
}

// wrong says what stands where something else is wanted.
func (d decoder) wrong(name, want string) error {
	v, err := d.ReadValue()
	if err != nil {
		return err
	}
	return fmt.Errorf("%s is %s; want %s", name, short(string(v)), want)
}

func (d decoder) values(w *wire, name string) error {
	if k := d.PeekKind(); k != jsontext.KindBeginArray {
		return d.wrong(name, "an array")
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() != jsontext.KindEndArray {
		if len(w.vector) == MaxVector {
			return fmt.Errorf("vector has more than %d values", MaxVector)
		}
		v, err := d.value(len(w.vector))
		if err != nil {
			return err
		}
		w.vector = append(w.vector, v)
	}
	_, err := d.ReadToken()
	return err
}

// value reads what appendValue writes.
func (d decoder) value(i int) (features.Value, error) {
	switch d.PeekKind() {
	case jsontext.KindBeginObject:
		return d.boxed(i)
	case jsontext.KindBeginArray:
		return features.Value{}, d.wrong(place(i), "a value")
	}
	t, err := d.ReadToken()
	if err != nil {
		return features.Value{}, err
	}
	switch t.Kind() {
	case jsontext.KindTrue, jsontext.KindFalse:
		return expr.BoolValue(t.Bool()), nil
	case jsontext.KindString:
		return expr.StringValue(t.String()), nil
	case jsontext.KindNumber:
		return number(t.String(), i)
	}
	return features.Value{}, nil // null
}

func number(s string, i int) (features.Value, error) {
	if !strings.ContainsAny(s, ".eE") {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return features.Value{}, fmt.Errorf("%s is %s, beyond 64 bits", place(i), short(s))
		}
		return expr.IntValue(n), nil
	}
	x, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return features.Value{}, fmt.Errorf("%s is %s, beyond the range of a double", place(i), short(s))
	}
	return expr.FloatValue(x), nil
}

// boxed reads a time or an infinity.
func (d decoder) boxed(i int) (v features.Value, err error) {
	seen := 0
	err = d.object(place(i), func(member string) (err error) {
		seen++
		var us int64
		var word string
		switch member {
		case "t":
			us, err = d.int(place(i) + ".t")
			v = expr.TimeValue(us)
		case "f":
			word, err = d.text(place(i) + ".f")
			if err == nil && word != "Infinity" && word != "-Infinity" {
				err = fmt.Errorf("%s.f is %s; want Infinity or -Infinity", place(i), short(word))
			}
			sign := 1
			if word == "-Infinity" {
				sign = -1
			}
			v = expr.FloatValue(math.Inf(sign))
		default:
			err = fmt.Errorf("%s.%s is not known", place(i), member)
		}
		return err
	})
	if err == nil && seen != 1 {
		err = fmt.Errorf("%s is an object with %d members; want one: t or f", place(i), seen)
	}
	return v, err
}

func place(i int) string { return fmt.Sprintf("vector[%d]", i) }
