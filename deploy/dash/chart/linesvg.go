package chart

import (
	"math"
	"slices"
)

// kinds are the marks in the order of the legend, with the names they have there.
var kinds = []struct {
	kind  Kind
	class markup
	one   string
	more  string
}{
	{Onset, "m-onset", "alarm began", "alarms began"},
	{Over, "m-over", "alarm ended", "alarms ended"},
	{Change, "m-change", "change point", "change points"},
	{Version, "m-version", "other version", "other versions"},
	{Right, "m-right", "right", "right"},
	{Wrong, "m-wrong", "wrong", "wrong"},
	{Pending, "m-pending", "not known yet", "not known yet"},
}

// kindClass returns the class of a mark; one of no known kind is Pending's.
func kindClass(k Kind) markup {
	for _, known := range kinds {
		if known.kind == k {
			return known.class
		}
	}
	return "m-pending"
}

func (p *plot) keys() []key {
	var keys []key
	for _, s := range p.series {
		keys = append(keys, key{s.key(), s.name})
	}
	for _, l := range p.c.Levels {
		keys = append(keys, key{`<line class="level" x1="0" y1="7" x2="26" y2="7"/>`, l.Name})
	}
	for _, k := range kinds {
		if slices.ContainsFunc(p.marks, func(m Mark) bool { return kindClass(m.Kind) == k.class }) {
			keys = append(keys, key{markKey(k.class), k.one})
		}
	}
	return keys
}

func (s drawn) key() markup {
	switch {
	case s.area:
		return `<rect class="` + s.class + `" x="0" y="1" width="26" height="12"/>`
	case s.dots:
		return `<path class="dots ` + s.class + `" d="` + keyShape(s.class) + `"/>`
	}
	return `<line class="line ` + s.class + `" x1="0" y1="7" x2="26" y2="7"/>`
}

// svg writes what is in the drawing, from back to front.
func (p *plot) svg(out *page) {
	p.grid(out)
	for _, s := range p.series {
		p.area(out, s)
	}
	for _, l := range p.c.Levels {
		y := p.yAt(l.Y)
		out.line("level", p.left, y, p.right, y)
	}
	p.verticals(out)
	for _, s := range p.series {
		switch {
		case s.area:
		case s.dots:
			p.dots(out, s)
		default:
			p.path(out, s)
		}
	}
	p.standing(out)
}

func (p *plot) grid(out *page) {
	for _, t := range p.yTicks {
		y := p.y.at(t.at)
		out.line("grid", p.left, y, p.right, y)
		out.label("end", p.left-7, y+4, t.text)
	}
	for _, t := range p.xTicks {
		x := p.x.at(t.at)
		out.line("axis", x, p.bottom, x, p.bottom+5)
		out.label("mid", p.labelAt(x, t.text), p.bottom+18, t.text)
		if t.under != "" {
			out.label("mid", p.labelAt(x, t.under), p.bottom+33, t.under)
		}
	}
	out.line("axis", p.left, p.bottom, p.right, p.bottom)
	if p.c.Unit != "" {
		out.label("start", 2, 13, p.c.Unit)
	}
	switch {
	case p.c.Time:
		out.label("start", 2, p.bottom+33, "UTC")
	case p.c.XName != "":
		out.label("mid", (p.left+p.right)/2, p.bottom+33, p.c.XName)
	}
}

// labelAt moves a label in from the ends of the axis, where it would be cut.
func (p *plot) labelAt(x float64, text string) float64 {
	half := float64(len([]rune(text))) * 3.6
	return max(min(x, p.w-2-half), p.left-6+half)
}

// area draws a band, or the intervals of a line.
func (p *plot) area(out *page, s drawn) {
	if !s.bounds || s.dots {
		return
	}
	class := s.class
	if !s.area {
		class = "band " + s.class
	}
	out.put(`<path class="`, class, `" d="`)
	for _, run := range s.runs {
		for _, part := range bounded(run) {
			for i, q := range part {
				out.move(i == 0, p.x.at(q.x), p.yAt(q.hi))
			}
			for _, q := range slices.Backward(part) {
				out.move(false, p.x.at(q.x), p.yAt(q.lo))
			}
			out.put("Z")
		}
	}
	out.put(`"/>`)
}

// bounded cuts a run where there are no intervals.
func bounded(run []point) [][]point {
	var out [][]point
	from := 0
	for i := 0; i <= len(run); i++ {
		if i < len(run) && !math.IsNaN(run[i].lo) {
			continue
		}
		if i > from {
			out = append(out, run[from:i])
		}
		from = i + 1
	}
	return out
}

// move adds a step of a path.
func (p *page) move(first bool, x, y float64) {
	if first {
		p.put("M")
	} else {
		p.put("L")
	}
	p.num(x)
	p.put(" ")
	p.num(y)
}

// path draws a line. A run of one point is a line without length, which has round
// ends: a dot.
func (p *plot) path(out *page, s drawn) {
	dense := markup("")
	if len(s.points) > int(p.x.b-p.x.a) {
		dense = "dense "
	}
	out.put(`<path class="line `, dense, s.class, `" d="`)
	for _, run := range s.runs {
		for i, q := range run {
			x, y := p.x.at(q.x), p.yAt(q.y)
			if s.step && i > 0 {
				out.put("H")
				out.num(x)
				out.put("V")
				out.num(y)
				continue
			}
			out.move(i == 0, x, y)
		}
		if len(run) == 1 {
			out.put("h0")
		}
	}
	out.put(`"/>`)
}

// dots draws points that are not joined. Series with intervals are moved apart, so
// that those at the same X do not hide each other.
func (p *plot) dots(out *page, s drawn) {
	at := func(x float64) float64 { return p.x.at(x) + s.aside }
	if s.bounds {
		out.put(`<path class="bar `, s.class, `" d="`)
		for _, run := range s.runs {
			for _, q := range run {
				if !math.IsNaN(q.lo) {
					out.whisker(at(q.x), p.yAt(q.lo), p.yAt(q.hi))
				}
			}
		}
		out.put(`"/>`)
	}
	out.put(`<path class="dots `, s.class, `" d="`)
	for _, run := range s.runs {
		for _, q := range run {
			out.shape(s.class, at(q.x), p.yAt(q.y))
		}
	}
	out.put(`"/>`)
}

// whisker draws the interval of a point, with ends.
func (p *page) whisker(x, lo, hi float64) {
	p.move(true, x, lo)
	p.put("V")
	p.num(hi)
	for _, y := range []float64{lo, hi} {
		p.move(true, x-4, y)
		p.put("h8")
	}
}

// verticals draws the marks that stand at no value, and the names of versions where
// there is room.
func (p *plot) verticals(out *page) {
	free := p.left
	for _, m := range p.marks {
		if !math.IsNaN(m.Y) {
			continue
		}
		x := p.x.at(m.X)
		class := kindClass(m.Kind)
		out.line("rule "+class, x, p.top, x, p.bottom)
		if m.Kind != Version {
			out.put(`<path class="sign `, class, `" d="`)
			out.shape(class, x, p.top)
			out.put(`"/>`)
			continue
		}
		text := clean(m.Text, 16)
		if at := p.labelAt(x, text); at-float64(len([]rune(text)))*3.6 >= free {
			out.label("mid", at, p.top-6, text)
			free = at + float64(len([]rune(text)))*3.6 + 6
		}
	}
}

// standing draws the marks that stand at a value, one path for each kind.
func (p *plot) standing(out *page) {
	n := 0
	for _, m := range p.marks {
		if !math.IsNaN(m.Y) {
			n++
		}
	}
	shape := out.shape
	if n > manyMarks {
		shape = out.smallShape
	}
	for _, k := range kinds {
		open := false
		for _, m := range p.marks {
			if math.IsNaN(m.Y) || kindClass(m.Kind) != k.class {
				continue
			}
			if !open {
				out.put(`<path class="sign `, k.class, `" d="`)
				open = true
			}
			shape(k.class, p.x.at(m.X), p.yAt(m.Y))
		}
		if open {
			out.put(`"/>`)
		}
	}
}

func (p *plot) values() *values {
	v := &values{
		Time: p.c.Time, Log: p.c.Log, Unit: clean(p.c.Unit, MaxText), XName: clean(p.c.XName, MaxText),
		X: [2]float64{p.x.lo, p.x.hi}, Y: [2]float64{p.y.lo, p.y.hi},
		Plot:   [4]float64{round(p.left), p.top, p.right, p.bottom},
		Series: []valued{},
	}
	for _, s := range p.series {
		if s.runs != nil {
			v.Series = append(v.Series, s.values())
		}
	}
	for _, m := range p.marks {
		one := marked{X: m.X, Kind: m.Kind, Text: clean(m.Text, MaxText)}
		if y := null(m.Y); !math.IsNaN(m.Y) {
			one.Y = &y
		}
		v.Marks = append(v.Marks, one)
	}
	if v.Time {
		v.inUnits()
	}
	return v
}

// inUnits writes times as whole numbers of the longest unit that they all are
// multiples of, which takes a third of the bytes.
func (v *values) inUnits() {
	v.Per = 1
	for _, unit := range []float64{86400e6, 3600e6, 60e6, 1e6, 1e3} {
		if v.multiples(unit) {
			v.Per = unit
			break
		}
	}
	for _, s := range v.Series {
		for i := range s.X {
			s.X[i] /= v.Per
		}
	}
	for i := range v.Marks {
		v.Marks[i].X /= v.Per
	}
}

func (v *values) multiples(unit float64) bool {
	not := func(x float64) bool { return math.Mod(x, unit) != 0 }
	for _, s := range v.Series {
		if slices.ContainsFunc(s.X, not) {
			return false
		}
	}
	return !slices.ContainsFunc(v.Marks, func(m marked) bool { return not(m.X) })
}

func round(v float64) float64 { return math.Round(v*10) / 10 }

func (s drawn) values() valued {
	v := valued{Name: clean(s.name, MaxText), Class: string(s.class), Step: s.step}
	for _, run := range s.runs {
		for _, q := range run {
			v.X = append(v.X, q.x)
			if !s.area {
				v.Y = append(v.Y, null(q.y))
			}
			if s.bounds {
				v.Lo, v.Hi = append(v.Lo, null(q.lo)), append(v.Hi, null(q.hi))
			}
		}
	}
	return v
}
