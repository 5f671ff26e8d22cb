package dash

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// faultsOf says what is wrong with a page, as a reader with a keyboard, a screen
// reader or the page's policy would find it.
func faultsOf(text string) (faults []string) {
	doc, err := html.Parse(strings.NewReader(text))
	if err != nil {
		return []string{err.Error()}
	}
	p := inspected{ids: map[string]int{}, labels: map[string]bool{}, count: map[string]int{}}
	p.walk(doc, nil)
	for id, n := range p.ids {
		if n > 1 {
			p.fault("id %q is there %d times", id, n)
		}
	}
	for _, id := range p.named {
		if !p.labels[id] {
			p.fault("field %q has no label", id)
		}
	}
	for _, id := range p.refers {
		if p.ids[id] == 0 {
			p.fault("%q is referred to and not there", id)
		}
	}
	for _, tag := range []string{"h1", "main", "title"} {
		if p.count[tag] != 1 {
			p.fault("%d times <%s>", p.count[tag], tag)
		}
	}
	return p.faults
}

type inspected struct {
	ids           map[string]int
	labels        map[string]bool
	count         map[string]int
	named, refers []string // fields by id, and ids that something refers to
	level         int      // of the last heading
	faults        []string
}

func (p *inspected) fault(format string, args ...any) {
	p.faults = append(p.faults, fmt.Sprintf(format, args...))
}

func attr(n *html.Node, name string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

func (p *inspected) walk(n *html.Node, path []string) {
	if n.Type == html.ElementNode {
		path = append(path, n.Data)
		p.element(n, path)
	}
	for c := range n.ChildNodes() {
		p.walk(c, path)
	}
}

func (p *inspected) element(n *html.Node, path []string) {
	svg := n.Namespace == "svg"
	if n.Data != "title" || !svg {
		p.count[n.Data]++
	}
	for _, a := range n.Attr {
		if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
			p.fault("<%s %s=%q>: the policy refuses it", n.Data, a.Key, a.Val)
		}
		if a.Key == "src" || a.Key == "href" || a.Key == "action" || a.Key == "formaction" {
			if !strings.HasPrefix(a.Val, "/ui/") && !strings.HasPrefix(a.Val, "#") && !strings.HasPrefix(a.Val, "?") {
				p.fault("<%s %s=%q> leads elsewhere", n.Data, a.Key, a.Val)
			}
		}
		for _, name := range []string{"aria-labelledby", "aria-describedby", "aria-controls", "list"} {
			if a.Key == name {
				p.refers = append(p.refers, strings.Fields(a.Val)...)
			}
		}
	}
	if id, ok := attr(n, "id"); ok {
		p.ids[id]++
	}
	switch n.Data {
	case "style":
		p.fault("<style>: the policy refuses it")
	case "script":
		if kind, _ := attr(n, "type"); kind != "application/json" && n.FirstChild != nil {
			p.fault("a script in the page: the policy refuses it")
		}
	case "label":
		if id, ok := attr(n, "for"); ok {
			p.labels[id] = true
			p.refers = append(p.refers, id)
		}
	case "input", "select", "textarea":
		p.field(n, path)
	case "button":
		if strings.TrimSpace(textOf(n)) == "" {
			p.fault("a button without a name")
		}
	case "a":
		if _, ok := attr(n, "href"); !ok || strings.TrimSpace(textOf(n)) == "" {
			p.fault("a link without a name or address: %q", textOf(n))
		}
	case "th":
		if scope, _ := attr(n, "scope"); scope != "col" && scope != "row" {
			p.fault("<th> without scope: %q", textOf(n))
		}
	case "table":
		if !strings.Contains(render(n), "<th scope=\"col\"") {
			p.fault("a table without headers: %.100q", textOf(n))
		}
	case "h1", "h2", "h3", "h4":
		level := int(n.Data[1] - '0')
		if level > p.level+1 {
			p.fault("<%s> %q after <h%d>", n.Data, textOf(n), p.level)
		}
		p.level = level
	}
}

func (p *inspected) field(n *html.Node, path []string) {
	if kind, _ := attr(n, "type"); kind == "hidden" {
		return
	}
	if label, _ := attr(n, "aria-label"); label != "" {
		return
	}
	for _, tag := range path {
		if tag == "label" {
			return
		}
	}
	id, ok := attr(n, "id")
	if !ok {
		name, _ := attr(n, "name")
		p.fault("field %q has neither label nor id", name)
		return
	}
	p.named = append(p.named, id)
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return b.String()
}

func render(n *html.Node) string {
	var b strings.Builder
	_ = html.Render(&b, n)
	return b.String()
}

// fine fails where a page is not as it should be.
func fine(t *testing.T, path, text string) {
	t.Helper()
	for _, f := range faultsOf(text) {
		t.Errorf("GET %s: %s", path, f)
	}
	if strings.Contains(text, hostile) || strings.Contains(text, "<script>") {
		t.Errorf("GET %s: a text is not escaped", path)
	}
	if strings.Contains(text, "ZgotmplZ") {
		t.Errorf("GET %s: a value was refused where it stands", path)
	}
}

func TestFaultsAreFound(t *testing.T) {
	const begin, end = `<!doctype html><title>x</title><main><h1>x</h1>`, `</main>`
	if faults := faultsOf(begin + `<label for="a">A</label><input id="a"><table><tr><th scope="col">b</th></tr></table>` + end); faults != nil {
		t.Errorf("a good page: %q", faults)
	}
	for _, bad := range []string{
		`<p id="a"><p id="a">`, `<input>`, `<input id="a">`, `<p style="a">`, `<p onclick="a">`, `<style></style>`, `<script>a</script>`, `<a href="https://example.com">x</a>`,
		`<a href="/ui/"></a>`, `<button></button>`, `<table><tr><td>a</td></tr></table>`, `<table><tr><th>a</th></tr></table>`, `<h3>a</h3>`, `<h1>a</h1>`, `<p aria-labelledby="b">`, `<img src="//example.com/a">`,
	} {
		if faultsOf(begin+bad+end) == nil {
			t.Errorf("nothing is found wrong with %s", bad)
		}
	}
}
