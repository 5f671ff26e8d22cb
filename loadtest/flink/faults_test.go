//go:build flink

package flink

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/loadtest/engines"
	"github.com/millrace/millrace/loadtest/trades"
	"github.com/millrace/millrace/streams"
)

// manyPartitions are more than subtasks by far: Flink spreads keys unevenly.
const manyPartitions = 16

// faultRate is how many events a second flow while things are killed.
const faultRate = 5000

// times is how often each fault strikes.
const times = 3

// TestFaults has trades flow through Flink while everything is killed, each at
// least three times: a worker, a TaskManager, the JobManager, Kafka, Redis with
// the loss of what it wrote last, and a host that freezes for 20 seconds and then
// commits what it had in hand, which is refused. It logs for each how long the
// longest wait of an event was. In the end the rows and the progress are those of
// a local host that reads the same topic undisturbed.
func TestFaults(t *testing.T) {
	r := newRig(t, manyPartitions, nil)
	onFlink, calm := r.of("flink"), r.of("calm")
	r.submit(onFlink, nil)
	trader := trades.NewGenerator(1)
	flow := &Flow{
		Plan: r.plan, Project: onFlink.Project, Engines: r.engines, Look: 10 * time.Millisecond,
		Next: func() streams.Record {
			trade := trader.Next()
			return streams.Record{Key: trade.AppendKey(nil), Value: trade.AppendJSON(nil), Partition: -1}
		},
	}
	ctx, stop := context.WithCancel(t.Context())
	flowed := make(chan error, 1)
	go func() { flowed <- flow.Run(ctx, faultRate) }()
	defer func() {
		stop()
		if err := <-flowed; err != nil {
			t.Error(err)
		}
		undisturbed := start(t, child{Load: calm})
		r.until("all of the topic in an undisturbed host", func() bool { return r.applied(calm) })
		undisturbed.stop(t)
		want := r.outcome(calm)
		if diff := r.outcome(onFlink).Differs(want); diff != "" {
			t.Errorf("on Flink and undisturbed: %s", diff)
		}
		total := int64(0)
		for _, p := range want.Progress {
			total += p.Next
		}
		t.Logf("%d events, %d rows: the same on Flink and undisturbed", total, len(want.Rows))
	}()
	settle(t, flow)
	for _, fault := range []struct {
		name   string
		strike func(*rig, Load)
	}{
		{"worker", func(r *rig, _ Load) { _, pid := r.aWorker(); signal(r.t, pid, syscall.SIGKILL) }},
		{"TaskManager", func(r *rig, _ Load) { tm, _ := r.aWorker(); engines.Kill(r.t, tm); engines.Up(r.t, tm) }},
		{"JobManager", func(r *rig, l Load) { engines.Kill(r.t, "flink-jm"); engines.Up(r.t, "flink-jm"); r.submit(l, nil) }},
		{"Kafka", func(r *rig, _ Load) { engines.Kill(r.t, "kafka"); engines.Up(r.t, "kafka") }},
		{"Redis and its tail", func(r *rig, _ Load) { r.cutRedis() }},
		{"frozen host", func(r *rig, _ Load) { r.freeze(flow) }},
	} {
		for n := range times {
			began := time.Now()
			fault.strike(r, onFlink)
			struck := time.Since(began)
			settle(t, flow)
			waits := flow.Waits(began, time.Now())
			if len(waits) == 0 {
				t.Fatalf("%s: no event was committed", fault.name)
			}
			t.Logf("%s, %d of %d: longest wait %.1f s (the fault and the new start took %.1f s)", fault.name, n+1, times, waits[len(waits)-1].Seconds(), struck.Seconds())
		}
	}
}

// settle waits for what a fault may have done to show, and then until events have
// been committed in time for three seconds.
func settle(t *testing.T, flow *Flow) {
	t.Helper()
	const calm, inTime = 3 * time.Second, time.Second
	time.Sleep(calm + time.Second)
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if n, longest := flow.Lately(calm); n > 0 && longest < inTime {
			return
		}
	}
	t.Fatal("events are not committed in time")
}

// cutRedis kills Redis and cuts the end off its log, as the loss of a machine
// would, and starts it again.
func (r *rig) cutRedis() {
	r.t.Helper()
	engines.Kill(r.t, "redis")
	logs, err := filepath.Glob(filepath.Join(engines.Dir(r.t, "redis"), "appendonlydir", "*.incr.aof"))
	if err != nil || len(logs) == 0 {
		r.t.Fatalf("no log of Redis: %v", err)
	}
	log := logs[len(logs)-1]
	info, err := os.Stat(log)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.Truncate(log, info.Size()-min(info.Size(), 400_000)); err != nil {
		r.t.Fatal(err)
	}
	engines.Up(r.t, "redis")
}

// freeze stops a worker just before a commit, and its TaskManager, as if their
// host froze; the other TaskManager takes over. After 20 seconds, or when it has, the
// worker goes on with the commit, which must be refused, and then the TaskManager.
func (r *rig) freeze(flow *Flow) {
	r.t.Helper()
	tm, pid := r.aWorker()
	if err := os.MkdirAll(notes(), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(notes(), "hold"), fmt.Append(nil, pid), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.until("the worker to stop before a commit", func() bool { return stopped(pid) })
	parent := engines.Pid(r.t, tm)
	signal(r.t, parent, syscall.SIGSTOP)
	time.Sleep(20 * time.Second)
	settle(r.t, flow)
	signal(r.t, pid, syscall.SIGCONT)
	refused := filepath.Join(notes(), fmt.Sprint("refused-", pid))
	r.until("the commit to be refused", func() bool { _, err := os.Stat(refused); return err == nil })
	time.Sleep(time.Second)
	signal(r.t, parent, syscall.SIGCONT)
	text, err := os.ReadFile(refused)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Logf("the worker of %s was refused %d commits when it woke", tm, strings.Count(string(text), "\n"))
}
