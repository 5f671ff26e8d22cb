package beam

import (
	"context"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"

	beamlog "github.com/apache/beam/sdks/v2/go/pkg/beam/log"
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"
)

// TestParseBoot tells a runner's flags from those of the command.
func TestParseBoot(t *testing.T) {
	for args, want := range map[string]bootArgs{
		"":                         {},
		"run --worker /a -p b":     {},
		"run --worker=/a --detach": {},
		"status --help":            {},
		"--worker_pool":            {pool: true},
		"--worker_pool=false run":  {},
		"--id=1-1 --logging_endpoint=h:1 --artifact_endpoint=h:2 --provision_endpoint=h:3 --control_endpoint=h:4": {
			booted: true, id: "1-1", logging: "h:1", provision: "h:3", control: "h:4"},
		"-id 1-1 -provision_endpoint h:3 -unheard_of -semi_persist_dir /tmp": {booted: true, id: "1-1", provision: "h:3"},
		"--worker=true --id=1 --logging_endpoint=h:1 --control_endpoint=h:4 --options={}": {
			worker: true, id: "1", logging: "h:1", control: "h:4", options: "{}"},
	} {
		if got := parseBoot(strings.Fields(args)); got != want {
			t.Errorf("%q: %+v, want %+v", args, got, want)
		}
	}
}

// A provisioner is a runner's provision service.
type provisioner struct {
	fnpb.UnimplementedProvisionServiceServer
	info *fnpb.ProvisionInfo
}

func (p *provisioner) GetProvisionInfo(context.Context, *fnpb.GetProvisionInfoRequest) (*fnpb.GetProvisionInfoResponse, error) {
	return &fnpb.GetProvisionInfoResponse{Info: p.info}, nil
}

// serve serves gRPC until the end of the test and returns the address.
func serve(t *testing.T, register func(*grpc.Server)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	register(server)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// TestProvision completes a worker's flags from the runner, and leaves the
// options in a file that others cannot read and the worker removes.
func TestProvision(t *testing.T) {
	for _, name := range []string{optionsEnv, oursEnv, "RUNNER_CAPABILITIES", "STATUS_ENDPOINT"} {
		t.Setenv(name, "")
	}
	t.Setenv("TMPDIR", t.TempDir())
	options, err := structpb.NewStruct(map[string]any{"beam:option:go_options:v1": map[string]any{"options": map[string]any{"a": "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	runner := &provisioner{info: &fnpb.ProvisionInfo{
		PipelineOptions: options, RunnerCapabilities: []string{"x", "y"},
		LoggingEndpoint: &pipepb.ApiServiceDescriptor{Url: "h:1"}, ControlEndpoint: &pipepb.ApiServiceDescriptor{Url: "h:2"},
	}}
	address := serve(t, func(s *grpc.Server) { fnpb.RegisterProvisionServiceServer(s, runner) })
	args := bootArgs{id: "1-1", provision: address, logging: "old:1"}
	if err := provision(t.Context(), &args); err != nil {
		t.Fatal(err)
	}
	if args.logging != "h:1" || args.control != "h:2" {
		t.Errorf("endpoints %s and %s", args.logging, args.control)
	}
	if got := os.Getenv("RUNNER_CAPABILITIES"); got != "x y" {
		t.Errorf("capabilities %q", got)
	}
	path := os.Getenv(optionsEnv)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the options can be read by others: %v", info.Mode())
	}
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), "go_options") {
		t.Errorf("options %s, %v", text, err)
	}

	runner.info.ControlEndpoint = nil
	args = bootArgs{id: "1-1", provision: address}
	if err := provision(t.Context(), &args); err == nil || !strings.Contains(err.Error(), "no control endpoint") {
		t.Errorf("without a control endpoint: %v", err)
	}
	args = bootArgs{provision: address}
	if err := provision(t.Context(), &args); err == nil || !strings.Contains(err.Error(), "no --id") {
		t.Errorf("without an id: %v", err)
	}
}

// A logged line is what the SDK was given to log.
type logged struct {
	severity beamlog.Severity
	text     string
}

type loggedLines struct{ lines []logged }

func (l *loggedLines) Log(_ context.Context, severity beamlog.Severity, _ int, text string) {
	l.lines = append(l.lines, logged{severity, text})
}

// TestRunnerLog sends records to the SDK's log, each whole and on one line.
func TestRunnerLog(t *testing.T) {
	got := &loggedLines{}
	beamlog.SetLogger(got)
	t.Cleanup(func() { beamlog.SetLogger(quietLog{}) })
	log := slog.New(newRunnerLog())
	log.Info("one", "a", 1)
	log.With("view", "v").WithGroup("g").Warn("two", "b", "x y")
	log.Error("three")
	want := []logged{
		{beamlog.SevInfo, `msg=one a=1`},
		{beamlog.SevWarn, `msg=two view=v g.b="x y"`},
		{beamlog.SevError, `msg=three`},
	}
	if len(got.lines) != len(want) {
		t.Fatalf("lines %v", got.lines)
	}
	for i := range want {
		if got.lines[i] != want[i] {
			t.Errorf("line %v, want %v", got.lines[i], want[i])
		}
	}
}
