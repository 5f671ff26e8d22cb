//go:build measure

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/deploy/serve"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/codec"
	"github.com/millrace/millrace/streams/pipeline"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/eval"
)

// What the pages are measured with: 1,000 features, 50 models with 40 versions each,
// and a million predictions and as many events in topics and lake.
const (
	busyDays     = 500
	busyEvents   = 2000 // a day
	busyModels   = 50
	busyWatched  = 6 // of them: finding the thresholds of a model takes two seconds or more
	busyVersions = 40
	busyWho      = 5000
	busyAsked    = 100 // requests of a page
)

// TestMeasurePages prints how long pages take, while the monitors catch up with the
// log and after that. It asserts no time.
//
//	go test -tags measure -run MeasurePages -v -timeout 30m ./cmd/millrace
func TestMeasurePages(t *testing.T) {
	b := newBusy(t)
	b.write()
	b.archive()
	w, err := newWatch(b.opened)
	check(t, err)
	var c serve.Config
	c.JoinStats = func(ctx context.Context) (feedback.Stats, error) {
		return pipeline.JoinStats(ctx, b.project.Name, b.store, b.partitions)
	}
	check(t, addPage(b.opened, w, nil, &c))
	server := httptest.NewServer(c.Pages)
	defer server.Close()

	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- w.lookout.Run(ctx) }()
	busy := map[string][]time.Duration{}
	for i := 0; ; i++ {
		path := busyPaths[i%len(busyPaths)]
		busy[path] = append(busy[path], fetch(t, server.URL+path))
		if read, of := w.lookout.Progress(); of > 0 && read == of && i > len(busyPaths) {
			break
		}
	}
	t.Logf("while the monitors catch up, which took %v:", time.Since(began).Round(time.Second))
	tellTimes(t, busy)
	quiet := map[string][]time.Duration{}
	for range busyAsked {
		for _, path := range busyPaths {
			quiet[path] = append(quiet[path], fetch(t, server.URL+path))
		}
	}
	t.Log("after that:")
	tellTimes(t, quiet)
	for _, past := range []string{"0", "2000", "10000"} {
		path := "/ui/whatif?ask=1&model=m00&e.who=w17&w.v0.f29=45&past=" + past
		began, r := time.Now(), httptest.NewRecorder()
		c.Pages.ServeHTTP(r, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if !strings.Contains(r.Body.String(), "would say") {
			t.Fatalf("GET %s has no answer: %s", path, r.Body)
		}
		t.Logf("%-60s first %v, again %v", path, time.Since(began), fetch(t, server.URL+path))
	}
	stop()
	check(t, <-done)
}

var busyPaths = []string{
	"/ui/", "/ui/models", "/ui/models/m07", "/ui/models/m07/1", "/ui/alarms", "/ui/alarms?show=all",
	"/ui/features", "/ui/features/m00", "/ui/features/m01", "/ui/features/m01?page=20",
	"/ui/features/m00/v0.f0", "/ui/features/m00/v0.f0?from=1970-01-01", "/ui/features/m00/score?entity=w99", "/ui/features/m01/v0.f0",
	"/ui/predictions", "/ui/predictions/m00", "/ui/predictions/m01", "/ui/whatif?model=m00", "/ui/whatif?model=m01",
	"/ui/views", "/ui/views/v0?of=amount", "/ui/views/v0?of=f29", "/ui/views/v0?of=f29&e.who=w17&from=1970-01-01",
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fetch(t *testing.T, url string) time.Duration {
	t.Helper()
	began := time.Now()
	r, err := http.Get(url) //nolint:noctx,gosec // the test's own server
	check(t, err)
	defer r.Body.Close()
	if _, err := io.Copy(io.Discard, r.Body); err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %d %v", url, r.StatusCode, err)
	}
	return time.Since(began)
}

func tellTimes(t *testing.T, took map[string][]time.Duration) {
	t.Helper()
	for _, path := range busyPaths {
		list := took[path]
		slices.Sort(list)
		at := func(q float64) time.Duration {
			return list[min(len(list)-1, int(q*float64(len(list))))].Round(100 * time.Microsecond)
		}
		t.Logf("%-55s %4d requests, p50 %8v, p99 %8v", path, len(list), at(0.5), at(0.99))
	}
}

// A busy is a project with much of everything.
type busy struct {
	*testing.T
	*opened
	partitions int
	random     *rand.Rand
	seq        int64
	examples   int64
}

func newBusy(t *testing.T) *busy {
	var y strings.Builder
	y.WriteString("project: busy\nclock: event\nsources:\n  orders:\n    keyed_by: [who]\n    event_time: at\n    fields: {who: string, amount: float, kind: string, at: time}\nviews:\n")
	var all []string
	for i := range 1000 {
		if i%200 == 0 {
			fmt.Fprintf(&y, "  v%d:\n    source: orders\n    entity: [who]\n    features:\n", i/200)
		}
		fmt.Fprintf(&y, "      f%d: {sum: amount, window: %dd, hop: 1d}\n", i, 1+i%200)
		all = append(all, fmt.Sprintf("v%d.f%d", i/200, i))
	}
	y.WriteString("models:\n")
	for i := range busyModels {
		sees := all[:20]
		if i == 1 {
			sees = all
		}
		watch := "{std: [v0.f0]}"
		if i >= busyWatched {
			watch = "off"
		}
		fmt.Fprintf(&y, "  m%02d:\n    task: binary\n    features: [%s, v0.f29]\n    label: {source: orders, join: next_event, value: amount >= 50.0, horizon: 2d}\n    learner: {ftrl: {}}\n    monitor: %s\n", i, strings.Join(slices.DeleteFunc(slices.Clone(sees), func(s string) bool { return s == "v0.f29" }), ", "), watch)
	}
	path := filepath.Join(t.TempDir(), "project.yaml")
	check(t, os.WriteFile(path, []byte(y.String()), 0o600))
	p, err := project.Load(path)
	check(t, err)
	p.Kafka.EmbeddedPort, p.HTTP.Listen = 0, "127.0.0.1:0"
	b := &busy{T: t, random: rand.New(rand.NewPCG(1, 1))}
	b.opened, err = openEngines(t.Context(), p, slog.New(slog.DiscardHandler))
	check(t, err)
	t.Cleanup(func() { check(t, b.close()) })
	b.partitions, err = pipeline.EnsureFeedback(t.Context(), b.cluster, p.Name, nil)
	check(t, err)
	b.versions()
	return b
}

func busyAt(day int) int64 {
	return time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, day).UnixMicro()
}

// versions gives each model a champion and candidates. That of what-if has none: the
// versions have no bundle, and the base rate answers.
func (b *busy) versions() {
	ctx, r := b.Context(), b.registry
	cohort := &eval.Cohort{Slices: map[string][]string{}}
	for i := range 2000 {
		cohort.Time, cohort.Label = append(cohort.Time, int64(i)*time.Hour.Microseconds()), append(cohort.Label, float64(i%2))
		cohort.Champion, cohort.Candidate = append(cohort.Champion, 0.5), append(cohort.Candidate, 0.3+0.4*float64(i%2)*b.random.Float64())
	}
	doc, err := json.Marshal(eval.Judge("binary", eval.Gate{}.WithDefaults(), time.Hour, cohort))
	check(b.T, err)
	for i := range b.project.Models {
		model := b.project.Models[i].Name
		for n := range busyVersions {
			run := registry.Run{Model: model, Status: registry.Trained, Began: time.Now(), Ended: time.Now(), Spec: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)), Bundle: fmt.Sprintf("%s-%d", model, n)}
			made, err := r.AddRun(ctx, run, &registry.Version{Author: "trainer", Cutoff: busyAt(400)})
			check(b.T, err)
			verdict := "reject"
			if n == 0 || n > busyVersions-4 {
				verdict = "promote"
			}
			check(b.T, r.Judge(ctx, model, made.Version, registry.Judgement{Verdict: verdict, Reasons: []string{"as it is"}, Report: doc, Baseline: min(n, i, 1)}))
			if n > 0 || i == 0 {
				continue
			}
			check(b.T, r.Approve(ctx, model, made.Version, "anna", ""))
			ro, err := r.Begin(ctx, model, made.Version, nil)
			check(b.T, err)
			check(b.T, r.Switch(ctx, ro.ID, nil))
		}
	}
}

// write writes all days of events, predictions and examples.
func (b *busy) write() {
	fields := b.project.Plans[0].Fields()
	ends := func(topic string, tick []byte, at int64) {
		for p := range b.partitions {
			b.send(topic, []streams.Record{{Value: tick, Time: at, Partition: p}})
		}
	}
	for day := range busyDays {
		var events, served, known []streams.Record
		for i := range busyEvents {
			who := fmt.Sprintf("w%d", int(busyWho*math.Pow(b.random.Float64(), 3)))
			at := busyAt(day) + int64(i)*(24*time.Hour).Microseconds()/busyEvents
			values := make([]features.Value, len(fields))
			for k, f := range fields {
				values[k] = map[string]features.Value{
					"who": expr.StringValue(who), "amount": expr.FloatValue(50 * b.random.ExpFloat64()), "kind": expr.StringValue("usual"), "at": expr.TimeValue(at),
				}[f.Name]
			}
			events = append(events, streams.Record{Key: []byte(who), Value: codec.AppendJSON(nil, fields, values), Time: at, Partition: -1})
			for m := range busyModels {
				if m == 0 || i%100 == m%100 && (m == 1 || i%500 == m) {
					p, e := b.prediction(m, day, i, who, at)
					served, known = append(served, p), append(known, e)
				}
			}
		}
		end := busyAt(day+1) + time.Hour.Microseconds()
		b.send("orders", events)
		b.send(feedback.Topic(b.project.Name), served)
		b.send(feedback.ExamplesTopic(b.project.Name), known)
		ends(feedback.Topic(b.project.Name), feedback.Tick{Time: end}.AppendJSON(nil), end)
		b.seq++
		passed := feedback.Example{Kind: feedback.Passed, Seq: b.seq << 20, Known: end}
		ends(feedback.ExamplesTopic(b.project.Name), passed.AppendJSON(nil), end)
	}
	b.Logf("written: %d events, %d predictions with their labels", busyDays*busyEvents, b.examples)
}

func (b *busy) prediction(m, day, i int, who string, at int64) (prediction, example streams.Record) {
	model := &b.project.Models[m]
	p := feedback.Prediction{
		ID: fmt.Sprintf("%d-%d-%d", m, day, i), Model: model.Name, Key: who, Time: at, Set: bundle.SetID(model.Inputs),
		Entity: []features.Named{{Name: "who", Expr: who}}, Score: feedback.Score{Value: 0.3 + 0.2*b.random.Float64()},
	}
	if day > 400 {
		p.Score.Version, p.Score.Bundle = 1, model.Name+"-0"
	}
	for range model.Inputs {
		p.Vector = append(p.Vector, expr.FloatValue(10+b.random.NormFloat64()))
	}
	b.seq++
	b.examples++
	e := feedback.Example{Kind: feedback.Labelled, Seq: b.seq << 20, Prediction: p, Label: float64(b.random.IntN(2)), Outcome: "o", Happened: at + 1, Known: at + 1}
	key := []byte(who)
	return streams.Record{Key: key, Value: p.AppendJSON(nil), Time: at, Partition: -1}, streams.Record{Key: key, Value: e.AppendJSON(nil), Time: at, Partition: -1}
}

func (b *busy) send(topic string, records []streams.Record) {
	b.Helper()
	for chunk := range slices.Chunk(records, 2000) {
		_, err := b.producer.Produce(b.Context(), topic, chunk)
		check(b.T, err)
	}
}

// archive brings the events, and the examples of the model that has a million, into
// the lake.
func (b *busy) archive() {
	a, err := newArchive(b.opened, 0)
	check(b.T, err)
	a.tables = slices.DeleteFunc(a.tables, func(t table) bool { return t.name != "events_orders" && t.name != "examples_m00" })
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	of := func(prefix string) (n int64) {
		for _, table := range a.tables {
			if strings.HasPrefix(table.name, prefix) {
				n += table.archiver.Counts().Events
			}
		}
		return n
	}
	for of("events_") < busyDays*busyEvents || of("examples_") < busyDays*busyEvents {
		time.Sleep(time.Second) // until the last rows are a minute old, or a file's worth
		if problems := a.problems(); len(problems) > 0 {
			b.Log(problems)
		}
	}
	stop()
	check(b.T, <-done)
}
