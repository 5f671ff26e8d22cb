package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/client"
	"github.com/millrace/millrace/deploy/serve"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newClient(t *testing.T, h http.Handler) *client.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := client.New(s.URL + "/")
	must(t, err)
	t.Cleanup(c.Close)
	return c
}

// newServer is a real one, with nothing that applies events.
func newServer(t *testing.T) *serve.Server {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	b, err := broker.Start(broker.Options{Log: log})
	must(t, err)
	t.Cleanup(func() { b.Close() })
	cluster, err := streams.Connect(streams.Options{Addresses: []string{b.Addr()}})
	must(t, err)
	t.Cleanup(cluster.Close)
	producer := streams.NewProducer(cluster)
	t.Cleanup(producer.Close)
	must(t, cluster.Ensure(t.Context(), "prices", 3, nil))
	store, err := pebble.Open(t.TempDir())
	must(t, err)
	t.Cleanup(func() { store.Close() })
	src := features.Source{
		Name: "prices", Topic: "prices", KeyedBy: []string{"symbol"}, EventTime: "time", Format: "json", Partitions: 3,
		Fields: []features.Field{{Name: "symbol", Kind: expr.String}, {Name: "time", Kind: expr.Time}},
	}
	plan, err := features.Compile(features.WallClock, src, features.View{
		Name: "daily", Source: "prices", Entity: []string{"symbol"},
		Features: []features.Feature{{Name: "n", Agg: "count", Of: "*", Window: features.Window{Size: time.Hour, Exact: true}}},
		OnDemand: []features.Named{{Name: "plus", Expr: "n + request.x"}},
	})
	must(t, err)
	must(t, cluster.Ensure(t.Context(), "shop.feedback", 4, nil))
	cfg := serve.Config{Project: "shop", Sources: []features.Source{src}, Plans: []*features.Plan{plan}, Store: store, Producer: producer, Log: log}
	withModel(t, &cfg)
	s, err := serve.New(cfg)
	must(t, err)
	return s
}

// TestServer goes through all calls with a real server.
func TestServer(t *testing.T) {
	c := newClient(t, newServer(t))
	ctx := t.Context()
	must(t, c.Ready(ctx))
	type price struct {
		Symbol string    `json:"symbol"`
		Time   time.Time `json:"time"`
	}
	at, err := c.Ingest(ctx, "prices", price{"A", time.Now()}, json.RawMessage("{\n\"symbol\":\"<&>\",\"time\":\"2026-03-04T05:00:00Z\"}"), price{"A", time.Now()})
	must(t, err)
	if len(at) != 3 || at[0].Topic != "prices" || at[0].Partition != at[2].Partition || at[2].Offset <= at[0].Offset {
		t.Errorf("positions %+v", at)
	}
	if none, err := c.Ingest(ctx, "prices"); err != nil || len(none) != 0 {
		t.Errorf("no events: %v, %v", none, err)
	}

	asOf := time.Date(2026, 3, 4, 5, 0, 0, 123_000, time.UTC)
	r, err := c.Lookup(ctx, client.LookupRequest{
		Features: []string{"daily:n", "daily:plus"}, Entities: map[string][]any{"symbol": {"A", "B"}}, FullFeatureNames: true,
		Request: map[string][]any{"x": {0.5, nil}}, AsOf: asOf, ExcludeCurrent: true,
	})
	must(t, err)
	if n := r.Column("daily__n"); n == nil || n.Values[0] != json.Number("0") || n.Statuses[1] != "NOT_FOUND" || n.EventTimes[0].Unix() != 0 {
		t.Errorf("%+v", r.Columns)
	}
	plus := r.Column("daily__plus")
	if x, ok := plus.Float(0); !ok || x != 0.5 {
		t.Errorf("plus %v %v", x, ok)
	}
	if _, ok := plus.Float(1); ok || plus.Values[1] != nil {
		t.Errorf("plus %v", plus.Values[1])
	}
	if r.Column("n") != nil || len(r.AsOf) != 2 || !r.AsOf[0].Equal(asOf) {
		t.Errorf("%+v", r)
	}

	var e *client.Error
	if _, err = c.Lookup(ctx, client.LookupRequest{View: "daily", Entities: map[string][]any{"symbol": {"A"}}, AtLeast: at[:1], WaitMS: 1}); !errors.As(err, &e) || e.Status != http.StatusGatewayTimeout {
		t.Errorf("not applied: %v", err)
	}
	if _, err = c.Ingest(ctx, "prices", price{"A", time.Now()}, map[string]any{"symbol": 5}); !errors.As(err, &e) || e.Status != 400 || len(e.Lines) != 1 || e.Lines[0].Line != 2 || e.Lines[0].Field != "symbol" {
		t.Errorf("bad event: %v", err)
	}
	if _, err = c.Ingest(ctx, "no/such", price{}); !errors.As(err, &e) || e.Status != 404 || !strings.Contains(err.Error(), "prices") {
		t.Errorf("no such source: %v", err)
	}
	if _, err = c.Ingest(ctx, "prices", func() {}); err == nil {
		t.Error("a function was encoded")
	}
}

// TestRetry answers 503 with a part of the events written, then without any,
// and wants the rest again and nothing twice.
func TestRetry(t *testing.T) {
	var bodies []string
	c := newClient(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		bodies = append(bodies, string(body))
		w.Header().Set("Retry-After", "0")
		switch len(bodies) {
		case 1:
			w.WriteHeader(503)
			fmt.Fprint(w, `{"error":"away","positions":[{"topic":"t","partition":0,"offset":5},{"topic":"t","partition":1,"offset":-1},{"topic":"t","partition":1,"offset":-1}]}`)
		case 2:
			w.WriteHeader(503)
			fmt.Fprint(w, `{"error":"away"}`)
		default:
			fmt.Fprint(w, `{"positions":[{"topic":"t","partition":1,"offset":8},{"topic":"t","partition":1,"offset":9}]}`)
		}
	}))
	at, err := c.Ingest(t.Context(), "x", 1, 2, 3)
	must(t, err)
	if want := []client.Position{{Topic: "t", Partition: 0, Offset: 5}, {Topic: "t", Partition: 1, Offset: 8}, {Topic: "t", Partition: 1, Offset: 9}}; !slices.Equal(at, want) {
		t.Errorf("positions %+v", at)
	}
	if want := []string{"1\n2\n3\n", "2\n3\n", "2\n3\n"}; !slices.Equal(bodies, want) {
		t.Errorf("bodies %q", bodies)
	}
}

// TestBadLineOfTheRest has a first try write one of three events and the second
// refuse another: its line counts among all three.
func TestBadLineOfTheRest(t *testing.T) {
	tries := 0
	c := newClient(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "0")
		if tries++; tries == 1 {
			w.WriteHeader(503)
			fmt.Fprint(w, `{"error":"away","positions":[{"topic":"t","partition":0,"offset":5},{"topic":"t","partition":1,"offset":-1},{"topic":"t","partition":1,"offset":-1}]}`)
			return
		}
		w.WriteHeader(400)
		fmt.Fprint(w, `{"error":"bad","lines":[{"line":2,"reason":"wrong_type"}]}`)
	}))
	_, err := c.Ingest(t.Context(), "x", 1, 2, 3)
	var e *client.Error
	if !errors.As(err, &e) || len(e.Lines) != 1 || e.Lines[0].Line != 3 {
		t.Errorf("%v: %+v, want line 3", err, e)
	}
}

// TestGivesUp wants the server's words when the context ends, and no second
// try of what cannot succeed.
func TestGivesUp(t *testing.T) {
	var calls atomic.Int64
	var status atomic.Int64
	c := newClient(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.WriteHeader(int(status.Load()))
		fmt.Fprint(w, `{"error":"the log is away","detail":"dial"}`)
	}))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	status.Store(503)
	var e *client.Error
	_, err := c.Lookup(ctx, client.LookupRequest{})
	if !errors.As(err, &e) || e.Message != "the log is away" || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	for _, code := range []int64{400, 404, 413, 500, 504} {
		calls.Store(0)
		status.Store(code)
		if _, err := c.Lookup(t.Context(), client.LookupRequest{}); !errors.As(err, &e) || e.Status != int(code) || calls.Load() != 1 {
			t.Errorf("%d: %v after %d calls", code, err, calls.Load())
		}
	}
}

// TestStrangers meets servers that are not ours.
func TestStrangers(t *testing.T) {
	for _, text := range []string{`<html>`, `{"results":[{}]}`, `{"metadata":{"feature_names":["a"]},"results":[{"values":[1]}],"as_of":[]}`, `{"positions":[]}`} {
		c := newClient(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }))
		if _, err := c.Ingest(t.Context(), "x", 1); err == nil {
			t.Errorf("%s was taken for positions", text)
		}
		if text != `{"positions":[]}` {
			if r, err := c.Lookup(t.Context(), client.LookupRequest{}); err == nil {
				t.Errorf("%s was taken for %+v", text, r)
			}
		}
	}
	for _, url := range []string{"", "127.0.0.1:8765", "ftp://x", "http://", "http://a b"} {
		if _, err := client.New(url); err == nil {
			t.Errorf("%q was taken for an address", url)
		}
	}
}
