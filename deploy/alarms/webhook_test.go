package alarms

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const token = "Bearer 5ec2e7"

// A receiver is the other side of a webhook. It answers as its script says, one
// request after the other, then 204.
type receiver struct {
	*httptest.Server
	t  *testing.T
	mu sync.Mutex

	script   []http.HandlerFunc
	requests int
	keys     []string // of all requests
	told     []string // IDs of requests that were answered by 204, in order
	sizes    []int    // of those
}

func newReceiver(t *testing.T, script ...http.HandlerFunc) *receiver {
	r := &receiver{t: t, script: script}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	text, err := io.ReadAll(req.Body)
	if req.Context().Err() != nil {
		return // given up before it was here
	}
	var m struct {
		Alarms []struct{ ID, Text string }
	}
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil || req.Method != http.MethodPost || req.Header.Get("Authorization") != token || req.Header.Get("Content-Type") != "application/json" ||
		len(m.Alarms) == 0 || len(m.Alarms) > 50 || strings.Contains(string(text), "\\n") {
		r.t.Errorf("%s with %v, %v: %.300s", req.Method, req.Header, err, text)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	r.keys = append(r.keys, req.Header.Get("Idempotency-Key"))
	if len(r.script) > 0 {
		next := r.script[0]
		r.script = r.script[1:]
		next(w, req)
		return
	}
	for _, a := range m.Alarms {
		r.told = append(r.told, a.ID)
	}
	r.sizes = append(r.sizes, len(m.Alarms))
	w.WriteHeader(http.StatusNoContent)
}

func answer(status int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, "no; you said %s", token)
	}
}

// hang takes a request and never answers.
func hang(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }

// drop takes a request and closes the connection.
func drop(_ http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }

// A log is what was logged.
type log struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}

// A hook is a webhook whose waits take no time and are written down.
type hook struct {
	*Webhook
	log    log
	waits  []time.Duration // after failures, in the order of the attempts
	paused func()          // instead of those
	idle   chan struct{}   // closed when there is nothing to do, and done says so
	done   func() bool
}

func newHook(t *testing.T, target Target) *hook {
	t.Helper()
	h := &hook{paused: func() {}, done: func() bool { return true }, idle: make(chan struct{})}
	w, err := NewWebhook(target, slog.New(slog.NewJSONHandler(&h.log, nil)))
	must(t, err)
	w.check, w.jitter = maxWait, func() float64 { return 0.5 }
	w.pause = func(ctx context.Context, d time.Duration, news <-chan struct{}) {
		if news != nil {
			h.rest(ctx, d, news)
			return
		}
		h.waits = append(h.waits, d)
		h.paused()
	}
	h.Webhook = w
	return h
}

// rest is what a webhook does that has nothing to do.
func (h *hook) rest(ctx context.Context, d time.Duration, news <-chan struct{}) {
	select {
	case <-h.idle:
	default:
		if h.done() {
			close(h.idle)
		}
	}
	pause(ctx, d, news)
}

// run runs webhooks on books of their own on a file until nothing is due, and
// waits for their ends.
func run(t *testing.T, path string, hooks ...*hook) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for _, h := range hooks {
		b := open(t, path)
		wg.Go(func() {
			if err := h.Run(ctx, b); err != nil {
				t.Error(err)
			}
		})
	}
	for _, h := range hooks {
		select {
		case <-h.idle:
		case <-time.After(time.Minute):
			t.Errorf("not all is told; the log has %s", h.log.String())
		}
	}
	cancel()
	wg.Wait()
}

// storm puts n alarms into the book and returns their IDs in order.
func storm(t *testing.T, b *Book, n int) []string {
	t.Helper()
	var r Report
	var ids []string
	for i := range n {
		a := alarm("m", fmt.Sprintf("f%05d", i), 100, 0)
		r.Alarms, ids = append(r.Alarms, a), append(ids, a.ID)
	}
	r.Look = 100 * day
	slices.Reverse(r.Alarms) // the order is that of onsets and IDs
	put(t, b, r)
	return ids
}

func (r *receiver) target() Target { return Target{URL: Secret(r.URL + "/hook/5ec2e7"), Token: token} }

// TestNothingIsLost: the receiver is down, fails in all ways, then works.
func TestNothingIsLost(t *testing.T) {
	b, path := newBook(t)
	ids := storm(t, b, 120)
	r := newReceiver(t, drop, answer(500), answer(429, "Retry-After", "40"), answer(503, "Retry-After", "86400"),
		answer(401), answer(302, "Location", "/5ec2e7"), answer(404), answer(400))
	address := r.Listener.Addr().String()
	h := newHook(t, r.target())
	r.Close() // down
	h.paused = func() {
		switch len(h.waits) {
		case 3: // up again
			ln, err := net.Listen("tcp", address)
			must(t, err)
			r.Server = &httptest.Server{Listener: ln, Config: &http.Server{Handler: r}}
			r.Start()
		case 4:
			c := count(t, b)
			if c.Undelivered != 120 || !strings.HasPrefix(c.DeliveryError, "POST to 127.0.0.1:") {
				t.Errorf("%+v", c)
			}
		}
	}
	run(t, path, h)
	if !slices.Equal(r.told, ids) || !slices.Equal(r.sizes, []int{50, 50, 20}) {
		t.Errorf("told %v in %v", r.told, r.sizes)
	}
	first := r.keys[0]
	for i, key := range r.keys {
		if len(key) != 32 || (key == first) != (i < len(r.keys)-2) { // the first batch, until it has gone
			t.Errorf("request %d has the key %q", i, key)
		}
	}
	second := time.Second // with half of a jitter: three quarters of 1, 2, 4, ... seconds
	want := []time.Duration{
		3 * second / 4, 3 * second / 2, 3 * second, 6 * second, 12 * second,
		40 * second, maxWait, // the 429 and the 503 ask for more
		96 * second, 192 * second, 225 * second, 225 * second,
	}
	if !slices.Equal(h.waits, want) {
		t.Errorf("waits %v, want %v", h.waits, want)
	}
	if c := count(t, b); c.Undelivered != 0 || c.DeliveryError != "" || c.Open != 120 {
		t.Errorf("%+v", c)
	}
	for _, e := range list(t, b, Filter{}) {
		if e.Delivery != Sent || e.Delivered.IsZero() || e.DeliveryError != "" || e.Attempts < 1 {
			t.Errorf("%+v", e)
		}
	}
	if text := h.log.String(); strings.Contains(text, "5ec2e7") || !strings.Contains(text, "alarms are told again") {
		t.Errorf("the log has %s", text)
	}
}

// TestASlowReceiver takes requests and does not answer, then does.
func TestASlowReceiver(t *testing.T) {
	b, path := newBook(t)
	ids := storm(t, b, 60)
	r := newReceiver(t, slices.Repeat([]http.HandlerFunc{hang}, 1000)...)
	h := newHook(t, r.target())
	h.client.Timeout = 20 * time.Millisecond
	h.paused = func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.requests > 2 {
			h.client.Timeout, r.script = attemptLimit, nil
		}
	}
	run(t, path, h)
	if !slices.Equal(r.told, ids) || len(h.waits) < 3 || !strings.Contains(h.log.String(), "Client.Timeout exceeded") {
		t.Errorf("told %v after %v", r.told, h.waits)
	}
}

// TestAReceiverThatTakesLess has a limit of its own.
func TestAReceiverThatTakesLess(t *testing.T) {
	b, path := newBook(t)
	ids := storm(t, b, 60)
	r := newReceiver(t, answer(413), answer(413))
	h := newHook(t, r.target())
	run(t, path, h)
	if !slices.Equal(r.told, ids) || !slices.Equal(r.sizes, []int{12, 12, 12, 12, 12}) {
		t.Errorf("told %v in %v", r.told, r.sizes)
	}
}

// TestAStormGoesOutInOrder, with kills after the receiver has taken something
// and before the book knows.
func TestAStormGoesOutInOrder(t *testing.T) {
	b, path := newBook(t)
	ids := storm(t, b, 10_000)
	must(t, b.Close())
	r := newReceiver(t)
	kills := 0
	for left := len(ids); left > 0; {
		b := open(t, path)
		// Of a process that was killed the lease has run out some time.
		now := time.Now().Add(time.Duration(kills) * 2 * lease)
		b.now = func() time.Time { return now }
		h := newHook(t, r.target())
		for left > 0 {
			batch, err := b.claim(t.Context(), h.owner, maxBatch)
			must(t, err)
			if _, err := h.tell(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
			if n := len(r.told); n > (kills+1)*1500 {
				kills++ // here
				break
			}
			must(t, b.sent(t.Context(), batch))
			left -= len(batch)
		}
		must(t, b.Close())
		h.client.CloseIdleConnections()
	}
	var different []string
	for i, id := range r.told {
		if n := len(different); n == 0 || id > different[n-1] {
			different = append(different, id)
		} else if id < different[n-maxBatch] {
			t.Fatalf("%d: %s came after %s", i, id, different[n-1])
		}
	}
	if !slices.Equal(different, ids) || kills < 5 || len(r.told) != len(ids)+kills*maxBatch {
		t.Errorf("%d told, %d different, want %d; %d kills", len(r.told), len(different), len(ids), kills)
	}
}

// TestABookThatFails is tried again.
func TestABookThatFails(t *testing.T) {
	b, path := newBook(t)
	storm(t, b, 1)
	_, err := b.file.Writes.ExecContext(t.Context(), `ALTER TABLE courier RENAME TO gone`)
	must(t, err)
	r := newReceiver(t)
	h := newHook(t, r.target())
	h.paused = func() {
		if len(h.waits) == 3 {
			_, err := b.file.Writes.ExecContext(t.Context(), `ALTER TABLE gone RENAME TO courier`)
			must(t, err)
		}
	}
	run(t, path, h)
	if text := h.log.String(); len(h.waits) != 3 || !strings.Contains(text, "the book of alarms cannot be read; trying again") {
		t.Errorf("%v, %s", h.waits, text)
	}
}
