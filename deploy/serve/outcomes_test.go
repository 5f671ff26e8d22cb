package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/codec"
)

type outcomesAnswer struct {
	Positions []streams.Position
	IDs       []string
}

// outcome writes outcomes and returns what is answered.
func (m *modelWorld) outcome(model, body string) (a outcomesAnswer) {
	m.t.Helper()
	status, answer := m.post(outcomesPath+model, body)
	if err := json.Unmarshal([]byte(answer), &a); err != nil || status != 200 {
		m.t.Fatalf("%d %s", status, answer)
	}
	return a
}

const fiveOClock = `"time":"2026-03-04T05:00:00Z"`

// TestOutcomes writes outcomes in all the forms that there are, and reads them
// from the topic.
func TestOutcomes(t *testing.T) {
	m := newModelWorld(t, nil)
	at := time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC).UnixMicro()
	for _, c := range []struct {
		model, body string
		want        feedback.Outcome
	}{
		{"rises", `{"entity":{"symbol":"A"},` + fiveOClock + `,"value":true,"outcome_id":"o1"}`, feedback.Outcome{ID: "o1", Key: "A", Label: 1}},
		{"rises", "\n{\"entity\":{\"symbol\":7},\n" + fiveOClock + ",\"value\":0,\n\"outcome_id\":\"o2\"}\n", feedback.Outcome{ID: "o2", Key: "7"}},
		{"rises", `{"entity":{"symbol":"A"},` + fiveOClock + `,"value":false,"outcome_id":"o3","id":null}`, feedback.Outcome{ID: "o3", Key: "A"}},
		{"rises", `{"entity":{"symbol":"A"},` + fiveOClock + `,"value":1.0,"outcome_id":"o4"}`, feedback.Outcome{ID: "o4", Key: "A", Label: 1}},
		{"sum", `{"id":"of whom nobody knows",` + fiveOClock + `,"value":-2.5e3,"outcome_id":"o5"}`, feedback.Outcome{ID: "o5", Key: "of whom nobody knows", Label: -2500}},
	} {
		a := m.outcome(c.model, c.body)
		if len(a.IDs) != 1 || a.IDs[0] != c.want.ID || len(a.Positions) != 1 {
			t.Fatalf("%s: %+v", c.body, a)
		}
		c.want.Model, c.want.Time = c.model, at
		p := a.Positions[0]
		all := m.records(p.Topic, p.Partition, p.Offset)
		if p.Topic != feedbackTopic || string(all[0].Value) != string(c.want.AppendJSON(nil)) || string(all[0].Key) != c.want.Key {
			t.Errorf("%s: the topic has %s under %q", c.body, all[0].Value, all[0].Key)
		}
	}
	if got := m.written(); len(got) != 5 {
		t.Errorf("the topic has %+v", got)
	}
}

// TestOutcomeIDs wants the same id for the same outcome, however it is written,
// and another for each correction.
func TestOutcomeIDs(t *testing.T) {
	m := newModelWorld(t, nil)
	same := m.outcome("rises", `{"entity":{"symbol":"7"},`+fiveOClock+`,"value":true}
{"value":1,"time":"2026-03-04T06:00:00.000+01:00","entity":{"symbol":7}}`)
	if same.IDs[0] != same.IDs[1] || len(same.IDs[0]) != 2*hashBytes {
		t.Errorf("%q", same.IDs)
	}
	zeros := m.outcome("sum", `{"id":"p",`+fiveOClock+`,"value":0}
{"id":"p",`+fiveOClock+`,"value":-0.0}`)
	if zeros.IDs[0] != zeros.IDs[1] {
		t.Errorf("%q", zeros.IDs)
	}
	seen := map[string]bool{}
	for _, id := range append(m.outcome("rises", `{"entity":{"symbol":"7"},`+fiveOClock+`,"value":true}
{"entity":{"symbol":"7"},`+fiveOClock+`,"value":false}
{"entity":{"symbol":"8"},`+fiveOClock+`,"value":true}
{"entity":{"symbol":"7"},"time":"2026-03-04T05:00:00.000001Z","value":true}`).IDs, m.outcome("replayed", `{"entity":{"symbol":"7"},`+fiveOClock+`,"value":true}`).IDs...) {
		if seen[id] {
			t.Errorf("%s twice", id)
		}
		seen[id] = true
	}
}

// TestBadOutcomes wants the line and what is wrong with it, and nothing
// written, of good lines either.
func TestBadOutcomes(t *testing.T) {
	m := newModelWorld(t, nil)
	const good = `{"entity":{"symbol":"A"},` + fiveOClock + `,"value":true}`
	const entity = `{"entity":{"symbol":"A"},`
	for _, c := range []struct {
		model, body   string
		status        int
		line          int // 0: the error is not of a line
		reason, field string
		says          string
	}{
		{"", ``, 404, 0, "", "", "POST /v1/outcomes/{model}"},
		{"falls", good, 404, 0, "", "", "there are replayed, rises, sum"},
		{"rises", " \n", 400, 0, "", "", "empty"},
		{"rises", `[]`, 400, 1, codec.BadJSON, "", "want an object"},
		{"rises", good + "\n{", 400, 2, codec.BadJSON, "", "EOF"},
		{"rises", good + "\n\n" + entity + fiveOClock + `,"value":NaN}`, 400, 3, codec.BadJSON, "", "invalid"},
		{"rises", entity + fiveOClock + `,"value":"NaN"}`, 400, 1, codec.WrongType, "value", `want true, false, 0 or 1, got "NaN"`},
		{"rises", entity + fiveOClock + `,"value":2}`, 400, 1, codec.WrongType, "value", "got 2"},
		{"rises", entity + fiveOClock + `,"value":0.5}`, 400, 1, codec.WrongType, "value", "got 0.5"},
		{"rises", entity + fiveOClock + `,"value":null}`, 400, 1, codec.MissingField, "value", "missing"},
		{"rises", entity + fiveOClock + `,"value":[1]}`, 400, 1, codec.WrongType, "value", "an array"},
		{"sum", `{"id":"p",` + fiveOClock + `,"value":true}`, 400, 1, codec.WrongType, "value", "want a number, got true"},
		{"sum", `{"id":"p",` + fiveOClock + `,"value":"text"}`, 400, 1, codec.WrongType, "value", `got "text"`},
		{"sum", `{"id":"p",` + fiveOClock + `,"value":1e999}`, 400, 1, codec.WrongType, "value", "range"},
		{"sum", `{"id":"p",` + fiveOClock + `}`, 400, 1, codec.MissingField, "value", "want a number"},
		{"sum", `{"id":"",` + fiveOClock + `,"value":1}`, 400, 1, codec.WrongType, "id", "1 to 256"},
		{"sum", `{"id":"` + strings.Repeat("x", 257) + `",` + fiveOClock + `,"value":1}`, 400, 1, codec.WrongType, "id", "1 to 256"},
		{"sum", `{"entity":{"user":1,"shop":"s"},` + fiveOClock + `,"value":1}`, 400, 1, codec.MissingField, "id", "give id"},
		{"sum", `{"id":"p","entity":{"user":1,"shop":"s"},` + fiveOClock + `,"value":1}`, 400, 1, codec.MissingField, "id", "no entity"},
		{"rises", `{"id":"p",` + fiveOClock + `,"value":1}`, 400, 1, codec.MissingField, "entity", "give entity"},
		{"rises", `{"entity":{},` + fiveOClock + `,"value":1}`, 400, 1, codec.MissingField, "entity", `give entity`},
		{"rises", `{"entity":{"symbol":1.5},` + fiveOClock + `,"value":1}`, 400, 1, codec.WrongType, "entity", "got 1.5"},
		{"rises", `{"entity":{"symbol":""},` + fiveOClock + `,"value":1}`, 400, 1, codec.WrongType, "entity", "symbol"},
		{"rises", `{"entity":{"symbol":"A","x":1},` + fiveOClock + `,"value":1}`, 400, 1, codec.WrongType, "entity", `\"x\" is not what model rises is about`},
		{"rises", entity + `"value":1}`, 400, 1, codec.MissingField, "time", "missing"},
		{"rises", entity + `"time":1700000000,"value":1}`, 400, 1, codec.WrongType, "time", "want a text"},
		{"rises", entity + `"time":"yesterday","value":1}`, 400, 1, codec.WrongType, "time", "RFC 3339"},
		{"rises", entity + fiveOClock + `,"value":1,"outcome_id":"` + strings.Repeat("x", 257) + `"}`, 400, 1, codec.WrongType, "outcome_id", "1 to 256"},
		{"rises", entity + fiveOClock + `,"value":1,"label":1}`, 400, 1, codec.WrongType, "label", "an outcome has id or entity"},
		{"rises", good + strings.Repeat(" ", 70_000), 413, 0, "", "", "65536 bytes"},
	} {
		status, answer := m.post(outcomesPath+c.model, c.body)
		var e struct {
			Lines []struct {
				Line                   int
				Reason, Field, Problem string
			}
		}
		must(t, json.Unmarshal([]byte(answer), &e))
		bad := status != c.status || !strings.Contains(answer, c.says) && !strings.Contains(answer, strings.ReplaceAll(c.says, `"`, `\"`))
		if c.line > 0 {
			bad = bad || len(e.Lines) != 1 || e.Lines[0].Line != c.line || e.Lines[0].Reason != c.reason || e.Lines[0].Field != c.field
		}
		if bad {
			t.Errorf("%s %.200s\ngot  %d %s\nwant %d, line %d, %s %s with %s", c.model, c.body, status, answer, c.status, c.line, c.reason, c.field, c.says)
		}
	}
	if got := m.written(); len(got) != 0 {
		t.Errorf("the topic has %+v", got)
	}
}

// TestManyBadOutcomes tells of the first of them.
func TestManyBadOutcomes(t *testing.T) {
	m := newModelWorld(t, nil)
	status, answer := m.post(outcomesPath+"rises", strings.Repeat("{}\n", 50))
	if status != 400 || strings.Count(answer, `"line":`) != maxBadLines || !strings.Contains(answer, "50 of 50 outcomes are not outcomes of model") {
		t.Errorf("%d %s", status, answer)
	}
}

// TestOutcomesLogAway wants 503, to send them again.
func TestOutcomesLogAway(t *testing.T) {
	m := newModelWorld(t, nil)
	m.outcome("sum", `{"id":"p",`+fiveOClock+`,"value":1}`)
	must(t, m.broker.Close())
	m.patience = 50 * time.Millisecond
	r := httptest.NewRecorder()
	m.ServeHTTP(r, httptest.NewRequest(http.MethodPost, outcomesPath+"sum", strings.NewReader(`{"id":"p",`+fiveOClock+`,"value":1}`)))
	if r.Code != 503 || r.Header().Get("Retry-After") == "" || !strings.Contains(r.Body.String(), "outcomes") || strings.Contains(r.Body.String(), "events") {
		t.Errorf("%d %s", r.Code, r.Body)
	}
	m.restart()
}

func FuzzDecodeOutcome(f *testing.F) {
	f.Add([]byte(`{"entity":{"symbol":"A"},"time":"2026-03-04T05:00:00Z","value":true}`))
	f.Add([]byte(`{"id":"p","time":"2026-03-04T05:00:00Z","value":-2.5e3,"outcome_id":"o"}`))
	f.Add([]byte(`{"entity":{"symbol":7},"time":"0001-01-01T00:00:00Z","value":-0.0}`))
	f.Add([]byte("{\"time\":\"\xff\"}"))
	m := newModelWorld(f, nil)
	f.Fuzz(func(t *testing.T, line []byte) {
		before := bytes.Clone(line)
		for _, name := range []string{"rises", "sum"} {
			o, err := decodeOutcome(m.models.find(name), line)
			if !bytes.Equal(line, before) {
				t.Fatal("the line was changed")
			}
			var bad *codec.Error
			if err != nil {
				if json.Valid(line) && utf8.Valid(line) && bytes.TrimSpace(line)[0] == '{' && !errors.As(err, &bad) && !strings.Contains(fmt.Sprint(err), "duplicate") {
					t.Fatalf("%s: %v", line, err)
				}
				continue
			}
			rec, err := feedback.Decode(o.AppendJSON(nil))
			if err != nil || rec.Outcome == nil || rec.Outcome.Key != o.Key || math.Float64bits(rec.Outcome.Label) != math.Float64bits(o.Label) {
				t.Fatalf("%s: %+v is read back as %+v: %v", line, o, rec.Outcome, err)
			}
		}
	})
}
