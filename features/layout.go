package features

import (
	"slices"

	"github.com/millrace/millrace/features/expr"
)

// layout gives each feature its level, group and parts, shared where they are
// the same, and then every part its place.
func (c *compiler) layout() {
	p := c.plan
	for i, f := range p.View.Features {
		agg := &aggregations[slices.IndexFunc(aggregations, func(a aggregation) bool { return a.name == f.Agg })]
		l := c.level(f.Window)
		g := c.group(&p.levels[l], f.Of)
		for _, part := range agg.needs(&p.levels[l].groups[g]) {
			*part = 1 // wanted; place gives the offset
		}
		r := c.read(l, f.Window)
		p.reads[r].uses = append(p.reads[r].uses, use{output: i, group: g, agg: agg})
	}
	if p.Source.Dedup > 0 {
		p.ids = len(p.levels)
		p.levels = append(p.levels, level{kind: ids, span: p.Source.Dedup.Microseconds(), width: entryKey, max: maxIDs})
	}
	p.headSize = len(p.levels) // when each level's oldest tile dies
	for i := range p.levels {
		p.levels[i].index = i
		p.place(&p.levels[i])
		p.accWidth = max(p.accWidth, p.levels[i].accWidth())
	}
	p.horizon = p.lateHorizon()
}

// level finds or adds the level for a window.
func (c *compiler) level(w Window) int {
	p := c.plan
	want := level{hop: w.Hop.Microseconds(), span: w.Size.Microseconds()}
	switch {
	case w.Kind == Lifetime:
		want = level{kind: lifetime}
	case w.Kind == Tumbling:
		want = level{kind: tumbling, hop: w.Size.Microseconds(), offset: w.Offset.Microseconds()}
	case w.Exact:
		size := w.Size.Microseconds()
		want = level{kind: values, span: size + p.lateness, late: max(size, p.lateness), max: w.MaxValues}
	}
	for i := range p.levels {
		l := &p.levels[i]
		if l.kind != want.kind || l.hop != want.hop || l.offset != want.offset || l.max != want.max {
			continue
		}
		if l.kind == sliding || l.span == want.span {
			l.span = max(l.span, want.span)
			return i
		}
	}
	p.levels = append(p.levels, want)
	return len(p.levels) - 1
}

func (c *compiler) group(l *level, of string) int {
	g := group{input: rowsInput, kind: expr.Int}
	if of != "*" {
		g.input = slices.IndexFunc(c.vars, func(x expr.Variable) bool { return x.Name == of })
		g.kind = c.vars[g.input].Kind
	}
	for i := range l.groups {
		if l.groups[i].input == g.input {
			return i
		}
	}
	l.groups = append(l.groups, g)
	return len(l.groups) - 1
}

func (c *compiler) read(l int, w Window) int {
	p := c.plan
	w.MaxValues = 0 // the level's
	for i := range p.reads {
		if p.reads[i].level == l && p.reads[i].window == w {
			return i
		}
	}
	p.reads = append(p.reads, read{level: l, window: w, size: w.Size.Microseconds()})
	return len(p.reads) - 1
}

// place gives each part of a level's tile its offset, and the level its place
// in the row.
func (p *Plan) place(l *level) {
	width := 1 // the tile's start
	for i := range l.groups {
		g := &l.groups[i]
		l.strings = l.strings || g.kind == expr.String
		g.n = width
		width++
		for _, part := range []*int{&g.sum, &g.moments, &g.min, &g.max, &g.first, &g.last} {
			if *part != 0 {
				*part = width
				width += g.partWidth(part)
			}
		}
	}
	switch l.kind {
	case values:
		l.width = entryKey + len(l.groups)
		l.list = p.lists
		p.lists += 2 // closed, then recent
	case ids:
		l.list = p.lists
		p.lists += 2
	default:
		l.width = width
		l.head = p.headSize
		p.headSize += width
		l.list = p.lists
		p.lists++
	}
}

// accWidth is the number of words that a merge of level l's groups needs.
func (l *level) accWidth() int {
	if l.kind != values {
		return l.width
	}
	last := &l.groups[len(l.groups)-1]
	width := last.n + 1
	for _, part := range []*int{&last.sum, &last.moments, &last.min, &last.max, &last.first, &last.last} {
		if *part != 0 {
			width = *part + last.partWidth(part)
		}
	}
	return width
}

// lateHorizon is how far behind the newest time an event may be and still
// count: the longest window and its hop, or the source's lateness. A lifetime
// takes any event.
func (p *Plan) lateHorizon() int64 {
	h := p.lateness
	for i := range p.levels {
		l := &p.levels[i]
		switch l.kind {
		case lifetime:
			return 0
		case sliding:
			h = max(h, l.span+l.hop)
		case tumbling:
			h = max(h, 2*l.hop) // the last closed window while the next is open
		case values:
			h = max(h, l.late)
		}
	}
	return h
}

// sizes refuses views whose rows could become too large.
func (c *compiler) sizes() {
	p := c.plan
	path := []string{"views", p.View.Name, "features"}
	bytes := 0
	for i := range p.levels {
		l := &p.levels[i]
		if l.kind == values && len(l.groups) > maxInputs {
			c.fault(path, "the exact windows of %s look at %d fields and derivations; at most %d", span(l.span-p.lateness), len(l.groups), maxInputs)
		}
		bytes += 8 * l.width * l.most()
	}
	if bytes > maxRowBytes {
		c.fault(path, "a row could have %d MB, at most %d: use longer hops, a smaller max_values, or several views", bytes>>20, maxRowBytes>>20)
	}
}

// most is how many tiles or entries of a level a row can have.
func (l *level) most() int {
	switch l.kind {
	case sliding:
		return int(l.span/l.hop) + 2
	case tumbling:
		return 3
	case lifetime:
		return 1
	}
	return l.max
}
