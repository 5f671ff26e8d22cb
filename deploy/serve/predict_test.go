package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/trainer/bundle"
)

// seed gives rises something to see.
func (m *modelWorld) seed() {
	m.t.Helper()
	m.events("prices", `{"symbol":"A","close":12.5,"note":"3","time":"2026-03-04T05:00:00Z"}
{"symbol":"B","close":-1,"time":"2026-03-04T05:00:01Z"}`)
	m.apply("daily")
	m.apply("exact")
	m.now.Store(time.Date(2026, 3, 4, 5, 30, 0, 0, time.UTC).UnixMicro())
}

const askA = `{"entity":{"symbol":"A"},"request":{"close":13.25},"id":"p1"}`

// seen is what a model sees, by the lookup.
func (m *modelWorld) seen(model string, q *Query) (vector []features.Value, asOf int64) {
	m.t.Helper()
	var v Vectors
	q.Features, q.FullNames, q.AsOf = m.predictors[model].refs, true, features.NoTime
	must(m.t, m.Lookup().Read(m.t.Context(), q, &v))
	for c := range q.Features {
		x, _ := v.Value(0, c)
		vector = append(vector, x)
	}
	return vector, v.AsOf[0]
}

func row(name string, x features.Value) []Column { return []Column{{name, []features.Value{x}}} }

// TestPredict compares an answer, and the record in the topic, with what the
// bundle says to the vector that a lookup gives. The store is read once.
func TestPredict(t *testing.T) {
	var store *flawed
	m := newModelWorld(t, func(s online.Store) online.Store { store = &flawed{Store: s}; return store })
	m.seed()
	b := m.champion("rises")
	reads := 0
	count := func() error { reads++; return nil }
	store.read.Store(&count)
	p := m.predict("rises", askA)
	if reads != 1 {
		t.Errorf("%d reads of the store", reads)
	}
	vector, asOf := m.seen("rises", &Query{Entities: row("symbol", expr.StringValue("A")), Inputs: row("close", expr.FloatValue(13.25))})
	score, err := b.Score(vector)
	must(t, err)
	if math.Float64bits(p.Score) != math.Float64bits(score) || p.ID != "p1" || p.Model != "rises" || p.Version != 1 || p.Bundle != b.ID() || p.BaseRate || p.AsOf.UnixMicro() != asOf || p.Degraded != "" {
		t.Errorf("%+v, want score %v at %d", p, score, asOf)
	}
	if x := vector[len(vector)-1].Float(); x != 13.25-12.5 {
		t.Errorf("gap %v", x)
	}
	for _, in := range m.configs["rises"].Inputs {
		if p.Fingerprints[in.Name] != in.Fingerprint || len(p.Fingerprints) != len(vector) {
			t.Errorf("fingerprints %v", p.Fingerprints)
		}
	}
	want := feedback.Prediction{
		ID: "p1", Model: "rises", Key: "A", Time: asOf, Entity: []features.Named{{Name: "symbol", Expr: "A"}}, Set: bundle.SetID(m.configs["rises"].Inputs), Vector: vector,
		Score: feedback.Score{Version: 1, Bundle: b.ID(), Value: score},
	}
	got := m.written()
	if len(got) != 1 || got[0].Prediction == nil || !bytes.Equal(got[0].Prediction.AppendJSON(nil), want.AppendJSON(nil)) {
		t.Errorf("the topic has %+v\nwant %+v", got, want)
	}
}

// TestPredictKeys wants the record of a model that is joined by the prediction's
// id under that id, its own one where none is given, and entities in the kinds
// of their fields.
func TestPredictKeys(t *testing.T) {
	m := newModelWorld(t, nil)
	m.events("buys", `{"user":7,"shop":"12","sum":2.5,"at":"2026-03-04T05:00:00Z"}`)
	m.apply("baskets")
	m.champion("sum")
	ids := map[string]bool{}
	for _, entity := range []string{`{"user":7,"shop":"12"}`, `{"shop":12,"user":"7"}`, `{"user":"007","shop":"12"}`} {
		ids[m.predict("sum", `{"entity":`+entity+`}`).ID] = true
	}
	for _, r := range m.written() {
		p := r.Prediction
		if !ids[p.ID] || p.Key != p.ID || len(p.ID) != 36 || p.ID[14] != '7' || p.Entity[0].Expr != "7" || p.Entity[1].Expr != "12" || p.Vector[0].Float() != 2.5 {
			t.Errorf("%+v", p)
		}
		delete(ids, p.ID)
	}
	if len(ids) != 0 {
		t.Errorf("not in the topic, or not told apart: %v", ids)
	}
}

// TestPredictTwice sends one id twice, as a client that has heard nothing: both
// are in the topic, for the join to drop one.
func TestPredictTwice(t *testing.T) {
	m := newModelWorld(t, nil)
	m.seed()
	m.champion("rises")
	first, second := m.predict("rises", askA), m.predict("rises", askA)
	if first.ID != second.ID || first.Score != second.Score {
		t.Errorf("%+v and %+v", first, second)
	}
	if got := m.written(); len(got) != 2 || got[0].Prediction.ID != "p1" || got[1].Prediction.ID != "p1" {
		t.Errorf("the topic has %+v", got)
	}
}

// TestEventClock wants no prediction while nothing has happened, and then one of
// the time of the newest event.
func TestEventClock(t *testing.T) {
	m := newModelWorld(t, nil)
	m.champion("replayed")
	if status, answer := m.post(predictPath+"replayed", `{"entity":{"symbol":"A"}}`); status != 404 || !strings.Contains(answer, "nothing is known of entity") {
		t.Errorf("%d %s", status, answer)
	}
	m.events("prices", `{"symbol":"A","time":"2026-03-04T05:00:00Z"}`)
	m.apply("replay")
	if p := m.predict("replayed", `{"entity":{"symbol":"A"}}`); !p.AsOf.Equal(time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", p)
	}
	if got := m.written(); len(got) != 1 {
		t.Errorf("the topic has %+v", got)
	}
}

// TestPredictAtLeast waits for an event to be applied.
func TestPredictAtLeast(t *testing.T) {
	m := newModelWorld(t, nil)
	m.seed()
	m.champion("rises")
	at := m.events("prices", `{"symbol":"A","close":99,"time":"2026-03-04T05:00:02Z"}`)
	ask := func(wait int) string {
		return fmt.Sprintf(`{"entity":{"symbol":"A"},"at_least":%s,"wait_ms":%d}`, mustJSON(t, at[0]), wait)
	}
	if status, answer := m.post(predictPath+"rises", ask(20)); status != http.StatusGatewayTimeout {
		t.Errorf("%d %s", status, answer)
	}
	type result struct {
		status int
		answer string
	}
	got := make(chan result, 1)
	go func() {
		status, answer := m.post(predictPath+"rises", ask(5000))
		got <- result{status, answer}
	}()
	m.apply("exact")
	m.apply("daily")
	if r := <-got; r.status != 200 {
		t.Errorf("%+v", r)
	}
	all := m.written()
	if len(all) != 1 || all[0].Prediction.Vector[0].Float() != 99 {
		t.Errorf("%+v", all)
	}
}

// TestHotSwap changes the version 500 times while callers predict: each gets an
// answer, and the score is that of the version that it names.
func TestHotSwap(t *testing.T) {
	const swaps, callers, versions = 500, 8, 5
	m := newModelWorld(t, nil)
	m.seed()
	scores, bundles := make([]float64, versions+1), make([]string, versions+1)
	vector, _ := m.seen("rises", &Query{Entities: row("symbol", expr.StringValue("A")), Inputs: row("close", expr.FloatValue(13.25))})
	scores[0] = 0.25
	m.shelf.serving["rises"] = registry.Serving{Shadow: registry.NoVersion, BaseRate: registry.BaseRate{Value: 0.25, Count: 6}}
	for v := 1; v <= versions; v++ {
		b := m.version("rises", v)
		var err error
		scores[v], err = b.Score(vector)
		must(t, err)
		bundles[v] = b.ID()
	}
	must(t, m.models.Refresh(t.Context()))
	var over atomic.Bool
	var wait sync.WaitGroup
	answered := make([]int, versions+1)
	var mu sync.Mutex
	for c := range callers {
		wait.Go(func() {
			for i := 0; !over.Load(); i++ {
				status, answer := m.post(predictPath+"rises", fmt.Sprintf(`{"entity":{"symbol":"A"},"request":{"close":13.25},"id":"%d-%d"}`, c, i))
				var p prediction
				if err := json.Unmarshal([]byte(answer), &p); err != nil || status != 200 {
					t.Errorf("%d %s", status, answer)
					return
				}
				if p.Version < 0 || p.Version > versions || p.Score != scores[p.Version] || p.Bundle != bundles[p.Version] || p.BaseRate != (p.Version == 0) {
					t.Errorf("%+v, want score %v", p, scores[p.Version])
				}
				mu.Lock()
				answered[p.Version]++
				mu.Unlock()
			}
		})
	}
	for i := range swaps {
		m.shelf.serve("rises", (i+1)%(versions+1), (i*7)%(versions+2)-1)
		must(t, m.models.Refresh(t.Context()))
	}
	over.Store(true)
	wait.Wait()
	if got := m.models.find("rises").swaps.Load(); got != swaps+1 {
		t.Errorf("%d swaps, want %d", got, swaps+1)
	}
	total := 0
	for _, r := range m.written() {
		p := r.Prediction
		total++
		if p.Score.Value != scores[p.Score.Version] || p.Score.Bundle != bundles[p.Score.Version] || p.Shadow != nil && p.Shadow.Value != scores[p.Shadow.Version] {
			t.Errorf("%+v", p)
		}
	}
	for _, n := range answered {
		total -= n
	}
	if total != 0 {
		t.Errorf("the topic has %d predictions more than were answered: %v", total, answered)
	}
}

// TestShadow wants the shadow's score in the record, and the champion's answer
// whatever is wrong with the shadow.
func TestShadow(t *testing.T) {
	m := newModelWorld(t, nil)
	m.seed()
	m.champion("rises")
	beside := m.version("rises", 2)
	m.shelf.serve("rises", 1, 2)
	must(t, m.models.Refresh(t.Context()))
	want := m.predict("rises", askA)
	x := m.models.find("rises")
	good := x.loaded.Load()
	other := m.champion("replayed") // of other inputs: its Score is an error
	for _, bad := range []*bundle.Bundle{{}, other} {
		now := *good
		now.shadow = &side{2, bad}
		x.loaded.Store(&now)
		if p := m.predict("rises", askA); p.Score != want.Score || p.Version != 1 {
			t.Errorf("%+v, want %+v", p, want)
		}
	}
	if n := x.shadowFailures.Load(); n != 2 {
		t.Errorf("%d failures", n)
	}
	all := m.written()
	if len(all) != 3 || all[1].Prediction.Shadow != nil || all[2].Prediction.Shadow != nil {
		t.Fatalf("the topic has %+v", all)
	}
	score, err := beside.Score(all[0].Prediction.Vector)
	must(t, err)
	if s := all[0].Prediction.Shadow; s == nil || s.Version != 2 || s.Bundle != beside.ID() || s.Value != score {
		t.Errorf("%+v, want %v", s, score)
	}
	text := m.get("/metrics").Body.String()
	for _, want := range []string{
		`millrace_model_shadow_failures_total{model="rises"} 2`, `millrace_predictions_total{model="rises",version="1"} 3`,
		`millrace_prediction_duration_seconds_count{model="rises"} 3`, `millrace_model_swaps_total{model="rises"} 1`, `millrace_model_shadow{model="rises"} 2`, "millrace_spool_predictions 0",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics have no %s", want)
		}
	}
}

// TestChampionWithoutScore wants an error with its reason, nothing written, and
// the champion to stay.
func TestChampionWithoutScore(t *testing.T) {
	m := newModelWorld(t, nil)
	m.seed()
	m.champion("rises")
	x := m.models.find("rises")
	good := x.loaded.Load()
	now := *good
	now.champion = side{1, m.champion("replayed")}
	x.loaded.Store(&now)
	if status, answer := m.post(predictPath+"rises", askA); status != 500 || !strings.Contains(answer, "version 1 of model rises has no score") || !strings.Contains(answer, "bundle") {
		t.Errorf("%d %s", status, answer)
	}
	now.champion = side{} // the base rate, which is no number
	now.base.Value = math.NaN()
	if status, answer := m.post(predictPath+"rises", askA); status != 500 {
		t.Errorf("%d %s", status, answer)
	}
	if got := m.written(); len(got) != 0 || x.loaded.Load() != &now {
		t.Errorf("the topic has %+v", got)
	}
}

// TestBadPredictions wants for each the status and a message that says what is
// wrong, and nothing written.
func TestBadPredictions(t *testing.T) {
	m := newModelWorld(t, nil)
	m.seed()
	m.champion("rises")
	m.champion("sum")
	const ok = `"entity":{"symbol":"A"}`
	for _, c := range []struct {
		model, body string
		status      int
		says        string
	}{
		{"", `{}`, 404, "POST /v1/predict/{model}"},
		{"falls", `{` + ok + `}`, 404, "there are replayed, rises, sum"},
		{"rises", ``, 400, "EOF"},
		{"rises", `[]`, 400, "want an object"},
		{"rises", `{` + ok + `} {}`, 400, "more follows"},
		{"rises", `{` + ok + `,` + ok + `}`, 400, "duplicate"},
		{"rises", `{}`, 400, `entity has no \"symbol\"`},
		{"rises", `{"entity":null}`, 400, `entity has no \"symbol\"`},
		{"rises", `{"entity":"A"}`, 400, "entity: want an object, got a text"},
		{"rises", `{"entity":{"symbol":["A"]}}`, 400, "got an array"},
		{"rises", `{"entity":{"symbol":null}}`, 400, "want a text, got null"},
		{"rises", `{"entity":{"symbol":1.5}}`, 400, "want a text, got 1.5"},
		{"rises", `{"entity":{"symbol":true}}`, 400, "want a text, got true"},
		{"rises", `{"entity":{"symbol":""}}`, 400, "entity"},
		{"rises", `{"entity":{"symbol":"` + strings.Repeat("x", 1025) + `"}}`, 400, "entity"},
		{"rises", `{"entity":{"symbol":"A","x":1}}`, 400, `\"x\" is not what model rises is about, which is symbol`},
		{"sum", `{"entity":{"user":"7x","shop":"s"}}`, 400, "whole number"},
		{"sum", `{"entity":{"user":7}}`, 400, `no \"shop\"`},
		{"rises", `{` + ok + `,"request":{"clos":1}}`, 400, "used are: close"},
		{"rises", `{` + ok + `,"request":{"close":"1"}}`, 400, "want a number or null, got"},
		{"rises", `{` + ok + `,"request":{"close":1e999}}`, 400, "range"},
		{"rises", `{` + ok + `,"request":[1]}`, 400, "want an object"},
		{"rises", `{` + ok + `,"id":7}`, 400, "id: want a text"},
		{"rises", `{` + ok + `,"id":""}`, 400, "1 to 256"},
		{"rises", `{` + ok + `,"id":"` + strings.Repeat("x", 257) + `"}`, 400, "1 to 256"},
		{"rises", `{` + ok + `,"as_of":"2026-03-04T05:00:00Z"}`, 400, "as_of"},
		{"rises", `{` + ok + `,"wait_ms":0}`, 400, "1 to 5000"},
		{"rises", `{` + ok + `,"at_least":{"topic":"buys","partition":0,"offset":0}}`, 400, "daily from prices"},
		{"rises", `{` + ok + strings.Repeat(" ", 70_000) + `}`, 413, "65536 bytes"},
	} {
		status, answer := m.post(predictPath+c.model, c.body)
		if status != c.status || !strings.Contains(answer, c.says) {
			t.Errorf("%s %.200s\ngot  %d %s\nwant %d with %s", c.model, c.body, status, answer, c.status, c.says)
		}
	}
	if got := m.written(); len(got) != 0 {
		t.Errorf("the topic has %+v", got)
	}
}

func FuzzDecodeQuestion(f *testing.F) {
	f.Add([]byte(askA))
	f.Add([]byte(`{"entity":{"a":1,"b":null},"request":{"x":null,"y":1e3},"at_least":[{"topic":"t","partition":0,"offset":1}],"wait_ms":1}`))
	f.Add([]byte(`{"id":"\ud800","entity":{"":""}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		q, err := decodeQuestion(body)
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
		if !json.Valid(body) || len(q.id) > feedback.MaxID {
			t.Fatalf("taken: %s", body)
		}
		for _, c := range append(q.Entities, q.Inputs...) {
			if len(c.Cells) != 1 {
				t.Fatalf("column %q has %d cells", c.Name, len(c.Cells))
			}
		}
	})
}
