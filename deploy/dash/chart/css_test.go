package chart

import (
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const styleSheet = "../static/chart.css"

func readStyles(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(styleSheet)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var properties = regexp.MustCompile(`--chart-([a-z0-9]+): #([0-9a-f]{6});`)

// colours returns the custom properties of light, and of dark.
func colours(t *testing.T) [2]map[string]float64 {
	t.Helper()
	light, dark, ok := strings.Cut(readStyles(t), "@media (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("no colours for dark")
	}
	var out [2]map[string]float64
	for i, part := range []string{light, dark} {
		out[i] = map[string]float64{}
		for _, m := range properties.FindAllStringSubmatch(part, -1) {
			out[i][m[1]] = luminance(t, m[2])
		}
	}
	return out
}

// luminance is WCAG's relative luminance of a colour.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	n, err := strconv.ParseUint(hex, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	channel := func(shift int) float64 {
		c := float64(n>>shift&255) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*channel(16) + 0.7152*channel(8) + 0.0722*channel(0)
}

func contrast(a, b float64) float64 { return (max(a, b) + 0.05) / (min(a, b) + 0.05) }

// TestContrast: what carries meaning has 3:1 against the grounds that charts stand
// on, and text has 4.5:1.
func TestContrast(t *testing.T) {
	for i, theme := range colours(t) {
		grounds := []float64{theme["ground"], luminance(t, [2]string{"f4f6f8", "10141a"}[i])} // a panel, and the page
		least := map[string]float64{"ink": 4.5, "soft": 4.5, "axis": 3, "muted": 3, "good": 3, "bad": 3}
		for n := range auto {
			least[strconv.Itoa(n+1)] = 3
		}
		for name, want := range least {
			colour, ok := theme[name]
			if !ok {
				t.Errorf("theme %d has no --chart-%s", i, name)
			}
			for _, ground := range grounds {
				if got := contrast(colour, ground); got < want {
					t.Errorf("theme %d: --chart-%s has %.2f:1, want %v:1", i, name, got, want)
				}
			}
		}
	}
}

// TestEveryClassHasARule: what is drawn without a rule would be black, in dark too.
func TestEveryClassHasARule(t *testing.T) {
	ruled := map[string]bool{}
	for _, m := range regexp.MustCompile(`\.([a-z][a-z0-9-]*)`).FindAllStringSubmatch(readStyles(t), -1) {
		ruled[m[1]] = true
	}
	line := Line{Title: "all", XName: "x"}
	for i := range len(auto) {
		for _, dots := range []bool{false, true} {
			line.Series = append(line.Series[:min(len(line.Series), MaxSeries-1)], Series{Name: "s", X: []float64{1, 2}, Y: []float64{1, float64(i)}, Dots: dots})
		}
	}
	for _, k := range kinds {
		line.Marks = append(line.Marks, Mark{1, none, k.kind, ""}, Mark{1, 1, k.kind, ""})
	}
	all := examples()
	all["all"] = line.HTML()
	for name, html := range all {
		for _, e := range checkMarkup(t, html) {
			for _, class := range strings.Fields(e.attrs["class"]) {
				if class != "chart-values" && !ruled[class] {
					t.Errorf("%s: class %s has no rule in %s", name, class, styleSheet)
				}
			}
		}
	}
}

// TestSeriesDifferByMoreThanColour: each series has its own dash as a line, and its
// own shape, or the same shape hollow, as dots.
func TestSeriesDifferByMoreThanColour(t *testing.T) {
	css := readStyles(t)
	dashes, shapes := map[string]bool{}, map[string]bool{}
	for _, class := range auto {
		rule := regexp.MustCompile(`(?m)^\.` + string(class) + ` \{(.*)\}$`).FindStringSubmatch(css)
		if rule == nil {
			t.Fatalf("no rule for .%s", class)
		}
		_, dash, _ := strings.Cut(rule[1], "--chart-dash:")
		shape := string(shapeOf(class))
		if strings.Contains(css, ".dots."+string(class)+",") {
			shape += " hollow"
		}
		if dashes[dash] || shapes[shape] {
			t.Errorf(".%s has the dash %q or the shape %q of another", class, dash, shape)
		}
		dashes[dash], shapes[shape] = true, true
	}
}
