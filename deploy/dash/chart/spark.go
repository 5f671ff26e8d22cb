package chart

import (
	"html/template"
	"math"
)

const sparkWidth, sparkHeight = 120, 28

func (c Spark) draw() template.HTML {
	xs := make([]float64, len(c.Y))
	for i := range xs {
		xs[i] = float64(i)
	}
	everywhere := func(float64) bool { return true }
	d := drawn{class: "c1", points: pointsOf(xs, c.Y, nil, nil, everywhere, Line{}.value)}
	if c.Alarm {
		d.class = "bad"
	}
	var ys span
	var last float64
	for _, q := range d.points {
		ys.add(q.y)
		if !math.IsNaN(q.y) {
			last = q.y
		}
	}
	var out page
	title := clean(c.Title, MaxText)
	if !ys.any {
		out.put(`<span class="spark-empty">no values</span>`)
		return out.html()
	}
	unit := ""
	if c.Unit != "" {
		unit = " " + clean(c.Unit, MaxText)
	}
	lo, hi := spread(ys.lo, ys.hi, false)
	p := plot{x: scale{lo: 0, hi: max(1, float64(len(xs)-1)), a: 3, b: sparkWidth - 4}, y: scale{lo: lo, hi: hi, a: sparkHeight - 3, b: 3}, top: 3, bottom: sparkHeight - 3}
	d.runs = sample(runs(d.points, 0), p.x, false)
	out.put(`<svg class="spark" viewBox="0 0 120 28" role="img"><title>`)
	out.long(title + ": last " + Number(last) + unit + ", least " + Number(ys.lo) + ", greatest " + Number(ys.hi))
	out.put(`</title>`)
	p.path(&out, d)
	end := d.runs[len(d.runs)-1]
	q := end[len(end)-1]
	out.put(`<circle class="dots `, d.class, `"`)
	out.attr("cx", p.x.at(q.x))
	out.attr("cy", p.yAt(q.y))
	out.put(` r="2.5"/></svg>`)
	return out.html()
}
