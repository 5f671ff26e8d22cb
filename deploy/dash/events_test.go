package dash

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A follower reads a stream of events.
type follower struct {
	t    *testing.T
	body io.ReadCloser
	in   *bufio.Scanner
}

func follow(t *testing.T, url string) *follower {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/ui/events", nil)
	must(t, err)
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	return &follower{t, resp.Body, bufio.NewScanner(resp.Body)}
}

// next returns the next event; an empty name is the end.
func (f *follower) next() (name, data string) {
	for f.in.Scan() {
		key, value, _ := strings.Cut(f.in.Text(), ": ")
		switch {
		case key == "event":
			name = value
		case key == "data":
			data = value
		case key == "" && name != "":
			return name, data
		}
	}
	return "", ""
}

// Each message is the whole state, so that a browser that was away has missed
// nothing, and a quiet server still says that it is there.
func TestEvents(t *testing.T) {
	w := newWorld(t)
	w.cfg.Now = time.Now
	w.open()
	w.fresh, w.beat = time.Millisecond, 10*time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.ServeHTTP(rw, r.WithContext(ctx)) }))
	defer server.Close()
	first := follow(t, server.URL)
	name, data := first.next()
	var before state
	must(t, json.Unmarshal([]byte(data), &before))
	if name != "state" || before.Figures["review.main"] != "1 waiting" {
		t.Errorf("%s %s", name, data)
	}
	first.body.Close()
	must(t, w.registry.Approve(t.Context(), "large_order", 3, "bob", "while the browser was away"))
	second := follow(t, server.URL)
	for {
		if name, data = second.next(); name == "" {
			t.Fatal("the stream ended")
		}
		var s state
		must(t, json.Unmarshal([]byte(data), &s))
		if name == "state" && s.Figures["review.main"] == "0 waiting" && s.Revision != before.Revision {
			break
		}
	}
	for name != "beat" {
		if name, _ = second.next(); name == "" {
			t.Fatal("the stream ended")
		}
	}
	stop() // the server stops
	for name != "" {
		name, _ = second.next()
	}
	second.body.Close()
}

// More browsers than there is room for are told so, and there is room again when
// one has left.
func TestTooManyFollow(t *testing.T) {
	w := newWorld(t)
	w.streams = make(turns, 1)
	w.streams <- struct{}{}
	rec := w.get("/ui/events")
	if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v", rec.Code, rec.Header())
	}
	w.streams.leave()
	gone, leave := context.WithCancel(t.Context())
	leave()
	if rec := w.ask(httptest.NewRequestWithContext(gone, http.MethodGet, "/ui/events", nil)); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "event: state\ndata: {") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if len(w.streams) != 0 {
		t.Error("a browser that has left still has its place")
	}
	if rec := w.ask(httptest.NewRequestWithContext(t.Context(), http.MethodHead, "/ui/events", nil)); rec.Code != http.StatusBadRequest {
		t.Errorf("HEAD: %d", rec.Code)
	}
}

// A browser that takes nothing is let go, and does not hold up the rest.
func TestSlowBrowserIsLetGo(t *testing.T) {
	w := newWorld(t)
	stuck := &stuckWriter{header: http.Header{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.ServeHTTP(stuck, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/ui/events", nil))
	}()
	<-done
	if len(w.streams) != 0 || stuck.deadline.IsZero() {
		t.Errorf("%d follow, deadline %v", len(w.streams), stuck.deadline)
	}
}

// A stuckWriter fails as a connection does whose write deadline has passed.
type stuckWriter struct {
	header   http.Header
	deadline time.Time
}

func (w *stuckWriter) Header() http.Header                 { return w.header }
func (w *stuckWriter) WriteHeader(int)                     {}
func (w *stuckWriter) Write([]byte) (int, error)           { return 0, io.ErrShortWrite }
func (w *stuckWriter) Flush()                              {}
func (w *stuckWriter) SetWriteDeadline(at time.Time) error { w.deadline = at; return nil }
