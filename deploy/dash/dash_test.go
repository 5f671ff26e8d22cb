package dash

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/trainer/dataset"
	"github.com/millrace/millrace/trainer/eval"
)

// paths are addresses of every kind of page.
var paths = []string{
	"/ui/", "/ui/models", "/ui/models?q=large", "/ui/models?q=none", "/ui/models?state=review", "/ui/models/large_order", "/ui/models/large_order?metric=gain", "/ui/models/large_order?metric=auc&below=3",
	"/ui/models/next_amount", "/ui/models/large_order/1", "/ui/models/large_order/2", "/ui/models/large_order/3", "/ui/runs/large_order/1", "/ui/runs/large_order/4",
	"/ui/alarms", "/ui/alarms?show=all", "/ui/alarms?show=open&model=large_order", "/ui/alarms?model=next_amount", "/ui/alarms?model=%3Cscript%3E", "/ui/whatif",
}

func TestEveryPage(t *testing.T) {
	w := newWorld(t)
	for _, path := range paths {
		rec := w.get(path)
		if rec.Code != http.StatusOK {
			t.Errorf("GET %s: %d %s", path, rec.Code, rec.Body)
		}
		if kind := rec.Header().Get("Content-Type"); kind != "text/html; charset=utf-8" {
			t.Errorf("GET %s: type %q", path, kind)
		}
		fine(t, path, rec.Body.String())
	}
	if rec := w.get("/"); rec.Code != http.StatusSeeOther || rec.Header().Get("Location") != "/ui/" {
		t.Errorf("GET /: %d to %q", rec.Code, rec.Header().Get("Location"))
	}
}

// Where a project has no models, or nothing has happened yet, pages say what to do.
func TestPagesOfNothing(t *testing.T) {
	w := newWorld(t)
	var err error
	w.Dash, err = New(Config{Project: &project.Project{Name: "shop"}, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	for _, path := range []string{"/ui/", "/ui/models", "/ui/alarms", "/ui/whatif"} {
		rec := w.get(path)
		if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "models:") && !strings.Contains(rec.Body.String(), "monitor: off") {
			t.Errorf("GET %s: %d %s", path, rec.Code, rec.Body)
		}
		fine(t, path, rec.Body.String())
	}
	empty, err := registry.Open(t.TempDir() + "/registry.db")
	must(t, err)
	defer empty.Close()
	w.cfg.Registry = empty
	w.open()
	for _, path := range []string{"/ui/", "/ui/models", "/ui/models/large_order"} {
		rec := w.get(path)
		if rec.Code != http.StatusOK {
			t.Errorf("GET %s: %d %s", path, rec.Code, rec.Body)
		}
		fine(t, path, rec.Body.String())
	}
}

func TestNew(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("pages of no project")
	}
}

// Errors are pages, too, with what to do and the policy.
func TestErrors(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		method, path string
		status       int
		says         string
	}{
		{"GET", "/ui/none", 404, "navigation"},
		{"GET", "/ui/models/none", 404, "no model none"},
		{"GET", "/ui/models/" + "%3Cscript%3Ealert(%22x%22)%3C%2Fscript%3E", 404, "no model"},
		{"GET", "/ui/models/large_order/9", 404, "no version 9"},
		{"GET", "/ui/models/large_order/x", 404, "is no number"},
		{"GET", "/ui/models/large_order/0", 404, "is no number"},
		{"GET", "/ui/runs/next_amount/1", 404, "no training 1"},
		{"GET", "/ui/runs/large_order/x", 404, "no training x"},
		{"GET", "/ui/static/none.css", 404, "no file"},
		{"GET", "/ui/static/..%2Fdash.go", 404, "no file"},
		{"POST", "/ui/models", 405, "GET only"},
		{"DELETE", "/ui/models/large_order/3/approve", 405, "POST only"},
		{"GET", "/ui/models/large_order/3/approve", 405, "POST only"},
		{"GET", "/ui/models/large_order/rollback", 404, "is no number"},
	} {
		rec := w.ask(httptest.NewRequestWithContext(t.Context(), c.method, c.path, nil))
		if rec.Code != c.status || !strings.Contains(rec.Body.String(), c.says) {
			t.Errorf("%s %s: %d %s", c.method, c.path, rec.Code, rec.Body)
		}
		fine(t, c.path, rec.Body.String())
	}
}

// A registry that cannot be read is an error page, and the overview's picture says
// so.
func TestRegistryAway(t *testing.T) {
	w := newWorld(t)
	w.registry.Close()
	rec := w.get("/ui/models")
	if rec.Code != http.StatusInternalServerError || !strings.Contains(rec.Body.String(), "This page failed") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	fine(t, "/ui/models", rec.Body.String())
	if s, _ := w.now(t.Context()); s.Levels["training"] != "bad" {
		t.Errorf("levels %v", s.Levels)
	}
}

func TestStatic(t *testing.T) {
	w := newWorld(t)
	body := w.get("/ui/").Body.String()
	for name, a := range w.assets {
		rec := w.get("/ui/static/" + name)
		if rec.Code != http.StatusOK || rec.Header().Get("Content-Type") != a.kind || rec.Header().Get("Cache-Control") != "no-cache" || rec.Body.String() != string(a.content) {
			t.Errorf("%s: %d %v", name, rec.Code, rec.Header())
		}
		address, err := w.asset(name)
		must(t, err)
		if rec := w.get(address); !strings.Contains(rec.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %v", address, rec.Header())
		}
		again := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/ui/static/"+name, nil)
		again.Header.Set("If-None-Match", rec.Header().Get("ETag"))
		if rec := w.ask(again); rec.Code != http.StatusNotModified || rec.Body.Len() > 0 {
			t.Errorf("%s again: %d with %d bytes", name, rec.Code, rec.Body.Len())
		}
	}
	for _, name := range []string{"app.css", "live.js"} {
		if address, _ := w.asset(name); !strings.Contains(body, address) {
			t.Errorf("the overview does not load %s", address)
		}
	}
	if _, err := w.asset("none"); err == nil {
		t.Error("there is an address of no file")
	}
}

// Lists of a large project are cut, and searched on the server.
func TestManyModels(t *testing.T) {
	var b strings.Builder
	b.WriteString(shop)
	for i := range 50 {
		fmt.Fprintf(&b, "  model_%02d:\n    task: regression\n    features: [customer.mean_30d]\n    label: {source: orders, join: next_event, value: amount, horizon: 14d}\n    learner: {ftrl: {}}\n", i)
	}
	w := newWorld(t)
	w.cfg.Project = parse(t, b.String())
	w.open()
	rows := func(path string) int { return strings.Count(w.get(path).Body.String(), `<th scope="row">`) }
	for path, want := range map[string]int{"/ui/": overviewModels, "/ui/models": perPage, "/ui/models?page=2": 2, "/ui/models?page=99": 2, "/ui/models?page=-1": perPage, "/ui/models?q=MODEL_1": 10, "/ui/models?q=model&page=1": 50} {
		if got := rows(path); got != want {
			t.Errorf("GET %s: %d rows, want %d", path, got, want)
		}
	}
	for _, path := range []string{"/ui/", "/ui/models"} {
		fine(t, path, w.get(path).Body.String())
	}
}

// The versions of a model that has had many are cut, too, and all can be reached.
func TestManyVersions(t *testing.T) {
	w := newWorld(t)
	for i := range 3 * versionsPerPage {
		w.candidate("next_amount", i%28+1)
	}
	seen := 0
	for path, pages := "/ui/models/next_amount", 0; path != "" && pages < 10; pages++ {
		body := w.get(path).Body.String()
		rows := strings.Count(body, `<th scope="row">`)
		if seen += rows; rows > versionsPerPage {
			t.Errorf("GET %s: %d rows", path, rows)
		}
		_, after, more := strings.Cut(body, `<a href="/ui/models/next_amount?below=`)
		if path = ""; more {
			number, _, _ := strings.Cut(after, `"`)
			path = "/ui/models/next_amount?below=" + number
		}
	}
	if seen != 3*versionsPerPage {
		t.Errorf("the pages have %d versions, and there are %d", seen, 3*versionsPerPage)
	}
}

// Documents of another millrace, and long ones, are shown as far as they go.
func TestOddDocuments(t *testing.T) {
	w := newWorld(t)
	run := w.run("next_amount", registry.Trained, 1)
	many := make([]dataset.Anomaly, 3*anomaliesShown)
	for i := range many {
		many[i] = dataset.Anomaly{Kind: dataset.Drift, Level: dataset.Warning, Detail: "far"}
	}
	var err error
	run.Anomalies, err = json.Marshal(many)
	must(t, err)
	run.Spec, run.Report = json.RawMessage(`[1,"two",{"three":null}]`), json.RawMessage(`"`+strings.Repeat("x", 1<<16)+`"`)
	run, err = w.registry.AddRun(t.Context(), run, &registry.Version{Author: "trainer"})
	must(t, err)
	must(t, w.registry.Judge(t.Context(), "next_amount", run.Version, registry.Judgement{Verdict: "reject", Reasons: []string{hostile}, Report: json.RawMessage(`{"loss":"high"}`)}))
	for _, path := range []string{"/ui/models/next_amount", "/ui/models/next_amount/1", fmt.Sprintf("/ui/runs/next_amount/%d", run.ID)} {
		rec := w.get(path)
		if rec.Code != http.StatusOK || rec.Body.Len() > 64<<10 {
			t.Errorf("GET %s: %d with %d bytes", path, rec.Code, rec.Body.Len())
		}
		fine(t, path, rec.Body.String())
	}
}

func TestLiveFigures(t *testing.T) {
	w := newWorld(t)
	s, _ := w.now(t.Context())
	for key, want := range map[string]string{
		"events.main": none, "events.sub": "2,000 read", "features.main": "3 features", "features.sub": "3 behind", "predictions.sub": "40 open", "lag": "3 records", "newest": "2008-10-10 16:00:00",
		"review.main": "1 waiting", "serving.main": "1 of 2", "training.main": "3 versions", "dead": "0", "alarms": "1",
	} {
		if got := s.Figures[key]; got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	if s.Levels["review"] != "wait" {
		t.Errorf("levels %v", s.Levels)
	}
	w.counted = 100
	if again, _ := w.now(t.Context()); again.Figures["events.sub"] != "2,000 read" {
		t.Error("it is counted again within a second")
	}
	w.clock = w.clock.Add(20 * time.Second)
	s, _ = w.now(t.Context())
	if s.Figures["events.main"] != "5.0/s" || s.Figures["predictions.main"] != "5.0/s" || s.Figures["outcomes.main"] != "0/s" {
		t.Errorf("20 seconds and 100 events later: %v", s.Figures)
	}
	w.clock = w.clock.Add(2 * rateUntil)
	if s, _ = w.now(t.Context()); s.Figures["events.main"] != none {
		t.Errorf("after a long time: %q", s.Figures["events.main"])
	}
	before := s.Revision
	must(t, w.registry.Approve(t.Context(), "large_order", 3, "bob", ""))
	w.clock = w.clock.Add(time.Second)
	if s, _ = w.now(t.Context()); s.Revision == before || s.Figures["rollout.main"] != "1 under way" {
		t.Errorf("after an approval: revision %s as before, %v", s.Revision, s.Figures)
	}
	w.cfg.JoinStats = func(context.Context) (feedback.Stats, error) { return feedback.Stats{}, errAway }
	w.open()
	if s, _ = w.now(t.Context()); s.Levels["predictions"] != "bad" {
		t.Errorf("the store is away: %v", s)
	}
}

// TestImportance wants the inputs of a judged version, the most important first,
// and no table where the report does not fit together.
func TestImportance(t *testing.T) {
	j := eval.Judgement{Inputs: []string{"a", "b", "c"}, Importance: []eval.Importance{{Rows: 9, Inputs: []float64{0.1, 0.3, 0.2}}, {Column: "city", Value: "Rome", Rows: 4, Inputs: []float64{0.5, 0, 0}}}}
	table := importanceOf(&j)
	if table == nil || len(table.Slices) != 2 || table.Inputs[0].Input != "b" || table.Inputs[2].Input != "a" || table.Inputs[2].Means[1] != 0.5 || table.More != 0 {
		t.Errorf("%+v", table)
	}
	j.Importance[1].Inputs = nil
	if importanceOf(&j) != nil || importanceOf(&eval.Judgement{}) != nil {
		t.Error("a table of nothing")
	}
}
