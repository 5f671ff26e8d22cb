package observe_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/observe"
)

// grafana is the folder of the dashboard and the rules.
var grafana = filepath.Join("..", "grafana")

// scrapeLoop is what Prometheus gets from a project in which an order was applied and
// a prediction has met its outcome.
func scrapeLoop(t *testing.T) string {
	t.Helper()
	receive(t)
	traces := newTraces(t, io.Discard)
	l := startLoop(t, traces)
	l.order("", 1)
	l.post("/v1/predict/large", "", `{"id": "p1", "entity": {"customer": "anna"}}`)
	l.post("/v1/outcomes/large", "", fmt.Sprintf(`{"id": "p1", "value": true, "time": %q}`, time.Now().UTC().Add(time.Second).Format(time.RFC3339)))
	if err := l.metrics.Monitors(func() []observe.MonitorStatus {
		return []observe.MonitorStatus{{Model: "large", Open: 2, Unacknowledged: 1, Undelivered: 3, Monitors: 9, Alarmed: 4, Behind: 7, Look: 1.7e9}, {Model: "next"}}
	}); err != nil {
		t.Fatal(err)
	}
	matched := regexp.MustCompile(`millrace_join_predictions{[^}]*state="matched"} 1\n`)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		w := httptest.NewRecorder()
		l.metrics.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if text := w.Body.String(); matched.MatchString(text) {
			return text
		} else if time.Now().After(deadline) {
			t.Fatalf("no prediction is matched in:\n%s", text)
		}
	}
}

// TestFigures looks at what the loop and its monitors show.
func TestFigures(t *testing.T) {
	text := scrapeLoop(t)
	for _, line := range []string{
		`millrace_event_readable_seconds_count{view="spend"} 1`,
		`millrace_event_readable_seconds_bucket{view="spend",le="+Inf"} 1`,
		`millrace_event_readable_seconds_bucket{view="spend",le="7200"} 1`,
		`millrace_alarms_open{model="large"} 2`,
		`millrace_alarms_unacknowledged{model="large"} 1`,
		`millrace_alarms_undelivered{model="large"} 3`,
		`millrace_monitors{model="large"} 9`,
		`millrace_monitors_alarmed{model="large"} 4`,
		`millrace_monitors_lag{model="large"} 7`,
		`millrace_monitors_look_event_time_seconds{model="large"} 1.7e+09`,
		`millrace_alarms_open{model="next"} 0`,
		`millrace_spool_limit_bytes 6.7108864e+07`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("there is no %s", line)
		}
	}
	if strings.Contains(text, `look_event_time_seconds{model="next"}`) {
		t.Error("monitors that have never looked say when")
	}
	pending := regexp.MustCompile(`millrace_join_predictions{[^}]*state="pending"} ([1-9])`)
	if m := pending.FindStringSubmatch(text); m != nil {
		t.Errorf("%s predictions are pending", m[1])
	}
	if t.Failed() {
		t.Log(text)
	}
}

// exported returns the names of series in a scrape.
func exported(text string) map[string]bool {
	names := map[string]bool{}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			names[line[:strings.IndexAny(line, "{ ")]] = true
		}
	}
	return names
}

// A panel is what a test wants of one; rows have panels in them.
type panel struct {
	Title, Type string
	Targets     []struct{ Expr string }
	Panels      []panel
}

// queries returns what the dashboard asks Prometheus, by the panel's title.
func queries(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(grafana, "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels     []panel
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
		Annotations struct{ List []struct{ Name, Expr string } }
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, p := range board.Panels {
		for _, p := range append([]panel{p}, p.Panels...) {
			for _, target := range p.Targets {
				out[p.Title] = append(out[p.Title], target.Expr)
			}
			if p.Type != "row" && len(p.Targets) == 0 {
				t.Errorf("panel %q asks nothing", p.Title)
			}
		}
	}
	for _, v := range board.Templating.List {
		if v.Type == "query" {
			out["variable "+v.Name] = append(out["variable "+v.Name], v.Definition)
		}
	}
	for _, a := range board.Annotations.List {
		out[a.Name] = append(out[a.Name], a.Expr)
	}
	return out
}

// named finds the names of our series, and those of the process, in PromQL. Labels
// begin otherwise.
var named = regexp.MustCompile(`\b(?:(?:millrace|http_server|process|go)_[a-z0-9_]+|target_info)`)

// TestNames wants every series that the dashboard and the rules name to be exported.
func TestNames(t *testing.T) {
	names := exported(scrapeLoop(t))
	n := 0
	check := func(where, text string) {
		for _, name := range named.FindAllString(text, -1) {
			if n++; !names[name] {
				t.Errorf("%s: there is no series %s", where, name)
			}
		}
	}
	for title, all := range queries(t) {
		for _, expr := range all {
			check("panel "+title, expr)
		}
	}
	for _, file := range []string{"alerts.yaml", "alerts_test.yaml"} {
		text, err := os.ReadFile(filepath.Join(grafana, file))
		if err != nil {
			t.Fatal(err)
		}
		check(file, string(text))
	}
	if n < 50 {
		t.Errorf("%d names were found in the dashboard and the rules", n)
	}
}
