package trainer

import (
	"cmp"
	"math"
	"slices"

	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/trainer/bundle"
)

// A book is what the trainer knows of one model: its newest examples. It is
// pure.
//
// Partitions are read one after another and as far as they are there, and all of
// that must not matter: a candidate is to be the same whoever makes it, and
// whenever. So rows wait until every partition has passed the time at which
// their label became known. Then they are taken in by that time, all of one time
// at once, and whatever is done is done between two such times: it is a function
// of the topic and of the runs before it.
type book struct {
	model *Model
	set   string
	limit int // rows kept

	passed  []int64 // by partition: all that is decided before this time has been read
	waiting []*row  // read, and not known before all of passed
	ready   []*row  // known before all of passed, byKnown; taken from the front
	rows    []*row  // taken in, byKnown
	at      map[rowKey]*row
	full    int   // rows at which the oldest are forgotten
	hold    int64 // rows that became known after this time are not forgotten

	known     int64 // the time of the last rows taken in
	all       tally // of the labels of all that were taken in
	before    rates // of rows that are forgotten
	forgotten int64 // when the last of those became known
	foreign   int   // examples of other features
	told      int   // of those, when it was last said

	unanswered []int64 // times of predictions that nothing answered, the newest 2*limit of them

	runs  []pastRun // newest first; nil: to be read
	fresh int       // rows that became known after the last run's
	asked int64     // event time from which a candidate is asked for
}

const (
	// maxRows bounds the rows in memory, and those that wait for a partition: of the
	// largest window and of those that candidates wait for maxWindow are kept, and
	// the quarter more is for moving them about not too often.
	maxRows = maxWindow + maxWindow/4

	never = math.MinInt64
)

func newBook(m *Model, partitions int) *book {
	limit := min(max(m.Train.Window, 8*m.Gate.Rows), maxWindow)
	return &book{
		model: m, set: bundle.SetID(m.Inputs), limit: limit, full: min(2*limit, maxRows), at: map[rowKey]*row{}, passed: slices.Repeat([]int64{never}, partitions),
		known: never, before: newRates(m.binary()), forgotten: never, hold: math.MaxInt64, asked: never,
	}
}

// read takes a record of the examples topic. Of other models' the clock alone
// counts.
func (b *book) read(e *feedback.Example, partition int, offset int64) {
	switch {
	case e.Kind == feedback.Passed:
		b.passed[partition] = max(b.passed[partition], e.Known)
	case e.Prediction.Model != b.model.Name:
	case e.Kind == feedback.Unanswered:
		b.unanswered = append(b.unanswered, e.Prediction.Time)
		if len(b.unanswered) >= 4*b.limit {
			b.unanswered = slices.Delete(b.unanswered, 0, 2*b.limit)
		}
	case e.Kind == feedback.Labelled && !b.usable(e):
		b.foreign++
	case e.Kind == feedback.Labelled:
		r := &row{Prediction: e.Prediction, label: e.Label, known: e.Known, partition: partition, offset: offset}
		r.Key, r.Shadow, r.Model, r.Set = "", nil, b.model.Name, b.set // of millions of rows, what all share once
		b.waiting = append(b.waiting, r)
	}
}

// usable refuses examples of another set of features: a vector means nothing
// under other definitions.
func (b *book) usable(e *feedback.Example) bool {
	return e.Prediction.Set == b.set && bundle.CheckVector(b.model.Inputs, e.Prediction.Vector) == nil && !math.IsNaN(e.Label) && !math.IsInf(e.Label, 0)
}

// least is the time before which all that was decided has been read: a label that
// a partition adds later became known then or later.
func (b *book) least() int64 { return slices.Min(b.passed) }

// release makes ready what every partition has passed.
func (b *book) release() {
	until := b.least()
	slices.SortFunc(b.waiting, byKnown)
	n, _ := slices.BinarySearchFunc(b.waiting, until, func(r *row, t int64) int { return cmp.Compare(r.known, t) })
	b.ready = append(b.ready, b.waiting[:n]...)
	b.waiting = slices.Delete(b.waiting, 0, n)
}

// byKnown is the order in which labels became known, which learning follows. Of
// one prediction's, the later correction is the later.
func byKnown(a, b *row) int {
	return cmp.Or(cmp.Compare(a.known, b.known), cmp.Compare(a.Time, b.Time), cmp.Compare(a.ID, b.ID), cmp.Compare(a.offset, b.offset))
}

// byTime is the order in which the questions were asked.
func byTime(a, b *row) int { return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.ID, b.ID)) }

// take takes in the rows of the next time, and reports whether there were any.
func (b *book) take() bool {
	if len(b.ready) == 0 {
		return false
	}
	known, n := b.ready[0].known, 0
	for ; n < len(b.ready) && b.ready[n].known == known; n++ {
		b.put(b.ready[n])
		b.ready[n] = nil
	}
	b.ready = b.ready[n:]
	b.known = max(b.known, known)
	if len(b.rows) >= b.full {
		b.forget()
	}
	return true
}

// put takes in one row. A correction is later in the topic than what it
// corrects, but may have become known before it: the later in the topic wins. One
// of a row that is forgotten counts as a row.
func (b *book) put(r *row) {
	old := b.at[r.key()]
	switch {
	case old == nil:
		b.all.count++
		if b.lastRun() < r.known {
			b.fresh++
		}
	case old.offset > r.offset:
		return
	default:
		old.corrected, r.correction = true, true
		b.all.sum -= old.label
	}
	b.all.sum += r.label
	b.at[r.key()] = r
	b.rows = append(b.rows, r)
	if n := len(b.rows); n > 1 && b.rows[n-2].known > r.known { // no join writes such a topic
		slices.SortStableFunc(b.rows, byKnown)
	}
}

// forget keeps the newest limit rows, and those that candidates wait for. It
// comes when there are twice as many, so that a row is moved about once, or at
// maxRows.
func (b *book) forget() {
	b.rows = slices.DeleteFunc(b.rows, func(r *row) bool { return r.corrected })
	old := max(0, len(b.rows)-b.limit)
	held, _ := slices.BinarySearchFunc(b.rows, b.hold, func(r *row, t int64) int {
		if r.known > t {
			return 1
		}
		return -1
	})
	old = max(min(old, held), len(b.rows)-maxWindow)
	for _, r := range b.rows[:old] {
		b.before.add(r)
		b.forgotten = r.known
		delete(b.at, r.key())
	}
	b.rows = slices.Delete(b.rows, 0, old)
	b.full = min(max(2*b.limit, len(b.rows)+b.limit), maxRows)
}

// newest are the newest window of rows, byKnown.
func (b *book) newest() []*row {
	rows := make([]*row, 0, min(len(b.rows), b.model.Train.Window))
	for _, r := range slices.Backward(b.rows) {
		if len(rows) == b.model.Train.Window {
			break
		}
		if !r.corrected {
			rows = append(rows, r)
		}
	}
	slices.Reverse(rows)
	return rows
}

// rangesOf are the ranges of the topic that hold the rows, and others between
// them.
func rangesOf(rows []*row, partitions int) []bundle.Range {
	ranges := make([]bundle.Range, partitions)
	for i := range ranges {
		ranges[i].Partition = i
	}
	for _, r := range rows {
		g := &ranges[r.partition]
		if g.Next == 0 {
			g.First = r.offset
		}
		g.First, g.Next = min(g.First, r.offset), max(g.Next, r.offset+1)
	}
	return ranges
}

// decided reports whether the label of a prediction of that time is final and
// taken in, or is that there is none.
func (b *book) decided(time int64) bool {
	until := b.least()
	if len(b.ready) > 0 {
		until = b.ready[0].known
	}
	return until != never && time < until-b.model.wait()
}

// cohort returns the first decided rows after a cut-off, in the order in which
// they were asked: whole times, until a gate has enough. None where there are too
// few yet. Lost says that some became known after the cut-off and are forgotten.
func (b *book) cohort(after int64) (rows []*row, lost bool) {
	if b.forgotten > after {
		return nil, true
	}
	from, _ := slices.BinarySearchFunc(b.rows, after, func(r *row, t int64) int { return cmp.Compare(r.known, t) })
	for _, r := range b.rows[from:] { // none is asked later than known
		if r.Time > after && !r.corrected && b.decided(r.Time) {
			rows = append(rows, r)
		}
	}
	if len(rows) < b.model.Gate.Rows {
		return nil, false
	}
	slices.SortFunc(rows, byTime)
	times := make([]int64, len(rows))
	for i, r := range rows {
		times[i] = r.Time
	}
	n, ok := b.model.Gate.Enough(times, b.model.Label.Horizon)
	if !ok {
		return nil, false
	}
	return rows[:n], false
}

// unansweredIn counts the predictions of a span of time that nothing answered.
func (b *book) unansweredIn(from, to int64) int {
	n := 0
	for _, t := range b.unanswered {
		if from <= t && t <= to {
			n++
		}
	}
	return n
}

// baselines returns, for each of the asked rows (in the order of time), what the
// base rate and the last outcome would have answered from the labels known then.
func (b *book) baselines(asked []*row) (base, last []float64) {
	known := history{rows: slices.DeleteFunc(slices.Clone(b.rows), func(r *row) bool { return r.corrected })}
	now := b.before.clone()
	for _, r := range asked {
		known.until(r.Time, now.add)
		base = append(base, now.base())
		last = append(last, now.lastOutcome(r.entity()))
	}
	return base, last
}
