package beam

import (
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/apache/beam/sdks/v2/go/pkg/beam"

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

func TestMain(m *testing.M) {
	sdk.Init()
	os.Exit(m.Run())
}
