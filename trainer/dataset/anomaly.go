package dataset

import (
	"fmt"
	"slices"
)

// The levels of anomalies.
const (
	Error   = "error"   // nothing may be learned from the data set
	Warning = "warning" // a person should look at it
)

// The kinds of anomalies.
const (
	Empty         = "empty"           // no rows at all
	TooFewRows    = "too_few_rows"    // fewer than the schema asks for
	MissingColumn = "missing_column"  // the schema has it
	NewColumn     = "new_column"      // the schema does not have it
	Type          = "type"            // of the column, or of some of its values
	Presence      = "presence"        // too many missing values
	Range         = "range"           // below min or above max
	Domain        = "domain"          // texts that the schema does not know, or labels
	Nonfinite     = "nonfinite"       // NaN and infinities
	Constant      = "constant"        // one value, or none, in all rows
	Drift         = "drift"           // away from the last accepted data set
	Swapped       = "swapped"         // two columns, each with the other's values
	Leak          = "leak"            // the column alone tells the label
	LabelOneClass = "label_one_class" // all labels are equal
	LabelDrift    = "label_drift"     // the label, as drift
)

// An Anomaly is one thing that is wrong with a data set.
type Anomaly struct {
	Column string `json:"column,omitempty"` // empty: the data set as a whole; of a swap, the first
	Kind   string `json:"kind"`
	Level  string `json:"level"`
	Detail string `json:"detail"` // what was found, and against what
}

// String returns the anomaly as a line of text.
func (a Anomaly) String() string {
	if a.Column == "" {
		return fmt.Sprintf("%s: %s: %s", a.Level, a.Kind, a.Detail)
	}
	return fmt.Sprintf("%s: %s: %s: %s", a.Level, a.Column, a.Kind, a.Detail)
}

// Stops reports whether an anomaly keeps a model from learning from the data set.
func Stops(a []Anomaly) bool {
	return slices.ContainsFunc(a, func(x Anomaly) bool { return x.Level == Error })
}
