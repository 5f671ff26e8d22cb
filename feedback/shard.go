package feedback

import (
	"bytes"
	"fmt"
	"maps"
	"time"

	"github.com/millrace/millrace/features"
)

// Reasons of a Rejection by Fold.
const (
	RejectModel = "unknown_model" // the project has no such model
	RejectKey   = "bad_key"       // not the key that the join needs
	RejectLate  = "too_late"      // a prediction of which nothing would be remembered any more
	RejectFull  = "row_full"      // the row remembers as much as it may
)

// passEvery is how much tick time passes at most between two Passed examples,
// in microseconds. Readers go by the partition that has passed least, so that this
// is for how long one with nothing to say holds up the labels of the others.
const passEvery = int64(10 * time.Second / time.Microsecond)

// maxOrigins bounds the origins that a shard remembers: partitions of the
// sources of labels, for each model. Of those beyond copies are not known at
// once, and count as duplicates of the ids that their rows remember.
const maxOrigins = 65_536

// Rules say how outcomes find the predictions of one model.
type Rules struct {
	Join           JoinKind
	Horizon, Grace time.Duration
}

// A Shard is the join of one partition of the feedback topic: a fold over its
// records in the order of the log. What it and the rows are, and what it
// emits, is a function of the records so far and of the rules. It belongs to
// one goroutine.
//
// The caller takes the records in their order, and first says by At where each
// one is. For a prediction or an outcome it calls Fold with the row of its RowKey, for an outcome of an event only if
// Origin says so. For a tick it calls Tick, then Expire for each row whose Due is
// not after Clock, in the order of (Due, RowKey), then Pass. It calls them also
// where Tick reports false: a caller that stopped half-way through a tick then
// ends it when it is taken again, and else nothing is due.
//
// Rules that differ from those of an earlier run hold for what comes: a row
// takes them with the next call of Fold or Expire.
type Shard struct {
	rules   map[string]Rules
	clock   int64 // the newest tick; NoTime: none yet
	at      int64 // the offset of the record that is being taken
	seq     int64 // the number of the last example
	passed  int64 // the tick of the last Passed example; NoTime: none yet
	emitted bool  // examples since the last Passed one
	stats   Stats
	origins map[origin]int64 // last offset folded
	buf     []byte
}

// An origin is one partition of a label's source, as one model's label sees it.
// The outcomes of one event for two models have the same position.
type origin struct {
	model, topic string
	partition    int
}

// NewShard returns a shard that goes on from what AppendState wrote; no state:
// from the beginning of the log.
func NewShard(rules map[string]Rules, state []byte) (*Shard, error) {
	s := &Shard{rules: maps.Clone(rules), clock: features.NoTime, passed: features.NoTime, origins: map[origin]int64{}}
	for model, r := range rules {
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("feedback: model %q: %w", model, err)
		}
	}
	if len(state) > 0 {
		if err := s.decode(state); err != nil {
			return nil, fmt.Errorf("feedback: state of a shard: %w", err)
		}
	}
	return s, nil
}

func (r Rules) check() error {
	if r.Join != ByPrediction && r.Join != NextEvent && r.Join != At {
		return fmt.Errorf("join %q is not known; use %s, %s or %s", r.Join, ByPrediction, NextEvent, At)
	}
	if r.Horizon < time.Microsecond || r.Horizon > MaxHorizon || r.Grace < 0 || r.Grace > MaxHorizon {
		return fmt.Errorf("horizon %v and grace %v: give a horizon of 1µs to %v and a grace of up to %v", r.Horizon, r.Grace, MaxHorizon, MaxHorizon)
	}
	return nil
}

// Stats returns what became of the predictions and outcomes so far.
func (s *Shard) Stats() Stats { return s.stats }

// Clock returns the newest tick, features.NoTime if there was none.
func (s *Shard) Clock() int64 { return s.clock }

// perOffset is how many numbers each record of the log has for its examples. A
// tick that closes more takes those of the records behind it, too. It leaves 43
// bits for the offset, which are 28 years of 10,000 records a second.
const perOffset = 1 << 20

// At says that the record at an offset of the log is taken next. Of its examples
// the first has the number offset·2^20, at least, and each other the next one.
//
// A number that only counted would begin anew with an empty state. Where the log
// has lost its beginning by then, or the rules a model, there are fewer examples
// before the same record, and readers would take new ones for those that they
// have.
func (s *Shard) At(offset int64) { s.at = offset }

// Tick moves the clock. It reports false if it does not, since t is not newer.
func (s *Shard) Tick(t int64) bool {
	if t <= s.clock {
		return false
	}
	s.clock = t
	return true
}

// Origin reports whether an outcome is new, and remembers where it was. It is a
// copy if one of the same model, from the same partition of the source and at
// its offset or later, was there. Copies are skipped and not counted. An outcome
// without a position is new.
func (s *Shard) Origin(o *Outcome) bool {
	if o.At == nil {
		return true
	}
	k := origin{o.Model, o.At.Topic, o.At.Partition}
	last, ok := s.origins[k]
	if ok && o.At.Offset <= last {
		return false
	}
	if ok || len(s.origins) < maxOrigins {
		s.origins[k] = o.At.Offset
	}
	return true
}

// Fold takes a prediction or an outcome, which has passed its Check. The row is
// that of its RowKey. Fold calls emit for each example that it gives, and
// reports whether the row changed. A rejected record counts nowhere.
func (s *Shard) Fold(rec Record, row *Row, emit func(*Example)) (changed bool, rejected *features.Rejection) {
	model := rec.Model()
	rules, ok := s.rules[model]
	if !ok {
		return false, reject(RejectModel, "model %s is none of the project's", short(model))
	}
	if p := rec.Prediction; p != nil && rules.Join == ByPrediction && p.Key != p.ID {
		return false, reject(RejectKey, "prediction %s has the key %s; with join %s it is its id", short(p.ID), short(p.Key), ByPrediction)
	}
	changed = s.Expire(row, model, emit)
	if p := rec.Prediction; p != nil && s.clock > p.Time+2*(rules.Horizon+rules.Grace).Microseconds() {
		return changed, reject(RejectLate, "prediction %s is of %s, and the clock is at %s: after twice the horizon and grace nobody can tell whether it was there, and no outcome counts for it",
			short(p.ID), utc(p.Time), utc(s.clock))
	}
	if row.Empty() {
		row.horizon, row.grace = rules.Horizon.Microseconds(), rules.Grace.Microseconds()
	}
	var folded bool
	if rec.Prediction != nil {
		folded, rejected = s.foldPrediction(rec.Prediction, rules.Join, row, emit)
	} else {
		folded, rejected = s.foldOutcome(rec.Outcome, rules.Join, row, emit)
	}
	s.Expire(row, model, emit) // what came after its time
	return changed || folded, rejected
}

func (s *Shard) foldPrediction(p *Prediction, join JoinKind, row *Row, emit func(*Example)) (bool, *features.Rejection) {
	if row.findAsked(p.ID) {
		s.stats.Details.RepeatedPredictions++
		return false, nil
	}
	s.buf = p.AppendJSON(s.buf[:0])
	a := &asked{id: p.ID, time: p.Time, raw: bytes.Clone(s.buf)}
	if len(row.asked) == MaxPredictions || row.size+a.size() > MaxRowBytes {
		return false, row.full(p.Model, p.Key)
	}
	row.addAsked(a)
	s.stats.Predictions.Total++
	s.stats.Predictions.Pending++
	for _, h := range row.heard {
		if s.clock <= h.time+row.horizon+row.grace { // else it is final
			s.meet(a, h, join, row.horizon)
		}
	}
	if a.best != nil {
		s.emitLabel(p, a.best, false, emit)
	}
	return true, nil
}

func (s *Shard) foldOutcome(o *Outcome, join JoinKind, row *Row, emit func(*Example)) (bool, *features.Rejection) {
	if row.findHeard(o) {
		s.stats.Outcomes.Total++
		s.stats.Outcomes.Duplicate++
		return false, nil
	}
	h := &heard{id: o.ID, time: o.Time, label: o.Label}
	if o.At != nil {
		at := *o.At
		h.at = &at
	}
	if len(row.heard) == MaxOutcomes || row.size+h.size() > MaxRowBytes {
		return false, row.full(o.Model, o.Key)
	}
	row.addHeard(h)
	s.stats.Outcomes.Total++
	s.stats.Outcomes.Waiting++
	for _, a := range row.asked {
		answered := a.best != nil
		if s.meet(a, h, join, row.horizon) {
			s.emitLabel(a.prediction(), h, answered, emit)
		}
	}
	return true, nil
}

// full rejects a record of a row that has no room.
func (r *Row) full(model, key string) *features.Rejection {
	return reject(RejectFull, "model %s, key %s: the row has %d predictions, %d outcomes and about %d bytes; at most %d, %d and %d: make the horizon shorter",
		model, short(key), len(r.asked), len(r.heard), r.size, MaxPredictions, MaxOutcomes, MaxRowBytes)
}

// judge returns what an outcome is for a prediction that is dt microseconds
// older: effective if it counts, waiting if the two do not meet.
func judge(join JoinKind, dt, horizon int64) status {
	switch join {
	case ByPrediction:
		if dt < 0 {
			return invalid
		}
		if dt > horizon {
			return late
		}
		return effective
	case NextEvent:
		if 0 < dt && dt <= horizon {
			return effective
		}
	case At:
		if dt == 0 {
			return effective
		}
	}
	return waiting
}

// better reports whether a prediction has rather a than b as its label.
func better(join JoinKind, a, b *heard) bool {
	if join == NextEvent && a.time != b.time {
		return a.time < b.time
	}
	return compareHeard(a, b) > 0
}

// meet brings a prediction and an outcome together that had not met. It reports
// whether the prediction's label comes from the outcome now.
func (s *Shard) meet(a *asked, h *heard, join JoinKind, horizon int64) bool {
	verdict := judge(join, h.time-a.time, horizon)
	open := a.raw != nil
	switch {
	case verdict == effective && open:
		return s.answer(a, h, join)
	case verdict == effective:
		verdict = late
	case open:
		a.late = a.late || verdict == late
		a.invalid = a.invalid || verdict == invalid
	}
	s.raise(h, verdict)
	return false
}

// answer gives an open prediction an outcome that counts.
func (s *Shard) answer(a *asked, h *heard, join JoinKind) bool {
	old := a.best
	if old != nil && !better(join, h, old) {
		s.raise(h, superseded)
		return false
	}
	a.best = h
	h.held++
	s.raise(h, effective)
	if old == nil {
		s.stats.Predictions.Pending--
		s.stats.Predictions.Matched++
		return true
	}
	if old.held--; old.held == 0 && !old.fixed {
		s.move(old, superseded)
	}
	return true
}

func (s *Shard) raise(h *heard, to status) {
	if to > h.status {
		s.move(h, to)
	}
}

func (s *Shard) move(h *heard, to status) {
	*s.stats.Outcomes.count(h.status)--
	*s.stats.Outcomes.count(to)++
	h.status = to
}

// Expire closes what is due in a model's row at the clock, and reports whether
// the row changed. A prediction closes after its horizon and grace, and is
// forgotten after as long again; so is an outcome, which is an orphan from then
// on if it has met no prediction.
func (s *Shard) Expire(row *Row, model string, emit func(*Example)) (changed bool) {
	if row.Empty() {
		return false
	}
	if rules, ok := s.rules[model]; ok {
		horizon, grace := rules.Horizon.Microseconds(), rules.Grace.Microseconds()
		changed = horizon != row.horizon || grace != row.grace
		row.horizon, row.grace = horizon, grace
	}
	if s.clock < row.Due() {
		return changed
	}
	wait := row.horizon + row.grace
	for _, a := range row.asked {
		if a.raw != nil && a.time+wait < s.clock {
			s.close(a, row, emit)
		}
	}
	for _, h := range row.heard {
		if h.status == waiting && h.time+wait < s.clock {
			s.move(h, orphan)
		}
	}
	row.forget(s.clock - 2*wait)
	return true
}

func utc(us int64) string { return time.UnixMicro(us).UTC().Format(time.RFC3339Nano) }

func reject(reason, format string, args ...any) *features.Rejection {
	return &features.Rejection{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}
