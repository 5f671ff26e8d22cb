package trainer

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/trainer/bundle"
)

// A book is what the trainer knows of one model: its newest examples, and how
// far each partition is. It is pure, and a function of the examples added.
type book struct {
	model  *Model
	limit  int            // examples kept
	rows   []row          // as they came
	at     map[string]int // where an id's row is
	next   []int64        // by partition: the offset after the last record seen
	passed []int64        // by partition: all that is decided up to this time has been seen
	known  int64          // the greatest time at which a label became known

	unanswered []int64 // times of predictions that nothing answered, the newest limit of them
	before     rates   // of rows that are no longer kept
	runs       []spec  // that were made, newest first; nil: to be read
}

// A row is one example.
type row struct {
	feedback.Prediction
	label     float64
	known     int64
	partition int
	offset    int64
}

// entity is whom a row is about. The key of its prediction is not, where that is
// the prediction's id.
func (r *row) entity() string {
	if len(r.Entity) == 1 {
		return r.Entity[0].Expr
	}
	var all strings.Builder
	for _, e := range r.Entity {
		all.WriteString(strconv.Quote(e.Expr))
	}
	return all.String()
}

func newBook(m *Model, partitions int) *book {
	b := &book{
		model: m, limit: max(m.Train.Window, 8*m.Gate.Rows), at: map[string]int{},
		next: make([]int64, partitions), passed: make([]int64, partitions), known: math.MinInt64, before: newRates(),
	}
	for i := range b.passed {
		b.passed[i] = math.MinInt64
	}
	return b
}

// add takes a record of the examples topic. Those of other models only move the
// offsets and the clock on.
func (b *book) add(e *feedback.Example, partition int, offset int64) {
	b.next[partition] = offset + 1
	switch {
	case e.Kind == feedback.Passed:
		b.passed[partition] = max(b.passed[partition], e.Known)
	case e.Prediction.Model != b.model.Name:
	case e.Kind == feedback.Unanswered:
		b.unanswered = append(b.unanswered, e.Prediction.Time)
		if len(b.unanswered) > 2*b.limit {
			b.unanswered = slices.Delete(b.unanswered, 0, b.limit)
		}
	case b.usable(e):
		b.put(row{e.Prediction, e.Label, e.Known, partition, offset})
	}
}

// usable refuses examples of another set of features: a vector means nothing
// under other definitions.
func (b *book) usable(e *feedback.Example) bool {
	return e.Kind == feedback.Labelled && e.Prediction.Set == bundle.SetID(b.model.Inputs) &&
		len(e.Prediction.Vector) == len(b.model.Inputs) && !math.IsNaN(e.Label) && !math.IsInf(e.Label, 0)
}

func (b *book) put(r row) {
	b.known = max(b.known, r.known)
	if i, corrected := b.at[r.ID]; corrected {
		b.rows[i] = r
		return
	}
	b.at[r.ID] = len(b.rows)
	b.rows = append(b.rows, r)
	if len(b.rows) >= 2*b.limit {
		b.forget()
	}
}

// forget keeps the newest limit rows. It waits for twice as many, so that a row
// is moved about once.
func (b *book) forget() {
	slices.SortFunc(b.rows, byKnown)
	old := len(b.rows) - b.limit
	for i := range b.rows[:old] {
		b.before.add(&b.rows[i])
	}
	b.rows = slices.Clone(b.rows[old:])
	clear(b.at)
	for i := range b.rows {
		b.at[b.rows[i].ID] = i
	}
}

// byKnown is the order in which labels became known, which learning follows.
func byKnown(a, b row) int {
	return cmp.Or(cmp.Compare(a.known, b.known), cmp.Compare(a.Time, b.Time), cmp.Compare(a.ID, b.ID))
}

// byTime is the order in which the questions were asked.
func byTime(a, b row) int { return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.ID, b.ID)) }

// complete is the time up to which every prediction is decided.
func (b *book) complete() int64 {
	least := slices.Min(b.passed)
	if least == math.MinInt64 {
		return least
	}
	return least - (b.model.Label.Horizon + b.model.Label.Grace).Microseconds()
}

// since counts the examples at or beyond the given offsets.
func (b *book) since(next []int64) int {
	n := 0
	for i := range b.rows {
		if r := &b.rows[i]; r.partition >= len(next) || r.offset >= next[r.partition] {
			n++
		}
	}
	return n
}

// training returns the newest window of rows, in the order in which their
// labels became known, and the ranges of the topic that hold them.
func (b *book) training() ([]row, []bundle.Range) {
	rows := slices.Clone(b.rows)
	slices.SortFunc(rows, byKnown)
	rows = rows[max(0, len(rows)-b.model.Train.Window):]
	ranges := make([]bundle.Range, len(b.next))
	for i := range ranges {
		ranges[i] = bundle.Range{Partition: i, First: b.next[i], Next: b.next[i]}
	}
	for i := range rows {
		g := &ranges[rows[i].partition]
		g.First = min(g.First, rows[i].offset)
	}
	return rows, ranges
}

// cohort returns the first complete rows after a cut-off, in the order in which
// they were asked: whole times, until there are enough. None where there are too
// few yet.
func (b *book) cohort(after int64, enough int) []row {
	until := b.complete()
	var rows []row
	for _, r := range b.rows {
		if r.Time > after && r.Time <= until {
			rows = append(rows, r)
		}
	}
	if len(rows) < enough {
		return nil
	}
	slices.SortFunc(rows, byTime)
	n := enough
	for n < len(rows) && rows[n].Time == rows[n-1].Time {
		n++
	}
	return rows[:n]
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

// Rates are what the baselines go by: how often the label was positive, at all
// and after each last label of the same entity. For a regression they are sums
// of labels.
type rates struct {
	count, sum float64
	last       map[string]float64 // by entity
	after      map[float64]*tally // by the entity's last label
}

type tally struct{ count, sum float64 }

func newRates() rates { return rates{last: map[string]float64{}, after: map[float64]*tally{}} }

// maxEntities bounds the entities whose last label is remembered, and
// maxLast the labels that are told apart.
const (
	maxEntities = 1_000_000
	maxLast     = 1000
)

func (r rates) clone() rates {
	c := rates{r.count, r.sum, make(map[string]float64, len(r.last)), make(map[float64]*tally, len(r.after))}
	for k, v := range r.last {
		c.last[k] = v
	}
	for k, v := range r.after {
		n := *v
		c.after[k] = &n
	}
	return c
}

func (r *rates) add(x *row) {
	r.count++
	r.sum += x.label
	entity := x.entity()
	if last, ok := r.last[entity]; ok && (len(r.after) < maxLast || r.after[last] != nil) {
		if r.after[last] == nil {
			r.after[last] = &tally{}
		}
		r.after[last].count++
		r.after[last].sum += x.label
	}
	if _, ok := r.last[entity]; ok || len(r.last) < maxEntities {
		r.last[entity] = x.label
	}
}

// base is the base rate: of a binary label (positives + 1) / (labels + 2), of a
// number the mean.
func (r *rates) base(binary bool) float64 { return share(binary, r.count, r.sum) }

// outcome is the rate after the last label of the entity; of a number, that
// label itself.
func (r *rates) outcome(binary bool, entity string) float64 {
	last, ok := r.last[entity]
	if !ok {
		return r.base(binary)
	}
	if !binary {
		return last
	}
	if t := r.after[last]; t != nil {
		return share(binary, t.count, t.sum)
	}
	return r.base(binary)
}

func share(binary bool, count, sum float64) float64 {
	switch {
	case binary:
		return (sum + 1) / (count + 2)
	case count == 0:
		return 0
	}
	return sum / count
}

// baselines returns, for each of the asked rows (in the order of time), what the
// base rate and the last outcome would have answered from the labels known then.
func (b *book) baselines(asked []row) (base, last []float64) {
	rows := slices.Clone(b.rows)
	slices.SortFunc(rows, byKnown)
	now, k := b.before.clone(), 0
	binary := b.model.binary()
	for i := range asked {
		for k < len(rows) && rows[k].known <= asked[i].Time {
			now.add(&rows[k])
			k++
		}
		base = append(base, now.base(binary))
		last = append(last, now.outcome(binary, asked[i].entity()))
	}
	return base, last
}

// slice is a row's value of a column that a gate looks into.
func (m *Model) slice(column string, r *row) string {
	for _, e := range r.Entity {
		if e.Name == column {
			return e.Expr
		}
	}
	for i, in := range m.Inputs {
		if in.Name == column {
			return r.Vector[i].Text()
		}
	}
	return ""
}

// vectors yields the rows' vectors.
func vectors(rows []row) func(yield func([]features.Value) bool) {
	return func(yield func([]features.Value) bool) {
		for i := range rows {
			if !yield(rows[i].Vector) {
				return
			}
		}
	}
}
