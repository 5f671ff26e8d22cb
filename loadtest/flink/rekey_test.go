//go:build flink

package flink

import (
	"context"
	"syscall"
	"testing"

	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/loadtest/faults"
)

// TestRekeyed has Flink re-key a topic and apply the re-keyed one, while workers
// are killed. A local host with an empty store that reads the same re-keyed topic
// makes the same rows, and every record of the source was judged once.
func TestRekeyed(t *testing.T) {
	spec := &faults.Spec{Seed: 20240228, Partitions: 4, Events: 20_000, Entities: 100, Rekeyed: true}
	r := newRig(t, spec.Partitions, spec)
	named := *spec
	named.Topic = r.name
	work, err := faults.NewWork(named)
	if err != nil {
		t.Fatal(err)
	}
	l := r.of("rekeyed")
	r.submit(l, nil)
	const chunk = 400
	for from := 0; from < len(work.Records); from += chunk {
		r.produce(work.Records[from:min(from+chunk, len(work.Records))])
		if from/chunk%12 == 5 {
			_, pid := r.aWorker()
			signal(t, pid, syscall.SIGKILL)
		}
	}
	all := func() bool { return r.judged(l) == int64(len(work.Records))-work.Bad() && r.applied(l) }
	r.until("all records to be re-keyed and applied", all)
	got := r.outcome(l)

	store, err := pebble.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	onFlink := r.engines.Store
	r.engines.Store = store
	defer func() { r.engines.Store = onFlink }()
	r.runHere(l, all)
	want := r.outcome(l)
	got.Letters, want.Letters = nil, nil // of both, on one topic
	for i := range want.Progress {
		want.Progress[i].Next, want.Progress[i].Checksum = got.Progress[i].Next, got.Progress[i].Checksum // it wrote copies, and skipped them
	}
	if diff := got.Differs(want); diff != "" {
		t.Errorf("on Flink and by the local host: %s", diff)
	}
	t.Logf("%d records, %d rows", len(work.Records), len(want.Rows))
}

// judged is how many records a host has applied, dropped or refused.
func (r *rig) judged(l Load) (n int64) {
	for i := range l.Partitions {
		state, err := r.engines.Store.State(r.t.Context(), online.Shard{Space: r.plan.Space(l.Project), Index: i})
		if err != nil {
			return -1
		}
		c := state.Progress.Counts
		n += c.Applied + c.Dropped + c.Duplicates + c.Dead
	}
	return n
}

// runHere runs the local host in this process until a condition holds.
func (r *rig) runHere(l Load, until func() bool) {
	r.t.Helper()
	host, err := l.Host(r.engines)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(r.t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- host.Run(ctx) }()
	r.until("the local host", until)
	stop()
	if err := <-done; err != nil {
		r.t.Fatal(err)
	}
}
