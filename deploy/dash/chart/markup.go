package chart

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// markup is written as it stands. Only constants have this type, so that a string
// from outside gets into a page through text and nowhere else.
type markup string

// A page is HTML that is being written.
type page struct{ b strings.Builder }

func (p *page) put(parts ...markup) {
	for _, m := range parts {
		p.b.WriteString(string(m))
	}
}

// text writes what people named, as text or within a quoted attribute.
func (p *page) text(s string) { p.b.WriteString(template.HTMLEscapeString(clean(s, MaxText))) }

// long is text for sentences of our own making, which hold texts that are cleaned.
func (p *page) long(s string) { p.b.WriteString(template.HTMLEscapeString(s)) }

// num writes a coordinate.
func (p *page) num(v float64) {
	if !(math.Abs(v) < 1e6) {
		panic(fmt.Sprintf("chart: coordinate %v: a scale has let through what is missing", v))
	}
	r := math.Round(v*10) / 10
	if r == 0 {
		r = 0 // not -0
	}
	p.b.WriteString(strconv.FormatFloat(r, 'f', -1, 64))
}

// attr writes a numeric attribute: name="v".
func (p *page) attr(name markup, v float64) {
	p.put(" ", name, `="`)
	p.num(v)
	p.put(`"`)
}

// line writes a line from one point to another.
func (p *page) line(class markup, x1, y1, x2, y2 float64) {
	p.put(`<line class="`, class, `"`)
	p.attr("x1", x1)
	p.attr("y1", y1)
	p.attr("x2", x2)
	p.attr("y2", y2)
	p.put("/>")
}

// label writes a text at a point; class says how it is anchored.
func (p *page) label(class markup, x, y float64, s string) {
	p.put(`<text class="`, class, `"`)
	p.attr("x", x)
	p.attr("y", y)
	p.put(">")
	p.text(s)
	p.put("</text>")
}

// rect writes a rectangle.
func (p *page) rect(class markup, x, y, w, h float64) {
	p.put(`<rect class="`, class, `"`)
	p.attr("x", x)
	p.attr("y", y)
	p.attr("width", max(w, 0))
	p.attr("height", max(h, 0))
	p.put("/>")
}

func (p *page) html() template.HTML { return template.HTML(p.b.String()) }

// clean returns a text of at most limit letters on one line: valid UTF-8, without
// control characters and without those that turn the direction of what follows.
func clean(s string, limit int) string {
	if len(s) > 8*limit {
		s = s[:8*limit] // before anything walks over it
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return '\uFFFD'
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			return ' '
		case r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069':
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	runes := []rune(s)
	return string(runes[:limit-1]) + "…"
}
