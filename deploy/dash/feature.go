package dash

import (
	"fmt"
	"html/template"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/deploy/dash/chart"
	"github.com/millrace/millrace/feedback/monitor"
)

const (
	maxEntities   = 200  // offered in the form
	maxEntityRows = 2000 // in the chart: the newest
)

// columnData is what the page of a column shows.
type columnData struct {
	catching
	columnRow
	Model    string
	Config   monitor.Config
	Unit     string
	Period   period
	Alarms   []monitor.Alarm // newest first
	Measures []measured
	Cells    cells

	Means, Deviations, Distribution, OfEntity template.HTML

	Feature  string // without its view
	Entity   string
	Entities []string
	More     bool // there are more entities than are offered
}

// A measured is a distance of now from the reference.
type measured struct {
	measure
	Value   float64
	Watched bool
}

// cells says what a distribution was cut into.
type cells struct {
	Numbers, Texts int
	Missing        bool
}

// column is the page of one column.
func (d *Dash) column(w http.ResponseWriter, v *visit) error {
	model, err := d.watchedModel(v)
	if err != nil {
		return err
	}
	data := &columnData{catching: d.catching(), Model: model, Config: d.config(model)}
	data.Unit = unitName(data.Config.Every)
	name := v.PathValue("column")
	var points []monitor.Point
	var ofEntity []monitor.EntityPoint
	var open []monitor.Alarm
	found := false
	d.cfg.Lookout.View(model, func(f *monitor.Fleet) {
		rows := columnRows(f)
		i := slices.IndexFunc(rows, func(r columnRow) bool { return r.Name == name })
		if found = i >= 0; !found {
			return
		}
		data.columnRow = rows[i]
		fillColumn(f, &data.columnRow, data.Config.Every)
		newest := f.Counts().Clock
		if data.Period, err = periodOf(v.URL, newest, data.Config.Window+data.Config.Reference); err != nil {
			return
		}
		points = f.Series(name, data.Period.Start, data.Period.End)
		if r, ok := f.Reading(monitor.DriftMonitor, name); ok {
			data.Drift = &r
		}
		open = f.Open()
		data.entity(f, v, name)
		if data.Entity != "" {
			ofEntity = f.EntitySeries(data.Entity, name)
		}
	})
	switch {
	case err != nil:
		return err
	case !found:
		return notFound("Model %s has no column %s. Its list of features shows all that it has.", model, short(name, 100))
	}
	if view, feature, ok := strings.Cut(name, "."); ok {
		data.Fresh, data.Feature = d.freshness(view), feature
	}
	if data.Alarms, err = d.alarmsOf(v, model, open, func(a *monitor.Alarm) bool { return a.Column == name }); err != nil {
		return err
	}
	data.draw(points, d.binary(model), ofEntity)
	return d.show(w, v, "featurescolumn.html", &page{Title: name, Tab: "/ui/features", Data: data, Scripts: charts})
}

func (d *Dash) binary(model string) bool {
	m := d.cfg.Project.Model(model)
	return m != nil && m.Label.Binary
}

// entity says which entity is shown: the one that is asked for, else the first.
func (data *columnData) entity(f *monitor.Fleet, v *visit, column string) {
	all := f.Entities(maxEntities + 1)
	data.More = len(all) > maxEntities
	data.Entities = all[:min(len(all), maxEntities)]
	if asked := v.URL.Query().Get("entity"); asked != "" {
		data.Entity = short(strings.ToValidUTF8(asked, ""), 400)
	} else if len(all) > 0 {
		data.Entity = all[0]
	}
}

func (data *columnData) draw(points []monitor.Point, binary bool, ofEntity []monitor.EntityPoint) {
	marks := alarmMarks(data.Alarms, data.Period)
	if data.Kind != "text" {
		data.Means = data.meansChart(points, marks)
	}
	if data.Std != nil {
		data.Deviations = data.deviationsChart(points, marks)
	}
	if data.Drift != nil && len(data.Drift.Cells) > 0 {
		data.Distribution = data.distributionChart()
		r := data.Drift
		for i, value := range []float64{r.JS, r.LInf, r.PSI, r.KS} {
			data.Measures = append(data.Measures, measured{measures[i], value, measures[i].Distance == data.Config.Distance})
		}
	}
	if data.Kind != "text" {
		data.OfEntity = data.entityChart(ofEntity, binary)
	}
}

// noLimit says why no value is an alarm.
func noLimit(s monitor.State) string {
	switch s {
	case monitor.NoReference:
		return "There is nothing to compare with yet, and so no alarm."
	case monitor.TooFew:
		return "There are too few rows now to say anything."
	}
	return "No value would be an alarm at the stated rate of false alarms."
}

// DriftLimit says in words beyond what the distance is an alarm.
func (data *columnData) DriftLimit() string {
	if math.IsInf(data.Drift.Threshold, 0) {
		return noLimit(data.Drift.State)
	}
	return "An alarm is above " + number(data.Drift.Threshold) + ", which follows from the stated rate of false alarms of all columns together."
}

// StdLimits says in words beyond what a deviation is an alarm.
func (data *columnData) StdLimits() string {
	above, below := data.Std.Threshold, data.Std.Lower
	switch {
	case math.IsInf(above, 0) && below == 0:
		return noLimit(data.Std.State)
	case math.IsInf(above, 0):
		return "An alarm is below " + number(below) + " times."
	case below == 0:
		return "An alarm is above " + number(above) + " times."
	}
	return "An alarm is above " + number(above) + " times, or below " + number(below) + " times."
}

func (data *columnData) noValues() string {
	return "No unit of this stretch of time has values. Choose another, or wait: the first unit is looked at when its " + data.Unit + " has passed."
}

// what the values of the column's units are.
func (data *columnData) unitMean() string {
	switch data.Kind {
	case "bool":
		return "share of true, by " + data.Unit
	}
	return "mean by " + data.Unit
}

func (data *columnData) meansChart(points []monitor.Point, marks []chart.Mark) template.HTML {
	window := duration(data.Config.Window)
	unit := chart.Series{Name: data.unitMean(), Tone: chart.Muted}
	roll := chart.Series{Name: "mean over " + window}
	band := chart.Band{Name: "± std over " + window}
	for i := range points {
		p, x := &points[i], float64(points[i].Time)
		unit.X, unit.Y = append(unit.X, x), append(unit.Y, p.Mean)
		roll.X, roll.Y = append(roll.X, x), append(roll.Y, p.RollMean)
		band.X = append(band.X, x)
		band.Lo, band.Hi = append(band.Lo, p.RollMean-p.RollStd), append(band.Hi, p.RollMean+p.RollStd)
	}
	return chart.Line{
		Title: "Mean of " + data.Name + " and its deviation over " + window,
		Desc:  "Each point is at the end of its " + data.Unit + "; more than two without rows are a gap. The band is the mean of the units of " + window + ", and their deviation to both sides.",
		Empty: data.noValues(), Time: true, Size: chart.Wide, Gap: gap(data.Config),
		Series: []chart.Series{unit, roll}, Bands: []chart.Band{band}, Marks: marks,
	}.HTML()
}

// gap is the distance of points beyond which they are not joined. Units without
// rows have no point; two of them, as a weekend's, are no gap.
func gap(c monitor.Config) float64 { return 3.5 * float64(c.Every.Microseconds()) }

func (data *columnData) deviationsChart(points []monitor.Point, marks []chart.Mark) template.HTML {
	roll := chart.Series{Name: "over " + duration(data.Config.Window)}
	reference := chart.Series{Name: "over the " + duration(data.Config.Reference) + " before", Tone: chart.Muted}
	upper := chart.Series{Name: "alarm above", Tone: chart.Bad}
	lower := chart.Series{Name: "alarm below", Tone: chart.Bad}
	for i := range points {
		p, x := &points[i], float64(points[i].Time)
		roll.X, roll.Y = append(roll.X, x), append(roll.Y, p.RollStd)
		reference.X, reference.Y = append(reference.X, x), append(reference.Y, p.RefStd)
		upper.X, upper.Y = append(upper.X, x), append(upper.Y, near(p.RefStd*data.Std.Threshold, p.RollStd, p.RefStd))
		lower.X, lower.Y = append(lower.X, x), append(lower.Y, p.RefStd*data.Std.Lower)
	}
	c := chart.Line{
		Title: "Deviation of the " + data.unitMean() + ", against the time before",
		Desc:  "The thresholds are those of the newest look; one that is far above is not drawn.",
		Empty: data.noValues(), Time: true, Size: chart.Wide, Zero: true, Gap: gap(data.Config),
		Series: []chart.Series{roll, reference}, Marks: marks,
	}
	if !math.IsInf(data.Std.Threshold, 0) && data.Std.Threshold > 0 {
		c.Series = append(c.Series, upper, lower)
	}
	return c.HTML()
}

// near leaves a threshold out that is so far above the values that they would be a
// line at the bottom beside it.
func near(threshold, a, b float64) float64 {
	if threshold > 5*max(a, b) {
		return math.NaN()
	}
	return threshold
}

func (data *columnData) distributionChart() template.HTML {
	c := chart.Bars{
		Title: "Distribution of " + data.Name, Unit: "share of rows", Reference: data.ReferenceName(), Now: "the last " + duration(data.Config.Window),
		Desc: fmt.Sprintf("%s now, %s before.", plural(data.Drift.Rows, "row"), plural(data.Drift.Reference, "row")),
	}
	for _, cell := range data.Drift.Cells {
		label := cell.Text
		switch {
		case label == "":
			data.Cells.Numbers++
			label = chart.Range(cell.Low, cell.High)
		case label == "(missing)":
			data.Cells.Missing = true
		default:
			data.Cells.Texts++
		}
		c.Bars = append(c.Bars, chart.Bar{Label: label, Reference: cell.Reference, Now: cell.Now})
	}
	return c.HTML()
}

// ReferenceName says what the distribution is compared with.
func (data *columnData) ReferenceName() string {
	if data.Name == monitor.LabelColumn {
		return "the " + duration(data.Config.Reference) + " before"
	}
	return "what the version learned from"
}

// entityChart shows the kept values of one entity, with the mean and deviation of
// those of the window before each.
func (data *columnData) entityChart(points []monitor.EntityPoint, binary bool) template.HTML {
	cut := max(0, len(points)-maxEntityRows)
	points = points[cut:]
	window := duration(data.Config.Window)
	value := chart.Series{Name: data.Name}
	mean := chart.Series{Name: "its mean over " + window, Tone: chart.Muted}
	band := chart.Band{Name: "± its std over " + window}
	c := chart.Line{
		Title: data.Name + " of " + short(data.Entity, 60), Time: true, Size: chart.Wide, Gap: gap(data.Config),
		Empty: "There is no kept prediction about this entity in this stretch of time. Choose another entity, or a longer stretch.",
		Desc:  "As predictions about the entity saw it. The monitors keep a sample of the rows.",
	}
	if cut > 0 {
		c.Desc += fmt.Sprintf(" The newest %s rows.", count(maxEntityRows))
	}
	moments := entityBand(points, data.Config.Window)
	version := -1
	for i := range points {
		p, x := &points[i], float64(points[i].Time)
		if p.Time < data.Period.Start || p.Time >= data.Period.End {
			continue
		}
		value.X, value.Y = append(value.X, x), append(value.Y, p.Value)
		mean.X, mean.Y = append(mean.X, x), append(mean.Y, moments[i].mean)
		band.X = append(band.X, x)
		band.Lo, band.Hi = append(band.Lo, moments[i].mean-moments[i].std), append(band.Hi, moments[i].mean+moments[i].std)
		if p.Version != version && version >= 0 {
			c.Marks = append(c.Marks, chart.Mark{X: x, Y: math.NaN(), Kind: chart.Version, Text: versionMark(p.Version)})
		}
		version = p.Version
		if m, ok := answerMark(p, binary); ok {
			c.Marks = append(c.Marks, m)
		}
	}
	c.Series, c.Bands = []chart.Series{value, mean}, []chart.Band{band}
	return c.HTML()
}

func versionMark(n int) string {
	if n == 0 {
		return "base rate"
	}
	return fmt.Sprintf("v%d", n)
}

// answerMark shows what became of a prediction: a score of a half or more said that
// it would come true.
func answerMark(p *monitor.EntityPoint, binary bool) (chart.Mark, bool) {
	if math.IsNaN(p.Value) || math.IsNaN(p.Score) || !binary {
		return chart.Mark{}, false
	}
	m := chart.Mark{X: float64(p.Time), Y: p.Value, Kind: chart.Pending, Text: "predicted " + chart.Number(p.Score)}
	if !math.IsNaN(p.Label) {
		m.Kind = chart.Wrong
		if (p.Score >= 0.5) == (p.Label >= 0.5) {
			m.Kind = chart.Right
		}
		m.Text += ", came to " + chart.Number(p.Label)
	}
	return m, true
}

type moments struct{ mean, std float64 }

// entityBand returns the mean and deviation (n-1) of the values of the window up to
// each point; NaN where there are fewer than two. Points are few, so that each is
// computed from its values: nothing is ever subtracted.
func entityBand(points []monitor.EntityPoint, window time.Duration) []moments {
	out := make([]moments, len(points))
	from := 0
	for i := range points {
		for points[from].Time <= points[i].Time-window.Microseconds() {
			from++
		}
		n, mean, squares := 0.0, 0.0, 0.0
		for _, p := range points[from : i+1] {
			if math.IsNaN(p.Value) {
				continue
			}
			n++
			d := p.Value - mean
			mean += d / n
			squares += d * (p.Value - mean)
		}
		out[i] = moments{math.NaN(), math.NaN()}
		if n > 1 {
			out[i] = moments{mean, math.Sqrt(squares / (n - 1))}
		}
	}
	return out
}
