package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/streams/broker"
)

// TestDash has the page and readiness of a process that predicts nothing, and sees
// the broker go.
func TestDash(t *testing.T) {
	e, b := withExamples(t, broker.Options{Log: slog.New(slog.DiscardHandler)})
	e.project.DataDir, e.project.HTTP.Listen = t.TempDir(), "127.0.0.1:0"
	var err error
	if e.store, err = pebble.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if e.registry, err = registry.Open(e.project.RegistryFile()); err != nil {
		t.Fatal(err)
	}
	w, err := newWatch(e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.book.Close(); e.registry.Close(); e.store.Close() })
	server, err := newPages(t.Context(), e, w)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", e.project.HTTP.Listen)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	stages := append([]stage{func(ctx context.Context) error { return server.Serve(ctx, ln) }}, w.stages...)
	go func() { done <- runStages(ctx, e.log, stages...) }()
	get := func(path string) (int, string) {
		t.Helper()
		r, err := http.Get("http://" + ln.Addr().String() + path) //nolint:noctx,gosec // the test's own server
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(text)
	}
	ready := func() string {
		if status, text := get("/readyz"); status != http.StatusOK {
			return text
		}
		return ""
	}
	awaitLine(t, "", ready)
	for path, want := range map[string]string{"/ui/": "The loop", "/ui/features/pays": "Features of pays", "/ui/views/spend": "read elsewhere", "/v1/join": `"predictions"`, "/metrics": "millrace_monitor"} {
		if status, text := get(path); status != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("GET %s: %d lacks %q: %.500s", path, status, want, text)
		}
	}
	for _, path := range []string{"/v1/models", "/v1/predict/pays", "/get-online-features"} {
		if status, text := get(path); status != http.StatusNotFound || strings.Contains(text, "/v1/predict/{model}") {
			t.Errorf("GET %s: %d %s", path, status, text)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, "no answer from Kafka", ready)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
