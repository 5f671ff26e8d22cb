package pipeline_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/online"
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
// been passed, with the tick that follows the events.
func (r *rig) joined() {
	r.t.Helper()
	least := int64(math.MaxInt64) // of the newest times of the partitions with data
	for _, src := range []features.Source{quotes, clicks} {
		for p := range src.Partitions {
			s := r.passed(r.outcomesShard(src, p), src.Topic)
			if s.Progress.Next > 0 && s.Progress.Newest != features.NoTime {
				least = min(least, s.Progress.Newest)
			}
		}
	}
	for p := range 4 {
		if least != math.MaxInt64 {
			r.eventually("the last tick", func() bool {
				all := r.ticks(p)
				return len(all) > 0 && slices.Max(all) >= least
			})
		}
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

// passed waits until a shard has committed all that its topic has, and returns
// its state.
func (r *rig) passed(s online.Shard, topic string) (state online.State) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("%s/%d to catch up", s.Space, s.Index), func() bool {
		_, next, err := r.cluster.Bounds(r.t.Context(), topic, s.Index)
		if err != nil {
			r.t.Fatal(err)
		}
		state, err = r.store.State(r.t.Context(), s)
		return err == nil && state.Progress.Next >= next
	})
	return state
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
