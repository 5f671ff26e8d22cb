package features

import (
	"fmt"
	"strconv"
	"time"

	"github.com/millrace/millrace/features/expr"
)

// Counts are totals since the beginning of a shard's log.
type Counts struct {
	Applied    int64 // events folded into a row
	Dropped    int64 // events that where dropped
	Duplicates int64 // events whose id was already there
	Dead       int64 // records that went to the dead letters
	Truncated  int64 // values or ids that left a row early because there were too many
	Nonfinite  int64 // results of where and derive that were not finite
}

// A Shard is one partition's place in time under one plan. It belongs to one
// goroutine.
type Shard struct {
	Newest int64 // newest event time admitted, microseconds since the Unix epoch; NoTime: none
	Counts Counts

	plan *Plan
	cuts []levelCut
	vals []Value // of the event last admitted: its fields, then derivations
	buf  []Value // of vals, where there are derivations
}

// A levelCut caches level.cut.
type levelCut struct{ horizon, next int64 }

// A Rejection says why an event cannot be applied. It goes to the dead letters.
type Rejection struct {
	Reason string // one of the Reject constants
	Detail string // with the values
}

func (r *Rejection) Error() string { return r.Reason + ": " + r.Detail }

// Reasons of a Rejection.
const (
	RejectFuture = "in_future"
	RejectLate   = "too_late"
	RejectEntity = "bad_entity"
)

// NewShard returns a shard that goes on from a stored progress.
func (p *Plan) NewShard(newest int64, counts Counts) *Shard {
	s := &Shard{Newest: newest, Counts: counts, plan: p, cuts: make([]levelCut, len(p.levels))}
	for i := range s.cuts {
		s.cuts[i] = levelCut{NoTime, NoTime}
	}
	s.buf = make([]Value, len(p.fields)+len(p.derived))
	if newest != NoTime {
		s.advance(newest)
	}
	return s
}

// Admit judges the next event of the log: its time against the shard's, then
// where, then it computes the derivations. An event that where drops moves the
// shard's time, a rejected one does not. If it returns true the caller passes
// the event to Fold before the next Admit.
func (s *Shard) Admit(e *Event) (bool, *Rejection) {
	p := s.plan
	if ahead := e.Time - e.Arrival; ahead > p.maxAhead {
		return false, reject(RejectFuture, "event time %s is %s ahead of its arrival; max_ahead is %s", utc(e.Time), span(ahead), span(p.maxAhead))
	}
	if s.Newest != NoTime {
		if p.Clock == EventClock && e.Time-s.Newest > p.maxJump {
			return false, reject(RejectFuture, "event time %s is %s after the newest, %s; max_jump is %s", utc(e.Time), span(e.Time-s.Newest), utc(s.Newest), span(p.maxJump))
		}
		if p.horizon > 0 && e.Time <= s.Newest-p.horizon {
			return false, reject(RejectLate, "event time %s is %s before the newest, %s; the view takes what is less than %s late: set lateness", utc(e.Time), span(s.Newest-e.Time), utc(s.Newest), span(p.horizon))
		}
	}
	if e.Time > s.Newest {
		s.advance(e.Time)
	}
	s.vals = e.Values
	if p.where != nil {
		v, nonfinite := p.where.Eval(e.Values)
		s.countNonfinite(nonfinite)
		if v.Kind != expr.Bool || !v.Bool() {
			s.Counts.Dropped++
			return false, nil
		}
	}
	if len(p.derived) > 0 {
		s.derive(e)
	}
	return true, nil
}

func (s *Shard) derive(e *Event) {
	p := s.plan
	s.vals = s.buf
	copy(s.vals, e.Values)
	for i, d := range p.derived {
		n := len(p.fields) + i
		v, nonfinite := d.Eval(s.vals[:n])
		s.countNonfinite(nonfinite)
		s.vals[n] = v
	}
}

// Fold adds the event last admitted to its entity's row. It reports false for
// a duplicate, which leaves the row as it was.
func (s *Shard) Fold(r *Row, e *Event) bool {
	if s.plan.ids >= 0 && s.duplicate(r) {
		s.Counts.Duplicates++
		return false
	}
	s.Counts.Truncated += s.plan.fold(r, s.vals, e, s.Newest, s.cuts)
	s.Counts.Applied++
	return true
}

func (s *Shard) duplicate(r *Row) bool {
	id := s.vals[s.plan.id]
	if id.Kind == expr.Missing {
		return false
	}
	at, ok := s.plan.seenIDs(r)[idHash(id)]
	return ok && at > s.cuts[s.plan.ids].horizon
}

func (s *Shard) countNonfinite(yes bool) {
	if yes {
		s.Counts.Nonfinite++
	}
}

func (s *Shard) advance(newest int64) {
	s.Newest = newest
	for i := range s.cuts {
		if newest >= s.cuts[i].next {
			s.cuts[i].horizon, s.cuts[i].next = s.plan.levels[i].cut(newest)
		}
	}
}

func reject(reason, format string, args ...any) *Rejection {
	return &Rejection{reason, fmt.Sprintf(format, args...)}
}

func utc(us int64) string { return time.UnixMicro(us).UTC().Format(time.RFC3339Nano) }

// span is a length of time as people write it: with days, since 633911h tells
// nobody anything.
func span(us int64) string {
	const day = 24 * int64(time.Hour/time.Microsecond)
	if us < 2*day {
		return (time.Duration(us) * time.Microsecond).String()
	}
	if hours := us % day / (day / 24); hours > 0 {
		return fmt.Sprintf("%dd%dh", us/day, hours)
	}
	return fmt.Sprintf("%dd", us/day)
}

const maxEntity = 1024

// AppendEntity appends the key of the entity that the values are about, as it
// is in the topic: the text of one string or decimal integer, or a compact
// JSON array of several. The error is a *Rejection.
func (p *Plan) AppendEntity(dst []byte, vals []Value) ([]byte, error) {
	return p.appendKey(dst, vals, p.entity)
}

func (p *Plan) appendKey(dst []byte, vals []Value, fields []int) ([]byte, error) {
	n := len(dst)
	for k, i := range fields {
		v := &vals[i]
		if v.Kind == expr.Missing || v.Kind == expr.String && v.Str == "" {
			return dst, reject(RejectEntity, "%s is missing or empty", p.fields[i].Name)
		}
		if len(fields) > 1 {
			dst = append(dst, "[,"[min(k, 1)])
		}
		switch {
		case v.Kind == expr.Int:
			dst = strconv.AppendInt(dst, v.Int(), 10)
		case len(fields) == 1:
			dst = append(dst, v.Str...)
		default:
			dst = appendJSONString(dst, v.Str)
		}
	}
	if len(fields) > 1 {
		dst = append(dst, ']')
	}
	if len(dst)-n > maxEntity {
		return dst, reject(RejectEntity, "%s... has %d bytes; at most %d", dst[n:n+64], len(dst)-n, maxEntity)
	}
	return dst, nil
}

// appendJSONString appends s as a JSON string with the fewest escapes, as
// JavaScript's and Python's (ensure_ascii=False) writers give it.
func appendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c == '\b':
			dst = append(dst, '\\', 'b')
		case c == '\f':
			dst = append(dst, '\\', 'f')
		case c < ' ':
			dst = fmt.Appendf(dst, "\\u%04x", c)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
