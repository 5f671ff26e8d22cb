package chart

import (
	"html/template"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Charts whose rows have a label are drawn from top to bottom, so that labels are
// read without turning and the drawing fits on a small screen.
const (
	rowsWidth  = 340
	labelRunes = 22  // of a label at most; the table has all of it
	letter     = 8.4 // about the width of one; capitals are wider
)

// rows is what the charts by row share.
type rows struct {
	title, unit, desc string
	labels            []string
	x                 scale
	ticks             []tick
	height            float64 // of one row
	of                int
}

// newRows lays out rows with these labels over values from lo to hi.
func newRows(labels []string, lo, hi, height float64) rows {
	longest := 6
	for i, label := range labels {
		labels[i] = clean(label, labelRunes)
		longest = max(longest, utf8.RuneCountInString(labels[i]))
	}
	ticks := linearTicks(lo, hi, 4, false)
	r := rows{labels: labels, height: height, ticks: ticks}
	r.x = scale{lo: ticks[0].at, hi: ticks[len(ticks)-1].at, a: 8 + letter*float64(longest), b: rowsWidth - 16}
	return r
}

func (r rows) bottom() float64 { return 8 + r.height*float64(len(r.labels)) }

func (r rows) frame(p *page) {
	for _, t := range r.ticks {
		x := r.x.at(t.at)
		p.line("grid", x, 4, x, r.bottom())
		p.label("mid", min(x, rowsWidth-2-float64(len([]rune(t.text)))*3.6), r.bottom()+16, t.text)
	}
	if r.unit != "" {
		p.label("mid", (r.x.a+r.x.b)/2, r.bottom()+32, r.unit)
	}
	for i, label := range r.labels {
		p.label("end", r.x.a-6, r.middle(i)+4, label)
	}
}

func (r rows) middle(i int) float64 { return 8 + r.height*(float64(i)+0.5) }

func (r rows) figure(t table) figure {
	return figure{
		title: r.title, unit: r.unit, desc: r.desc, class: "chart-r",
		width: rowsWidth, height: r.bottom() + 38, table: t,
	}
}

func (r rows) more() string {
	if r.of > len(r.labels) {
		return plural(r.of-len(r.labels), "row is", "rows are") + " not shown"
	}
	return ""
}

func (c Bars) draw() template.HTML {
	var ys span
	shown := c.Bars[:min(len(c.Bars), MaxBars)]
	var labels []string
	for _, b := range shown {
		labels = append(labels, b.Label)
		ys.add(b.Reference)
		ys.add(b.Now)
	}
	if !ys.any {
		return figure{title: c.Title, unit: c.Unit, class: "chart-r", empty: emptyText(c.Empty)}.html()
	}
	r := newRows(labels, min(ys.lo, 0), max(ys.hi, 0), 26)
	r.title, r.unit, r.of = c.Title, c.Unit, len(c.Bars)
	t := table{head: []string{"Bin", c.Reference, c.Now}, of: len(c.Bars)}
	widest, apart := 0, 0.0
	for i, b := range shown {
		t.rows = append(t.rows, []string{b.Label, Number(b.Reference), Number(b.Now)})
		if d := math.Abs(b.Now - b.Reference); d > apart {
			widest, apart = i, d
		}
	}
	gist := "The same in all bins"
	if apart > 0 {
		b := shown[widest]
		gist = "Farthest apart at " + clean(b.Label, MaxText) + ": " + clean(c.Reference, MaxText) + " " + Number(b.Reference) +
			", " + clean(c.Now, MaxText) + " " + Number(b.Now)
	}
	r.desc = sentences(clean(c.Desc, MaxDesc), gist, r.more())
	f := r.figure(t)
	f.keys = []key{
		{`<rect class="bar-reference" x="1" y="1" width="24" height="12"/>`, c.Reference},
		{`<rect class="bar-now" x="1" y="1" width="24" height="12"/>`, c.Now},
	}
	f.body = func(p *page) {
		r.frame(p)
		for i, b := range shown {
			p.bar("bar-reference", r, b.Reference, r.middle(i)-10, 9)
			p.bar("bar-now", r, b.Now, r.middle(i)+1, 9)
		}
		p.line("axis", r.x.at(0), 4, r.x.at(0), r.bottom())
	}
	return f.html()
}

// bar draws from 0 to v.
func (p *page) bar(class markup, r rows, v, y, height float64) {
	if missing(v) {
		return
	}
	a, b := r.x.at(min(v, 0)), r.x.at(max(v, 0))
	p.rect(class, a, y, b-a, height)
}

func (c Intervals) draw() template.HTML {
	var ys span
	shown := c.Rows[:min(len(c.Rows), MaxBars)]
	var labels []string
	for _, row := range shown {
		labels = append(labels, row.Label)
		ys.add(row.Y)
		if !missing(row.Lo) && !missing(row.Hi) {
			ys.add(row.Lo)
			ys.add(row.Hi)
		}
	}
	if !ys.any {
		return figure{title: c.Title, unit: c.Unit, class: "chart-r", empty: emptyText(c.Empty)}.html()
	}
	ys.add(c.At)
	r := newRows(labels, ys.lo, ys.hi, 24)
	r.title, r.unit, r.of = c.Title, c.Unit, len(c.Rows)
	t := table{head: []string{"Row", "Value", "Low", "High", "Note"}, of: len(c.Rows)}
	var words []string
	for i, row := range shown {
		t.rows = append(t.rows, []string{row.Label, Number(row.Y), Number(row.Lo), Number(row.Hi), row.Note})
		if i < 3 {
			words = append(words, clean(row.Label, MaxText)+": "+interval(row.Y, row.Lo, row.Hi))
		}
	}
	r.desc = sentences(append(append([]string{clean(c.Desc, MaxDesc)}, words...), r.more())...)
	f := r.figure(t)
	if !missing(c.At) && c.AtName != "" {
		f.keys = []key{{`<line class="at" x1="13" y1="0" x2="13" y2="14"/>`, c.AtName}}
	}
	f.body = func(p *page) {
		r.frame(p)
		if !missing(c.At) {
			p.line("at", r.x.at(c.At), 4, r.x.at(c.At), r.bottom())
		}
		for i, row := range shown {
			p.interval(r, row, r.middle(i))
		}
	}
	return f.html()
}

func (p *page) interval(r rows, row Interval, y float64) {
	if missing(row.Y) {
		return
	}
	next := 0
	class := toneClass(row.Tone, &next)
	if !missing(row.Lo) && !missing(row.Hi) {
		p.put(`<path class="bar `, class, `" d="`)
		lo, hi := r.x.at(row.Lo), r.x.at(row.Hi)
		p.move(true, lo, y)
		p.put("H")
		p.num(hi)
		for _, x := range []float64{lo, hi} {
			p.move(true, x, y-4)
			p.put("v8")
		}
		p.put(`"/>`)
	}
	p.put(`<path class="dots `, class, `" d="`)
	p.shape(class, r.x.at(row.Y), y)
	p.put(`"/>`)
}

// Range names a bin of numbers above lo and up to hi, either of which may be
// infinite.
func Range(lo, hi float64) string {
	low, from := justBelow(lo)
	high, below := justBelow(hi)
	switch {
	case math.IsInf(lo, -1) && math.IsInf(hi, 1):
		return "all"
	case math.IsInf(lo, -1) && below:
		return "< " + short(high)
	case math.IsInf(lo, -1):
		return "≤ " + short(high)
	case math.IsInf(hi, 1) && from:
		return "≥ " + short(low)
	case math.IsInf(hi, 1):
		return "> " + short(low)
	case math.Nextafter(lo, hi) == hi:
		return short(high)
	}
	return short(low) + " – " + short(high)
}

// justBelow returns an edge as people know it: a bin of one value alone begins at the
// number just below it, as -4.94e-324 is below 0.
func justBelow(edge float64) (known float64, below bool) {
	next := math.Nextafter(edge, math.Inf(1)) + 0 // not -0
	if len(strconv.FormatFloat(next, 'g', -1, 64))+4 < len(strconv.FormatFloat(edge, 'g', -1, 64)) {
		return next, true
	}
	return edge, false
}

// short is a number of three digits, for labels.
func short(v float64) string {
	a := math.Abs(v)
	if missing(v) || a != 0 && (a < 1e-3 || a >= 1e6) {
		return signed(strings.Replace(strconv.FormatFloat(v, 'g', 3, 64), "e+0", "e", 1))
	}
	if a >= 1000 {
		return thousands(strconv.FormatFloat(v, 'f', 0, 64))
	}
	return signed(strconv.FormatFloat(v, 'g', 3, 64))
}
