// Package features is the pure core: views of events, their windows and
// aggregations, rows, and the vectors that models see. It does no input or
// output, starts no goroutine and reads no clock.
package features

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/features/expr"
)

// Value, Kind and the kinds are those of package expr.
type (
	Value = expr.Value
	Kind  = expr.Kind
)

// A Field is one field of a source's events.
type Field struct {
	Name     string
	Kind     Kind
	Optional bool     // the field may be absent; without it an absent field is an error, null is not
	Unit     TimeUnit // of a Time on the wire
}

// A TimeUnit says how a Time is written in an event.
type TimeUnit uint8

// The ways to write a time: RFC 3339 text (the default), or a whole number of
// seconds, milliseconds or microseconds since the Unix epoch.
const (
	RFC3339 TimeUnit = iota
	EpochSeconds
	EpochMillis
	EpochMicros
)

// ParseField reads a field's type as the project file writes it: string, int,
// float, bool, time, time_s, time_ms or time_us, with a ? at the end if the
// field may be absent.
func ParseField(name, typ string) (Field, error) {
	base, optional := strings.CutSuffix(typ, "?")
	f := Field{Name: name, Optional: optional}
	switch base {
	case "string":
		f.Kind = expr.String
	case "int":
		f.Kind = expr.Int
	case "float":
		f.Kind = expr.Float
	case "bool":
		f.Kind = expr.Bool
	case "time", "time_s", "time_ms", "time_us":
		f.Kind = expr.Time
		f.Unit = map[string]TimeUnit{"time": RFC3339, "time_s": EpochSeconds, "time_ms": EpochMillis, "time_us": EpochMicros}[base]
	default:
		return f, fmt.Errorf("unknown type %q; use string, int, float, bool, time (RFC 3339), time_s, time_ms or time_us, with a ? if the field may be absent", typ)
	}
	return f, nil
}

// A Source describes the events of one topic.
type Source struct {
	Name           string
	Topic          string
	KeyedBy        []string      // the fields of the producer's key; empty: the key says nothing
	Format         string        // json or csv
	EventTime      string        // the field that holds the event time
	ID             string        // the field that identifies an event; needed for Dedup
	Dedup          time.Duration // an id is remembered until the newest event time of the shard is this far past its event; at least Lateness
	Lateness       time.Duration
	MaxAhead       time.Duration // default 1m
	MaxJump        time.Duration // default 30d; with clock: event only
	Partitions     int           // default 4
	AllowNonfinite bool
	Fields         []Field // in the order of the file; Compile adds EventTime as RFC 3339 where it is not listed
}

// A Clock says what "now" is for reads.
type Clock uint8

// WallClock is the server's clock; EventClock is the newest event time applied
// in the entity's shard, for replays and tests.
const (
	WallClock Clock = iota
	EventClock
)

// A View turns the events of a source into features of an entity.
type View struct {
	Name     string
	Source   string
	Entity   []string  // fields of the source
	Where    string    // CEL; empty: every event
	Derive   []Named   // CEL at row level, each may use those above it
	Features []Feature // aggregations over windows
	OnDemand []Named   // CEL over features and request.*, at read
}

// A Named is an expression with the name of its result.
type Named struct{ Name, Expr string }

// A Feature is one aggregation over one window.
type Feature struct {
	Name   string
	Agg    string // count, sum, mean, min, max, variance, std, first, last, delta
	Of     string // a field or derivation; "*" for count
	Window Window
}

// A WindowKind is the shape of a window.
type WindowKind uint8

// The kinds of windows.
const (
	Sliding WindowKind = iota
	Tumbling
	Lifetime
)

// A Window is what a feature looks back over.
type Window struct {
	Kind      WindowKind
	Size      time.Duration // Sliding and Tumbling
	Hop       time.Duration // Sliding; 0: the default of design.md section 1
	Exact     bool          // Sliding: keeps the window's values instead of tiles
	MaxValues int           // Sliding and Exact; 0: 4096
	Offset    time.Duration // Tumbling
	Open      bool          // Tumbling: the open window instead of the last closed one
}

// An Event is one decoded record. Strings in Values may alias the record's
// bytes: whoever keeps one beyond the batch clones it.
type Event struct {
	Values  []Value // by Plan.Fields
	Time    int64   // event time, microseconds since the Unix epoch
	Arrival int64   // the record's timestamp, microseconds since the Unix epoch
	Order   Order   // breaks ties of Time
}

// Order is the place of an event in the log: the partition where it was first
// written in the upper 16 bits, its offset there in the lower 48.
type Order uint64

// OrderOf packs a partition and an offset.
func OrderOf(partition int, offset int64) Order {
	return Order(uint64(partition)<<48 | uint64(offset))
}

// A Fault is one thing that is wrong with a project.
type Fault struct {
	Path    []string // keys from the top of the file, as "views", "daily", "features", "ret_std_30d"
	Problem string   // what is wrong and what to do, one line
}

func (f Fault) String() string {
	if len(f.Path) == 0 {
		return f.Problem
	}
	return strings.Join(f.Path, ".") + ": " + f.Problem
}

// Faults is every fault that was found, as one error.
type Faults []Fault

func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, x := range f {
		lines[i] = x.String()
	}
	return strings.Join(lines, "\n")
}

// WithDefaults returns s with what it leaves out filled in, as Compile does for
// its plan, for all who read a source without one.
func (s Source) WithDefaults() Source {
	s.Topic = cmp.Or(s.Topic, s.Name)
	s.Format = cmp.Or(s.Format, "json")
	s.MaxAhead = cmp.Or(s.MaxAhead, time.Minute)
	s.MaxJump = cmp.Or(s.MaxJump, 30*24*time.Hour)
	s.Partitions = cmp.Or(s.Partitions, 4)
	return s
}

// EventFields returns the fields of an event in the order of Event.Values:
// those of the file, then the event time where the file does not list it.
func (s Source) EventFields() []Field {
	for _, f := range s.Fields {
		if f.Name == s.EventTime {
			return s.Fields
		}
	}
	return append(slices.Clone(s.Fields), Field{Name: s.EventTime, Kind: expr.Time})
}
