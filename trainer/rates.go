package trainer

import "maps"

// Rates are what the baselines go by: how often the label was positive, at all
// and after each last label of the same entity. For a regression they are sums
// of labels.
type rates struct {
	binary bool
	all    tally
	last   map[string]float64 // by entity
	after  [2]tally           // binary: by the entity's last label
}

type tally struct{ count, sum float64 }

func (t *tally) add(label float64) {
	t.count++
	t.sum += label
}

// maxEntities bounds the entities whose last label is remembered: of others the
// base rate is what is known.
const maxEntities = 1_000_000

func newRates(binary bool) rates { return rates{binary: binary, last: map[string]float64{}} }

func (r *rates) clone() rates {
	c := *r
	c.last = maps.Clone(r.last)
	return c
}

func (r *rates) add(x *row) {
	r.all.add(x.label)
	entity := x.entity()
	last, known := r.last[entity]
	if known && r.binary {
		r.after[class(last)].add(x.label)
	}
	if known || len(r.last) < maxEntities {
		r.last[entity] = x.label
	}
}

// class is the place of a binary label.
func class(label float64) int {
	if label > 0.5 {
		return 1
	}
	return 0
}

// base is the base rate: of a binary label (positives + 1) / (labels + 2), of a
// number the mean.
func (r *rates) base() float64 { return r.all.share(r.binary) }

// lastOutcome is the rate after the last label of the entity; of a number, that
// label itself.
func (r *rates) lastOutcome(entity string) float64 {
	last, ok := r.last[entity]
	switch {
	case !ok:
		return r.base()
	case r.binary:
		return r.after[class(last)].share(true)
	}
	return last
}

func (t tally) share(binary bool) float64 {
	switch {
	case binary:
		return (t.sum + 1) / (t.count + 2)
	case t.count == 0:
		return 0
	}
	return t.sum / t.count
}

// A history gives the rows in the order in which their labels became known, as
// far as they were known when something was asked.
type history struct {
	rows []*row // byKnown
	next int
}

// until calls f for the rows that were not given yet and whose labels were known
// at the time of a question. That of a question of the same time is not one of
// them: its own label may be known at once.
func (h *history) until(asked int64, f func(*row)) {
	for ; h.next < len(h.rows); h.next++ {
		if r := h.rows[h.next]; r.known > asked || r.Time >= asked {
			return
		}
		f(h.rows[h.next])
	}
}
