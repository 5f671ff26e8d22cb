package dash

import (
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strconv"

	"github.com/millrace/millrace/deploy/dash/chart"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/trainer/dataset"
	"github.com/millrace/millrace/trainer/eval"
)

const anomaliesShown = 100

// versionData is what the page of a version shows.
type versionData struct {
	versionRow
	Next       string // what it waits for
	Denied     string // why the visitor may not decide
	CanApprove bool
	CanReject  bool
	Rows       []comparison
	Gain       template.HTML
	Slices     []eval.SliceReport // of the page
	SliceChart template.HTML
	Pager      pager
	Importance *importance
	Run        runData
	Rollout    *registry.Rollout
	Seen       []leaf // by the rollout
	History    []registry.Event
}

// A comparison is one metric of a version and of its champion.
type comparison struct {
	Title       string
	This, Other eval.Number
}

// nextStep says what a version in a state waits for.
var nextStep = map[registry.State]string{
	registry.Judging:    "The rows that it is judged on are being gathered.",
	registry.Review:     "It has beaten the champion, and a person decides whether it serves.",
	registry.Approved:   "It goes into shadow as soon as the deployer comes to it.",
	registry.Shadow:     "It is asked beside the champion, and becomes it once it has answered enough. Nobody sees its answers.",
	registry.Champion:   "It serves.",
	registry.Retired:    "It served until another took its place.",
	registry.Closed:     "The gate did not promote it.",
	registry.Rejected:   "A person kept it out of service.",
	registry.Superseded: "Another version became champion first.",
	registry.RolledBack: "It was taken back.",
	registry.Broken:     "Its files could not be loaded.",
}

// found returns the version that an address names.
func (d *Dash) found(v *visit) (registry.Version, error) {
	name, err := d.known(v)
	if err != nil {
		return registry.Version{}, err
	}
	number, err := strconv.Atoi(v.PathValue("version"))
	if err != nil || number < 1 {
		return registry.Version{}, notFound("%s is no number of a version. The page of model %s lists all that there are.", short(v.PathValue("version"), 40), name)
	}
	version, err := d.cfg.Registry.Version(v.Context(), name, number)
	if errors.Is(err, registry.ErrNotFound) {
		err = notFound("Model %s has no version %d. Its page lists all that there are.", name, number)
	}
	return version, err
}

// version is the page of a version.
func (d *Dash) version(w http.ResponseWriter, v *visit) error {
	found, err := d.found(v)
	if err != nil {
		return err
	}
	ctx, r := v.Context(), d.cfg.Registry
	data := &versionData{versionRow: rowOf(&found), Next: nextStep[found.State]}
	data.CanApprove = found.State == registry.Review
	data.CanReject = found.State == registry.Review || found.State == registry.Approved
	data.Denied = d.deniedReview(v, &found)
	if data.HasReport {
		data.compare(v)
	}
	run, err := r.Run(ctx, found.Run)
	if err != nil {
		return err
	}
	data.Run = readRun(&run)
	ro, ok, err := r.RolloutOf(ctx, found.Model, found.Number)
	if err != nil {
		return err
	}
	if ok {
		data.Rollout, data.Seen = &ro, leaves(ro.Report)
	}
	if data.History, err = r.Events(ctx, registry.EventFilter{Model: found.Model, Version: found.Number, Limit: eventsShown}); err != nil {
		return err
	}
	return d.show(w, v, "version.html", &page{Title: fmt.Sprintf("%s, version %d", found.Model, found.Number), Tab: "/ui/models", Data: data, Scripts: []string{"chart.js"}})
}

// compare sets out the judgement.
func (data *versionData) compare(v *visit) {
	j := &data.Judgement
	data.Rows = append(data.Rows, comparison{"Mean " + j.Metric, data.Loss("candidate"), data.Loss("champion")})
	for _, m := range metrics[2:] {
		if a, b := m.of(j); a.Defined() || b.Defined() {
			data.Rows = append(data.Rows, comparison{m.Title, a, b})
		}
	}
	data.Pager = paging(v.URL, len(j.Slices))
	data.Slices = shown(j.Slices, &data.Pager)
	c := chart.Intervals{
		Title: "Gain over " + versionName(data.Baseline), Unit: j.Metric + " less than the champion's", At: j.Margin, AtName: fmt.Sprintf("margin %v", j.Margin),
		Desc: fmt.Sprintf("Of all rows and of each slice, with bounds of %.4g %% on each side. Right of the line the version is better.", 100*j.Confidence),
		Rows: []chart.Interval{intervalOf("all rows", j.Rows, j.Gain, false)},
	}
	for i := range data.Slices {
		s := &data.Slices[i]
		c.Rows = append(c.Rows, intervalOf(s.Column+"="+s.Value, s.Rows, s.Gain, s.Veto))
	}
	data.SliceChart = c.HTML()
	data.Importance = importanceOf(j)
}

func intervalOf(label string, rows int, b eval.Bounds, veto bool) chart.Interval {
	x := chart.Interval{Label: short(label, 40), Note: plural(rows, "row"), Y: float64(b.Mean), Lo: float64(b.Lo), Hi: float64(b.Hi)}
	if veto {
		x.Tone = chart.Bad
	}
	return x
}

// Said is what the gate says of a slice.
func (versionData) Said(s eval.SliceReport) string {
	switch {
	case s.Veto:
		return "worse: a veto"
	case !s.Judged:
		return "not judged: " + s.Why
	}
	return "not worse"
}

// runData is what pages say of a training.
type runData struct {
	registry.Run
	Lineage   lineage
	Params    []leaf
	Metrics   []leaf
	Anomalies []dataset.Anomaly
	More      int // anomalies that are not shown
}

// A lineage is what determines a candidate, as trainer writes it.
type lineage struct {
	Task     string          `json:"task"`
	Set      string          `json:"set"`
	Features []string        `json:"features"`
	Label    string          `json:"label"`
	Learner  string          `json:"learner"`
	Params   json.RawMessage `json:"params"`
	Code     string          `json:"code"`
	Topic    string          `json:"topic"`
	Window   int             `json:"window"`
	Known    int64           `json:"known"`
	Ranges   []struct {
		Partition int   `json:"partition"`
		First     int64 `json:"first"`
		Next      int64 `json:"next"`
	} `json:"ranges"`
}

func readRun(run *registry.Run) runData {
	data := runData{Run: *run, Metrics: leaves(run.Report)}
	if json.Unmarshal(run.Spec, &data.Lineage) != nil {
		data.Lineage = lineage{} // of another millrace: shown as it is
		data.Params = leaves(run.Spec)
	} else {
		data.Params = leaves(data.Lineage.Params)
	}
	if run.Anomalies != nil {
		_ = json.Unmarshal(run.Anomalies, &data.Anomalies)
	}
	if n := len(data.Anomalies); n > anomaliesShown {
		data.Anomalies, data.More = data.Anomalies[:anomaliesShown], n-anomaliesShown
	}
	return data
}

// run is the page of a training, also of one that made no version.
func (d *Dash) run(w http.ResponseWriter, v *visit) error {
	name, err := d.known(v)
	if err != nil {
		return err
	}
	id, _ := strconv.ParseInt(v.PathValue("run"), 10, 64)
	run, err := d.cfg.Registry.Run(v.Context(), id)
	if errors.Is(err, registry.ErrNotFound) || err == nil && run.Model != name {
		return notFound("Model %s has no training %s. Its page lists the newest.", name, short(v.PathValue("run"), 40))
	}
	if err != nil {
		return err
	}
	return d.show(w, v, "run.html", &page{Title: fmt.Sprintf("%s, training %d", name, id), Tab: "/ui/models", Data: readRun(&run)})
}
