package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/trainer/eval"
)

type modelsListCmd struct {
	projectFlag
	Model string `arg:"" optional:"" placeholder:"MODEL" help:"Only this model."`
	JSON  bool   `help:"Print a JSON object: {\"serving\": [...], \"versions\": [...]}; versions are newest first."`
}

func (modelsListCmd) Help() string {
	return `LOSS and CHAMPION are what the gate saw, on the same rows: log loss, or squared error of a regression; less is better. CUT-OFF is when the last label that a version learned from became known.

Examples:

	millrace models list
	millrace models list big_move --json`
}

// A versionView is a version for the eyes of people and programs.
type versionView struct {
	Model        string         `json:"model"`
	Version      int            `json:"version"`
	Learner      string         `json:"learner,omitempty"`
	State        registry.State `json:"state"`
	Verdict      string         `json:"verdict,omitempty"`
	Cutoff       time.Time      `json:"cutoff,omitzero"`
	Examples     int            `json:"examples,omitempty"`
	Baseline     *int           `json:"baseline,omitempty"` // the champion that it was judged against; 0: the base rate
	Loss         *eval.Number   `json:"loss,omitempty"`
	ChampionLoss *eval.Number   `json:"champion_loss,omitempty"`
	Reviewer     string         `json:"reviewer,omitempty"`
	Comment      string         `json:"comment,omitempty"`
	Reviewed     time.Time      `json:"reviewed,omitzero"`
	Author       string         `json:"author"`
	Created      time.Time      `json:"created"`
	Judged       time.Time      `json:"judged,omitzero"` // event time
	Bundle       string         `json:"bundle"`
	Run          int64          `json:"run"`
	Reasons      []string       `json:"reasons,omitempty"`
}

// A servingView is what serves a model.
type servingView struct {
	Model    string `json:"model"`
	Champion int    `json:"champion"`         // 0: the base rate
	Shadow   *int   `json:"shadow,omitempty"` // absent: none
	BaseRate struct {
		Value float64   `json:"value"`
		Count int64     `json:"count"`
		AsOf  time.Time `json:"as_of,omitzero"`
	} `json:"base_rate"`
}

type modelList struct {
	Serving  []servingView `json:"serving"`
	Versions []versionView `json:"versions"`
}

func (c *modelsListCmd) Run(ctx context.Context, a *app) error {
	p, r, err := c.registry()
	if err != nil {
		return err
	}
	list := modelList{Serving: []servingView{}, Versions: []versionView{}}
	if r != nil {
		defer r.Close()
		if err := list.read(ctx, p, r, c.Model); err != nil {
			return err
		}
	} else if err := list.nothing(p, c.Model); err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(list)
	}
	if len(list.Versions) == 0 {
		fmt.Fprintln(a.stdout, nothingYet(p, "version"))
	} else if err := list.printVersions(a.stdout); err != nil {
		return err
	}
	list.printServing(a.stdout)
	return nil
}

// nothing is the list while there is no registry: base rates serve.
func (l *modelList) nothing(p *project.Project, model string) error {
	if model != "" && p.Model(model) == nil {
		return noModel(p, model)
	}
	for _, name := range slices.Sorted(maps.Keys(namesOf(p, model))) {
		l.Serving = append(l.Serving, viewOfServing(name, &registry.Serving{Shadow: registry.NoVersion}))
	}
	return nil
}

// namesOf are the project's models, or the one of that name.
func namesOf(p *project.Project, model string) map[string]bool {
	names := map[string]bool{}
	for i := range p.Models {
		if name := p.Models[i].Name; model == "" || model == name {
			names[name] = true
		}
	}
	return names
}

func (l *modelList) read(ctx context.Context, p *project.Project, r *registry.Registry, model string) error {
	if model != "" {
		if err := knownModel(ctx, p, r, model); err != nil {
			return err
		}
	}
	versions, err := r.Versions(ctx, model)
	if err != nil {
		return err
	}
	runs, err := runsByID(ctx, r, model)
	if err != nil {
		return err
	}
	models := namesOf(p, model) // and those that the project had once
	for i := range versions {
		models[versions[i].Model] = true
		l.Versions = append(l.Versions, viewOf(&versions[i], runs[versions[i].Run]))
	}
	for _, name := range slices.Sorted(maps.Keys(models)) {
		s, err := r.Serving(ctx, name)
		if err != nil {
			return err
		}
		l.Serving = append(l.Serving, viewOfServing(name, &s))
	}
	return nil
}

func runsByID(ctx context.Context, r *registry.Registry, model string) (map[int64]*registry.Run, error) {
	runs, err := r.Runs(ctx, model)
	byID := make(map[int64]*registry.Run, len(runs))
	for i := range runs {
		byID[runs[i].ID] = &runs[i]
	}
	return byID, err
}

// viewOf makes the view of a version; run is nil where it is not at hand.
func viewOf(v *registry.Version, run *registry.Run) versionView {
	view := versionView{
		Model: v.Model, Version: v.Number, State: v.State, Verdict: v.Verdict, Cutoff: microTime(v.Cutoff),
		Reviewer: v.Reviewer, Comment: v.Comment, Reviewed: v.Reviewed, Author: v.Author, Created: v.Created, Judged: microTime(v.Judged),
		Bundle: v.Bundle, Run: v.Run, Reasons: v.Reasons,
	}
	if run != nil {
		view.Examples, view.Learner = examplesOf(run), learnerOf(run)
	}
	if v.Baseline != registry.NoVersion {
		view.Baseline = &v.Baseline
	}
	if j, ok := judgementOf(v); ok {
		view.Loss, view.ChampionLoss = numberOf(j.Loss, "candidate"), numberOf(j.Loss, "champion")
	}
	return view
}

func viewOfServing(model string, s *registry.Serving) servingView {
	view := servingView{Model: model, Champion: s.Champion}
	if s.Shadow != registry.NoVersion {
		view.Shadow = &s.Shadow
	}
	view.BaseRate.Value, view.BaseRate.Count, view.BaseRate.AsOf = s.BaseRate.Value, s.BaseRate.Count, microTime(s.BaseRate.AsOf)
	return view
}

// judgementOf returns what the gate has said about a version. A report that
// another version of millrace wrote otherwise counts as none: what is in it is
// still shown as it is, by --json.
func judgementOf(v *registry.Version) (j eval.Judgement, ok bool) {
	return j, v.Report != nil && json.Unmarshal(v.Report, &j) == nil
}

func numberOf(m map[string]eval.Number, name string) *eval.Number {
	if n, ok := m[name]; ok {
		return &n
	}
	return nil
}

// examplesOf returns how many examples a run learned from, 0 where its report
// does not say so.
func examplesOf(run *registry.Run) int {
	var report struct {
		Examples int `json:"examples"`
	}
	if run.Report == nil || json.Unmarshal(run.Report, &report) != nil {
		return 0
	}
	return report.Examples
}

// learnerOf returns what a run learned with, empty where its spec does not say so.
func learnerOf(run *registry.Run) string {
	var spec struct {
		Learner string `json:"learner"`
	}
	if json.Unmarshal(run.Spec, &spec) != nil {
		return ""
	}
	return spec.Learner
}

func (l *modelList) printVersions(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MODEL\tVERSION\tLEARNER\tSTATE\tVERDICT\tCUT-OFF\tEXAMPLES\tLOSS\tCHAMPION\tREVIEWED BY")
	for _, v := range l.Versions {
		champion := "-"
		if v.Baseline != nil {
			champion = fmt.Sprintf("%s (%s)", digits(v.ChampionLoss), versionName(*v.Baseline))
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", v.Model, v.Version, orDash(oneLine(v.Learner, 20)), v.State, orDash(v.Verdict), instant(v.Cutoff),
			someOf(v.Examples), digits(v.Loss), champion, orDash(v.Reviewer))
	}
	return t.Flush()
}

// printServing prints what serves each model, and what waits for a person.
func (l *modelList) printServing(w io.Writer) {
	if len(l.Serving) > 0 {
		fmt.Fprintln(w)
	}
	for _, s := range l.Serving {
		fmt.Fprintf(w, "%s: %s serves", s.Model, versionName(s.Champion))
		if s.Champion == registry.BaseRateVersion && s.BaseRate.Count > 0 {
			fmt.Fprintf(w, " (%.4g, of %s)", s.BaseRate.Value, count(s.BaseRate.Count, "label"))
		}
		if s.Shadow != nil {
			fmt.Fprintf(w, ", %s is in shadow", versionName(*s.Shadow))
		}
		fmt.Fprintln(w)
	}
	for _, v := range slices.Backward(l.Versions) {
		if v.State == registry.Review {
			fmt.Fprintf(w, "version %d of %s waits for review: millrace models show %[2]s %[1]d\n", v.Version, v.Model)
		}
	}
}

// The cells of tables.

func orDash(s string) string { return cmp.Or(s, "-") }

func instant(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func microTime(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

func someOf(n int) string {
	if n == 0 {
		return "-"
	}
	return thousands(int64(n))
}

func digits(n *eval.Number) string {
	if n == nil || !n.Defined() {
		return "-"
	}
	return strconv.FormatFloat(float64(*n), 'g', 5, 64)
}

// shortID is enough of a bundle's id to tell it from others.
func shortID(id string) string { return orDash(id[:min(len(id), 12)]) }
