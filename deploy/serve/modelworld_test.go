package serve

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/observe"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/ftrl"
)

const feedbackTopic = project + ".feedback"

// A modelWorld is a world whose server has three models: rises, binary, over two
// views and joined by the entity; sum, a regression joined by the prediction's
// id about two fields; and replayed, with an event clock.
type modelWorld struct {
	*world
	shelf   *shelf
	models  *Models
	dir     string // of bundles
	spool   string
	key     ed25519.PrivateKey
	configs map[string]*ModelConfig
}

// A shelf is a registry of which the test says what is to be served.
type shelf struct {
	mu       sync.Mutex
	err      error
	serving  map[string]registry.Serving
	versions map[string]string // bundles, by model and number
}

func (s *shelf) Serving(_ context.Context, model string) (registry.Serving, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.serving[model]; ok {
		return v, s.err
	}
	return registry.Serving{Shadow: registry.NoVersion}, s.err
}

func (s *shelf) Version(_ context.Context, model string, number int) (registry.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.versions[model+strconv.Itoa(number)]
	if !ok {
		return registry.Version{}, registry.ErrNotFound
	}
	return registry.Version{Model: model, Number: number, Bundle: b}, nil
}

// serve says what is to be served.
func (s *shelf) serve(model string, champion, shadow int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.serving[model]
	x.Revision, x.Champion, x.Shadow = x.Revision+1, champion, shadow
	s.serving[model] = x
}

func newModelWorld(t testing.TB, wrap func(online.Store) online.Store) *modelWorld {
	t.Helper()
	m := &modelWorld{
		world: newWorld(t, wrap), dir: t.TempDir(), spool: t.TempDir(), key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)),
		shelf:   &shelf{serving: map[string]registry.Serving{}, versions: map[string]string{}},
		configs: map[string]*ModelConfig{},
	}
	must(t, m.cluster.Ensure(t.Context(), feedbackTopic, 4, nil))
	hour := func(join feedback.JoinKind) feedback.Label { return feedback.Label{Join: join, Horizon: time.Hour} }
	symbol := []features.Field{{Name: "symbol", Kind: expr.String}}
	m.add("rises", learn.Binary, hour(feedback.NextEvent), symbol, "daily.close", "daily.n", "daily.note", "exact.n", "daily.gap")
	m.add("sum", learn.Regression, hour(feedback.ByPrediction), []features.Field{{Name: "user", Kind: expr.Int}, {Name: "shop", Kind: expr.String}}, "baskets.total")
	m.add("replayed", learn.Binary, hour(feedback.At), symbol, "replay.n", "replay.close")
	m.start()
	return m
}

// add makes the config of a model.
func (m *modelWorld) add(name string, task learn.Task, label feedback.Label, entity []features.Field, inputs ...string) {
	c := &ModelConfig{Name: name, Task: task, Entity: entity}
	for _, in := range inputs {
		view, feature, _ := strings.Cut(in, ".")
		outputs := m.plans[view].Outputs()
		o := outputs[slices.IndexFunc(outputs, func(o features.Output) bool { return o.Name == feature })]
		c.Inputs = append(c.Inputs, bundle.Input{Name: in, Kind: o.Kind, KindName: o.Kind.String(), Fingerprint: o.Fingerprint})
	}
	label.Binary = task == learn.Binary
	var err error
	c.Labeler, err = feedback.Compile(name, label, nil, fieldNames(entity))
	must(m.t, err)
	m.configs[name] = c
}

func fieldNames(fields []features.Field) (names []string) {
	for _, f := range fields {
		names = append(names, f.Name)
	}
	return names
}

// start makes the server anew, as a process that starts.
func (m *modelWorld) start() {
	m.t.Helper()
	cfg := m.cfg
	if cfg.Spool != nil {
		must(m.t, cfg.Spool.Close())
	}
	var configs []ModelConfig
	for _, c := range slices.Sorted(maps.Keys(m.configs)) {
		configs = append(configs, *m.configs[c])
	}
	var err error
	m.models, err = NewModels(m.shelf, m.dir, m.trusted, configs, cfg.Log)
	must(m.t, err)
	cfg.Models = m.models
	cfg.Metrics, err = observe.New()
	must(m.t, err)
	cfg.Spool = openSpool(m.t, m.spool, 0)
	m.Server, err = New(cfg)
	must(m.t, err)
	spool := cfg.Spool
	m.t.Cleanup(func() { spool.Close() })
	m.recordPatience = 20 * time.Second // no test is to find the log away because the machine is busy
}

func (m *modelWorld) trusted() ([]ed25519.PublicKey, error) {
	return []ed25519.PublicKey{m.key.Public().(ed25519.PublicKey)}, nil
}

// train writes a bundle of a model over random rows.
func (m *modelWorld) train(c ModelConfig, seed uint64) string {
	m.t.Helper()
	r := rand.New(rand.NewPCG(seed, 7))
	var rows [][]features.Value
	for range 50 {
		var x []features.Value
		for _, in := range c.Inputs {
			switch in.Kind {
			case expr.String:
				x = append(x, expr.StringValue(fmt.Sprint(r.IntN(5))))
			case expr.Int:
				x = append(x, expr.IntValue(int64(r.IntN(10))))
			default:
				x = append(x, expr.FloatValue(r.NormFloat64()))
			}
		}
		rows = append(rows, x)
	}
	p := ftrl.Params{HashBits: 6}.WithDefaults()
	tr := bundle.FitTransform(c.Inputs, slices.Values(rows), p.HashBits)
	l := ftrl.New(c.Task, tr.Dense(), p)
	var row learn.Row
	for _, x := range rows {
		tr.Row(&row, x)
		l.Learn(row, float64(r.IntN(2)), 1)
	}
	params, err := json.Marshal(p)
	must(m.t, err)
	id, err := bundle.Write(m.dir, &bundle.Contents{
		Manifest:  bundle.Manifest{Project: project, Model: c.Name, Task: c.Task, Inputs: c.Inputs, Learner: "ftrl", Params: params, Seed: seed, Code: "test", Examples: len(rows), Metrics: json.RawMessage("{}"), Data: bundle.Data{Topic: project + ".examples"}},
		Transform: tr, Model: l, Golden: rows[:3],
	}, m.key)
	must(m.t, err)
	return id
}

// version trains a version of a model and returns its bundle.
func (m *modelWorld) version(model string, number int) *bundle.Bundle {
	m.t.Helper()
	id := m.train(*m.configs[model], uint64(number))
	m.shelf.versions[model+strconv.Itoa(number)] = id
	keys, _ := m.trusted()
	b, err := bundle.Open(m.dir, id, keys)
	must(m.t, err)
	return b
}

// champion trains version 1 of a model and has it served.
func (m *modelWorld) champion(model string) *bundle.Bundle {
	m.t.Helper()
	b := m.version(model, 1)
	m.shelf.serve(model, 1, registry.NoVersion)
	must(m.t, m.models.Refresh(m.t.Context()))
	return b
}

// A prediction is the answer of /v1/predict.
type prediction struct {
	ID           string
	Score        float64
	Model        string
	Version      int
	Bundle       string
	AsOf         time.Time `json:"as_of"`
	BaseRate     bool      `json:"base_rate"`
	Fingerprints map[string]string
	Degraded     string
}

func (m *modelWorld) predict(model, body string) (p prediction) {
	m.t.Helper()
	status, answer := m.post(predictPath+model, body)
	if err := json.Unmarshal([]byte(answer), &p); err != nil || status != 200 {
		m.t.Fatalf("%d %s", status, answer)
	}
	return p
}

// written returns the records of the feedback topic, by partition and offset,
// and checks that each is where its key says.
func (m *modelWorld) written() (all []feedback.Record) {
	m.t.Helper()
	for part := range 4 {
		for _, r := range m.records(feedbackTopic, part, 0) {
			rec, err := feedback.Decode(r.Value)
			must(m.t, err)
			if string(r.Key) != rec.Key() || streams.PartitionOf(r.Key, 4) != part {
				m.t.Errorf("record of key %q under %q in partition %d", rec.Key(), r.Key, part)
			}
			all = append(all, rec)
		}
	}
	return all
}

// restart starts the broker again where it was.
func (m *modelWorld) restart() {
	m.t.Helper()
	_, port, err := net.SplitHostPort(m.broker.Addr())
	must(m.t, err)
	n, err := strconv.Atoi(port)
	must(m.t, err)
	m.broker, err = broker.Start(broker.Options{Dir: m.world.dir, Port: n, Log: quiet})
	must(m.t, err)
}

// find returns the model of that name, or nil.
func (m *Models) find(name string) *model {
	for _, x := range m.models {
		if x.Name == name {
			return x
		}
	}
	return nil
}
