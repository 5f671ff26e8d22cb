package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams"
)

// TestBadRequests wants for each the status and a message that says what is
// wrong.
func TestBadRequests(t *testing.T) {
	w := newWorld(t, nil)
	w.events("prices", `{"symbol":"A","time":"2026-03-04T05:00:00Z"}`)
	w.apply("daily")
	const ok = `"entities":{"symbol":["A"]}`
	many := `"` + strings.Repeat(`A","`, 40_000) + `A"`
	for _, c := range []struct {
		path, body string
		status     int
		says       string
	}{
		{"/", ``, 404, "POST /get-online-features"},
		{"/v1/events", ``, 404, "POST /v1/events/{source}"},
		{"/v1/events/", ``, 404, "POST /v1/events/{source}"},
		{"/healthz", ``, 405, "takes GET"},
		{"/v1/events/nope", `{}`, 404, "there are buys, prices"},
		{"/v1/events/prices", ``, 400, "empty"},
		{"/v1/events/prices", " \n \n", 400, "empty"},
		{"/v1/events/prices", `[{"symbol":"A"}]`, 400, "bad_json"},
		{"/v1/events/prices", `{"symbol":"A"}`, 400, `"field":"time"`},
		{"/v1/events/prices", `{"symbol":"","time":"2026-03-04T05:00:00Z"}`, 400, "keyed by symbol"},
		{"/v1/events/prices", strings.Repeat(" ", 70_000), 413, "65536 bytes"},

		{lookupPath, ``, 400, "EOF"},
		{lookupPath, `[]`, 400, "want an object"},
		{lookupPath, `{"features":["daily:n"],` + ok + `} {}`, 400, "more follows"},
		{lookupPath, `{"features":["daily:n"],"features":[],` + ok + `}`, 400, "duplicate"},
		{lookupPath, `{"features":["daily:n"],` + ok, 400, "EOF"},
		{lookupPath, `{` + ok + `}`, 400, "no features"},
		{lookupPath, `{"features":[],` + ok + `}`, 400, "baskets, daily, exact, replay"},
		{lookupPath, `{"features":"daily:n",` + ok + `}`, 400, "features: want an array, got a text"},
		{lookupPath, `{"features":[1],` + ok + `}`, 400, "features: want a text, got a number"},
		{lookupPath, `{"features":["n"],` + ok + `}`, 400, "view:feature"},
		{lookupPath, `{"features":["dayly:n"],` + ok + `}`, 404, "there are baskets, daily"},
		{lookupPath, `{"features":["daily:m"],` + ok + `}`, 404, "it has n, volume"},
		{lookupPath, `{"features":["daily:n","exact:n"],` + ok + `}`, 400, "full_feature_names"},
		{lookupPath, `{"features":["daily:n","daily:n"],"full_feature_names":true,` + ok + `}`, 400, "daily__n"},
		{lookupPath, `{"features":["daily:n"],"view":"daily",` + ok + `}`, 400, "both given"},
		{lookupPath, `{"view":"dayly",` + ok + `}`, 404, "there are"},
		{lookupPath, `{"feature_service":"x",` + ok + `}`, 400, "no feature services"},
		{lookupPath, `{"include_feature_view_version_metadata":true,` + ok + `}`, 400, "no versions"},
		{lookupPath, `{"features":["daily:n"],"as_off":"2026-03-04T05:00:00Z",` + ok + `}`, 400, "as_off"},
		{lookupPath, `{"features":["daily:n"],"full_feature_names":1,` + ok + `}`, 400, "true or false"},
		{lookupPath, `{"features":["daily:n"]}`, 400, "entities"},
		{lookupPath, `{"features":["daily:n"],"entities":null}`, 400, "an object of arrays"},
		{lookupPath, `{"features":["daily:n"],"entities":{}}`, 400, "entities"},
		{lookupPath, `{"features":["daily:n"],"entities":{"symbol":"A"}}`, 400, "want an array"},
		{lookupPath, `{"features":["daily:n"],"entities":{"symbol":[]}}`, 400, "no entities"},
		{lookupPath, `{"features":["daily:n"],"entities":{"sybol":["A"]}}`, 400, `no \"symbol\"`},
		{lookupPath, `{"features":["daily:n"],"entities":{"symbol":["A"],"x":[1,2]}}`, 400, "one value for each row"},
		{lookupPath, `{"features":["daily:n"],"entities":{"symbol":[null]}}`, 400, "row 0"},
		{lookupPath, `{"features":["daily:n"],"entities":{"symbol":["A",""]}}`, 400, "row 1: bad_entity"},
		{lookupPath, `{"features":["daily:n"],"entities":{"symbol":[1.5]}}`, 400, "want a text, got 1.5"},
		{lookupPath, `{"features":["daily:n"],"entities":{"symbol":[true]}}`, 400, "want a text, got true"},
		{lookupPath, `{"features":["daily:n"],"entities":{"symbol":[["A"]]}}`, 400, "got an array"},
		{lookupPath, `{"features":["daily:n"],"entities":{"symbol":["` + strings.Repeat("x", 1025) + `"]}}`, 400, "at most 1024"},
		{lookupPath, `{"features":["daily:n"],"entities":{"symbol":[1e999]}}`, 400, "range"},
		{lookupPath, `{"features":["baskets:total"],"entities":{"user":["7x"],"shop":["s"]}}`, 400, "whole number"},
		{lookupPath, `{"features":["baskets:total"],"entities":{"user":[9223372036854775808],"shop":["s"]}}`, 400, "whole number"},
		{lookupPath, `{"features":["daily:n"],` + ok + `,"request":{"clos":[1]}}`, 400, "used are: close"},
		{lookupPath, `{"features":["daily:n"],` + ok + `,"request":{"close":["1"]}}`, 400, "a number or null"},
		{lookupPath, `{"features":["daily:n"],` + ok + `,"request":{"close":[1,2]}}`, 400, "one value for each row"},
		{lookupPath, `{"features":["daily:n"],` + ok + `,"as_of":"yesterday"}`, 400, "RFC 3339"},
		{lookupPath, `{"features":["daily:n"],` + ok + `,"as_of":"2026-03-04T04:59:59Z"}`, 400, "no exact window"},
		{lookupPath, `{"features":["daily:n"],` + ok + `,"as_of":"2026-03-04T05:00:00Z","exclude_current":true}`, 400, `view \"daily\", entity \"A\"`},
		{lookupPath, `{"features":["daily:n"],` + ok + `,"at_least":[{"topic":"buys","partition":0,"offset":0}]}`, 400, "daily from prices"},
		{lookupPath, `{"features":["daily:n"],` + ok + `,"at_least":[{"topic":"prices","partition":3,"offset":0}]}`, 400, "it has 3"},
		{lookupPath, `{"features":["daily:n"],` + ok + `,"at_least":[{"topic":"prices","partition":0,"offset":-1}]}`, 400, "offsets start at 0"},
		{lookupPath, `{"features":["daily:n"],` + ok + `,"at_least":[{"topic":"prices","partition":0}]}`, 400, "without offset"},
		{lookupPath, `{"features":["daily:n"],` + ok + `,"at_least":[{"topic":"prices","partition":0,"offset":1.5}]}`, 400, "64 bits"},
		{lookupPath, `{"features":["daily:n"],` + ok + `,"at_least":7}`, 400, "want an array"},
		{lookupPath, `{"features":["daily:n"],` + ok + `,"at_least":[7]}`, 400, "{topic, partition, offset}"},
		{lookupPath, `{"features":["daily:n"],` + ok + `,"at_least":[{"topc":"prices"}]}`, 400, "topc"},
		{lookupPath, `{"features":["daily:n"],` + ok + `,"wait_ms":5001}`, 400, "1 to 5000"},
		{lookupPath, `{"features":["daily:n"],"entities":{"symbol":[` + many + `]}}`, 413, "65536"},
	} {
		status, answer := w.post(c.path, c.body)
		var e struct{ Error, Detail string }
		if err := json.Unmarshal([]byte(answer), &e); err != nil || e.Error == "" {
			t.Errorf("%s %.200s: not the JSON of an error: %s", c.path, c.body, answer)
		}
		if status != c.status || !strings.Contains(answer, c.says) {
			t.Errorf("%s %.200s\ngot  %d %s\nwant %d with %s", c.path, c.body, status, answer, c.status, c.says)
		}
	}
	for part := range prices.Partitions { // nothing of the above was written
		for _, r := range w.records("prices", part, 0) {
			if string(r.Value) != `{"symbol":"A","time":"2026-03-04T05:00:00Z"}` {
				t.Errorf("the topic has %s", r.Value)
			}
		}
	}
}

func TestTooManyValues(t *testing.T) {
	w := newWorld(t, nil)
	w.cfg.MaxBody = 1 << 20
	symbols := func(n int) string {
		return `{"features":["daily:n"],"entities":{"symbol":["A"` + strings.Repeat(`,"A"`, n-1) + `]}}`
	}
	most := MaxValues / len(w.plans["daily"].Outputs())
	if status, answer := w.post(lookupPath, symbols(most)); status != 200 {
		t.Errorf("%d rows: %d %.300s", most, status, answer)
	}
	status, answer := w.post(lookupPath, symbols(most+1))
	if status != 400 || !strings.Contains(answer, fmt.Sprintf("at most %d rows", most)) {
		t.Errorf("%d rows: %d %.300s", most+1, status, answer)
	}
}

func TestStoreAway(t *testing.T) {
	var store *flawed
	w := newWorld(t, func(s online.Store) online.Store { store = &flawed{Store: s}; return store })
	fail := func() error { return errFlaw }
	store.read.Store(&fail)
	const body = `{"features":["daily:n"],"entities":{"symbol":["A"]}`
	for _, b := range []string{body + `}`, body + `,"at_least":{"topic":"prices","partition":0,"offset":0}}`} {
		r := httptest.NewRecorder()
		w.ServeHTTP(r, httptest.NewRequest(http.MethodPost, lookupPath, strings.NewReader(b)))
		if r.Code != 503 || r.Header().Get("Retry-After") == "" || !strings.Contains(r.Body.String(), errFlaw.Error()) {
			t.Errorf("%d %s", r.Code, r.Body)
		}
	}
	if r := w.get("/readyz"); r.Code != 503 || !strings.Contains(r.Body.String(), errFlaw.Error()) {
		t.Errorf("%d %s", r.Code, r.Body)
	}
	boom := func() error { panic("boom") }
	store.read.Store(&boom)
	if status, answer := w.post(lookupPath, body+`}`); status != 500 || strings.Contains(answer, "boom") {
		t.Errorf("%d %s", status, answer)
	}
	store.read.Store(nil)
	if status, answer := w.post(lookupPath, body+`}`); status != 200 {
		t.Errorf("%d %s", status, answer)
	}
}

func (w *world) get(path string) *httptest.ResponseRecorder {
	r := httptest.NewRecorder()
	w.ServeHTTP(r, httptest.NewRequest(http.MethodGet, path, nil))
	return r
}

func TestHealth(t *testing.T) {
	w := newWorld(t, nil)
	for _, path := range []string{"/healthz", "/readyz"} {
		if r := w.get(path); r.Code != 200 {
			t.Errorf("%s: %d %s", path, r.Code, r.Body)
		}
	}
	line := "view daily, partition 1: stopped: \"mend\" it"
	w.problems.Store(&line)
	r := w.get("/readyz")
	var got struct{ Problems []string }
	if err := json.Unmarshal(r.Body.Bytes(), &got); err != nil || r.Code != 503 || len(got.Problems) != 1 || got.Problems[0] != line {
		t.Errorf("%d %s", r.Code, r.Body)
	}
	if r := w.get("/healthz"); r.Code != 200 {
		t.Errorf("healthz: %d %s", r.Code, r.Body)
	}
	w.post(lookupPath, `{}`)
	w.get("/no/such/path")
	text := w.get("/metrics").Body.String()
	for _, want := range []string{
		`http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="503",http_route="/readyz"} 1`,
		`http_server_request_duration_seconds_count{http_request_method="POST",http_response_status_code="400",http_route="/get-online-features"} 1`,
		`http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="404",http_route="other"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics have no %s", want)
		}
	}
}

// TestLog wants no line of probes, one of the requests that are too many, and
// one of each other failure.
func TestLog(t *testing.T) {
	var store *flawed
	w := newWorld(t, func(s online.Store) online.Store { store = &flawed{Store: s}; return store })
	var log bytes.Buffer
	w.cfg.Log = slog.New(slog.NewTextHandler(&log, nil)) // which locks
	line := "view daily, partition 1: stopped"
	w.problems.Store(&line)
	for len(w.bodies) < cap(w.bodies) {
		w.bodies <- struct{}{}
	}
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(func() {
			if r := w.get("/readyz"); r.Code != 503 {
				t.Errorf("%d %s", r.Code, r.Body)
			}
			if status, answer := w.post(lookupPath, `{}`); status != 503 {
				t.Errorf("%d %s", status, answer)
			}
		})
	}
	wait.Wait()
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "1024 such requests") {
		t.Errorf("logged:\n%s", &log)
	}
	for len(w.bodies) > 0 {
		w.bodies.leave()
	}
	fail := func() error { return errFlaw }
	store.read.Store(&fail)
	log.Reset()
	for range 2 {
		w.post(lookupPath, `{"features":["daily:n"],"entities":{"symbol":["A"]}}`)
	}
	if n := strings.Count(log.String(), errFlaw.Error()); n != 2 {
		t.Errorf("logged:\n%s", &log)
	}
}

// TestReadYourWrites asks for what was just written, while it is not applied,
// and gets it once it is.
func TestReadYourWrites(t *testing.T) {
	w := newWorld(t, nil)
	at := w.events("prices", `{"symbol":"A","time":"2026-03-04T05:00:00Z"}
{"symbol":"A","time":"2026-03-04T05:00:01Z"}`)
	w.apply("exact") // another view of the topic that the request does not touch
	ask := func(wait int, p streams.Position) string {
		return fmt.Sprintf(`{"features":["daily:n"],"entities":{"symbol":["A"]},"at_least":[%s],"wait_ms":%d}`, mustJSON(t, p), wait)
	}
	status, answer := w.post(lookupPath, ask(20, at[1]))
	if status != http.StatusGatewayTimeout || !strings.Contains(answer, "offset 1 is to be applied, the next one is 0") {
		t.Errorf("%d %s", status, answer)
	}
	type result struct {
		status int
		answer string
	}
	got := make(chan result, 1)
	go func() {
		status, answer := w.post(lookupPath, ask(5000, at[1]))
		got <- result{status, answer}
	}()
	w.apply("daily")
	r := <-got
	if r.status != 200 || !strings.Contains(r.answer, `{"values":[2]`) {
		t.Errorf("%d %s", r.status, r.answer)
	}
	// Beyond what is applied it is not yet.
	next := at[1]
	next.Offset++
	if status, answer = w.post(lookupPath, ask(20, next)); status != http.StatusGatewayTimeout {
		t.Errorf("%d %s", status, answer)
	}
}

// TestStop stops a server that has a waiting read and a body that comes slowly:
// the first is sent away, the second is answered, and then Serve returns.
func TestStop(t *testing.T) {
	w := newWorld(t, nil)
	ln := listen(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- w.Serve(ctx, ln) }()

	slow, body := io.Pipe()
	type result struct {
		status int
		text   string
		err    error
	}
	send := func(path string, body io.Reader) chan result {
		got := make(chan result, 1)
		go func() {
			res, err := http.Post("http://"+ln.Addr().String()+path, "application/json", body)
			if err != nil {
				got <- result{err: err}
				return
			}
			defer res.Body.Close()
			text, err := io.ReadAll(res.Body)
			got <- result{res.StatusCode, string(text), err}
		}()
		return got
	}
	waiting := send(lookupPath, strings.NewReader(`{"features":["daily:n"],"entities":{"symbol":["A"]},"at_least":{"topic":"prices","partition":0,"offset":99}}`))
	ingesting := send("/v1/events/prices", slow)
	_, err := body.Write([]byte(`{"symbol":"A",`))
	must(t, err)
	until(t, "both requests are under way", func() bool { return len(w.waits) == 1 && len(w.bodies) == 1 })
	stop()
	if r := <-waiting; r.err != nil || r.status != 503 || !strings.Contains(r.text, "stopping") {
		t.Errorf("waiting read: %+v", r)
	}
	_, err = body.Write([]byte(`"time":"2026-03-04T05:00:00Z"}`))
	must(t, err)
	body.Close()
	if r := <-ingesting; r.err != nil || r.status != 200 {
		t.Errorf("event: %+v", r)
	}
	must(t, <-ended)
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("it still listens")
	}
}

// TestSlowBodies has as many bodies on their way as there are turns, and wants
// those that come at once answered.
func TestSlowBodies(t *testing.T) {
	w := newWorld(t, nil)
	var slow sync.WaitGroup
	var bodies []*io.PipeWriter
	defer func() {
		for _, b := range bodies {
			b.Close()
		}
		slow.Wait()
	}()
	for path, n := range map[string]int{lookupPath: maxLookups, "/v1/events/prices": maxIngests} {
		for range n {
			r, body := io.Pipe()
			bodies = append(bodies, body)
			slow.Go(func() { w.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, path, r)) })
			_, err := body.Write([]byte("{")) // until it is read
			must(t, err)
		}
	}
	const ask = `{"features":["daily:n"],"entities":{"symbol":["A"]}}`
	if status, answer := w.post(lookupPath, ask); status != 200 {
		t.Errorf("%d %s", status, answer)
	}
	w.events("prices", `{"symbol":"A","time":"2026-03-04T05:00:00Z"}`)
	for len(w.bodies) < cap(w.bodies) {
		w.bodies <- struct{}{}
	}
	if status, answer := w.post(lookupPath, ask); status != 503 || !strings.Contains(answer, "1024 such requests") {
		t.Errorf("%d %s", status, answer)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	return ln
}

func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never was so that %s", what)
		}
	}
}

func FuzzDecodeQuery(f *testing.F) {
	f.Add([]byte(`{"features":["daily:n"],"entities":{"symbol":["A",1,2.5,null,true]},"full_feature_names":true}`))
	f.Add([]byte(`{"view":"daily","entities":{"a":[9223372036854775808]},"request":{"close":[1e3]},"as_of":"2026-03-04T05:00:00.5+01:00","exclude_current":true}`))
	f.Add([]byte(`{"entities":{},"at_least":[{"topic":"t","partition":0,"offset":1},{"offset":-1,"partition":9,"topic":""}],"wait_ms":1,"feature_service":null}`))
	f.Add([]byte(`{"at_least":{"topic":"\ud800"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		q, err := decodeQuery(body)
		if !bytes.Equal(body, before) {
			t.Fatal("the body was changed")
		}
		if err != nil {
			var p *Problem
			if !errors.As(err, &p) || p.Status != 400 || p.Err == "" {
				t.Fatalf("%v", err)
			}
			return
		}
		if !json.Valid(body) {
			t.Fatalf("taken, but not JSON: %s", body)
		}
		if q.Wait < 0 || q.Wait > MaxWait {
			t.Fatalf("wait %v", q.Wait)
		}
	})
}
