package beam

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A FlinkStatus is how a job on Flink is.
type FlinkStatus struct {
	FlinkJob
	Restarts     int64 // of the whole job, since it was submitted
	Parallelism  int   // of its widest stage
	TaskManagers []string
	Counters     map[string]int64 // of the workers, by name; from the last restart on
	Failure      *FlinkFailure    // the last one; nil: none
}

// A FlinkFailure is why a job was restarted or ended.
type FlinkFailure struct {
	At    time.Time
	Cause string
}

type jobDetails struct {
	Vertices []struct {
		ID          string
		Parallelism int
	}
}

func (f *Flink) details(ctx context.Context, id string) (*jobDetails, error) {
	var d jobDetails
	return &d, f.call(ctx, http.MethodGet, "/jobs/"+id, &d)
}

// Status returns how a job is.
func (f *Flink) Status(ctx context.Context, j *FlinkJob) (*FlinkStatus, error) {
	d, err := f.details(ctx, j.ID)
	if err != nil {
		return nil, err
	}
	s := &FlinkStatus{FlinkJob: *j, Counters: map[string]int64{}}
	if s.Restarts, err = f.restarts(ctx, j.ID); err != nil {
		return nil, err
	}
	if s.Failure, err = f.lastFailure(ctx, j.ID); err != nil {
		return nil, err
	}
	for _, v := range d.Vertices {
		s.Parallelism = max(s.Parallelism, v.Parallelism)
		path := "/jobs/" + j.ID + "/vertices/" + v.ID
		if err := f.taskManagers(ctx, path, s); err != nil {
			return nil, err
		}
		if err := f.counters(ctx, path, s.Counters); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (f *Flink) restarts(ctx context.Context, id string) (int64, error) {
	var answer []struct{ Value string }
	if err := f.call(ctx, http.MethodGet, "/jobs/"+id+"/metrics?get=numRestarts", &answer); err != nil || len(answer) == 0 {
		return 0, err
	}
	return strconv.ParseInt(answer[0].Value, 10, 64)
}

func (f *Flink) lastFailure(ctx context.Context, id string) (*FlinkFailure, error) {
	var answer struct {
		History struct {
			Entries []struct {
				Name       string `json:"exceptionName"`
				Stacktrace string
				Timestamp  int64
			}
		} `json:"exceptionHistory"`
	}
	if err := f.call(ctx, http.MethodGet, "/jobs/"+id+"/exceptions?maxExceptions=1", &answer); err != nil || len(answer.History.Entries) == 0 {
		return nil, err
	}
	e := answer.History.Entries[0]
	return &FlinkFailure{At: time.UnixMilli(e.Timestamp), Cause: explain(e.Stacktrace)}, nil
}

func (f *Flink) taskManagers(ctx context.Context, vertex string, s *FlinkStatus) error {
	var answer struct {
		TaskManagers []struct {
			ID string `json:"taskmanager-id"`
		}
	}
	if err := f.call(ctx, http.MethodGet, vertex+"/taskmanagers", &answer); err != nil {
		return err
	}
	for _, t := range answer.TaskManagers {
		if t.ID != "" && t.ID != "(unassigned)" && !slices.Contains(s.TaskManagers, t.ID) {
			s.TaskManagers = append(s.TaskManagers, t.ID)
		}
	}
	slices.Sort(s.TaskManagers)
	return nil
}

// counterMark precedes the name of a counter of the workers in that of its
// metric: OPERATOR.NAMESPACE_NAME.
const counterMark = ".millrace_"

func (f *Flink) counters(ctx context.Context, vertex string, into map[string]int64) error {
	var names []struct{ ID string }
	if err := f.call(ctx, http.MethodGet, vertex+"/subtasks/metrics", &names); err != nil {
		return err
	}
	var ours []string
	for _, n := range names {
		if strings.Contains(n.ID, counterMark) {
			ours = append(ours, url.QueryEscape(n.ID))
		}
	}
	if len(ours) == 0 {
		return nil
	}
	var values []struct {
		ID  string
		Sum float64
	}
	if err := f.call(ctx, http.MethodGet, vertex+"/subtasks/metrics?get="+strings.Join(ours, ","), &values); err != nil {
		return err
	}
	for _, v := range values {
		_, name, _ := strings.Cut(v.ID, counterMark)
		into[name] += int64(v.Sum)
	}
	return nil
}

// A FlinkCluster is what a cluster says of itself.
type FlinkCluster struct {
	Version      string // of Flink
	Processor    string // of the JobManager's host, by Go's name; "": it does not say
	TaskManagers int
	Slots, Free  int
}

// Cluster asks what the cluster is.
func (f *Flink) Cluster(ctx context.Context) (*FlinkCluster, error) {
	var overview struct {
		Version      string `json:"flink-version"`
		TaskManagers int
		Slots        int `json:"slots-total"`
		Free         int `json:"slots-available"`
	}
	if err := f.call(ctx, http.MethodGet, "/overview", &overview); err != nil {
		return nil, err
	}
	if overview.Version == "" {
		return nil, fmt.Errorf("beam: what answers at %s is not Flink's REST service", f.base)
	}
	c := &FlinkCluster{Version: overview.Version, TaskManagers: overview.TaskManagers, Slots: overview.Slots, Free: overview.Free}
	var environment struct{ JVM struct{ Arch string } }
	if err := f.call(ctx, http.MethodGet, "/jobmanager/environment", &environment); err == nil {
		c.Processor = goProcessor(environment.JVM.Arch)
	}
	return c, nil
}

// goProcessor returns Go's name of a processor that Java names.
func goProcessor(java string) string {
	if java == "aarch64" {
		return "arm64"
	}
	return java
}
