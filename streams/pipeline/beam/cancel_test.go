//go:build !race

// Not with the race detector: the SDK's own harness closes a channel that it still
// sends to where a job is cancelled in the middle of a bundle.

package beam

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	sdk "github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"

	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/loadtest/faults"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
)

// TestPrismEqualsLocalHost applies a topic on Prism, in two runs of which the
// first is cancelled in the middle, and by the local host: the rows, the
// progress and the dead letters are the same, and what the naive definition says.
func TestPrismEqualsLocalHost(t *testing.T) {
	r := newRig(t, faults.Spec{Seed: 7, Partitions: 4, Events: 3000, Entities: 50})
	onPrism, local := r.open(t), r.open(t)
	produce := func(records []streams.Record) {
		if _, err := r.producer.Produce(t.Context(), r.work.Plan.Source.Topic, records); err != nil {
			t.Fatal(err)
		}
	}
	half := len(r.work.Records) / 2
	produce(r.work.Records[:half])
	stop := r.runPrism(t, "prism", onPrism)
	r.applied(t, "prism", onPrism)
	stop()
	stop = r.runPrism(t, "prism", onPrism)
	produce(r.work.Records[half:])
	r.applied(t, "prism", onPrism)
	stop()

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.host(t, "local", local).Run(ctx) }()
	r.applied(t, "local", local)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	want := r.outcome(t, "local", local)
	if err := r.work.Check(want); err != nil {
		t.Error(err)
	}
	if diff := r.outcome(t, "prism", onPrism).Differs(want); diff != "" {
		t.Errorf("on Prism and by the local host: %s", diff)
	}
}

// runPrism runs the work's pipeline on Prism until stop is called.
func (r *rig) runPrism(t *testing.T, project string, store online.Store) (stop func()) {
	t.Helper()
	Open = func(context.Context, Project) (*pipeline.Host, func() error, error) {
		return r.host(t, project, store), func() error { return nil }, nil
	}
	p, s := sdk.NewPipelineWithRoot()
	job := Job{
		Name: project, Project: Project{Name: project, File: []byte{byte(runs.Add(1))}},
		Parts: r.host(t, project, store).Parts(), Tick: 20 * time.Millisecond, Ticker: PeriodicTicker,
	}
	if err := Build(s, job); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := prism.Execute(ctx, p)
		done <- err
	}()
	return func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) && !bytes.Contains([]byte(err.Error()), []byte("context canceled")) {
			t.Error(err)
		}
	}
}
