// Package registry is what training and serving share: versions of models,
// where they come from, verdicts, approvals, and which version serves. It is
// one SQLite file, which several processes may open, and keeps everything that
// was ever decided.
//
// A version moves as follows, and no other way. Each move is a compare-and-swap
// in a transaction that also writes the history.
//
//	judging ──▶ closed
//	   ├──▶ review ──▶ rejected
//	   │       └──▶ approved ──▶ shadow ──▶ champion ◀──▶ retired
//	   │               │            │           │
//	   └──▶ superseded ◀────────────┘           └──▶ rolled_back
//
// What cannot be loaded is broken, from any state before retired. A candidate
// was judged against one champion, and what it has shown says nothing about
// another: whenever the champion changes, those in review or approved are
// superseded.
package registry

import (
	"encoding/json"
	"time"
)

// A Run is one training. It is written once, when it has ended.
type Run struct {
	ID        int64
	Model     string
	Status    RunStatus
	Began     time.Time
	Ended     time.Time
	Spec      json.RawMessage // all that determines the result; its bytes are unique within a model
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
	RolledBack State = "rolled_back" // was champion or in shadow, and was taken back
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
	Baseline int   // the champion that it was judged against; 0: the base rate
	At       int64 // event time, microseconds
}

// The verdicts. The words are those of trainer/eval, which knows no registry.
const (
	promote      = "promote"
	reject       = "reject"
	inconclusive = "inconclusive"
)

// A BaseRate is what is served before there is a champion.
type BaseRate struct {
	Value float64 // binary: (positives + 1) / (labels + 2); regression: the mean
	Count int64   // labels; 0: none yet, and Value is 0.5, or 0
	AsOf  int64   // event time, microseconds
}

// Serving is what a server must have loaded.
type Serving struct {
	Revision int64 // counts up with each change; 0: nothing was ever set
	Champion int   // 0: the base rate
	Shadow   int   // beside it; 0: the base rate; -1: none
	BaseRate BaseRate
}

// NoVersion stands for no version where 0 is the base rate.
const NoVersion = -1

// BaseRateVersion is the version that stands for the base rate.
const BaseRateVersion = 0

// A Phase is where a rollout is.
type Phase string

// The phases of a rollout, in order.
const (
	InShadow Phase = "shadow" // beside the champion, for a number of predictions
	Watching Phase = "watch"  // is champion; the one before is in shadow
	Done     Phase = "done"
	Undone   Phase = "undone" // rolled back, or broken, or the champion changed under it
)

// A Rollout is the way of one approved version into service. There is one for
// each version at most, and one at a time for each model.
type Rollout struct {
	ID       int64
	Model    string
	Version  int
	Previous int // the champion before; 0: the base rate
	Phase    Phase
	Marks    json.RawMessage // the deployer's: where in its topics the phase began
	Began    time.Time       // when the deployer took it up; Version.Reviewed is when it was approved
	Switched time.Time       // zero: not yet
	Ended    time.Time       // zero: not yet
	Why      string          // how it ended
	Report   json.RawMessage // what it has seen
}

// An Event is a line of the history.
type Event struct {
	Seq     int64
	Time    time.Time
	Who     string // a person, or trainer or deployer
	Model   string
	Version int // 0: none
	// What is how a run ended (trained, stopped, failed), the state that the
	// version has come to, judged before it, done for the end of a watch, or
	// rollback_requested, or candidate_requested.
	What string
	Why  string
}

// Who does what no person does.
const (
	trainer  = "trainer"
	deployer = "deployer"
)
