package deploy

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
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
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/ftrl"
)

const (
	project    = "shop"
	model      = "buys"
	partitions = 3
	hour       = int64(time.Hour / time.Microsecond)
	perHour    = 20 // predictions, which an hour later are answered
)

var inputs = []bundle.Input{
	{Name: "customer.signal", Kind: expr.Float, KindName: "float", Fingerprint: "4f1d6a0c35e2b897"},
	{Name: "customer.city", Kind: expr.String, KindName: "string", Fingerprint: "90b2e7d1c4a3f586"},
}

// signal is the vector's number, and truth the chance that its label is 1.
func signal(x []features.Value) float64 { return math.Float64frombits(x[0].Bits) }

func truth(x []features.Value) float64 { return 1 / (1 + math.Exp(1-2*signal(x))) }

func randomVector(r *rand.Rand) []features.Value {
	return []features.Value{expr.FloatValue(r.NormFloat64()), expr.StringValue([]string{"Oslo", "Rome", "", "São Paulo"}[r.IntN(4)])}
}

func coin(r *rand.Rand, p float64) float64 {
	if r.Float64() < p {
		return 1
	}
	return 0
}

// A school trains small bundles into a folder.
type school struct {
	t   *testing.T
	dir string
	key ed25519.PrivateKey
}

func newSchool(t *testing.T) *school {
	return &school{t, filepath.Join(t.TempDir(), "models"), ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
}

func (s *school) trusted() ([]ed25519.PublicKey, error) {
	return []ed25519.PublicKey{s.key.Public().(ed25519.PublicKey)}, nil
}

// What bundles may learn from: each is the chance of a 1.
var (
	right    = truth
	inverted = func(x []features.Value) float64 { return 1 - truth(x) }
	constant = func([]features.Value) float64 { return 0.9 }
	subtle   = func(x []features.Value) float64 { return 0.64*truth(x) + 0.23 } // its log loss is worse by 0.1
)

// train writes a bundle that has learned from 1,000 vectors.
func (s *school) train(seed uint64, in []bundle.Input, chance func([]features.Value) float64) *bundle.Bundle {
	s.t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	var rows [][]features.Value
	for range 1000 {
		rows = append(rows, randomVector(r))
	}
	p := ftrl.Params{HashBits: 4}.WithDefaults()
	tr := bundle.FitTransform(in, slices.Values(rows), p.HashBits)
	l := ftrl.New(learn.Binary, tr.Dense(), p)
	var row learn.Row
	for _, x := range rows {
		tr.Row(&row, x)
		l.Learn(row, coin(r, chance(x)), 1)
	}
	params, err := json.Marshal(p)
	must(s.t, err)
	id, err := bundle.Write(s.dir, &bundle.Contents{
		Manifest: bundle.Manifest{
			Project: project, Model: model, Task: learn.Binary, Inputs: in, Learner: "ftrl", Params: params, Seed: seed, Code: "test",
			Examples: len(rows), Metrics: json.RawMessage("{}"), Data: bundle.Data{Topic: feedback.ExamplesTopic(project)},
		},
		Transform: tr, Model: l, Golden: rows[:3],
	}, s.key)
	must(s.t, err)
	keys, _ := s.trusted()
	b, err := bundle.Open(s.dir, id, keys)
	must(s.t, err)
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A world is a project in which the test is server, join, trainer and people,
// and a Deployer deploys. Hours go by as the test says.
type world struct {
	*school
	cluster  *streams.Cluster
	producer *streams.Producer
	registry *registry.Registry
	path     string
	cfg      Config
	random   *rand.Rand
	versions []*bundle.Bundle // from 1
	inputs   []bundle.Input   // of the project's model
	hours    int64
	pending  []feedback.Prediction
	seq      [partitions]int64
	skewed   bool // the server scores the shadow otherwise than its bundle
	offline  bool // the server has not loaded the shadow
}

func newWorld(t *testing.T, topics bool) *world {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	b, err := broker.Start(broker.Options{Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { b.Close() })
	w := &world{school: newSchool(t), inputs: inputs, random: rand.New(rand.NewPCG(1, 2)), path: filepath.Join(t.TempDir(), "registry.db")}
	w.cluster, err = streams.Connect(streams.Options{Addresses: []string{b.Addr()}})
	must(t, err)
	t.Cleanup(w.cluster.Close)
	w.producer = streams.NewProducer(w.cluster)
	t.Cleanup(w.producer.Close)
	w.registry, err = registry.Open(w.path)
	must(t, err)
	t.Cleanup(func() { w.registry.Close() })
	w.cfg = Config{
		Project: project, Cluster: w.cluster, Registry: w.registry, Bundles: w.dir, Trusted: w.trusted, Log: log,
		Models: []Model{{
			Name: model, Task: learn.Binary, Set: bundle.SetID(inputs), Horizon: time.Hour, Review: true,
			Steps: Steps{Shadow: 30, Watch: 120}.WithDefaults(),
		}},
	}
	if topics {
		w.ensure()
	}
	return w
}

func (w *world) ensure() {
	w.t.Helper()
	must(w.t, w.cluster.Ensure(w.t.Context(), feedback.Topic(project), partitions, nil))
	must(w.t, w.cluster.Ensure(w.t.Context(), feedback.ExamplesTopic(project), partitions, nil))
}

// deployer returns a deployer, which is closed at the end.
func (w *world) deployer() *Deployer {
	d := New(w.cfg)
	w.t.Cleanup(d.Close)
	return d
}

// candidate trains a version, and has it promoted by the gate: it is in review.
func (w *world) candidate(chance func([]features.Value) float64) int {
	w.t.Helper()
	n := len(w.versions) + 1
	b := w.train(uint64(n), w.inputs, chance)
	w.versions = append(w.versions, b)
	now := time.Now()
	run, err := w.registry.AddRun(w.t.Context(), registry.Run{
		Model: model, Status: registry.Trained, Began: now, Ended: now, Bundle: b.ID(), Spec: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)),
	}, &registry.Version{Author: "trainer", Cutoff: int64(n)})
	must(w.t, err)
	must(w.t, w.registry.Judge(w.t.Context(), model, run.Version, registry.Judgement{Verdict: "promote", Baseline: w.serving().Champion, Reasons: []string{"it is better"}, At: int64(n)}))
	return run.Version
}

// approved makes a candidate and approves it.
func (w *world) approved(chance func([]features.Value) float64) int {
	w.t.Helper()
	n := w.candidate(chance)
	must(w.t, w.registry.Approve(w.t.Context(), model, n, "anna", "looks right"))
	return n
}

func (w *world) serving() registry.Serving {
	w.t.Helper()
	s, err := w.registry.Serving(w.t.Context(), model)
	must(w.t, err)
	return s
}

func (w *world) version(n int) registry.Version {
	w.t.Helper()
	v, err := w.registry.Version(w.t.Context(), model, n)
	must(w.t, err)
	return v
}

// rollout is the newest of all.
func (w *world) rollout() registry.Rollout {
	w.t.Helper()
	all, err := w.registry.Rollouts(w.t.Context(), model)
	must(w.t, err)
	if len(all) == 0 {
		w.t.Fatal("there is no rollout")
	}
	return all[0]
}

// seen is what the newest rollout has seen while it was watched.
func (w *world) seen() (r watchReport) {
	w.t.Helper()
	must(w.t, json.Unmarshal(w.rollout().Report, &r))
	return r
}

// history is what became of the versions: as "2 champion".
func (w *world) history() (lines []string) {
	w.t.Helper()
	events, err := w.registry.History(w.t.Context(), model)
	must(w.t, err)
	for _, e := range events {
		lines = append(lines, fmt.Sprint(e.Version, " ", e.What))
	}
	return lines
}

// score is what a version answers; 0 is the base rate, which answers as well where
// the version is of other features.
func (w *world) score(version int, x []features.Value) feedback.Score {
	w.t.Helper()
	if !w.fits(version) {
		return feedback.Score{Value: 0.5}
	}
	b := w.versions[version-1]
	value, err := b.Score(x)
	must(w.t, err)
	return feedback.Score{Version: version, Bundle: b.ID(), Value: value}
}

func (w *world) fits(version int) bool {
	return version != 0 && w.versions[version-1].Manifest().Set == bundle.SetID(w.inputs)
}

// predict does what the server does in an hour.
func (w *world) predict(n int) {
	w.t.Helper()
	s := w.serving()
	var records []streams.Record
	for i := range n {
		x := randomVector(w.random)
		at := w.hours*hour + int64(i)*(hour/perHour)
		p := feedback.Prediction{ID: fmt.Sprintf("%d.%d", w.hours, i), Model: model, Time: at, Set: bundle.SetID(w.inputs), Vector: x, Score: w.score(s.Champion, x)}
		p.Key = p.ID
		if s.Shadow != registry.NoVersion && !w.offline && (s.Shadow == 0 || w.fits(s.Shadow)) {
			shadow := w.score(s.Shadow, x)
			if w.skewed {
				shadow.Value = math.Nextafter(shadow.Value, 1)
			}
			p.Shadow = &shadow
		}
		w.pending = append(w.pending, p)
		other := p
		other.Model, other.ID = "other", "other"+p.ID
		for _, p := range []*feedback.Prediction{&p, &other} {
			records = append(records, streams.Record{Key: []byte(p.Key), Value: p.AppendJSON(nil), Partition: -1})
		}
	}
	w.produce(feedback.Topic(project), records)
}

func (w *world) produce(topic string, records []streams.Record) {
	w.t.Helper()
	if len(records) == 0 {
		return
	}
	_, err := w.producer.Produce(w.t.Context(), topic, records)
	must(w.t, err)
}

// example is a record of the next number of the partition that its key is in.
func (w *world) example(e feedback.Example, partition int) streams.Record {
	w.seq[partition]++
	e.Seq = w.seq[partition]
	return streams.Record{Value: e.AppendJSON(nil), Partition: partition}
}

// answer does what the join does in an hour: the labels of the hour before come,
// one prediction in twenty has none and one in twenty a correction.
func (w *world) answer() {
	w.t.Helper()
	var records []streams.Record
	asked := slices.Clone(w.pending)
	w.pending = w.pending[:0]
	for i := range asked {
		p := asked[i]
		if p.Time >= w.hours*hour {
			w.pending = append(w.pending, p)
			continue
		}
		part := streams.PartitionOf([]byte(p.Key), partitions)
		e := feedback.Example{Kind: feedback.Labelled, Prediction: p, Label: coin(w.random, truth(p.Vector)), Outcome: "o" + p.ID, Happened: p.Time + hour, Known: p.Time + hour}
		if i%20 == 7 {
			e.Kind, e.Label, e.Outcome, e.Happened, e.Why = feedback.Unanswered, 0, "", 0, feedback.WhyNone
		}
		records = append(records, w.example(e, part))
		if i%20 == 13 {
			e.Label, e.Correction = 1-e.Label, true
			records = append(records, w.example(e, part))
		}
	}
	for part := range partitions {
		records = append(records, w.example(feedback.Example{Kind: feedback.Passed, Known: (w.hours + 1) * hour}, part))
	}
	w.produce(feedback.ExamplesTopic(project), records)
}

// pass lets hours go by, each with a step, until done.
func (w *world) pass(step func(), hours int, done func() bool) {
	w.t.Helper()
	for range hours {
		w.predict(perHour)
		w.answer()
		step()
		w.hours++
		if done() {
			return
		}
	}
	w.t.Fatalf("nothing came of it in %d hours: serving %+v, rollout %+v", hours, w.serving(), w.rollout())
}

// in returns whether the newest rollout is in one of these phases.
func (w *world) in(phases ...registry.Phase) func() bool {
	return func() bool {
		all, err := w.registry.Rollouts(w.t.Context(), model)
		must(w.t, err)
		return len(all) > 0 && slices.Contains(phases, all[0].Phase)
	}
}

// steps returns what takes one step of a deployer that lives on.
func (w *world) steps() func() {
	d := w.deployer()
	return func() { w.t.Helper(); must(w.t, d.Step(w.t.Context())) }
}

// champion brings a right model into service.
func (w *world) champion() {
	w.t.Helper()
	w.approved(right)
	w.pass(w.steps(), 60, w.in(registry.Done))
}

// flip changes a byte in the middle of a file of a version's bundle.
func (w *world) flip(version int) {
	w.t.Helper()
	path := filepath.Join(w.dir, w.versions[version-1].ID(), bundle.WeightsName)
	data, err := os.ReadFile(path)
	must(w.t, err)
	data[len(data)/2] ^= 1
	must(w.t, os.WriteFile(path, data, 0o600))
}

func wantEqual[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func wantText(t *testing.T, text, want string) {
	t.Helper()
	if !strings.Contains(text, want) {
		t.Errorf("%q does not say %q", text, want)
	}
}
