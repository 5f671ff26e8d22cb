package eval

import (
	"encoding/json"
	"math"
	"strconv"
)

// A Number is a double that JSON can carry: NaN, which stands for undefined,
// and infinities are null there.
type Number float64

// Undefined is the value of what has no value, as the AUC of one class.
func Undefined() Number { return Number(math.NaN()) }

// Defined reports whether n is a finite number.
func (n Number) Defined() bool { return finite(float64(n)) }

// MarshalJSON writes the shortest number that reads back as n, or null.
func (n Number) MarshalJSON() ([]byte, error) {
	if !n.Defined() {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// UnmarshalJSON reads a number. Null is NaN.
func (n *Number) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		*n = Undefined()
		return nil
	}
	return json.Unmarshal(text, (*float64)(n))
}

// String writes n as reasons do: four significant digits, or undefined.
func (n Number) String() string {
	if !n.Defined() {
		return "undefined"
	}
	return strconv.FormatFloat(float64(n), 'g', 4, 64)
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
