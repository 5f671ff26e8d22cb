package expr

import (
	"math"
	"testing"
)

func TestValue(t *testing.T) {
	for _, x := range []struct {
		v      Value
		text   string
		number float64
		is     bool
	}{
		{Value{}, "", 0, false},
		{BoolValue(true), "true", 0, false},
		{BoolValue(false), "false", 0, false},
		{IntValue(math.MinInt64), "-9223372036854775808", -1 << 63, true},
		{IntValue(1<<53 + 1), "9007199254740993", 1 << 53, true},
		{FloatValue(0.1), "0.1", 0.1, true},
		{FloatValue(-1e300), "-1e+300", -1e300, true},
		{StringValue("é"), "é", 0, false},
		{TimeValue(-1), "1969-12-31T23:59:59.999999Z", 0, false},
		{TimeValue(1_700_000_000_000_000), "2023-11-14T22:13:20Z", 0, false},
	} {
		n, is := x.v.Number()
		if text := x.v.Text(); text != x.text || n != x.number || is != x.is || is != x.v.Kind.Numeric() {
			t.Errorf("%v: text %q, number %v %t; want %q, %v %t", x.v.Kind, text, n, is, x.text, x.number, x.is)
		}
	}
}
