package feedback

import (
	"cmp"
	"math"
	"slices"
)

// Limits of a row. A record that would pass one is rejected. They bound what a
// commit writes and what a fold looks through.
const (
	MaxPredictions = 10_000  // predictions that a row remembers
	MaxOutcomes    = 10_000  // outcomes that a row remembers
	MaxRowBytes    = 4 << 20 // its size, about: as a row of a feature view
)

// A Row is what the join remembers of one model and key. It is a function of
// the log up to a record. It belongs to one goroutine.
type Row struct {
	horizon, grace int64 // microseconds, as of the last record folded; 0 in an empty row
	asked          []*asked
	heard          []*heard
	size           int
}

// An asked is a prediction. Those of a row are in the order of (time, id).
type asked struct {
	id   string
	time int64
	// Of an open one only:
	raw           []byte // the record as AppendJSON gives it; nil: closed
	best          *heard // what its label comes from; nil: nothing yet
	late, invalid bool   // it has met such outcomes
}

// A heard is an outcome. Those of a row are in the order of (time, id).
type heard struct {
	id     string
	at     *Position // its id, where it is not nil
	time   int64
	label  float64
	status status
	fixed  bool // a closed prediction has it as its best
	held   int  // open predictions that have it as their best
	place  int  // in the row, while that is encoded
}

// A status is what became of an outcome. Of several the greatest stands.
type status uint8

const (
	waiting status = iota
	orphan
	invalid
	late
	superseded
	effective
)

// What a row's entries take besides their texts, about.
const (
	askedBytes = 120
	heardBytes = 120
)

// RowKey returns the entity under which the store keeps the row of predictions
// and outcomes that meet. A model's name has no slash.
func RowKey(model, key string) string { return model + "/" + key }

// NewRow returns a row that knows nothing.
func NewRow() *Row { return &Row{} }

// Empty reports whether nothing is left in the row: it equals a new one, and
// need not be stored.
func (r *Row) Empty() bool { return len(r.asked) == 0 && len(r.heard) == 0 }

// Size returns about how many bytes the row takes.
func (r *Row) Size() int { return r.size }

// Due returns the earliest time at which a tick changes the row, in
// microseconds since the Unix epoch; math.MaxInt64: none does.
func (r *Row) Due() int64 {
	due := int64(math.MaxInt64)
	wait := r.horizon + r.grace
	if len(r.asked) > 0 {
		due = r.asked[0].time + 2*wait + 1
	}
	if len(r.heard) > 0 {
		due = min(due, r.heard[0].time+2*wait+1)
	}
	for _, a := range r.asked {
		if a.raw != nil || a.time+wait >= due {
			due = min(due, a.time+wait+1)
			break
		}
	}
	for _, h := range r.heard {
		if h.status == waiting || h.time+wait >= due {
			due = min(due, h.time+wait+1)
			break
		}
	}
	return due
}

func (r *Row) findAsked(id string) bool {
	return slices.ContainsFunc(r.asked, func(a *asked) bool { return a.id == id })
}

func (r *Row) findHeard(o *Outcome) bool {
	return slices.ContainsFunc(r.heard, func(h *heard) bool {
		if h.at == nil || o.At == nil {
			return h.at == nil && o.At == nil && h.id == o.ID
		}
		return *h.at == *o.At
	})
}

func (r *Row) addAsked(a *asked) {
	i, _ := slices.BinarySearchFunc(r.asked, a, compareAsked)
	r.asked = slices.Insert(r.asked, i, a)
	r.size += a.size()
}

func (r *Row) addHeard(h *heard) {
	i, _ := slices.BinarySearchFunc(r.heard, h, compareHeard)
	r.heard = slices.Insert(r.heard, i, h)
	r.size += h.size()
}

// forget drops what is older than a time: its first predictions and outcomes.
func (r *Row) forget(before int64) (changed bool) {
	n := 0
	for n < len(r.asked) && r.asked[n].time < before {
		r.size -= r.asked[n].size()
		n++
	}
	r.asked = slices.Delete(r.asked, 0, n)
	m := 0
	for m < len(r.heard) && r.heard[m].time < before {
		r.size -= r.heard[m].size()
		m++
	}
	r.heard = slices.Delete(r.heard, 0, m)
	if r.Empty() {
		*r = Row{}
	}
	return n+m > 0
}

func (a *asked) size() int { return askedBytes + len(a.id) + len(a.raw) }

func (h *heard) size() int {
	n := heardBytes + len(h.id)
	if h.at != nil {
		n += len(h.at.Topic)
	}
	return n
}

// name is the outcome's id as examples show it.
func (h *heard) name() string {
	if h.at != nil {
		return h.at.String()
	}
	return h.id
}

func compareAsked(a, b *asked) int {
	return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.id, b.id))
}

// compareHeard orders outcomes by (time, id): ids that are texts by their
// bytes, then those that are positions, as tuples.
func compareHeard(a, b *heard) int {
	if c := cmp.Compare(a.time, b.time); c != 0 {
		return c
	}
	switch {
	case a.at == nil && b.at == nil:
		return cmp.Compare(a.id, b.id)
	case a.at == nil:
		return -1
	case b.at == nil:
		return 1
	}
	return cmp.Or(cmp.Compare(a.at.Topic, b.at.Topic), cmp.Compare(a.at.Partition, b.at.Partition), cmp.Compare(a.at.Offset, b.at.Offset))
}
