package beam

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/loadtest/faults"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
	"github.com/millrace/millrace/streams/pipeline"
)

// A rig is what the runs of a test share.
type rig struct {
	work     *faults.Work
	cluster  *streams.Cluster
	producer *streams.Producer
}

func newRig(t *testing.T, spec faults.Spec) *rig {
	t.Helper()
	work, err := faults.NewWork(spec)
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.Start(broker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	cluster, err := streams.Connect(streams.Options{Addresses: []string{b.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	producer := streams.NewProducer(cluster)
	t.Cleanup(producer.Close)
	if err := cluster.Ensure(t.Context(), work.Plan.Source.Topic, spec.Partitions, nil); err != nil {
		t.Fatal(err)
	}
	return &rig{work, cluster, producer}
}

func (r *rig) host(t *testing.T, project string, store online.Store) *pipeline.Host {
	return pipeline.New(pipeline.Config{
		Project: project, Plans: []*features.Plan{r.work.Plan}, Cluster: r.cluster, Producer: r.producer, Store: store,
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError})),
	})
}

func (r *rig) open(t *testing.T) online.Store {
	t.Helper()
	store, err := pebble.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// applied waits until a store has all of the topic.
func (r *rig) applied(t *testing.T, project string, store online.Store) {
	t.Helper()
	p := r.work.Plan
	for partition := range p.Source.Partitions {
		_, next, err := r.cluster.Bounds(t.Context(), p.Topic(project), partition)
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			s, err := store.State(t.Context(), online.Shard{Space: p.Space(project), Index: partition})
			if err == nil && s.Progress.Next >= next {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("partition %d is at %d of %d: %v", partition, s.Progress.Next, next, err)
			}
		}
	}
}

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

func (r *rig) outcome(t *testing.T, project string, store online.Store) *faults.Outcome {
	t.Helper()
	o, err := faults.ReadOutcome(t.Context(), r.work.Plan, project, store, r.cluster)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// runs makes each run's project another, since a process keeps one worker for
// each.
var runs atomic.Int64

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

func TestMain(m *testing.M) {
	sdk.Init()
	os.Exit(m.Run())
}
