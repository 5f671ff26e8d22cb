package codec

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// AppendJSON appends values, which go by fields, as one JSON object: what
// Decode reads back as the same values. A missing value is null; bytes of a
// text that are not UTF-8 become U+FFFD.
func AppendJSON(dst []byte, fields []features.Field, values []features.Value) []byte {
	dst = append(dst, '{')
	for i, f := range fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendQuoted(dst, f.Name)
		dst = append(dst, ':')
		switch v := values[i]; {
		case v.Kind == expr.Missing:
			dst = append(dst, "null"...)
		case v.Kind == expr.String:
			dst = appendQuoted(dst, v.Str)
		case isText(f, v):
			dst = append(dst, '"')
			dst = appendScalar(dst, f, v)
			dst = append(dst, '"')
		default:
			dst = appendScalar(dst, f, v)
		}
	}
	return append(dst, '}')
}

// AppendCSV appends values, which go by fields, as one line of CSV without a
// line break: what Decode reads back as the same values. A missing value is an
// empty cell.
func AppendCSV(dst []byte, fields []features.Field, values []features.Value) []byte {
	for i, f := range fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		switch v := values[i]; v.Kind {
		case expr.Missing:
		case expr.String:
			dst = appendCell(dst, v.Str)
		default:
			dst = appendScalar(dst, f, v)
		}
	}
	return dst
}

func appendQuoted(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) // its error says that it put U+FFFD for some bytes
	return dst
}

func appendCell(dst []byte, s string) []byte {
	if s != "" && !strings.ContainsAny(s, "\",\r\n") {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	dst = append(dst, strings.ReplaceAll(s, `"`, `""`)...)
	return append(dst, '"')
}

// isText reports whether v, which is not a String, is a JSON string on the wire.
func isText(f features.Field, v features.Value) bool {
	switch v.Kind {
	case expr.Time:
		return f.Unit == features.RFC3339
	case expr.Float:
		return math.IsNaN(v.Float()) || math.IsInf(v.Float(), 0)
	}
	return false
}

func appendScalar(dst []byte, f features.Field, v features.Value) []byte {
	switch v.Kind {
	case expr.Bool:
		return strconv.AppendBool(dst, v.Bool())
	case expr.Int:
		return strconv.AppendInt(dst, v.Int(), 10)
	case expr.Float:
		return appendFloat(dst, v.Float())
	}
	if f.Unit == features.RFC3339 {
		return time.UnixMicro(v.Int()).UTC().AppendFormat(dst, time.RFC3339Nano)
	}
	scale := perUnit[f.Unit]
	n := v.Int() / scale
	if v.Int()%scale < 0 {
		n-- // towards the past, as digits below the microsecond are dropped
	}
	return strconv.AppendInt(dst, n, 10)
}

// appendFloat writes the fewest digits that read back equal.
func appendFloat(dst []byte, x float64) []byte {
	switch {
	case math.IsNaN(x):
		return append(dst, "NaN"...)
	case math.IsInf(x, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(x, -1):
		return append(dst, "-Infinity"...)
	}
	if a := math.Abs(x); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(dst, x, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, x, 'f', -1, 64)
}
