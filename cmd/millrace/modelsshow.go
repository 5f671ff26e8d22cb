package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/trainer/eval"
)

type modelsShowCmd struct {
	projectFlag
	versionArgs
	JSON bool `help:"Print a JSON object: what models list gives, with {\"report\", \"lineage\", \"rollout\", \"history\"}."`
}

func (modelsShowCmd) Help() string {
	return `Example:

	millrace models show big_move 3`
}

// A versionPage is all that is known of a version.
type versionPage struct {
	versionView
	Report  json.RawMessage `json:"report,omitempty"` // the gate's judgement
	Lineage runView         `json:"lineage"`
	Rollout *rolloutView    `json:"rollout,omitempty"`
	History []eventView     `json:"history"`
}

type rolloutView struct {
	Previous int             `json:"previous"` // 0: the base rate
	Phase    registry.Phase  `json:"phase"`
	Began    time.Time       `json:"began"`
	Switched time.Time       `json:"switched,omitzero"`
	Ended    time.Time       `json:"ended,omitzero"`
	Why      string          `json:"why,omitempty"`
	Report   json.RawMessage `json:"report,omitempty"`
}

type eventView struct {
	Time time.Time `json:"time"`
	Who  string    `json:"who"`
	What string    `json:"what"`
	Why  string    `json:"why,omitempty"`
}

func (c *modelsShowCmd) Run(ctx context.Context, a *app) error {
	return c.withRegistry(func(p *project.Project, r *registry.Registry) error {
		if c.JSON {
			return showJSON(ctx, a, p, r, c.versionArgs)
		}
		page, err := readPage(ctx, p, r, c.versionArgs)
		if err != nil {
			return err
		}
		return page.print(a.stdout)
	})
}

func showJSON(ctx context.Context, a *app, p *project.Project, r *registry.Registry, v versionArgs) error {
	page, err := readPage(ctx, p, r, v)
	if err != nil {
		return err
	}
	return a.printJSON(page)
}

func readPage(ctx context.Context, p *project.Project, r *registry.Registry, args versionArgs) (*versionPage, error) {
	v, err := args.get(ctx, p, r)
	if err != nil {
		return nil, err
	}
	run, err := r.Run(ctx, v.Run)
	if err != nil {
		return nil, err
	}
	page := &versionPage{versionView: viewOf(&v, &run), Report: v.Report, Lineage: viewOfRun(&run), History: []eventView{}}
	rollouts, err := r.Rollouts(ctx, v.Model)
	if err != nil {
		return nil, err
	}
	for _, ro := range rollouts {
		if ro.Version == v.Number {
			page.Rollout = &rolloutView{ro.Previous, ro.Phase, ro.Began, ro.Switched, ro.Ended, ro.Why, ro.Report}
		}
	}
	events, err := r.History(ctx, v.Model)
	for _, e := range events {
		if e.Version == v.Number {
			page.History = append(page.History, eventView{e.Time, e.Who, e.What, e.Why})
		}
	}
	return page, err
}

// nextStep says what a version in this state waits for.
var nextStep = map[registry.State]string{
	registry.Judging:  "the rows that it is judged on are being gathered",
	registry.Review:   "a person decides: millrace models approve, or reject",
	registry.Approved: "\"millrace run\" or \"millrace deploy\" takes it into shadow",
	registry.Shadow:   "\"millrace run\" or \"millrace deploy\" makes it the champion once it has answered enough",
	registry.Champion: "it serves",
}

func (p *versionPage) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "version\t%d of %s\n", p.Version, p.Model)
	state := string(p.State)
	if next := nextStep[p.State]; next != "" {
		state += ": " + next
	}
	fmt.Fprintf(t, "state\t%s\nmade\t%s by %s with %s\nbundle\t%s\nrun\t%d\ncut-off\t%s\nexamples\t%s\n",
		state, instant(p.Created), p.Author, orDash(oneLine(p.Learner, 20)), p.Bundle, p.Run, instant(p.Cutoff), someOf(p.Examples))
	if p.Verdict != "" {
		fmt.Fprintf(t, "verdict\t%s against %s, as of %s\n", p.Verdict, versionName(*p.Baseline), instant(p.Judged))
	}
	for _, reason := range p.Reasons {
		fmt.Fprintf(t, "\t%s\n", oneLine(reason, 4<<10))
	}
	if p.Reviewer != "" {
		fmt.Fprintf(t, "reviewed\t%s by %s: %s\n", instant(p.Reviewed), p.Reviewer, orDash(oneLine(p.Comment, 4<<10)))
	}
	if ro := p.Rollout; ro != nil {
		fmt.Fprintf(t, "rollout\tphase %s, began %s beside %s, switched %s, ended %s: %s\n",
			ro.Phase, instant(ro.Began), versionName(ro.Previous), instant(ro.Switched), instant(ro.Ended), orDash(oneLine(ro.Why, 4<<10)))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	var j eval.Judgement
	if p.Report != nil && json.Unmarshal(p.Report, &j) == nil {
		if err := printJudgement(w, &j, versionName(*p.Baseline)); err != nil {
			return err
		}
		if err := printImportance(w, &j); err != nil {
			return err
		}
	}
	if err := printFields(w, "what it was trained on", p.Lineage.Spec); err != nil {
		return err
	}
	if p.Rollout != nil && p.Rollout.Report != nil {
		if err := printFields(w, "what the rollout has seen", p.Rollout.Report); err != nil {
			return err
		}
	}
	fmt.Fprintln(w, "\nhistory")
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, e := range p.History {
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", instant(e.Time), e.Who, e.What, oneLine(e.Why, 200))
	}
	return t.Flush()
}

// qualities are the metrics of a judgement, in the order in which they are shown.
var qualities = []struct {
	name string
	of   func(*eval.Quality) eval.Number
}{
	{"AUC", func(q *eval.Quality) eval.Number { return q.AUC }},
	{"average precision", func(q *eval.Quality) eval.Number { return q.AveragePrecision }},
	{"Brier score", func(q *eval.Quality) eval.Number { return q.Brier }},
	{"calibration", func(q *eval.Quality) eval.Number { return q.Calibration }},
	{"calibration error", func(q *eval.Quality) eval.Number { return q.ECE }},
	{"normalised entropy", func(q *eval.Quality) eval.Number { return q.NormalisedEntropy }},
	{"root mean square error", func(q *eval.Quality) eval.Number { return q.RMSE }},
	{"mean absolute error", func(q *eval.Quality) eval.Number { return q.MAE }},
	{"R2", func(q *eval.Quality) eval.Number { return q.R2 }},
}

func printJudgement(w io.Writer, j *eval.Judgement, champion string) error {
	fmt.Fprintf(w, "\njudged on %s at %s in %s\n", count(int64(j.Rows), "row"), count(int64(j.Times), "time"), count(int64(j.Blocks), "block"))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "  \tTHIS\t%s\n", champion)
	fmt.Fprintf(t, "  %s\t%s\t%s\n", j.Metric, digits(numberOf(j.Loss, "candidate")), digits(numberOf(j.Loss, "champion")))
	for _, q := range qualities {
		a, b := q.of(&j.Candidate), q.of(&j.Champion)
		if a.Defined() || b.Defined() {
			fmt.Fprintf(t, "  %s\t%s\t%s\n", q.name, digits(&a), digits(&b))
		}
	}
	fmt.Fprintf(t, "  gain\t%s\n", bounds(j))
	for _, name := range slices.Sorted(maps.Keys(j.Loss)) {
		if name != "candidate" && name != "champion" {
			fmt.Fprintf(t, "  %s of %s\t%s\n", j.Metric, name, digits(numberOf(j.Loss, name)))
		}
	}
	if err := t.Flush(); err != nil || len(j.Slices) == 0 {
		return err
	}
	fmt.Fprintf(w, "\nslices\n")
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  SLICE\tROWS\tTHIS\tCHAMPION\tGAIN\tBOUNDS\tSAID")
	for i := range j.Slices {
		s := &j.Slices[i]
		said := "not worse"
		switch {
		case s.Veto:
			said = "worse: a veto"
		case !s.Judged:
			said = "not judged: " + s.Why
		}
		fmt.Fprintf(t, "  %s=%s\t%d\t%s\t%s\t%s\t%s\t%s\n", s.Column, oneLine(s.Value, 40), s.Rows, digits(&s.Candidate.Loss), digits(&s.Champion.Loss),
			digits(&s.Gain.Mean), bracket(s.Gain), oneLine(said, 100))
	}
	return t.Flush()
}

// bounds is a gain with its one-sided bounds.
func bounds(j *eval.Judgement) string {
	return fmt.Sprintf("%s %s at %.4g %% each side, margin %v", digits(&j.Gain.Mean), bracket(j.Gain), 100*j.Confidence, j.Margin)
}

func bracket(b eval.Bounds) string { return fmt.Sprintf("[%s, %s]", digits(&b.Lo), digits(&b.Hi)) }

// printFields prints a JSON document as a table of paths and values.
func printFields(w io.Writer, title string, doc json.RawMessage) error {
	fields := flatten(doc)
	if len(fields) == 0 {
		return nil
	}
	fmt.Fprintf(w, "\n%s\n", title)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var lists map[string]any // those that have members, among others
	_ = json.Unmarshal(doc, &lists)
	var members []string // of the list that is being gone over
	paths := slices.Sorted(maps.Keys(fields))
	for i, path := range paths {
		list, member, _ := strings.Cut(path, ".")
		if _, ok := lists[list].([]any); !ok || fields[path] != isMember {
			fmt.Fprintf(t, "  %s\t%s\n", oneLine(path, 100), oneLine(fields[path], 200))
			continue
		}
		members = append(members, member)
		if i+1 == len(paths) || !strings.HasPrefix(paths[i+1], list+".") {
			fmt.Fprintf(t, "  %s\t%s\n", oneLine(list, 100), oneLine(strings.Join(members, ", "), 1000))
			members = nil
		}
	}
	return t.Flush()
}
