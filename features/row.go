package features

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"github.com/millrace/millrace/features/expr"
)

// A Row is the state of one entity under one plan. It belongs to the shard's
// goroutine.
type Row struct {
	newest  int64    // event time of the newest event that left a trace; NoTime: none
	head    []uint64 // by level when its oldest tile dies; then its open tile, at level.head; word 0 of that is its start, or noTile
	lists   []list   // closed tiles, oldest first; values and ids have a second list of recent entries
	strings []string // what string words point to
	unused  []int    // strings that no word points to
	seen    map[[2]uint64]int64

	baseDirty bool
}

// noTile is the start of an open tile that is not there.
const noTile = 1 << 63 // the bits of math.MinInt64

// recentEntries is how many entries the head gathers before the base is
// rewritten with them.
const recentEntries = 32

// A list is a queue of words. Dropping from its front moves an offset, and
// appending reuses the room, so that a row in steady state does not allocate.
type list struct {
	buf []uint64
	off int
}

func (l *list) words() []uint64 { return l.buf[l.off:] }

func (l *list) dropFront(n int) {
	l.off += n
	if l.off == len(l.buf) {
		l.buf, l.off = l.buf[:0], 0
	}
}

func (l *list) append(w []uint64) {
	if len(l.buf)+len(w) > cap(l.buf) && l.off >= len(l.buf)/2 && l.off > 0 {
		n := copy(l.buf, l.buf[l.off:])
		l.buf, l.off = l.buf[:n], 0
	}
	l.buf = append(l.buf, w...)
}

func (l *list) insert(at int, w []uint64) {
	if at == len(l.words()) {
		l.append(w)
		return
	}
	l.buf = slices.Insert(l.buf, l.off+at, w...)
}

// NewRow returns the row of an entity that no event has been about.
func (p *Plan) NewRow() *Row {
	r := &Row{newest: NoTime, head: make([]uint64, p.headSize), lists: make([]list, p.lists)}
	for i := range p.levels {
		r.head[i] = math.MaxInt64
		if p.levels[i].hasTile() {
			r.head[p.levels[i].head] = noTile
		}
	}
	return r
}

// hasTile reports whether the level keeps an open tile in the head.
func (l *level) hasTile() bool { return l.kind <= lifetime }

// Newest returns the event time of the newest event in the row, in
// microseconds since the Unix epoch, or NoTime.
func (r *Row) Newest() int64 { return r.newest }

// Empty reports whether nothing is left in r, so that it equals a new row.
func (r *Row) Empty() bool { return r.newest == NoTime }

// Size returns about how many bytes r takes in memory.
func (r *Row) Size() int {
	words := len(r.head)
	for i := range r.lists {
		words += cap(r.lists[i].buf)
	}
	return rowOverhead + 8*words + 32*len(r.strings) + 48*len(r.seen)
}

// rowOverhead is about what a Row takes beside its tiles.
const rowOverhead = 256

// BaseDirty reports whether the base has changed since the last Clean.
func (r *Row) BaseDirty() bool { return r.baseDirty }

// Clean notes that the row has been committed.
func (r *Row) Clean() { r.baseDirty = false }

// fold adds an event to every level of r, when the newest time of the shard is
// newest and its horizons are in cuts. It reports how many entries left early.
func (p *Plan) fold(r *Row, vals []Value, e *Event, newest int64, cuts []levelCut) (truncated int64) {
	traced := false
	for i := range p.levels {
		l := &p.levels[i]
		if newest >= int64(r.head[i]) {
			p.prune(r, l, cuts[i].horizon)
		}
		switch l.kind {
		case values:
			if e.Time > newest-l.late {
				truncated += p.foldValues(r, l, vals, e)
				traced = true
			}
		case ids:
			if id := vals[p.id]; e.Time > cuts[i].horizon && id.Kind != expr.Missing {
				truncated += p.foldID(r, l, id, e)
				traced = true
			}
		default:
			traced = p.foldTile(r, l, vals, e, cuts[i].horizon) || traced
		}
	}
	if traced {
		r.newest = max(r.newest, e.Time)
	} else if p.nothingLeft(r) {
		r.newest = NoTime
	}
	return truncated
}

func (p *Plan) nothingLeft(r *Row) bool {
	for i := range p.levels {
		if l := &p.levels[i]; l.hasTile() && r.head[l.head] != noTile {
			return false
		}
	}
	return !slices.ContainsFunc(r.lists, func(l list) bool { return len(l.words()) > 0 })
}

// foldTile adds an event to its tile, and reports false if that tile is dead.
func (p *Plan) foldTile(r *Row, l *level, vals []Value, e *Event, horizon int64) bool {
	tile := r.head[l.head : l.head+l.width : l.head+l.width]
	if l.kind == lifetime {
		tile[0] = 0
		p.addAll(r, l, tile, vals, e)
		return true
	}
	t := e.Time
	if l.kind == sliding {
		t-- // (start, start+hop]
	}
	if open := int64(tile[0]); tile[0] == noTile || t < open || t-open >= l.hop {
		start := floorTo(t, l.hop, l.offset)
		if start < horizon {
			return false
		}
		if tile[0] != noTile && start < open {
			p.addAll(r, l, p.closedTile(r, l, start), vals, e)
			return true
		}
		p.openTile(r, l, tile, start)
	}
	p.addAll(r, l, tile, vals, e)
	return true
}

// openTile closes the open tile, if there is one, and starts the one at start.
func (p *Plan) openTile(r *Row, l *level, tile []uint64, start int64) {
	if tile[0] != noTile {
		r.lists[l.list].append(tile)
		r.baseDirty = true
	}
	clear(tile)
	tile[0] = uint64(start)
	r.dueBy(l, start)
}

// closedTile finds or inserts the closed tile that starts at start.
func (p *Plan) closedTile(r *Row, l *level, start int64) []uint64 {
	closed := &r.lists[l.list]
	r.baseDirty = true
	at, found := searchTiles(closed.words(), l.width, start)
	if !found {
		closed.insert(at, make([]uint64, l.width))
		closed.words()[at] = uint64(start)
		r.dueBy(l, start)
	}
	return closed.words()[at : at+l.width]
}

// searchTiles returns the word at which the tile that starts at start is, or
// would be.
func searchTiles(words []uint64, width int, start int64) (int, bool) {
	lo, hi := 0, len(words)/width
	for lo < hi {
		mid := (lo + hi) / 2
		if int64(words[mid*width]) < start {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo * width, lo*width < len(words) && int64(words[lo*width]) == start
}

// addAll folds an event's inputs into a tile.
func (p *Plan) addAll(r *Row, l *level, tile []uint64, vals []Value, e *Event) {
	for i := range l.groups {
		g := &l.groups[i]
		if g.input == rowsInput {
			tile[g.n]++
			continue
		}
		v := &vals[g.input]
		switch {
		case v.Kind == expr.Missing, v.Kind == expr.Float && math.IsNaN(v.Float()):
		case v.Kind == expr.String:
			r.addString(g, tile, v.Str, e)
		default:
			g.add(tile, v.Bits, e.Time, uint64(e.Order))
		}
	}
}

// addString is add for strings. Each word of a tile owns its string, so that
// one that is replaced gives its place to the next.
func (r *Row) addString(g *group, t []uint64, s string, e *Event) {
	t[g.n]++
	stamp := [2]uint64{uint64(e.Time), uint64(e.Order)}
	if g.first != 0 && (t[g.n] == 1 || earlier(e.Time, stamp[1], t[g.first:])) {
		r.setString(t[g.first:], stamp, s, t[g.n] == 1)
	}
	if g.last != 0 && (t[g.n] == 1 || !earlier(e.Time, stamp[1], t[g.last:])) {
		r.setString(t[g.last:], stamp, s, t[g.n] == 1)
	}
}

func (r *Row) setString(t []uint64, stamp [2]uint64, s string, fresh bool) {
	t[0], t[1] = stamp[0], stamp[1]
	if fresh {
		t[2] = r.keep(s)
	} else if r.strings[t[2]] != s {
		r.strings[t[2]] = strings.Clone(s)
	}
}

// keep stores a copy of s and returns its index.
func (r *Row) keep(s string) uint64 {
	s = strings.Clone(s)
	if n := len(r.unused); n > 0 {
		i := r.unused[n-1]
		r.unused = r.unused[:n-1]
		r.strings[i] = s
		return uint64(i)
	}
	r.strings = append(r.strings, s)
	return uint64(len(r.strings) - 1)
}

func (r *Row) release(i uint64) {
	r.strings[i] = ""
	r.unused = append(r.unused, int(i))
}

// dueBy notes that the level now has a tile or entry of that start.
func (r *Row) dueBy(l *level, start int64) {
	r.head[l.index] = uint64(min(int64(r.head[l.index]), l.deadline(start)))
}

// prune drops from a level what its horizon has passed.
func (p *Plan) prune(r *Row, l *level, horizon int64) {
	if !l.hasTile() {
		horizon++ // an entry at the horizon itself is dead
	}
	closed := &r.lists[l.list]
	if w := closed.words(); len(w) > 0 && l.hasTile() && !l.strings {
		// The first is dead, or nothing would be due. It is not read: of many rows
		// its memory is cold, and nothing else needs it.
		n := l.width
		for n < len(w) && int64(w[n]) < horizon {
			n += l.width
		}
		closed.dropFront(n)
		r.baseDirty = true
	}
	for len(closed.words()) > 0 && int64(closed.words()[0]) < horizon {
		p.dropFront(r, l, closed)
		r.baseDirty = true
	}
	if !l.hasTile() {
		recent := &r.lists[l.list+1]
		for len(recent.words()) > 0 && int64(recent.words()[0]) < horizon {
			p.dropFront(r, l, recent)
		}
	} else if tile := r.head[l.head : l.head+l.width]; tile[0] != noTile && int64(tile[0]) < horizon {
		p.releaseTile(r, l, tile)
		clear(tile)
		tile[0] = noTile
	}
	p.setDue(r, l)
}

// setDue finds when the oldest tile or entry of a level dies.
func (p *Plan) setDue(r *Row, l *level) {
	r.head[l.index] = math.MaxInt64
	if closed := r.lists[l.list].words(); len(closed) > 0 {
		r.dueBy(l, int64(closed[0]))
	} else if l.hasTile() && r.head[l.head] != noTile {
		r.dueBy(l, int64(r.head[l.head]))
	} else if !l.hasTile() && len(r.lists[l.list+1].words()) > 0 {
		r.dueBy(l, int64(r.lists[l.list+1].words()[0]))
	}
}

// dropFront drops the first tile or entry of a list.
func (p *Plan) dropFront(r *Row, l *level, from *list) {
	w := from.words()[:l.width]
	switch l.kind {
	case ids:
		delete(r.seen, [2]uint64{w[1], w[2]})
	case values:
		for i := range l.groups {
			if l.groups[i].kind == expr.String && w[2]>>i&1 == 1 {
				r.release(w[entryKey+i])
			}
		}
	default:
		p.releaseTile(r, l, w)
	}
	from.dropFront(l.width)
}

func (p *Plan) releaseTile(r *Row, l *level, tile []uint64) {
	for i := range l.groups {
		g := &l.groups[i]
		if g.kind != expr.String || tile[g.n] == 0 {
			continue
		}
		if g.first != 0 {
			r.release(tile[g.first+2])
		}
		if g.last != 0 {
			r.release(tile[g.last+2])
		}
	}
}

// foldValues adds an event's inputs to an exact window.
func (p *Plan) foldValues(r *Row, l *level, vals []Value, e *Event) int64 {
	var buf [16]uint64
	entry := append(buf[:0], uint64(e.Time), uint64(e.Order), 0)
	for i := range l.groups {
		g := &l.groups[i]
		if g.input == rowsInput {
			entry = append(entry, 0)
			continue
		}
		v, w := &vals[g.input], uint64(0)
		if v.Kind != expr.Missing && (v.Kind != expr.Float || !math.IsNaN(v.Float())) {
			entry[2] |= 1 << i
			if w = v.Bits; v.Kind == expr.String {
				w = r.keep(v.Str)
			}
		}
		entry = append(entry, w)
	}
	return p.insert(r, l, entry)
}

// foldID remembers the id of an event.
func (p *Plan) foldID(r *Row, l *level, id Value, e *Event) int64 {
	h := idHash(id)
	p.seenIDs(r)[h] = e.Time
	return p.insert(r, l, []uint64{uint64(e.Time), h[0], h[1]})
}

func idHash(id Value) [2]uint64 {
	sum := sha256.Sum256([]byte(id.Text()))
	return [2]uint64{binary.LittleEndian.Uint64(sum[:]), binary.LittleEndian.Uint64(sum[8:])}
}

// seenIDs returns the ids in r with their event times.
func (p *Plan) seenIDs(r *Row) map[[2]uint64]int64 {
	if r.seen == nil {
		r.seen = map[[2]uint64]int64{}
		l := &p.levels[p.ids]
		for _, words := range [][]uint64{r.lists[l.list].words(), r.lists[l.list+1].words()} {
			for ; len(words) > 0; words = words[l.width:] {
				r.seen[[2]uint64{words[1], words[2]}] = int64(words[0])
			}
		}
	}
	return r.seen
}

// insert puts an entry in its place by (time, order), and drops the oldest
// where there are too many.
func (p *Plan) insert(r *Row, l *level, entry []uint64) (dropped int64) {
	r.dueBy(l, int64(entry[0]))
	closed, recent := &r.lists[l.list], &r.lists[l.list+1]
	if w := closed.words(); len(w) > 0 && compareEntries(entry, w[len(w)-l.width:]) < 0 {
		closed.insert(entryPlace(w, l.width, entry), entry)
		r.baseDirty = true
	} else {
		recent.insert(entryPlace(recent.words(), l.width, entry), entry)
	}
	if len(recent.words()) == recentEntries*l.width {
		closed.append(recent.words())
		recent.dropFront(len(recent.words()))
		r.baseDirty = true
	}
	if n := (len(closed.words()) + len(recent.words())) / l.width; n > l.max {
		if len(closed.words()) > 0 {
			p.dropFront(r, l, closed)
			r.baseDirty = true
		} else {
			p.dropFront(r, l, recent)
		}
		dropped = 1
	}
	return dropped
}

func compareEntries(a, b []uint64) int {
	if c := cmp.Compare(int64(a[0]), int64(b[0])); c != 0 {
		return c
	}
	return cmp.Compare(a[1], b[1])
}

// entryPlace returns the word before which entry belongs. Most entries are the
// newest, so it looks from the end.
func entryPlace(words []uint64, width int, entry []uint64) int {
	at := len(words)
	for at > 0 && compareEntries(entry, words[at-width:]) < 0 {
		at -= width
	}
	return at
}
