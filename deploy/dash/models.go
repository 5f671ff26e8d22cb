package dash

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/millrace/millrace/deploy/registry"
)

// waitingShown is how many versions in review a row of a list names.
const waitingShown = 2

// A modelRow is what lists say of a model.
type modelRow struct {
	Name    string
	Dropped bool // the project has it no more
	registry.Serving
	Since    time.Time // when the champion became it; zero: there is none
	Learned  time.Time // when the last label that the champion learned from became known
	Waiting  []int     // versions in review, the newest few, newest first
	Older    int       // versions in review that are not among them
	Judging  int
	Versions int
	Newest   *registry.Version // nil: none
}

// rows gathers what lists say of models.
func (d *Dash) rows(ctx context.Context, names []string, states map[string]map[registry.State]int) ([]modelRow, error) {
	rows := make([]modelRow, len(names))
	for i, name := range names {
		rows[i] = modelRow{Name: name, Dropped: d.cfg.Project.Model(name) == nil}
		if err := d.fill(ctx, &rows[i], states[name]); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func (d *Dash) fill(ctx context.Context, row *modelRow, states map[registry.State]int) error {
	r := d.cfg.Registry
	var err error
	if row.Serving, err = r.Serving(ctx, row.Name); err != nil {
		return err
	}
	if row.Champion != registry.BaseRateVersion {
		if err := d.fillChampion(ctx, row); err != nil {
			return err
		}
	}
	for _, n := range states {
		row.Versions += n
	}
	row.Judging = states[registry.Judging]
	if states[registry.Review] > 0 {
		waiting, err := r.VersionsIn(ctx, row.Name, registry.Review)
		if err != nil {
			return err
		}
		for i := range waiting {
			row.Waiting = append(row.Waiting, waiting[len(waiting)-1-i].Number)
		}
		if n := len(row.Waiting); n > waitingShown {
			row.Waiting, row.Older = row.Waiting[:waitingShown], n-waitingShown
		}
	}
	if row.Versions > 0 {
		newest, err := r.VersionsBelow(ctx, row.Name, 0, 1)
		if err != nil {
			return err
		}
		if len(newest) > 0 {
			row.Newest = &newest[0]
		}
	}
	return nil
}

func (d *Dash) fillChampion(ctx context.Context, row *modelRow) error {
	v, err := d.cfg.Registry.Version(ctx, row.Name, row.Champion)
	if err != nil {
		return err
	}
	row.Learned = micros(v.Cutoff)
	became, err := d.cfg.Registry.Events(ctx, registry.EventFilter{Model: row.Name, Version: row.Champion, What: []string{string(registry.Champion)}, Limit: 1})
	if len(became) > 0 {
		row.Since = became[0].Time
	}
	return err
}

// names are the models of the project, in its order, and after them those that it
// had once.
func (d *Dash) names(states map[string]map[registry.State]int) []string {
	var names, dropped []string
	for i := range d.cfg.Project.Models {
		names = append(names, d.cfg.Project.Models[i].Name)
	}
	for name := range states {
		if d.cfg.Project.Model(name) == nil {
			dropped = append(dropped, name)
		}
	}
	slices.Sort(dropped)
	return append(names, dropped...)
}

// modelsData is what the list of models shows.
type modelsData struct {
	Rows    []modelRow
	Pager   pager
	Review  bool // only those with a version in review
	Waiting int  // models with a version in review
	All     int
}

// models is the list of models.
func (d *Dash) models(w http.ResponseWriter, v *visit) error {
	p := &page{Title: "Models", Tab: "/ui/models"}
	if d.cfg.Registry == nil {
		return d.show(w, v, "models.html", p)
	}
	states, err := d.cfg.Registry.States(v.Context())
	if err != nil {
		return err
	}
	data := &modelsData{Review: v.URL.Query().Get("state") == "review"}
	query := search(v.URL)
	var found []string
	for _, name := range d.names(states) {
		data.All++
		waits := states[name][registry.Review] > 0
		if waits {
			data.Waiting++
		}
		if matches(name, query) && (waits || !data.Review) {
			found = append(found, name)
		}
	}
	data.Pager = paging(v.URL, len(found))
	if data.Rows, err = d.rows(v.Context(), shown(found, &data.Pager), states); err != nil {
		return err
	}
	p.Data = data
	return d.show(w, v, "models.html", p)
}

// known returns the name of the model that an address names.
func (d *Dash) known(v *visit) (string, error) {
	name := v.PathValue("model")
	if d.cfg.Registry == nil {
		return "", notFound("The project has no models. Describe one under models: in the project file, and start the server again.")
	}
	if d.cfg.Project.Model(name) != nil {
		return name, nil
	}
	states, err := d.cfg.Registry.States(v.Context())
	if err == nil && states[name] == nil {
		err = notFound("There is no model %s. The page Models lists all that there are.", short(name, 100))
	}
	return name, err
}

// modelPath is the address of a model's page, or of one below it.
func modelPath(model string, more ...any) string {
	return pathOf(append([]any{"models", model}, more...)...)
}

// withQuery adds parameters to an address.
func withQuery(path string, pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return path + "?" + q.Encode()
}
