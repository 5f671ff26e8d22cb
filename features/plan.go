package features

import (
	"math"

	"github.com/millrace/millrace/features/expr"
)

// A Plan is a checked View over its Source, ready to run. It is made by
// Compile alone, is immutable, and may be used by several goroutines.
type Plan struct {
	View   View   // with all defaults filled in
	Source Source // with all defaults filled in
	Clock  Clock
	ID     string // of all that determines the outputs: 16 hex digits

	fields   []Field // of an Event
	entity   []int   // fields that make the entity
	id       int     // the field of Source.ID, -1: none
	where    *program
	derived  []*program
	onDemand []*program
	request  []string // the fields of request.* that OnDemand uses

	levels   []level
	ids      int // the level that remembers ids, -1: none
	accWidth int // words that the widest merge needs
	headSize int // words of all open tiles
	lists    int // closed lists of a row
	reads    []read
	outputs  []Output
	features int // how many outputs come from windows; the rest is on demand

	horizon  int64 // an event this much older than the newest is too late; 0: never
	stateID  string
	lateness int64
	maxAhead int64
	maxJump  int64
}

// A program is a compiled expression over a row of values.
type program struct {
	name string
	*expr.Program
}

// An Output is one feature of a vector.
type Output struct {
	Name        string
	Kind        Kind
	Fingerprint string // of all that determines its value: 16 hex digits
}

// A level is one set of tiles of a row: all sliding windows of one hop share
// one, as do tumbling windows of one length and offset.
type level struct {
	index   int // in Plan.levels
	kind    levelKind
	hop     int64 // length of a tile, microseconds
	offset  int64
	span    int64 // tiles, values and ids: how far behind the newest time they are of use
	width   int   // words of a tile or entry
	late    int64 // values: an event this much older than the newest is not taken
	groups  []group
	strings bool // some group's values are strings
	max     int  // values and ids: at most so many
	head    int  // where the open tile lies in Row.head
	list    int  // which of Row.lists holds what is closed
}

type levelKind uint8

const (
	sliding  levelKind = iota // tiles (start, start+hop]
	tumbling                  // tiles [start, start+hop)
	lifetime                  // one tile that never closes
	values                    // entries: event time, order, mask of inputs that are there, inputs
	ids                       // entries: event time, 128 bits of the id's SHA-256
)

// entryKey is the words of an entry before its inputs.
const entryKey = 3

// A read is one window that several features look at.
type read struct {
	level  int
	window Window
	size   int64
	uses   []use
}

type use struct {
	output int
	group  int
	agg    *aggregation
}

// Fields returns the fields of an Event, in the order of Event.Values.
func (p *Plan) Fields() []Field { return p.fields }

// Outputs returns the features of a vector: those over windows in the view's
// order, then those on demand.
func (p *Plan) Outputs() []Output { return p.outputs }

// Request returns the names of the request.* fields that the on-demand
// features use, sorted. A Vector's request values are in this order.
func (p *Plan) Request() []string { return p.request }

// Space returns the name of the row space that holds this plan's rows. It
// changes with whatever changes the rows, so that a changed view never reads
// another's; on-demand features do not count.
func (p *Plan) Space(project string) string {
	return project + "." + p.View.Name + "@" + p.stateID
}

// Keyed reports whether the source's own topic is partitioned by the view's
// entity. Otherwise the view is applied from a re-keyed topic.
func (p *Plan) Keyed() bool {
	return len(p.View.Entity) == 1 && len(p.Source.KeyedBy) == 1 && p.View.Entity[0] == p.Source.KeyedBy[0]
}

// Topic returns the topic that the view is applied from.
func (p *Plan) Topic(project string) string {
	if p.Keyed() {
		return p.Source.Topic
	}
	name := project + "." + p.Source.Name + ".by"
	for _, e := range p.View.Entity {
		name += "." + e
	}
	return name
}

// cut returns the horizon of level l when the shard's newest time is newest,
// and the time at which it moves next. Tiles that start before the horizon are
// dead; so are entries whose time is not after it.
func (l *level) cut(newest int64) (horizon, next int64) {
	switch l.kind {
	case sliding:
		h := floorTo(newest-l.span, l.hop, 0)
		return h, h + l.hop + l.span
	case tumbling:
		h := floorTo(newest, l.hop, l.offset) - l.hop
		return h, h + 2*l.hop
	case values, ids:
		return newest - l.span, newest + 1
	}
	return math.MinInt64, math.MaxInt64
}

// deadline is the newest time of a shard from which on a tile or entry is dead:
// the first newest for which cut passes it.
func (l *level) deadline(start int64) int64 {
	switch l.kind {
	case sliding:
		return start + l.hop + l.span
	case tumbling:
		return start + 2*l.hop
	case values, ids:
		return start + l.span
	}
	return math.MaxInt64
}
