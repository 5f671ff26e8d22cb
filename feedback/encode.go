package feedback

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/millrace/millrace/features"
)

// The first bytes of a row and of a shard's state. See FORMAT.md.
const (
	rowVersion   = 2
	stateVersion = 1
)

// The flags of a prediction in a row.
const (
	flagOpen = 1 << iota
	flagLate
	flagInvalid
)

// flagFixed stands beside the status of an outcome in a row.
const flagFixed = 0x80

// The kinds of an outcome's id in a row.
const (
	idText = iota
	idPosition
)

var le = binary.LittleEndian

// Append appends the row's bytes, which are described in FORMAT.md. Equal rows
// give equal bytes.
func (r *Row) Append(dst []byte) []byte {
	dst = le.AppendUint64(append(dst, rowVersion), uint64(r.Due()))
	dst = binary.AppendUvarint(dst, uint64(r.horizon))
	dst = binary.AppendUvarint(dst, uint64(r.grace))
	dst = binary.AppendUvarint(dst, uint64(len(r.heard)))
	for i, h := range r.heard {
		h.place = i
		dst = h.append(dst)
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.asked)))
	for _, a := range r.asked {
		dst = a.append(dst)
	}
	return dst
}

func (h *heard) append(dst []byte) []byte {
	state := byte(h.status)
	if h.fixed {
		state |= flagFixed
	}
	dst = le.AppendUint64(dst, uint64(h.time))
	dst = le.AppendUint64(dst, math.Float64bits(h.label))
	dst = append(dst, state)
	if h.at == nil {
		return appendString(append(dst, idText), h.id)
	}
	dst = appendString(append(dst, idPosition), h.at.Topic)
	dst = binary.AppendUvarint(dst, uint64(h.at.Partition))
	return binary.AppendUvarint(dst, uint64(h.at.Offset))
}

func (a *asked) append(dst []byte) []byte {
	dst = appendString(le.AppendUint64(dst, uint64(a.time)), a.id)
	if a.raw == nil {
		return append(dst, 0)
	}
	flags, best := byte(flagOpen), 0
	if a.late {
		flags |= flagLate
	}
	if a.invalid {
		flags |= flagInvalid
	}
	if a.best != nil {
		best = a.best.place + 1
	}
	dst = binary.AppendUvarint(append(dst, flags), uint64(best))
	return appendString(dst, a.raw)
}

func appendString[T string | []byte](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// DecodeRow reads a row that Append wrote; no bytes: a new one. It keeps
// nothing of b.
func DecodeRow(b []byte) (*Row, error) {
	row := NewRow()
	if len(b) == 0 {
		return row, nil
	}
	r := &reader{buf: b}
	r.row(row)
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("feedback: row of %d bytes: %w", len(b), err)
	}
	return row, nil
}

// RowDue returns what Due of a row is that Append wrote; no bytes: of a new one.
// It reads the first bytes only, so that a restart need not read all rows, and
// does not see damage behind them.
func RowDue(b []byte) (int64, error) {
	if len(b) == 0 {
		return math.MaxInt64, nil
	}
	r := &reader{buf: b}
	due := r.rowDue()
	if r.err != nil {
		return 0, fmt.Errorf("feedback: row of %d bytes: %w", len(b), r.err)
	}
	return due, nil
}

// A reader takes what was appended. After an error it gives zeros.
type reader struct {
	buf []byte
	err error
}

// rowDue reads the version of a row, and when it is due.
func (r *reader) rowDue() int64 {
	if v := r.byte(); v != rowVersion {
		r.fail("is of version %d; this program reads %d: start again with an empty store", v, rowVersion)
	}
	return int64(r.word())
}

func (r *reader) row(row *Row) {
	due := r.rowDue()
	row.horizon, row.grace = r.span(), r.span()
	for i := range r.count(MaxOutcomes) {
		h := r.heard()
		if i > 0 && compareHeard(row.heard[i-1], h) >= 0 {
			r.fail("outcome %d is not in order", i)
		}
		if r.err != nil {
			return
		}
		row.heard = append(row.heard, h)
		row.size += h.size()
	}
	for i := range r.count(MaxPredictions) {
		a := r.asked(row.heard)
		if i > 0 && compareAsked(row.asked[i-1], a) >= 0 {
			r.fail("prediction %d is not in order", i)
		}
		if r.err != nil {
			return
		}
		row.asked = append(row.asked, a)
		row.size += a.size()
	}
	if row.Empty() != (row.horizon == 0) || row.Empty() && row.grace != 0 {
		r.fail("has a horizon of %d and a grace of %d with %d predictions and %d outcomes", row.horizon, row.grace, len(row.asked), len(row.heard))
	}
	if due != row.Due() {
		r.fail("says that it is due at %d, and is at %d", due, row.Due())
	}
	for i, h := range row.heard {
		if (h.status == effective) != (h.fixed || h.held > 0) {
			r.fail("outcome %d is of status %d, and the label of %d predictions", i, h.status, h.held)
		}
	}
}

func (r *reader) heard() *heard {
	h := &heard{time: r.time(), label: math.Float64frombits(r.word())}
	state := r.byte()
	h.status, h.fixed = status(state&^flagFixed), state&flagFixed != 0
	if h.status > effective {
		r.fail("status %d is not known", h.status)
	}
	r.check(checkFinite("label", h.label))
	switch kind := r.byte(); kind {
	case idText:
		h.id = string(r.bytes(MaxID))
		r.check(checkText("id", h.id, 1, MaxID))
	case idPosition:
		h.at = &Position{Topic: string(r.bytes(maxTopic)), Partition: int(r.count(maxIndex)), Offset: int64(r.uvarint(math.MaxInt64))}
		r.check(h.at.check())
	default:
		r.fail("kind of id %d is not known", kind)
	}
	return h
}

func (r *reader) asked(outcomes []*heard) *asked {
	a := &asked{time: r.time(), id: string(r.bytes(MaxID))}
	flags := r.byte()
	if flags == 0 {
		r.check(checkText("id", a.id, 1, MaxID))
		return a
	}
	a.late, a.invalid = flags&flagLate != 0, flags&flagInvalid != 0
	if flags&flagOpen == 0 || flags > flagOpen|flagLate|flagInvalid {
		r.fail("flags %#x are not known", flags)
	}
	best := r.count(len(outcomes))
	a.raw = slices.Clone(r.bytes(MaxRowBytes))
	if r.err != nil {
		return a
	}
	rec, err := Decode(a.raw)
	r.check(err)
	if p := rec.Prediction; err == nil && (p == nil || p.ID != a.id || p.Time != a.time) {
		r.fail("the record of prediction %s is another's", short(a.id))
	}
	if best > 0 {
		a.best = outcomes[best-1]
		a.best.held++
		if a.best.time < a.time {
			r.fail("prediction %s has a label from before it", short(a.id))
		}
	}
	return a
}

// AppendState appends the shard's state, which is described in FORMAT.md.
// Equal states give equal bytes.
func (s *Shard) AppendState(dst []byte) []byte {
	dst = append(dst, stateVersion)
	dst = le.AppendUint64(dst, uint64(s.clock))
	dst = le.AppendUint64(dst, uint64(s.passed))
	dst = binary.AppendUvarint(dst, uint64(s.seq))
	if s.emitted {
		dst = append(dst, 1)
	} else {
		dst = append(dst, 0)
	}
	for _, n := range s.stats.counters() {
		dst = binary.AppendUvarint(dst, uint64(*n))
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.origins)))
	for _, o := range slices.SortedFunc(maps.Keys(s.origins), compareOrigins) {
		dst = appendString(appendString(dst, o.model), o.topic)
		dst = binary.AppendUvarint(dst, uint64(o.partition))
		dst = binary.AppendUvarint(dst, uint64(s.origins[o]))
	}
	return dst
}

func compareOrigins(a, b origin) int {
	return cmp.Or(cmp.Compare(a.model, b.model), cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
}

func (s *Shard) decode(state []byte) error {
	r := &reader{buf: state}
	if v := r.byte(); v != stateVersion {
		return fmt.Errorf("is of version %d; this program reads %d: start again with an empty store", v, stateVersion)
	}
	s.clock, s.passed = r.tick(), r.tick()
	s.seq = int64(r.uvarint(math.MaxInt64))
	emitted := r.byte()
	if s.emitted = emitted == 1; emitted > 1 {
		r.fail("flag %d is neither 0 nor 1", emitted)
	}
	for _, n := range s.stats.counters() {
		*n = int64(r.uvarint(maxCount))
	}
	if !s.stats.closed() {
		r.fail("the sums of %+v do not close", s.stats)
	}
	var before origin
	for range r.count(maxOrigins) {
		o := origin{string(r.bytes(maxName)), string(r.bytes(maxTopic)), r.count(maxIndex)}
		offset := int64(r.uvarint(math.MaxInt64))
		if compareOrigins(before, o) >= 0 {
			r.fail("origin %v is not in order", o)
		}
		if r.err != nil {
			return r.err
		}
		s.origins[o], before = offset, o
	}
	return r.end()
}

// maxCount bounds a counter, so that no sum of counters overflows.
const maxCount = 1 << 56

func (r *reader) fail(format string, args ...any) { r.check(fmt.Errorf(format, args...)) }

func (r *reader) check(err error) {
	if r.err == nil {
		r.err = err
	}
}

// take returns the next n bytes, or nil.
func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.buf) {
		r.check(errors.New("ends too early"))
		return nil
	}
	b := r.buf[:n]
	r.buf = r.buf[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) word() uint64 {
	if b := r.take(8); b != nil {
		return le.Uint64(b)
	}
	return 0
}

func (r *reader) time() int64 {
	t := int64(r.word())
	r.check(checkTime("time", t))
	return t
}

// tick reads the time of a tick, or that there was none.
func (r *reader) tick() int64 {
	t := int64(r.word())
	if t != features.NoTime {
		r.check(checkTime("tick", t))
	}
	return t
}

// span reads a length of time in microseconds.
func (r *reader) span() int64 { return int64(r.uvarint(uint64(MaxHorizon.Microseconds()))) }

// count reads a number that is not above most.
func (r *reader) count(most int) int { return int(r.uvarint(uint64(most))) }

// uvarint reads a number in its one shortest form.
func (r *reader) uvarint(most uint64) uint64 {
	x, n := binary.Uvarint(r.buf)
	switch {
	case r.err != nil:
		return 0
	case n <= 0 || n > 1 && r.buf[n-1] == 0:
		r.fail("has a number that is cut off or too long")
		return 0
	case x > most:
		r.fail("has the number %d where at most %d can be", x, most)
		return 0
	}
	r.buf = r.buf[n:]
	return x
}

func (r *reader) bytes(most int) []byte { return r.take(r.count(most)) }

// end reports what went wrong; bytes that are left over do, too.
func (r *reader) end() error {
	if len(r.buf) > 0 {
		r.fail("has %d bytes too many", len(r.buf))
	}
	return r.err
}
