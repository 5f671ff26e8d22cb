package features

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/millrace/millrace/features/expr"
)

// AnyArrival is the known-by time of a question that does not ask when events
// arrived.
const AnyArrival = math.MaxInt64

// A Replay makes rows as of past moments from the events that shards admitted.
// It is immutable and may be used by several goroutines.
type Replay struct {
	plan   *Plan
	past   *Plan // plan without its ids: what is a duplicate was the shard's to say
	inputs []int // the values that windows read
	kinds  []Kind
	stride int // words of an event in a History
}

// NewReplay returns the plan's Replay.
func (p *Plan) NewReplay() *Replay {
	past := *p
	if p.ids >= 0 {
		past.levels, past.ids = p.levels[:p.ids], -1 // they are the last level
	}
	rp := &Replay{plan: p, past: &past}
	for i := range past.levels {
		for _, g := range past.levels[i].groups {
			if g.input != rowsInput && !slices.Contains(rp.inputs, g.input) {
				rp.inputs = append(rp.inputs, g.input)
				rp.kinds = append(rp.kinds, g.kind)
			}
		}
	}
	rp.stride = rp.firstInput() + len(rp.inputs)
	return rp
}

// An event in a History is its time, order and arrival, a bit for each input
// that is there, and the inputs: strings as places in History.strings.
const (
	histTime = iota
	histOrder
	histArrival
	histMask
)

func (rp *Replay) firstInput() int { return histMask + (len(rp.inputs)+63)/64 }

// A History is what one shard admitted about one entity, as far as rows as of
// the moments from first to last need it. It belongs to one goroutine at a
// time.
//
// Judging and playing are apart because they go by different orders: whether an
// event is late or a duplicate depends on the log before it, and a row as of a
// past moment on the events before that moment, wherever the log has them.
type History struct {
	replay      *Replay
	first, last int64

	seen    *Row // remembers ids; nil: the source does not
	words   []uint64
	strings []string
	places  map[string]uint64 // in strings
	sorted  bool

	main *player // goes on from row to row
	side *player // goes on from main for one row
}

// NewHistory returns an empty history that will be asked for rows as of moments
// from first to last, in microseconds since the Unix epoch.
func (rp *Replay) NewHistory(first, last int64) *History {
	h := &History{replay: rp, first: first, last: last}
	if rp.plan.ids >= 0 {
		h.seen = rp.plan.NewRow()
	}
	return h
}

// Keep adds the event last admitted to its entity's history, where Fold would
// add it to the row. It reports false for a duplicate, as Fold does. The shard
// is one of the replay's plan.
func (s *Shard) Keep(h *History, e *Event) bool {
	if h.seen != nil {
		if s.duplicate(h.seen) {
			s.Counts.Duplicates++
			return false
		}
		s.Counts.Truncated += s.remember(h.seen, e)
	}
	s.Counts.Applied++
	if e.Time <= h.last && e.Time > h.replay.oldest(h.first) {
		h.append(s.vals, e)
	}
	return true
}

// remember does what fold does with an id.
func (s *Shard) remember(r *Row, e *Event) (truncated int64) {
	p := s.plan
	l, horizon := &p.levels[p.ids], s.cuts[p.ids].horizon
	if s.Newest >= int64(r.head[p.ids]) {
		p.prune(r, l, horizon)
	}
	if id := s.vals[p.id]; e.Time > horizon && id.Kind != expr.Missing {
		return p.foldID(r, l, id, e)
	}
	return 0
}

// oldest returns a time so far back that no window at asOf sees an event of it.
func (rp *Replay) oldest(asOf int64) int64 {
	if rp.plan.horizon == 0 {
		return NoTime
	}
	return asOf - rp.plan.horizon
}

func (h *History) append(vals []Value, e *Event) {
	rp := h.replay
	at := len(h.words)
	h.words = slices.Grow(h.words, rp.stride)[:at+rp.stride]
	w := h.words[at:]
	clear(w)
	w[histTime], w[histOrder], w[histArrival] = uint64(e.Time), uint64(e.Order), uint64(e.Arrival)
	first := rp.firstInput()
	for i, in := range rp.inputs {
		v := &vals[in]
		if v.Kind == expr.Missing {
			continue
		}
		w[histMask+i/64] |= 1 << (i % 64)
		if w[first+i] = v.Bits; v.Kind == expr.String {
			w[first+i] = h.place(v.Str)
		}
	}
	h.sorted = false
}

// place returns where s is in h.strings, each once.
func (h *History) place(s string) uint64 {
	at, ok := h.places[s]
	if !ok {
		if h.places == nil {
			h.places = map[string]uint64{}
		}
		at = uint64(len(h.strings))
		s = strings.Clone(s)
		h.strings = append(h.strings, s)
		h.places[s] = at
	}
	return at
}

func (h *History) len() int { return len(h.words) / h.replay.stride }

func (h *History) event(i int) []uint64 {
	return h.words[i*h.replay.stride : (i+1)*h.replay.stride]
}

// Row returns the entity's row made of the events whose time is at most upTo
// and which had arrived at knownBy, folded by (time, order). The row is valid
// until the next call and must not be changed. Of an entity without events it
// is a new row.
//
// Rows are cheapest in the order of upTo, and with a knownBy that grows along:
// then each event is folded once, and once more for each row that it is in
// before all those older than it have arrived.
func (h *History) Row(upTo, knownBy int64) *Row {
	if upTo < h.first || upTo > h.last {
		panic(fmt.Sprintf("features: History.Row(%d): the history is for %d to %d", upTo, h.first, h.last))
	}
	h.sort()
	end := h.count(upTo)
	if h.main == nil {
		h.main = h.replay.newPlayer()
	}
	p := h.main
	if upTo < p.upTo || knownBy < p.arrived { // it has gone too far
		p = h.replay.newPlayer()
	} else {
		p.upTo = upTo
		p.skipTo(h.count(h.replay.oldest(upTo)))
		if p.play(h, end, knownBy); p.next == end {
			return p.row
		}
		if h.side == nil {
			h.side = h.replay.newPlayer()
		}
		h.side.follow(p)
		p = h.side
	}
	p.skipTo(h.count(h.replay.oldest(upTo)))
	for p.next < end {
		p.play(h, end, knownBy)
		p.skipTo(min(p.next+1, end))
	}
	return p.row
}

// count returns how many events have a time of at most t.
func (h *History) count(t int64) int {
	lo, hi := 0, h.len()
	for lo < hi {
		if mid := (lo + hi) / 2; int64(h.event(mid)[histTime]) <= t {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// sort puts the events in order of (time, order).
func (h *History) sort() {
	if h.sorted {
		return
	}
	h.sorted, h.main = true, nil
	type key struct {
		time  int64
		order uint64
		at    int
	}
	keys, inOrder := make([]key, h.len()), true
	for i := range keys {
		w := h.event(i)
		keys[i] = key{int64(w[histTime]), w[histOrder], i}
		inOrder = inOrder && (i == 0 || compareKeys(keys[i-1].time, keys[i].time, keys[i-1].order, keys[i].order) <= 0)
	}
	if inOrder {
		return
	}
	slices.SortFunc(keys, func(a, b key) int {
		if c := compareKeys(a.time, b.time, a.order, b.order); c != 0 {
			return c
		}
		return cmp.Compare(a.at, b.at)
	})
	words := make([]uint64, 0, len(h.words))
	for _, k := range keys {
		words = append(words, h.event(k.at)...)
	}
	h.words = words
}

func compareKeys(aTime, bTime int64, aOrder, bOrder uint64) int {
	if c := cmp.Compare(aTime, bTime); c != 0 {
		return c
	}
	return cmp.Compare(aOrder, bOrder)
}

// A player folds a history into a row. Its shard's time is that of the row
// alone, since other entities drop nothing that the row's windows still see.
type player struct {
	shard   *Shard
	row     *Row
	next    int   // the first event that is not in the row, nor left out
	upTo    int64 // of the last row asked for: older events may have been left out
	arrived int64 // when the last of the row's events arrived
}

func (rp *Replay) newPlayer() *player {
	p := &player{shard: rp.past.NewShard(NoTime, Counts{}), row: rp.past.NewRow(), upTo: NoTime, arrived: NoTime}
	p.shard.vals = p.shard.buf
	return p
}

// skipTo leaves out events that no window will see.
func (p *player) skipTo(next int) { p.next = max(p.next, next) }

// play folds the events before end, up to one that arrived after knownBy.
func (p *player) play(h *History, end int, knownBy int64) {
	rp, s := h.replay, p.shard
	first := rp.firstInput()
	for ; p.next < end; p.next++ {
		w := h.event(p.next)
		arrival := int64(w[histArrival])
		if arrival > knownBy {
			return
		}
		p.arrived = max(p.arrived, arrival)
		for i, in := range rp.inputs {
			switch v := &s.vals[in]; {
			case w[histMask+i/64]>>(i%64)&1 == 0:
				*v = Value{}
			case rp.kinds[i] == expr.String:
				*v = expr.StringValue(h.strings[w[first+i]])
			default:
				v.Kind, v.Bits = rp.kinds[i], w[first+i]
			}
		}
		e := Event{Time: int64(w[histTime]), Order: Order(w[histOrder])}
		if e.Time > s.Newest {
			s.advance(e.Time)
		}
		rp.past.fold(p.row, s.vals, &e, s.Newest, s.cuts)
	}
}

// follow makes p one that goes on from where another is and leaves that there.
// It copies into the memory that p has.
func (p *player) follow(o *player) {
	p.next, p.arrived, p.shard.Newest = o.next, o.arrived, o.shard.Newest
	copy(p.shard.cuts, o.shard.cuts)
	r, from := p.row, o.row
	r.newest = from.newest
	copy(r.head, from.head)
	for i := range r.lists {
		r.lists[i] = list{buf: append(r.lists[i].buf[:0], from.lists[i].words()...)}
	}
	r.strings = append(r.strings[:0], from.strings...)
	r.unused = append(r.unused[:0], from.unused...)
}
