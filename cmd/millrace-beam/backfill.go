package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/streams/pipeline/beam"
)

type backfillCmd struct {
	Rows    backfillRowsCmd    `cmd:"" help:"Fill the rows of views, up to what their topics have now."`
	Dataset backfillDatasetCmd `cmd:"" help:"Build a training set, as millrace dataset build does, on a cluster."`
}

// boundedFlags are those of jobs that end by themselves.
type boundedFlags struct {
	jobFlags
	Runner       string            `enum:"flink,prism" default:"flink" placeholder:"RUNNER" help:"flink or prism (in this process, to try out). The default is flink."`
	Endpoint     string            `placeholder:"HOST:PORT" default:"127.0.0.1:8099" env:"MILLRACE_BEAM_ENDPOINT" help:"Beam's job server for the cluster. The default is 127.0.0.1:8099."`
	Parallelism  int               `placeholder:"N" help:"How many subtasks share the work, each in a slot. The default is the cluster's."`
	Environment  string            `enum:"process,docker,external,loopback" default:"process" placeholder:"KIND" help:"Where the workers are: process, docker, external or loopback, as with run. The default is process."`
	Worker       string            `placeholder:"WHERE" help:"The worker's path, image or address, as with run."`
	Option       map[string]string `placeholder:"KEY=VALUE" mapsep:"none" help:"A further option of the pipeline for the job server. May be repeated."`
	StageClasses bool              `help:"Let the job server send its class path with the job, as with run."`
}

// executionRetries is how often Flink starts a bounded job again before it has
// failed: as often as a worker may be lost, and no more, for what needs a person
// fails each time.
const executionRetries = "3"

// name is the job's, beside the one of run.
func (f boundedFlags) name(p *project.Project, what string) string {
	if f.Name != "" {
		return f.Name
	}
	return "millrace-" + p.Name + "-" + what
}

func (f boundedFlags) check() error {
	if f.Parallelism < 0 {
		return usagef("--parallelism %d: at least 1", f.Parallelism)
	}
	return nil
}

// run runs a bounded pipeline to its end.
func (f boundedFlags) run(ctx context.Context, a *app, p beam.Pipeline) error {
	if f.Runner == "prism" {
		err := beam.RunPrism(ctx, p)
		if ctx.Err() != nil {
			return fmt.Errorf("ended before job %s was done; start it again", p.Name)
		}
		return err
	}
	r := runCmd{jobFlags: f.jobFlags, Worker: f.Worker} // for its checks
	sub := beam.Submission{
		Pipeline: p, Environment: beam.Environment(f.Environment), Worker: f.Worker,
		Parallelism: f.Parallelism, Options: map[string]string{"number_of_execution_retries": executionRetries}, StageClasses: f.StageClasses,
	}
	for name, value := range f.Option {
		sub.Options[name] = value
	}
	flink, err := f.flink()
	if err != nil {
		return err
	}
	cluster, err := flink.Cluster(ctx)
	if err != nil {
		return err
	}
	if sub.Environment == beam.Process {
		if sub.Worker, err = r.program(cluster); err != nil {
			return err
		}
	}
	server, err := beam.Connect(ctx, f.Endpoint)
	if err != nil {
		return err
	}
	defer server.Close()
	if err := server.Check(sub); err != nil {
		return usageError{err}
	}
	if err := r.makeRoom(ctx, a, flink, p.Name); err != nil {
		return err
	}
	j, err := server.Submit(ctx, sub)
	if err != nil {
		return err
	}
	defer j.Close()
	a.log.Info("the job is at the job server", "name", p.Name)
	err = j.Follow(ctx, func(state string) { a.log.Debug("the job server says", "state", state) })
	if ctx.Err() == nil {
		return err
	}
	if sub.Environment != beam.Loopback {
		return fmt.Errorf("no longer following job %s, which goes on; millrace-beam stop --name %s ends it", p.Name, p.Name)
	}
	stopping := context.WithoutCancel(ctx)
	if job, err := flink.Running(stopping, p.Name); err == nil {
		err = flink.Stop(stopping, job.ID)
		return errors.Join(fmt.Errorf("ended before job %s was done; start it again", p.Name), err)
	}
	return fmt.Errorf("ended before job %s was done; start it again", p.Name)
}

// openPlan returns the plan of a view of a job's project, in a worker.
func openPlan(j beam.Project, view string) (*features.Plan, error) {
	p, err := project.Parse(j.Name, j.File)
	if err != nil {
		return nil, err
	}
	return choosePlan(p, view)
}

// choosePlan returns the plan of that view, or of the only one.
func choosePlan(p *project.Project, view string) (*features.Plan, error) {
	if view == "" && len(p.Plans) == 1 {
		return p.Plans[0], nil
	}
	if plan := p.Plan(view); plan != nil {
		return plan, nil
	}
	return nil, noView(p, view)
}

func noView(p *project.Project, view string) error {
	var names []string
	for _, v := range p.Views {
		names = append(names, v.Name)
	}
	if view == "" {
		return usagef("the project has the views %v: choose one with --view", names)
	}
	return usagef("there is no view %q; the project has %v", view, names)
}
