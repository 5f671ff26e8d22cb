// Package alarms keeps what the monitors of models have said, who has taken note,
// and what people did about it: one SQLite file, which several processes may
// open. A Webhook tells another program of each alarm.
//
// The monitors read their topics again after every start and say the same again.
// An alarm's ID follows from the topics, and each report carries the look that it
// was made at, so that a report that is older than what the book has changes
// nothing: no alarm is told twice, nor open again, because it was found again.
//
// What becomes of an alarm:
//
//	          the monitors have caught up                    2xx
//	held ───────────────┬──────────────────────▶ due ──────────────────▶ sent
//	                    ├──▶ past: it was over long before
//	                    └──▶ unsent: there was nobody to tell
//
// Held are those that were found while the monitors read what was there when they
// started: an alarm of two years ago is open in their eyes until they come to its
// end. So a first start over years of history tells of what is open at its end and
// of what was over within HistoryAge, and keeps all else as past. After an hour
// away nothing is past, and all that began meanwhile is told. So is all that
// monitors find once they have caught up, however far a replay runs ahead of them.
package alarms

import (
	"errors"
	"time"

	"github.com/millrace/millrace/feedback/monitor"
)

// HistoryAge is how long before the newest look, in event time, an alarm must have
// been over to be history when it is first found: longer than what a weekend
// without the monitors, and a bank holiday after it, lets pass.
const HistoryAge = 7 * 24 * time.Hour

// Limits of a book.
const (
	MaxList   = 1000    // entries and actions that a list has at most
	MaxPut    = 100_000 // alarms of a report
	MaxAlarms = 1 << 20 // of a book: some 600 MiB. The thresholds keep it from ever coming to that
)

// A Delivery is how far the telling of an alarm is.
type Delivery string

// What becomes of an alarm.
const (
	Held   Delivery = "held"   // found by monitors that have not caught up
	Due    Delivery = "due"    // the webhook is to tell it
	Sent   Delivery = "sent"   // it has been told
	Past   Delivery = "past"   // it was over long before monitors that started had caught up: never told
	Unsent Delivery = "unsent" // there was no webhook when it was found: never told
)

// A Report is what the monitors say at once.
type Report struct {
	// Alarms are those that began, grew worse or ended, in that order where one is
	// there more than once.
	Alarms []monitor.Alarm

	// Look is the event time up to which the monitors had looked, in microseconds.
	// Of an alarm that the book has as of a later look nothing is changed.
	Look int64

	// Behind: the monitors still read what was there when they started. Fresh alarms
	// are held. Once they have caught up, they must say so by a Report without it,
	// be it one without alarms, and need not say Behind again.
	Behind bool

	// Quiet: there is no webhook. What becomes news is kept and never told.
	Quiet bool
}

// An Entry is an alarm and what became of it.
type Entry struct {
	monitor.Alarm
	Seen          time.Time // when the book was first told of it
	Acknowledged  time.Time // zero: not yet
	Who, Comment  string    // of the acknowledgement
	Delivery      Delivery
	Delivered     time.Time // zero: not Sent
	Attempts      int       // to tell it, so far
	DeliveryError string    // of the last attempt; empty once it is Sent
}

// A Filter says which entries List returns. The zero value is all.
type Filter struct {
	Model          string // empty: of all models
	Open           bool   // only those that are not over; none that are held
	Unacknowledged bool   // only those that nobody has acknowledged; none that are held or past
	Limit          int    // 0: MaxList
}

// Counts are of the whole book.
type Counts struct {
	Open           int // as Filter has it
	Unacknowledged int // as Filter has it
	Held           int
	Undelivered    int    // Due
	DeliveryError  string // of the oldest that is Due: why it is not told yet; empty: it was not tried yet
}

// An Action is what a person did.
type Action struct {
	Time   time.Time // zero: now, when it is noted
	Who    string
	What   string // a verb, as acknowledge
	Object string // what it was done to, as the ID of an alarm
	Detail string // the person's words
}

// Errors that callers tell apart. What comes with them says what to do.
var (
	ErrNotFound = errors.New("alarms: not found")
	ErrConflict = errors.New("alarms: somebody else was first")
)
