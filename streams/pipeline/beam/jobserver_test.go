package beam

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/millrace/millrace/streams/broker"
	"github.com/millrace/millrace/streams/pipeline"
)

// A jobServer is the wire of Beam's job server for Flink.
type jobServer struct {
	jobpb.UnimplementedJobServiceServer
	jobpb.UnimplementedArtifactStagingServiceServer
	address string
	options []string
	refuse  error // of Prepare
	updates []*jobpb.JobMessagesResponse

	mu       sync.Mutex
	prepared *jobpb.PrepareJobRequest
	run      *jobpb.RunJobRequest
}

func (s *jobServer) DescribePipelineOptions(context.Context, *jobpb.DescribePipelineOptionsRequest) (*jobpb.DescribePipelineOptionsResponse, error) {
	answer := &jobpb.DescribePipelineOptionsResponse{}
	for _, name := range s.options {
		answer.Options = append(answer.Options, &jobpb.PipelineOptionDescriptor{Name: name})
	}
	return answer, nil
}

func (s *jobServer) Prepare(_ context.Context, r *jobpb.PrepareJobRequest) (*jobpb.PrepareJobResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prepared = r
	return &jobpb.PrepareJobResponse{
		PreparationId: "p1", StagingSessionToken: "token",
		ArtifactStagingEndpoint: &pipepb.ApiServiceDescriptor{Url: s.address},
	}, s.refuse
}

func (s *jobServer) ReverseArtifactRetrievalService(stream jobpb.ArtifactStagingService_ReverseArtifactRetrievalServiceServer) error {
	_, err := stream.Recv()
	return err
}

func (s *jobServer) Run(_ context.Context, r *jobpb.RunJobRequest) (*jobpb.RunJobResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run = r
	return &jobpb.RunJobResponse{JobId: "job-1"}, nil
}

func (s *jobServer) GetMessageStream(_ *jobpb.JobMessagesRequest, stream jobpb.JobService_GetMessageStreamServer) error {
	for _, u := range s.updates {
		if err := stream.Send(u); err != nil {
			return err
		}
	}
	<-stream.Context().Done()
	return nil
}

func startJobServer(t *testing.T, s *jobServer) *JobServer {
	t.Helper()
	if s.options == nil {
		s.options = append([]string{"max_bundle_size"}, needed...)
	}
	s.address = serve(t, func(g *grpc.Server) {
		jobpb.RegisterJobServiceServer(g, s)
		jobpb.RegisterArtifactStagingServiceServer(g, s)
	})
	server, err := Connect(t.Context(), s.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server
}

func wantError(t *testing.T, what string, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error, want one with %q", what, texts)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v; want %q in it", what, err, text)
		}
	}
}

// TestConnectErrors tells what listens at an address that is no job server's.
func TestConnectErrors(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	kafka, err := broker.Start(broker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kafka.Close() })
	other := serve(t, func(*grpc.Server) {})
	spark := serve(t, func(g *grpc.Server) {
		jobpb.RegisterJobServiceServer(g, &jobServer{options: []string{"parallelism", "spark_master"}})
	})
	for what, c := range map[string]struct {
		address string
		texts   []string
	}{
		"no port":      {"localhost", []string{`"localhost" is not host:port`}},
		"closed":       {closed.Addr().String(), []string{"no job server at " + closed.Addr().String(), "start Beam's job server"}},
		"HTTP":         {web.Listener.Addr().String(), []string{"does not answer as a Beam job server", "another program"}},
		"Kafka":        {kafka.Addr(), []string{"does not answer as a Beam job server", "another program"}},
		"other gRPC":   {other, []string{"is no Beam job server, though it speaks gRPC", "--job-port"}},
		"other server": {spark, []string{"no option max_bundle_time_mills", SDK, KnownJobServer, KnownFlink}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			_, err := Connect(t.Context(), c.address)
			wantError(t, what, err, c.texts...)
		})
	}
}

func aJob() Job {
	return Job{Name: "millrace-shop", Parts: []pipeline.Part{{Stage: "pipeline", View: "v"}}, Tick: 50 * time.Millisecond, Ticker: FlinkTicker}
}

// TestSubmit sends the options that decide how the job runs, and the environment
// of its workers, with nothing to stage.
func TestSubmit(t *testing.T) {
	fake := &jobServer{}
	server := startJobServer(t, fake)
	job, err := server.Submit(t.Context(), Submission{
		Pipeline: aJob().Pipeline(), Environment: Process, Worker: "/opt/millrace-beam", Parallelism: 3,
		Options: map[string]string{"max_bundle_size": "500"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if job.ID != "job-1" || fake.run.GetRetrievalToken() != "token" || fake.prepared.GetJobName() != "millrace-shop" {
		t.Errorf("job %s, %v, %s", job.ID, fake.run, fake.prepared.GetJobName())
	}
	options := fake.prepared.GetPipelineOptions().AsMap()
	for name, want := range map[string]any{
		"parallelism": 3., "max_bundle_time_mills": 10., "max_bundle_size": 500., "streaming": true, "runner": "FlinkRunner",
		"job_name": "millrace-shop", "pipeline_resources_detector_factory_class": noStaging, "checkpointing_interval": nil,
	} {
		if got := options["beam:option:"+name+":v1"]; got != want {
			t.Errorf("option %s is %v, want %v", name, got, want)
		}
	}
	for _, e := range fake.prepared.GetPipeline().GetComponents().GetEnvironments() {
		if e.GetUrn() != "beam:env:process:v1" || !strings.Contains(string(e.GetPayload()), "/opt/millrace-beam") || len(e.GetDependencies()) > 0 {
			t.Errorf("environment %v", e)
		}
	}
}

// TestSubmitRefuses says what is wrong with a submission before it is made, and
// what a server's refusal means.
func TestSubmitRefuses(t *testing.T) {
	fake := &jobServer{refuse: status.Error(codes.Unknown, "java.lang.IllegalArgumentException: Unknown urn beam:x\n\tat a.b(C.java:1)\n")}
	server := startJobServer(t, fake)
	good := Submission{Pipeline: aJob().Pipeline(), Environment: Process, Worker: "/opt/millrace-beam"}
	for what, c := range map[string]struct {
		change func(*Submission)
		text   string
	}{
		"relative path":  {func(s *Submission) { s.Worker = "millrace-beam" }, "not an absolute path"},
		"no image":       {func(s *Submission) { s.Environment, s.Worker = Docker, "" }, "name the image"},
		"no address":     {func(s *Submission) { s.Environment, s.Worker = External, "pool" }, `not host:port: "pool"`},
		"loopback":       {func(s *Submission) { s.Environment = Loopback }, "this process is the worker"},
		"environment":    {func(s *Submission) { s.Environment = "cloud" }, `no environment "cloud"`},
		"parallelism":    {func(s *Submission) { s.Parallelism = -1 }, "parallelism -1"},
		"unknown option": {func(s *Submission) { s.Options = map[string]string{"maxBundleSize": "1"} }, "no option maxBundleSize"},
		"the server":     {func(*Submission) {}, "Unknown urn beam:x; the job server does not know a part of the pipeline: this program (SDK " + SDK},
	} {
		sub := good
		c.change(&sub)
		_, err := server.Submit(t.Context(), sub)
		wantError(t, what, err, c.text)
		if err != nil && strings.Contains(err.Error(), "C.java") {
			t.Errorf("%s: a stack trace: %v", what, err)
		}
	}
}

func stateUpdate(s jobpb.JobState_Enum) *jobpb.JobMessagesResponse {
	return &jobpb.JobMessagesResponse{Response: &jobpb.JobMessagesResponse_StateResponse{StateResponse: &jobpb.JobStateEvent{State: s}}}
}

func messageUpdate(i jobpb.JobMessage_MessageImportance, text string) *jobpb.JobMessagesResponse {
	return &jobpb.JobMessagesResponse{Response: &jobpb.JobMessagesResponse_MessageResponse{MessageResponse: &jobpb.JobMessage{Importance: i, MessageText: text}}}
}

// TestFollow waits for the end of a job and says why it failed.
func TestFollow(t *testing.T) {
	running := stateUpdate(jobpb.JobState_RUNNING)
	cause := messageUpdate(jobpb.JobMessage_JOB_MESSAGE_ERROR, "org.apache.flink.X: the job\n\tat a.b(C.java:1)\nCaused by: java.io.Y: in between\n\tat a\nCaused by: java.io.Z: the cause\n\t... 3 more")
	for what, c := range map[string]struct {
		updates []*jobpb.JobMessagesResponse
		want    string // "" : no error
	}{
		"done":             {[]*jobpb.JobMessagesResponse{running, stateUpdate(jobpb.JobState_DONE)}, ""},
		"cancelled":        {[]*jobpb.JobMessagesResponse{running, stateUpdate(jobpb.JobState_CANCELLED)}, "cancelled"},
		"cause before":     {[]*jobpb.JobMessagesResponse{running, cause, stateUpdate(jobpb.JobState_FAILED)}, "job job-1 failed: org.apache.flink.X: the job; caused by: java.io.Z: the cause"},
		"cause after":      {[]*jobpb.JobMessagesResponse{stateUpdate(jobpb.JobState_FAILED), cause}, "caused by: java.io.Z: the cause"},
		"no cause":         {[]*jobpb.JobMessagesResponse{stateUpdate(jobpb.JobState_FAILED)}, "does not say why"},
		"a warning before": {[]*jobpb.JobMessagesResponse{messageUpdate(jobpb.JobMessage_JOB_MESSAGE_WARNING, "warned"), stateUpdate(jobpb.JobState_FAILED)}, "does not say why"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			job := &Submitted{ID: "job-1", server: startJobServer(t, &jobServer{updates: c.updates})}
			err := job.Follow(t.Context(), func(string) {})
			if c.want != "" {
				wantError(t, what, err, c.want)
			} else if err != nil {
				t.Error(err)
			}
			if errors.Is(err, ErrCancelled) != (what == "cancelled") {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestFollowUntil leaves a job alone when the context ends.
func TestFollowUntil(t *testing.T) {
	job := &Submitted{ID: "job-1", server: startJobServer(t, &jobServer{updates: []*jobpb.JobMessagesResponse{stateUpdate(jobpb.JobState_RUNNING)}})}
	ctx, cancel := context.WithCancel(t.Context())
	if err := job.Follow(ctx, func(string) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
