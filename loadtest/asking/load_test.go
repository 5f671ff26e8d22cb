package asking

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// A counter is a server that answers as the champion does and counts what it is
// asked; before, if not nil, may answer the n-th request otherwise.
type counter struct {
	t      *testing.T
	before func(n int, w http.ResponseWriter) bool

	mu        sync.Mutex
	requests  int
	explained int
	entities  map[string]int
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var q question
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &q)
	}
	if err != nil || r.URL.Path != "/v1/predict/large" {
		c.t.Errorf("%s %s: %v", r.URL, body, err)
	}
	c.mu.Lock()
	c.requests++
	n := c.requests
	if c.entities[q.Entity["s"]]++; q.Explain {
		c.explained++
	}
	c.mu.Unlock()
	if c.before != nil && c.before(n, w) {
		return
	}
	explanation := ""
	if q.Explain {
		explanation = `,"explanation":{"contributions":{}}`
	}
	fmt.Fprintf(w, `{"id":"x","model":"large","version":1,"bundle":"b"%s}`, explanation)
}

// seen is how many requests there were.
func (c *counter) seen() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests
}

func startCounter(t *testing.T, before func(int, http.ResponseWriter) bool) (*counter, *httptest.Server) {
	c := &counter{t: t, before: before, entities: map[string]int{}}
	s := httptest.NewServer(c)
	t.Cleanup(s.Close)
	return c, s
}

func load(s *httptest.Server) *Load {
	return &Load{Address: s.Listener.Addr().String(), Entities: []string{"a", "b", "c"}, Clients: 4, Duration: 100 * time.Millisecond}
}

func TestEachRequestIsAnsweredAndCounted(t *testing.T) {
	for _, rate := range []int{0, 1, 400} {
		for _, explain := range []bool{false, true} {
			c, s := startCounter(t, nil)
			l := load(s)
			if l.Rate, l.Explain = rate, explain; rate == 1 {
				l.Clients = 1
			}
			a, err := l.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			c.mu.Lock()
			if a.Asked != c.requests || a.Answered != c.requests || a.Errors != 0 || a.Unasked != 0 || rate > 0 && a.Asked != max(1, rate/10) {
				t.Errorf("rate %d: the server saw %d requests, and the load says %+v", rate, c.requests, a)
			}
			if explain && c.explained != c.requests || !explain && c.explained != 0 {
				t.Errorf("%d of %d requests asked for an explanation", c.explained, c.requests)
			}
			if rate == 400 && (c.entities["a"] == 0 || c.entities["b"] == 0 || c.entities["c"] == 0 || len(c.entities) != 3) {
				t.Errorf("entities %v", c.entities)
			}
			c.mu.Unlock()
			if a.P50 <= 0 || a.P50 > a.P99 || a.P99 > a.P999 || a.P999 > a.Max || a.Seconds <= 0 {
				t.Errorf("times %+v", a)
			}
		}
	}
}

// TestWaitingForAStallCounts stalls the first request of a single connection:
// those that are due meanwhile are asked later, and their times say so.
func TestWaitingForAStallCounts(t *testing.T) {
	const stall = 200 * time.Millisecond
	_, s := startCounter(t, func(n int, _ http.ResponseWriter) bool {
		if n == 1 {
			time.Sleep(stall)
		}
		return false
	})
	l := load(s)
	l.Rate, l.Clients, l.Duration = 100, 1, stall
	a, err := l.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Due are they after 0 to 190 ms, none is answered before 200 ms.
	if a.Answered != 20 || a.P50 < 90 || a.Max < 200 {
		t.Errorf("%+v", a)
	}
}

func TestWhatFailsIsAnError(t *testing.T) {
	for name, x := range map[string]struct {
		answer func(w http.ResponseWriter)
		want   string
	}{
		"status":    {func(w http.ResponseWriter) { http.Error(w, "no room", http.StatusServiceUnavailable) }, "503 Service Unavailable: no room"},
		"base rate": {func(w http.ResponseWriter) { fmt.Fprint(w, `{"version":0,"base_rate":true}`) }, `not what version 1 answers: {"version":0`},
		"degraded":  {func(w http.ResponseWriter) { fmt.Fprint(w, `{"id":"x","version":1,"degraded":"gone"}`) }, "not what version 1"},
		"explained": {func(w http.ResponseWriter) {
			fmt.Fprint(w, `{"id":"x","version":1,"explanation":{"contributions":{}}}`)
		}, "not what version 1"},
		"large": {func(w http.ResponseWriter) { fmt.Fprint(w, strings.Repeat("x", maxAnswer+1)) }, "at most 65536"},
		"cut": {func(w http.ResponseWriter) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				conn.Close()
			}
		}, "EOF"},
	} {
		for _, rate := range []int{0, 200} {
			t.Run(fmt.Sprint(name, " ", rate), func(t *testing.T) {
				c, s := startCounter(t, func(n int, w http.ResponseWriter) bool {
					if n%3 == 2 {
						x.answer(w)
					}
					return n%3 == 2
				})
				l := load(s)
				l.Rate = rate
				a, err := l.Run(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if a.Errors != (c.seen()+1)/3 || a.Answered+a.Errors != a.Asked || a.Asked != c.seen() || !strings.Contains(a.Error, x.want) {
					t.Errorf("of %d requests %+v", c.seen(), a)
				}
			})
		}
	}
}

// TestServerThatGoesAway ends after some requests: each of the others is an
// error, and the load ends.
func TestServerThatGoesAway(t *testing.T) {
	gone := make(chan struct{})
	_, s := startCounter(t, func(n int, _ http.ResponseWriter) bool {
		if n == 20 {
			close(gone)
		}
		return false
	})
	go func() {
		<-gone
		s.Listener.Close()
		s.CloseClientConnections()
	}()
	l := load(s)
	l.Rate = 1000
	a, err := l.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a.Asked != 100 || a.Answered < 15 || a.Answered+a.Errors != 100 || a.Errors == 0 || a.Error == "" {
		t.Errorf("%+v", a)
	}
	if _, err := l.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("no server: %v", err)
	}
}

func TestLoadEndsWithItsContext(t *testing.T) {
	for _, rate := range []int{0, 100} {
		ctx, cancel := context.WithCancel(t.Context())
		_, s := startCounter(t, func(n int, _ http.ResponseWriter) bool {
			if n == 5 {
				cancel()
			}
			return false
		})
		l := load(s)
		l.Rate, l.Duration = rate, MaxDuration
		if a, err := l.Run(ctx); err == nil {
			t.Errorf("rate %d: %+v", rate, a)
		}
		cancel()
	}
}

func TestCheck(t *testing.T) {
	for want, change := range map[string]func(*Load){
		"a rate of -1":     func(l *Load) { l.Rate = -1 },
		"a rate of 100001": func(l *Load) { l.Rate = MaxRate + 1 },
		"0 clients":        func(l *Load) { l.Clients = 0 },
		"257 clients":      func(l *Load) { l.Clients = MaxClients + 1 },
		"4 clients":        func(l *Load) { l.Rate = 3 },
		"a duration of 0s": func(l *Load) { l.Duration = 0 },
		"10m0.000000001s":  func(l *Load) { l.Duration = MaxDuration + 1 },
		"0 entities":       func(l *Load) { l.Entities = nil },
	} {
		l := &Load{Entities: []string{"a"}, Clients: 4, Duration: time.Second}
		if err := l.Check(); err != nil {
			t.Fatal(err)
		}
		change(l)
		if err := l.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
