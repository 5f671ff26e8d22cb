package dash

import (
	"cmp"
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

// sparkUnits is how many of the newest units a line in a list shows.
const sparkUnits = 120

// A freshness is how new the events of a view are.
type freshness struct {
	View   string
	Known  bool
	Newest time.Time // zero: none yet
	Lag    int64     // records
	Halted int       // shards that are not at work
}

// freshness returns that of a feature's view, or of all views.
func (d *Dash) freshness(view string) freshness {
	f := freshness{View: view}
	if d.cfg.Status == nil {
		return f
	}
	newest := int64(math.MinInt64)
	for _, s := range d.cfg.Status() {
		if s.Stage != "pipeline" || view != "" && s.View != view {
			continue
		}
		f.Known = true
		newest = max(newest, s.Newest)
		f.Lag += max(0, s.Lag)
		if !s.Running {
			f.Halted++
		}
	}
	f.Newest = micros(newest)
	return f
}

// A columnRow is what the list says of a column.
type columnRow struct {
	Name   string
	Kind   string
	State  monitor.State
	Drift  *monitor.Reading // nil: not watched
	Std    *monitor.Reading
	Newest monitor.Point
	Spark  template.HTML
	Fresh  freshness
}

// Missing is the share of the newest unit's rows without a value.
func (c columnRow) Missing() float64 {
	return float64(c.Newest.Missing) / float64(c.Newest.Missing+c.Newest.Rows)
}

// columnsData is what the list of columns shows.
type columnsData struct {
	catching
	Model    string
	Models   int
	Config   monitor.Config
	Counts   monitor.Counts
	Unit     string
	Distance string
	Rows     []columnRow
	Pager    pager
	Alarmed  int
	Of       int
	viewList
}

// rank says which of two states a row with both has: the lower one.
func rank(s monitor.State) int {
	return slices.Index([]monitor.State{monitor.Alarmed, monitor.TooFew, monitor.NoReference, monitor.Fine}, s)
}

// watchedFeatures lists the models whose features are watched.
func (d *Dash) watchedFeatures(w http.ResponseWriter, v *visit) error {
	data, led := d.listWatched(w, v, "features")
	if led {
		return nil
	}
	return d.show(w, v, "features.html", &page{Title: "Features", Tab: "/ui/features", Data: struct {
		*watchedData
		viewList
	}{data, d.firstViews()}, Scripts: charts})
}

// columns lists the columns of a model, those with an alarm first.
func (d *Dash) columns(w http.ResponseWriter, v *visit) error {
	model, err := d.watchedModel(v)
	if err != nil {
		return err
	}
	data := &columnsData{catching: d.catching(), Model: model, Models: len(d.cfg.Lookout.Models()), Config: d.config(model)}
	data.viewList = d.firstViews()
	data.Unit, data.Distance = unitName(data.Config.Every), measureOf(data.Config.Distance).Name
	query := search(v.URL)
	d.cfg.Lookout.View(model, func(f *monitor.Fleet) {
		data.Counts = f.Counts()
		rows := columnRows(f)
		data.Of = len(rows)
		for i := range rows {
			if rows[i].State == monitor.Alarmed {
				data.Alarmed++
			}
		}
		rows = slices.DeleteFunc(rows, func(r columnRow) bool { return !matches(r.Name, query) })
		slices.SortStableFunc(rows, func(a, b columnRow) int {
			return cmp.Or(cmp.Compare(min(rank(a.State), 1), min(rank(b.State), 1)), cmp.Compare(a.Name, b.Name))
		})
		data.Pager = paging(v.URL, len(rows))
		data.Rows = slices.Clone(shown(rows, &data.Pager))
		for i := range data.Rows {
			fillColumn(f, &data.Rows[i], data.Config.Every)
		}
	})
	for i := range data.Rows {
		if view, _, ok := strings.Cut(data.Rows[i].Name, "."); ok {
			data.Rows[i].Fresh = d.freshness(view)
		}
	}
	return d.show(w, v, "featureslist.html", &page{Title: "Features of " + model, Tab: "/ui/features", Data: data, Scripts: charts})
}

// columnRows returns all columns with their readings.
func columnRows(f *monitor.Fleet) []columnRow {
	columns := f.Columns()
	rows := make([]columnRow, len(columns))
	at := make(map[string]int, len(columns))
	for i, c := range columns {
		rows[i] = columnRow{Name: c.Name, Kind: kindName(c.Kind), State: monitor.Fine}
		at[c.Name] = i
	}
	for _, r := range f.Readings() {
		row := &rows[at[r.Column]]
		if rank(r.State) < rank(row.State) {
			row.State = r.State
		}
		switch r.Kind {
		case monitor.DriftMonitor:
			row.Drift = &r
		case monitor.StdMonitor:
			row.Std = &r
		}
	}
	return rows
}

// kindName is what people call a kind of values.
func kindName(kind fmt.Stringer) string {
	switch kind.String() {
	case "string":
		return "text"
	case "bool":
		return "bool"
	}
	return "number"
}

// fillColumn adds what is read for the rows that are shown only.
func fillColumn(f *monitor.Fleet, row *columnRow, every time.Duration) {
	newest := f.Counts().Clock
	points := f.Series(row.Name, newest-sparkUnits*every.Microseconds(), newest+1)
	means := make([]float64, len(points))
	for i := range points {
		means[i] = points[i].Mean
	}
	if n := len(points); n > 0 {
		row.Newest = points[n-1]
	}
	row.Spark = chart.Spark{Title: row.Name, Y: means, Alarm: row.State == monitor.Alarmed}.HTML()
}

// A measure is a distance as people read of it.
type measure struct {
	Distance monitor.Distance
	Name     string
	Base     string // what it is in
	Zero     string // what an empty cell does
}

var measures = []measure{
	{monitor.JensenShannon, "Jensen–Shannon divergence", "bits (logarithm to the base 2), 0 to 1", "an empty cell adds nothing for its own side, so that no floor is needed"},
	{monitor.LInfinity, "L-infinity", "the largest difference of a cell’s shares, 0 to 1; no logarithm", "an empty cell counts as 0"},
	{monitor.PSI, "population stability index", "nats (natural logarithm), from 0 upward", "a share below 0.0001 counts as 0.0001"},
	{monitor.KS, "Kolmogorov–Smirnov", "the largest difference of the cumulated shares, 0 to 1; no logarithm; of texts, which have no order, L-infinity", "an empty cell counts as 0"},
}

func measureOf(d monitor.Distance) measure {
	i := slices.IndexFunc(measures, func(m measure) bool { return m.Distance == d })
	return measures[max(i, 0)]
}
