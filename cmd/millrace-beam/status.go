package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/millrace/millrace/streams/pipeline/beam"
)

type statusCmd struct {
	projectFlag
	jobFlags
	ID   string `placeholder:"ID" help:"The job of that id on Flink, where several have the name."`
	JSON bool   `help:"Print a JSON object."`
}

func (statusCmd) Help() string {
	return `Says how the job of a project is on Flink: its state and since when, how often it was restarted and why last, on which TaskManagers it runs, and the counters of its workers since the last restart. A job that runs may still wait for Kafka or Redis: lag and rows are in the metrics and in the online store, see "millrace serve".

Flink shows counters a few seconds late.

Examples:

	millrace-beam status -p shop/project.yaml
	millrace-beam status --json`
}

// find returns the job that is meant: of the id, or the one of the project that
// runs, or the last one that did.
func find(ctx context.Context, flink *beam.Flink, p projectFlag, f jobFlags, id string) (*beam.FlinkJob, error) {
	if id != "" {
		return flink.Job(ctx, id)
	}
	name := f.Name
	if name == "" {
		loaded, err := p.load()
		if err != nil {
			return nil, err
		}
		name = f.name(loaded)
	}
	return flink.Running(ctx, name)
}

// A jobStatus is what status prints.
type jobStatus struct {
	Name         string           `json:"name"`
	ID           string           `json:"id"`
	State        string           `json:"state"`
	Started      time.Time        `json:"started"`
	Since        time.Time        `json:"since"` // of the state
	Restarts     int64            `json:"restarts"`
	Parallelism  int              `json:"parallelism"`
	TaskManagers []string         `json:"task_managers"`
	Counters     map[string]int64 `json:"counters"`
	Failure      *failure         `json:"last_failure,omitempty"`
}

type failure struct {
	At    time.Time `json:"at"`
	Cause string    `json:"cause"`
}

func (c *statusCmd) Run(ctx context.Context, a *app) error {
	flink, err := c.flink()
	if err != nil {
		return err
	}
	job, err := find(ctx, flink, c.projectFlag, c.jobFlags, c.ID)
	if err != nil {
		return err
	}
	s, err := flink.Status(ctx, job)
	if err != nil {
		return err
	}
	out := jobStatus{
		Name: s.Name, ID: s.ID, State: s.State, Started: s.Started.UTC(), Since: s.Since.UTC(), Restarts: s.Restarts,
		Parallelism: s.Parallelism, TaskManagers: s.TaskManagers, Counters: s.Counters,
	}
	if s.Failure != nil {
		out.Failure = &failure{s.Failure.At.UTC(), s.Failure.Cause}
	}
	if c.JSON {
		return a.printJSON(out)
	}
	return out.print(a.stdout)
}

func (s *jobStatus) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "job\t%s\nid\t%s\nstate\t%s since %s\nrestarts\t%d\nparallelism\t%d\n",
		s.Name, s.ID, s.State, s.Since.Format(time.RFC3339), s.Restarts, s.Parallelism)
	fmt.Fprintf(t, "TaskManagers\t%s\n", strings.Join(s.TaskManagers, ", "))
	for _, name := range slices.Sorted(maps.Keys(s.Counters)) {
		fmt.Fprintf(t, "%s\t%d\n", strings.ReplaceAll(name, "_", " "), s.Counters[name])
	}
	if s.Failure != nil {
		fmt.Fprintf(t, "last failure\t%s: %s\n", s.Failure.At.Format(time.RFC3339), s.Failure.Cause)
	}
	return t.Flush()
}
