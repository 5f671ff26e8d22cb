package chart

import (
	"encoding/json"
	"html/template"
	"strconv"
	"strings"
)

// A figure is what all charts share: a caption, a legend, the drawing in a region
// that scrolls, its values for scripts, and its table.
type figure struct {
	title, unit string
	desc        string // gist included
	empty       string // instead of all below
	class       markup // size
	keys        []key
	width       float64
	height      float64
	body        func(*page)
	values      *values
	table       table
}

// A key is one line of a legend.
type key struct {
	shape markup // svg of 26 by 14
	name  string
}

// A table is a chart's values as text. Rows beyond MaxTable were left out at its
// beginning.
type table struct {
	head []string
	rows [][]string
	of   int // rows that there are
}

// values is what static/chart.js reads: where the axes are, and the points that are
// drawn.
type values struct {
	Time   bool       `json:"time"`
	Per    float64    `json:"per,omitempty"` // of times: each X is so many of these microseconds
	Log    bool       `json:"log"`
	Unit   string     `json:"unit,omitempty"`
	XName  string     `json:"xname,omitempty"`
	X      [2]float64 `json:"x"`
	Y      [2]float64 `json:"y"`
	Plot   [4]float64 `json:"plot"` // left, top, right, bottom
	Series []valued   `json:"series"`
	Marks  []marked   `json:"marks,omitempty"`
}

// A valued is one series or band. Step says that its value holds until the next.
type valued struct {
	Name  string    `json:"name"`
	Class string    `json:"class"`
	Step  bool      `json:"step,omitempty"`
	X     []float64 `json:"x"`
	Y     []null    `json:"y,omitempty"`
	Lo    []null    `json:"lo,omitempty"`
	Hi    []null    `json:"hi,omitempty"`
}

type marked struct {
	X    float64 `json:"x"`
	Y    *null   `json:"y,omitempty"`
	Kind Kind    `json:"kind"`
	Text string  `json:"text"`
}

// A null is a number that JSON has no word for where it is missing.
type null float64

// MarshalJSON writes null for a missing value.
func (n null) MarshalJSON() ([]byte, error) {
	if missing(float64(n)) {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, float64(n), 'g', 7, 64), nil
}

func (f figure) html() template.HTML {
	var p page
	p.put(`<figure class="chart `, f.class, `"`)
	if f.values != nil {
		p.put(` data-chart=""`)
	}
	p.put(`>`)
	p.caption(f.title, f.unit)
	if f.empty != "" {
		p.put(`<p class="chart-empty">`)
		p.long(f.empty)
		p.put(`</p></figure>`)
		return p.html()
	}
	p.legend(f.keys)
	p.drawing(f)
	p.data(f.title, f.table)
	if f.values != nil {
		text, err := json.Marshal(f.values)
		if err != nil {
			panic("chart: values: " + err.Error()) // all numbers are finite or null
		}
		p.put(`<script type="application/json" class="chart-values">`)
		p.b.Write(text) // json.Marshal escapes <, > and &
		p.put(`</script>`)
	}
	p.put(`</figure>`)
	return p.html()
}

func (p *page) caption(title, unit string) {
	p.put(`<figcaption class="chart-caption"><span class="chart-title">`)
	p.text(title)
	p.put(`</span>`)
	if unit != "" {
		p.put(` <span class="chart-unit">`)
		p.text(unit)
		p.put(`</span>`)
	}
	p.put(`</figcaption>`)
}

func (p *page) legend(keys []key) {
	if len(keys) == 0 {
		return
	}
	p.put(`<ul class="chart-legend">`)
	for _, k := range keys {
		p.put(`<li><svg class="chart-key" viewBox="0 0 26 14" aria-hidden="true">`, k.shape, `</svg>`)
		p.text(k.name)
		p.put(`</li>`)
	}
	p.put(`</ul>`)
}

func (p *page) drawing(f figure) {
	p.put(`<div class="chart-scroll" tabindex="0" role="group" aria-label="`)
	p.text("Chart: " + f.title)
	p.put(`"><svg class="chart-svg" viewBox="0 0 `)
	p.num(f.width)
	p.put(` `)
	p.num(f.height)
	p.put(`" role="img"><title>`)
	p.text(f.title)
	p.put(`</title><desc>`)
	p.long(f.desc)
	p.put(`</desc>`)
	f.body(p)
	p.put(`</svg></div>`)
}

func (p *page) data(title string, t table) {
	p.put(`<details class="chart-data"><summary>Values as a table</summary>`)
	p.put(`<div class="chart-scroll" tabindex="0" role="group" aria-label="`)
	p.text("Values: " + title)
	p.put(`"><table><caption>`)
	p.text(title)
	if t.of > len(t.rows) {
		p.long(": the last " + strconv.Itoa(len(t.rows)) + " of " + thousands(strconv.Itoa(t.of)) + " rows")
	}
	p.put(`</caption><thead><tr>`)
	for _, h := range t.head {
		p.put(`<th scope="col">`)
		p.text(h)
		p.put(`</th>`)
	}
	p.put(`</tr></thead><tbody>`)
	for _, row := range t.rows {
		p.put(`<tr>`)
		for i, cell := range row {
			if i == 0 {
				p.put(`<th scope="row">`)
				p.text(cell)
				p.put(`</th>`)
				continue
			}
			p.put(`<td>`)
			p.text(cell)
			p.put(`</td>`)
		}
		p.put(`</tr>`)
	}
	p.put(`</tbody></table></div></details>`)
}

// emptyText is what stands where there is nothing to draw.
func emptyText(s string) string {
	if s = clean(s, MaxDesc); s != "" {
		return s
	}
	return "No values yet."
}

// sentences joins what is not empty; each part ends with a full stop.
func sentences(parts ...string) string {
	var out []string
	for _, s := range parts {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		if !strings.HasSuffix(s, ".") {
			s += "."
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// interval writes a value with its bounds.
func interval(y, lo, hi float64) string {
	if missing(lo) || missing(hi) {
		return Number(y)
	}
	return Number(y) + " (" + Number(lo) + " to " + Number(hi) + ")"
}
