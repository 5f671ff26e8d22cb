package dash

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"slices"
	"strconv"

	"github.com/millrace/millrace/deploy/dash/chart"
	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/trainer/eval"
)

const (
	versionsPerPage = 25
	charted         = 100 // versions in the chart, the newest
	eventsShown     = 20
	trialsShown     = 10
)

// modelData is what the page of a model shows.
type modelData struct {
	modelRow
	Config   *project.Model // nil: the project has it no more
	Metric   string
	Metrics  []metric
	Chart    template.HTML
	List     []versionRow
	Older    string // the address of the next versions
	Newer    bool   // these are not the newest
	Failed   []registry.Event
	History  []registry.Event
	Rollback rollback
}

// A versionRow is what lists say of a version.
type versionRow struct {
	registry.Version
	HasReport bool
	Judgement eval.Judgement
}

// rowOf reads what the gate has said about a version. A report that another
// millrace wrote otherwise counts as none.
func rowOf(v *registry.Version) versionRow {
	row := versionRow{Version: *v}
	row.HasReport = v.Report != nil && json.Unmarshal(v.Report, &row.Judgement) == nil && row.Judgement.Loss != nil
	return row
}

// Loss is the mean loss of candidate or champion on the rows of the judgement.
func (v versionRow) Loss(of string) eval.Number {
	if n, ok := v.Judgement.Loss[of]; ok && v.HasReport {
		return n
	}
	return eval.Undefined()
}

// A rollback is whether and by whom a model is rolled back.
type rollback struct {
	Possible bool
	Version  int    // that is taken back
	To       int    // that serves then
	By, Why  string // who has asked for it; the deployer has yet to do it
	Denied   string // why the visitor may not
}

// model is the page of a model.
func (d *Dash) model(w http.ResponseWriter, v *visit) error {
	name, err := d.known(v)
	if err != nil {
		return err
	}
	ctx := v.Context()
	states, err := d.cfg.Registry.States(ctx)
	if err != nil {
		return err
	}
	rows, err := d.rows(ctx, []string{name}, states)
	if err != nil {
		return err
	}
	data := &modelData{modelRow: rows[0], Config: d.cfg.Project.Model(name)}
	if err := d.modelVersions(v, data); err != nil {
		return err
	}
	if data.History, err = d.cfg.Registry.Events(ctx, registry.EventFilter{Model: name, Limit: eventsShown}); err != nil {
		return err
	}
	data.Failed, err = d.cfg.Registry.Events(ctx, registry.EventFilter{Model: name, What: []string{string(registry.Stopped), string(registry.Failed)}, Limit: trialsShown})
	if err != nil {
		return err
	}
	if data.Rollback, err = d.rollbackOf(ctx, v, &data.modelRow); err != nil {
		return err
	}
	return d.show(w, v, "model.html", &page{Title: name, Tab: "/ui/models", Data: data, Scripts: []string{"chart.js"}})
}

// modelVersions reads the versions of the list and those of the chart.
func (d *Dash) modelVersions(v *visit, data *modelData) error {
	below, _ := strconv.Atoi(v.URL.Query().Get("below"))
	below = max(0, below)
	data.Newer = below > 0
	list, err := d.cfg.Registry.VersionsBelow(v.Context(), data.Name, below, versionsPerPage)
	if err != nil {
		return err
	}
	for i := range list {
		data.List = append(data.List, rowOf(&list[i]))
	}
	if n := len(list); n == versionsPerPage && list[n-1].Number > 1 {
		data.Older = withQuery(modelPath(data.Name), "below", strconv.Itoa(list[n-1].Number))
	}
	newest, err := d.cfg.Registry.VersionsBelow(v.Context(), data.Name, 0, charted)
	if err != nil {
		return err
	}
	all := make([]versionRow, len(newest))
	for i := range newest {
		all[i] = rowOf(&newest[i])
	}
	slices.Reverse(all)
	data.Metrics = metricsOf(all)
	data.Metric = v.URL.Query().Get("metric")
	i := slices.IndexFunc(data.Metrics, func(m metric) bool { return m.Name == data.Metric })
	if i < 0 {
		i, data.Metric = 0, "loss"
	}
	if len(data.Metrics) > 0 {
		data.Chart = metricChart(all, &data.Metrics[i])
	}
	return nil
}

// rollbackOf says what a rollback would do.
func (d *Dash) rollbackOf(ctx context.Context, v *visit, row *modelRow) (rollback, error) {
	ro, who, why, asked, err := d.cfg.Registry.RollbackRequested(ctx, row.Name)
	if err != nil {
		return rollback{}, err
	}
	if asked {
		return rollback{Version: ro.Version, To: ro.Previous, By: who, Why: why}, nil
	}
	ro, ok, err := d.cfg.Registry.Rollout(ctx, row.Name)
	if err == nil && !ok && row.Champion != registry.BaseRateVersion {
		ro, ok, err = d.cfg.Registry.RolloutOf(ctx, row.Name, row.Champion)
	}
	return rollback{Possible: ok, Version: ro.Version, To: ro.Previous, Denied: d.denied(v)}, err
}

// A metric is one figure of a judgement, of both models.
type metric struct {
	Name, Title string
	of          func(*eval.Judgement) (candidate, champion eval.Number)
}

// metrics are those that a chart can show, besides the gain, whose bounds are drawn.
var metrics = []metric{
	{"loss", "Loss", func(j *eval.Judgement) (eval.Number, eval.Number) { return j.Loss["candidate"], j.Loss["champion"] }},
	{"gain", "Gain", func(j *eval.Judgement) (eval.Number, eval.Number) { return j.Gain.Mean, eval.Undefined() }},
	quality("auc", "AUC", func(q *eval.Quality) eval.Number { return q.AUC }),
	quality("average_precision", "Average precision", func(q *eval.Quality) eval.Number { return q.AveragePrecision }),
	quality("brier", "Brier score", func(q *eval.Quality) eval.Number { return q.Brier }),
	quality("calibration", "Calibration", func(q *eval.Quality) eval.Number { return q.Calibration }),
	quality("ece", "Calibration error", func(q *eval.Quality) eval.Number { return q.ECE }),
	quality("normalised_entropy", "Normalised entropy", func(q *eval.Quality) eval.Number { return q.NormalisedEntropy }),
	quality("rmse", "Root mean square error", func(q *eval.Quality) eval.Number { return q.RMSE }),
	quality("mae", "Mean absolute error", func(q *eval.Quality) eval.Number { return q.MAE }),
	quality("r2", "R²", func(q *eval.Quality) eval.Number { return q.R2 }),
}

func quality(name, title string, of func(*eval.Quality) eval.Number) metric {
	return metric{name, title, func(j *eval.Judgement) (eval.Number, eval.Number) { return of(&j.Candidate), of(&j.Champion) }}
}

// metricsOf returns the metrics that some version has.
func metricsOf(all []versionRow) []metric {
	var found []metric
	for _, m := range metrics {
		if slices.ContainsFunc(all, func(v versionRow) bool {
			candidate, _ := m.of(&v.Judgement)
			return v.HasReport && candidate.Defined()
		}) {
			found = append(found, m)
		}
	}
	return found
}

// metricChart draws a metric over versions: each candidate, and the champion that
// it was judged against on the same rows. Versions were judged on different rows, so
// that only the two above each other compare.
func metricChart(all []versionRow, m *metric) template.HTML {
	c := chart.Line{
		Title: m.Title + " by version", Unit: m.Title, XName: "version", Whole: true, Size: chart.Wide,
		Desc:  "Each candidate beside the champion on the rows that it was judged on. Those of different versions are of different rows.",
		Empty: "No version has been judged yet.",
	}
	candidate, champion := chart.Series{Name: "candidate", Dots: true}, chart.Series{Name: "champion on the same rows", Dots: true, Tone: chart.Muted}
	for i := range all {
		v := &all[i]
		if !v.HasReport {
			continue
		}
		a, b := m.of(&v.Judgement)
		x := float64(v.Number)
		candidate.X, candidate.Y = append(candidate.X, x), append(candidate.Y, float64(a))
		champion.X, champion.Y = append(champion.X, x), append(champion.Y, float64(b))
		if m.Name == "gain" {
			candidate.Lo = append(candidate.Lo, float64(v.Judgement.Gain.Lo))
			candidate.Hi = append(candidate.Hi, float64(v.Judgement.Gain.Hi))
		}
		if became := v.State == registry.Champion || v.State == registry.Retired; became {
			c.Marks = append(c.Marks, chart.Mark{X: x, Y: math.NaN(), Kind: chart.Version, Text: fmt.Sprintf("%d served", v.Number)})
		}
	}
	c.Series = []chart.Series{champion, candidate} // the candidate on top
	switch m.Name {
	case "gain":
		c.Series, c.Levels = c.Series[1:], []chart.Level{{Name: "no gain", Y: 0}}
		c.Unit = "loss less than the champion's"
		c.Desc = "By how much each candidate's loss is below the champion's on the same rows, with the bounds of the gate. Above 0 the candidate is better."
	case "loss":
		for i := range all {
			c.Unit = cmp.Or(all[i].Judgement.Metric, c.Unit)
		}
	}
	return c.HTML()
}
