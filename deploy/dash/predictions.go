package dash

import (
	"cmp"
	"html/template"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/deploy/dash/chart"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/feedback/monitor"
)

const (
	versionsCharted = 8 // the newest
	changesCharted  = 100
)

// joined is what the join has counted, of all models together.
type joined struct {
	Known bool
	Error string
	Stats feedback.Stats
}

func (d *Dash) joined(v *visit) joined {
	if d.cfg.JoinStats == nil {
		return joined{}
	}
	s, err := d.cfg.JoinStats(v.Context())
	if err != nil {
		return joined{Error: "The store that has the counts cannot be read now: " + err.Error()}
	}
	return joined{Known: true, Stats: s}
}

// watchedPredictions lists the models whose predictions are watched.
func (d *Dash) watchedPredictions(w http.ResponseWriter, v *visit) error {
	data, led := d.listWatched(w, v, "predictions")
	if led {
		return nil
	}
	return d.show(w, v, "predictions.html", &page{Title: "Predictions", Tab: "/ui/predictions", Data: struct {
		*watchedData
		Joined joined
	}{data, d.joined(v)}})
}

// predictionsData is what the page of a model's predictions shows.
type predictionsData struct {
	catching
	watched
	Joined  joined
	Models  int
	Binary  bool
	Config  monitor.Config
	Unit    string
	Period  period
	Watch   *monitor.Reading // of the champion's loss; nil: none
	Alarmed []monitor.Alarm  // of quality, scores and labels, newest first

	Slice    string
	Slices   []string
	Version  int // that calibration and slices are of
	Versions []int
	Rows     int64 // of that version, in the slice

	Quality, Units, Calibration, BySlice, Rates template.HTML
}

// LossName is the loss as the gate has it.
func (data *predictionsData) LossName() string {
	if data.Binary {
		return "log loss, nats"
	}
	return "squared error"
}

// modelPredictions is the page of one model's predictions.
func (d *Dash) modelPredictions(w http.ResponseWriter, v *visit) error {
	model, err := d.watchedModel(v)
	if err != nil {
		return err
	}
	data := &predictionsData{
		catching: d.catching(), watched: watched{Name: model, Late: d.cfg.Lookout.Late(model)}, Joined: d.joined(v),
		Models: len(d.cfg.Lookout.Models()), Binary: d.binary(model), Config: d.config(model), Slice: v.URL.Query().Get("slice"),
	}
	data.Unit = unitName(data.Config.Every)
	var seen answers
	d.cfg.Lookout.View(model, func(f *monitor.Fleet) { err = data.read(f, v, &seen) })
	if err != nil {
		return err
	}
	data.Alarmed, err = d.alarmsOf(v, model, data.Alarms, func(a *monitor.Alarm) bool {
		return a.Kind == monitor.QualityMonitor || a.Column == monitor.ScoreColumn || a.Column == monitor.LabelColumn
	})
	if err != nil {
		return err
	}
	data.draw(&seen)
	return d.show(w, v, "predictionsmodel.html", &page{Title: "Predictions of " + model, Tab: "/ui/predictions", Data: data, Scripts: charts})
}

// answers are what is read of the monitors, to be drawn once they are free again.
type answers struct {
	quality        []monitor.Quality // of the slice, by version
	bySlice        []monitor.Quality // of the version
	bins           []monitor.CalibrationBin
	scores, labels []monitor.Point
}

func (data *predictionsData) read(f *monitor.Fleet, v *visit, seen *answers) (err error) {
	data.Counts, data.Alarms, data.Slices = f.Counts(), f.Open(), f.SliceNames()
	if data.Slice != "" && !slices.Contains(data.Slices, data.Slice) {
		return notFound("Model %s has no slice %s. Choose one of the list on its page of predictions.", data.Name, short(data.Slice, 100))
	}
	if r, ok := f.Reading(monitor.QualityMonitor, monitor.ScoreColumn); ok {
		data.Watch = &r
	}
	if data.Period, err = periodOf(v.URL, data.Counts.Clock, data.Config.Window+data.Config.Reference); err != nil {
		return err
	}
	for _, q := range f.Quality("") {
		data.Versions = append(data.Versions, q.Version)
	}
	if n := len(data.Versions); n > 0 {
		data.Version = data.Versions[n-1]
	}
	if asked := v.URL.Query().Get("version"); asked != "" {
		n, err := strconv.Atoi(asked)
		if err != nil || !slices.Contains(data.Versions, n) {
			return notFound("Version %s of model %s has no answers that are decided. Choose one of the list on its page of predictions.", short(asked, 20), data.Name)
		}
		data.Version = n
	}
	seen.quality = f.Quality(data.Slice)
	for _, name := range data.Slices {
		for _, q := range f.Quality(name) {
			if q.Version == data.Version && len(q.Points) > 0 {
				q.Points = q.Points[len(q.Points)-1:]
				seen.bySlice = append(seen.bySlice, q)
			}
		}
	}
	seen.bins = f.Calibration(data.Version)
	seen.scores = f.Series(monitor.ScoreColumn, data.Period.Start, data.Period.End)
	seen.labels = f.Series(monitor.LabelColumn, data.Period.Start, data.Period.End)
	return nil
}

func (data *predictionsData) draw(seen *answers) {
	for _, q := range seen.quality {
		if q.Version == data.Version {
			data.Rows = q.Rows
		}
	}
	slices.SortStableFunc(data.Alarmed, func(a, b monitor.Alarm) int { return cmp.Compare(b.Onset, a.Onset) })
	charted := seen.quality[max(0, len(seen.quality)-versionsCharted):]
	data.Quality = data.qualityChart(charted)
	data.Units = data.unitsChart(charted)
	if data.Binary {
		data.Calibration = data.calibrationChart(seen.bins)
	}
	if len(seen.bySlice) > 1 {
		data.BySlice = data.slicesChart(seen.bySlice)
	}
	data.Rates = data.ratesChart(seen)
}

// within cuts points to the period.
func (data *predictionsData) within(points []monitor.QualityPoint) []monitor.QualityPoint {
	compare := func(p monitor.QualityPoint, t int64) int { return cmp.Compare(p.Time, t) }
	from, _ := slices.BinarySearchFunc(points, data.Period.Start, compare)
	to, _ := slices.BinarySearchFunc(points, data.Period.End, compare)
	return points[from:max(from, to)]
}

func (data *predictionsData) noAnswers() string {
	wait := ""
	if data.Slice != "" {
		wait = " Or choose all rows."
	}
	return "No answers of this stretch of time are decided. A " + data.Unit + " is decided once the label's horizon and grace have passed after it; choose a longer stretch, or wait." + wait
}

// name is how a version is called in legends.
func answeredBy(version int) string {
	if version == 0 {
		return "base rate answers"
	}
	return "version " + strconv.Itoa(version)
}

// marks are where quality alarms began and ended, and where the loss changed.
func (data *predictionsData) marks(list []monitor.Quality) []chart.Mark {
	quality := slices.DeleteFunc(slices.Clone(data.Alarmed), func(a monitor.Alarm) bool { return a.Kind != monitor.QualityMonitor })
	marks := alarmMarks(quality, data.Period)
	for _, q := range list {
		changes := q.Changes[max(0, len(q.Changes)-changesCharted):]
		for _, t := range changes {
			if t >= data.Period.Start && t < data.Period.End {
				marks = append(marks, chart.Mark{X: float64(t), Y: math.NaN(), Kind: chart.Change, Text: "the loss of " + answeredBy(q.Version) + " changed"})
			}
		}
	}
	return marks
}

// qualityChart shows each version's mean loss since it began to answer, with bounds
// that hold however often one looks.
func (data *predictionsData) qualityChart(list []monitor.Quality) template.HTML {
	c := chart.Line{
		Title: "Mean loss of each version since it began to answer", Unit: data.LossName(), Time: true, Size: chart.Wide, Gap: gap(data.Config),
		Desc:  "The bounds hold for all times together, 95 %: one may look as often as one likes. They are wide at first and grow narrow.",
		Empty: data.noAnswers(), Marks: data.marks(list),
	}
	for _, q := range list {
		s := chart.Series{Name: answeredBy(q.Version)}
		if q.Version == 0 {
			s.Tone = chart.Muted
		}
		for _, p := range data.within(q.Points) {
			s.X, s.Y = append(s.X, float64(p.Time)), append(s.Y, p.Mean)
			s.Lo, s.Hi = append(s.Lo, p.Lo), append(s.Hi, p.Hi)
		}
		c.Series = append(c.Series, s)
	}
	return c.HTML()
}

// unitsChart shows the loss of each unit beside that of the base rate known at the
// time.
func (data *predictionsData) unitsChart(list []monitor.Quality) template.HTML {
	c := chart.Line{
		Title: "Loss by " + data.Unit, Unit: data.LossName(), Time: true, Size: chart.Wide, Gap: gap(data.Config),
		Desc:  "Beside that of the base rate as it was known when each prediction was made, on the same rows.",
		Empty: data.noAnswers(), Marks: data.marks(list),
	}
	type sum struct{ loss, rows float64 }
	base := make(map[int64]sum)
	for _, q := range list {
		if q.Version != 0 {
			c.Series = append(c.Series, chart.Series{Name: answeredBy(q.Version)})
		}
		for _, p := range data.within(q.Points) {
			b := base[p.Time]
			base[p.Time] = sum{b.loss + p.Base*float64(p.Rows), b.rows + float64(p.Rows)}
			if q.Version != 0 {
				s := &c.Series[len(c.Series)-1]
				s.X, s.Y = append(s.X, float64(p.Time)), append(s.Y, p.Loss)
			}
		}
	}
	muted := chart.Series{Name: "base rate", Tone: chart.Muted}
	for t, b := range base {
		muted.X, muted.Y = append(muted.X, float64(t)), append(muted.Y, b.loss/b.rows)
	}
	c.Series = append(c.Series, byX(muted))
	return c.HTML()
}

// byX sorts a series.
func byX(s chart.Series) chart.Series {
	order := make([]int, len(s.X))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(s.X[a], s.X[b]) })
	out := chart.Series{Name: s.Name, Tone: s.Tone}
	for _, i := range order {
		out.X, out.Y = append(out.X, s.X[i]), append(out.Y, s.Y[i])
	}
	return out
}

func (data *predictionsData) calibrationChart(bins []monitor.CalibrationBin) template.HTML {
	c := chart.Calibration{
		Title: "Calibration of " + answeredBy(data.Version), Desc: "Of all its answers that are decided, by twentieths of the score; Wilson's 95 % intervals.",
		Empty: "No answers of this version are decided yet.",
	}
	for _, b := range bins {
		c.Points = append(c.Points, chart.CalibrationPoint(b))
	}
	return c.HTML()
}

func (data *predictionsData) slicesChart(list []monitor.Quality) template.HTML {
	c := chart.Intervals{
		Title: "Mean loss of " + answeredBy(data.Version) + " by slice", Unit: data.LossName(), At: math.NaN(),
		Desc: "With bounds that hold for all times together, each 95 %.",
	}
	for _, q := range list {
		p := q.Points[0]
		row := chart.Interval{Label: sliceLabel(q.Slice), Note: plural(q.Rows, "row"), Y: p.Mean, Lo: p.Lo, Hi: p.Hi}
		if q.Slice == "" {
			row.Label, row.Tone = "all", chart.Muted
			c.At, c.AtName = p.Mean, "all rows"
		}
		c.Rows = append(c.Rows, row)
	}
	return c.HTML()
}

// sliceLabel leaves the view out of a slice's name, as there is little room.
func sliceLabel(slice string) string {
	column, value, _ := strings.Cut(slice, "=")
	if _, feature, ok := strings.Cut(column, "."); ok {
		column = feature
	}
	return column + "=" + value
}

func (data *predictionsData) ratesChart(seen *answers) template.HTML {
	window := duration(data.Config.Window)
	unit := ""
	title := "Scores and labels"
	if data.Binary {
		title, unit = "Mean score, and share of labels that came true", "share"
	}
	c := chart.Line{
		Title: title, Unit: unit, Time: true, Size: chart.Wide, Gap: gap(data.Config), Empty: data.noAnswers(),
		Desc: "Labels come with their horizon's delay. Scores are those of models, without the base rate's.",
	}
	for i, points := range [][]monitor.Point{seen.scores, seen.labels} {
		roll := chart.Series{Name: []string{"scores", "labels"}[i] + ", mean over " + window}
		band := chart.Band{Name: []string{"scores", "labels"}[i] + ", ± std by " + data.Unit}
		for _, p := range points {
			x := float64(p.Time)
			roll.X, roll.Y = append(roll.X, x), append(roll.Y, p.RollMean)
			band.X, band.Lo, band.Hi = append(band.X, x), append(band.Lo, p.RollMean-p.RollStd), append(band.Hi, p.RollMean+p.RollStd)
		}
		c.Series, c.Bands = append(c.Series, roll), append(c.Bands, band)
	}
	return c.HTML()
}

// Decided is up to when labels are decided.
func (data *predictionsData) Decided() time.Time {
	if data.Watch == nil {
		return time.Time{}
	}
	return micros(data.Watch.Look)
}

// Judgement says in words how the watch of the champion stands.
func (data *predictionsData) Judgement() string {
	switch {
	case data.Watch == nil:
		return ""
	case data.Watch.State == monitor.Alarmed:
		return "The champion's loss is above that of the base rate."
	case data.Watch.State == monitor.NoReference:
		return "The base rate answers; there is no champion to watch."
	case data.Watch.State == monitor.TooFew:
		return "There are too few answers to say."
	}
	return "Nothing shows that the champion is worse than the base rate."
}
