package beam

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrCancelled is the end of a job that somebody has cancelled.
var ErrCancelled = errors.New("beam: the job was cancelled")

// causeWait is for how long the cause of a failure may come after the failure.
const causeWait = 2 * time.Second

// Follow waits until the job ends: nil where it is done, ErrCancelled, or why it
// failed. The end of ctx ends the waiting and not the job. State is called with
// each state of the job at the job server, as STARTING or RUNNING, which says
// little of Flink.
func (j *Submitted) Follow(ctx context.Context, state func(string)) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := j.server.client.GetMessageStream(inner, &jobpb.JobMessagesRequest{JobId: j.ID})
	if err != nil {
		return j.lost(ctx, err)
	}
	var failed bool
	var cause string
	for {
		update, err := stream.Recv()
		switch {
		case err != nil && failed:
			return j.failure(cause)
		case errors.Is(err, io.EOF):
			return fmt.Errorf("beam: the job server at %s no longer says what becomes of job %s", j.server.address, j.ID)
		case err != nil:
			return j.lost(ctx, err)
		}
		if m := update.GetMessageResponse(); m.GetImportance() >= jobpb.JobMessage_JOB_MESSAGE_ERROR {
			cause = m.GetMessageText()
		}
		if s := update.GetStateResponse(); s != nil {
			state(s.GetState().String())
			switch s.GetState() {
			case jobpb.JobState_DONE:
				return nil
			case jobpb.JobState_CANCELLED:
				return ErrCancelled
			case jobpb.JobState_FAILED:
				failed = true
				time.AfterFunc(causeWait, cancel)
			}
		}
		if failed && cause != "" {
			return j.failure(cause)
		}
	}
}

func (j *Submitted) failure(cause string) error {
	if cause == "" {
		cause = "the job server does not say why; see its log and those of the JobManager and the TaskManagers"
	}
	return fmt.Errorf("beam: job %s failed: %s", j.ID, explain(cause))
}

// lost says that a job can no longer be followed.
func (j *Submitted) lost(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case status.Code(err) == codes.NotFound:
		return fmt.Errorf("beam: the job server at %s does not know job %s: it has been started again since; on Flink the job may go on", j.server.address, j.ID)
	}
	return fmt.Errorf("beam: the job server at %s no longer answers: %s; on Flink the job may go on", j.server.address, status.Convert(err).Message())
}
