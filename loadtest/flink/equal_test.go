//go:build flink

package flink

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/loadtest/engines"
	"github.com/millrace/millrace/loadtest/faults"
)

// TestEqual has three hosts apply one topic at the same time, each into rows of
// its own: the local host, Beam on Prism, and Beam on Flink at parallelism 2. All
// are killed again and again. In the end the rows, the progress and the dead
// letters of all three are those of a local host that nobody disturbed, and what
// the naive definition says.
func TestEqual(t *testing.T) {
	spec := &faults.Spec{Seed: 20240228, Partitions: 4, Events: 40_000, Entities: 100}
	r := newRig(t, spec.Partitions, spec)
	named := *spec
	named.Topic = r.name
	work, err := faults.NewWork(named)
	if err != nil {
		t.Fatal(err)
	}
	if work.Plan.Space("") != r.plan.Space("") {
		t.Fatal("the plan depends on the number of events")
	}
	onLocal, onPrism, onFlink, calm := r.of("local"), r.of("prism"), r.of("flink"), r.of("calm")
	local, prism := start(t, child{Load: onLocal}), start(t, child{Load: onPrism, Prism: true})
	r.submit(onFlink, nil)

	random := rand.New(rand.NewPCG(5, 5))
	const chunk = 200
	kills := map[string]int{}
	for from := 0; from < len(work.Records); from += chunk {
		r.produce(work.Records[from:min(from+chunk, len(work.Records))])
		time.Sleep(time.Duration(random.Int64N(int64(100 * time.Millisecond)))) // decides where a kill strikes
		switch random.IntN(24) {
		case 0:
			local.kill()
			local = start(t, child{Load: onLocal})
			kills["local"]++
		case 1:
			prism.kill()
			prism = start(t, child{Load: onPrism, Prism: true})
			kills["prism"]++
		case 2:
			_, pid := r.aWorker()
			signal(t, pid, syscall.SIGKILL)
			kills["worker"]++
		case 3:
			if kills["taskmanager"] < 2 {
				tm, _ := r.aWorker()
				engines.Kill(t, tm)
				engines.Up(t, tm)
				kills["taskmanager"]++
			}
		}
	}
	t.Logf("killed: %v", kills)
	for _, who := range []string{"local", "prism", "worker", "taskmanager"} {
		if kills[who] == 0 {
			t.Errorf("%s was never killed", who)
		}
	}
	undisturbed := start(t, child{Load: calm})
	for _, l := range []Load{onLocal, onPrism, onFlink, calm} {
		r.until("all of "+l.Project, func() bool { return r.applied(l) })
	}
	local.stop(t)
	prism.stop(t)
	undisturbed.stop(t)
	want := r.outcome(calm)
	if err := work.Check(want); err != nil {
		t.Errorf("undisturbed: %v", err)
	}
	for _, l := range []Load{onLocal, onPrism, onFlink} {
		if diff := r.outcome(l).Differs(want); diff != "" {
			t.Errorf("%s, killed and undisturbed: %s", l.Project, diff)
		}
	}
	t.Logf("%d rows, %d dead letters, %d records: the same in all", len(want.Rows), len(want.Letters), len(work.Records))
}
