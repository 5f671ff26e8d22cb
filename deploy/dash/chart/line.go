package chart

import (
	"html/template"
	"math"
	"slices"
	"strconv"
)

// A drawn is one series or band, ready to draw.
type drawn struct {
	name   string
	class  markup
	points []point   // all within the range of X
	runs   [][]point // what is drawn of them
	area   bool      // a band: Lo and Hi only
	dots   bool
	step   bool
	bounds bool    // has intervals
	aside  float64 // how far dots are moved
}

// A plot is a Line that is being drawn.
type plot struct {
	c      Line
	series []drawn
	marks  []Mark // within the range of X, by X
	x, y   scale
	xTicks []tick
	yTicks []tick
	w, h   float64

	left, top, right, bottom float64

	notes []string // what was left out
}

var sizes = map[Size]struct {
	class markup
	w, h  float64
	xMost int // ticks
}{
	Medium: {"chart-m", 560, 270, 7},
	Wide:   {"chart-w", 1040, 310, 12},
	Small:  {"chart-s", 340, 230, 4},
}

var auto = [...]markup{"c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"}

func (c Line) draw() template.HTML {
	if _, ok := sizes[c.Size]; !ok {
		c.Size = Medium
	}
	p := plot{c: c, w: sizes[c.Size].w, h: sizes[c.Size].h}
	f := figure{title: c.Title, unit: c.subtitle(), class: sizes[c.Size].class, width: p.w, height: p.h}
	p.gather()
	if !p.fit() {
		f.empty = emptyText(c.Empty)
		return f.html()
	}
	f.keys = p.keys()
	f.values = p.values()
	f.table = p.table()
	f.desc = p.gist()
	f.body = p.svg
	return f.html()
}

func (c Line) subtitle() string {
	switch {
	case c.Time && c.Unit == "":
		return "times in UTC"
	case c.Time:
		return c.Unit + ", times in UTC"
	}
	return c.Unit
}

// value is v, or missing where the axis has no place for it.
func (c Line) value(v float64) float64 {
	if missing(v) || c.Log && v <= 0 {
		return none
	}
	return v
}

// keep says whether an X is within the range.
func (c Line) keep(x float64) bool {
	if c.Time && math.Abs(x) > maxTime {
		return false
	}
	return !c.ranged() || x >= c.From && x <= c.To
}

// ranged says whether the range of X is given, and is one.
func (c Line) ranged() bool {
	if c.From == 0 && c.To == 0 || missing(c.From) || missing(c.To) {
		return false
	}
	return c.From <= c.To && !(c.Time && max(-c.From, c.To) > maxTime)
}

// gather takes what is drawn out of what was given.
func (p *plot) gather() {
	c := p.c
	for i, b := range first(c.Bands, MaxSeries, "bands", p) {
		p.series = append(p.series, drawn{
			name: b.Name, class: markup("band") + " " + bandClass(i), area: true, bounds: true,
			points: middles(pointsOf(b.X, b.Lo, b.Lo, b.Hi, c.keep, c.value)),
		})
	}
	next := 0
	for _, s := range first(c.Series, MaxSeries, "series", p) {
		d := drawn{name: s.Name, dots: s.Dots, step: s.Step, class: toneClass(s.Tone, &next)}
		d.points = pointsOf(s.X, s.Y, s.Lo, s.Hi, c.keep, c.value)
		d.bounds = slices.ContainsFunc(d.points, func(q point) bool { return !math.IsNaN(q.lo) })
		p.series = append(p.series, d)
	}
	p.asides()
	p.c.Levels = nil
	for _, l := range first(c.Levels, MaxSeries, "levels", p) {
		if !math.IsNaN(c.value(l.Y)) {
			p.c.Levels = append(p.c.Levels, l)
		}
	}
	for _, m := range c.Marks {
		if !missing(m.X) && c.keep(m.X) {
			m.Y = c.value(m.Y)
			p.marks = append(p.marks, m)
		}
	}
	slices.SortStableFunc(p.marks, func(a, b Mark) int { return compare(a.X, b.X) })
	if over := len(p.marks) - MaxMarks; over > 0 {
		p.notes = append(p.notes, plural(over, "earlier mark is", "earlier marks are")+" not shown")
		p.marks = p.marks[over:]
	}
}

// asides moves series of dots with intervals apart.
func (p *plot) asides() {
	const apart = 9
	n := 0
	for _, s := range p.series {
		if s.dots && s.bounds {
			n++
		}
	}
	next := -float64(n-1) / 2 * apart
	for i := range p.series {
		if s := &p.series[i]; s.dots && s.bounds {
			s.aside = next
			next += apart
		}
	}
}

// first returns at most limit of what was given, and notes how many it left out.
func first[T any](all []T, limit int, what string, p *plot) []T {
	if len(all) <= limit {
		return all
	}
	p.notes = append(p.notes, strconv.Itoa(len(all)-limit)+" more "+what+" are not shown")
	return all[:limit]
}

func bandClass(i int) markup { return auto[i%len(auto)] }

func toneClass(t Tone, next *int) markup {
	switch t {
	case Muted:
		return "muted"
	case Good:
		return "good"
	case Bad:
		return "bad"
	}
	class := auto[*next%len(auto)]
	*next++
	return class
}

// middles gives a band's points a Y, by which it is cut into runs.
func middles(points []point) []point {
	for i := range points {
		points[i].y = points[i].lo/2 + points[i].hi/2
	}
	return points
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(strconv.Itoa(n)) + " " + more
}

// fit finds axes and scales. It returns false where there is nothing to draw.
func (p *plot) fit() bool {
	var xs, ys span
	for _, s := range p.series {
		for _, q := range s.points {
			if math.IsNaN(q.y) {
				continue
			}
			xs.add(q.x)
			if s.area {
				ys.add(q.lo)
				ys.add(q.hi)
			} else {
				ys.add(q.y)
			}
		}
		if s.bounds && !s.area {
			addBounds(&ys, s.points)
		}
	}
	for _, m := range p.marks {
		if !math.IsNaN(m.Y) {
			xs.add(m.X)
			ys.add(m.Y)
		}
	}
	if !ys.any {
		return false
	}
	for _, m := range p.marks {
		xs.add(m.X)
	}
	for _, l := range p.c.Levels {
		ys.add(l.Y)
	}
	if p.c.Zero && !p.c.Log {
		ys.add(0)
	}
	p.axes(xs, ys)
	for i := range p.series {
		s := &p.series[i]
		s.runs = sample(runs(s.points, p.c.Gap), p.x, s.area)
	}
	return true
}

// addBounds widens an axis to the intervals of a series; of many, the widest twentieth
// at each end may be cut, which are those of the first few rows.
func addBounds(ys *span, points []point) {
	var lo, hi []float64
	for _, q := range points {
		if !math.IsNaN(q.lo) {
			lo, hi = append(lo, q.lo), append(hi, q.hi)
		}
	}
	if len(lo) == 0 {
		return
	}
	slices.Sort(lo)
	slices.Sort(hi)
	cut := 0
	if len(lo) > 20 {
		cut = len(lo) / 20
	}
	ys.add(lo[cut])
	ys.add(hi[len(hi)-1-cut])
}

func (p *plot) axes(xs, ys span) {
	most := 5
	if p.c.Log {
		p.yTicks = logTicks(ys.lo, ys.hi, most)
	} else {
		p.yTicks = linearTicks(ys.lo, ys.hi, most, false)
	}
	longest := 4
	for _, t := range p.yTicks {
		longest = max(longest, len([]rune(t.text)))
	}
	p.left, p.top = 14+float64(longest)*7.2, 26
	p.right, p.bottom = p.w-12, p.h-38
	p.y = scale{p.yTicks[0].at, p.yTicks[len(p.yTicks)-1].at, p.bottom, p.top, p.c.Log}
	p.x = scale{a: p.left, b: p.right}
	p.x.lo, p.x.hi = p.rangeX(xs)
	p.xTicks = p.ticksX()
}

// rangeX returns the range of X: the given one, or that of the data.
func (p *plot) rangeX(xs span) (lo, hi float64) {
	lo, hi = xs.lo, xs.hi
	if p.c.ranged() {
		lo, hi = p.c.From, p.c.To
	}
	switch {
	case p.c.Time && hi-lo < 1000:
		return lo - 5e5, hi + 5e5 // a second
	case p.c.Time:
		return lo, hi
	}
	lo, hi = spread(lo, hi, p.c.Whole)
	if p.c.Whole {
		return lo - 0.5, hi + 0.5
	}
	return lo, hi
}

func (p *plot) ticksX() []tick {
	most := sizes[p.c.Size].xMost
	if p.c.Time {
		return timeTicks(p.x.lo, p.x.hi, most)
	}
	all := linearTicks(p.x.lo, p.x.hi, most, p.c.Whole)
	return slices.DeleteFunc(all, func(t tick) bool { return t.at < p.x.lo || t.at > p.x.hi })
}

// yAt is where a value is drawn: what is beyond the axis at its end.
func (p *plot) yAt(v float64) float64 {
	return min(max(p.y.at(v), p.top), p.bottom)
}
