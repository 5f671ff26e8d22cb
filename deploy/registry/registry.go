// Package registry is what training and serving share: versions of models,
// where they come from, verdicts, approvals, and which version serves. It is
// one SQLite file, which several processes may open, and keeps everything that
// was ever decided.
package registry

import (
	"encoding/json"
	"errors"
	"time"
)

// A Run is one training.
type Run struct {
	ID        int64
	Model     string
	Status    RunStatus
	Began     time.Time
	Ended     time.Time
	Spec      json.RawMessage // all that determines the result; unique within a model
	Anomalies json.RawMessage // of the data set; null: none
	Report    json.RawMessage // progressive metrics and the like
	Bundle    string          // id; empty unless Trained
	Version   int             // the version that it became; 0: none
	Error     string
}

// A RunStatus is how a run ended.
type RunStatus string

// How a run ends.
const (
	Trained RunStatus = "trained"
	Stopped RunStatus = "stopped" // by anomalies of its data set
	Failed  RunStatus = "failed"
)

// A State is where a version is on its way.
type State string

// The states of a version.
const (
	Judging    State = "judging"     // its rows are being gathered
	Closed     State = "closed"      // judged: reject or inconclusive
	Review     State = "review"      // judged: promote; waits for a person
	Rejected   State = "rejected"    // by a person
	Superseded State = "superseded"  // another became champion first
	Approved   State = "approved"    // waits for the deployer
	Shadow     State = "shadow"      // in the server beside the champion
	Champion   State = "champion"    // serves
	Retired    State = "retired"     // was champion
	RolledBack State = "rolled_back" // was champion, and did worse than the one before
	Broken     State = "broken"      // its bundle could not be loaded
)

// A Version is a trained model under its number.
type Version struct {
	Model    string
	Number   int // counts up from 1 within the model
	Bundle   string
	Run      int64
	State    State
	Author   string // who made it: trainer, or a person
	Created  time.Time
	Cutoff   int64           // when the last label that it learned from became known, microseconds
	Baseline int             // the champion that it was judged against; 0: the base rate; -1: not judged
	Verdict  string          // empty: not judged
	Reasons  []string        // of the verdict
	Report   json.RawMessage // of the judgement
	Judged   int64           // event time of the judgement, microseconds
	Reviewer string
	Comment  string // the reviewer's
	Reviewed time.Time
}

// A Judgement is a gate's, for Judge.
type Judgement struct {
	Verdict  string // promote, reject or inconclusive
	Reasons  []string
	Report   json.RawMessage
	Baseline int
	At       int64 // event time, microseconds
}

// A BaseRate is what is served before there is a champion.
type BaseRate struct {
	Value float64 // binary: (positives + 1) / (labels + 2); regression: the mean
	Count int64   // labels; 0: Value is 0.5, or 0
	AsOf  int64   // event time, microseconds
}

// Serving is what a server must have loaded.
type Serving struct {
	Revision int64 // counts up with each change
	Champion int   // 0: the base rate
	Shadow   int   // beside it; -1: none
	BaseRate BaseRate
}

// A Phase is where a rollout is.
type Phase string

// The phases of a rollout, in order.
const (
	InShadow Phase = "shadow" // beside the champion, for a number of predictions
	Watching Phase = "watch"  // is champion; the one before is in shadow
	Done     Phase = "done"
	Undone   Phase = "undone" // rolled back, or broken
)

// A Rollout is the way of one approved version into service.
type Rollout struct {
	ID       int64
	Model    string
	Version  int
	Previous int // the champion before; 0: the base rate
	Phase    Phase
	Marks    json.RawMessage // the deployer's: where in its topics the phase began
	Began    time.Time       // the approval that it acts on
	Switched time.Time       // zero: not yet
	Ended    time.Time
	Why      string          // how it ended
	Report   json.RawMessage // what it has seen
}

// A BaseRateVersion is the version that stands for the base rate.
const BaseRateVersion = 0

// An Event is a line of the history.
type Event struct {
	Seq     int64
	Time    time.Time
	Who     string
	Model   string
	Version int
	What    string // trained, stopped, judged, superseded, approved, rejected, shadow, champion, retired, rolled_back, ...
	Why     string
}

// Errors that callers tell apart. What they are wrapped in says what to do.
var (
	ErrNotFound = errors.New("registry: not found")
	ErrConflict = errors.New("registry: somebody else was first") // the state is no longer what the call expected
	ErrRefused  = errors.New("registry: refused")                 // not allowed, as approving one's own candidate
)
