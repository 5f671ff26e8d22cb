package beam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	sdk "github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/util/hooks"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/extworker"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/runnerlib"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
)

// A Pipeline is what a runner runs.
type Pipeline struct {
	Name    string // of the job
	Bounded bool   // it ends by itself
	Build   func(sdk.Scope) error
}

// Pipeline returns the job's.
func (j Job) Pipeline() Pipeline {
	return Pipeline{Name: j.Name, Build: func(s sdk.Scope) error { return Build(s, j) }}
}

// An Environment is where a runner finds its workers.
type Environment string

// The environments. What each needs besides is in Submission.Worker.
const (
	Process  Environment = "process"  // each TaskManager starts the program at a path of its host
	Docker   Environment = "docker"   // each TaskManager starts a container of an image
	External Environment = "external" // a pool of workers runs beside each TaskManager, at an address
	Loopback Environment = "loopback" // this process is the worker: to try out on one machine
)

// A Submission is a job to run on Flink.
type Submission struct {
	Pipeline
	Environment Environment
	Worker      string // a path, an image or an address, by the environment
	Parallelism int    // 0: the cluster's default

	// Options are further options of the pipeline, by their names in the form
	// max_bundle_size. Values are JSON, or else text.
	Options map[string]string

	// StageClasses lets the job server send its class path to the cluster with
	// each job: 240 MB and half a minute. It is for a job server without the class
	// NoStaging, and a cluster whose class path has no Beam.
	StageClasses bool
}

// Options of each submission, unless it says otherwise.
const (
	// bundleTime bounds how long a stage keeps what it has put out; it is most of
	// the latency, and the default of a second is too much.
	bundleTime = 10 * time.Millisecond

	// noStaging is the class that stages nothing; it is with the engines.
	noStaging = "millrace.NoStaging"
)

// stageWait bounds the staging, in which nothing of ours is staged.
const stageWait = 30 * time.Second

// A Submitted job has an id at the job server.
type Submitted struct {
	ID       string
	server   *JobServer
	loopback *extworker.Loopback
}

// Check says what is wrong with a submission, before anything else is done for it.
func (s *JobServer) Check(sub Submission) error {
	if err := sub.check(); err != nil {
		return err
	}
	return s.knows(sub.Options)
}

// Submit starts a job. It returns as soon as the job server has taken it, before
// Flink has.
func (s *JobServer) Submit(ctx context.Context, sub Submission) (*Submitted, error) {
	if err := s.Check(sub); err != nil {
		return nil, err
	}
	options, err := sub.options()
	if err != nil {
		return nil, err
	}
	j := &Submitted{server: s}
	if sub.Environment == Loopback {
		if j.loopback, err = extworker.StartLoopback(context.WithoutCancel(ctx), 0); err != nil {
			return nil, fmt.Errorf("beam: this process as a worker: %w", err)
		}
		sub.Worker = j.loopback.EnvironmentConfig(ctx)
	}
	if j.ID, err = s.start(ctx, sub, options); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return j, nil
}

func (s *JobServer) start(ctx context.Context, sub Submission, options *structpb.Struct) (id string, err error) {
	p, err := sub.marshal(ctx)
	if err != nil {
		return "", err
	}
	prepared, err := s.client.Prepare(ctx, &jobpb.PrepareJobRequest{Pipeline: p, PipelineOptions: options, JobName: sub.Name})
	if err != nil {
		return "", s.refused("prepare", err)
	}
	artifacts := prepared.GetArtifactStagingEndpoint().GetUrl()
	staging, cancel := context.WithTimeout(ctx, stageWait)
	defer cancel()
	// The job has nothing to stage, but is taken only with the token of a staging.
	token, err := runnerlib.Stage(staging, prepared.GetPreparationId(), artifacts, "", prepared.GetStagingSessionToken())
	if err != nil {
		return "", fmt.Errorf("beam: the artifact service at %s, whose address the job server at %s gives: %w; that port must be reached from here, too", artifacts, s.address, err)
	}
	answer, err := s.client.Run(ctx, &jobpb.RunJobRequest{PreparationId: prepared.GetPreparationId(), RetrievalToken: token})
	if err != nil {
		return "", s.refused("run", err)
	}
	return answer.GetJobId(), nil
}

// Close ends the workers in this process, if there are any, and with them the
// job. Other jobs go on.
func (j *Submitted) Close() error {
	if j.loopback == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return j.loopback.Stop(ctx)
}

func (sub *Submission) check() error {
	switch sub.Environment {
	case Process:
		if !filepath.IsAbs(sub.Worker) {
			return fmt.Errorf("beam: the worker %q is not an absolute path: the TaskManagers start it, in a folder of theirs", sub.Worker)
		}
	case Docker:
		if sub.Worker == "" {
			return errors.New("beam: environment docker: name the image of the workers")
		}
	case External:
		if _, _, err := net.SplitHostPort(sub.Worker); err != nil {
			return fmt.Errorf("beam: environment external: the address of the pool of workers, as each TaskManager reaches it, is not host:port: %q", sub.Worker)
		}
	case Loopback:
		if sub.Worker != "" {
			return fmt.Errorf("beam: environment loopback: this process is the worker, and not %q", sub.Worker)
		}
	default:
		return fmt.Errorf("beam: no environment %q; there are process, docker, external and loopback", sub.Environment)
	}
	if sub.Parallelism < 0 {
		return fmt.Errorf("beam: parallelism %d", sub.Parallelism)
	}
	return nil
}

// marshal builds the pipeline with its environment. The workers need no file of
// ours: they have the program.
func (sub *Submission) marshal(ctx context.Context) (*pipepb.Pipeline, error) {
	config, urn := sub.Worker, graphx.URNEnvExternal
	switch sub.Environment {
	case Docker:
		urn = graphx.URNEnvDocker
	case Process:
		urn = graphx.URNEnvProcess
		text, err := json.Marshal(map[string]string{"command": sub.Worker})
		if err != nil {
			return nil, err
		}
		config = string(text)
	}
	environment, err := graphx.CreateEnvironment(ctx, urn, func(context.Context) string { return config })
	if err != nil {
		return nil, fmt.Errorf("beam: environment %s: %w", sub.Environment, err)
	}
	environment.Dependencies = nil
	p, scope := sdk.NewPipelineWithRoot()
	if err := sub.Build(scope); err != nil {
		return nil, err
	}
	edges, _, err := p.Build()
	if err != nil {
		return nil, fmt.Errorf("beam: %w", err)
	}
	out, err := graphx.Marshal(edges, &graphx.Options{Environment: environment})
	if err != nil {
		return nil, fmt.Errorf("beam: %w", err)
	}
	return out, nil
}

// options returns the options of the pipeline, in the form of the job service.
// There is no checkpointing_interval: where to go on is in the online store.
func (sub *Submission) options() (*structpb.Struct, error) {
	hooks.SerializeHooksToOptions()
	all := map[string]any{
		"go_options":            map[string]any{"options": sdk.PipelineOptions.Export().Options},
		"runner":                "FlinkRunner",
		"app_name":              sub.Name,
		"job_name":              sub.Name,
		"experiments":           []string{"beam_fn_api"},
		"streaming":             !sub.Bounded,
		"max_bundle_time_mills": bundleTime.Milliseconds(),
	}
	if sub.Parallelism > 0 {
		all["parallelism"] = sub.Parallelism
	}
	if !sub.StageClasses {
		all["pipeline_resources_detector_factory_class"] = noStaging
	}
	for name, text := range sub.Options {
		var value any
		if json.Unmarshal([]byte(text), &value) != nil {
			value = text
		}
		all[name] = value
	}
	named := make(map[string]any, len(all))
	for name, value := range all {
		named["beam:option:"+name+":v1"] = value
	}
	text, err := json.Marshal(named)
	if err != nil {
		return nil, err
	}
	var out structpb.Struct
	if err := protojson.Unmarshal(text, &out); err != nil {
		return nil, fmt.Errorf("beam: the options of the pipeline: %w", err)
	}
	return &out, nil
}
