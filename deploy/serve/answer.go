package serve

import (
	"math"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/streams"
)

// The answer of /get-online-features is that of Feast's feature server 0.67
// (feast/feature_server_utils.py), byte for byte where the values are the same:
//
//	results        one vector for each column: values, statuses and
//	               event_timestamps, each with one element for each row
//	metadata       feature_names, the columns' names, in the same order
//	as_of          ours: for each row the moment that its values are about
//
// The columns of the entities come first and are PRESENT since 1970, as are all
// times of what is not found. Feast gives the features in no particular order;
// here they are in the order of the request. A feature without a value, which
// Feast calls PRESENT as well, is NULL_VALUE. Times, which Feast gives as whole
// seconds, are RFC 3339 here.

// appendVectors appends the answer to a query.
func appendVectors(dst []byte, q *Query, v *Vectors) []byte {
	dst = append(dst, `{"results":[`...)
	none := appendTimes(nil, v.Rows, func(int) int64 { return features.NoTime })
	for i, k := range v.Keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendKeys(dst, &q.Entities[k], v.kinds[k], none)
	}
	for _, p := range v.parts {
		p.stamps = appendTimes(p.stamps[:0], v.Rows, func(row int) int64 { return p.times[row] })
	}
	for c := range v.columns {
		dst = append(dst, ',')
		dst = v.appendColumn(dst, c)
	}
	dst = append(dst, `],"metadata":{"feature_names":[`...)
	for i, k := range v.Keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendText(dst, q.Entities[k].Name)
	}
	for _, name := range v.Names {
		dst = append(dst, ',')
		dst = appendText(dst, name)
	}
	dst = append(dst, `]},"as_of":[`...)
	for row, at := range v.AsOf {
		if row > 0 {
			dst = append(dst, ',')
		}
		if at == features.NoTime {
			dst = append(dst, "null"...)
		} else {
			dst = appendTime(dst, at)
		}
	}
	return append(dst, "]}"...)
}

// appendKeys appends a column of the entities, whose cells can be of the kind.
func appendKeys(dst []byte, c *Column, kind features.Kind, times []byte) []byte {
	dst = append(dst, `{"values":[`...)
	for row := range c.Cells {
		if row > 0 {
			dst = append(dst, ',')
		}
		x, _ := c.cell(row, kind) // it was looked up
		dst = appendValue(dst, x)
	}
	dst = append(dst, `],"statuses":[`...)
	for range len(c.Cells) - 1 {
		dst = append(dst, `"PRESENT",`...)
	}
	dst = append(dst, `"PRESENT"],"event_timestamps":[`...)
	dst = append(dst, times...)
	return append(dst, "]}"...)
}

// appendColumn appends a column of features.
func (v *Vectors) appendColumn(dst []byte, c int) []byte {
	at := v.columns[c]
	dst = append(dst, `{"values":[`...)
	for row := range v.Rows {
		if row > 0 {
			dst = append(dst, ',')
		}
		dst = appendValue(dst, at.part.values[row*len(at.part.outputs)+at.output])
	}
	dst = append(dst, `],"statuses":[`...)
	for row := range v.Rows {
		if row > 0 {
			dst = append(dst, ',')
		}
		switch _, status := v.Value(row, c); status {
		case Present:
			dst = append(dst, `"PRESENT"`...)
		case NullValue:
			dst = append(dst, `"NULL_VALUE"`...)
		default:
			dst = append(dst, `"NOT_FOUND"`...)
		}
	}
	dst = append(dst, `],"event_timestamps":[`...)
	dst = append(dst, at.part.stamps...)
	return append(dst, "]}"...)
}

// appendTimes appends a time for each row, 1970 where there is none.
func appendTimes(dst []byte, rows int, of func(row int) int64) []byte {
	for row := range rows {
		if row > 0 {
			dst = append(dst, ',')
		}
		at := of(row)
		if at == features.NoTime {
			at = 0
		}
		dst = appendTime(dst, at)
	}
	return dst
}

// appendTime appends a time of us microseconds since the Unix epoch with as
// many digits of the second as protobuf's JSON gives it: none, three or six.
func appendTime(dst []byte, us int64) []byte {
	layout := `"2006-01-02T15:04:05.000000Z"`
	switch {
	case us%1e6 == 0:
		layout = `"2006-01-02T15:04:05Z"`
	case us%1e3 == 0:
		layout = `"2006-01-02T15:04:05.000Z"`
	}
	return time.UnixMicro(us).UTC().AppendFormat(dst, layout)
}

func appendValue(dst []byte, x features.Value) []byte {
	switch x.Kind {
	case expr.Float:
		return appendFloat(dst, x.Float())
	case expr.Int:
		return strconv.AppendInt(dst, x.Int(), 10)
	case expr.String:
		return appendText(dst, x.Str)
	case expr.Bool:
		return strconv.AppendBool(dst, x.Bool())
	case expr.Time:
		return appendTime(dst, x.Int())
	}
	return append(dst, "null"...)
}

// appendFloat appends x as Python, and so Feast, writes it: the fewest digits
// that read back equal, with a fraction or an exponent so that readers which
// tell whole numbers from doubles see a double.
func appendFloat(dst []byte, x float64) []byte {
	a := math.Abs(x)
	switch {
	case a < 1<<53 && x == math.Trunc(x) && (x != 0 || !math.Signbit(x)):
		dst = strconv.AppendInt(dst, int64(x), 10)
		return append(dst, '.', '0')
	case x != x:
		return append(dst, `"NaN"`...)
	case math.IsInf(x, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(x, -1):
		return append(dst, `"-Infinity"`...)
	case a >= 1e16, a < 1e-4 && x != 0:
		return strconv.AppendFloat(dst, x, 'e', -1, 64)
	}
	dst = strconv.AppendFloat(dst, x, 'f', -1, 64)
	if x == math.Trunc(x) { // -0, and whole numbers beyond 2^53
		dst = append(dst, '.', '0')
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) // its error says that it put U+FFFD for bytes that are not UTF-8
	return dst
}

// appendPositions appends the member "positions" of an answer.
func appendPositions(dst []byte, positions []streams.Position) []byte {
	dst = append(dst, `"positions":[`...)
	for i, at := range positions {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"topic":`...)
		dst = appendText(dst, at.Topic)
		dst = append(dst, `,"partition":`...)
		dst = strconv.AppendInt(dst, int64(at.Partition), 10)
		dst = append(dst, `,"offset":`...)
		dst = strconv.AppendInt(dst, at.Offset, 10)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}
