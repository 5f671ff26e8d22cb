package whatif

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/loadtest/stocks"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
	"github.com/millrace/millrace/streams/codec"
	"github.com/millrace/millrace/streams/lake"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/eval"
	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/ftrl"
)

// worldDays are the last days of the stocks that the world has.
const worldDays = 230

// older is how many examples are from before the first event.
const older = 3

// A world is the stocks' last days: a lake of their events and of the examples of
// a model, as a server would have served them, and a version that serves.
type world struct {
	cfg      Config
	plan     *features.Plan
	examples []feedback.Example // by time
	bundle   *bundle.Bundle
}

// shared is made once for all tests, which do not change it.
var shared *world

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "whatif")
	if err == nil {
		shared, err = newWorld(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := errors.Join(shared.cfg.Registry.Close(), os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// lab returns a new Lab of the world, changed as edit says.
func (w *world) lab(edit func(*Config)) *Lab {
	cfg := w.cfg
	if edit != nil {
		edit(&cfg)
	}
	return New(cfg)
}

// parseLength reads days and hours, as the project file may have them.
func parseLength(text string) (time.Duration, error) {
	var days, hours int
	if n, err := fmt.Sscanf(text+".", "%dd.", &days); n == 1 && err == nil {
		return time.Duration(days) * 24 * time.Hour, nil
	}
	if n, err := fmt.Sscanf(text+".", "%dd%dh.", &days, &hours); n == 2 && err == nil {
		return time.Duration(days)*24*time.Hour + time.Duration(hours)*time.Hour, nil
	}
	return time.ParseDuration(text)
}

// viewOf is the project's view without what the model does not see, and without
// its longest windows: under the race detector they take long.
func viewOf(v features.View) features.View {
	sees := []string{"days_30d", "last_ret", "ret_mean_30d", "ret_std_30d", "range_mean_30d", "volume_mean_30d", "ticker", "range_mean_1w", "big_share_365d", "last_ret_z", "ret_z", "log_range_30d"}
	v.Features = slices.DeleteFunc(slices.Clone(v.Features), func(f features.Feature) bool { return !slices.Contains(sees, f.Name) })
	v.OnDemand = slices.DeleteFunc(slices.Clone(v.OnDemand), func(d features.Named) bool { return !slices.Contains(sees, d.Name) })
	for i := range v.Features {
		if f := &v.Features[i]; f.Name == "big_share_365d" {
			f.Name, f.Window.Size = "big_share_60d", 60*24*time.Hour
		}
	}
	return v
}

// modelOf is the project's model, which sees a feature of a request, too.
func modelOf(plan *features.Plan) Model {
	m := Model{
		Name: stocks.Model, Task: learn.Binary, Entity: []features.Field{{Name: stocks.Entity, Kind: expr.String}},
		Label: feedback.Label{Horizon: 10 * 24 * time.Hour}, Gate: eval.Gate{}.WithDefaults(),
	}
	for _, name := range []string{"ticker", "last_ret", "ret_std_30d", "days_30d", "range_mean_1w", "last_ret_z", "ret_z", "log_range_30d", "big_share_60d"} {
		i := slices.IndexFunc(plan.Outputs(), func(o features.Output) bool { return o.Name == name })
		o := plan.Outputs()[i]
		m.Inputs = append(m.Inputs, bundle.Input{Name: stocks.View + "." + name, Kind: o.Kind, KindName: o.Kind.String(), Fingerprint: o.Fingerprint})
	}
	return m
}

func newWorld(ctx context.Context, dir string) (*world, error) {
	p, err := stocks.Project(dir)
	if err != nil {
		return nil, err
	}
	view := viewOf(p.Views[0])
	plan, err := features.Compile(p.Clock, p.Sources[0], view)
	if err != nil {
		return nil, err
	}
	w := &world{plan: plan, cfg: Config{
		Project: "stocks", Models: []Model{modelOf(plan)}, Plans: []*features.Plan{plan}, Views: []features.View{view},
		Lake: filepath.Join(dir, "lake"), Bundles: filepath.Join(dir, "models"), ParseLength: parseLength,
	}}
	days := stocks.Days(stocks.Events())
	events := slices.Concat(days[len(days)-worldDays:]...)
	if err := w.serve(events); err != nil {
		return nil, err
	}
	if err := w.archive(ctx, events); err != nil {
		return nil, err
	}
	return w, w.train(ctx, filepath.Join(dir, "registry.db"))
}

// serve makes examples of what would be served after each event.
func (w *world) serve(events []stocks.Event) error {
	decoder, err := codec.New(w.plan.Source)
	if err != nil {
		return err
	}
	shards, rows, open := map[int]*features.Shard{}, map[string]*features.Row{}, map[string]int{}
	m := &w.cfg.Models[0]
	for i, at := range events {
		e := features.Event{Arrival: time.Now().UnixMicro(), Order: features.OrderOf(0, int64(i))}
		if err := decoder.Decode(at.JSON, &e); err != nil {
			return err
		}
		partition := streams.PartitionOf([]byte(at.Symbol), w.plan.Source.Partitions)
		if shards[partition] == nil {
			shards[partition] = w.plan.NewShard(features.NoTime, features.Counts{})
		}
		if rows[at.Symbol] == nil {
			rows[at.Symbol] = w.plan.NewRow()
		}
		if ok, why := shards[partition].Admit(&e); !ok {
			return why
		}
		shards[partition].Fold(rows[at.Symbol], &e)
		if before, ok := open[at.Symbol]; ok {
			x := &w.examples[before]
			x.Known, x.Happened = e.Time, e.Time
			if math.Abs(at.Close/at.Open-1) >= 0.02 {
				x.Label = 1
			}
		}
		open[at.Symbol] = len(w.examples)
		ret, _ := at.Return()
		all := w.plan.Vector(nil, rows[at.Symbol], features.At{AsOf: e.Time}, []features.Value{expr.FloatValue(ret / 2)})
		x := feedback.Example{Kind: feedback.Labelled, Outcome: "o"}
		x.Prediction = feedback.Prediction{
			ID: at.ID(), Model: m.Name, Key: at.Symbol, Time: e.Time, Set: bundle.SetID(m.Inputs),
			Entity: []features.Named{{Name: stocks.Entity, Expr: at.Symbol}},
		}
		for _, in := range m.Inputs {
			o := slices.IndexFunc(w.plan.Outputs(), func(o features.Output) bool { return stocks.View+"."+o.Name == in.Name })
			x.Prediction.Vector = append(x.Prediction.Vector, all[o])
		}
		w.examples = append(w.examples, x)
	}
	w.examples = slices.DeleteFunc(w.examples, func(x feedback.Example) bool { return x.Known == 0 })
	return nil
}

// archive brings the events and examples into the lake.
func (w *world) archive(ctx context.Context, events []stocks.Event) error {
	var sent []streams.Record
	for _, e := range events {
		sent = append(sent, streams.Record{Key: []byte(e.Symbol), Value: e.JSON, Time: time.Now().UnixMicro(), Partition: -1})
	}
	slices.SortStableFunc(w.examples, func(a, b feedback.Example) int { return int(a.Known - b.Known) })
	var all []feedback.Example
	for i := range older { // from before the first event
		x := w.examples[i]
		x.Prediction.ID, x.Prediction.Time, x.Known = fmt.Sprint("older", i), x.Prediction.Time-day.Microseconds()*int64(i+9), x.Known-1
		all = append(all, x)
	}
	for i, x := range w.examples {
		if i%7 > 0 {
			all = append(all, x)
			continue
		}
		wrong := x
		wrong.Label, x.Correction = 1-x.Label, true
		all = append(all, wrong, x)
	}
	var told []streams.Record
	for i, x := range all {
		x.Seq = int64(i + 1)
		told = append(told, streams.Record{Key: []byte(x.Prediction.Key), Value: x.AppendJSON(nil), Partition: -1})
	}
	slices.SortStableFunc(w.examples, func(a, b feedback.Example) int { return int(a.Prediction.Time - b.Prediction.Time) })
	m := &w.cfg.Models[0]
	table := lake.Examples{Project: w.cfg.Project, Model: m.Name, Entity: []string{stocks.Entity}, Set: bundle.SetID(m.Inputs)}
	for _, in := range m.Inputs {
		table.Inputs = append(table.Inputs, features.Field{Name: in.Name, Kind: in.Kind})
	}
	return archive(ctx, w.cfg.Lake, w.plan.Source, sent, table, told)
}

// archive writes a lake of the records of a source and of a model's examples.
func archive(ctx context.Context, root string, src features.Source, events []streams.Record, table lake.Examples, examples []streams.Record) (err error) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	b, err := broker.Start(broker.Options{Log: log})
	if err != nil {
		return err
	}
	defer b.Close()
	cluster, err := streams.Connect(streams.Options{Addresses: []string{b.Addr()}})
	if err != nil {
		return err
	}
	defer cluster.Close()
	producer := streams.NewProducer(cluster)
	defer producer.Close()
	o := lake.Options{Rows: max(500, len(events)/16), Log: log}
	archivers := make([]*lake.Archiver, 2)
	if archivers[0], err = lake.NewArchiver(root, cluster, src, o); err != nil {
		return err
	}
	if archivers[1], err = lake.NewExamples(root, cluster, table, o); err != nil {
		return err
	}
	for i, topic := range []string{src.Topic, feedback.ExamplesTopic(table.Project)} {
		records := [][]streams.Record{events, examples}[i]
		if err := cluster.Ensure(ctx, topic, src.Partitions, map[string]string{"retention.ms": "-1"}); err != nil {
			return err
		}
		for chunk := range slices.Chunk(records, 10_000) {
			if _, err := producer.Produce(ctx, topic, chunk); err != nil {
				return err
			}
		}
		if err := drain(ctx, archivers[i], int64(len(records))); err != nil {
			return err
		}
	}
	return nil
}

// drain runs an archiver until it has that many records, which its end writes.
func drain(ctx context.Context, a *lake.Archiver, records int64) error {
	for a.Counts().Events < records {
		limited, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		err := a.Run(limited)
		cancel()
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// train makes a version of the examples and brings it into service.
func (w *world) train(ctx context.Context, path string) (err error) {
	m := &w.cfg.Models[0]
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	w.cfg.Trusted = func() ([]ed25519.PublicKey, error) { return []ed25519.PublicKey{key.Public().(ed25519.PublicKey)}, nil }
	var rows [][]features.Value
	for _, x := range w.examples {
		rows = append(rows, x.Prediction.Vector)
	}
	p := ftrl.Params{Alpha: 0.05, HashBits: 8}.WithDefaults()
	tr := bundle.FitTransform(m.Inputs, slices.Values(rows), p.HashBits)
	l := ftrl.New(learn.Binary, tr.Dense(), p)
	var row learn.Row
	for range 3 {
		for i, x := range rows {
			tr.Row(&row, x)
			l.Learn(row, w.examples[i].Label, 1)
		}
	}
	params, err := json.Marshal(p)
	if err != nil {
		return err
	}
	id, err := bundle.Write(w.cfg.Bundles, &bundle.Contents{
		Manifest: bundle.Manifest{
			Project: w.cfg.Project, Model: m.Name, Task: learn.Binary, Inputs: m.Inputs, Learner: "ftrl", Params: params, Code: "test",
			Examples: len(rows), Metrics: json.RawMessage("{}"), Data: bundle.Data{Topic: feedback.ExamplesTopic(w.cfg.Project)},
		},
		Transform: tr, Model: l, Golden: rows[:3],
	}, key)
	if err != nil {
		return err
	}
	keys, _ := w.cfg.Trusted()
	if w.bundle, err = bundle.Open(w.cfg.Bundles, id, keys); err != nil {
		return err
	}
	if w.cfg.Registry, err = registry.Open(path); err != nil {
		return err
	}
	return promote(ctx, w.cfg.Registry, m.Name, id)
}

// promote brings a bundle into service.
func promote(ctx context.Context, r *registry.Registry, model, id string) error {
	run := registry.Run{Model: model, Status: registry.Trained, Began: time.Now(), Ended: time.Now(), Spec: json.RawMessage(`{"n":1}`), Bundle: id}
	if _, err := r.AddRun(ctx, run, &registry.Version{Author: "trainer", Cutoff: 1}); err != nil {
		return err
	}
	if err := r.Judge(ctx, model, 1, registry.Judgement{Verdict: "promote", Reasons: []string{"better"}, Report: json.RawMessage("{}"), At: 2}); err != nil {
		return err
	}
	if err := r.Approve(ctx, model, 1, "anna", ""); err != nil {
		return err
	}
	ro, err := r.Begin(ctx, model, 1, nil)
	if err != nil {
		return err
	}
	return r.Switch(ctx, ro.ID, nil)
}

// ask asks the lab and fails the test where there is no answer.
func ask(t *testing.T, l *Lab, q Question) *Answer {
	t.Helper()
	if q.Model == "" {
		q.Model = stocks.Model
	}
	if q.Entity == nil {
		q.Entity = map[string]string{stocks.Entity: "AAPL"}
	}
	a, err := l.Ask(t.Context(), q, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// feature returns a feature of an answer.
func (a *Answer) feature(t testing.TB, name string) Change {
	t.Helper()
	for _, c := range a.Features {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("the answer has no %s", name)
	return Change{}
}

func (a *Answer) notes() string { return strings.Join(a.Notes, "\n") }
