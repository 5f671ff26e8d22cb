package beam

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	sdk "github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/runnerlib"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// RunPrism runs a job on Beam's Prism in this process until ctx ends. It is for
// tests and for trying out: nothing that fails is started again.
func RunPrism(ctx context.Context, j Job) error {
	p, s := sdk.NewPipelineWithRoot()
	if err := Build(s, j); err != nil {
		return err
	}
	_, err := prism.Execute(ctx, p)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// A Submission is how a job gets to a Flink cluster.
type Submission struct {
	Endpoint    string         // host:port of the Beam job server
	Worker      string         // path of the worker's program on the TaskManagers
	Parallelism int            // subtasks
	Options     map[string]any // further pipeline options, by their names in Java in snake case
}

// Submit submits a job and returns its id at the job server when it runs.
func Submit(ctx context.Context, j Job, to Submission) (string, error) {
	p, s := sdk.NewPipelineWithRoot()
	if err := Build(s, j); err != nil {
		return "", err
	}
	pipeline, err := to.marshal(ctx, p)
	if err != nil {
		return "", err
	}
	options, err := to.options(j)
	if err != nil {
		return "", err
	}
	conn, err := grpc.NewClient(to.Endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	client := jobpb.NewJobServiceClient(conn)
	prepared, err := client.Prepare(ctx, &jobpb.PrepareJobRequest{Pipeline: pipeline, PipelineOptions: options, JobName: j.Name})
	if err != nil {
		return "", err
	}
	stub, err := writeStub()
	if err != nil {
		return "", err
	}
	defer os.Remove(stub)
	token, err := runnerlib.Stage(ctx, prepared.GetPreparationId(), prepared.GetArtifactStagingEndpoint().GetUrl(), stub, prepared.GetStagingSessionToken())
	if err != nil {
		return "", err
	}
	id, err := runnerlib.Submit(ctx, client, prepared.GetPreparationId(), token)
	if err != nil {
		return "", err
	}
	return id, awaitRunning(ctx, client, id)
}

func awaitRunning(ctx context.Context, client jobpb.JobServiceClient, id string) error {
	for {
		state, err := client.GetState(ctx, &jobpb.GetJobStateRequest{JobId: id})
		switch {
		case err != nil:
			return err
		case state.GetState() == jobpb.JobState_RUNNING, state.GetState() == jobpb.JobState_DONE:
			return nil
		case state.GetState() == jobpb.JobState_FAILED:
			return errors.New("beam: the job has failed")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// writeStub writes what is staged as the worker's program: the environment starts
// another, which is there already, and something must be staged.
func writeStub() (string, error) {
	f, err := os.CreateTemp("", "millrace-worker-")
	if err != nil {
		return "", err
	}
	_, err = f.WriteString("#!/bin/sh\n")
	return f.Name(), errors.Join(err, f.Close())
}

func (to Submission) marshal(ctx context.Context, p *sdk.Pipeline) (*pipepb.Pipeline, error) {
	if !filepath.IsAbs(to.Worker) {
		return nil, fmt.Errorf("beam: worker %q: give the absolute path that it has on the TaskManagers", to.Worker)
	}
	edges, _, err := p.Build()
	if err != nil {
		return nil, err
	}
	environment, err := graphx.CreateEnvironment(ctx, graphx.URNEnvProcess, func(context.Context) string { return `{"command":"` + to.Worker + `"}` })
	if err != nil {
		return nil, err
	}
	pipeline, err := graphx.Marshal(edges, &graphx.Options{Environment: environment})
	if err != nil {
		return nil, err
	}
	stub, err := writeStub()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(stub)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	payload, err := proto.Marshal(&pipepb.ArtifactFilePayload{Path: stub, Sha256: hex.EncodeToString(sum[:])})
	if err != nil {
		return nil, err
	}
	return pipeline, graphx.UpdateDefaultEnvWorkerType(graphx.URNArtifactFileType, payload, pipeline)
}

func (to Submission) options(j Job) (*structpb.Struct, error) {
	all := map[string]any{
		"beam:option:go_options:v1":                                map[string]any{"options": map[string]any{}},
		"beam:option:runner:v1":                                    "FlinkRunner",
		"beam:option:app_name:v1":                                  j.Name,
		"beam:option:job_name:v1":                                  j.Name,
		"beam:option:experiments:v1":                               []any{"beam_fn_api"},
		"beam:option:parallelism:v1":                               to.Parallelism,
		"beam:option:streaming:v1":                                 true,
		"beam:option:max_bundle_time_mills:v1":                     10,
		"beam:option:pipeline_resources_detector_factory_class:v1": "millrace.NoStaging",
	}
	for name, value := range to.Options {
		all["beam:option:"+name+":v1"] = value
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	var s structpb.Struct
	return &s, protojson.Unmarshal(text, &s)
}
