package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// encodeJSON returns v as the bytes that this package writes: one line, members
// in the order of the struct, numbers with the fewest digits that read back
// equal.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// decodeJSON reads data into v, and refuses bytes that encodeJSON would not
// write for it: so a value has one file, and no byte of a file goes unread.
func decodeJSON[T any](data []byte, v *T) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends too early")
	} else if err != nil {
		return err
	}
	again, err := encodeJSON(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(data, again) {
		at := 0
		for at < min(len(data), len(again)) && data[at] == again[at] {
			at++
		}
		return fmt.Errorf("it is not as millrace writes it, from byte %d of %d on", at, len(data))
	}
	return nil
}

// A transformFile is transform.json.
type transformFile struct {
	Form     Form         `json:"form,omitempty"`
	HashBits int          `json:"hash_bits,omitempty"`
	Clip     float64      `json:"clip,omitempty"`
	Columns  []columnFile `json:"columns"`
}

type columnFile struct {
	Name string  `json:"name"`
	Kind string  `json:"kind"`
	Unit float64 `json:"unit,omitempty"`
	Mean float64 `json:"mean,omitempty"`
	Std  float64 `json:"std,omitempty"`

	Categories []string `json:"categories,omitempty"`
}

func (t *Transform) encode() ([]byte, error) {
	f := transformFile{Form: t.form, HashBits: t.hashBits, Clip: t.Clip}
	for _, c := range t.columns {
		f.Columns = append(f.Columns, columnFile{c.name, c.kind.String(), c.unit, c.mean, c.std, c.categories})
	}
	return encodeJSON(f)
}

// decodeTransform reads transform.json.
func decodeTransform(data []byte) (*Transform, error) {
	var f transformFile
	if err := decodeJSON(data, &f); err != nil {
		return nil, err
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	t := &Transform{Clip: f.Clip, hashBits: f.HashBits, form: f.Form}
	var inputs []Input
	for i := range f.Columns {
		c := &f.Columns[i]
		kind := kindOf(c.Kind)
		if c.Std < 0 || c.Unit < 0 || (kind == expr.String || f.Form != Scaled) && (c.Unit != 0 || c.Mean != 0 || c.Std != 0) {
			return nil, fmt.Errorf("column %q of kind %s has unit %v, mean %v and std %v", c.Name, c.Kind, c.Unit, c.Mean, c.Std)
		}
		if err := checkCategories(f.Form, c, kind); err != nil {
			return nil, err
		}
		inputs = append(inputs, Input{Name: c.Name, Kind: kind})
		t.add(column{name: c.Name, kind: kind, unit: c.Unit, mean: c.Mean, std: c.Std})
		t.columns[i].setCategories(c.Categories)
	}
	return t, CheckInputs(inputs)
}

// check checks what holds for all columns.
func (f *transformFile) check() error {
	switch f.Form {
	case Scaled:
		if f.HashBits < 1 || f.HashBits > maxHashBits {
			return fmt.Errorf("hash_bits %d is not from 1 to %d", f.HashBits, maxHashBits)
		}
		if !(f.Clip > 0) {
			return fmt.Errorf("clip %v is not above 0", f.Clip)
		}
	case Categories, Plain:
		if f.HashBits != 0 || f.Clip != 0 {
			return fmt.Errorf("hash_bits %d and clip %v, which the form %s has not", f.HashBits, f.Clip, f.Form)
		}
	default:
		return fmt.Errorf("form %q; this version of millrace has %s and %s", f.Form, Categories, Plain)
	}
	return nil
}

// fits reports whether the transform is one of these inputs.
func (t *Transform) fits(inputs []Input) error {
	if len(t.columns) != len(inputs) {
		return fmt.Errorf("%d columns for %d inputs", len(t.columns), len(inputs))
	}
	for i, c := range t.columns {
		if in := inputs[i]; c.name != in.Name || c.kind != in.Kind {
			return fmt.Errorf("column %d is the %v %q, and the input there is the %v %q", i, c.kind, c.name, in.Kind, in.Name)
		}
	}
	return nil
}

// A goldenFile is golden.json.
type goldenFile struct {
	Rows []goldenRow `json:"rows"`
}

// A goldenRow is a vector and the score that it must get, to the bit.
type goldenRow struct {
	X     []json.RawMessage `json:"x"`
	Score float64           `json:"score"`
}

// appendValue appends a value in JSON: null, true, a number, a text, or a number
// that JSON does not have as "+Inf" or "-Inf". NaN is null, because it is
// missing.
func appendValue(dst []byte, v features.Value) ([]byte, error) {
	switch v.Kind {
	case expr.Bool:
		return strconv.AppendBool(dst, v.Bool()), nil
	case expr.Int:
		return strconv.AppendInt(dst, v.Int(), 10), nil
	case expr.Float:
		return appendFloat(dst, v.Float()), nil
	case expr.String:
		if !utf8.ValidString(v.Str) {
			return nil, fmt.Errorf("the text %q is not UTF-8", v.Str)
		}
		text, err := encodeJSON(v.Str)
		return append(dst, bytes.TrimSuffix(text, []byte("\n"))...), err
	}
	return append(dst, "null"...), nil
}

func appendFloat(dst []byte, x float64) []byte {
	switch {
	case math.IsNaN(x):
		return append(dst, "null"...)
	case math.IsInf(x, 1):
		return append(dst, `"+Inf"`...)
	case math.IsInf(x, -1):
		return append(dst, `"-Inf"`...)
	}
	return strconv.AppendFloat(dst, x, 'g', -1, 64)
}

// decodeValue reads what appendValue writes for an input of that kind.
func decodeValue(data []byte, kind features.Kind) (v features.Value, err error) {
	text := string(data)
	switch {
	case text == "null":
		return v, nil
	case kind == expr.Bool && (text == "true" || text == "false"):
		return expr.BoolValue(text == "true"), nil
	case kind == expr.String:
		err = json.Unmarshal(data, &v.Str)
		v.Kind = expr.String
	case kind.Numeric() && text == `"+Inf"`:
		return expr.FloatValue(math.Inf(1)), nil
	case kind.Numeric() && text == `"-Inf"`:
		return expr.FloatValue(math.Inf(-1)), nil
	case kind.Numeric():
		v, err = decodeNumber(text, kind)
	default:
		err = errors.New("not a value of that kind")
	}
	if err != nil {
		return v, fmt.Errorf("%s for a %v: %w", text, kind, err)
	}
	if again, err := appendValue(nil, v); err != nil || !bytes.Equal(again, data) {
		return v, fmt.Errorf("%s for a %v: it is not as millrace writes it, %s", text, kind, again)
	}
	return v, nil
}

// decodeNumber reads a number. Where an Int is asked for, what is not written as
// one, as -0 and 1e+21, is a Float, which a transform takes as well.
func decodeNumber(text string, kind features.Kind) (features.Value, error) {
	if kind == expr.Int {
		if i, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(i, 10) == text {
			return expr.IntValue(i), nil
		}
	}
	x, err := strconv.ParseFloat(text, 64)
	return expr.FloatValue(x), err
}

// encodeGolden returns golden.json of rows with the scores that score gives
// them.
func encodeGolden(rows [][]features.Value, inputs []Input, score func([]features.Value) (float64, error)) ([]byte, error) {
	if len(rows) == 0 || len(rows) > maxGolden {
		return nil, fmt.Errorf("bundle: %d golden rows: give 1 to %d", len(rows), maxGolden)
	}
	f := goldenFile{Rows: make([]goldenRow, len(rows))}
	for i, x := range rows {
		g := &f.Rows[i]
		var err error
		if g.Score, err = score(x); err != nil {
			return nil, fmt.Errorf("bundle: golden row %d: %w", i, err)
		}
		for k, v := range x {
			if n, ok := v.Number(); ok && inputs[k].Kind == expr.Float {
				v = expr.FloatValue(n) // what the transform makes of an Int, too
			}
			text, err := appendValue(nil, v)
			if err != nil {
				return nil, fmt.Errorf("bundle: golden row %d, input %q: %w", i, inputs[k].Name, err)
			}
			g.X = append(g.X, text)
		}
	}
	return encodeJSON(f)
}

// decodeGolden reads golden.json: rows and the score that each must get.
func decodeGolden(data []byte, inputs []Input) (rows [][]features.Value, scores []float64, err error) {
	var f goldenFile
	if err := decodeJSON(data, &f); err != nil {
		return nil, nil, err
	}
	if len(f.Rows) == 0 || len(f.Rows) > maxGolden {
		return nil, nil, fmt.Errorf("%d rows; there are 1 to %d", len(f.Rows), maxGolden)
	}
	for i, g := range f.Rows {
		if len(g.X) != len(inputs) {
			return nil, nil, fmt.Errorf("row %d has %d values for %d inputs", i, len(g.X), len(inputs))
		}
		x := make([]features.Value, len(inputs))
		for k, text := range g.X {
			if x[k], err = decodeValue(text, inputs[k].Kind); err != nil {
				return nil, nil, fmt.Errorf("row %d, input %q: %w", i, inputs[k].Name, err)
			}
		}
		rows, scores = append(rows, x), append(scores, g.Score)
	}
	return rows, scores, nil
}

// checkGolden scores the rows of golden.json again.
func checkGolden(data []byte, inputs []Input, score func([]features.Value) (float64, error)) error {
	rows, want, err := decodeGolden(data, inputs)
	if err != nil {
		return err
	}
	for i, x := range rows {
		got, err := score(x)
		if err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
		if math.Float64bits(got) != math.Float64bits(want[i]) {
			return fmt.Errorf("row %d scores %v here and %v where it was trained: this program computes otherwise, or the bundle was changed", i, got, want[i])
		}
	}
	return nil
}
