//go:build flink

package flink

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/loadtest/engines"
	"github.com/millrace/millrace/loadtest/faults"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline/beam"
)

// A rig is the engines of a test, and a topic of its own.
type rig struct {
	t       *testing.T
	flink   engines.FlinkCluster
	load    Load // of the first host; the others differ in Project
	plan    *features.Plan
	engines *Engines
	name    string
}

// newRig has a topic for the work, or for trades if it is nil.
func newRig(t *testing.T, partitions int, work *faults.Spec) *rig {
	t.Helper()
	r := &rig{t: t, flink: engines.Flink(t), name: fmt.Sprintf("%s%d", strings.ToLower(strings.TrimPrefix(t.Name(), "Test")), time.Now().UnixMilli())}
	r.load = Load{Kafka: engines.Kafka(t), Redis: []string{engines.Redis(t)}, Topic: r.name, Partitions: partitions, Work: work}
	var err error
	if r.engines, err = r.load.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.engines.Close() })
	if r.plan, err = r.load.Plan(); err != nil {
		t.Fatal(err)
	}
	if err := r.engines.Cluster.Ensure(t.Context(), r.name, partitions, map[string]string{"retention.ms": "-1"}); err != nil {
		t.Fatal(err)
	}
	return r
}

// of is the load for a host of its own.
func (r *rig) of(host string) Load {
	l := r.load
	l.Project = r.name + host
	return l
}

// submit has Flink run a host until the end of the test, and returns its job.
func (r *rig) submit(l Load, tune func(*beam.Submission)) *job {
	r.t.Helper()
	bj, err := l.job(beam.FlinkTicker)
	if err != nil {
		r.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	s := beam.Submission{Pipeline: bj.Pipeline(), Environment: beam.Process, Worker: self, Parallelism: 2}
	if tune != nil {
		tune(&s)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	server, err := beam.Connect(ctx, r.flink.JobServer)
	if err != nil {
		r.t.Fatal(err)
	}
	defer server.Close()
	if _, err := server.Submit(ctx, s); err != nil {
		r.t.Fatal(err)
	}
	j := &job{rig: r, name: l.Project}
	r.t.Cleanup(j.cancel)
	return j
}

// A job is one on Flink.
type job struct {
	rig  *rig
	name string
}

// cancel ends all jobs of its name. That there is none is no error: a JobManager
// that was killed has forgotten them.
func (j *job) cancel() {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		var all struct {
			Jobs []struct{ JID, Name, State string }
		}
		if err := getJSON(j.rig.flink.REST+"/jobs/overview", &all); err != nil {
			continue
		}
		left := 0
		for _, one := range all.Jobs {
			if one.Name != j.name || slices.Contains([]string{"CANCELED", "FAILED", "FINISHED"}, one.State) {
				continue
			}
			left++
			req, err := http.NewRequest(http.MethodPatch, j.rig.flink.REST+"/jobs/"+one.JID+"?mode=cancel", nil)
			if err != nil {
				j.rig.t.Error(err)
				return
			}
			if res, err := http.DefaultClient.Do(req); err == nil {
				res.Body.Close()
			}
		}
		if left == 0 {
			return
		}
	}
	j.rig.t.Errorf("job %s does not end", j.name)
}

func getJSON(url string, into any) error {
	c := http.Client{Timeout: 3 * time.Second}
	res, err := c.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return json.NewDecoder(res.Body).Decode(into)
}

// workers are the processes of workers, by the TaskManager that started them.
func (r *rig) workers() map[string]int {
	r.t.Helper()
	out := map[string]int{}
	for _, tm := range []string{"flink-tm1", "flink-tm2"} {
		parent := engines.Pid(r.t, tm)
		stats, err := filepath.Glob("/proc/[0-9]*/stat")
		if err != nil {
			r.t.Fatal(err)
		}
		for _, path := range stats {
			text, err := os.ReadFile(path)
			if err != nil {
				continue // it has ended
			}
			_, rest, _ := strings.Cut(string(text), ") ")
			fields := strings.Fields(rest) // state, parent, ...
			if len(fields) < 2 || fields[1] != strconv.Itoa(parent) || fields[0] == "Z" {
				continue
			}
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				r.t.Fatal(err)
			}
			out[tm] = pid
		}
	}
	return out
}

// aWorker waits for one and returns its TaskManager and its process.
func (r *rig) aWorker() (tm string, pid int) {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for tm, pid := range r.workers() {
			return tm, pid
		}
	}
	r.t.Fatal("no worker runs")
	return "", 0
}

// until waits for a condition.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// applied reports whether a host has committed all that is in its topic.
func (r *rig) applied(l Load) bool {
	for i := range r.load.Partitions {
		_, next, err := r.engines.Cluster.Bounds(r.t.Context(), r.plan.Topic(l.Project), i)
		if err != nil {
			return false
		}
		state, err := r.engines.Store.State(r.t.Context(), online.Shard{Space: r.plan.Space(l.Project), Index: i})
		if err != nil || state.Progress.Next < next {
			return false
		}
	}
	return true
}

func (r *rig) outcome(l Load) *faults.Outcome {
	r.t.Helper()
	o, err := faults.ReadOutcome(r.t.Context(), r.plan, l.Project, r.engines.Store, r.engines.Cluster)
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

func (r *rig) produce(records []streams.Record) {
	r.t.Helper()
	if _, err := r.engines.Producer.Produce(r.t.Context(), r.plan.Source.Topic, records); err != nil {
		r.t.Fatal(err)
	}
}

// stopped waits until a process is stopped by a signal.
func stopped(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return strings.HasPrefix(rest, "T")
}

func signal(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Errorf("signal %v to %d: %v", s, pid, err)
	}
}
