package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/offline"
	"github.com/millrace/millrace/streams/lake"
)

type datasetCmd struct {
	Build    datasetBuildCmd    `cmd:"" help:"Build a training set: features as they were at past moments."`
	Profile  datasetProfileCmd  `cmd:"" help:"Say what is in the columns of a data set."`
	Validate datasetValidateCmd `cmd:"" help:"Say whether a data set is fit to learn from."`
}

type datasetBuildCmd struct {
	projectFlag
	View           string            `placeholder:"VIEW" help:"The view. Without it, the only one of the project."`
	Events         map[string]string `mapsep:"none" placeholder:"SOURCE=FILE" help:"The events of the view's source, in the order of the log: JSON lines or CSV with a header line. Without it, those of the project's lake."`
	Probes         string            `required:"" placeholder:"FILE" help:"What to ask: JSON lines or CSV with the fields of the entity, as_of (as 2026-03-01T09:30:00Z) and, for features on demand, the request's values. Further columns are kept."`
	Out            string            `required:"" placeholder:"FILE" help:"The dataset: the probes with a column for each feature, as CSV, or as JSON lines where FILE ends with .jsonl."`
	KnownBy        string            `enum:"all,arrival" default:"all" placeholder:"all|arrival" help:"With arrival, a probe sees only what had arrived by then. The default, all, also shows it what came late."`
	ExcludeCurrent bool              `help:"Leave out what happened at as_of itself, as the event that a row is about."`
	JSON           bool              `help:"Print a JSON object: {\"rows\", \"events\", \"dropped\", \"duplicates\", \"rejected\", \"seconds\", \"out\"}."`
}

func (datasetBuildCmd) Help() string {
	return `Computes what a lookup would have answered at past moments, one row for each probe. Nothing has to run: events come from a file, or from the lake, which has all but the last minute of what a running project has taken, and all of it once the project has stopped.

Events that the pipeline would have refused, as too late or no event at all, are left out here, too, and counted.

Examples:

	millrace dataset build --view customer --events orders=orders.jsonl --probes probes.csv --out train.csv
	millrace dataset build --probes probes.csv --out train.jsonl

where probes.csv is:

	customer,as_of,amount,label
	anna,2026-03-20T12:00:00Z,80,1`
}

// A built is the data set that was built, for machines.
type built struct {
	Rows       int64            `json:"rows"`
	Events     int64            `json:"events"`
	Dropped    int64            `json:"dropped"`
	Duplicates int64            `json:"duplicates"`
	Rejected   map[string]int64 `json:"rejected"` // by reason
	Seconds    float64          `json:"seconds"`
	Out        string           `json:"out"`
}

func (c *datasetBuildCmd) Run(ctx context.Context, a *app) error {
	p, err := c.load()
	if err != nil {
		return err
	}
	plan, err := choosePlan(p, c.View)
	if err != nil {
		return err
	}
	events, err := c.events(p, plan)
	if err != nil {
		return err
	}
	show := newProgress(a.stderr, 0)
	out := built{Out: c.Out}
	rejected := 0
	counts, err := offline.BuildFiles(ctx, plan,
		offline.Files{Events: events, Probes: c.Probes, Out: c.Out, KnownByArrival: c.KnownBy == "arrival"},
		offline.Options{
			ExcludeCurrent: c.ExcludeCurrent,
			Progress: func(events, answered int64) {
				out.Rows = answered
				show.show(events, 0)
			},
			Rejected: func(_ *features.Event, why error) {
				if rejected++; rejected <= shownBad {
					show.clear()
					fmt.Fprintln(a.stderr, why)
				}
			},
		})
	show.clear()
	if err != nil {
		return err
	}
	out.Events, out.Dropped, out.Duplicates, out.Rejected = counts.Events, counts.Dropped, counts.Duplicates, counts.Rejected
	out.Seconds = time.Since(show.start).Seconds()
	if c.JSON {
		return a.printJSON(out)
	}
	fmt.Fprintf(a.stdout, "%s with %s in %s, from %s\n", count(out.Rows, "row"), count(int64(len(plan.Outputs())), "feature"), c.Out, count(out.Events, "event"))
	for _, reason := range slices.Sorted(maps.Keys(out.Rejected)) {
		fmt.Fprintf(a.stdout, "left out as %s: %s\n", reason, count(out.Rejected[reason], "event"))
	}
	return nil
}

// choosePlan returns the plan of that view, or of the only one.
func choosePlan(p *project.Project, view string) (*features.Plan, error) {
	if view == "" && len(p.Plans) == 1 {
		return p.Plans[0], nil
	}
	if plan := p.Plan(view); plan != nil {
		return plan, nil
	}
	var names []string
	for _, v := range p.Views {
		names = append(names, v.Name)
	}
	if view == "" {
		return nil, usagef("the project has the views %s: choose one with --view", strings.Join(names, ", "))
	}
	return nil, usagef("there is no view %q; the project has %s", view, strings.Join(names, ", "))
}

// events returns the file of the events, or the folder of the lake.
func (c *datasetBuildCmd) events(p *project.Project, plan *features.Plan) (string, error) {
	source := plan.Source.Name
	file, ok := c.Events[source]
	switch {
	case len(c.Events) > 1 || len(c.Events) == 1 && !ok:
		return "", usagef("view %s is of source %s: give --events %s=FILE", plan.View.Name, source, source)
	case ok:
		return file, nil
	case p.Lake.Off:
		return "", usagef("the project has no lake: give --events %s=FILE", source)
	}
	if _, err := os.Stat(lake.Folder(p.Lake.Dir, source)); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("the lake in %s has nothing of source %s yet: \"millrace run\" writes it within a minute of the events and when it stops; or give --events %s=FILE", p.Lake.Dir, source, source)
	}
	return p.Lake.Dir, nil
}
