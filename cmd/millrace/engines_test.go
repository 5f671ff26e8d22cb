package main

import (
	"context"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/engines"
	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
)

// awaitLine waits until a line of problems has the text in it, or until there
// is none where text is empty.
func awaitLine(t *testing.T, text string, problems func() string) {
	t.Helper()
	var last string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if last = problems(); text != "" && strings.Contains(last, text) || text == "" && last == "" {
			return
		}
	}
	t.Fatalf("waited in vain for the problem %q; they are %q", text, last)
}

// TestKafkaAway stops the Kafka of a server and of a lake in a group and starts
// it again: both say so, and no longer.
func TestKafkaAway(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	o := broker.Options{Dir: t.TempDir(), Log: log}
	b, err := broker.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	e := &opened{log: log, project: &project.Project{
		Name: "p", DataDir: t.TempDir(), Kafka: project.Kafka{Addresses: []string{b.Addr()}}, Store: project.Store{Redis: &project.Redis{}},
		Lake: project.Lake{Dir: t.TempDir()},
		Sources: []features.Source{{Name: "s", Topic: "s", Format: "json", Partitions: 1, KeyedBy: []string{"k"}, EventTime: "at",
			Fields: []features.Field{{Name: "k", Kind: expr.String}, {Name: "at", Kind: expr.Time}}}},
	}}
	if e.cluster, err = engines.Cluster(t.Context(), at(b.Addr())); err != nil {
		t.Fatal(err)
	}
	e.producer = streams.NewProducer(e.cluster)
	if e.store, err = pebble.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.cluster.Close(); e.producer.Close(); e.store.Close() })
	if err := engines.Sources(t.Context(), e.cluster, e.project, e.log); err != nil {
		t.Fatal(err)
	}
	ready := readiness(t, e)
	lake, err := newArchive(e, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- lake.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	kept := func() string { return strings.Join(lake.problems(), "\n") }
	awaitLine(t, "", ready)
	awaitLine(t, "", kept)

	_, port, _ := net.SplitHostPort(b.Addr())
	o.Port, _ = strconv.Atoi(port)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, "no answer from Kafka", ready)
	awaitLine(t, "lake: table events_s waits to be given its partitions", kept)
	if b, err = broker.Start(o); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, "", ready)
	awaitLine(t, "", kept)
}

// withExamples are a project with a model, and the Kafka that it runs on.
func withExamples(t *testing.T, o broker.Options) (*opened, *broker.Broker) {
	t.Helper()
	p, err := project.Parse("shop.yaml", []byte(`project: shop
sources:
  orders: {keyed_by: [customer], event_time: at, fields: {customer: string, amount: float, paid: bool, at: time}}
views:
  spend: {source: orders, entity: [customer], features: {sum_30d: {sum: amount, window: 30d}}}
models:
  pays: {task: binary, features: [spend.sum_30d], label: {source: orders, join: next_event, value: paid, horizon: 7d}}
`))
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	p.Lake.Dir = t.TempDir()
	e := &opened{log: o.Log, project: p}
	if e.cluster, err = engines.Cluster(t.Context(), at(b.Addr())); err != nil {
		t.Fatal(err)
	}
	e.producer = streams.NewProducer(e.cluster)
	t.Cleanup(func() { e.producer.Close(); e.cluster.Close() })
	if err := engines.Sources(t.Context(), e.cluster, e.project, e.log); err != nil {
		t.Fatal(err)
	}
	return e, b
}

// archiving runs a project's archive until stop is called.
func archiving(t *testing.T, e *opened) (kept func() string, stop func()) {
	t.Helper()
	lake, err := newArchive(e, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- lake.run(ctx) }()
	return func() string { return strings.Join(lake.problems(), "\n") }, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestLakeWithoutTopicOfExamples has topics of feedback and of examples that do
// not go together: events are kept all the same.
func TestLakeWithoutTopicOfExamples(t *testing.T) {
	e, _ := withExamples(t, broker.Options{Log: slog.New(slog.DiscardHandler)})
	for topic, partitions := range map[string]int{feedback.Topic("shop"): 2, feedback.ExamplesTopic("shop"): 3} {
		if err := e.cluster.Ensure(t.Context(), topic, partitions, nil); err != nil {
			t.Fatal(err)
		}
	}
	event := streams.Record{Value: []byte(`{"customer": "ann", "amount": 1.5, "paid": true, "at": "2026-01-01T00:00:00Z"}`), Partition: 0}
	if _, err := e.producer.Produce(t.Context(), e.project.Sources[0].Topic, []streams.Record{event}); err != nil {
		t.Fatal(err)
	}
	kept, stop := archiving(t, e)
	awaitLine(t, "lake: the tables of examples wait for their topic: ", kept)
	stop()
	var files []string
	err := filepath.WalkDir(e.project.Lake.Dir, func(path string, d fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".parquet") && strings.Contains(path, "events_orders") {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) != 1 {
		t.Errorf("the lake has the files %q, %v; want one of events", files, err)
	}
}

// TestLakeWaitsForTopicOfExamples starts the archive while Kafka is away.
func TestLakeWaitsForTopicOfExamples(t *testing.T) {
	o := broker.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
	e, b := withExamples(t, o)
	_, port, _ := net.SplitHostPort(b.Addr())
	o.Port, _ = strconv.Atoi(port)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	kept, stop := archiving(t, e)
	awaitLine(t, "lake: the tables of examples wait for their topic: ", kept)
	b, err := broker.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	awaitLine(t, "", kept)
	stop()
	if n, err := e.cluster.Partitions(t.Context(), feedback.ExamplesTopic("shop")); err != nil || n == 0 {
		t.Errorf("the topic of examples has %d partitions, %v", n, err)
	}
}

// TestReadySaysDiskIsFull gives the embedded broker a disk without any space,
// which /proc is, and its own again.
func TestReadySaysDiskIsFull(t *testing.T) {
	const full = "/proc"
	if _, err := os.Stat(full); err != nil {
		t.Skip("there is no folder whose disk is always full")
	}
	p, real := &project.Project{Name: "p", DataDir: t.TempDir()}, t.TempDir()
	move := func(dir string) {
		t.Helper()
		if err := os.Remove(p.BrokerDir()); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err := os.Symlink(dir, p.BrokerDir()); err != nil {
			t.Fatal(err)
		}
	}
	move(real)
	e, err := openEngines(t.Context(), p, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.close(); err != nil {
			t.Error(err)
		}
	})
	ready := readiness(t, e)
	awaitLine(t, "", ready)
	move(full)
	awaitLine(t, "0 MiB left", ready)
	move(real)
	awaitLine(t, "", ready)
}

// readiness returns what a server answers to /readyz, and nothing if all is well.
func readiness(t *testing.T, e *opened) func() string {
	t.Helper()
	server, err := newServer(t.Context(), e, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return func() string {
		w := httptest.NewRecorder()
		if server.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil)); w.Code == http.StatusOK {
			return ""
		}
		return w.Body.String()
	}
}
