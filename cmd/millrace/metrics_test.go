package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/millrace/millrace/deploy/engines"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
)

// A logged is a log that tests read while it is written.
type logged struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(b)
}

func (l *logged) find(p *regexp.Regexp) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := p.FindSubmatch(l.out.Bytes()); m != nil {
		return string(m[1])
	}
	return ""
}

// TestPipelineMetrics asks a pipeline that has no other HTTP server for its lag.
func TestPipelineMetrics(t *testing.T) {
	e, _ := withExamples(t, broker.Options{Log: slog.New(slog.DiscardHandler)})
	var err error
	if e.store, err = pebble.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.store.Close() })
	out := &logged{}
	e.log = slog.New(slog.NewTextHandler(out, nil))
	const events = 7
	for range events {
		r := streams.Record{Key: []byte("anna"), Value: []byte(`{"customer": "anna", "amount": 1, "paid": true, "at": "2024-01-02T00:00:00Z"}`), Partition: -1}
		if _, err := e.producer.Produce(t.Context(), e.project.Sources[0].Topic, []streams.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- metricsFlag{"127.0.0.1:0"}.runHost(ctx, e, e.host(engines.Views))
	}()
	url := regexp.MustCompile(`url=(\S+)`)
	page := func() string {
		address := out.find(url)
		if address == "" {
			return ""
		}
		res, err := http.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	partition := streams.PartitionOf([]byte("anna"), e.project.Sources[0].Partitions)
	label := `{partition="` + string(rune('0'+partition)) + `",stage="pipeline",topic="orders",view="spend"}`
	awaitLine(t, "millrace_events_applied_total"+label+" 7", page)
	if text := page(); !strings.Contains(text, "millrace_shard_lag"+label+" 0\n") {
		t.Errorf("no lag of 0 in:\n%s", text)
	}
	address := out.find(regexp.MustCompile(`url=http://([^/]+)`))
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if ln, err := net.Listen("tcp", address); err != nil {
		t.Errorf("the port is still taken: %v", err)
	} else {
		ln.Close()
	}
}

// TestMetricsFlag gives addresses that cannot be listened on.
func TestMetricsFlag(t *testing.T) {
	e, _ := withExamples(t, broker.Options{Log: slog.New(slog.DiscardHandler)})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for address, want := range map[string]string{
		"9100":                `--metrics "9100" is not HOST:PORT`,
		taken.Addr().String(): "give --metrics another port",
	} {
		_, err := metricsFlag{address}.stage(t.Context(), e, e.host(engines.Views))
		if err == nil || !strings.Contains(err.Error(), want) || errors.As(err, new(usageError)) != (address == "9100") {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
	}
}
