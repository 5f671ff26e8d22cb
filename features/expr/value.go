package expr

import (
	"math"
	"strconv"
	"time"
)

// A Kind says what a Value holds.
type Kind uint8

// The kinds of values. Missing is the zero Kind, so that the zero Value is a
// missing value and never a 0.
const (
	Missing Kind = iota
	Bool
	Int
	Float
	String
	Time
)

var kindNames = [...]string{"missing", "bool", "int", "float", "string", "time"}

// String returns the name of the kind as the project file spells it.
func (k Kind) String() string { return kindNames[k] }

// Numeric reports whether values of kind k can be added up.
func (k Kind) Numeric() bool { return k == Int || k == Float }

// A Value is one field of an event or one feature of a vector. It is a plain
// struct, not an interface, so that hot paths do not allocate.
type Value struct {
	Kind Kind
	Bits uint64 // Float: IEEE 754 bits; Int: two's complement; Bool: 0 or 1; Time: microseconds since the Unix epoch, UTC
	Str  string // String only
}

// FloatValue returns x as a Value.
func FloatValue(x float64) Value { return Value{Kind: Float, Bits: math.Float64bits(x)} }

// IntValue returns i as a Value.
func IntValue(i int64) Value { return Value{Kind: Int, Bits: uint64(i)} }

// StringValue returns s as a Value. It keeps s.
func StringValue(s string) Value { return Value{Kind: String, Str: s} }

// TimeValue returns a Time of us microseconds since the Unix epoch.
func TimeValue(us int64) Value { return Value{Kind: Time, Bits: uint64(us)} }

// BoolValue returns b as a Value.
func BoolValue(b bool) Value {
	if b {
		return Value{Kind: Bool, Bits: 1}
	}
	return Value{Kind: Bool}
}

// Float returns a Float's value; other kinds give nonsense.
func (v Value) Float() float64 { return math.Float64frombits(v.Bits) }

// Int returns the value of an Int, or the microseconds of a Time.
func (v Value) Int() int64 { return int64(v.Bits) }

// Bool returns a Bool's value.
func (v Value) Bool() bool { return v.Bits != 0 }

// Number returns the value of an Int or a Float as a double, and whether v is
// either. An Int beyond 2^53 is rounded.
func (v Value) Number() (float64, bool) {
	switch v.Kind {
	case Float:
		return v.Float(), true
	case Int:
		return float64(v.Int()), true
	}
	return 0, false
}

// Text returns v as people write it; a missing value is the empty text, a
// Float has the fewest digits that read back equal, a Time is RFC 3339.
func (v Value) Text() string {
	switch v.Kind {
	case Bool:
		return strconv.FormatBool(v.Bool())
	case Int:
		return strconv.FormatInt(v.Int(), 10)
	case Float:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	case String:
		return v.Str
	case Time:
		return time.UnixMicro(v.Int()).UTC().Format(time.RFC3339Nano)
	}
	return ""
}

// A Variable is a name that an expression may use, with its kind.
type Variable struct {
	Name string
	Kind Kind
}
