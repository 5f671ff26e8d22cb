package pipeline_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/featurestest"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
	"github.com/millrace/millrace/streams/codec"
	"github.com/millrace/millrace/streams/pipeline"
)

const project = "test"

// A rig is a broker in memory, a store and a client of both.
type rig struct {
	t        *testing.T
	cluster  *streams.Cluster
	producer *streams.Producer
	store    online.Store
	addr     string // of the broker
}

func newRig(t *testing.T) *rig {
	b, err := broker.Start(broker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	store, err := pebble.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	cluster, err := streams.Connect(streams.Options{Addresses: []string{b.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	producer := streams.NewProducer(cluster)
	t.Cleanup(producer.Close)
	return &rig{t, cluster, producer, store, b.Addr()}
}

func (r *rig) host(plans ...*features.Plan) *pipeline.Host { return pipeline.New(r.config(plans...)) }

func (r *rig) config(plans ...*features.Plan) pipeline.Config {
	return pipeline.Config{
		Project: project, Plans: plans, Cluster: r.cluster, Producer: r.producer, Store: r.store,
		Log: slog.New(slog.NewTextHandler(r.t.Output(), &slog.HandlerOptions{Level: slog.LevelError})),
	}
}

// run runs a host until stop is called, which waits for it.
func (r *rig) run(h *pipeline.Host) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	}
}

// ensure makes the topics before anything is produced.
func (r *rig) ensure(p *features.Plan) {
	r.t.Helper()
	if err := r.cluster.Ensure(r.t.Context(), p.Source.Topic, p.Source.Partitions, nil); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) produce(topic string, records ...streams.Record) {
	r.t.Helper()
	if _, err := r.producer.Produce(r.t.Context(), topic, records); err != nil {
		r.t.Fatal(err)
	}
}

// eventually waits for a condition, with patience for a machine that has much
// else to do.
func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// applied waits until all of a topic has been applied under a plan.
func (r *rig) applied(p *features.Plan, topic string) {
	r.t.Helper()
	r.eventually("all of "+topic, func() bool { return r.isApplied(p, topic) })
}

func (r *rig) rows(p *features.Plan) map[string]online.Row {
	out := map[string]online.Row{}
	for e, err := range r.store.Rows(r.t.Context(), p.Space(project)) {
		if err != nil {
			r.t.Fatal(err)
		}
		out[e.Key.Entity] = online.Row{Head: bytes.Clone(e.Row.Head), Base: bytes.Clone(e.Row.Base)}
	}
	return out
}

// world makes a plan for a generated world, and records of its events.
func world(t *testing.T, seed uint64, keyedBy string, partitions int) (*features.Plan, []streams.Record) {
	w := featurestest.New(seed)
	w.Source.Partitions, w.Source.KeyedBy = partitions, []string{keyedBy}
	p, err := features.Compile(w.Clock, w.Source, w.View)
	if err != nil {
		t.Fatal(err)
	}
	records := make([]streams.Record, len(w.Events))
	for i, e := range w.Events {
		// Kafka keeps milliseconds and no time before 1970.
		shift := int64(3_000_000_000_000)
		e.Time, e.Arrival = e.Time+shift, (e.Arrival+shift)/1000*1000
		e.Values = slices.Clone(e.Values)
		e.Values[featurestest.Time] = expr.TimeValue(e.Time)
		key := e.Values[featurestest.Key].Str
		if keyedBy == "id" {
			key = e.Values[featurestest.ID].Str
		}
		records[i] = streams.Record{Key: []byte(key), Value: codec.AppendJSON(nil, p.Fields(), e.Values), Time: e.Arrival, Partition: -1}
		if e.Values[featurestest.X].Kind == expr.Float && i%17 == 0 {
			records[i].Value = []byte(`{"key": "k1", "x": }`)
		}
	}
	return p, records
}

// direct applies records to rows in memory, one by one: what the rows must be.
func direct(t *testing.T, p *features.Plan, records []streams.Record) (map[string]online.Row, features.Counts) {
	decoder, err := codec.New(p.Source)
	if err != nil {
		t.Fatal(err)
	}
	shards := make([]*features.Shard, p.Source.Partitions)
	offsets := make([]int64, p.Source.Partitions)
	for i := range shards {
		shards[i] = p.NewShard(features.NoTime, features.Counts{})
	}
	rows := map[string]*features.Row{}
	for _, rec := range records {
		part := streams.PartitionOf(rec.Key, p.Source.Partitions)
		shard, e := shards[part], features.Event{Arrival: rec.Time, Order: features.OrderOf(part, offsets[part])}
		offsets[part]++
		if decoder.Decode(rec.Value, &e) != nil {
			shard.Counts.Dead++
			continue
		}
		key, err := p.AppendEntity(nil, e.Values)
		if err != nil {
			t.Fatal(err)
		}
		ok, refused := shard.Admit(&e)
		if refused != nil {
			shard.Counts.Dead++
		}
		if !ok {
			continue
		}
		if rows[string(key)] == nil {
			rows[string(key)] = p.NewRow()
		}
		shard.Fold(rows[string(key)], &e)
	}
	out, total := map[string]online.Row{}, features.Counts{}
	for key, r := range rows {
		if !r.Empty() {
			out[key] = online.Row{Head: p.AppendHead(nil, r), Base: p.AppendBase(nil, r)}
		}
	}
	for _, s := range shards {
		total.Applied += s.Counts.Applied
		total.Dead += s.Counts.Dead
		total.Dropped += s.Counts.Dropped
		total.Duplicates += s.Counts.Duplicates
	}
	return out, total
}

func sameRows(t *testing.T, got, want map[string]online.Row) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d rows, want %d", len(got), len(want))
	}
	for key, w := range want {
		if g := got[key]; !bytes.Equal(g.Head, w.Head) || !bytes.Equal(g.Base, w.Base) {
			t.Fatalf("row %q:\n%x %x, want\n%x %x", key, g.Head, g.Base, w.Head, w.Base)
		}
	}
}

// TestRowsEqualDirectFold runs worlds through topics, with stops, a second
// owner at the same time, and delivery in small pieces: the rows in the store
// are those of a fold in memory, and every dead letter is there once.
func TestRowsEqualDirectFold(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := newRig(t)
			p, records := world(t, seed, "key", 3)
			r.ensure(p)
			third := len(records) / 3
			r.produce(p.Source.Topic, records[:third]...)
			stop := r.run(r.host(p))
			r.applied(p, p.Source.Topic)
			stop()
			r.produce(p.Source.Topic, records[third:2*third]...)
			stop1, stop2 := r.run(r.host(p)), r.run(r.host(p))
			for _, rec := range records[2*third:] {
				r.produce(p.Source.Topic, rec)
			}
			r.applied(p, p.Source.Topic)
			stop1()
			stop2()
			want, counts := direct(t, p, records)
			sameRows(t, r.rows(p), want)
			letters := 0
			for d, err := range streams.ReadDeadLetters(t.Context(), r.cluster, pipeline.DeadLetters(project)) {
				if err != nil {
					t.Fatal(err)
				}
				if d.View != "view" || d.Topic != p.Source.Topic || d.Reason == "" || len(d.Value) == 0 {
					t.Errorf("%+v", d)
				}
				letters++
			}
			if int64(letters) != counts.Dead {
				t.Errorf("%d dead letters, want %d", letters, counts.Dead)
			}
		})
	}
}

// TestRekeyedWorlds applies topics that are keyed by another field, with a stop
// in between and two hosts at the end: the rows are those of a fold of the
// re-keyed topic, in which each record that can be read stands once.
func TestRekeyedWorlds(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := newRig(t)
			p, records := world(t, seed, "id", 3)
			if p.Keyed() || p.Topic(project) != "test.source.by.key" {
				t.Fatalf("topic %s", p.Topic(project))
			}
			r.ensure(p)
			half := len(records) / 2
			r.produce(p.Source.Topic, records[:half]...)
			stop := r.run(r.host(p))
			r.eventually("some progress", func() bool { return len(r.rows(p)) > 0 })
			stop()
			stop1, stop2 := r.run(r.host(p)), r.run(r.host(p))
			r.produce(p.Source.Topic, records[half:]...)
			bad := 0
			for _, rec := range records {
				if strings.HasSuffix(string(rec.Value), `"x": }`) {
					bad++
				}
			}
			r.allRekeyed(p, len(records)-bad)
			stop1()
			stop2()
			r.checkRekeyed(p, len(records)-bad)
		})
	}
}

// TestWrongKeyStopsTheView names what to set, and leaves the other view alone.
func TestWrongKeyStopsTheView(t *testing.T) {
	r := newRig(t)
	p, records := world(t, 1, "key", 2)
	w := featurestest.New(1)
	w.Source.Name, w.Source.Topic, w.View.Name, w.View.Source = "other", "other", "other", "other"
	healthy, err := features.Compile(w.Clock, w.Source, w.View)
	if err != nil {
		t.Fatal(err)
	}
	r.ensure(p)
	r.ensure(healthy)
	wrong := records[1]
	wrong.Key = []byte("somebody else")
	r.produce(p.Source.Topic, wrong)
	rest := slices.Clone(records)
	for i := range rest {
		rest[i].Partition = 0
	}
	r.produce("other", rest...)
	h := r.host(p, healthy)
	stop := r.run(h)
	defer stop()
	r.eventually("the shard to stop", func() bool { return len(h.Problems()) == 1 && strings.Contains(h.Problems()[0], "stopped") })
	if got := h.Problems()[0]; !strings.Contains(got, "stopped") || !strings.Contains(got, "remove keyed_by from source source") || !strings.Contains(got, `"somebody else"`) {
		t.Error(got)
	}
	r.applied(healthy, "other")
}
