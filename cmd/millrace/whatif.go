package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/trainer/whatif"
)

type whatifCmd struct {
	projectFlag
	Model   string            `arg:"" placeholder:"MODEL" help:"The model."`
	Entity  map[string]string `arg:"" placeholder:"FIELD=VALUE" help:"Whom to ask about, as symbol=AAPL: each field of the model's entity."`
	AsOf    time.Time         `placeholder:"TIME" help:"The moment to ask about, as 2026-03-01T09:30:00Z. Without it, that of the newest event in the lake."`
	Set     map[string]string `mapsep:"none" placeholder:"FEATURE=VALUE" help:"Had a feature this value, as daily.last_ret=0.05; with nothing behind the = it is missing."`
	Window  map[string]string `mapsep:"none" placeholder:"FEATURE=LENGTH" help:"Had a feature's window this length, as daily.ret_std_30d=60d."`
	Request map[string]string `mapsep:"none" placeholder:"NAME=NUMBER" help:"A value of request.NAME, for features that are worked out on demand."`
	Past    int               `default:"2000" placeholder:"N" help:"Score so many of the newest examples anew; 0: none. The default is 2000."`
	All     bool              `help:"Set the values of --set in the past examples, too."`
	JSON    bool              `help:"Print a JSON object: {\"model\", \"entity\", \"as_of\", \"lake\", \"features\", \"before\", \"after\", \"past\", \"notes\"}."`
}

func (whatifCmd) Help() string {
	return `Says what the version that serves would have answered, had features other values or their windows another length.

A changed window is computed anew from the events in the lake, for the entity and for the past examples of the model, whose losses are compared. The version is not trained again: it sees the changed features as they are. A value is set for the entity alone; with --all, in the past examples, too. What is computed on demand of a changed feature follows it.

ADDS and THEN are what each input adds to the score, before and after: with the base they add up to its log-odds, or to the mean itself (its logarithm where XGBoost or LightGBM has trained a model of counts). For trees they are Shapley values.

This needs no server. The lake has all but the last minute of what a running project has taken.

Examples:

	millrace whatif big_move symbol=AAPL --set daily.last_ret=0.05
	millrace whatif big_move symbol=AAPL --as-of 2008-10-10T20:00:00Z --window daily.ret_std_30d=60d`
}

func (c *whatifCmd) Run(ctx context.Context, a *app) (err error) {
	p, r, err := c.registry()
	if err != nil {
		return err
	}
	if r != nil {
		defer func() { err = errors.Join(err, r.Close()) }()
	}
	if p.Model(c.Model) == nil {
		return noModel(p, c.Model)
	}
	q := whatif.Question{Model: c.Model, Entity: c.Entity, AsOf: c.AsOf, Values: c.Set, Windows: c.Window, Request: c.Request, Past: c.Past, All: c.All}
	switch {
	case c.Past < 0:
		return usagef("--past %d: give 0 or more", c.Past)
	case c.Past == 0:
		q.Past = whatif.NoPast
	}
	show := newProgress(a.stderr, 0)
	answer, err := newLab(p, r).Ask(ctx, q, func(done, of int64) {
		show.total = of
		show.show(done, done)
	})
	show.clear()
	var fault *whatif.Fault
	if errors.As(err, &fault) {
		return usagef("%s: %s", flagOf(fault.Field), fault.Problem)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(answer)
	}
	return printAnswer(a.stdout, answer)
}

// newLab returns what answers questions about a project's models. The registry is
// nil where there is none yet.
func newLab(p *project.Project, r *registry.Registry) *whatif.Lab {
	c := whatif.Config{
		Project: p.Name, Plans: p.Plans, Views: p.Views, Bundles: p.ModelsDir(), Registry: r, Trusted: trusted(p), ParseLength: project.ParseDuration,
	}
	if !p.Lake.Off {
		c.Lake = p.Lake.Dir
	}
	for i := range p.Models {
		m := &p.Models[i].Model
		c.Models = append(c.Models, whatif.Model{Name: m.Name, Task: m.Task, Inputs: m.Inputs, Entity: m.Entity, Label: m.Label, Gate: m.Gate})
	}
	return whatif.New(c)
}

// flagOf is what a field of a question is called here.
func flagOf(field string) string {
	if field == "as_of" {
		return "--as-of"
	}
	kind, name, _ := strings.Cut(field, ".")
	flag := map[string]string{"values": "--set", "windows": "--window", "request": "--request", "past": "--past"}[kind]
	switch {
	case flag == "":
		return strings.TrimSpace(kind + " " + name)
	case name == "":
		return flag
	}
	return flag + " " + name
}

func printAnswer(w io.Writer, a *whatif.Answer) error {
	var whom []string
	for _, field := range slices.Sorted(maps.Keys(a.Entity)) {
		whom = append(whom, field+"="+oneLine(a.Entity[field], 60))
	}
	fmt.Fprintf(w, "%s of %s as of %s; the lake's newest event is of %s\n\n", a.Model, strings.Join(whom, " "), instant(a.AsOf), instant(a.Lake))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, window, before, after, adds, then, mark string) {
		if a.Base == nil { // the model cannot say
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", name, window, before, after, mark)
			return
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, window, before, after, adds, then, mark)
	}
	line("FEATURE", "WINDOW", "BEFORE", "AFTER", "ADDS", "THEN", "")
	of := false
	for i := range a.Features {
		f := &a.Features[i]
		if !f.Input && !of {
			of = true
			line("computed of:", "", "", "", "", "", "")
		}
		mark, adds, then := "", "-", "-"
		if f.Changed {
			mark = "changed"
		}
		if f.Adds != nil {
			adds, then = fmt.Sprintf("%+.3g", f.Adds.Before), fmt.Sprintf("%+.3g", f.Adds.After)
		}
		line(f.Name, cmp.Or(f.Window, "-"), shortValue(f.Before), shortValue(f.After), adds, then, mark)
	}
	line("", "", "", "", "", "", "")
	if a.Base != nil {
		base := fmt.Sprintf("%+.3g", *a.Base)
		line("base", "", "", "", base, base, "")
	}
	line("score of "+versionName(a.After.Version), "", fmt.Sprintf("%.6g", a.Before.Value), fmt.Sprintf("%.6g", a.After.Value), "", "", "")
	if err := t.Flush(); err != nil {
		return err
	}
	if a.Past != nil {
		if err := printPast(w, a.Past); err != nil {
			return err
		}
	}
	for _, note := range a.Notes {
		fmt.Fprintf(w, "\nnote: %s", note)
	}
	if len(a.Notes) > 0 {
		fmt.Fprintln(w)
	}
	return nil
}

// shortValue is a value for people: of a number six digits.
func shortValue(v whatif.Value) string {
	if v.Kind == expr.Float && !v.Missing() {
		return fmt.Sprintf("%.6g", v.Float())
	}
	return cmp.Or(oneLine(v.String(), 40), "-")
}

func printPast(w io.Writer, p *whatif.Past) error {
	fmt.Fprintf(w, "\npast: %s, predicted from %s to %s\n", count(int64(p.Rows), "example"), instant(p.From), instant(p.To))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  \tBEFORE\tAFTER")
	fmt.Fprintf(t, "  loss\t%s\t%s\n", digits(&p.LossBefore), digits(&p.LossAfter))
	if p.AUCBefore.Defined() || p.AUCAfter.Defined() {
		fmt.Fprintf(t, "  AUC\t%s\t%s\n", digits(&p.AUCBefore), digits(&p.AUCAfter))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "  gain %s %s at %.4g %% each side: by how much the loss is lower after\n", digits(&p.Gain.Mean), bracket(p.Gain), 100*p.Confidence)
	if err == nil && p.Recomputed > 0 {
		_, err = fmt.Fprintf(w, "  computed from the lake; before the change %s of %s equal what was served, to the bit\n", thousands(int64(p.Equal)), count(int64(p.Recomputed), "vector"))
	}
	return err
}
