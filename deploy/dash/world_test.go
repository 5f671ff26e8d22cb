package dash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/alarms"
	"github.com/millrace/millrace/deploy/observe"
	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/feedback/monitor"
	"github.com/millrace/millrace/trainer/dataset"
	"github.com/millrace/millrace/trainer/eval"
)

// hostile is a text that would be noticed if it were not escaped.
const hostile = `<script>alert("x")</script>&'"`

// The alarms of the world: one is open, one is over.
const (
	openAlarm = "large_order/std/customer.mean_30d/1222646400000000"
	pastAlarm = "large_order/drift/score/1220918400000000"
	day       = int64(24 * time.Hour / time.Microsecond)
)

const shop = `project: shop
clock: event
sources:
  orders:
    keyed_by: [customer]
    event_time: at
    fields: {customer: string, amount: float, at: time}
views:
  customer:
    source: orders
    entity: [customer]
    features:
      orders_30d: {count: "*", window: 30d}
      spend_30d: {sum: amount, window: 30d}
      mean_30d: {mean: amount, window: 30d}
models:
  large_order:
    task: binary
    features: [customer.orders_30d, customer.spend_30d, customer.mean_30d]
    label: {source: orders, join: next_event, value: amount >= 50.0, horizon: 14d}
    learner: {ftrl: {}}
    train: {every: 20 examples}
    gate: {slices: [customer]}
    reviewers: [anna, bob, cecil]
  next_amount:
    task: regression
    features: [customer.mean_30d]
    label: {source: orders, join: next_event, value: amount, horizon: 14d}
    learner: {ftrl: {}}
`

// A world is pages over a real registry, with a model whose first version serves, whose
// second was closed and whose third waits for review.
type world struct {
	*Dash
	t        testing.TB
	registry *registry.Registry
	book     *alarms.Book
	cfg      Config
	clock    time.Time
	runs     int
	counted  int64
}

func parse(t testing.TB, text string) *project.Project {
	t.Helper()
	p, err := project.Parse("project.yaml", []byte(text))
	must(t, err)
	return p
}

// shared is a folder with the files that worlds begin with, made once: judging, and
// hashing passwords, take long under the race detector.
var shared string

func TestMain(m *testing.M) {
	var err error
	if shared, err = os.MkdirTemp("", "dash"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(shared)
	os.Exit(code)
}

var begin sync.Once // makes the files of shared

// openWorld opens the files of a world in a folder.
func openWorld(dir string) (*world, error) {
	r, err := registry.Open(filepath.Join(dir, "registry.db"))
	if err != nil {
		return nil, err
	}
	book, err := alarms.Open(filepath.Join(dir, "alarms.db"))
	return &world{registry: r, book: book, clock: time.Now()}, err
}

func newWorld(t testing.TB) *world {
	t.Helper()
	begin.Do(func() {
		w, err := openWorld(shared)
		must(t, err)
		w.t = t
		w.fill()
		must(t, errors.Join(w.registry.Close(), w.book.Close()))
	})
	dir := t.TempDir()
	for _, name := range []string{"registry.db", "alarms.db"} {
		b, err := os.ReadFile(filepath.Join(shared, name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	w, err := openWorld(dir)
	must(t, err)
	w.t, w.runs = t, 4
	t.Cleanup(func() { must(t, errors.Join(w.registry.Close(), w.book.Close())) })
	w.cfg = Config{
		Project: parse(t, shop), Registry: w.registry, Alarms: w.book, Reviewer: "anna", Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return w.clock },
		Status: func() []observe.Shard {
			return []observe.Shard{
				{Stage: "pipeline", View: "customer", Topic: "orders", Running: true, Lag: 3, Newest: time.Date(2008, 10, 10, 16, 0, 0, 0, time.UTC).UnixMicro(), Applied: 1200 + w.counted},
				{Stage: "pipeline", View: "customer", Topic: "orders", Partition: 1, Running: true, Newest: time.Date(2008, 10, 9, 16, 0, 0, 0, time.UTC).UnixMicro(), Applied: 800},
			}
		},
		JoinStats: func(context.Context) (feedback.Stats, error) {
			return feedback.Stats{
				Predictions: feedback.PredictionStats{Total: 500 + w.counted, Pending: 40, Matched: 450 + w.counted, Unanswered: 10},
				Outcomes:    feedback.OutcomeStats{Total: 470},
			}, nil
		},
	}
	w.open()
	return w
}

// open makes the pages of the config as it is.
func (w *world) open() {
	w.t.Helper()
	var err error
	w.Dash, err = New(w.cfg)
	must(w.t, err)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fill puts versions in every state into the registry.
func (w *world) fill() {
	ctx := w.t.Context()
	first := w.candidate("large_order", 1)
	w.serve("large_order", first)
	second := w.candidate("large_order", 2)
	w.judge("large_order", second, 0)
	third := w.candidate("large_order", 3)
	w.judge("large_order", third, 0.9)
	_, err := w.registry.AddRun(ctx, w.run("large_order", registry.Stopped, 4, dataset.Anomaly{Column: "customer.spend_30d", Kind: dataset.Drift, Level: dataset.Error, Detail: "far from the last accepted set"}), nil)
	must(w.t, err)
	onset := time.Date(2008, 9, 29, 0, 0, 0, 0, time.UTC).UnixMicro()
	_, err = w.book.Put(ctx, alarms.Report{Look: onset, Quiet: true, Alarms: []monitor.Alarm{
		{ID: openAlarm, Model: "large_order", Kind: monitor.StdMonitor, Column: "customer.mean_30d", Version: 1, Onset: onset, Value: 3.1, Worst: 3.4, Threshold: 2, Text: "the deviation over 30d is 3.1 times that of the year before, " + hostile},
		{ID: pastAlarm, Model: "large_order", Kind: monitor.DriftMonitor, Column: "score", Version: 1, Onset: onset - 20*day, Over: onset - 2*day, Value: 0.02, Worst: 0.05, Threshold: 0.03, Text: "scores are away from those before"},
	}})
	must(w.t, err)
	must(w.t, w.registry.SetBaseRate(ctx, "next_amount", registry.BaseRate{Value: 37.5, Count: 1234, AsOf: 5}))
}

func (w *world) run(model string, status registry.RunStatus, n int, anomalies ...dataset.Anomaly) registry.Run {
	w.runs++
	began := w.clock.Add(-time.Duration(100-n) * time.Hour)
	run := registry.Run{
		Model: model, Status: status, Began: began, Ended: began.Add(83 * time.Second),
		Spec: json.RawMessage(fmt.Sprintf(`{"model":%q,"task":"binary","set":"5f1c","features":["customer.orders_30d","customer.spend_30d"],"label":"orders next_event amount >= 50.0 within 336h0m0s",
			"learner":"ftrl","params":{"alpha":0.1,"epochs":3,"hash_bits":18},"code":"v1.2.3","topic":"shop.examples","ranges":[{"partition":0,"first":%d,"next":91234}],"window":100000,"known":1223000000000000}`, model, w.runs)),
		Report: json.RawMessage(`{"examples":34567,"label_mean":0.3125,"progressive_loss":0.5512,"base_rate_loss":0.6213}`),
	}
	if status == registry.Trained {
		run.Bundle = fmt.Sprintf("%064x", w.runs)
	} else {
		run.Error = anomalies[0].String()
	}
	if len(anomalies) > 0 {
		run.Anomalies, _ = json.Marshal(anomalies)
	}
	return run
}

func (w *world) candidate(model string, n int) int {
	w.t.Helper()
	run, err := w.registry.AddRun(w.t.Context(), w.run(model, registry.Trained, n, dataset.Anomaly{Column: "customer.mean_30d", Kind: dataset.Presence, Level: dataset.Warning, Detail: "12 % are missing, and 2 % were " + hostile}),
		&registry.Version{Author: "trainer", Cutoff: time.Date(2008, 9, n, 0, 0, 0, 0, time.UTC).UnixMicro()})
	must(w.t, err)
	return run.Version
}

// judge has the gate judge a candidate that is so much better than the champion.
func (w *world) judge(model string, number int, better float64) {
	w.t.Helper()
	s, err := w.registry.Serving(w.t.Context(), model)
	must(w.t, err)
	j := eval.Judge("binary", eval.Gate{Slices: []string{"customer"}, Rows: 1000, Replicates: 1000}, time.Hour, cohort(uint64(number), better))
	j.Inputs = []string{"customer.orders_30d", "customer.spend_30d"}
	j.Importance = []eval.Importance{{Rows: 1000, Inputs: []float64{0.1234, 0.5678}}, {Column: "customer", Value: hostile, Rows: 250, Inputs: []float64{0.4321, 0.8765}}}
	report, err := json.Marshal(j)
	must(w.t, err)
	must(w.t, w.registry.Judge(w.t.Context(), model, number, registry.Judgement{Verdict: string(j.Verdict), Reasons: j.Reasons, Report: report, Baseline: s.Champion, At: time.Date(2008, 9, 20+number, 0, 0, 0, 0, time.UTC).UnixMicro()}))
}

// cohort is rows of which the candidate knows more than the champion.
func cohort(seed uint64, better float64) *eval.Cohort {
	random := rand.New(rand.NewPCG(seed, 1))
	c := &eval.Cohort{Slices: map[string][]string{}}
	for i := range 2000 {
		x := random.NormFloat64()
		label := 0.0
		if random.Float64() < 1/(1+math.Exp(-x)) {
			label = 1
		}
		c.Time = append(c.Time, int64(i)*time.Hour.Microseconds())
		c.Label = append(c.Label, label)
		c.Champion = append(c.Champion, 0.5)
		c.Candidate = append(c.Candidate, 1/(1+math.Exp(-better*x-(1-better)*random.NormFloat64())))
		c.Slices["customer"] = append(c.Slices["customer"], []string{"anna", "bob", "carol", hostile}[random.IntN(4)])
	}
	return c
}

// serve brings a candidate through review and rollout into service.
func (w *world) serve(model string, number int) {
	w.t.Helper()
	ctx, r := w.t.Context(), w.registry
	w.judge(model, number, 1)
	must(w.t, r.Approve(ctx, model, number, "bob", "looks right "+hostile))
	ro, err := r.Begin(ctx, model, number, nil)
	must(w.t, err)
	must(w.t, r.Switch(ctx, ro.ID, nil))
	must(w.t, r.Finish(ctx, ro.ID, json.RawMessage(`{"answers":1000,"awaited":0,"blocks":9,"worse_by":-0.0123,"worse_by_at_least":null,"unanswered":3,"unpaired":0}`)))
}

// get asks for a page.
func (w *world) get(path string) *httptest.ResponseRecorder {
	w.t.Helper()
	return w.ask(httptest.NewRequestWithContext(w.t.Context(), http.MethodGet, path, nil))
}

func (w *world) ask(r *http.Request) *httptest.ResponseRecorder {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	if got := rec.Header().Get("Content-Security-Policy"); got != policy {
		w.t.Errorf("%s %s: policy %q", r.Method, r.URL, got)
	}
	return rec
}

// post sends a form from a page of ours, with the token of who acts.
func (w *world) post(path string, pairs ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	return w.ask(w.form(path, append(pairs, tokenName, w.token("anna"))...))
}

func (w *world) form(path string, pairs ...string) *http.Request {
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	r := httptest.NewRequestWithContext(w.t.Context(), http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return r
}

var errAway = errors.New("the store is away")
