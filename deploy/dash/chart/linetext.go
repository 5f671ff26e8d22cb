package chart

import (
	"math"
	"slices"
	"sort"
	"strings"
)

// table returns the newest rows: one for each X of series, bands and marks.
func (p *plot) table() table {
	xs := p.rowsOf()
	t := table{of: len(xs)}
	xs = xs[max(0, len(xs)-MaxTable):]
	at := func(x float64) string { return Number(x) }
	switch {
	case p.c.Time:
		at = clockFor(xs).text
		t.head = []string{"Time (UTC)"}
	case p.c.XName != "":
		t.head = []string{p.c.XName}
	default:
		t.head = []string{"At"}
	}
	for _, s := range p.series {
		t.head = append(t.head, s.name)
	}
	if len(p.marks) > 0 {
		t.head = append(t.head, "Marks")
	}
	for _, x := range xs {
		row := []string{at(x)}
		for _, s := range p.series {
			row = append(row, s.cell(x))
		}
		if len(p.marks) > 0 {
			row = append(row, p.marksAt(x))
		}
		t.rows = append(t.rows, row)
	}
	return t
}

func (p *plot) rowsOf() []float64 {
	var xs []float64
	for _, s := range p.series {
		for _, q := range s.points {
			xs = append(xs, q.x)
		}
	}
	for _, m := range p.marks {
		xs = append(xs, m.X)
	}
	slices.Sort(xs)
	return slices.Compact(xs)
}

func (s drawn) cell(x float64) string {
	i := sort.Search(len(s.points), func(i int) bool { return s.points[i].x >= x })
	if i == len(s.points) || s.points[i].x != x {
		return ""
	}
	q := s.points[i]
	if s.area && !math.IsNaN(q.lo) {
		return Number(q.lo) + " to " + Number(q.hi)
	}
	return interval(q.y, q.lo, q.hi)
}

// marksAt returns what happened at x, at most five texts.
func (p *plot) marksAt(x float64) string {
	i := sort.Search(len(p.marks), func(i int) bool { return p.marks[i].X >= x })
	var texts []string
	for ; i < len(p.marks) && p.marks[i].X == x; i++ {
		if len(texts) == 5 {
			return strings.Join(texts, "; ") + "; more"
		}
		texts = append(texts, markText(p.marks[i]))
	}
	return strings.Join(texts, "; ")
}

func markText(m Mark) string {
	class := kindClass(m.Kind)
	for _, k := range kinds {
		if k.class == class && m.Text == "" {
			return k.one
		} else if k.class == class {
			return k.one + ": " + clean(m.Text, MaxText)
		}
	}
	return ""
}

// gist says in words what the drawing shows.
func (p *plot) gist() string {
	parts := []string{clean(p.c.Desc, MaxDesc)}
	at := func(x float64) string { return " at " + Number(x) }
	if p.c.Time {
		c := clockFor([]float64{p.x.lo, p.x.hi})
		at = func(x float64) string { return " on " + c.text(x) + " UTC" }
		parts = append(parts, "From "+c.text(p.x.lo)+" to "+c.text(p.x.hi)+" UTC")
	}
	for i, s := range p.series {
		if i == 4 {
			break
		}
		parts = append(parts, s.gist(at))
	}
	for _, l := range p.c.Levels {
		parts = append(parts, clean(l.Name, MaxText)+": "+Number(l.Y))
	}
	for _, k := range kinds {
		n := 0
		for _, m := range p.marks {
			if kindClass(m.Kind) == k.class {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, plural(n, k.one, k.more))
		}
	}
	return sentences(append(parts, p.notes...)...)
}

func (s drawn) gist(at func(float64) string) string {
	var last, least, most *point
	for i := range s.points {
		q := &s.points[i]
		if math.IsNaN(q.y) {
			continue
		}
		if least == nil || q.y < least.y {
			least = q
		}
		if most == nil || q.y > most.y {
			most = q
		}
		last = q
	}
	name := clean(s.name, MaxText)
	switch {
	case last == nil:
		return name + ": no values"
	case s.area:
		return name + ": last " + Number(last.lo) + " to " + Number(last.hi)
	}
	return name + ": last " + interval(last.y, last.lo, last.hi) + at(last.x) +
		", least " + Number(least.y) + at(least.x) + ", greatest " + Number(most.y) + at(most.x)
}
