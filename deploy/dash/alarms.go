package dash

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/millrace/millrace/deploy/alarms"
)

const (
	overviewAlarms = 3
	actionsShown   = 30
)

// alarmsData is what the page of alarms shows.
type alarmsData struct {
	Monitoring catching
	Counts     alarms.Counts
	Show       string // what is shown: open, unacknowledged or all
	Model      string
	Models     []string
	List       []alarmRow
	Pager      pager
	Cut        bool // there are more than the book gives at once
	Actions    []alarms.Action
}

// An alarmRow is an alarm as lists show it.
type alarmRow struct {
	alarms.Entry
	May  bool   // the visitor may acknowledge it
	Back string // to which page that leads
	N    int    // within the page, for ids
}

// State is open, acknowledged or over.
func (r alarmRow) State() string {
	switch {
	case r.Over != 0:
		return "over"
	case !r.Acknowledged.IsZero():
		return "acknowledged"
	}
	return "open"
}

// Waits reports whether somebody should still take note.
func (r alarmRow) Waits() bool {
	return r.Acknowledged.IsZero() && r.Delivery != alarms.Held && r.Delivery != alarms.Past
}

// alarmRows makes the rows of a list.
func (d *Dash) alarmRows(v *visit, entries []alarms.Entry, back string) []alarmRow {
	rows := make([]alarmRow, len(entries))
	for i := range entries {
		rows[i] = alarmRow{entries[i], d.deniedNote(v) == "", back, i}
	}
	return rows
}

// alarmFilters are what the list can show, by the word in its address.
var alarmFilters = map[string]alarms.Filter{
	"open": {Open: true}, "unacknowledged": {Unacknowledged: true}, "all": {},
}

// listAlarms is the page of alarms.
func (d *Dash) listAlarms(w http.ResponseWriter, v *visit) error {
	p := &page{Title: "Alarms", Tab: "/ui/alarms"}
	if d.cfg.Alarms == nil {
		return d.show(w, v, "alarms.html", p)
	}
	ctx, q := v.Context(), v.URL.Query()
	data := &alarmsData{Monitoring: d.catching(), Show: q.Get("show"), Model: q.Get("model")}
	filter, ok := alarmFilters[data.Show]
	if !ok {
		data.Show, filter = "unacknowledged", alarmFilters["unacknowledged"]
	}
	for i := range d.cfg.Project.Models {
		data.Models = append(data.Models, d.cfg.Project.Models[i].Name)
	}
	if data.Model != "" && !slices.Contains(data.Models, data.Model) {
		data.Models = append(data.Models, data.Model) // one that the project had once
	}
	filter.Model = data.Model
	var err error
	if data.Counts, err = d.cfg.Alarms.Count(ctx); err != nil {
		return err
	}
	entries, err := d.cfg.Alarms.List(ctx, filter)
	if err != nil {
		return err
	}
	data.Cut = len(entries) == alarms.MaxList
	data.Pager = paging(v.URL, len(entries))
	data.List = d.alarmRows(v, shown(entries, &data.Pager), "alarms")
	if data.Actions, err = d.cfg.Alarms.Actions(ctx, actionsShown); err != nil {
		return err
	}
	p.Data = data
	return d.show(w, v, "alarms.html", p)
}

// acknowledge keeps that somebody has taken note of an alarm.
func (d *Dash) acknowledge(w http.ResponseWriter, v *visit) error {
	if d.cfg.Alarms == nil {
		return notFound("Nothing is monitored here, and there are no alarms.")
	}
	if err := forbidden(d.deniedNote(v)); err != nil {
		return err
	}
	comment, err := written(v, "comment")
	if err != nil {
		return err
	}
	err = d.cfg.Alarms.Acknowledge(v.Context(), v.PostForm.Get("id"), v.user, comment)
	switch text := alarmText(err); {
	case errors.Is(err, alarms.ErrNotFound):
		return notFound("%s. The page Alarms shows those that there are.", text)
	case errors.Is(err, alarms.ErrConflict):
		return &fault{Status: http.StatusConflict, Title: "Acknowledged already", Text: text + ". Nothing is left to do."}
	case err != nil:
		return err
	}
	back := "/ui/alarms"
	if v.PostForm.Get("back") == "overview" {
		back = "/ui/"
	}
	http.Redirect(w, v.Request, withQuery(back, "done", "acknowledge"), http.StatusSeeOther)
	return nil
}

func alarmText(err error) string {
	if err == nil {
		return ""
	}
	return upper(strings.TrimPrefix(err.Error(), "alarms: "))
}

// note keeps in the audit what somebody did, or was refused.
func (d *Dash) note(ctx context.Context, v *visit, what, object, detail string) {
	if d.cfg.Alarms == nil {
		return
	}
	// Also where the visitor has left: it was done.
	err := d.cfg.Alarms.Note(context.WithoutCancel(ctx), alarms.Action{Who: v.user, What: what, Object: object, Detail: detail})
	if err != nil {
		d.cfg.Log.Error("the audit could not be written", "who", v.user, "what", what, "object", object, "detail", detail, "error", err)
	}
}
