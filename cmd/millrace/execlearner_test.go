//go:build python

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/client"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/loadtest/stocks"
)

// pythonModels are learned by the samples of trainer/external, of the events of the
// demo. A return that is asked about makes as many different questions as one likes.
const pythonModels = `
kafka: {embedded_port: $BROKER}
http: {listen: "127.0.0.1:$HTTP"}
models:
  pipeline: # of scikit-learn, as ONNX
    task: binary
    features: [daily.ticker, daily.days_30d, daily.ret_z, daily.volume_ratio, daily.log_range_last, daily.log_range_30d, daily.log_range_180d, daily.big_share_365d]
    label: {source: prices, join: next_event, value: abs(close / open - 1.0) >= 0.02, horizon: 10d}
    learner:
      exec: {command: [$PYTHON, keep.py, sklearn_train.py], params: {C: 0.5}, env: [MODELS_KEPT], timeout: 5m}
    train: {every: 5000 examples, at_most: 1 a day}
    gate: {rows: 1000, slices: [symbol]}
    review: required
    rollout: {shadow: 50 predictions, watch: 500 answers}
  trees: # of XGBoost
    task: binary
    features: [daily.days_30d, daily.ret_z, daily.volume_ratio, daily.log_range_last, daily.log_range_30d, daily.log_range_180d, daily.big_share_365d]
    label: {source: prices, join: next_event, value: abs(close / open - 1.0) >= 0.02, horizon: 10d}
    learner:
      exec: {command: [$PYTHON, keep.py, xgboost_train.py], params: {max_depth: 3, learning_rate: 0.05}, env: [MODELS_KEPT], timeout: 5m}
    train: {every: 5000 examples, at_most: 1 a day}
    gate: {rows: 1000, slices: [symbol]}
    review: required
    rollout: {shadow: 50 predictions, watch: 500 answers}
`

// TestPythonModelsServe has models of Python trained, judged, approved on the page
// and brought into service, and holds what they answer against Python.
func TestPythonModelsServe(t *testing.T) {
	w := newPythonWorld(t)
	w.replay("pipeline", "trees")
	for _, model := range []string{"pipeline", "trees"} {
		version := w.inReview(model)
		w.approve(model, version)
		w.serve(model, version)
	}

	pipeline := w.served("pipeline")
	pipeline.golden()
	cases := pipeline.cases()
	pipeline.answers(cases)
	explained, plain := pipeline.ask(&cases[0], true), pipeline.ask(&cases[0], false)
	if explained.Explanation != nil || !strings.Contains(explained.NoExplanation, "has no contributions") {
		t.Errorf("ONNX is explained: %+v", explained)
	}
	if explained.Score != plain.Score || plain.NoExplanation != "" {
		t.Errorf("%+v with the wish to be explained, and %+v without", explained, plain)
	}

	trees := w.served("trees")
	trees.golden()
	cases = trees.cases()
	trees.answers(cases)
	trees.explained(cases[:30])
}

// A pythonWorld is a running project of the demo's events.
type pythonWorld struct {
	*testing.T
	python, dir, kept, url string
	client                 *client.Client
}

func newPythonWorld(t *testing.T) *pythonWorld {
	w := &pythonWorld{T: t, python: os.Getenv("MILLRACE_PYTHON"), dir: t.TempDir(), kept: t.TempDir()}
	if w.python == "" {
		t.Fatal("MILLRACE_PYTHON is not the path of a python3: run make test-python")
	}
	env := map[string]string{"PYTHON": w.python}
	for _, name := range []string{"HTTP", "BROKER"} {
		port, err := freePort()
		w.must(err)
		env[name] = port
	}
	views, _, ok := strings.Cut(string(stocks.ProjectFile()), "\nmodels:\n")
	if !ok {
		t.Fatal("the demo's project file has no models")
	}
	models := os.Expand(pythonModels, func(name string) string { return env[name] })
	w.must(os.WriteFile(w.file("project.yaml"), []byte(views+models), 0o644))
	for _, from := range []string{"testdata/python/keep.py", "../../trainer/external/testdata/sklearn_train.py", "../../trainer/external/testdata/xgboost_train.py"} {
		text, err := os.ReadFile(from)
		w.must(err)
		w.must(os.WriteFile(w.file(filepath.Base(from)), text, 0o644))
	}
	w.url = "http://127.0.0.1:" + env["HTTP"]
	w.start()
	var err error
	w.client, err = client.New(w.url)
	w.must(err)
	t.Cleanup(w.client.Close)
	w.until("the server", func() bool { return w.client.Ready(t.Context()) == nil })
	return w
}

func (w *pythonWorld) file(name string) string { return filepath.Join(w.dir, name) }

func (w *pythonWorld) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// until waits for what takes seconds.
func (w *pythonWorld) until(what string, is func() bool) {
	w.Helper()
	for deadline := time.Now().Add(2 * patience); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("waited in vain for %s", what)
		}
	}
}

// start runs the project in a process of its own, until the test ends.
func (w *pythonWorld) start() {
	said := &bytes.Buffer{}
	cmd := exec.Command("millrace", "run", "-p", w.file("project.yaml"))
	cmd.Stderr, cmd.Env = said, append(os.Environ(), "MODELS_KEPT="+w.kept)
	w.must(cmd.Start())
	w.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		stop := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer stop.Stop()
		if err := cmd.Wait(); err != nil || strings.Contains(said.String(), "level=ERROR") || w.Failed() {
			w.Errorf("the server ended with %v:\n%s", err, said)
		}
	})
}

// replayed is how many events are enough for a training and a judgement.
const replayed = 7500

// replay writes the events day by day, and asks for predictions after each day.
func (w *pythonWorld) replay(models ...string) {
	for _, day := range stocks.Days(stocks.Events()[:replayed]) {
		lines := make([]any, len(day))
		for i := range day {
			lines[i] = json.RawMessage(day[i].JSON)
		}
		at, err := w.client.Ingest(w.Context(), stocks.Source, lines...)
		w.must(err)
		for i := range day {
			q := client.PredictRequest{ID: day[i].ID(), Entity: map[string]any{stocks.Entity: day[i].Symbol}, AtLeast: at}
			if ret, ok := day[i].Return(); ok {
				q.Request = map[string]any{"ret": ret}
			}
			for _, model := range models {
				_, err := w.client.Predict(w.Context(), model, q)
				w.must(err)
			}
		}
	}
}

// millrace runs a command on the project and decodes what it prints.
func (w *pythonWorld) millrace(into any, args ...string) {
	w.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(w.Context(), "millrace", append(args, "-p", w.file("project.yaml"), "--json")...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		w.Fatalf("millrace %v: %v: %s", args, err, &stderr)
	}
	w.must(json.Unmarshal(stdout.Bytes(), into))
}

// inReview waits until a version of the model is in review.
func (w *pythonWorld) inReview(model string) (version int) {
	w.until("a version of "+model+" in review", func() bool {
		var list modelList
		w.millrace(&list, "models", "list", model)
		for _, v := range list.Versions {
			switch v.State {
			case registry.Judging:
			case registry.Review:
				version = v.Version
			default:
				w.Fatalf("version %d of %s is %s: %v", v.Version, model, v.State, v.Reasons)
			}
		}
		var runs struct{ Runs []runView }
		w.millrace(&runs, "runs", "list", model)
		for _, r := range runs.Runs {
			if r.Error != "" {
				w.Fatalf("run %d of %s: %s", r.ID, model, r.Error)
			}
		}
		return version != 0
	})
	return version
}

// approve sends the form that the page of a version has, as a browser does.
func (w *pythonWorld) approve(model string, version int) {
	w.Helper()
	path := fmt.Sprintf("/ui/models/%s/%d", model, version)
	page := w.page(http.NewRequestWithContext(w.Context(), http.MethodGet, w.url+path, nil))
	form := regexp.MustCompile(`(?s)<form method="post" action="([^"]*/approve)">.*?</form>`).FindStringSubmatch(page)
	if form == nil {
		w.Fatalf("the page offers no approval:\n%s", page)
	}
	fields := url.Values{"comment": {"as good as Python"}}
	for _, hidden := range regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`).FindAllStringSubmatch(form[0], -1) {
		fields.Set(hidden[1], html.UnescapeString(hidden[2]))
	}
	req, err := http.NewRequestWithContext(w.Context(), http.MethodPost, w.url+html.UnescapeString(form[1]), strings.NewReader(fields.Encode()))
	if err == nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", w.url)
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	if page := w.page(req, err); !strings.Contains(page, "Approved. It goes into shadow now") {
		w.Fatalf("the page after the approval:\n%s", page)
	}
}

// page asks for a page, and follows where it leads to.
func (w *pythonWorld) page(req *http.Request, err error) string {
	w.Helper()
	w.must(err)
	res, err := http.DefaultClient.Do(req)
	w.must(err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	w.must(err)
	if res.StatusCode != http.StatusOK {
		w.Fatalf("%s %s: %s\n%s", req.Method, req.URL, res.Status, text)
	}
	return string(text)
}

// serve asks for predictions until the approved version answers: it has then been in
// shadow.
func (w *pythonWorld) serve(model string, version int) {
	w.Helper()
	w.until(fmt.Sprintf("version %d of %s in service", version, model), func() bool {
		for range 10 {
			p, err := w.client.Predict(w.Context(), model, client.PredictRequest{Entity: map[string]any{stocks.Entity: "AAPL"}})
			w.must(err)
			if p.Version != 0 && p.Version != version || p.Degraded != "" {
				w.Fatalf("version %d answers: %s", p.Version, p.Degraded)
			}
			if p.Version == version {
				return true
			}
		}
		return false
	})
}
