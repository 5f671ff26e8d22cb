package beam

import (
	"context"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// What this version is known to work with: see DESIGN.md.
const (
	KnownJobServer = "2.70.0" // version of Beam's Flink runner and job server
	KnownFlink     = "1.19"
	SDK            = core.SdkVersion // of this program
)

// reachWait is for how long a job server or Flink's REST service that should run
// already is tried.
const reachWait = 5 * time.Second

// A JobServer is a Beam job server for Flink that has answered.
type JobServer struct {
	address string
	conn    *grpc.ClientConn
	client  jobpb.JobServiceClient
	options []string // that it knows
}

// Connect returns the job server at an address, host:port. An error says whether
// nothing answers there, or something that is no job server for Flink.
func Connect(ctx context.Context, address string) (*JobServer, error) {
	ctx, cancel := context.WithTimeout(ctx, reachWait)
	defer cancel()
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, fmt.Errorf("beam: the job server's address %q is not host:port, as 127.0.0.1:8099", address)
	}
	// Apart from gRPC, whose errors do not tell a closed port from a wrong one.
	probe, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("beam: no job server at %s: %w; start Beam's job server for Flink, or name the address of the one that runs", address, err)
	}
	probe.Close()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))
	if err != nil {
		return nil, fmt.Errorf("beam: job server %s: %w", address, err)
	}
	s := &JobServer{address: address, conn: conn, client: jobpb.NewJobServiceClient(conn)}
	if err := s.describe(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

// Close closes the connection. Jobs go on.
func (s *JobServer) Close() error { return s.conn.Close() }

// needed are options without which the job would run otherwise than it should:
// a job server ignores those that it does not know.
var needed = []string{"parallelism", "max_bundle_time_mills"}

// describe asks which options the server has. A job server does not say its
// version, but its options show what it is.
func (s *JobServer) describe(ctx context.Context) error {
	answer, err := s.client.DescribePipelineOptions(ctx, &jobpb.DescribePipelineOptionsRequest{})
	switch code := status.Code(err); {
	case err == nil:
	case code == codes.Unimplemented:
		return fmt.Errorf("beam: what listens at %s is no Beam job server, though it speaks gRPC; the port is the one of --job-port (8099 where that is not given), and not that of its artifacts or expansion service", s.address)
	case code == codes.Unavailable, code == codes.DeadlineExceeded:
		return fmt.Errorf("beam: what listens at %s does not answer as a Beam job server: it is the port of another program, as Flink's REST service or Kafka, or the job server hangs: %s", s.address, status.Convert(err).Message())
	default:
		return fmt.Errorf("beam: job server %s: %w", s.address, err)
	}
	s.options = []string{"pipeline_resources_detector_factory_class"} // which it takes, but does not name
	for _, o := range answer.GetOptions() {
		s.options = append(s.options, o.GetName())
	}
	for _, name := range needed {
		if !slices.Contains(s.options, name) {
			return fmt.Errorf("beam: the job server at %s has no option %s: it is for another runner than Flink, or of another version; this program (SDK %s) is known to work with version %s of Beam's job server for Flink %s", s.address, name, SDK, KnownJobServer, KnownFlink)
		}
	}
	return nil
}

// knows refuses options that the server would ignore.
func (s *JobServer) knows(options map[string]string) error {
	var unknown []string
	for name := range options {
		if !slices.Contains(s.options, name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	return fmt.Errorf("beam: the job server at %s has no option %s, and would ignore it; names are in the form max_bundle_size", s.address, strings.Join(unknown, ", "))
}

// refused says why a call of the submission failed.
func (s *JobServer) refused(call string, err error) error {
	text := status.Convert(err).Message()
	return fmt.Errorf("beam: the job server at %s fails to %s the job: %s", s.address, call, explain(text))
}
