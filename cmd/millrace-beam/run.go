package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/deploy/engines"
	"github.com/millrace/millrace/streams/pipeline/beam"
)

type runCmd struct {
	projectFlag
	jobFlags
	Runner       string            `enum:"flink,prism,dataflow" default:"flink" placeholder:"RUNNER" help:"flink, prism (in this process, to try out) or dataflow (Google Cloud; not tested). The default is flink."`
	Endpoint     string            `placeholder:"HOST:PORT" default:"127.0.0.1:8099" env:"MILLRACE_BEAM_ENDPOINT" help:"Beam's job server for the cluster. The default is 127.0.0.1:8099."`
	Parallelism  int               `placeholder:"N" help:"How many subtasks share the partitions, each in a slot. The default is the cluster's."`
	Environment  string            `enum:"process,docker,external,loopback" default:"process" placeholder:"KIND" help:"Where the workers are: process (the TaskManagers start this program), docker (or containers), external (pools run beside them) or loopback (this process is the worker, to try out). The default is process."`
	Worker       string            `placeholder:"WHERE" help:"For process the path of this program on the hosts of the TaskManagers, by default its path here; for docker the image; for external the address of a pool, as each TaskManager reaches it."`
	Tick         time.Duration     `placeholder:"D" default:"50ms" help:"How often each partition is looked at. The default is 50ms."`
	Option       map[string]string `placeholder:"KEY=VALUE" mapsep:"none" help:"A further option of the pipeline for the job server, as max_bundle_size=1000. May be repeated."`
	StageClasses bool              `help:"Let the job server send its class path with the job, where it has no class millrace.NoStaging. Starts take half a minute longer."`
	Replace      bool              `help:"Stop a running job of the name first, to submit it with another parallelism or program."`
	Detach       bool              `help:"End when the job runs; do not follow it."`
	JSON         bool              `help:"Print a JSON object when the job runs: {\"name\", \"id\", \"parts\", \"started_ms\"}."`
	Flags        []string          `arg:"" optional:"" help:"After --: flags of the SDK's Dataflow runner, as --region=europe-west1."`
}

func (runCmd) Help() string {
	return `Runs the pipeline of a project on a Flink cluster: it applies events to the rows of features, as "millrace pipeline" does, with scheduling and restarts by Flink. The lake, the join, training and serving are for "millrace join", "millrace serve" and the others, beside it. The project needs what several processes can share: a Kafka and a Redis, named in the project file.

Where to go on is in the online store, and in no checkpoint of Flink. So to change the parallelism, to bring a new version of this program, or to go on after a cluster was lost is to submit the job again: --replace stops the one that runs.

The workers take passwords from their own environment, which is that of the TaskManagers (or of the container): set the variables there that the project file names.

It follows the job until it ends. Ctrl-C (or SIGTERM) ends the following only; the job goes on, except with --environment loopback or --runner prism, where this process does the work.

With --runner dataflow the flags after -- go to the SDK's runner. Nobody has run this there.

Examples:

	millrace-beam run -p shop/project.yaml --parallelism 8
	millrace-beam run -p shop/project.yaml --parallelism 16 --replace --detach
	millrace-beam run -p shop/project.yaml --environment docker --worker registry.example/millrace-beam:1
	millrace-beam run -p shop/project.yaml --runner prism`
}

func (c *runCmd) Run(ctx context.Context, a *app) error {
	p, err := c.load()
	if err != nil {
		return err
	}
	if !engines.Shared(p) {
		return usagef(`run is for several processes, which share Kafka and Redis: set kafka.addresses and store.redis in the project file; with embedded engines, "millrace run" does all in one process`)
	}
	if c.Tick < time.Millisecond || c.Tick > time.Minute {
		return usagef("--tick %v: from 1ms to 1m", c.Tick)
	}
	if c.Parallelism < 0 {
		return usagef("--parallelism %d: at least 1", c.Parallelism)
	}
	if len(c.Flags) > 0 && c.Runner != "dataflow" {
		return usagef("%q: flags after -- are for --runner dataflow", c.Flags[0])
	}
	ticker := beam.PeriodicTicker
	if c.Runner == "flink" {
		ticker = beam.FlinkTicker
	}
	job, err := newJob(a, c.projectFlag, p, c.name(p), c.Tick, ticker)
	if err != nil {
		return err
	}
	switch c.Runner {
	case "prism":
		return onPrism(ctx, a, job)
	case "dataflow":
		err := beam.SubmitDataflow(ctx, job.Pipeline(), c.Flags)
		if errors.Is(err, beam.ErrFlags) {
			err = usageError{err}
		}
		return err
	}
	return c.onFlink(ctx, a, job)
}

// onPrism does the work in this process.
func onPrism(ctx context.Context, a *app, job *beam.Job) error {
	a.log.Info("the pipeline runs in this process, on Prism", "parts", len(job.Parts))
	return beam.RunPrism(ctx, job.Pipeline())
}

// onFlink submits the job, waits until it runs, and follows it.
func (c *runCmd) onFlink(ctx context.Context, a *app, job *beam.Job) error {
	sub := beam.Submission{
		Pipeline: job.Pipeline(), Environment: beam.Environment(c.Environment), Worker: c.Worker,
		Parallelism: c.Parallelism, Options: c.Option, StageClasses: c.StageClasses,
	}
	flink, err := c.flink()
	if err != nil {
		return err
	}
	cluster, err := flink.Cluster(ctx)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(cluster.Version, beam.KnownFlink+".") {
		a.log.Warn("the cluster's Flink is of another version than is known to work; job server and cluster must be for the same one", "cluster", cluster.Version, "known", beam.KnownFlink)
	}
	if c.Parallelism > cluster.Slots {
		a.log.Warn("the cluster has too few slots now; the job waits for more", "slots", cluster.Slots, "parallelism", c.Parallelism)
	}
	if sub.Environment == beam.Process {
		if sub.Worker, err = c.program(cluster); err != nil {
			return err
		}
	}
	server, err := beam.Connect(ctx, c.Endpoint)
	if err != nil {
		return err
	}
	defer server.Close()
	if err := server.Check(sub); err != nil { // before a job is stopped for this one
		return usageError{err}
	}
	if err := c.makeRoom(ctx, a, flink, job.Name); err != nil {
		return err
	}
	return c.submit(ctx, a, flink, server, sub, len(job.Parts))
}

// program returns the path of the worker after a look at it. One that is not here
// may be on the hosts of the TaskManagers, if they are others.
func (c *runCmd) program(cluster *beam.FlinkCluster) (path string, err error) {
	if path = c.Worker; path == "" {
		if path, err = os.Executable(); err != nil {
			return "", err
		}
	}
	err = beam.CheckProgram(path, cluster.Processor)
	if errors.Is(err, fs.ErrNotExist) && !c.here() {
		err = nil
	}
	if err != nil {
		return "", usageError{err}
	}
	return path, nil
}

// here reports whether the cluster is on this machine.
func (c *runCmd) here() bool {
	u, err := url.Parse(c.REST)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// makeRoom refuses a second job of the name, or stops the first.
func (c *runCmd) makeRoom(ctx context.Context, a *app, flink *beam.Flink, name string) error {
	old, err := flink.Running(ctx, name)
	switch {
	case errors.Is(err, beam.ErrNoJob):
		return nil
	case err != nil:
		return err
	case !c.Replace:
		return fmt.Errorf("job %s runs already (%s, since %s): stop it with millrace-beam stop, or submit it again with --replace", name, old.ID, old.Started.UTC().Format(time.RFC3339))
	}
	a.log.Info("stopping the running job", "name", name, "id", old.ID)
	return flink.Stop(ctx, old.ID)
}

// started is what run prints.
type started struct {
	Name    string `json:"name"`
	ID      string `json:"id"` // on Flink
	Parts   int    `json:"parts"`
	Started int64  `json:"started_ms"`
}

func (c *runCmd) submit(ctx context.Context, a *app, flink *beam.Flink, server *beam.JobServer, sub beam.Submission, parts int) error {
	before, err := flink.Jobs(ctx, sub.Name)
	if err != nil {
		return err
	}
	began := time.Now()
	j, err := server.Submit(ctx, sub)
	if err != nil {
		return err
	}
	defer j.Close()
	following, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- j.Follow(following, func(state string) { a.log.Debug("the job server says", "state", state) })
	}()
	id, err := c.awaitStart(ctx, flink, sub.Name, before, ended)
	if err != nil && id != "" && ctx.Err() == nil { // it would go on trying for good
		return errors.Join(err, flink.Stop(ctx, id))
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("ended before job %s ran; it may be on the cluster: see millrace-beam status, and stop", sub.Name)
	}
	if err != nil {
		return err
	}
	out := started{sub.Name, id, parts, time.Since(began).Milliseconds()}
	if err := c.say(a, out); err != nil {
		return err
	}
	if c.Detach && sub.Environment != beam.Loopback {
		return nil
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		flink.Watch(following, id, func(f beam.FlinkFailure) { a.log.Warn("Flink restarts the job", "cause", f.Cause) })
	})
	err = <-ended
	cancel()
	watching.Wait()
	if ctx.Err() == nil {
		return err
	}
	if sub.Environment == beam.Loopback {
		return flink.Stop(context.WithoutCancel(ctx), id)
	}
	a.log.Info("the job goes on; millrace-beam stop ends it", "name", sub.Name)
	return nil
}

func (c *runCmd) say(a *app, s started) error {
	if c.JSON {
		return a.printJSON(s)
	}
	_, err := fmt.Fprintf(a.stdout, "job %s runs on Flink as %s: %d parts, started in %.1f s\n", s.Name, s.ID, s.Parts, float64(s.Started)/1000)
	return err
}

// awaitStart waits until Flink has the job and all its tasks run.
func (c *runCmd) awaitStart(ctx context.Context, flink *beam.Flink, name string, before []beam.FlinkJob, ended <-chan error) (id string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type start struct {
		id  string
		err error
	}
	found := make(chan start, 1)
	go func() {
		id, err := flink.Appears(ctx, name, func(j beam.FlinkJob) bool {
			return !slices.ContainsFunc(before, func(b beam.FlinkJob) bool { return b.ID == j.ID })
		})
		if err == nil {
			err = flink.Started(ctx, id)
		}
		found <- start{id, err}
	}()
	select {
	case s := <-found:
		return s.id, s.err
	case err := <-ended:
		if err == nil {
			err = fmt.Errorf("job %s has ended already", name)
		}
		return "", err
	}
}

func readProject(path string) ([]byte, error) {
	file, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return nil, usageError{fmt.Errorf("project: %w", err)}
	}
	return file, nil
}
