package trainer

import (
	"cmp"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
	"github.com/millrace/millrace/streams/pipeline"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/eval"
	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/ftrl"
)

const (
	project = "shop"
	hour    = int64(time.Hour / time.Microsecond)
)

// testModel sees three columns and has its answers within six hours.
func testModel() Model {
	input := func(name string, kind features.Kind) bundle.Input {
		return bundle.Input{Name: name, Kind: kind, KindName: kind.String(), Fingerprint: "f-" + name}
	}
	return Model{
		Name: "returns", Task: learn.Binary,
		Inputs:   []bundle.Input{input("shop.x", expr.Float), input("shop.y", expr.Float), input("shop.city", expr.String)},
		Entity:   []features.Field{{Name: "customer", Kind: expr.String}},
		Label:    feedback.Label{Join: feedback.ByPrediction, Binary: true, Horizon: 6 * time.Hour, Grace: time.Hour},
		Learners: []Learner{Learner{FTRL: &ftrl.Params{HashBits: 8}}.WithDefaults()},
		Train:    Schedule{Every: 600, AtMost: 1, Per: time.Hour, Window: 1500},
		Gate:     eval.Gate{Rows: 600, Confidence: 0.9, Periods: 5, Replicates: 400, PerYear: 100, Slices: []string{"shop.city"}}.WithDefaults(),
	}
}

// A world is the examples that a join makes of seeded predictions, each with the
// hour of the tick before which it was written.
type world struct {
	records [][]written // by partition
	hours   int
}

type written struct {
	feedback.Example
	hour int
}

// A teller says of a prediction what the model sees and what comes true.
type teller func(r *rand.Rand, hour int) (vector []features.Value, label float64)

// planted is a world in which x tells the label.
func planted(r *rand.Rand, _ int) ([]features.Value, float64) {
	x, label := r.NormFloat64(), 0.0
	if r.Float64() < 1/(1+math.Exp(-2*x)) {
		label = 1
	}
	return vector(r, x), label
}

// noise is one in which nothing does.
func noise(r *rand.Rand, _ int) ([]features.Value, float64) {
	return vector(r, r.NormFloat64()), float64(r.IntN(2))
}

func vector(r *rand.Rand, x float64) []features.Value {
	city := []string{"Oslo", "Rome"}[r.IntN(2)]
	return []features.Value{expr.FloatValue(x), expr.FloatValue(r.NormFloat64()), expr.StringValue(city)}
}

// newWorld joins eight predictions an hour, of which some are never answered and
// some are corrected, now and then by an outcome that comes before what it corrects.
func newWorld(t testing.TB, m *Model, seed uint64, partitions, hours int, tell teller) *world {
	t.Helper()
	w := &world{records: make([][]written, partitions), hours: hours}
	random := rand.New(rand.NewPCG(seed, 7))
	joins := make([]*join, partitions)
	for p := range joins {
		joins[p] = newJoin(t, m, func(e *feedback.Example, hour int) { w.records[p] = append(w.records[p], written{*e, hour}) })
	}
	type later struct {
		join    *join
		outcome feedback.Outcome
	}
	due := map[int][]later{}
	for h := range hours {
		now := int64(h) * hour
		for i := range 8 {
			j := joins[random.IntN(partitions)]
			id := fmt.Sprintf("%05d-%d", h, i)
			p := &feedback.Prediction{
				ID: id, Model: m.Name, Key: id, Time: now + int64(i/2)*hour/8, Set: bundle.SetID(m.Inputs),
				Entity: []features.Named{{Name: "customer", Expr: fmt.Sprintf("c%d", random.IntN(20))}}, Score: feedback.Score{Value: 0.5},
			}
			var label float64
			p.Vector, label = tell(random, h)
			j.take(feedback.Record{Prediction: p}, h)
			answers := []int{1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 2, 2}[random.IntN(12)]
			at := p.Time + 1
			for a := range answers {
				at += random.Int64N(3 * hour)
				o := feedback.Outcome{ID: fmt.Sprint(id, a), Model: m.Name, Key: id, Time: at, Label: label}
				if answers == 2 && a == 0 {
					o.Label = 1 - label
				}
				arrives := max(h, int(at/hour)) + random.IntN(2)
				due[arrives] = append(due[arrives], later{j, o})
			}
		}
		for _, l := range due[h] {
			l.join.take(feedback.Record{Outcome: &l.outcome}, h)
		}
		for _, j := range joins {
			j.tick(now+hour, h)
		}
	}
	return w
}

// A join is a shell around a shard.
type join struct {
	t     testing.TB
	shard *feedback.Shard
	rows  map[string]*feedback.Row
	emit  func(*feedback.Example, int)
}

func newJoin(t testing.TB, m *Model, emit func(*feedback.Example, int)) *join {
	s, err := feedback.NewShard(map[string]feedback.Rules{m.Name: {Join: m.Label.Join, Horizon: m.Label.Horizon, Grace: m.Label.Grace}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &join{t, s, map[string]*feedback.Row{}, emit}
}

func (j *join) take(rec feedback.Record, hour int) {
	key := feedback.RowKey(rec.Model(), rec.Key())
	row := j.rows[key]
	if row == nil {
		row = feedback.NewRow()
	}
	if _, rejected := j.shard.Fold(rec, row, func(e *feedback.Example) { j.emit(e, hour) }); rejected != nil {
		j.t.Fatal(rejected)
	}
	j.rows[key] = row
}

func (j *join) tick(now int64, hour int) {
	emit := func(e *feedback.Example) { j.emit(e, hour) }
	j.shard.Tick(now)
	var due []string
	for key, row := range j.rows {
		if row.Due() <= now {
			due = append(due, key)
		}
	}
	slices.SortFunc(due, func(a, b string) int {
		return cmp.Or(cmp.Compare(j.rows[a].Due(), j.rows[b].Due()), cmp.Compare(a, b))
	})
	for _, key := range due {
		if j.shard.Expire(j.rows[key], "returns", emit); j.rows[key].Empty() {
			delete(j.rows, key)
		}
	}
	j.shard.Pass(emit)
}

// A rig is what a loop works on.
type rig struct {
	t        *testing.T
	addr     string
	cluster  *streams.Cluster
	producer *streams.Producer
	registry *registry.Registry
	dir      string
	model    Model
	code     string
	sent     []int // records of a world, by partition
	logged   logged
}

func newRig(t *testing.T, m Model, partitions int) *rig {
	t.Helper()
	b, err := broker.Start(broker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	cluster, err := streams.Connect(streams.Options{Addresses: []string{b.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	producer := streams.NewProducer(cluster)
	t.Cleanup(producer.Close)
	r := &rig{t: t, addr: b.Addr(), cluster: cluster, producer: producer, model: m, code: "v1", sent: make([]int, partitions), dir: t.TempDir()}
	r.registry = openRegistry(t, r.dir)
	r.topic(partitions)
	return r
}

func openRegistry(t *testing.T, dir string) *registry.Registry {
	t.Helper()
	reg, err := registry.Open(filepath.Join(dir, "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reg.Close() })
	return reg
}

// remake deletes the topic and makes it anew, empty.
func (r *rig) remake(partitions int) {
	r.t.Helper()
	topic := feedback.ExamplesTopic(project)
	client := &kafka.Client{Addr: kafka.TCP(r.addr)}
	answer, err := client.DeleteTopics(r.t.Context(), &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	if err != nil || answer.Errors[topic] != nil {
		r.t.Fatal(err, answer)
	}
	r.topic(partitions)
	r.producer.Close()
	r.producer = streams.NewProducer(r.cluster)
	r.t.Cleanup(r.producer.Close)
	r.sent = make([]int, partitions)
}

// deleteBefore deletes the records of a partition below an offset.
func (r *rig) deleteBefore(partition int32, offset int64) {
	r.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.addr))
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	request := kmsg.NewPtrDeleteRecordsRequest()
	request.Topics = []kmsg.DeleteRecordsRequestTopic{{
		Topic: feedback.ExamplesTopic(project), Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: partition, Offset: offset}},
	}}
	answer, err := request.RequestWith(r.t.Context(), client)
	if err != nil || answer.Topics[0].Partitions[0].ErrorCode != 0 {
		r.t.Fatal(err, answer)
	}
}

func (r *rig) topic(partitions int) {
	r.t.Helper()
	if err := r.cluster.Ensure(r.t.Context(), feedback.ExamplesTopic(project), partitions, nil); err != nil {
		r.t.Fatal(err)
	}
}

// key signs in tests.
func key() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) }

// trusted are the keys that are trusted in tests.
func trusted() ([]ed25519.PublicKey, error) {
	return []ed25519.PublicKey{key().Public().(ed25519.PublicKey)}, nil
}

func (r *rig) config() Config {
	return Config{
		Project: project, Models: []Model{r.model}, Cluster: r.cluster, Registry: r.registry, Bundles: filepath.Join(r.dir, "models"),
		SchemaFile: func(model string) string { return filepath.Join(r.dir, "schemas", model+".yaml") },
		Sign:       key(), Trusted: trusted, Code: r.code, Log: slog.New(slog.NewTextHandler(&r.logged, nil)),
	}
}

// A logged keeps what was logged.
type logged struct{ text []byte }

func (l *logged) Write(p []byte) (int, error) {
	l.text = append(l.text, p...)
	return len(p), nil
}

func (r *rig) loop() *Loop {
	l := New(r.config())
	r.t.Cleanup(l.Close)
	return l
}

func (r *rig) step(l *Loop) {
	r.t.Helper()
	if err := l.Step(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// write writes a world's records of the hours before one.
func (r *rig) write(w *world, hour int) {
	r.t.Helper()
	var batch []streams.Record
	for p, records := range w.records {
		for ; r.sent[p] < len(records) && records[r.sent[p]].hour < hour; r.sent[p]++ {
			batch = append(batch, streams.Record{Partition: p, Value: records[r.sent[p]].AppendJSON(nil)})
		}
	}
	if len(batch) == 0 {
		return
	}
	if _, err := r.producer.Produce(r.t.Context(), feedback.ExamplesTopic(project), batch); err != nil {
		r.t.Fatal(err)
	}
}

// replay writes a world hour by hour, so many at once, with a step after each.
func (r *rig) replay(w *world, l *Loop, hours int) {
	r.t.Helper()
	for h := 0; h < w.hours; h += hours {
		r.write(w, h+hours)
		r.step(l)
	}
}

func (r *rig) runs() []registry.Run {
	r.t.Helper()
	runs, err := r.registry.Runs(r.t.Context(), r.model.Name)
	if err != nil {
		r.t.Fatal(err)
	}
	slices.Reverse(runs)
	return runs
}

func (r *rig) versions() []registry.Version {
	r.t.Helper()
	versions, err := r.registry.Versions(r.t.Context(), r.model.Name)
	if err != nil {
		r.t.Fatal(err)
	}
	slices.SortFunc(versions, func(a, b registry.Version) int { return cmp.Compare(a.Number, b.Number) })
	return versions
}

// outcome is what must be the same wherever and whenever a loop runs.
func (r *rig) outcome() (lines []string) {
	for _, run := range r.runs() {
		lines = append(lines, fmt.Sprintf("run %s %s %s %s %s %d", run.Status, run.Spec, run.Anomalies, run.Report, run.Bundle, run.Version))
	}
	for _, v := range r.versions() {
		lines = append(lines, fmt.Sprintf("version %d %s %s %s %d %s %q %s %d", v.Number, v.Bundle, v.State, v.Verdict, v.Cutoff, v.Author, v.Reasons, v.Report, v.Judged))
	}
	return lines
}

// collect reads the topic as a loop does, without one.
func (r *rig) collect() (all []pipeline.ExampleAt) {
	r.t.Helper()
	reader := pipeline.NewExampleReader(r.cluster, project, nil)
	defer reader.Close()
	for {
		batch, err := reader.Poll(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		if len(batch) == 0 {
			return all
		}
		all = append(all, batch...)
	}
}
