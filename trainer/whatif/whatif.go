// Package whatif answers what a model would have said: of one entity as of a
// moment, had a feature another value or a window another length, and of the
// past examples, whose losses are compared.
//
// A changed window is no rescaled number. The view is compiled with it, and its
// features are computed anew from the events in the lake, by the code that serves
// and that makes training sets. So an answer is what a project with that window
// would have served, and a model that was trained on it would be another one:
// what is scored is the champion as it is.
//
// Values that are set change the question's entity alone, unless the question
// says that they apply to the past examples as well. Windows change both. What
// was not changed in the past examples keeps the value that was served; of a view
// that has a changed window, both sides of the comparison are computed from the
// lake, and Past.Equal says how many of the vectors before the change are those
// that were served, to the bit.
package whatif

import (
	"encoding/json"
	"math"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/trainer/eval"
)

// Limits of a question.
const (
	// DefaultPast is how many past examples a question is about that does not say.
	DefaultPast = 2000
	// MaxPast is how many it may be about.
	MaxPast = 100_000
	// NoPast asks about no past examples.
	NoPast = -1
)

// A Question asks what a model would say. Features go by view.feature, those on
// demand as well.
type Question struct {
	Model  string            `json:"model"`
	Entity map[string]string `json:"entity"` // by field of the model's entity
	AsOf   time.Time         `json:"as_of"`  // zero: the newest event of the entity's shard in the lake

	// Values are what features are set to. An empty text is a missing value, a
	// time is RFC 3339. What is computed on demand of a feature follows it.
	Values map[string]string `json:"values,omitempty"`
	// Windows are what windows of features are as long, as 60d. Features on demand
	// that use them follow.
	Windows map[string]string `json:"windows,omitempty"`
	// Request has the numbers of the request.* fields of features on demand. Those
	// of past examples are not known: there such features are as they were served.
	Request map[string]string `json:"request,omitempty"`

	Past int  `json:"past,omitempty"` // newest labelled examples to score anew; 0: DefaultPast
	All  bool `json:"all,omitempty"`  // Values are set in the past examples, too
}

// An Answer is what a model says before and after the change.
type Answer struct {
	Model    string            `json:"model"`
	Entity   map[string]string `json:"entity"`
	AsOf     time.Time         `json:"as_of"`
	Lake     time.Time         `json:"lake"`     // the newest event that the lake has of the model's views; zero: none
	Features []Change          `json:"features"` // the model's inputs, then what they are computed of
	Before   Score             `json:"before"`
	After    Score             `json:"after"`
	Base     *float64          `json:"base,omitempty"` // the score of no features in particular, where the model can explain itself: see Change.Adds
	Past     *Past             `json:"past,omitempty"` // nil: there are none, or none were asked for
	Notes    []string          `json:"notes,omitempty"`
}

// A Change is a feature before and after.
type Change struct {
	Name    string `json:"name"` // view.feature
	Input   bool   `json:"input"`
	Window  string `json:"window,omitempty"` // after the change, as 60d; empty: it is on demand, or looks back without end
	Before  Value  `json:"before"`
	After   Value  `json:"after"`
	Changed bool   `json:"changed"`
	Adds    *Adds  `json:"adds,omitempty"` // of an input of a model that can explain itself
}

// Adds is what an input has added to the score, before and after: with the base,
// those of all inputs add up to the log-odds (binary) or the mean (regression; its
// logarithm where the model is of counts).
type Adds struct {
	Before float64 `json:"before"`
	After  float64 `json:"after"`
}

// A Score is a model's answer: a probability, or with a regression a mean.
type Score struct {
	Version int     `json:"version"` // 0: the base rate
	Value   float64 `json:"value"`
}

// Past is how the model does on its past examples, before and after. Losses are
// means, log loss in nats or squared error.
type Past struct {
	Rows       int         `json:"rows"`
	LossBefore eval.Number `json:"loss_before"`
	LossAfter  eval.Number `json:"loss_after"`
	Gain       eval.Bounds `json:"gain"`       // of after over before, paired: above 0 where after is better
	Confidence float64     `json:"confidence"` // of either bound, one-sided
	AUCBefore  eval.Number `json:"auc_before"` // binary models
	AUCAfter   eval.Number `json:"auc_after"`
	From       time.Time   `json:"from"` // the oldest prediction
	To         time.Time   `json:"to"`   // the newest

	// Recomputed is how many rows were computed from the lake on both sides, and
	// Equal of how many of those the vector before the change is the served one,
	// to the bit.
	Recomputed int `json:"recomputed"`
	Equal      int `json:"equal"`
}

// A Value is a feature's value. In JSON it is a number, a text, true or false, or
// null where it is missing.
type Value struct{ features.Value }

// Missing reports whether there is no value.
func (v Value) Missing() bool {
	return v.Kind == expr.Missing || v.Kind == expr.Float && math.IsNaN(v.Float())
}

// String returns the value as people write it, and nothing where it is missing.
func (v Value) String() string {
	if v.Missing() {
		return ""
	}
	return v.Text()
}

// MarshalJSON writes the value. An infinity is a text: JSON has no number for it.
func (v Value) MarshalJSON() ([]byte, error) {
	switch {
	case v.Missing():
		return []byte("null"), nil
	case v.Kind == expr.Int, v.Kind == expr.Bool, v.Kind == expr.Float && !math.IsInf(v.Float(), 0):
		return []byte(v.Text()), nil
	}
	return json.Marshal(v.Text())
}

// The kinds of knobs.
const (
	WindowKnob = "window"
	ValueKnob  = "value"
)

// A Knob is one thing that a question can change. A feature over a window has
// two: its length and its value.
type Knob struct {
	Feature string // view.feature
	Kind    string // WindowKnob or ValueKnob
	Input   bool   // the model sees it; else a feature that it sees is computed of it

	// Of a WindowKnob. The lengths are suggestions: multiples of Step within Min
	// and Max; a question may have others.
	Window, MinWindow, MaxWindow, Step time.Duration

	// Of a ValueKnob. Numbers have Min and Max where past examples have been read:
	// the least and the greatest of their values.
	Type     features.Kind
	Min, Max eval.Number
}
