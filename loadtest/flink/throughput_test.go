//go:build flink && measure

package flink

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/loadtest/engines"
	"github.com/millrace/millrace/loadtest/trades"
	"github.com/millrace/millrace/streams"
)

// backlog is how many trades are in the topic before a host starts.
const backlog = 3_000_000

// TestThroughput has the local host, in one process, and Flink at parallelism 2
// apply the same backlog of trades, one after the other, twice each, on the same
// Kafka and Redis, and logs how fast they are and which process takes the time.
func TestThroughput(t *testing.T) {
	r := newRig(t, manyPartitions, nil)
	r.fill(backlog)
	var local, flink []float64
	for n := range 2 {
		l := r.of(fmt.Sprint("local", n))
		before := r.cpu(nil)
		began := time.Now()
		p := start(t, child{Load: l})
		local = append(local, r.measure(l, began))
		t.Logf("local host: CPU seconds: %s", spent(before, r.cpu(map[string]int{"host": p.cmd.Process.Pid})))
		p.stop(t)

		l = r.of(fmt.Sprint("flink", n))
		before = r.cpu(nil)
		began = time.Now()
		j := r.submit(l, nil)
		flink = append(flink, r.measure(l, began))
		t.Logf("Flink: CPU seconds: %s", spent(before, r.cpu(r.workers())))
		j.cancel()
	}
	t.Logf("Flink / local host: %.2f and %.2f", flink[0]/local[0], flink[1]/local[1])
}

// fill writes trades to the topic.
func (r *rig) fill(n int) {
	trader := trades.NewGenerator(1)
	const chunk = 20_000
	records := make([]streams.Record, chunk)
	for range n / chunk {
		for i := range records {
			trade := trader.Next()
			records[i] = streams.Record{Key: trade.AppendKey(nil), Value: trade.AppendJSON(nil), Partition: -1}
		}
		r.produce(records)
	}
}

// measure waits until a host has committed everything, and returns how many
// events a second it has applied since its first commit.
func (r *rig) measure(l Load, began time.Time) float64 {
	r.t.Helper()
	var first time.Time
	var before int64
	r.until("the first commit", func() bool {
		before = r.progress(l)
		first = time.Now()
		return before > 0
	})
	r.until("the last commit", func() bool { return r.progress(l) == backlog })
	took := time.Since(first)
	rate := float64(backlog-before) / took.Seconds()
	r.t.Logf("%s: first commit after %.1f s; from then on %d events in %.1f s: %.0f a second", l.Project, first.Sub(began).Seconds(), backlog-before, took.Seconds(), rate)
	return rate
}

// progress is how many records a host has committed.
func (r *rig) progress(l Load) (total int64) {
	r.t.Helper()
	keys := make([]online.Key, l.Partitions)
	for i := range keys {
		keys[i] = online.Key{Shard: online.Shard{Space: r.plan.Space(l.Project), Index: i}}
	}
	_, states, err := r.engines.Store.Read(r.t.Context(), keys)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range states {
		total += s.Progress.Next
	}
	return total
}

// cpu returns the CPU seconds that the engines' processes, and others, have taken.
func (r *rig) cpu(others map[string]int) map[string]float64 {
	r.t.Helper()
	out := map[string]float64{}
	for _, node := range []string{"kafka", "redis", "flink-jm", "flink-tm1", "flink-tm2"} {
		out[node] = cpuSeconds(engines.Pid(r.t, node))
	}
	for name, pid := range others {
		out["process of "+name] = cpuSeconds(pid)
	}
	return out
}

func cpuSeconds(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	ticks := 0
	for _, f := range fields[11:13] { // user, system
		n, _ := strconv.Atoi(f)
		ticks += n
	}
	return float64(ticks) / 100
}

// spent says how much each has taken in between.
func spent(before, after map[string]float64) string {
	var out []string
	for _, name := range []string{"process of host", "process of flink-tm1", "process of flink-tm2", "flink-jm", "flink-tm1", "flink-tm2", "kafka", "redis"} {
		if d := after[name] - before[name]; d > 0 {
			out = append(out, fmt.Sprintf("%s %.1f", name, d))
		}
	}
	return strings.Join(out, ", ")
}
