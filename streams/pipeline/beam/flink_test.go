package beam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"
)

// A restService is the wire of Flink's REST service: answers by path, and jobs
// that a cancel ends.
type restService struct {
	mu      sync.Mutex
	states  map[string]string // of jobs, by id
	names   map[string]string
	running int // of the two tasks of each job
	answers map[string]string
}

func (s *restService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.states {
		switch {
		case r.URL.Path != "/jobs/"+id:
		case r.Method == http.MethodPatch && r.URL.RawQuery == "mode=cancel":
			s.states[id] = "CANCELED"
			w.WriteHeader(http.StatusAccepted)
			return
		default:
			fmt.Fprintf(w, `{"jid":%q,"vertices":[{"id":"v1","parallelism":2},{"id":"v2","parallelism":1}]}`, id)
			return
		}
	}
	if r.URL.Path == "/jobs/overview" {
		text := ""
		for i, id := range slices.Sorted(maps.Keys(s.states)) {
			if i > 0 {
				text += ","
			}
			text += fmt.Sprintf(`{"jid":%q,"name":%q,"state":%q,"start-time":%d,"last-modification":1700000000000,"tasks":{"total":2,"running":%d}}`,
				id, s.names[id], s.states[id], 1700000000000+i, s.running)
		}
		fmt.Fprintf(w, `{"jobs":[%s]}`, text)
		return
	}
	path := r.URL.Path
	if r.URL.RawQuery != "" {
		path += "?" + r.URL.RawQuery
	}
	answer, ok := s.answers[path]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"errors":["org.apache.flink.NotFound: no `+r.URL.Path+`\n\tat a.b(C.java:1)"]}`)
		return
	}
	fmt.Fprint(w, answer)
}

func startREST(t *testing.T, s *restService) *Flink {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	f, err := NewFlink(server.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestRunning finds the one job of a name, and says of none and of several which
// there are.
func TestRunning(t *testing.T) {
	s := &restService{
		states: map[string]string{"a": "RUNNING", "b": "RUNNING", "c": "CANCELED", "d": "RESTARTING", "e": "FAILED"},
		names:  map[string]string{"a": "one", "b": "two", "c": "one", "d": "two", "e": "three"},
	}
	f := startREST(t, s)
	if j, err := f.Running(t.Context(), "one"); err != nil || j.ID != "a" || j.State != "RUNNING" {
		t.Errorf("%v, %v", j, err)
	}
	_, err := f.Running(t.Context(), "two")
	wantError(t, "several", err, "b (RUNNING", "d (RESTARTING", "name one by its id")
	if !errors.Is(err, ErrManyJobs) {
		t.Error(err)
	}
	_, err = f.Running(t.Context(), "three")
	wantError(t, "ended", err, "e, is FAILED since 2023-11-14")
	if !errors.Is(err, ErrNoJob) {
		t.Error(err)
	}
	_, err = f.Running(t.Context(), "four")
	wantError(t, "never", err, "there never was one")
	if j, err := f.Job(t.Context(), "d"); err != nil || j.Name != "two" {
		t.Errorf("%v, %v", j, err)
	}
	_, err = f.Job(t.Context(), "x")
	wantError(t, "by id", err, "of the id x")
}

// TestStop cancels a job and waits for its end.
func TestStop(t *testing.T) {
	s := &restService{states: map[string]string{"a": "RUNNING"}, names: map[string]string{"a": "one"}}
	f := startREST(t, s)
	if err := f.Stop(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if s.states["a"] != "CANCELED" {
		t.Errorf("state %s", s.states["a"])
	}
	err := f.Stop(t.Context(), "b")
	wantError(t, "no such job", err, "refuses /jobs/b?mode=cancel with status 404", "org.apache.flink.NotFound: no /jobs/b")
}

// TestStarted waits for the tasks of a job, and gives up one that ends or that is
// restarted again and again.
func TestStarted(t *testing.T) {
	failure := `{"exceptionHistory":{"entries":[{"exceptionName":"X","timestamp":1700000000000,"stacktrace":"a.X: first\n\tat b\nCaused by: java.io.IOException: Process died with exit code 2\n"}]}}`
	for what, c := range map[string]struct {
		state          string
		running        int
		restarts, want string
	}{
		"runs":      {"RUNNING", 2, "0", ""},
		"failed":    {"FAILED", 0, "0", "Process died with exit code 2; the worker ended at its start"},
		"restarts":  {"RESTARTING", 0, "3", "Process died with exit code 2; the worker ended at its start"},
		"scheduled": {"RUNNING", 1, "1", "deadline exceeded"},
	} {
		s := &restService{
			states: map[string]string{"a": c.state}, names: map[string]string{"a": "one"}, running: c.running,
			answers: map[string]string{
				"/jobs/a/exceptions?maxExceptions=1": failure,
				"/jobs/a/metrics?get=numRestarts":    `[{"id":"numRestarts","value":"` + c.restarts + `"}]`,
			},
		}
		f := startREST(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		if what == "scheduled" {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), 3*pollEvery)
		}
		err := f.Started(ctx, "a")
		if cancel(); c.want == "" && err != nil {
			t.Errorf("%s: %v", what, err)
		} else if c.want != "" {
			wantError(t, what, err, c.want)
		}
	}
}

// TestStatus gathers what Flink says of a job, the workers' counters summed over
// the subtasks of all its stages.
func TestStatus(t *testing.T) {
	s := &restService{
		states: map[string]string{"a": "RUNNING"}, names: map[string]string{"a": "one"}, running: 2,
		answers: map[string]string{
			"/jobs/a/metrics?get=numRestarts":      `[{"id":"numRestarts","value":"2"}]`,
			"/jobs/a/exceptions?maxExceptions=1":   `{"exceptionHistory":{"entries":[{"timestamp":1700000000000,"stacktrace":"a.X: why\n\tat b"}]}}`,
			"/jobs/a/vertices/v1/taskmanagers":     `{"taskmanagers":[{"taskmanager-id":"tm2"},{"taskmanager-id":"tm1"}]}`,
			"/jobs/a/vertices/v2/taskmanagers":     `{"taskmanagers":[{"taskmanager-id":"tm1"},{"taskmanager-id":"(unassigned)"}]}`,
			"/jobs/a/vertices/v1/subtasks/metrics": `[{"id":"numRecordsIn"}]`,
			"/jobs/a/vertices/v2/subtasks/metrics": `[{"id":"[2]Steps.millrace_applied"},{"id":"[2]Steps.millrace_dead_letters"},{"id":"x"}]`,
			"/jobs/a/vertices/v2/subtasks/metrics?get=%5B2%5DSteps.millrace_applied,%5B2%5DSteps.millrace_dead_letters": `[{"id":"[2]Steps.millrace_applied","sum":70.0},{"id":"[2]Steps.millrace_dead_letters","sum":1}]`,
		},
	}
	f := startREST(t, s)
	j, err := f.Running(t.Context(), "one")
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Status(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	if got.Restarts != 2 || got.Parallelism != 2 || !slices.Equal(got.TaskManagers, []string{"tm1", "tm2"}) {
		t.Errorf("%+v", got)
	}
	if len(got.Counters) != 2 || got.Counters["applied"] != 70 || got.Counters["dead_letters"] != 1 {
		t.Errorf("counters %v", got.Counters)
	}
	if got.Failure == nil || got.Failure.Cause != "a.X: why" || got.Failure.At.UnixMilli() != 1700000000000 {
		t.Errorf("failure %v", got.Failure)
	}
}

// TestCluster takes Flink's answer and no other program's.
func TestCluster(t *testing.T) {
	s := &restService{answers: map[string]string{
		"/overview":               `{"taskmanagers":2,"slots-total":4,"slots-available":1,"flink-version":"1.19.3"}`,
		"/jobmanager/environment": `{"jvm":{"arch":"aarch64"}}`,
	}}
	f := startREST(t, s)
	if c, err := f.Cluster(t.Context()); err != nil || *c != (FlinkCluster{"1.19.3", "arm64", 2, 4, 1}) {
		t.Errorf("%+v, %v", c, err)
	}
	s.answers = map[string]string{"/overview": `{"hello":"world"}`}
	_, err := f.Cluster(t.Context())
	wantError(t, "other JSON", err, "is not Flink's REST service")
	s.answers["/overview"] = `<html>`
	_, err = f.Cluster(t.Context())
	wantError(t, "no JSON", err, "is not Flink's REST service")

	grpcPort, err := NewFlink("http://" + serve(t, func(*grpc.Server) {}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = grpcPort.Cluster(t.Context())
	wantError(t, "gRPC", err, "does not answer as Flink's REST service", "another program")
	closed := httptest.NewServer(s)
	closed.Close()
	gone, err := NewFlink(closed.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, err = gone.Cluster(t.Context())
	wantError(t, "closed", err, "no Flink REST service at "+closed.URL, "start the cluster")
	_, err = NewFlink("127.0.0.1:8081")
	wantError(t, "no URL", err, "is no URL")
}
