package serve

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
)

// TestLogAway stops the broker while predictions go on: all are answered, each
// is in the topic once the broker is back, in the order of its key, and a server
// that starts meanwhile goes on with what the one before has left.
func TestLogAway(t *testing.T) {
	const n = 30
	m := newModelWorld(t, nil)
	m.seed()
	m.champion("rises")
	ask := func(i int) string { return fmt.Sprintf(`{"entity":{"symbol":"%c"},"id":"p%02d"}`, 'A'+i%2, i) }
	m.predict("rises", ask(0))
	must(t, m.broker.Close())
	m.recordPatience = time.Millisecond
	for i := 1; i < n; i++ {
		m.predict("rises", ask(i))
		if i == n/2 {
			m.start()
			m.recordPatience = time.Millisecond
			must(t, m.models.Refresh(t.Context()))
		}
	}
	if r := m.get("/readyz"); r.Code != 503 || !strings.Contains(r.Body.String(), fmt.Sprintf("%d predictions wait in the spool", n-1)) {
		t.Errorf("%d %s", r.Code, r.Body)
	}
	if text := m.get("/metrics").Body.String(); !strings.Contains(text, fmt.Sprintf("millrace_spool_predictions %d", n-1)) {
		t.Error("the metrics do not say how many wait")
	}
	m.restart()
	m.recordPatience = 20 * time.Second
	m.predict("rises", ask(n)) // goes behind those that wait
	if waiting, _, _ := m.cfg.Spool.Waiting(); waiting != n {
		t.Errorf("%d wait", waiting)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var drainer sync.WaitGroup
	drainer.Go(func() { m.drain(ctx) })
	until(t, "the spool is empty", func() bool { waiting, _, _ := m.cfg.Spool.Waiting(); return waiting == 0 })
	cancel()
	drainer.Wait()
	m.predict("rises", ask(n+1))
	last, seen := map[string]string{}, map[string]bool{}
	for _, r := range m.written() {
		p := r.Prediction
		if !seen[p.ID] && p.ID <= last[p.Key] {
			t.Errorf("%s comes after %s", p.ID, last[p.Key])
		}
		seen[p.ID] = true
		last[p.Key] = max(last[p.Key], p.ID)
	}
	if len(seen) != n+2 {
		t.Errorf("the topic has %d predictions, want %d: %v", len(seen), n+2, seen)
	}
	if r := m.get("/readyz"); r.Code != 200 {
		t.Errorf("%d %s", r.Code, r.Body)
	}
}

// TestSpoolOfServerFull wants 503 with Retry-After, and nothing kept of what was
// not answered.
func TestSpoolOfServerFull(t *testing.T) {
	m := newModelWorld(t, nil)
	m.seed()
	m.champion("rises")
	m.cfg.Spool = openSpool(t, t.TempDir(), 1000)
	defer m.cfg.Spool.Close()
	must(t, m.broker.Close())
	m.recordPatience = time.Millisecond
	answered := 0
	r := httptest.NewRecorder()
	for ; answered < 100; answered++ {
		r = httptest.NewRecorder()
		m.ServeHTTP(r, httptest.NewRequest(http.MethodPost, predictPath+"rises", strings.NewReader(askA)))
		if r.Code != 200 {
			break
		}
	}
	if r.Code != 503 || r.Header().Get("Retry-After") == "" || !strings.Contains(r.Body.String(), "spool") || answered == 0 {
		t.Errorf("after %d: %d %s", answered, r.Code, r.Body)
	}
	if n, _, _ := m.cfg.Spool.Waiting(); n != answered {
		t.Errorf("%d wait, %d were answered", n, answered)
	}
	m.restart()
}

// TestSpoolBrokenDisk wants 503 where the spool cannot be written.
func TestSpoolBrokenDisk(t *testing.T) {
	m := newModelWorld(t, nil)
	m.seed()
	m.champion("rises")
	must(t, os.RemoveAll(m.cfg.Spool.dir))
	must(t, m.broker.Close())
	m.recordPatience = time.Millisecond
	if status, answer := m.post(predictPath+"rises", askA); status != 503 || !strings.Contains(answer, "cannot be kept on the disk") {
		t.Errorf("%d %s", status, answer)
	}
	m.restart()
}

// TestServeDrains has Serve bring what waits to the log and load what the
// registry wants.
func TestServeDrains(t *testing.T) {
	m := newModelWorld(t, nil)
	m.seed()
	must(t, m.cfg.Spool.Add(&streams.Record{Key: []byte("A"), Value: (&feedback.Outcome{ID: "o", Model: "rises", Key: "A"}).AppendJSON(nil)}))
	m.version("rises", 1)
	m.shelf.serve("rises", 1, registry.NoVersion)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Serve(ctx, listen(t)) }()
	until(t, "the spool is empty and the model loaded", func() bool {
		n, _, _ := m.cfg.Spool.Waiting()
		return n == 0 && m.models.find("rises").loaded.Load().champion.version == 1
	})
	stop()
	must(t, <-ended)
	if got := m.written(); len(got) != 1 || got[0].Outcome == nil {
		t.Errorf("the topic has %+v", got)
	}
}
