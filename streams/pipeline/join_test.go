package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/onlinetest"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
)

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
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := newRig(t)
			if seed == 2 {
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
// process that dies between the two commits.
func TestTickOfManyRows(t *testing.T) {
	r := newRig(t)
	r.ensureLoop()
	config := func() pipeline.Config { return r.loopConfig(features.EventClock) }
	const rows = 4200
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
	r.untilDeath(1, config, func() {})
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
