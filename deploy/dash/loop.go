package dash

import "fmt"

// The picture of the loop is drawn twice, for wide and for narrow pages; the style
// sheet shows one of them. Sizes are in units of the drawing.
const (
	nodeWide, nodeHigh = 204, 86
	besideGap          = 40 // between two nodes of a row
	aboveGap           = 52 // between two rows
	narrowWide         = 158
	narrowGap          = 44
	narrowAbove        = 22
)

// steps are the nodes of the loop, in its order.
var steps = []struct{ key, name, href string }{
	{"events", "Events", "/ui/views"},
	{"features", "Features", "/ui/features"},
	{"predictions", "Predictions", "/ui/predictions"},
	{"outcomes", "Outcomes", "/ui/predictions"},
	{"examples", "Examples", "/ui/predictions"},
	{"training", "Training", "/ui/models"},
	{"gate", "Gate", "/ui/models"},
	{"review", "Review", "/ui/models?state=review"},
	{"rollout", "Rollout", "/ui/models"},
	{"serving", "Serving", "/ui/models"},
}

// A picture is the loop as it is drawn.
type picture struct {
	ID          string
	Wide, High  int
	NodeWide    int
	NodeHigh    int
	Nodes       []node
	Edges       []string // paths
	Description string
}

// A node is a step of the loop.
type node struct {
	Key, Name, Href  string
	X, Y             int
	Main, Sub, Level string
}

// pictureOf draws the loop: there and back in two rows, or narrow in two columns.
func pictureOf(s *state, narrow bool) picture {
	p := picture{
		ID: "loop-wide", Wide: 5*nodeWide + 4*besideGap, High: 2*nodeHigh + aboveGap, NodeWide: nodeWide, NodeHigh: nodeHigh,
		Description: "Events become features, features predictions. Outcomes of predictions make examples, of which training makes candidates. They pass the gate, a person's review and the rollout, and serve: they answer the next predictions.",
	}
	if narrow {
		p.ID, p.Wide, p.High, p.NodeWide = "loop-narrow", 2*narrowWide+narrowGap, 5*nodeHigh+4*narrowAbove, narrowWide
	}
	for i, step := range steps {
		along, back := i, 0 // how far from the start, and which row
		if i > 4 {
			along, back = 9-i, 1
		}
		n := node{step.key, step.name, step.href, along * (nodeWide + besideGap), back * (nodeHigh + aboveGap), s.Figures[step.key+".main"], s.Figures[step.key+".sub"], s.Levels[step.key]}
		if narrow {
			n.X, n.Y = back*(narrowWide+narrowGap), along*(nodeHigh+narrowAbove)
		}
		p.Nodes = append(p.Nodes, n)
	}
	for i := range len(p.Nodes) - 1 {
		p.Edges = append(p.Edges, p.edge(&p.Nodes[i], &p.Nodes[i+1]))
	}
	p.Edges = append(p.Edges, p.answers(narrow))
	return p
}

// edge is the path from a node to its neighbour.
func (p *picture) edge(a, b *node) string {
	midX, midY := p.NodeWide/2, p.NodeHigh/2
	switch {
	case b.X > a.X:
		return fmt.Sprintf("M%d %dH%d", a.X+p.NodeWide, a.Y+midY, b.X-1)
	case b.X < a.X:
		return fmt.Sprintf("M%d %dH%d", a.X, a.Y+midY, b.X+p.NodeWide+1)
	case b.Y > a.Y:
		return fmt.Sprintf("M%d %dV%d", a.X+midX, a.Y+p.NodeHigh, b.Y-1)
	}
	return fmt.Sprintf("M%d %dV%d", a.X+midX, a.Y, b.Y+p.NodeHigh+1)
}

// answers is the path that closes the loop: from serving to predictions, through
// the gap between the rows.
func (p *picture) answers(narrow bool) string {
	from, to := &p.Nodes[len(p.Nodes)-1], &p.Nodes[2]
	const round = 8
	if narrow {
		x := from.X - narrowGap/2
		return fmt.Sprintf("M%d %dH%dq%d 0 %d %dV%dq0 %d %d %dH%d", from.X, from.Y+p.NodeHigh/2, x+round, -round, -round, round,
			to.Y+p.NodeHigh/2-round, round, -round, round, to.X+p.NodeWide+1)
	}
	y := from.Y - aboveGap/2
	return fmt.Sprintf("M%d %dV%dq0 %d %d %dH%dq%d 0 %d %dV%d", from.X+p.NodeWide/2, from.Y, y+round, -round, round, -round,
		to.X+p.NodeWide/2-round, round, round, -round, to.Y+p.NodeHigh+1)
}

// Outer and OuterHigh are the drawing with room for the strokes at its edge.
func (p picture) Outer() int     { return p.Wide + 4 }
func (p picture) OuterHigh() int { return p.High + 4 }

// Where a node's lines of text are.
func (n node) TextX() int { return n.X + 12 }
func (n node) NameY() int { return n.Y + 22 }
func (n node) MainY() int { return n.Y + 49 }
func (n node) SubY() int  { return n.Y + 72 }
