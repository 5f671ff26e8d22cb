package chart

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"html/template"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

var day0 = float64(time.Date(2008, 10, 1, 0, 0, 0, 0, time.UTC).UnixMicro())

const aDay = 86400e6

// examples are small charts of each kind.
func examples() map[string]template.HTML {
	nan := math.NaN()
	x := []float64{day0, day0 + aDay, day0 + 2*aDay, day0 + 3*aDay, day0 + 4*aDay, day0 + 5*aDay}
	return map[string]template.HTML{
		"line": Line{
			Title: "Mean of prices.change", Desc: "By day.", Unit: "%", Time: true, Size: Small,
			Series: []Series{{Name: "mean", X: x, Y: []float64{1, 2, nan, 4, nan, 3}}, {Name: "base", X: x[:2], Y: []float64{2, 2}, Tone: Muted, Step: true}},
			Bands:  []Band{{"mean ± std", x, []float64{0, 1, 1, 2, nan, 2}, []float64{2, 3, 3, 6, nan, 4}}},
			Levels: []Level{{"threshold", 5}},
			Marks:  []Mark{{x[3], nan, Onset, "three times the year before"}, {x[1], nan, Version, "v2"}, {x[0], 1, Right, "0.61"}, {x[5], 3, Wrong, ""}},
		}.HTML(),
		"dots": Line{
			Title: "Log loss", Unit: "nats", XName: "version", Whole: true, Size: Small,
			Series: []Series{{Name: "candidates", Dots: true, X: []float64{1, 2, 3}, Y: []float64{0.69, 0.68, 0.685}, Lo: []float64{0.68, 0.67, nan}, Hi: []float64{0.7, 0.69, nan}}},
		}.HTML(),
		"bars": Bars{
			Title: "Now against training", Unit: "share", Reference: "training", Now: "last 30 days",
			Bars: []Bar{{Range(math.Inf(-1), 0.5), 0.5, 0.25}, {Range(0.5, math.Inf(1)), 0.5, 0.7}, {"(missing)", 0, 0.05}, {"never", nan, nan}},
		}.HTML(),
		"intervals": Intervals{
			Title: "Gain by slice", Unit: "nats", At: 0, AtName: "no difference",
			Rows: []Interval{{Label: "all", Y: 0.01, Lo: 0.002, Hi: 0.018, Tone: Good, Note: "900 rows"}, {Label: "sector=energy", Y: -0.01, Lo: nan, Hi: nan}},
		}.HTML(),
		"calibration": Calibration{
			Title:  "Calibration of version 2",
			Points: []CalibrationPoint{{100, 0.45, 0.4, 0.3, 0.5}, {400, 0.52, 0.55, 0.5, 0.6}, {0, nan, nan, nan, nan}},
		}.HTML(),
		"spark": Spark{Title: "prices.change", Unit: "%", Y: []float64{1, 3, nan, 2, 2}, Alarm: true}.HTML(),
		"empty": Line{Title: "Quality", Empty: "No label has come yet."}.HTML(),
	}
}

func TestGolden(t *testing.T) {
	for name, got := range examples() {
		file := filepath.Join("testdata", name+".golden.html")
		text := strings.ReplaceAll(string(got), "><", ">\n<") + "\n"
		if *update {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(want) != text {
			t.Errorf("%s differs from %s; look at it, and run with -update if it is right:\n%s", name, file, text)
		}
		checkMarkup(t, got)
	}
}

// An element is a start tag that checkMarkup has seen.
type element struct {
	name  string
	attrs map[string]string
}

// checkMarkup holds what is true of everything that the package writes: it is well
// formed, has no style and no script that runs, no number that is none, and its
// coordinates are within the drawing. It returns all elements.
func checkMarkup(t *testing.T, html template.HTML) []element {
	t.Helper()
	var all []element
	d := xml.NewDecoder(strings.NewReader(string(html)))
	d.Strict = true
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("not well formed: %v\n%s", err, html)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		e := element{start.Name.Local, map[string]string{}}
		for _, a := range start.Attr {
			e.attrs[a.Name.Local] = a.Value
		}
		checkElement(t, e, html)
		all = append(all, e)
	}
}

// noNumber is what NaN, infinities and exponents have in them, and paths do not.
const noNumber = "NIen"

func checkElement(t *testing.T, e element, html template.HTML) {
	t.Helper()
	if e.name == "script" && e.attrs["type"] != "application/json" || e.name == "style" {
		t.Fatalf("a %s of type %q\n%s", e.name, e.attrs["type"], html)
	}
	for name, value := range e.attrs {
		switch {
		case name == "style" || name == "fill" || name == "stroke" || strings.HasPrefix(name, "on"):
			t.Fatalf("%s has %s=%q\n%s", e.name, name, value, html)
		case strings.Contains("x y x1 x2 y1 y2 cx cy r width height d viewBox", name) && strings.ContainsAny(value, noNumber):
			t.Fatalf("%s has %s=%q\n%s", e.name, name, value, html)
		}
	}
}

// wild returns a number as none should be, or one of any size.
func wild(r *rand.Rand) float64 {
	switch r.IntN(12) {
	case 0:
		return math.NaN()
	case 1:
		return math.Inf(1 - 2*r.IntN(2))
	case 2:
		return math.MaxFloat64 * (r.Float64() - 0.5)
	case 3:
		return math.SmallestNonzeroFloat64
	case 4:
		return 0
	case 5:
		return (r.Float64() - 0.5) * math.Pow(10, float64(r.IntN(600)-300))
	}
	return r.NormFloat64()
}

func wilds(r *rand.Rand, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = wild(r)
	}
	return out
}

var hostile = []string{
	"", "plain", `<script>alert(1)</script>`, `" onload="x`, `' style='`, "]]>", "</svg></figure>", "<!--", "&amp;", "a\x00b\x1b[31m", "\xff\xfe", "line\nline",
	"\u202egnp", strings.Repeat("long ", 500), strings.Repeat("\xff", 3000), "日本語", "\u2028", "</script><script>", "{{.}}",
}

func hostileText(r *rand.Rand) string { return hostile[r.IntN(len(hostile))] }

// randomLine is a Line of anything.
func randomLine(r *rand.Rand) Line {
	n := r.IntN(60)
	if r.IntN(10) == 0 {
		n = 3000
	}
	c := Line{
		Title: hostileText(r), Desc: hostileText(r), Unit: hostileText(r), Empty: hostileText(r), XName: hostileText(r),
		Time: r.IntN(2) == 0, Whole: r.IntN(3) == 0, Zero: r.IntN(2) == 0, Log: r.IntN(3) == 0, Size: Size(r.IntN(5) - 1),
	}
	if r.IntN(4) == 0 {
		c.From, c.To = wild(r), wild(r)
	}
	if r.IntN(3) == 0 {
		c.Gap = wild(r)
	}
	xs := func() []float64 {
		if r.IntN(2) == 0 {
			return wilds(r, n)
		}
		out := make([]float64, n)
		for i := range out {
			out[i] = day0 + float64(i)*aDay
		}
		return out
	}
	for range r.IntN(MaxSeries + 3) {
		s := Series{Name: hostileText(r), X: xs(), Y: wilds(r, r.IntN(n+2)), Dots: r.IntN(2) == 0, Step: r.IntN(2) == 0, Tone: Tone(r.IntN(6) - 1)}
		if r.IntN(2) == 0 {
			s.Lo, s.Hi = wilds(r, n), wilds(r, r.IntN(n+1))
		}
		c.Series = append(c.Series, s)
	}
	for range r.IntN(3) {
		c.Bands = append(c.Bands, Band{hostileText(r), xs(), wilds(r, n), wilds(r, n)})
		c.Levels = append(c.Levels, Level{hostileText(r), wild(r)})
	}
	for range r.IntN(8) * r.IntN(80) {
		c.Marks = append(c.Marks, Mark{wild(r) * day0, wild(r), Kind(hostileText(r)), hostileText(r)})
		c.Marks = append(c.Marks, Mark{day0 + r.Float64()*60*aDay, wild(r), kinds[r.IntN(len(kinds))].kind, hostileText(r)})
	}
	return c
}

// TestWhateverIsDrawnIsSafe gives every chart what no one should give it.
func TestWhateverIsDrawnIsSafe(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 6))
		line := randomLine(r).HTML()
		checkFigure(t, line, seed)
		bars := Bars{Title: hostileText(r), Desc: hostileText(r), Unit: hostileText(r), Empty: hostileText(r), Reference: hostileText(r), Now: hostileText(r)}
		intervals := Intervals{Title: hostileText(r), Unit: hostileText(r), At: wild(r), AtName: hostileText(r)}
		calibration := Calibration{Title: hostileText(r), Desc: hostileText(r)}
		for range r.IntN(MaxBars + 20) {
			bars.Bars = append(bars.Bars, Bar{hostileText(r), wild(r), wild(r)})
			intervals.Rows = append(intervals.Rows, Interval{hostileText(r), hostileText(r), wild(r), wild(r), wild(r), Tone(r.IntN(4))})
			calibration.Points = append(calibration.Points, CalibrationPoint{r.Int64() - r.Int64(), wild(r), wild(r), wild(r), wild(r)})
		}
		for _, html := range []template.HTML{bars.HTML(), intervals.HTML(), calibration.HTML()} {
			checkFigure(t, html, seed)
		}
		checkMarkup(t, Spark{Title: hostileText(r), Unit: hostileText(r), Y: wilds(r, r.IntN(300))}.HTML())
	}
}

var (
	scripts = regexp.MustCompile(`(?s)<script type="application/json" class="chart-values">(.*?)</script>`)
)

// checkFigure holds the rest of what each figure keeps: its parts, its limits, and
// values that scripts can read.
func checkFigure(t *testing.T, html template.HTML, seed uint64) {
	t.Helper()
	count := map[string]int{}
	for _, e := range checkMarkup(t, html) {
		count[e.name]++
		if e.attrs["role"] == "img" {
			count["img"]++
		}
		if n := strings.Count(e.attrs["d"], "M") + strings.Count(e.attrs["d"], "L"); n > 2*(2*1000+2) {
			t.Fatalf("seed %d: a path of %d points", seed, n)
		}
	}
	empty := strings.Contains(string(html), `class="chart-empty"`)
	if want := map[bool]int{true: 0, false: 1}[empty]; count["img"] != want || count["title"] != want || count["desc"] != want || count["details"] != want || count["table"] != want {
		t.Fatalf("seed %d: parts %v\n%s", seed, count, html)
	}
	if count["tr"] > MaxTable+1 {
		t.Fatalf("seed %d: a table of %d rows", seed, count["tr"])
	}
	for _, m := range scripts.FindAllStringSubmatch(string(html), -1) {
		var v values
		if err := json.Unmarshal([]byte(m[1]), &v); err != nil {
			t.Fatalf("seed %d: %v in %s", seed, err, m[1])
		}
		if v.X[0] >= v.X[1] || v.Y[0] >= v.Y[1] || len(v.Marks) > MaxMarks {
			t.Fatalf("seed %d: axes %v and %v, %d marks", seed, v.X, v.Y, len(v.Marks))
		}
	}
}

// FuzzText puts texts into every place that takes one.
func FuzzText(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		x, y := []float64{day0, day0 + aDay}, []float64{1, 2}
		for _, html := range []template.HTML{
			Line{Title: s, Desc: s, Unit: s, Time: true, Series: []Series{{Name: s, X: x, Y: y}}, Bands: []Band{{s, x, y, y}}, Levels: []Level{{s, 1}},
				Marks: []Mark{{x[0], 1, Kind(s), s}, {x[0], none, Version, s}}}.HTML(),
			Line{Title: s, XName: s, Empty: s, Series: []Series{{Name: s, X: y, Y: y, Dots: true}}}.HTML(),
			Bars{Title: s, Desc: s, Unit: s, Reference: s, Now: s, Bars: []Bar{{s, 1, 2}}}.HTML(),
			Intervals{Title: s, Desc: s, Unit: s, AtName: s, Rows: []Interval{{Label: s, Note: s, Y: 1}}}.HTML(),
			Calibration{Title: s, Desc: s, Points: []CalibrationPoint{{1, 0.5, 0.5, 0.4, 0.6}}}.HTML(),
			Calibration{Title: s, Empty: s}.HTML(),
		} {
			checkFigure(t, html, 0)
		}
		checkMarkup(t, Spark{Title: s, Unit: s, Y: y}.HTML())
	})
}

// TestGapsAreNotDrawnAcross: a missing value ends the line, and the one after it
// begins another.
func TestGapsAreNotDrawnAcross(t *testing.T) {
	x := []float64{0, 1, 2, 3, 4}
	html := Line{Title: "t", Series: []Series{{Name: "s", X: x, Y: []float64{1, 2, math.NaN(), 3, 4}}}}.HTML()
	var d string
	for _, e := range checkMarkup(t, html) {
		if e.name == "path" && strings.HasPrefix(e.attrs["class"], "line") {
			d = e.attrs["d"]
		}
	}
	if strings.Count(d, "M") != 2 || strings.Count(d, "L") != 2 {
		t.Errorf("path %q, want two lines of two points", d)
	}
}

func TestGistSaysWhatIsDrawn(t *testing.T) {
	html := string(examples()["line"])
	for _, want := range []string{
		"By day. From 2008-10-01 to 2008-10-06 UTC.", "mean: last 3 on 2008-10-06 UTC, least 1 on 2008-10-01 UTC, greatest 4 on 2008-10-04 UTC.",
		"threshold: 5.", "1 alarm began.",
	} {
		if !strings.Contains(html, want) {
			t.Errorf("the description lacks %q", want)
		}
	}
	var many Line
	for range MaxSeries + 2 {
		many.Series = append(many.Series, Series{Name: "s", X: []float64{1}, Y: []float64{1}})
	}
	if html := string(many.HTML()); !strings.Contains(html, "2 more series are not shown.") {
		t.Error("the description does not say what is left out")
	}
}

func TestTableShowsTheNewest(t *testing.T) {
	var s Series
	for i := range 1000 {
		s.X, s.Y = append(s.X, day0+float64(i)*aDay), append(s.Y, float64(i))
	}
	html := string(Line{Title: "t", Time: true, Series: []Series{s}}.HTML())
	if !strings.Contains(html, "the last 200 of 1,000 rows") || !strings.Contains(html, ">2011-06-27</th><td>999</td>") || strings.Contains(html, "<td>799</td>") {
		t.Error("the table does not have the newest 200 rows alone")
	}
}
