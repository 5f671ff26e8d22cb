// Package feedback joins predictions with what came true. It is pure: records
// of the feedback topic go in, in the order of the log, and examples come out.
// The shell around it, which reads, commits and writes, is in streams/pipeline.
package feedback

import (
	"time"

	"github.com/millrace/millrace/features"
)

// Topic returns the name of a project's topic of predictions, outcomes and
// ticks.
func Topic(project string) string { return project + ".feedback" }

// ExamplesTopic returns the name of a project's topic of examples.
func ExamplesTopic(project string) string { return project + ".examples" }

// A JoinKind says how an outcome finds its prediction.
type JoinKind string

// The kinds of joins.
const (
	ByPrediction JoinKind = "prediction_id" // the outcome names the prediction
	NextEvent    JoinKind = "next_event"    // the entity's first outcome after the prediction
	At           JoinKind = "at"            // the outcome of the same entity at the same microsecond
)

// A Label says what the truth is of a model's predictions and how it finds
// them.
type Label struct {
	Source     string // whose events are outcomes; empty: they come over HTTP only
	Join       JoinKind
	Prediction string        // ByPrediction with a Source: the field that names the prediction
	Value      string        // CEL over the source's fields: a bool or 0 and 1 for binary, a number for regression
	Binary     bool          // the task is binary: a label is 0 or 1, and any other is refused
	Horizon    time.Duration // an outcome counts up to this long after its prediction, both ends in
	Grace      time.Duration // how much longer a prediction waits before it is unanswered; default: a tenth of the horizon
}

// A Position is where a record is in the log.
type Position struct {
	Topic     string
	Partition int
	Offset    int64
}

// A Prediction is what was asked, what the model saw and what it answered.
type Prediction struct {
	ID     string
	Model  string
	Key    string           // what joins it: its id, or its entity as in the source's key
	Time   int64            // its as_of, microseconds since the Unix epoch
	Entity []features.Named // the entity's fields and their values as text, by name; never used to join
	Set    string           // what Vector holds: see bundle.SetID
	Vector []features.Value // the model's features in the order of the set, as the model saw them
	Score  Score
	Shadow *Score // of the model beside the champion; nil: there was none
}

// A Score is what one version of a model answered.
type Score struct {
	Version int     // 0: the base rate
	Bundle  string  // its bundle's id; empty with version 0
	Value   float64 // binary: the probability; regression: the mean
}

// An Outcome is what came true.
type Outcome struct {
	ID    string    // where At is nil
	At    *Position // of the event that it is; its id, compared as a tuple
	Model string
	Key   string
	Time  int64   // event time, microseconds since the Unix epoch
	Label float64 // binary: 0 or 1
}

// A Tick says that outcomes up to a time are in the log. It is the join's only
// clock.
type Tick struct {
	Time int64 // microseconds since the Unix epoch
}

// An ExampleKind says what a record of the examples topic is.
type ExampleKind string

// The kinds of records in the examples topic.
const (
	Labelled   ExampleKind = "example"    // a prediction with its outcome; Correction: a better outcome than an earlier one's
	Unanswered ExampleKind = "unanswered" // a prediction that has waited for its horizon and grace
	Passed     ExampleKind = "tick"       // all that is decided up to Known is before this record; only Known is set
)

// An Example is a record of the examples topic.
type Example struct {
	Kind       ExampleKind
	Seq        int64 // goes up in each partition, with gaps, as the offset in the feedback topic does: see Shard.At; a reader skips what it has
	Prediction Prediction
	Label      float64
	Outcome    string // the outcome's id, or topic/partition/offset
	Happened   int64  // the outcome's event time
	Known      int64  // when the label became known: the greatest of the times of prediction, outcome and last tick
	Correction bool
	Why        string // Unanswered: WhyNone, WhyLate or WhyInvalid
}

// Why a prediction is unanswered: the best of what it met until it closed.
const (
	WhyNone    = "none"    // no outcome
	WhyLate    = "late"    // outcomes beyond the horizon, none within it
	WhyInvalid = "invalid" // only outcomes from before the prediction
)
