package onnx

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// toInt converts as C does on x86-64: towards 0, and what fits no int64, as NaN, is
// the least one.
func toInt(x float64) int64 {
	if x >= -1<<63 && x < 1<<63 {
		return int64(x)
	}
	return math.MinInt64
}

// toInt32 is toInt for 32 bits.
func toInt32(x float64) int64 {
	if x > -1<<31-1 && x < 1<<31 {
		return int64(x)
	}
	return math.MinInt32
}

func cast(c *compiler, n *node, in []*value) ([]*value, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	n.ignore("saturate", "round_mode") // of types of 8 bits
	to := toDtype(n.int("to", 0))
	if !to.isFloat() && !to.isInt() && to != boolType && to != stringType {
		return nil, fmt.Errorf("a cast to %v is not supported", to)
	}
	y := in[0]
	if y.typ != to {
		y = c.converted(n, y, to)
	}
	return []*value{y}, nil
}

// converted compiles a conversion to another type.
func (c *compiler) converted(n *node, x *value, to dtype) *value {
	if x.typ.isInt() && to == int64Type {
		y := alias(x, x.dims)
		y.typ = to
		return y
	}
	y := c.new(n, to, x.dims)
	var s step
	switch x.typ {
	case float32Type:
		s = fromNumber[float32](x, y, func(v float32) string { return floatText(float64(v)) })
	case float64Type:
		s = fromNumber[float64](x, y, floatText)
	case int64Type, int32Type:
		s = fromNumber[int64](x, y, func(v int64) string { return strconv.FormatInt(v, 10) })
	case boolType:
		s = fromBool(x, y)
	case stringType:
		s = fromText(x, y)
	}
	if s == nil {
		n.fail("a cast of %v to %v is not supported", x.typ, to)
		return y
	}
	c.do(n, y.size(), s)
	return y
}

func fromNumber[T number](x, y *value, text func(T) string) step {
	switch y.typ {
	case float32Type:
		return map1(x, y, func(v T) float32 { return float32(v) })
	case float64Type:
		return map1(x, y, func(v T) float64 { return float64(v) })
	case int64Type:
		return map1(x, y, wholeOf[T])
	case int32Type:
		return map1(x, y, func(v T) int64 {
			if _, whole := any(v).(int64); whole {
				return int64(int32(wholeOf(v)))
			}
			return toInt32(float64(v))
		})
	case boolType:
		return map1(x, y, func(v T) bool { return v != 0 })
	case stringType:
		return map1(x, y, text)
	}
	return nil
}

// wholeOf converts a number to int64, without losing one that is.
func wholeOf[T number](v T) int64 {
	if i, ok := any(v).(int64); ok {
		return i
	}
	return toInt(float64(v))
}

// floatText writes a number as onnxruntime does.
func floatText(v float64) string {
	switch {
	case v != v:
		return "NaN"
	case math.IsInf(v, 1):
		return "INF"
	case math.IsInf(v, -1):
		return "-INF"
	}
	return fmt.Sprintf("%.8g", v)
}

func fromBool(x, y *value) step {
	switch y.typ {
	case float32Type:
		return map1(x, y, oneIf[float32])
	case float64Type:
		return map1(x, y, oneIf[float64])
	case int64Type, int32Type:
		return map1(x, y, oneIf[int64])
	}
	return nil
}

func oneIf[T number](v bool) T {
	if v {
		return 1
	}
	return 0
}

func fromText(x, y *value) step {
	switch y.typ {
	case float32Type:
		return parsed(x, y, func(s string) (float32, error) {
			v, err := strconv.ParseFloat(s, 32)
			return float32(v), err
		})
	case float64Type:
		return parsed(x, y, func(s string) (float64, error) { return strconv.ParseFloat(s, 64) })
	case int64Type:
		return parsed(x, y, func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) })
	case int32Type:
		return parsed(x, y, func(s string) (int64, error) { return strconv.ParseInt(s, 10, 32) })
	}
	return nil
}

// parsed is a step that reads texts; the row has no score if one is no number.
func parsed[T number](x, y *value, parse func(string) (T, error)) step {
	from, to := x.slot, y.slot
	return func(st *state) {
		values := of[T](&st.slots[to])
		for i, text := range st.slots[from].s {
			v, err := parse(strings.TrimSpace(text))
			if err != nil {
				st.failed = true
			}
			values[i] = v
		}
	}
}

// floats returns a value as float32, converted if it is another number.
func (c *compiler) floats(n *node, v *value) (*value, error) {
	switch {
	case v.typ == float32Type:
		return v, nil
	case v.typ == float64Type || v.typ.isInt():
		return c.converted(n, v, float32Type), nil
	}
	return nil, errType(v)
}
