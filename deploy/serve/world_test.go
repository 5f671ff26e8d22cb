package serve

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/observe"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
	"github.com/millrace/millrace/streams/codec"
)

const project = "shop"

var (
	prices = features.Source{
		Name: "prices", Topic: "prices", KeyedBy: []string{"symbol"}, EventTime: "time", Format: "json", AllowNonfinite: true, Partitions: 3,
		Fields: []features.Field{
			{Name: "symbol", Kind: expr.String}, {Name: "close", Kind: expr.Float, Optional: true},
			{Name: "volume", Kind: expr.Int, Optional: true}, {Name: "note", Kind: expr.String, Optional: true},
			{Name: "time", Kind: expr.Time},
		},
	}
	daily = features.View{
		Name: "daily", Source: "prices", Entity: []string{"symbol"},
		Features: []features.Feature{
			{Name: "n", Agg: "count", Of: "*", Window: features.Window{Kind: features.Lifetime}},
			{Name: "volume", Agg: "last", Of: "volume", Window: features.Window{Kind: features.Lifetime}},
			{Name: "close", Agg: "last", Of: "close", Window: features.Window{Kind: features.Lifetime}},
			{Name: "note", Agg: "last", Of: "note", Window: features.Window{Kind: features.Lifetime}},
			{Name: "newest", Agg: "max", Of: "time", Window: features.Window{Kind: features.Lifetime}},
			{Name: "n_1h", Agg: "count", Of: "*", Window: features.Window{Size: time.Hour}},
		},
		OnDemand: []features.Named{{Name: "gap", Expr: "request.close - close"}},
	}
	exact = features.View{
		Name: "exact", Source: "prices", Entity: []string{"symbol"},
		Features: []features.Feature{{Name: "n", Agg: "count", Of: "*", Window: features.Window{Size: time.Hour, Exact: true}}},
	}
	// buys is keyed by two fields and written as CSV.
	buys = features.Source{
		Name: "buys", Topic: "buys", KeyedBy: []string{"user", "shop"}, EventTime: "at", Format: "csv", Partitions: 2,
		Fields: []features.Field{
			{Name: "user", Kind: expr.Int}, {Name: "shop", Kind: expr.String}, {Name: "sum", Kind: expr.Float}, {Name: "at", Kind: expr.Time},
		},
	}
	baskets = features.View{
		Name: "baskets", Source: "buys", Entity: []string{"user", "shop"},
		Features: []features.Feature{{Name: "total", Agg: "sum", Of: "sum", Window: features.Window{Kind: features.Lifetime}}},
	}
)

// A world is a server with a broker and a store of its own.
type world struct {
	*Server
	t        testing.TB
	broker   *broker.Broker
	dir      string // of its log
	cluster  *streams.Cluster
	store    online.Store
	plans    map[string]*features.Plan
	problems atomic.Pointer[string]
	now      atomic.Int64 // microseconds; 0: the real time
}

// newWorld starts a world whose store is passed through wrap, if given.
func newWorld(t testing.TB, wrap func(online.Store) online.Store) *world {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	dir := t.TempDir()
	b, err := broker.Start(broker.Options{Dir: dir, Log: log})
	must(t, err)
	cluster, err := streams.Connect(streams.Options{Addresses: []string{b.Addr()}})
	must(t, err)
	t.Cleanup(cluster.Close)
	producer := streams.NewProducer(cluster)
	t.Cleanup(producer.Close)
	for _, s := range []features.Source{prices, buys} {
		must(t, cluster.Ensure(t.Context(), s.Topic, s.Partitions, map[string]string{"retention.ms": "-1"}))
	}
	store, err := pebble.Open(t.TempDir())
	must(t, err)
	t.Cleanup(func() { store.Close() })
	w := &world{t: t, broker: b, dir: dir, cluster: cluster, store: store, plans: map[string]*features.Plan{}}
	t.Cleanup(func() { w.broker.Close() })
	if wrap != nil {
		w.store = wrap(store)
	}
	metrics, err := observe.New()
	must(t, err)
	cfg := Config{
		Project: project, Sources: []features.Source{prices, buys}, Store: w.store, Producer: producer, Log: log, MaxBody: 64 << 10, Metrics: metrics,
		Problems: func() []string {
			if p := w.problems.Load(); p != nil {
				return []string{*p}
			}
			return nil
		},
		Now: func() time.Time {
			if us := w.now.Load(); us != 0 {
				return time.UnixMicro(us)
			}
			return time.Now()
		},
	}
	for _, v := range []features.View{daily, exact, baskets} {
		src := prices
		if v.Source == "buys" {
			src = buys
		}
		plan, err := features.Compile(features.WallClock, src, v)
		must(t, err)
		w.plans[v.Name] = plan
		cfg.Plans = append(cfg.Plans, plan)
	}
	replay := daily
	replay.Name = "replay"
	plan, err := features.Compile(features.EventClock, prices, replay)
	must(t, err)
	w.plans["replay"] = plan
	cfg.Plans = append(cfg.Plans, plan)
	w.Server, err = New(cfg)
	must(t, err)
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// apply folds what is new in the log into a view's rows, one partition after
// the other. It is the pipeline in small, so that tests say when it runs.
func (w *world) apply(name string) {
	w.t.Helper()
	plan := w.plans[name]
	for part := range plan.Source.Partitions {
		w.applyPartition(plan, part)
	}
}

func (w *world) applyPartition(plan *features.Plan, part int) {
	w.t.Helper()
	ctx := w.t.Context()
	at := online.Shard{Space: plan.Space(project), Index: part}
	state, err := w.store.State(ctx, at)
	must(w.t, err)
	newest, next := int64(features.NoTime), int64(0)
	if state.Token != (online.Token{}) {
		newest, next = state.Progress.Newest, state.Progress.Next
	}
	records := w.records(plan.Source.Topic, part, next)
	if !plan.Keyed() {
		records = w.rekeyed(plan, part)[next:]
	}
	if len(records) == 0 {
		return
	}
	shard := plan.NewShard(newest, state.Progress.Counts)
	decoder, err := codec.New(plan.Source)
	must(w.t, err)
	rows := map[string]*features.Row{}
	for _, r := range records {
		e := features.Event{Arrival: r.Time, Order: features.OrderOf(part, r.Offset)}
		must(w.t, decoder.Decode(r.Value, &e))
		if ok, bad := shard.Admit(&e); bad != nil || !ok {
			w.t.Fatal(bad)
		}
		entity, err := plan.AppendEntity(nil, e.Values)
		must(w.t, err)
		key := online.Key{Shard: at, Entity: string(entity)}
		if rows[key.Entity] == nil {
			stored, _, err := w.store.Read(ctx, []online.Key{key})
			must(w.t, err)
			rows[key.Entity], err = plan.DecodeRow(stored[0].Head, stored[0].Base)
			must(w.t, err)
		}
		shard.Fold(rows[key.Entity], &e)
	}
	c := &online.Commit{Shard: at, Expect: state.Token, Next: online.NewToken()}
	c.Progress = online.Progress{Topic: plan.Topic(project), Next: records[len(records)-1].Offset + 1, Newest: shard.Newest, Counts: shard.Counts}
	for entity, row := range rows {
		c.Writes = append(c.Writes, online.Write{Entity: entity, Head: plan.AppendHead(nil, row), Base: plan.AppendBase(nil, row)})
	}
	must(w.t, w.store.Commit(ctx, c))
}

// rekeyed returns what a partition of a view's own topic would hold.
func (w *world) rekeyed(plan *features.Plan, part int) []streams.Record {
	w.t.Helper()
	decoder, err := codec.New(plan.Source)
	must(w.t, err)
	var all []streams.Record
	for from := range plan.Source.Partitions {
		for _, r := range w.records(plan.Source.Topic, from, 0) {
			var e features.Event
			must(w.t, decoder.Decode(r.Value, &e))
			entity, err := plan.AppendEntity(nil, e.Values)
			must(w.t, err)
			if streams.PartitionOf(entity, plan.Source.Partitions) == part {
				r.Offset = int64(len(all))
				all = append(all, r)
			}
		}
	}
	return all
}

// records returns what a partition holds from an offset on.
func (w *world) records(topic string, part int, from int64) []streams.Record {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, next, err := w.cluster.Bounds(ctx, topic, part)
	must(w.t, err)
	r := w.cluster.Reader(topic, part, from)
	defer r.Close()
	var all []streams.Record
	for from < next {
		b, err := r.Fetch(ctx)
		must(w.t, err)
		for _, x := range b.Records {
			x.Key, x.Value = append([]byte(nil), x.Key...), append([]byte(nil), x.Value...)
			all = append(all, x)
			from = x.Offset + 1
		}
	}
	return all
}

// post sends a body and returns the status and the answer.
func (w *world) post(path, body string) (int, string) {
	r := httptest.NewRecorder()
	w.ServeHTTP(r, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
	return r.Code, r.Body.String()
}

// ingest writes events and returns their positions.
func (w *world) events(source, body string) []streams.Position {
	w.t.Helper()
	status, answer := w.post(eventsPath+source, body)
	var a struct{ Positions []streams.Position }
	if err := json.Unmarshal([]byte(answer), &a); err != nil || status != http.StatusOK {
		w.t.Fatalf("status %d: %s", status, answer)
	}
	return a.Positions
}

// A flawed store fails, or panics, where a test says so.
type flawed struct {
	online.Store
	read atomic.Pointer[func() error]
}

func (f *flawed) Read(ctx context.Context, keys []online.Key) ([]online.Row, []online.State, error) {
	if hook := f.read.Load(); hook != nil {
		if err := (*hook)(); err != nil {
			return nil, nil, err
		}
	}
	return f.Store.Read(ctx, keys)
}

func (f *flawed) State(ctx context.Context, s online.Shard) (online.State, error) {
	if hook := f.read.Load(); hook != nil {
		if err := (*hook)(); err != nil {
			return online.State{}, err
		}
	}
	return f.Store.State(ctx, s)
}

var errFlaw = errors.New("the disk is on fire")
