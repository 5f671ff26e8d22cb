package alarms

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/feedback/monitor"
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

// TestOfTwoProcessesOneTells, and the other goes on when it ends.
func TestOfTwoProcessesOneTells(t *testing.T) {
	b, path := newBook(t)
	ids := storm(t, b, 500)
	r := newReceiver(t)
	one, two := newHook(t, r.target()), newHook(t, r.target())
	for _, h := range []*hook{one, two} {
		h.done = func() bool { return count(t, b).Undelivered == 0 }
		h.check = time.Millisecond
	}
	run(t, path, one, two)
	if !slices.Equal(r.told, ids) {
		t.Errorf("told %d, want %d, in order and each once", len(r.told), len(ids))
	}

	// One that was killed leaves its lease, which has to run out first.
	now := time.Now()
	b.now = func() time.Time { return now }
	a := alarm("m", "g", 101, 0)
	put(t, b, Report{Alarms: []monitor.Alarm{a}, Look: a.Onset})
	claims := func(owner string, n int) {
		t.Helper()
		batch, err := b.claim(t.Context(), owner, 50)
		if err != nil || len(batch) != n {
			t.Errorf("%s may tell %v, %v", owner, batch, err)
		}
	}
	claims("killed", 1)
	claims("other", 0)
	now = now.Add(lease - time.Second)
	claims("other", 0)
	must(t, b.keepWord(t.Context(), "killed"))
	now = now.Add(lease - time.Second)
	claims("other", 0)
	now = now.Add(time.Second)
	claims("other", 1)
	claims("killed", 0)
	must(t, b.keepWord(t.Context(), "killed")) // not its any more
	must(t, b.leaveWord(t.Context(), "killed"))
	claims("killed", 0)
	now = now.Add(-24 * time.Hour) // the clock was set right
	claims("killed", 1)
	must(t, b.leaveWord(t.Context(), "killed"))
	claims("other", 1)
}

// TestNewsOfAnotherProcess is seen without a word of it, and what is put here at
// once.
func TestNewsOfAnotherProcess(t *testing.T) {
	for _, here := range []bool{false, true} {
		b, path := newBook(t)
		r := newReceiver(t)
		h := newHook(t, r.target())
		if !here {
			h.check = time.Millisecond
		}
		h.done = func() bool { return len(list(t, b, Filter{})) == 1 && count(t, b).Undelivered == 0 }
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = h.Run(ctx, b) })
		other := b
		if !here {
			other = open(t, path)
		}
		storm(t, other, 1)
		<-h.idle
		cancel()
		wg.Wait()
		if e := list(t, b, Filter{}); len(e) != 1 || e[0].Delivery != Sent {
			t.Errorf("here %v: %+v", here, e)
		}
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

// TestRedirects are followed to the same place only, with the same request.
func TestRedirects(t *testing.T) {
	b, path := newBook(t)
	storm(t, b, 1)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		t.Errorf("%s %s has come with %v", req.Method, req.URL, req.Header)
	}))
	defer elsewhere.Close()
	r := newReceiver(t,
		answer(307, "Location", elsewhere.URL), answer(308, "Location", elsewhere.URL+"/hook"), answer(301, "Location", "/other"), answer(303, "Location", "/other"),
		answer(307, "Location", "/1"), answer(307, "Location", "/2"), answer(307, "Location", "/3"), answer(307, "Location", "/4"), // one too many
		answer(307, "Location", "/hook"))
	h := newHook(t, r.target())
	run(t, path, h)
	if len(h.waits) != 5 || r.requests != 10 || !strings.Contains(h.log.String(), "answered 307 Temporary Redirect; it points elsewhere, where the token does not go: give the URL that it leads to") {
		t.Errorf("%v, %d requests, %s", h.waits, r.requests, h.log.String())
	}
}

func TestTheBody(t *testing.T) {
	a := alarm("m", "spend.sum_7d", 3, 5)
	open := alarm("m", "score", 4, 0)
	open.Worst = math.Inf(1)
	text, err := body([]Entry{{Alarm: a, Comment: "not told"}, {Alarm: open}})
	want := `{"alarms":[{"id":"m/drift/spend.sum_7d/259200000000","model":"m","kind":"drift","column":"spend.sum_7d","version":3,` +
		`"onset":"1970-01-04T00:00:00Z","over":"1970-01-06T00:00:00Z","value":0.25,"worst":0.5,"threshold":0.2,"text":"share of spend.sum_7d is 0.5"},` +
		`{"id":"m/drift/score/345600000000","model":"m","kind":"drift","column":"score","version":3,` +
		`"onset":"1970-01-05T00:00:00Z","value":0.25,"worst":null,"threshold":0.2,"text":"share of score is 0.5"}]}`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
}

func TestTargets(t *testing.T) {
	for url, want := range map[string]string{
		"https://alarms.example/hook?key=5ec2e7": "",
		"http://127.0.0.1:8080/":                 "",
		"http://[::1]:8080/":                     "",
		"http://localhost/hook":                  "",
		"http://alarms.example/5ec2e7":           "url: http to alarms.example would send alarms and token for all to read; give https, or say insecure",
		"http://127.0.0.1.example/":              "url: http to 127.0.0.1.example would",
		"http://0.0.0.0/":                        "url: http to 0.0.0.0 would",
		"ftp://alarms.example/5ec2e7":            "url: not a whole one; give one as https://alarms.example/hook",
		"":                                       "url: not a whole one",
		"https://:80/":                           "url: not a whole one",
		"alarms.example/5ec2e7":                  "url: not a whole one",
		"https://a b/5ec2e7":                     "url: cannot be read",
		"https://ann:5ec2e7@alarms.example/":     "url: has a user in it; leave it out",
		"https://alarms.example/#5ec2e7":         "url: has a #fragment",
	} {
		err := Target{URL: Secret(url)}.Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) || err != nil && strings.Contains(err.Error(), "5ec2e7") {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
	for want, target := range map[string]Target{
		"": {URL: "http://alarms.example/", Insecure: true, Header: "X-Token", Token: "5ec2e7"},
		`header: "Content-Length" cannot be the header of the token`: {URL: "https://a.example/", Header: "Content-Length"},
		`header: "idempotency-key" cannot be`:                        {URL: "https://a.example/", Header: "idempotency-key"},
		`header: "X Token" cannot be`:                                {URL: "https://a.example/", Header: "X Token"},
		"token: has a character that no header can have":             {URL: "https://a.example/", Token: "5ec2e7\n"},
	} {
		_, err := NewWebhook(target, slog.New(slog.DiscardHandler))
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), "alarms: webhook: "+want)) || err != nil && strings.Contains(err.Error(), "5ec2e7") {
			t.Errorf("%+v: %v, want %q", target, err, want)
		}
	}
}

func TestSecretsArePrintedByNothing(t *testing.T) {
	target := Target{URL: "https://alarms.example/5ec2e7", Token: token}
	asJSON, err := json.Marshal(target)
	must(t, err)
	var l log
	slog.New(slog.NewJSONHandler(&l, nil)).Info("x", "target", target, "url", target.URL)
	slog.New(slog.NewTextHandler(&l, nil)).Info("x", "target", target, "url", target.URL)
	text := fmt.Sprintf("%v %+v %#v %s %q %x ", target, target, target, target.URL, target.Token, target.Token) + string(asJSON) + l.String()
	if strings.Contains(text, "5ec2e7") || strings.Contains(text, fmt.Sprintf("%x", token)) || !strings.Contains(text, "(secret)") {
		t.Error(text)
	}
}
