package chart

import (
	"html/template"
	"math"
	"strconv"
)

const (
	squareWidth, squareHeight = 340, 330
)

func (c Calibration) draw() template.HTML {
	shown := c.Points[:min(len(c.Points), MaxBars)]
	var both span
	most := int64(1)
	for _, q := range shown {
		if !q.any() {
			continue
		}
		for _, v := range []float64{q.Score, q.Label, q.Lo, q.Hi} {
			both.add(v)
		}
		most = max(most, q.Rows)
	}
	f := figure{title: c.Title, class: "chart-s", width: squareWidth, height: squareHeight}
	if !both.any {
		f.empty = emptyText(c.Empty)
		return f.html()
	}
	// Both axes are the same, from 0 where that is near.
	if both.lo > 0 && both.lo < both.hi/2 {
		both.lo = 0
	}
	ticks := linearTicks(both.lo, both.hi, 4, false)
	lo, hi := ticks[0].at, ticks[len(ticks)-1].at
	p := plot{w: squareWidth, h: squareHeight, left: 52, top: 24, right: squareWidth - 14, bottom: squareHeight - 40}
	p.x, p.y = scale{lo: lo, hi: hi, a: p.left, b: p.right}, scale{lo: lo, hi: hi, a: p.bottom, b: p.top}
	p.xTicks, p.yTicks = ticks, ticks
	p.c = Line{Unit: "came true, share", XName: "predicted, mean score"}
	f.desc = sentences(clean(c.Desc, MaxDesc), c.gist(shown))
	f.keys = []key{
		{`<path class="bar c1" d="M13 0v14M9 0h8M9 14h8"/><path class="dots c1" d="M13 7` + shapeOf("c1") + `"/>`, "what came true, with its interval; larger: more rows"},
		{`<line class="line muted" x1="0" y1="7" x2="26" y2="7"/>`, "as predicted"},
	}
	f.table = c.table(shown)
	f.values = c.values(p, shown)
	f.body = func(out *page) {
		p.grid(out)
		out.line("line muted", p.left, p.bottom, p.right, p.top)
		for _, q := range shown {
			out.calibrated(p, q, most)
		}
	}
	return f.html()
}

// any says whether a point can be drawn.
func (q CalibrationPoint) any() bool { return !missing(q.Score) && !missing(q.Label) }

func (p *page) calibrated(of plot, q CalibrationPoint, most int64) {
	if !q.any() {
		return
	}
	x := of.x.at(q.Score)
	if !missing(q.Lo) && !missing(q.Hi) {
		p.put(`<path class="bar c1" d="`)
		p.whisker(x, of.yAt(q.Lo), of.yAt(q.Hi))
		p.put(`"/>`)
	}
	p.put(`<circle class="dots c1"`)
	p.attr("cx", x)
	p.attr("cy", of.yAt(q.Label))
	p.attr("r", 2.5+5*math.Sqrt(float64(max(q.Rows, 0))/float64(most)))
	p.put(`/>`)
}

func (c Calibration) gist(shown []CalibrationPoint) string {
	worst, apart, n := CalibrationPoint{}, -1.0, 0
	for _, q := range shown {
		if !q.any() {
			continue
		}
		n++
		if d := math.Abs(q.Score - q.Label); d > apart {
			worst, apart = q, d
		}
	}
	return plural(n, "group", "groups") + " of predictions by score; farthest from the diagonal: predicted " +
		Number(worst.Score) + ", came true " + interval(worst.Label, worst.Lo, worst.Hi)
}

func (c Calibration) table(shown []CalibrationPoint) table {
	t := table{head: []string{"Mean score", "Came true", "Low", "High", "Rows"}, of: len(c.Points)}
	for _, q := range shown {
		t.rows = append(t.rows, []string{
			Number(q.Score), Number(q.Label), Number(q.Lo), Number(q.Hi), thousands(strconv.FormatInt(q.Rows, 10)),
		})
	}
	return t
}

func (c Calibration) values(p plot, shown []CalibrationPoint) *values {
	v := valued{Name: "came true", Class: "c1"}
	for _, q := range shown {
		if q.any() {
			v.X, v.Y = append(v.X, q.Score), append(v.Y, null(q.Label))
			v.Lo, v.Hi = append(v.Lo, null(q.Lo)), append(v.Hi, null(q.Hi))
		}
	}
	return &values{
		XName: p.c.XName, X: [2]float64{p.x.lo, p.x.hi}, Y: [2]float64{p.y.lo, p.y.hi},
		Plot: [4]float64{p.left, p.top, p.right, p.bottom}, Series: []valued{v},
	}
}
