package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
)

// awaitLine waits until a line of problems has the text in it, or until there
// is none where text is empty.
func awaitLine(t *testing.T, text string, problems func() string) {
	t.Helper()
	var last string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
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
	e := &engines{log: log, project: &project.Project{
		Name: "p", DataDir: t.TempDir(), Kafka: project.Kafka{Addresses: []string{b.Addr()}}, Store: project.Store{Redis: &project.Redis{}},
		Lake: project.Lake{Dir: t.TempDir()},
		Sources: []features.Source{{Name: "s", Topic: "s", Format: "json", Partitions: 1, KeyedBy: []string{"k"}, EventTime: "at",
			Fields: []features.Field{{Name: "k", Kind: expr.String}, {Name: "at", Kind: expr.Time}}}},
	}}
	if e.cluster, err = connect(t.Context(), []string{b.Addr()}); err != nil {
		t.Fatal(err)
	}
	e.producer = streams.NewProducer(e.cluster)
	if e.store, err = pebble.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.cluster.Close(); e.producer.Close(); e.store.Close() })
	if err := e.ensureSources(t.Context()); err != nil {
		t.Fatal(err)
	}
	ready := readiness(t, e)
	lake, err := newArchive(e)
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
func readiness(t *testing.T, e *engines) func() string {
	t.Helper()
	server, err := newServer(t.Context(), e, nil)
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
