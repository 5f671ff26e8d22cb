package dash

import (
	"errors"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/deploy/dash/chart"
	"github.com/millrace/millrace/feedback/monitor"
	"github.com/millrace/millrace/trainer/whatif"
)

const (
	// bandOver is the time over which the mean and the deviation of a value are
	// taken.
	bandOver = 30 * 24 * time.Hour

	// viewUsual is the time that is shown where none is asked for.
	viewUsual = 395 * 24 * time.Hour

	viewNames = 200 // fields and features that the form offers and the page links
)

// A viewRow is what lists say of a view.
type viewRow struct {
	Name     string
	Source   string
	Features int
	Fresh    freshness
}

func (d *Dash) views() []viewRow {
	var rows []viewRow
	for i, v := range d.cfg.Project.Views {
		rows = append(rows, viewRow{v.Name, v.Source, len(d.cfg.Project.Plans[i].Outputs()), d.freshness(v.Name)})
	}
	return rows
}

// A viewList is the first views, for pages that are about something else.
type viewList struct {
	Views     []viewRow
	MoreViews bool
}

const firstViews = 10

func (d *Dash) firstViews() viewList {
	rows := d.views()
	return viewList{rows[:min(firstViews, len(rows))], len(rows) > firstViews}
}

// listViews lists the views. Where there is but one it leads to that one's page.
func (d *Dash) listViews(w http.ResponseWriter, v *visit) error {
	rows := d.views()
	if len(rows) == 1 && search(v.URL) == "" {
		http.Redirect(w, v.Request, pathOf("views", rows[0].Name), http.StatusSeeOther)
		return nil
	}
	query := search(v.URL)
	rows = slices.DeleteFunc(rows, func(r viewRow) bool { return !matches(r.Name, query) })
	p := paging(v.URL, len(rows))
	return d.show(w, v, "views.html", &page{Title: "Views", Tab: "/ui/features", Data: struct {
		Views []viewRow
		Pager pager
	}{shown(rows, &p), p}})
}

// viewData is what the page of a view shows: a field of its events or a feature over
// time, of one entity.
type viewData struct {
	viewRow
	Of      string
	Fields  []nameLink
	Linked  []nameLink // features
	More    int        // names that are not linked
	Names   []string
	Entity  []entityField
	Known   map[string][]string // by field, of the newest events
	Period  period
	Problem string
	Series  *whatif.Series
	Chart   template.HTML
	Newest  bool // of more points than are shown
}

// A nameLink leads to the same page about another name.
type nameLink struct {
	Name, Href string
	Chosen     bool
}

// viewOverTime is the page of a view.
func (d *Dash) viewOverTime(w http.ResponseWriter, v *visit) error {
	name := v.PathValue("view")
	rows := d.views()
	i := slices.IndexFunc(rows, func(r viewRow) bool { return r.Name == name })
	if i < 0 {
		return notFound("There is no view %s. The page Features lists those that there are.", short(name, 100))
	}
	data := &viewData{viewRow: rows[i]}
	p := &page{Title: name, Tab: "/ui/features", Data: data, Scripts: charts}
	if d.cfg.Lab == nil {
		return d.show(w, v, "view.html", p)
	}
	q := data.question(v.URL.Query(), d.cfg.Lab, d.cfg.Project.Views[i].Entity)
	// Where no time is asked for, it is the usual up to the newest event, which is
	// not known before.
	usual := v.URL.Query().Get("from") == "" && v.URL.Query().Get("to") == ""
	var err error
	if !usual {
		if data.Period, err = periodOf(v.URL, d.cfg.Now().UnixMicro(), viewUsual); err != nil {
			return err
		}
		q.From, q.To = time.UnixMicro(data.Period.Start).Add(-bandOver), time.UnixMicro(data.Period.End)
	}
	if q.Name != "" {
		if err := d.readSeries(v, data, q); err != nil {
			return err
		}
	}
	if usual {
		newest := d.cfg.Now().UnixMicro()
		if data.Series != nil && len(data.Series.Points) > 0 {
			newest = data.Series.Points[len(data.Series.Points)-1].Time
		}
		if data.Period, err = periodOf(v.URL, newest, viewUsual); err != nil {
			return err
		}
	}
	data.draw()
	return d.show(w, v, "view.html", p)
}

// question reads what an address asks for.
func (data *viewData) question(query url.Values, lab Lab, entity []string) whatif.SeriesQuestion {
	fields, outputs := lab.Numbers(data.Name)
	data.Of = short(query.Get("of"), 200)
	if data.Of == "" && len(fields)+len(outputs) > 0 {
		data.Of = slices.Concat(fields, outputs)[0]
	}
	data.Names = slices.Concat(fields, outputs)
	links := func(names []string, left int) (list []nameLink) {
		for _, name := range names[:min(left, len(names))] {
			to := url.Values{}
			for key, values := range query {
				if key != "of" {
					to[key] = values
				}
			}
			to.Set("of", name)
			list = append(list, nameLink{name, pathOf("views", data.Name) + "?" + to.Encode(), name == data.Of})
		}
		return list
	}
	data.Fields = links(fields, viewNames)
	data.Linked = links(outputs, viewNames-len(data.Fields))
	data.More = len(data.Names) - len(data.Fields) - len(data.Linked)
	data.Names = data.Names[:min(viewNames, len(data.Names))]
	q := whatif.SeriesQuestion{View: data.Name, Name: data.Of, Entity: map[string]string{}}
	for i, field := range entity {
		x := entityField{fmt.Sprintf("entity-%d", i), field, "e." + field, short(strings.ToValidUTF8(query.Get("e."+field), ""), 400)}
		data.Entity = append(data.Entity, x)
		if x.Value != "" {
			q.Entity[field] = x.Value
		}
	}
	return q
}

// readSeries asks the lab. What is wrong with the question is on the page.
func (d *Dash) readSeries(v *visit, data *viewData, q whatif.SeriesQuestion) error {
	s, err := d.cfg.Lab.Series(v.Context(), q)
	var wrong *whatif.Fault
	switch {
	case errors.As(err, &wrong):
		data.Problem = fieldName(wrong.Field) + upper(wrong.Problem)
		return nil
	case err != nil && v.Context().Err() != nil:
		return err
	case err != nil:
		data.Problem = upper(strings.TrimPrefix(err.Error(), "whatif: "))
		return nil
	}
	data.Series, data.Known = s, map[string][]string{}
	for i := range data.Entity {
		x := &data.Entity[i]
		x.Value = s.Entity[x.Name]
		for _, e := range s.Entities {
			data.Known[x.Name] = append(data.Known[x.Name], e[x.Name])
		}
		slices.Sort(data.Known[x.Name])
		data.Known[x.Name] = slices.Compact(data.Known[x.Name])
	}
	return nil
}

// Whom is the entity in words.
func (data *viewData) Whom() string {
	var values []string
	for _, x := range data.Entity {
		values = append(values, short(x.Value, 60))
	}
	return strings.Join(values, "/")
}

func (data *viewData) draw() {
	if data.Series == nil {
		return
	}
	points := make([]monitor.EntityPoint, 0, len(data.Series.Points))
	for _, p := range data.Series.Points {
		points = append(points, monitor.EntityPoint{Time: p.Time, Value: p.Value})
	}
	data.Newest = len(points) == whatif.SeriesPoints
	over := duration(bandOver)
	value := chart.Series{Name: data.Of}
	mean := chart.Series{Name: "its mean over " + over, Tone: chart.Muted}
	band := chart.Band{Name: "± its std over " + over}
	moments := entityBand(points, bandOver)
	for i := range points {
		p, x := &points[i], float64(points[i].Time)
		if p.Time < data.Period.Start || p.Time >= data.Period.End {
			continue
		}
		value.X, value.Y = append(value.X, x), append(value.Y, p.Value)
		mean.X, mean.Y = append(mean.X, x), append(mean.Y, moments[i].mean)
		band.X = append(band.X, x)
		band.Lo, band.Hi = append(band.Lo, moments[i].mean-moments[i].std), append(band.Hi, moments[i].mean+moments[i].std)
	}
	data.Chart = chart.Line{
		Title: data.Of + " of " + data.Whom(), Time: true, Size: chart.Wide, Gap: usualGap(value.X),
		Desc:   "At each event of the entity, from the lake, with the mean and the deviation of its values over " + over + " up to there.",
		Empty:  data.nothing(),
		Series: []chart.Series{value, mean}, Bands: []chart.Band{band},
	}.HTML()
}

// nothing says why there are no values.
func (data *viewData) nothing() string {
	switch s := data.Series; {
	case s.Rows == 0:
		return "The lake has no events of source " + data.Source + " yet. They are there within a minute of their coming, where the project keeps a lake."
	case s.Endless:
		return "It looks back over all events, which are more than a page reads: only those that look back over a window have values here."
	case !s.From.IsZero() && len(s.Points) == 0:
		return "Its window is longer than the time that was read."
	}
	return "There is no event of this entity in this stretch of time. Choose another entity, or a longer stretch."
}

// usualGap is the distance of points beyond which they are not joined: eight times
// what is usual. Where points are few all are joined.
func usualGap(x []float64) float64 {
	if len(x) < 4 {
		return 0
	}
	gaps := make([]float64, len(x)-1)
	for i := range gaps {
		gaps[i] = x[i+1] - x[i]
	}
	slices.Sort(gaps)
	return 8 * math.Max(gaps[len(gaps)/2], 1)
}
