package dash

import (
	"math"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/millrace/millrace/deploy/alarms"
	"github.com/millrace/millrace/deploy/dash/chart"
	"github.com/millrace/millrace/feedback/monitor"
)

// Monitors are the monitors of a project's models. lookout.Lookout keeps them.
type Monitors interface {
	Models() []string
	View(model string, do func(*monitor.Fleet)) bool // do must be quick and keep nothing
	Progress() (read, of int64)
	Problems() []string
	Late(model string) int64
}

// A catching is what pages of monitors say first: that they are not there, at work
// or up to date.
type catching struct {
	Off      bool // nothing is monitored
	Models   bool // the project has models
	Read, Of int64
	Problems []string
}

func (d *Dash) catching() catching {
	c := catching{Models: len(d.cfg.Project.Models) > 0, Off: d.cfg.Lookout == nil || len(d.cfg.Lookout.Models()) == 0}
	if !c.Off {
		c.Read, c.Of = d.cfg.Lookout.Progress()
		c.Problems = d.cfg.Lookout.Problems()
	}
	return c
}

// Behind reports whether there are many records that the monitors have not read:
// what they show is of then.
func (c catching) Behind() bool { return c.Of-c.Read > 1000 }

// A watched is what lists of models say of their monitors.
type watched struct {
	Name   string
	Inputs int
	Alarms []monitor.Alarm // that are open
	Counts monitor.Counts
	Late   int64
}

// Waiting is how many predictions have neither an answer nor the word that there
// is none.
func (w watched) Waiting() int64 {
	return max(0, w.Counts.Predictions-w.Counts.Answered-w.Counts.Unanswered)
}

// watchedData is a list of models.
type watchedData struct {
	catching
	Rows  []watched
	Pager pager
}

// listWatched gathers the models whose names are searched for. Where there is but
// one model it leads to that one's page.
func (d *Dash) listWatched(w http.ResponseWriter, v *visit, below string) (data *watchedData, led bool) {
	data = &watchedData{catching: d.catching()}
	if data.Off {
		return data, false
	}
	names := d.cfg.Lookout.Models()
	if len(names) == 1 && search(v.URL) == "" {
		http.Redirect(w, v.Request, pathOf(below, names[0]), http.StatusSeeOther)
		return nil, true
	}
	query := search(v.URL)
	found := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !matches(name, query) })
	data.Pager = paging(v.URL, len(found))
	for _, name := range shown(found, &data.Pager) {
		row := watched{Name: name, Late: d.cfg.Lookout.Late(name)}
		d.cfg.Lookout.View(name, func(f *monitor.Fleet) {
			row.Inputs, row.Alarms, row.Counts = len(f.Columns())-2, f.Open(), f.Counts()
		})
		data.Rows = append(data.Rows, row)
	}
	return data, false
}

// watchedModel returns the name of the model that an address names.
func (d *Dash) watchedModel(v *visit) (string, error) {
	name := v.PathValue("model")
	if d.cfg.Lookout == nil || !slices.Contains(d.cfg.Lookout.Models(), name) {
		return "", notFound("No model %s is monitored. Models are monitored unless the project file says monitor: off; the list of models shows those that are.", short(name, 100))
	}
	return name, nil
}

// config returns how a model is monitored.
func (d *Dash) config(model string) monitor.Config {
	if m := d.cfg.Project.Model(model); m != nil {
		return m.Monitor.WithDefaults(m.Label.Horizon)
	}
	return monitor.Config{}.WithDefaults(0)
}

// A period is a stretch of days that charts show, both included.
type period struct {
	From, To   string // as the form has them: 2008-10-06
	Start, End int64  // microseconds; what is at End is not in it
	Given      bool   // by the visitor
	All, Usual string // addresses
}

// periodOf reads ?from= and ?to= of an address. Where they are not given, it is the
// usual length up to what is newest.
func periodOf(u *url.URL, newest int64, usual time.Duration) (p period, err error) {
	q := u.Query()
	p.From, p.To = q.Get("from"), q.Get("to")
	p.Given = p.From != "" || p.To != ""
	p.End = newest + 1
	if p.To != "" {
		day, err := dateOf(p.To)
		if err != nil {
			return p, err
		}
		p.End = day.AddDate(0, 0, 1).UnixMicro() + 1 // a unit's point is at its end
	}
	p.Start = p.End - 1 - usual.Microseconds()
	if p.From != "" {
		day, err := dateOf(p.From)
		if err != nil {
			return p, err
		}
		p.Start = day.UnixMicro()
	}
	if p.Start >= p.End {
		return p, badRequest("From %s to %s is no stretch of time. Give a day to begin with that is not after the last.", short(p.From, 30), short(p.To, 30))
	}
	if p.From == "" {
		p.From = time.UnixMicro(p.Start).UTC().Format(time.DateOnly)
	}
	if p.To == "" {
		p.To = time.UnixMicro(p.End - 1).UTC().Format(time.DateOnly)
	}
	q.Del("from")
	q.Del("to")
	p.Usual = u.Path + "?" + q.Encode()
	q.Set("from", "1970-01-01")
	p.All = u.Path + "?" + q.Encode()
	return p, nil
}

func dateOf(s string) (time.Time, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil || t.Year() < 1970 || t.Year() > 2200 {
		return t, badRequest("%q is no day. Write it as 2008-10-06.", short(s, 30))
	}
	return t, nil
}

// alarmsOf returns the alarms of a model that the book has, or the monitors have
// open: those that keep says.
func (d *Dash) alarmsOf(v *visit, model string, open []monitor.Alarm, keep func(*monitor.Alarm) bool) ([]monitor.Alarm, error) {
	var list []monitor.Alarm
	if d.cfg.Alarms != nil {
		entries, err := d.cfg.Alarms.List(v.Context(), alarms.Filter{Model: model})
		if err != nil {
			return nil, err
		}
		for i := range entries {
			list = append(list, entries[i].Alarm)
		}
	}
	for _, a := range open {
		if !slices.ContainsFunc(list, func(b monitor.Alarm) bool { return a.ID == b.ID }) {
			list = append(list, a)
		}
	}
	return slices.DeleteFunc(list, func(a monitor.Alarm) bool { return !keep(&a) }), nil
}

// alarmMarks are where alarms began and ended within a period.
func alarmMarks(list []monitor.Alarm, p period) []chart.Mark {
	var marks []chart.Mark
	at := func(t int64, kind chart.Kind, text string) {
		if t >= p.Start && t < p.End {
			marks = append(marks, chart.Mark{X: float64(t), Y: math.NaN(), Kind: kind, Text: text})
		}
	}
	for i := range list {
		a := &list[i]
		at(a.Onset, chart.Onset, a.Text)
		if a.Over != 0 {
			at(a.Over, chart.Over, string(a.Kind))
		}
	}
	return marks
}

// unitName names the units of time that monitors look at.
func unitName(every time.Duration) string {
	switch every {
	case 24 * time.Hour:
		return "day"
	case time.Hour:
		return "hour"
	case time.Minute:
		return "minute"
	}
	return duration(every)
}

// charts is what a template needs to draw: their script.
var charts = []string{"chart.js"}
