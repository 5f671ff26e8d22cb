package pipeline_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/onlinetest"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
)

// The sources of labels in these tests: quotes by symbol, whose next one is the
// truth, and clicks, which name what was clicked.
var (
	quotes = features.Source{Name: "quotes", EventTime: "time", Partitions: 3, KeyedBy: []string{"symbol"}, Fields: []features.Field{
		{Name: "symbol", Kind: expr.String}, {Name: "close", Kind: expr.Float}, {Name: "time", Kind: expr.Time, Unit: features.EpochMicros},
	}}.WithDefaults()
	clicks = features.Source{Name: "clicks", EventTime: "time", Partitions: 2, Fields: []features.Field{
		{Name: "shown", Kind: expr.String}, {Name: "clicked", Kind: expr.Bool}, {Name: "time", Kind: expr.Time, Unit: features.EpochMicros},
	}}.WithDefaults()
)

const second = int64(1_000_000)

// epoch is when the events of these tests begin.
var epoch = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC).UnixMicro()

// loopConfig is a host of the loop alone, with three models: two have sources,
// outcomes of the third come by themselves.
func (r *rig) loopConfig(clock features.Clock) pipeline.Config {
	r.t.Helper()
	c := r.config()
	c.Clock, c.Sources = clock, []features.Source{quotes, clicks}
	for _, m := range []struct {
		name  string
		label feedback.Label
		src   *features.Source
	}{
		{"up", feedback.Label{Source: "quotes", Join: feedback.NextEvent, Value: "close > 100.0", Horizon: 20 * time.Second}, &quotes},
		{"click", feedback.Label{Source: "clicks", Join: feedback.ByPrediction, Prediction: "shown", Value: "clicked", Horizon: 15 * time.Second, Grace: 4 * time.Second}, &clicks},
		{"direct", feedback.Label{Join: feedback.ByPrediction, Horizon: 10 * time.Second}, nil},
	} {
		l, err := feedback.Compile(m.name, m.label, m.src, []string{"symbol"})
		if err != nil {
			r.t.Fatal(err)
		}
		c.Labels = append(c.Labels, l)
	}
	return c
}

func rulesOf(c pipeline.Config) map[string]feedback.Rules {
	rules := map[string]feedback.Rules{}
	for _, l := range c.Labels {
		rules[l.Model] = l.Label.Rules()
	}
	return rules
}

// A step is what the world does at one time: records to topics.
type step map[string][]streams.Record

// prediction is the record of one.
func prediction(model, id, key string, at int64) streams.Record {
	p := feedback.Prediction{
		ID: id, Model: model, Key: key, Time: at, Set: "s", Vector: []features.Value{expr.FloatValue(float64(at % 97))},
		Entity: []features.Named{{Name: "symbol", Expr: key}}, Score: feedback.Score{Value: 0.5},
	}
	return streams.Record{Key: []byte(key), Value: p.AppendJSON(nil), Partition: -1}
}

// loopWorld makes a world of predictions, what came true, repeats, things that
// are late and things that are no records.
func loopWorld(seed uint64, steps int) []step {
	random := rand.New(rand.NewPCG(seed, 11))
	fb, out, shown := feedback.Topic(project), make([]step, steps), []string{}
	for i := range out {
		now := epoch + int64(i)*second
		s := step{}
		ask := func(model, key string) {
			id := fmt.Sprintf("%s-%d-%d", model, i, len(s[fb]))
			if model != "up" {
				key = id
				shown = append(shown, id)
			}
			s[fb] = append(s[fb], prediction(model, id, key, now-random.Int64N(second)))
		}
		for range random.IntN(4) {
			symbol := fmt.Sprintf("S%d", random.IntN(12))
			ask("up", symbol)
			if random.IntN(3) > 0 {
				value := fmt.Sprintf(`{"symbol":%q,"close":%d.5,"time":%d}`, symbol, 90+random.IntN(20), now+random.Int64N(second))
				if random.IntN(12) == 0 {
					value = fmt.Sprintf(`{"symbol":%q,"close":null,"time":%d}`, symbol, now) // no label
				}
				s["quotes"] = append(s["quotes"], streams.Record{Key: []byte(symbol), Value: []byte(value), Time: now / 1000 * 1000, Partition: -1})
			}
		}
		for range random.IntN(3) {
			ask([]string{"click", "direct"}[random.IntN(2)], "")
		}
		if len(shown) > 0 && random.IntN(2) == 0 {
			id, at := shown[random.IntN(len(shown))], now-random.Int64N(3*second)
			model, _, _ := strings.Cut(id, "-")
			if model == "click" {
				value := fmt.Appendf(nil, `{"shown":%q,"clicked":%t,"time":%d}`, id, random.IntN(2) == 0, at)
				s["clicks"] = append(s["clicks"], streams.Record{Value: value, Time: now / 1000 * 1000, Partition: random.IntN(clicks.Partitions)})
			} else {
				o := feedback.Outcome{ID: fmt.Sprint("o", random.IntN(steps)), Model: model, Key: id, Time: at, Label: 1}
				s[fb] = append(s[fb], streams.Record{Key: []byte(id), Value: o.AppendJSON(nil), Partition: -1})
			}
		}
		if len(s[fb]) > 0 && random.IntN(6) == 0 { // sent twice
			s[fb] = append(s[fb], s[fb][0])
		}
		if random.IntN(9) == 0 {
			s[fb] = append(s[fb], streams.Record{Value: []byte(`{"v":1,"kind":"prediction"}`), Partition: random.IntN(4)}, prediction("unheard", "x", "x", now))
			s["quotes"] = append(s["quotes"], streams.Record{Value: []byte("{"), Time: now / 1000 * 1000, Partition: 0})
		}
		out[i] = s
	}
	return out
}

// ensureLoop makes the topics before anything is produced.
func (r *rig) ensureLoop() int {
	r.t.Helper()
	for _, s := range []features.Source{quotes, clicks} {
		if err := r.cluster.Ensure(r.t.Context(), s.Topic, s.Partitions, nil); err != nil {
			r.t.Fatal(err)
		}
	}
	n, err := pipeline.EnsureFeedback(r.t.Context(), r.cluster, project, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

func (r *rig) play(s step) {
	r.t.Helper()
	for topic, records := range s {
		r.produce(topic, records...)
	}
}

func joinShard(partition int) online.Shard {
	return online.Shard{Space: fmt.Sprintf("%s.join.%d", project, partition), Index: partition}
}

// joined waits until all labels' sources and the feedback that is there have
// been passed.
func (r *rig) joined() {
	r.t.Helper()
	for _, src := range []features.Source{quotes, clicks} {
		for p := range src.Partitions {
			r.passed(r.outcomesShard(src, p), src.Topic)
		}
	}
	for p := range 4 {
		r.passed(joinShard(p), feedback.Topic(project))
	}
}

// outcomesShard is where the progress through a label's source is kept.
func (r *rig) outcomesShard(src features.Source, partition int) online.Shard {
	r.t.Helper()
	id, err := r.cluster.ID(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	log := sha256.Sum256([]byte(id + "\x00" + src.Topic))
	return online.Shard{Space: fmt.Sprintf("%s.outcomes.%s@%x", project, src.Name, log[:8]), Index: partition}
}

// passed waits until a shard has committed all that its topic has.
func (r *rig) passed(s online.Shard, topic string) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("%s/%d to catch up", s.Space, s.Index), func() bool {
		_, next, err := r.cluster.Bounds(r.t.Context(), topic, s.Index)
		if err != nil {
			r.t.Fatal(err)
		}
		state, err := r.store.State(r.t.Context(), s)
		return err == nil && state.Progress.Next >= next
	})
}

// A fold is what a partition of the feedback topic comes to.
type fold struct {
	examples [][]byte
	rows     map[string][]byte
	stats    feedback.Stats
	counts   features.Counts // of predictions and outcomes; duplicates are the copies that were skipped
}

// foldLog folds records in one go.
func foldLog(t *testing.T, rules map[string]feedback.Rules, records []streams.Record) fold {
	t.Helper()
	shard, err := feedback.NewShard(rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	rows, f := map[string]*feedback.Row{}, fold{rows: map[string][]byte{}}
	emit := func(e *feedback.Example) { f.examples = append(f.examples, e.AppendJSON(nil)) }
	for _, rec := range records {
		shard.At(rec.Offset)
		r, err := feedback.Decode(rec.Value)
		switch {
		case err != nil:
			f.counts.Dead++
		case r.Tick != nil:
			shard.Tick(r.Tick.Time)
			type due struct {
				at  int64
				key string
			}
			var all []due
			for key, row := range rows {
				if row.Due() <= shard.Clock() {
					all = append(all, due{row.Due(), key})
				}
			}
			slices.SortFunc(all, func(a, b due) int { return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.key, b.key)) })
			for _, d := range all {
				model, _, _ := strings.Cut(d.key, "/")
				shard.Expire(rows[d.key], model, emit)
			}
			shard.Pass(emit)
		case r.Outcome != nil && !shard.Origin(r.Outcome):
			f.counts.Duplicates++
		default:
			key := feedback.RowKey(r.Model(), r.Key())
			if rows[key] == nil {
				rows[key] = feedback.NewRow()
			}
			if _, refused := shard.Fold(r, rows[key], emit); refused != nil {
				f.counts.Dead++
			} else {
				f.counts.Applied++
			}
		}
	}
	for key, row := range rows {
		if !row.Empty() {
			f.rows[key] = row.Append(nil)
		}
	}
	if len(records) > 0 {
		f.rows["state"] = shard.AppendState(nil)
	}
	f.stats = shard.Stats()
	return f
}

// fresh are the values of a partition's examples without those that repeat an
// earlier number, and how many those are.
func (r *rig) fresh(partition int) (values [][]byte, repeats int) {
	r.t.Helper()
	seq := int64(0)
	for _, rec := range r.readAll(feedback.ExamplesTopic(project), partition) {
		e, err := feedback.DecodeExample(rec.Value)
		if err != nil {
			r.t.Fatal(err)
		}
		if e.Seq <= seq {
			repeats++
			continue
		}
		seq = e.Seq
		values = append(values, rec.Value)
	}
	return values, repeats
}

// checkJoin compares the examples, the rows, the counts and the statistics with a fold of
// each partition, as far as the store says that it has been joined.
func (r *rig) checkJoin(rules map[string]feedback.Rules) (total fold, repeats int) {
	r.t.Helper()
	for p := range 4 {
		state, err := r.store.State(r.t.Context(), joinShard(p))
		if err != nil {
			r.t.Fatal(err)
		}
		log := r.readAll(feedback.Topic(project), p)
		want := foldLog(r.t, rules, log[:state.Progress.Next])
		got, again := r.fresh(p)
		if !slices.EqualFunc(got, want.examples, bytes.Equal) {
			r.t.Fatalf("partition %d: %d examples\n%s\nwant %d\n%s", p, len(got), bytes.Join(got, []byte("\n")), len(want.examples), bytes.Join(want.examples, []byte("\n")))
		}
		rows := map[string][]byte{}
		for e, err := range r.store.Rows(r.t.Context(), joinShard(p).Space) {
			if err != nil {
				r.t.Fatal(err)
			}
			rows[e.Key.Entity] = bytes.Clone(e.Row.Head)
		}
		if len(rows) != len(want.rows) {
			r.t.Fatalf("partition %d: %d rows, want %d", p, len(rows), len(want.rows))
		}
		for key, w := range want.rows {
			if !bytes.Equal(rows[key], w) {
				r.t.Fatalf("partition %d, row %q: %x, want %x", p, key, rows[key], w)
			}
		}
		total.examples = append(total.examples, got...)
		if state.Progress.Counts != want.counts {
			r.t.Errorf("partition %d: counts %+v, want %+v", p, state.Progress.Counts, want.counts)
		}
		total.counts.Duplicates += want.counts.Duplicates
		total.stats = total.stats.Add(want.stats)
		repeats += again
	}
	stats, err := pipeline.JoinStats(r.t.Context(), project, r.store, 4)
	if err != nil || stats != total.stats {
		r.t.Errorf("statistics %+v, %v, want %+v", stats, err, total.stats)
	}
	return total, repeats
}

// A mortalStore ends the process, so to speak, at the n-th commit of the loop:
// what it wrote stays, the commit does not happen.
type mortalStore struct {
	online.Store
	left *atomic.Int64
	die  context.CancelFunc
}

func (s mortalStore) Commit(ctx context.Context, c *online.Commit) error {
	if s.left.Add(-1) < 0 {
		s.die()
		return errors.New("the process has ended")
	}
	return s.Store.Commit(ctx, c)
}

// untilDeath runs a host over what do brings, and ends it at the n-th commit.
func (r *rig) untilDeath(n int64, config func() pipeline.Config, do func()) {
	r.t.Helper()
	whole := r.store
	defer func() { r.store = whole }()
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	left := &atomic.Int64{}
	left.Store(n)
	r.store = mortalStore{whole, left, cancel}
	done := make(chan error, 1)
	host := pipeline.New(config())
	go func() { done <- host.Run(ctx) }()
	do()
	r.eventually("the end of the process", func() bool { return ctx.Err() != nil })
	if err := <-done; err != nil {
		r.t.Fatal(err)
	}
}

// TestJoinEqualsOneFold runs worlds through hosts that die between what they
// write and their commits, are two at once, or stop in order, at random:
// examples, rows and statistics are those of one fold of the log.
func TestJoinEqualsOneFold(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := newRig(t)
			if seed == 3 {
				r = newRedisRig(t, onlinetest.StartRedis(t).Addr)
			}
			testJoin(t, r, seed)
		})
	}
}

func testJoin(t *testing.T, r *rig, seed uint64) {
	if n := r.ensureLoop(); n != 4 {
		t.Fatalf("%d partitions", n)
	}
	random := rand.New(rand.NewPCG(seed, 13))
	config := func() pipeline.Config { return r.loopConfig(features.EventClock) }
	rules := rulesOf(config())
	for chunk := range slices.Chunk(loopWorld(seed, 120), 10) {
		play := func() {
			for _, s := range chunk {
				r.play(s)
			}
		}
		if random.IntN(3) > 0 {
			r.untilDeath(random.Int64N(9), config, play)
			continue
		}
		stop, stopOther := r.run(pipeline.New(config())), func() {}
		if random.IntN(2) == 0 { // two owners of everything, by mistake
			stopOther = r.run(pipeline.New(config()))
		}
		play()
		r.joined()
		stop()
		stopOther()
	}
	r.again(config())
	total, repeats := r.checkJoin(rules)
	s := total.stats
	if repeats == 0 || total.counts.Duplicates == 0 || s.Predictions.Matched == 0 || s.Predictions.Unanswered == 0 || s.Outcomes.Late == 0 || s.Details.RepeatedPredictions == 0 {
		t.Errorf("%d repeats, %d copies, %+v: the test does not see them all", repeats, total.counts.Duplicates, s)
	}
	r.checkJoinLetters()
	r.checkReplays(config, rules, total)
}

// checkReplays joins the same log again: in an empty store, where all examples
// are written a second time, and in another cluster without a break, where the
// topic of examples is what it must be, byte for byte.
func (r *rig) checkReplays(config func() pipeline.Config, rules map[string]feedback.Rules, before fold) {
	r.t.Helper()
	r.again(r.emptied(config))
	again, repeats := r.checkJoin(rules)
	if len(again.examples) < len(before.examples) || repeats < len(before.examples) || again.counts.Duplicates <= before.counts.Duplicates {
		r.t.Errorf("%d examples, %d repeats, %d copies after a replay, before it %d, and %d copies", len(again.examples), repeats, again.counts.Duplicates, len(before.examples), before.counts.Duplicates)
	}

	other := newRig(r.t)
	other.ensureLoop()
	for p := range 4 {
		for _, rec := range r.readAll(feedback.Topic(project), p) {
			other.produce(feedback.Topic(project), streams.Record{Key: rec.Key, Value: rec.Value, Partition: p})
		}
	}
	other.again(other.loopConfig(features.EventClock))
	_, repeats = other.checkJoin(rules)
	if repeats != 0 {
		r.t.Errorf("%d repeats without a break", repeats)
	}
}

// TestExamplesGoOnInAnEmptyStore has a reader of examples go on while the join
// begins again, with less to make examples of before the same record: the topic
// has lost its beginning, or the project a model.
func TestExamplesGoOnInAnEmptyStore(t *testing.T) {
	for _, first := range []string{"direct", "click"} {
		t.Run(map[string]string{"direct": "trimmed", "click": "without a model"}[first], func(t *testing.T) {
			r := newRig(t)
			r.ensureLoop()
			topic := feedback.Topic(project)
			life := func(c pipeline.Config, model string, n int) {
				for i := range n {
					id := fmt.Sprint(model, i, "of", n)
					o := feedback.Outcome{ID: id, Model: model, Key: id, Time: epoch, Label: 1}
					r.produce(topic, prediction(model, id, id, epoch), streams.Record{Key: []byte(id), Value: o.AppendJSON(nil), Partition: -1})
				}
				stop := r.run(pipeline.New(c))
				for p := range 4 {
					r.passed(joinShard(p), topic)
				}
				stop()
			}
			reader := pipeline.NewExampleReader(r.cluster, project, nil)
			defer reader.Close()
			config := func() pipeline.Config { return r.loopConfig(features.EventClock) }
			life(config(), first, 40)
			if got := poll(t, reader); len(got) != 40 {
				t.Fatalf("%d examples, want 40", len(got))
			}
			if first == "direct" {
				for p := range int32(4) {
					_, next, err := r.cluster.Bounds(t.Context(), topic, int(p))
					if err != nil {
						t.Fatal(err)
					}
					r.deleteRecords(topic, p, next)
				}
			}
			c := r.emptied(config)
			c.Labels = c.Labels[2:]
			life(c, "direct", 8)
			if got := poll(t, reader); len(got) != 8 {
				t.Errorf("%d new examples, want 8", len(got))
			}
		})
	}
}

func (r *rig) emptied(config func() pipeline.Config) pipeline.Config {
	r.t.Helper()
	store, err := pebble.Open(r.t.TempDir())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { store.Close() })
	r.store = store
	return config()
}

// again runs a host until all is joined.
func (r *rig) again(c pipeline.Config) {
	r.t.Helper()
	stop := r.run(pipeline.New(c))
	r.joined()
	stop()
}

// checkJoinLetters looks for each kind of dead letter of the loop.
func (r *rig) checkJoinLetters() {
	r.t.Helper()
	got := map[string]int{}
	for _, d := range r.letters() {
		got[d.Stage+" "+d.View+" "+d.Reason]++
	}
	for _, want := range []string{"join  bad_record", "join unheard unknown_model", "outcomes up no_label"} {
		if got[want] == 0 {
			r.t.Errorf("no dead letter %q in %v", want, got)
		}
		delete(got, want)
	}
	if len(got) > 0 {
		r.t.Errorf("other dead letters: %v", got)
	}
}

// TestTickOfManyRows closes more rows by one tick than a commit takes, in a
// process that dies at each of its commits in turn.
func TestTickOfManyRows(t *testing.T) {
	r := newRig(t)
	r.ensureLoop()
	config := func() pipeline.Config { return r.loopConfig(features.EventClock) }
	const rows = 8400
	records := make([]streams.Record, 0, rows+4)
	for i := range rows {
		id := fmt.Sprintf("d%d", i)
		rec := prediction("direct", id, id, epoch+int64(i%100))
		rec.Partition = 0
		records = append(records, rec)
	}
	tick := func(at int64) streams.Record {
		return streams.Record{Value: feedback.Tick{Time: at}.AppendJSON(nil), Partition: 0}
	}
	closing, forgetting := tick(epoch+12*second), tick(epoch+60*second)
	r.produce(feedback.Topic(project), append(records, tick(epoch))...)
	r.again(config())
	r.produce(feedback.Topic(project), closing)
	for range 2 { // one commit is made each time
		r.untilDeath(1, config, func() {})
	}
	half, err := r.store.State(t.Context(), joinShard(0))
	if err != nil || half.Progress.Next != rows+1 {
		t.Fatalf("%+v, %v: the tick has been passed already", half, err)
	}
	r.again(config())
	r.produce(feedback.Topic(project), closing, forgetting)
	r.again(config())
	total, repeats := r.checkJoin(rulesOf(config()))
	if n := total.stats.Predictions.Unanswered; n != rows || repeats == 0 {
		t.Errorf("%d unanswered, %d repeats", n, repeats)
	}
}

// ticks are the times of the ticks in a partition of the feedback topic.
func (r *rig) ticks(partition int) (all []int64) {
	r.t.Helper()
	for _, rec := range r.readAll(feedback.Topic(project), partition) {
		if f, err := feedback.Decode(rec.Value); err == nil && f.Tick != nil {
			all = append(all, f.Tick.Time)
		}
	}
	return all
}

// distinct are the times of the ticks that every partition has, each once.
func (r *rig) distinct() (all []int64) {
	r.t.Helper()
	all = slices.Compact(r.ticks(0))
	for p := range 4 {
		if other := slices.Compact(r.ticks(p)); !slices.Equal(all, other) {
			return nil // one is being written
		}
	}
	return all
}

// TestEventTicks has a tick only where each partition with data has passed it,
// and no event from far ahead moves one.
func TestEventTicks(t *testing.T) {
	r := newRig(t)
	r.ensureLoop()
	quote := func(symbol string, at int64) streams.Record {
		return streams.Record{Key: []byte(symbol), Value: fmt.Appendf(nil, `{"symbol":%q,"close":1,"time":%d}`, symbol, at), Partition: -1}
	}
	click := func(at int64) streams.Record {
		return streams.Record{Value: fmt.Appendf(nil, `{"shown":"x","clicked":true,"time":%d}`, at), Partition: 1}
	}
	other := "B" // in another partition
	for streams.PartitionOf([]byte(other), quotes.Partitions) == streams.PartitionOf([]byte("A"), quotes.Partitions) {
		other += "B"
	}
	early := make([]streams.Record, 2100) // more than are read before the click, which came later
	for i := range early {
		early[i] = quote("A", epoch+9*second)
		early[i].Time = time.Now().UnixMicro() - 10*second
	}
	r.produce(quotes.Topic, early...)
	r.produce(clicks.Topic, click(epoch+2*second))
	stop := r.run(pipeline.New(r.loopConfig(features.EventClock)))
	defer stop()
	want := []int64{epoch + 2*second}
	r.eventually("the least of two partitions", func() bool { return slices.Equal(r.distinct(), want) })
	for _, rec := range []streams.Record{quote(other, epoch+5*second), quote("A", epoch+90*24*3600*second), quote(other, time.Now().UnixMicro()+3600*second)} {
		r.produce(quotes.Topic, rec)
	}
	r.joined()
	r.produce(clicks.Topic, click(epoch+7*second))
	want = append(want, epoch+5*second)
	r.eventually("the least of three", func() bool { return slices.Equal(r.distinct(), want) })
	before := len(r.ticks(0))
	r.produce(quotes.Topic, quote("A", epoch+10*second))
	r.eventually("a tick after the last outcome", func() bool { return len(r.ticks(0)) > before && slices.Equal(r.distinct(), want) })
	var reasons []string
	for _, d := range r.letters() {
		reasons = append(reasons, d.Stage+" "+d.View+" "+d.Reason)
	}
	if letters := []string{"outcomes  in_future", "outcomes  in_future"}; !slices.Equal(reasons, letters) {
		t.Errorf("dead letters %q, want %q", reasons, letters)
	}
}

// A heldStore takes no commit of the outcomes stage until it is released.
type heldStore struct {
	online.Store
	held    atomic.Bool
	waiting atomic.Bool
}

func (s *heldStore) Commit(ctx context.Context, c *online.Commit) error {
	if strings.Contains(c.Shard.Space, ".outcomes.") && s.held.Load() {
		s.waiting.Store(true)
		return errors.New("the store is away")
	}
	return s.Store.Commit(ctx, c)
}

// TestWallClock closes what is over by the wall clock: at once where no label has
// a source, and else not before the outcomes that are there have been read.
func TestWallClock(t *testing.T) {
	for _, sources := range []bool{false, true} {
		t.Run(map[bool]string{false: "outcomes come over HTTP", true: "outcomes are events"}[sources], func(t *testing.T) {
			r := newRig(t)
			r.ensureLoop()
			held := &heldStore{Store: r.store}
			held.held.Store(sources)
			r.store = held
			c := r.loopConfig(features.WallClock)
			if !sources {
				c.Labels, c.Sources = c.Labels[2:], nil
			}
			old := time.Now().UnixMicro() - 60*second
			r.produce(feedback.Topic(project), prediction("direct", "d", "d", old), prediction("direct", "e", "e", time.Now().UnixMicro()+600*second))
			r.produce(clicks.Topic, streams.Record{Value: fmt.Appendf(nil, `{"shown":"x","clicked":true,"time":%d}`, old), Partition: 0})
			h := pipeline.New(c)
			stop := r.run(h)
			defer stop()
			if sources {
				r.eventually("a commit that waits", held.waiting.Load)
				r.says(h, "the store does not take a commit: the store is away")
				time.Sleep(1500 * time.Millisecond) // a tick more than there may be
				for p := range 4 {
					if all := r.ticks(p); len(all) > 0 {
						t.Errorf("partition %d has ticks %v", p, all)
					}
				}
				held.held.Store(false)
			}
			r.eventually("an unanswered prediction", func() bool {
				s, err := pipeline.JoinStats(t.Context(), project, r.store, 4)
				return err == nil && s.Predictions.Unanswered == 1 && s.Predictions.Pending == 1
			})
			r.healthy(h)
			for p := range 4 {
				if all := r.ticks(p); len(all) == 0 || all[0] < old+60*second {
					t.Errorf("partition %d has ticks %v", p, all)
				}
			}
		})
	}
}

// TestUnviewedSources has dead letters for the events of a label's source that
// cannot be decoded, where no view has them.
func TestUnviewedSources(t *testing.T) {
	r := newRig(t)
	r.ensureLoop()
	c := r.loopConfig(features.EventClock)
	c.Unviewed = []string{"clicks"}
	r.produce(quotes.Topic, streams.Record{Key: []byte("A"), Value: []byte("{"), Partition: -1})
	r.produce(clicks.Topic, streams.Record{Value: []byte("{"), Partition: 1})
	r.again(c)
	letters := r.letters()
	if len(letters) != 1 || letters[0].Stage != "outcomes" || letters[0].Topic != "clicks" || letters[0].View != "" || letters[0].Partition != 1 {
		t.Errorf("dead letters %+v", letters)
	}
}

// TestFeedbackOfOtherShape stops the host where the topics cannot be used, and
// keeps the number of partitions that the topic of feedback has.
func TestFeedbackOfOtherShape(t *testing.T) {
	r := newRig(t)
	if err := r.cluster.Ensure(t.Context(), feedback.Topic(project), 7, nil); err != nil {
		t.Fatal(err)
	}
	if n, err := pipeline.EnsureFeedback(t.Context(), r.cluster, project, nil); err != nil || n != 7 {
		t.Errorf("%d partitions, %v", n, err)
	}
	if n, err := r.cluster.Partitions(t.Context(), feedback.ExamplesTopic(project)); err != nil || n != 7 {
		t.Errorf("%d partitions of examples, %v", n, err)
	}
	other := newRig(t)
	if err := other.cluster.Ensure(t.Context(), feedback.ExamplesTopic(project), 3, nil); err != nil {
		t.Fatal(err)
	}
	if err := pipeline.New(other.loopConfig(features.EventClock)).Run(t.Context()); !errors.Is(err, streams.ErrPartitions) {
		t.Errorf("%v", err)
	}
}

// TestFeedbackIsKept makes topics that lose nothing, whatever the configuration
// says of it, and leaves one that is there as it is.
func TestFeedbackIsKept(t *testing.T) {
	r := newRig(t)
	given := map[string]string{"retention.ms": "60000", "retention.bytes": "1000000", "segment.bytes": "2000000"}
	if err := r.cluster.Ensure(t.Context(), feedback.ExamplesTopic("old"), 4, given); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{project, "old"} {
		if _, err := pipeline.EnsureFeedback(t.Context(), r.cluster, name, given); err != nil {
			t.Fatal(err)
		}
	}
	kept := map[string]string{"retention.ms": "-1", "retention.bytes": "-1", "segment.bytes": "2000000"}
	for topic, want := range map[string]map[string]string{
		feedback.Topic(project): kept, feedback.ExamplesTopic(project): kept,
		feedback.Topic("old"): kept, feedback.ExamplesTopic("old"): given,
	} {
		if got := r.topicConfig(topic, slices.Collect(maps.Keys(want))...); !maps.Equal(got, want) {
			t.Errorf("topic %s: %v, want %v", topic, got, want)
		}
	}
}

// topicConfig returns what a topic's configuration says of some names.
func (r *rig) topicConfig(topic string, names ...string) map[string]string {
	r.t.Helper()
	client := &kafka.Client{Addr: kafka.TCP(r.addr)}
	answer, err := client.DescribeConfigs(r.t.Context(), &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{
		{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ConfigNames: names},
	}})
	if err != nil || len(answer.Resources) != 1 || answer.Resources[0].Error != nil {
		r.t.Fatal(err, answer)
	}
	got := map[string]string{}
	for _, e := range answer.Resources[0].ConfigEntries {
		got[e.ConfigName] = e.ConfigValue
	}
	return got
}
