package beam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Flink is the REST service of a cluster's JobManager.
type Flink struct {
	base   string
	client *http.Client
}

// NewFlink returns the REST service at a URL, as http://127.0.0.1:8081.
func NewFlink(base string) (*Flink, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("beam: the address of Flink's REST service %q is no URL, as http://127.0.0.1:8081", base)
	}
	return &Flink{base: strings.TrimSuffix(base, "/"), client: &http.Client{Timeout: reachWait}}, nil
}

// A FlinkJob is a job in Flink's list.
type FlinkJob struct {
	ID      string
	Name    string
	State   string // CREATED, RUNNING, RESTARTING, CANCELED, FAILED, FINISHED, ...
	Started time.Time
	Since   time.Time // of the state

	tasks, running int
}

// ended are the states of jobs that have come to their end.
var ended = []string{"CANCELED", "FAILED", "FINISHED", "SUSPENDED"}

// runs reports whether all tasks of the job run.
func (j *FlinkJob) runs() bool { return j.State == "RUNNING" && j.tasks > 0 && j.running == j.tasks }

// Ended reports whether the job has come to its end.
func (j *FlinkJob) Ended() bool { return slices.Contains(ended, j.State) }

// answerBytes bounds an answer of the REST service.
const answerBytes = 16 << 20

// call asks the service and decodes its answer into out, if that is not nil.
func (f *Flink) call(ctx context.Context, method, path string, out any) error {
	request, err := http.NewRequestWithContext(ctx, method, f.base+path, nil)
	if err != nil {
		return fmt.Errorf("beam: %w", err)
	}
	answer, err := f.client.Do(request)
	if err != nil {
		return f.unreached(ctx, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, answerBytes))
	if err != nil {
		return fmt.Errorf("beam: Flink's REST service at %s: %s: %w", f.base, path, err)
	}
	if answer.StatusCode/100 != 2 {
		return &restError{f.base, path, answer.StatusCode, refusal(body)}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("beam: what answers at %s is not Flink's REST service: %s is not its JSON: %w", f.base, path, err)
	}
	return nil
}

// unreached tells a closed port from another program's.
func (f *Flink) unreached(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err
	}
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return fmt.Errorf("beam: no Flink REST service at %s: %w; start the cluster, or name the address of its JobManager", f.base, err)
	}
	return fmt.Errorf("beam: what listens at %s does not answer as Flink's REST service: it is the port of another program, or the JobManager hangs: %w", f.base, err)
}

// A restError is a refusal of the REST service.
type restError struct {
	base, path string
	status     int
	text       string
}

func (e *restError) Error() string {
	return fmt.Sprintf("beam: Flink's REST service at %s refuses %s with status %d: %s", e.base, e.path, e.status, e.text)
}

// refusal returns the first line of why the service refused.
func refusal(body []byte) string {
	var refused struct{ Errors []string }
	if json.Unmarshal(body, &refused) == nil && len(refused.Errors) > 0 {
		return explain(strings.Join(refused.Errors, "\n"))
	}
	first, _ := causes(string(body))
	return first
}

// Jobs returns the jobs that the JobManager remembers, of one name or, with "",
// all of them, the newest first.
func (f *Flink) Jobs(ctx context.Context, name string) ([]FlinkJob, error) {
	var answer struct {
		Jobs *[]struct {
			ID       string `json:"jid"`
			Name     string
			State    string
			Start    int64 `json:"start-time"`
			Modified int64 `json:"last-modification"`
			Tasks    struct{ Total, Running int }
		}
	}
	if err := f.call(ctx, http.MethodGet, "/jobs/overview", &answer); err != nil {
		return nil, err
	}
	if answer.Jobs == nil {
		return nil, fmt.Errorf("beam: what answers at %s is not Flink's REST service", f.base)
	}
	jobs := []FlinkJob{}
	for _, j := range *answer.Jobs {
		if name == "" || j.Name == name {
			jobs = append(jobs, FlinkJob{j.ID, j.Name, j.State, time.UnixMilli(j.Start), time.UnixMilli(j.Modified), j.Tasks.Total, j.Tasks.Running})
		}
	}
	slices.SortFunc(jobs, func(a, b FlinkJob) int { return b.Started.Compare(a.Started) })
	return jobs, nil
}

// Running returns the job of a name that has not ended. It is an error where
// there is none, and where there are several: ErrNoJob, ErrManyJobs.
func (f *Flink) Running(ctx context.Context, name string) (*FlinkJob, error) {
	jobs, err := f.Jobs(ctx, name)
	if err != nil {
		return nil, err
	}
	last := "there never was one, as far as the JobManager knows"
	if len(jobs) > 0 {
		last = fmt.Sprintf("the last one, %s, is %s since %s", jobs[0].ID, jobs[0].State, jobs[0].Since.UTC().Format(time.RFC3339))
	}
	jobs = slices.DeleteFunc(jobs, func(j FlinkJob) bool { return j.Ended() })
	switch len(jobs) {
	case 0:
		return nil, fmt.Errorf("%w of the name %s on the cluster at %s; %s", ErrNoJob, name, f.base, last)
	case 1:
		return &jobs[0], nil
	}
	var ids []string
	for _, j := range jobs {
		ids = append(ids, fmt.Sprintf("%s (%s, since %s)", j.ID, j.State, j.Started.UTC().Format(time.RFC3339)))
	}
	return nil, fmt.Errorf("%w of the name %s on the cluster at %s: %s; name one by its id", ErrManyJobs, name, f.base, strings.Join(ids, ", "))
}

// What Running finds instead of one job.
var (
	ErrNoJob    = errors.New("beam: no job runs")
	ErrManyJobs = errors.New("beam: several jobs run")
)

// Job returns a job by its id.
func (f *Flink) Job(ctx context.Context, id string) (*FlinkJob, error) {
	jobs, err := f.Jobs(ctx, "")
	if err != nil {
		return nil, err
	}
	for _, j := range jobs {
		if j.ID == id {
			return &j, nil
		}
	}
	return nil, fmt.Errorf("%w of the id %s on the cluster at %s", ErrNoJob, id, f.base)
}

// pollEvery is how often the service is asked while something is waited for.
const pollEvery = 100 * time.Millisecond

// Stop cancels a job and waits until it is no more. Nothing is lost: all that
// counts is committed.
func (f *Flink) Stop(ctx context.Context, id string) error {
	var refused *restError
	err := f.call(ctx, http.MethodPatch, "/jobs/"+id+"?mode=cancel", nil)
	if err != nil && !(errors.As(err, &refused) && refused.status == http.StatusConflict) { // it is ending already
		return err
	}
	_, err = f.await(ctx, id, (*FlinkJob).Ended)
	return err
}

// Appears waits until the cluster has a job of a name that fits, and returns its
// id.
func (f *Flink) Appears(ctx context.Context, name string, fits func(FlinkJob) bool) (id string, err error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		jobs, err := f.Jobs(ctx, name)
		if err != nil {
			return "", err
		}
		if i := slices.IndexFunc(jobs, fits); i >= 0 {
			return jobs[i].ID, nil
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-tick.C:
		}
	}
}

// startTries is how often Flink may restart a job that has never run before it
// counts as one that does not start.
const startTries = 3

// Started waits until all tasks of a job run. It is an error if the job ends
// before, or is restarted again and again.
func (f *Flink) Started(ctx context.Context, id string) error {
	var restarts int64
	var failed error
	j, err := f.await(ctx, id, func(j *FlinkJob) bool {
		if j.Ended() || j.runs() {
			return true
		}
		restarts, failed = f.restarts(ctx, id)
		return failed != nil || restarts >= startTries
	})
	if err = errors.Join(err, failed); err != nil || j.runs() {
		return err
	}
	why := j.State
	if cause, err := f.lastFailure(ctx, id); err == nil && cause != nil {
		why = cause.Cause
	}
	return fmt.Errorf("beam: job %s does not start: %s", id, why)
}

// watchEvery is how often a job that runs is asked for failures.
const watchEvery = time.Second

// Watch calls report with each failure after which Flink restarts a job, until
// ctx ends. While the cluster does not answer there is none to report.
func (f *Flink) Watch(ctx context.Context, id string, report func(FlinkFailure)) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var last time.Time
	for {
		if failure, err := f.lastFailure(ctx, id); err == nil && failure != nil && failure.At.After(last) {
			last = failure.At
			report(*failure)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// await asks the list of jobs: what the service says of a job alone may be three
// seconds old.
func (f *Flink) await(ctx context.Context, id string, done func(*FlinkJob) bool) (*FlinkJob, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		j, err := f.Job(ctx, id)
		if err != nil || done(j) {
			return j, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("beam: job %s is still %s: %w", id, j.State, ctx.Err())
		case <-tick.C:
		}
	}
}
