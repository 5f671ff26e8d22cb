package dash

import (
	"net/http"
	"slices"

	"github.com/millrace/millrace/deploy/alarms"
	"github.com/millrace/millrace/deploy/registry"
)

const (
	overviewModels  = 10 // rows, with those first that wait for somebody
	overviewWaiting = 5
)

// overviewData is what the overview shows.
type overviewData struct {
	State    state
	Pictures []picture
	Problems []string
	Waiting  []waiting  // models with candidates in review
	More     int        // models of those that are not shown
	Watched  bool       // there is a book of alarms
	Alarms   []alarmRow // open, newest first
	Models   []modelRow
	All      int // models
}

// A waiting is the newest candidate of a model that waits for a person. Each has
// learned what those before it have, so that it is the one to look at first.
type waiting struct {
	registry.Version
	Older int // candidates in review
}

// overview is the first page: the loop, what waits for somebody, what serves.
func (d *Dash) overview(w http.ResponseWriter, v *visit) error {
	data := &overviewData{}
	data.State, _ = d.now(v.Context())
	for _, narrow := range []bool{false, true} {
		data.Pictures = append(data.Pictures, pictureOf(&data.State, narrow))
	}
	if d.cfg.Problems != nil {
		data.Problems = d.cfg.Problems()
	}
	if err := d.overviewAlarms(v, data); err != nil {
		return err
	}
	if d.cfg.Registry != nil {
		if err := d.overviewModels(v, data); err != nil {
			return err
		}
	}
	return d.show(w, v, "overview.html", &page{Title: "Overview", Tab: "/ui/", Data: data})
}

// overviewAlarms gathers the newest alarms that are open, or that nobody has taken
// note of.
func (d *Dash) overviewAlarms(v *visit, data *overviewData) error {
	if d.cfg.Alarms == nil {
		return nil
	}
	counts, err := d.cfg.Alarms.Count(v.Context())
	if err != nil {
		return err
	}
	data.Watched = true
	filter := alarms.Filter{Unacknowledged: true, Limit: overviewAlarms}
	if counts.Unacknowledged == 0 {
		filter = alarms.Filter{Open: true, Limit: overviewAlarms}
	}
	entries, err := d.cfg.Alarms.List(v.Context(), filter)
	data.Alarms = d.alarmRows(v, entries, "overview")
	return err
}

func (d *Dash) overviewModels(v *visit, data *overviewData) error {
	ctx := v.Context()
	states, err := d.cfg.Registry.States(ctx)
	if err != nil {
		return err
	}
	names := d.names(states)
	data.All = len(names)
	waits := func(name string) int {
		if states[name][registry.Review] > 0 {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(names, func(a, b string) int { return waits(a) - waits(b) })
	if data.Models, err = d.rows(ctx, names[:min(len(names), overviewModels)], states); err != nil {
		return err
	}
	for _, name := range names {
		if waits(name) != 0 {
			break
		}
		if len(data.Waiting) == overviewWaiting {
			data.More++
			continue
		}
		found, err := d.cfg.Registry.VersionsIn(ctx, name, registry.Review)
		if err != nil {
			return err
		}
		if n := len(found); n > 0 {
			data.Waiting = append(data.Waiting, waiting{found[n-1], n - 1})
		}
	}
	return nil
}
