package chart

// shape adds the shape of a class around a point to a path: what tells series and
// marks apart without colour.
func (p *page) shape(class markup, x, y float64) {
	p.move(true, x, y)
	p.put(shapeOf(class))
}

// manyMarks is from how many on marks that stand at a value are drawn small.
const manyMarks = 120

// smallShape is shape for marks of which there are many.
func (p *page) smallShape(class markup, x, y float64) {
	p.move(true, x, y)
	if class == "m-wrong" {
		p.put("m-2.5 -2.5l5 5m0 -5l-5 5")
		return
	}
	p.put("m-2 0a2 2 0 1 0 4 0a2 2 0 1 0 -4 0z")
}

// shapeOf returns the path of a shape from its middle. Those that are open are told
// from the filled ones by the style sheet, by their class.
func shapeOf(class markup) markup {
	switch class {
	case "c2", "c8", "bad": // square
		return "m-4 -4h8v8h-8z"
	case "c3": // triangle up
		return "m0 -5l5 9h-10z"
	case "c4", "m-change": // diamond
		return "m0 -6l5.5 6l-5.5 6l-5.5 -6z"
	case "c5": // triangle down
		return "m0 5l5 -9h-10z"
	case "c6": // plus
		return "m-5 0h10m-5 -5v10"
	case "m-onset", "m-over": // a flag that points down at the axis
		return "m0 7l6 -11h-12z"
	case "m-wrong": // cross
		return "m-4 -4l8 8m0 -8l-8 8"
	}
	return "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z" // circle
}

func keyShape(class markup) markup { return "M13 7" + shapeOf(class) }

func markKey(class markup) markup {
	if class == "m-version" {
		return `<line class="rule m-version" x1="13" y1="0" x2="13" y2="14"/>`
	}
	return `<path class="sign ` + class + `" d="` + keyShape(class) + `"/>`
}
