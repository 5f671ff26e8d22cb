package monitor

import (
	"math/rand/v2"
	"slices"
)

// A drawing puts stretches together from the slots of a bank's pool: a circular
// block bootstrap (Politis & Romano 1992) with whole units of time, gaps included.
// The same seed and number give the same places in pools of one size, so that
// banks over the same reference see the same stretch.
type drawing struct {
	rng   *rand.Rand
	pool  []*slot
	block int
	start int
	left  int
}

func newDrawing(pool []*slot, block int, seed, number uint64) *drawing {
	d := &drawing{rng: rand.New(rand.NewPCG(seed, number)), pool: pool, block: min(block, len(pool))}
	d.start, d.left = d.rng.IntN(len(pool)), 1+d.rng.IntN(d.block) // the first is cut: looks come at any place of a block
	return d
}

func (d *drawing) next() *slot {
	if d.left == 0 {
		d.start, d.left = d.rng.IntN(len(d.pool)), d.block
	}
	s := d.pool[d.start]
	d.left--
	if d.start++; d.start == len(d.pool) {
		d.start = 0
	}
	return s
}

// stretch runs a stretch through b, which must be a rehearsal: a reference anew,
// then a window, then the looks, each with what look does.
//
// What comes later differs from the reference by chance, and so would another
// reference. So the reference is drawn too, its own distances are measured anew,
// and the stretch is put together from another part of the pool than it: what
// comes has not been seen either. Without the three, stable worlds whose hours
// hang together raised several times the alarms that were stated; with them they
// raise about those. The reference then stays what it was drawn to be, as the
// stretch's part is too small to make one of.
func (b *bank) stretch(seed, number uint64, look func(at int) (goOn bool)) {
	first, rest := b.parts(seed, number)
	reference := newDrawing(first, b.setting.block, seed, 3*number)
	for i := range b.drawn {
		b.drawn[i] = reference.next()
	}
	b.measureOwn(b.drawn)
	b.clear()
	if b.frozen = false; b.fixed == nil {
		for _, s := range b.drawn {
			b.push(s)
		}
		for range b.setting.window {
			b.push(nil)
		}
	}
	b.frozen = true
	stable := newDrawing(rest, b.setting.block, seed, 3*number+1)
	for at := 1 - b.setting.window; at < b.setting.looks; at++ {
		s := stable.next()
		b.push(s)
		if at >= 0 && s != nil && !look(at) {
			return
		}
	}
}

// parts cuts the pool, turned by chance, into what a reference is drawn from, four
// fifths, and what comes after it: a block at least.
func (b *bank) parts(seed, number uint64) (first, rest []*slot) {
	n := len(b.pool)
	turn := rand.New(rand.NewPCG(seed, 3*number+2)).IntN(n)
	b.turned = append(append(b.turned[:0], b.pool[turn:]...), b.pool[:turn]...)
	cut := n - max(min(b.setting.block, n/2), n/5)
	return b.turned[:cut], b.turned[cut:]
}

// measureOwn sets own, and the fixed counts, from a reference. Its windows begin
// every part of a window, so that few sums make all of them.
func (b *bank) measureOwn(reference []*slot) {
	if b.layout.cells == 0 {
		return
	}
	perWindow, cells := partsOf(b.setting.window), b.layout.cells
	size := b.setting.window / perWindow
	parts := b.sums(reference, size)
	total, now := make([]float64, cells), make([]float64, cells)
	for at := range len(parts) / cells {
		addTo(total, parts[at*cells:])
	}
	copy(b.fixed, total)
	clear(b.own)
	n := 0.0
	for at := 0; at+perWindow <= len(reference)/size; at++ {
		clear(now)
		for i := range perWindow {
			addTo(now, parts[(at+i)*cells:])
		}
		n++
		for i := range b.own {
			in := b.layout.of(i, now)
			if part, ok := thin(sum(in), b.least[i]); ok {
				b.own[i] += b.setting.distance.atMost(b.layout.of(i, total), in, b.layout.columns[i].text) * part
			}
		}
	}
	for i := range b.own {
		b.own[i] = max(b.own[i]/n, b.setting.distance.least())
	}
}

// sums returns the cells of each so many slots, one after another; the last may be
// of fewer.
func (b *bank) sums(slots []*slot, size int) []float64 {
	cells := b.layout.cells
	sums := make([]float64, (len(slots)+size-1)/size*cells)
	for at, s := range slots {
		if s != nil {
			from := at / size * cells
			add(sums[from:from+cells], s.cells, 1)
		}
	}
	return sums
}

// partsOf returns the least number of equal parts, three at least, that a window
// can be cut into.
func partsOf(window int) int {
	for n := 3; n < window; n++ {
		if window%n == 0 {
			return n
		}
	}
	return window
}

func addTo(sum, x []float64) {
	x = x[:len(sum)]
	for i := range sum {
		sum[i] += x[i]
	}
}

// rehearsal returns a bank of the same monitors, scales and pool that has seen
// nothing.
func (b *bank) rehearsal() *bank {
	r := *b
	if b.fixed != nil {
		r.fixed = make([]float64, len(b.fixed))
	}
	r.own, r.drawn = make([]float64, len(b.own)), make([]*slot, len(b.pool))
	r.begin()
	r.idle = make([]bool, len(r.series))
	for i := range r.idle {
		r.idle[i] = !slices.ContainsFunc(r.pool, func(s *slot) bool { return s != nil && s.means[i] == s.means[i] })
	}
	return &r
}
