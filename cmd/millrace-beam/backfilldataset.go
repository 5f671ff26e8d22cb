package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/offline"
	"github.com/millrace/millrace/streams/lake"
	"github.com/millrace/millrace/streams/pipeline/beam"
)

type backfillDatasetCmd struct {
	projectFlag
	boundedFlags
	View           string            `placeholder:"VIEW" help:"The view. Without it, the only one of the project."`
	Events         map[string]string `mapsep:"none" placeholder:"SOURCE=FILE" help:"The events of the view's source, in the order of the log: JSON lines or CSV with a header line. Without it, those of the project's lake."`
	Probes         string            `required:"" placeholder:"FILE" help:"What to ask, as with millrace dataset build."`
	Out            string            `required:"" placeholder:"FILE" help:"The dataset: the probes with a column for each feature, as CSV, or as JSON lines where FILE ends with .jsonl."`
	KnownBy        string            `enum:"all,arrival" default:"all" placeholder:"all|arrival" help:"With arrival, a probe sees only what had arrived by then. The default is all."`
	ExcludeCurrent bool              `help:"Leave out what happened at as_of itself."`
	JSON           bool              `help:"Print a JSON object: {\"rows\", \"events\", \"dropped\", \"duplicates\", \"rejected\", \"seconds\", \"out\"}."`
}

func (backfillDatasetCmd) Help() string {
	return `Computes what a lookup would have answered at past moments, one row for each probe: the file that "millrace dataset build" makes of the same events and probes, byte for byte, by many workers. Events and probes are grouped by the partition of their entity.

This command and all workers reach the events, the probes and the folder of the dataset by the same paths: a shared file system. A partition's events have to fit into the memory of a worker, and into the heap of a TaskManager. JSON lines and the lake are read by many workers, a CSV file by one.

Examples:

	millrace-beam backfill dataset -p shop/project.yaml --view customer --events orders=/mnt/orders.jsonl --probes /mnt/probes.csv --out /mnt/train.csv`
}

func (c *backfillDatasetCmd) Run(ctx context.Context, a *app) error {
	p, err := c.load()
	if err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	plan, err := choosePlan(p, c.View)
	if err != nil {
		return err
	}
	files, err := c.files(p, plan)
	if err != nil {
		return err
	}
	pieces, err := offline.NewPieces(ctx, plan, files, c.ExcludeCurrent)
	if err != nil {
		return err
	}
	job, err := newJob(a, c.projectFlag, p, c.name(p, "dataset"), 0, "")
	if err != nil {
		return err
	}
	began := time.Now()
	d := beam.Dataset{Name: job.Name, Project: job.Project, View: plan.View.Name, Pieces: pieces}
	if err := c.run(ctx, a, d.Pipeline()); err != nil {
		return err
	}
	return c.report(a, plan, pieces, time.Since(began))
}

// files returns the files by their absolute paths: workers are in folders of
// their own.
func (c *backfillDatasetCmd) files(p *project.Project, plan *features.Plan) (f offline.Files, err error) {
	source := plan.Source.Name
	events, ok := c.Events[source]
	switch {
	case len(c.Events) > 1 || len(c.Events) == 1 && !ok:
		return f, usagef("view %s is of source %s: give --events %s=FILE", plan.View.Name, source, source)
	case !ok && p.Lake.Off:
		return f, usagef("the project has no lake: give --events %s=FILE", source)
	case !ok:
		events = p.Lake.Dir
		if _, err := os.Stat(lake.Folder(events, source)); errors.Is(err, fs.ErrNotExist) {
			return f, fmt.Errorf("the lake in %s has nothing of source %s yet: give --events %s=FILE", events, source, source)
		}
	}
	f = offline.Files{Events: events, Probes: c.Probes, Out: c.Out, KnownByArrival: c.KnownBy == "arrival"}
	for _, path := range []*string{&f.Events, &f.Probes, &f.Out} {
		if *path, err = filepath.Abs(*path); err != nil {
			return f, err
		}
	}
	return f, nil
}

// A built is the dataset that was built, for machines.
type built struct {
	Rows       int64            `json:"rows"`
	Events     int64            `json:"events"`
	Dropped    int64            `json:"dropped"`
	Duplicates int64            `json:"duplicates"`
	Rejected   map[string]int64 `json:"rejected"` // by reason
	Seconds    float64          `json:"seconds"`
	Out        string           `json:"out"`
}

// report says what became of the events, which the job has left in a file.
func (c *backfillDatasetCmd) report(a *app, plan *features.Plan, pieces *offline.Pieces, took time.Duration) error {
	path := beam.CountsFile(pieces.Files.Out)
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("the workers have written %s, which cannot be seen from here: %w", pieces.Files.Out, err)
	}
	var counts offline.Counts
	if err := errors.Join(json.Unmarshal(text, &counts), os.Remove(path)); err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(built{pieces.Probes, counts.Events, counts.Dropped, counts.Duplicates, counts.Rejected, took.Seconds(), c.Out})
	}
	fmt.Fprintf(a.stdout, "%d rows with %d features in %s, from %d events\n", pieces.Probes, len(plan.Outputs()), c.Out, counts.Events)
	for _, reason := range slices.Sorted(maps.Keys(counts.Rejected)) {
		fmt.Fprintf(a.stdout, "left out as %s: %d\n", reason, counts.Rejected[reason])
	}
	return nil
}
