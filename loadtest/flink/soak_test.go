//go:build flink && measure

package flink

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/loadtest/engines"
	"github.com/millrace/millrace/loadtest/trades"
	"github.com/millrace/millrace/streams"
)

var soak = flag.Duration("soak", 30*time.Minute, "how long TestSoak lets events flow")

// TestSoak has 5,000 trades a second flow through Flink and logs, for each minute,
// how long events waited, what Java has in its heaps at least, and how much memory
// each process holds; and at the end, that Flink has made no checkpoint.
func TestSoak(t *testing.T) {
	r := newRig(t, manyPartitions, nil)
	l := r.of("flink")
	j := r.submit(l, nil)
	trader := trades.NewGenerator(1)
	flow := &Flow{
		Plan: r.plan, Project: l.Project, Engines: r.engines, Look: 5 * time.Millisecond,
		Next: func() streams.Record {
			trade := trader.Next()
			return streams.Record{Key: trade.AppendKey(nil), Value: trade.AppendJSON(nil), Partition: -1}
		},
	}
	ctx, stop := context.WithTimeout(t.Context(), *soak)
	defer stop()
	flowed := make(chan error, 1)
	go func() { flowed <- flow.Run(ctx, faultRate) }()
	settle(t, flow)
	for minute := 1; ctx.Err() == nil; minute++ {
		began, heaps := time.Now(), map[string]int{}
		for time.Since(began) < time.Minute && ctx.Err() == nil {
			r.leastHeaps(heaps)
			time.Sleep(time.Second)
		}
		t.Logf("minute %d: %s; least heap %v MB; resident %v MB", minute, Summary(flow.Waits(began, time.Now())), heaps, r.resident())
	}
	if err := <-flowed; err != nil {
		t.Error(err)
	}
	t.Logf("checkpoints: %s", j.checkpoints())
}

// leastHeaps notes the least that the heap of each TaskManager has held: what
// lives there, and not what waits to be collected.
func (r *rig) leastHeaps(least map[string]int) {
	var all struct{ Taskmanagers []struct{ ID string } }
	if err := getJSON(r.flink.REST+"/taskmanagers", &all); err != nil {
		return
	}
	for _, tm := range all.Taskmanagers {
		var values []struct{ Value string }
		if err := getJSON(r.flink.REST+"/taskmanagers/"+tm.ID+"/metrics?get=Status.JVM.Memory.Heap.Used", &values); err != nil || len(values) != 1 {
			continue
		}
		used, err := strconv.ParseFloat(values[0].Value, 64)
		if err != nil {
			continue
		}
		if mb := int(used) >> 20; least[tm.ID] == 0 || mb < least[tm.ID] {
			least[tm.ID] = mb
		}
	}
}

// resident is the resident memory of each process, in MB.
func (r *rig) resident() string {
	pids := map[string]int{}
	for _, node := range []string{"kafka", "redis", "flink-jm", "flink-js", "flink-tm1", "flink-tm2"} {
		pids[node] = engines.Pid(r.t, node)
	}
	for tm, pid := range r.workers() {
		pids["worker of "+tm] = pid
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(pids)) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pids[name]))
		if fields := strings.Fields(string(text)); err == nil && len(fields) > 1 {
			pages, _ := strconv.Atoi(fields[1])
			out = append(out, fmt.Sprintf("%s %d", name, pages*os.Getpagesize()>>20))
		}
	}
	return strings.Join(out, ", ")
}

// checkpoints says how many Flink has made of the job.
func (j *job) checkpoints() string {
	var all struct {
		Jobs []struct{ JID, Name, State string }
	}
	if err := getJSON(j.rig.flink.REST+"/jobs/overview", &all); err != nil {
		return err.Error()
	}
	for _, one := range all.Jobs {
		if one.Name == j.name {
			var c struct {
				Counts map[string]int
				Errors []string
			}
			if err := getJSON(j.rig.flink.REST+"/jobs/"+one.JID+"/checkpoints", &c); err != nil {
				return err.Error()
			}
			return fmt.Sprint(c.Counts, c.Errors)
		}
	}
	return "the job is gone"
}
