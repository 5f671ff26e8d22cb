package monitor

import (
	"encoding/json"

	"github.com/millrace/millrace/trainer/eval"
)

// MarshalJSON writes a reading with the names of its fields. What has no value, and
// a threshold that nothing exceeds, is null: JSON has no number for them.
func (r Reading) MarshalJSON() ([]byte, error) {
	type plain Reading // without this method
	return json.Marshal(struct {
		plain
		Value, Threshold, Lower, JS, LInf, PSI, KS eval.Number
	}{plain(r), eval.Number(r.Value), eval.Number(r.Threshold), eval.Number(r.Lower), eval.Number(r.JS), eval.Number(r.LInf), eval.Number(r.PSI), eval.Number(r.KS)})
}

// MarshalJSON writes a cell with the names of its fields. An end that is infinite is
// null.
func (c Cell) MarshalJSON() ([]byte, error) {
	type plain Cell
	return json.Marshal(struct {
		plain
		Low, High eval.Number
	}{plain(c), eval.Number(c.Low), eval.Number(c.High)})
}
