package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/registry"
)

type runsCmd struct {
	List      runsListCmd      `cmd:"" help:"List the trainings, and what became of them."`
	Show      runsShowCmd      `cmd:"" help:"Show all that is known of a training: data, parameters, seeds, anomalies, metrics."`
	Reproduce runsReproduceCmd `cmd:"" help:"Train a run again, and say whether the same comes of it, byte for byte."`
}

func (runsCmd) Help() string {
	return `A run is one training. It is trained, and became a version of its model; or it was stopped, because its data set was not as it should be; or it failed.`
}

type runsListCmd struct {
	projectFlag
	Model string `arg:"" optional:"" placeholder:"MODEL" help:"Only of this model."`
	JSON  bool   `help:"Print a JSON object: {\"runs\": [...]}, newest first."`
}

func (runsListCmd) Help() string {
	return `Examples:

	millrace runs list
	millrace runs show 12`
}

// A runView is a run for the eyes of people and programs.
type runView struct {
	ID        int64              `json:"run"`
	Model     string             `json:"model"`
	Status    registry.RunStatus `json:"status"`
	Began     time.Time          `json:"began"`
	Ended     time.Time          `json:"ended"`
	Version   int                `json:"version,omitempty"`
	Bundle    string             `json:"bundle,omitempty"`
	Error     string             `json:"error,omitempty"`
	Spec      json.RawMessage    `json:"spec"`
	Anomalies json.RawMessage    `json:"anomalies,omitempty"`
	Report    json.RawMessage    `json:"report,omitempty"`
}

func viewOfRun(r *registry.Run) runView {
	return runView{r.ID, r.Model, r.Status, r.Began, r.Ended, r.Version, r.Bundle, r.Error, r.Spec, r.Anomalies, r.Report}
}

func (c *runsListCmd) Run(ctx context.Context, a *app) error {
	p, r, err := c.registry()
	if err != nil {
		return err
	}
	runs := []registry.Run{}
	if r != nil {
		defer r.Close()
		if c.Model != "" {
			if err := knownModel(ctx, p, r, c.Model); err != nil {
				return err
			}
		}
		if runs, err = r.Runs(ctx, c.Model); err != nil {
			return err
		}
	} else if c.Model != "" && p.Model(c.Model) == nil {
		return noModel(p, c.Model)
	}
	switch {
	case c.JSON:
		views := make([]runView, len(runs))
		for i := range runs {
			views[i] = viewOfRun(&runs[i])
		}
		return a.printJSON(map[string]any{"runs": views})
	case len(runs) == 0:
		_, err := fmt.Fprintln(a.stdout, nothingYet(p, "run"))
		return err
	}
	return printRuns(a.stdout, runs)
}

func printRuns(w io.Writer, runs []registry.Run) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "RUN\tMODEL\tSTATUS\tBEGAN\tTOOK\tEXAMPLES\tVERSION\tBUNDLE\tERROR")
	for i := range runs {
		r := &runs[i]
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%v\t%s\t%s\t%s\t%s\n", r.ID, r.Model, r.Status, instant(r.Began), r.Ended.Sub(r.Began).Round(time.Millisecond),
			someOf(examplesOf(r)), someOf(r.Version), shortID(r.Bundle), orDash(oneLine(r.Error, 100)))
	}
	return t.Flush()
}

type runsShowCmd struct {
	projectFlag
	ID   int64 `arg:"" name:"run" placeholder:"RUN" help:"The number of the run, as runs list shows it."`
	JSON bool  `help:"Print the run as a JSON object."`
}

func (runsShowCmd) Help() string {
	return `Example:

	millrace runs show 12`
}

func (c *runsShowCmd) Run(ctx context.Context, a *app) error {
	return c.withRegistry(func(_ *project.Project, r *registry.Registry) error {
		run, err := r.Run(ctx, c.ID)
		if err != nil {
			return fmt.Errorf("%w; \"millrace runs list\" shows those that there are", err)
		}
		if c.JSON {
			return a.printJSON(viewOfRun(&run))
		}
		return printRun(a.stdout, &run)
	})
}

func printRun(w io.Writer, r *registry.Run) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "run\t%d of %s\nstatus\t%s\nbegan\t%s\nended\t%s\n", r.ID, r.Model, r.Status, instant(r.Began), instant(r.Ended))
	if r.Version != 0 {
		fmt.Fprintf(t, "version\t%d: millrace models show %s %[1]d\nbundle\t%s\n", r.Version, r.Model, r.Bundle)
	}
	if r.Error != "" {
		fmt.Fprintf(t, "error\t%s\n", oneLine(r.Error, 4<<10))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, part := range []struct {
		title string
		doc   json.RawMessage
	}{{"what it was trained on", r.Spec}, {"anomalies of the data set", r.Anomalies}, {"metrics", r.Report}} {
		if err := printFields(w, part.title, part.doc); err != nil {
			return err
		}
	}
	return nil
}
