//go:build python

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/millrace/millrace/deploy/client"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/loadtest/stocks"
)

// A pythonModel is a champion, and what it sees.
type pythonModel struct {
	*pythonWorld
	name, bundle string
	version      int
	inputs       []string
	texts        []string
}

// served returns the champion of a model, and checks what is said of it.
func (w *pythonWorld) served(name string) *pythonModel {
	m := &pythonModel{pythonWorld: w, name: name}
	var list modelList
	w.millrace(&list, "models", "list", name)
	m.version = list.Serving[0].Champion
	var page versionPage
	w.millrace(&page, "models", "show", name, fmt.Sprint(m.version))
	if page.Learner != "exec" || page.State != registry.Champion || page.Reviewer == "" || page.Comment != "as good as Python" {
		w.Errorf("%s: %+v", name, page.versionView)
	}
	var spec struct {
		Features []string
		Params   struct {
			Exec   []string
			Params map[string]float64
		}
	}
	w.must(json.Unmarshal(page.Lineage.Spec, &spec))
	if len(spec.Params.Exec) != 3 || spec.Params.Exec[1] != "keep.py" || len(spec.Params.Params) == 0 {
		w.Errorf("%s was trained by %s", name, page.Lineage.Spec)
	}
	var report struct {
		Examples  int
		Agreement *float64
		Program   map[string]any
	}
	w.must(json.Unmarshal(page.Lineage.Report, &report))
	if report.Examples < 5000 || report.Agreement == nil || *report.Agreement > 1e-5 || len(report.Program) == 0 {
		w.Errorf("%s: the report of its training: %s", name, page.Lineage.Report)
	}
	m.bundle, m.inputs = w.file("data/models/"+page.Bundle), spec.Features
	for _, in := range m.inputs {
		if in == "daily.ticker" {
			m.texts = append(m.texts, in)
		}
	}
	return m
}

// A pythonAnswer is what Python says of rows.
type pythonAnswer struct {
	Scores        []float64
	Contributions [][]float64
}

// inPython has the model that the program kept score rows.
func (m *pythonModel) inPython(rows [][]any) (a pythonAnswer) {
	m.Helper()
	weights, err := os.ReadFile(filepath.Join(m.bundle, "weights.bin"))
	m.must(err)
	sum := sha256.Sum256(weights)
	ask, err := json.Marshal(map[string]any{"columns": m.inputs, "texts": append([]string{}, m.texts...), "rows": rows})
	m.must(err)
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(m.Context(), m.python, "testdata/python/score.py", filepath.Join(m.kept, hex.EncodeToString(sum[:])))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(ask), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		m.Fatalf("%v: %s", err, &stderr)
	}
	m.must(json.Unmarshal(stdout.Bytes(), &a))
	if len(a.Scores) != len(rows) {
		m.Fatalf("%d scores of %d rows", len(a.Scores), len(rows))
	}
	return a
}

// near is how far what is served may be from what Python says: many times what
// float32 rounds.
const near = 1e-5

// golden holds the scores of a bundle's own rows against Python.
func (m *pythonModel) golden() {
	text, err := os.ReadFile(filepath.Join(m.bundle, "golden.json"))
	m.must(err)
	var golden struct {
		Rows []struct {
			X     []any
			Score float64
		}
	}
	m.must(json.Unmarshal(text, &golden))
	rows := make([][]any, len(golden.Rows))
	for i, r := range golden.Rows {
		rows[i] = r.X
	}
	for i, want := range m.inPython(rows).Scores {
		if got := golden.Rows[i].Score; !(math.Abs(got-want) <= near) {
			m.Errorf("%s: golden row %d, %v: %v, and %v in Python", m.name, i, rows[i], got, want)
		}
	}
}

// A pythonCase is a question, and the row that the model sees of it.
type pythonCase struct {
	symbol string
	ret    any // nil: missing
	row    []any
}

// cases are questions about symbols with many returns, and without one. The rows
// are looked up. Of FB nothing is known in the years that are replayed.
func (m *pythonModel) cases() (cases []pythonCase) {
	q := client.LookupRequest{Entities: map[string][]any{}, Request: map[string][]any{}}
	for _, in := range m.inputs {
		q.Features = append(q.Features, strings.Replace(in, ".", ":", 1))
	}
	for i := -20; i <= 20; i++ {
		var ret any
		if i != 0 {
			ret = float64(i) / 173
		}
		for _, symbol := range []string{"AAPL", "FB", "GOOG", "IBM", "MSFT"} {
			cases = append(cases, pythonCase{symbol: symbol, ret: ret})
			q.Entities[stocks.Entity] = append(q.Entities[stocks.Entity], symbol)
			q.Request["ret"] = append(q.Request["ret"], ret)
		}
	}
	got, err := m.client.Lookup(m.Context(), q)
	m.must(err)
	columns := got.Columns[1:] // after the symbol
	if len(columns) != len(m.inputs) {
		m.Fatalf("%d columns of %v", len(columns), m.inputs)
	}
	for i := range cases {
		for _, c := range columns {
			cases[i].row = append(cases[i].row, c.Values[i])
		}
	}
	return cases
}

// A servedAnswer is the answer to a prediction, as it is sent.
type servedAnswer struct {
	Score       float64
	Version     int
	Explanation *struct {
		Score, Base   float64
		Contributions map[string]float64
	}
	NoExplanation string `json:"no_explanation"`
}

// ask asks the server for a prediction.
func (m *pythonModel) ask(c *pythonCase, explain bool) (a servedAnswer) {
	m.Helper()
	body, err := json.Marshal(map[string]any{"entity": map[string]any{stocks.Entity: c.symbol}, "request": map[string]any{"ret": c.ret}, "explain": explain})
	m.must(err)
	req, err := http.NewRequestWithContext(m.Context(), http.MethodPost, m.url+"/v1/predict/"+m.name, bytes.NewReader(body))
	m.must(json.Unmarshal([]byte(m.page(req, err)), &a))
	if a.Version != m.version {
		m.Fatalf("%s: version %d answers, and the champion is %d", m.name, a.Version, m.version)
	}
	return a
}

// answers holds what is served against Python, and that the questions matter.
func (m *pythonModel) answers(cases []pythonCase) {
	rows := make([][]any, len(cases))
	for i := range cases {
		rows[i] = cases[i].row
	}
	different, most := map[float64]bool{}, 0.0
	for i, want := range m.inPython(rows).Scores {
		got := m.ask(&cases[i], false).Score
		if most = max(most, math.Abs(got-want)); !(math.Abs(got-want) <= near) {
			m.Errorf("%s: %s with %v, which is %v: %v is served, and %v in Python", m.name, cases[i].symbol, cases[i].ret, rows[i], got, want)
		}
		different[got] = true
	}
	if m.Logf("%s: %d questions, %d different scores, at most %g from Python", m.name, len(cases), len(different), most); len(different) < 20 {
		m.Errorf("%s: the scores of %d questions are only %d", m.name, len(cases), len(different))
	}
}

// explained holds contributions against those of XGBoost, and their sum against the
// score.
func (m *pythonModel) explained(cases []pythonCase) {
	rows := make([][]any, len(cases))
	for i := range cases {
		rows[i] = cases[i].row
	}
	for i, want := range m.inPython(rows).Contributions {
		a := m.ask(&cases[i], true)
		e := a.Explanation
		if e == nil || len(e.Contributions) != len(m.inputs) || !slices.Equal(sortedKeys(e.Contributions), slices.Sorted(slices.Values(m.inputs))) {
			m.Fatalf("%s is explained by %+v (%s)", cases[i].symbol, e, a.NoExplanation)
		}
		sum := e.Base
		for k, name := range m.inputs {
			if sum += e.Contributions[name]; !(math.Abs(e.Contributions[name]-want[k]) <= 10*near) {
				m.Errorf("%s with %v: %s contributes %v, and %v in Python", cases[i].symbol, cases[i].ret, name, e.Contributions[name], want[k])
			}
		}
		logOdds := math.Log(a.Score / (1 - a.Score))
		if math.Abs(sum-logOdds) > 1e-9 || math.Abs(e.Score-logOdds) > 1e-9 {
			m.Errorf("%s with %v: contributions add up to %v, the score says %v, and the log-odds of the answer are %v", cases[i].symbol, cases[i].ret, sum, e.Score, logOdds)
		}
		if base := want[len(m.inputs)]; !(math.Abs(e.Base-base) <= 10*near) {
			m.Errorf("the base is %v, and %v in Python", e.Base, base)
		}
	}
}

func sortedKeys(m map[string]float64) []string { return slices.Sorted(maps.Keys(m)) }
