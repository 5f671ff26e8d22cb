package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/streams"
)

// TestIngest wants each event in the log where the answer says, under its key,
// with the bytes that were sent.
func TestIngest(t *testing.T) {
	const day = `"time":"2026-03-04T05:00:00Z"`
	for _, c := range []struct {
		name, source, contentType, body string
		keys, values                    []string
	}{
		{"one", "prices", "application/json", `{"symbol": "A", "extra": [1.50], ` + day + `}`, []string{"A"}, []string{`{"symbol": "A", "extra": [1.50], ` + day + `}`}},
		{"one over several lines", "prices", "", "\ufeff\n {\n\"symbol\":\"A\",\r\n " + day + "}\n", []string{"A"}, []string{`{"symbol":"A",` + day + `}`}},
		{"lines by content", "prices", "application/json", `{"symbol":"A",` + day + "}\n\n{\"symbol\":\"é\"," + day + "}\r\n", []string{"A", "é"}, []string{`{"symbol":"A",` + day + `}`, `{"symbol":"é",` + day + `}`}},
		{"one line as lines", "prices", "application/x-ndjson; charset=utf-8", `{"symbol":"A",` + day + `}`, []string{"A"}, []string{`{"symbol":"A",` + day + `}`}},
		{"csv with two keys", "buys", "", `{"at":"2026-03-04T06:00:00.5+01:00","user":-7,"shop":"a,\"b","sum":1.50}`, []string{`[-7,"a,\"b"]`}, []string{`-7,"a,""b",1.5,2026-03-04T05:00:00.5Z`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil)
			req := httptest.NewRequest(http.MethodPost, "/v1/events/"+c.source, strings.NewReader(c.body))
			req.Header.Set("Content-Type", c.contentType)
			res := httptest.NewRecorder()
			w.ServeHTTP(res, req)
			var got struct{ Positions []streams.Position }
			if err := json.Unmarshal(res.Body.Bytes(), &got); err != nil || res.Code != 200 || len(got.Positions) != len(c.values) {
				t.Fatalf("%d %s", res.Code, res.Body)
			}
			src := w.sources[c.source]
			for i, at := range got.Positions {
				r := w.records(at.Topic, at.Partition, at.Offset)[0]
				if at.Topic != src.Topic || string(r.Key) != c.keys[i] || string(r.Value) != c.values[i] || at.Partition != streams.PartitionOf([]byte(c.keys[i]), src.Partitions) {
					t.Errorf("at %+v is %s: %s, want %s: %s", at, r.Key, r.Value, c.keys[i], c.values[i])
				}
			}
		})
	}
}

// TestAllOrNothing sends good lines among bad ones.
func TestAllOrNothing(t *testing.T) {
	w := newWorld(t, nil)
	var lines []string
	bad := 0
	for i := range 100 {
		switch {
		case i%3 == 1:
			lines = append(lines, `{"symbol":"A","close":"x","time":"2026-03-04T05:00:00Z"}`)
			bad++
		case i == 50:
			lines = append(lines, "")
		default:
			lines = append(lines, `{"symbol":"A","time":"2026-03-04T05:00:00Z"}`)
		}
	}
	status, answer := w.post("/v1/events/prices", strings.Join(lines, "\n"))
	var got struct {
		Error string
		Lines []struct {
			Line                   int
			Reason, Field, Problem string
		}
	}
	must(t, json.Unmarshal([]byte(answer), &got))
	if status != 400 || !strings.Contains(got.Error, fmt.Sprintf("%d of 99 events", bad)) || len(got.Lines) != maxBadLines {
		t.Fatalf("%d %s", status, answer)
	}
	for i, l := range got.Lines {
		if l.Line != 3*i+2 || l.Reason != "wrong_type" || l.Field != "close" || l.Problem == "" {
			t.Errorf("%+v", l)
		}
	}
	for part := range prices.Partitions {
		if rs := w.records("prices", part, 0); len(rs) > 0 {
			t.Errorf("the log has %d records", len(rs))
		}
	}
}

func TestEventTooLarge(t *testing.T) {
	w := newWorld(t, nil)
	w.cfg.MaxBody = 2 << 20
	event := func(n int) string {
		e := `{"symbol":"A","time":"2026-03-04T05:00:00Z","note":""}`
		return e[:len(e)-2] + strings.Repeat("x", n-1-len(e)) + e[len(e)-2:] // with the key, n bytes
	}
	if at := w.events("prices", event(MaxEvent)); len(at) != 1 {
		t.Errorf("%v", at)
	}
	if status, answer := w.post("/v1/events/prices", event(MaxEvent+1)); status != 400 || !strings.Contains(answer, "too_large") {
		t.Errorf("%d %s", status, answer)
	}
}

// TestNoTopic wants the reason why nothing was written, and no word of a time
// that has not passed.
func TestNoTopic(t *testing.T) {
	w := newWorld(t, nil)
	gone := prices
	gone.Topic = "gone"
	var err error
	w.sources["prices"], err = newSource(gone)
	must(t, err)
	status, answer := w.post("/v1/events/prices", `{"symbol":"A","time":"2026-03-04T05:00:00Z"}`)
	if status != 503 || !strings.Contains(answer, "could not be written") || !strings.Contains(answer, streams.ErrNoTopic.Error()) || strings.Contains(answer, "within") {
		t.Errorf("%d %s", status, answer)
	}
}

// TestBrokerAway wants an error in bounded time for what the log does not
// acknowledge, and the answers to lookups all the same.
func TestBrokerAway(t *testing.T) {
	w := newWorld(t, nil)
	w.patience = 300 * time.Millisecond
	const event = `{"symbol":"A","time":"2026-03-04T05:00:00Z"}`
	w.events("prices", event)
	must(t, w.broker.Close())
	for _, source := range []string{"prices", "buys"} { // one whose topic is known, one whose topic is not
		body := event
		if source == "buys" {
			body = `{"at":"2026-03-04T05:00:00Z","user":1,"shop":"s","sum":1}`
		}
		r := httptest.NewRecorder()
		w.ServeHTTP(r, httptest.NewRequest(http.MethodPost, "/v1/events/"+source, strings.NewReader(body)))
		if r.Code != 503 || r.Header().Get("Retry-After") == "" || !strings.Contains(r.Body.String(), "within 300ms") || strings.Contains(r.Body.String(), `"positions"`) {
			t.Errorf("%s: %d %s", source, r.Code, r.Body)
		}
	}
	if status, answer := w.post(lookupPath, `{"features":["daily:n"],"entities":{"symbol":["A"]}}`); status != 200 {
		t.Errorf("%d %s", status, answer)
	}
}
