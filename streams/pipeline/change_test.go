package pipeline_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
)

// countPlan counts the events of k in one partition of a topic. Without a key
// the topic is re-keyed.
func countPlan(t *testing.T, topic string, keyedBy ...string) *features.Plan {
	s := features.Source{
		Name: "source", Topic: topic, KeyedBy: keyedBy, EventTime: "t", Partitions: 1,
		Fields: []features.Field{{Name: "k", Kind: expr.String}, {Name: "t", Kind: expr.Time, Unit: features.EpochSeconds}},
	}
	v := features.View{Name: "view", Source: "source", Entity: []string{"k"}, Features: []features.Feature{
		{Name: "n", Agg: "count", Of: "*", Window: features.Window{Kind: features.Lifetime}},
	}}
	p, err := features.Compile(features.WallClock, s, v)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func countRecord(k string, at int64) streams.Record {
	return streams.Record{Key: []byte(k), Value: fmt.Appendf(nil, `{"k":%q,"t":%d}`, k, at), Partition: -1, Time: at * 1e6}
}

// TestSourceMovesToAnotherTopic re-keys two topics, one after the other, under
// the same name: the view of the second knows only what the second holds.
func TestSourceMovesToAnotherTopic(t *testing.T) {
	r := newRig(t)
	a, b := countPlan(t, "a"), countPlan(t, "b")
	r.ensure(a)
	r.ensure(b)
	for i := range int64(5) {
		r.produce("a", countRecord("only in a", 1000+i))
	}
	stop := r.run(r.host(a))
	r.eventually("topic a", func() bool { return r.counts(a).Applied == 5 })
	stop()
	for i := range int64(7) {
		r.produce("b", countRecord("only in b", 1000+i))
	}
	stop = r.run(r.host(b))
	r.eventually("topic b", func() bool { return r.counts(b).Applied == 7 })
	stop()
	rows := r.rows(b)
	if _, ok := rows["only in b"]; len(rows) != 1 || !ok {
		t.Errorf("rows of %d entities, among them one of topic b: %v", len(rows), ok)
	}
	if c := r.counts(b); c != (features.Counts{Applied: 7}) {
		t.Errorf("%+v", c)
	}
}

// TestUntimelyRecordsAreNotRekeyed has a record that Kafka took with a
// timestamp that our producer, and Kafka by default, would not take again. It
// must not hold up those behind it.
func TestUntimelyRecordsAreNotRekeyed(t *testing.T) {
	for reason, at := range map[string]time.Time{features.RejectFuture: time.Now().Add(2 * time.Hour), "bad_timestamp": time.UnixMilli(-1)} {
		r := newRig(t)
		p := countPlan(t, "a")
		r.ensure(p)
		w := &kafka.Writer{Addr: kafka.TCP(r.addr), Topic: "a", BatchTimeout: time.Millisecond}
		if err := w.WriteMessages(t.Context(), kafka.Message{Key: []byte("z"), Value: countRecord("k", 1000).Value, Time: at}); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r.produce("a", countRecord("k", 1001))
		stop := r.run(r.host(p))
		r.eventually("the record behind it", func() bool { return r.counts(p).Applied == 1 })
		stop()
		var got []string
		for d, err := range streams.ReadDeadLetters(t.Context(), r.cluster, pipeline.DeadLetters(project)) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, d.Stage+" "+d.Reason)
		}
		if fmt.Sprint(got) != "[rekey "+reason+"]" {
			t.Errorf("dead letters %v, want one of rekey for %s", got, reason)
		}
	}
}

// TestStatusWhileApplying reads the status all the time: the race detector
// sees whatever the processor still writes.
func TestStatusWhileApplying(t *testing.T) {
	r := newRig(t)
	p := countPlan(t, "a")
	r.ensure(p)
	h := r.host(p)
	stop := r.run(h)
	defer stop()
	done := make(chan struct{})
	var wg sync.WaitGroup
	sum := int64(0)
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				for _, s := range h.Status() {
					for _, o := range s.Progress.Origins {
						sum += o
					}
				}
			}
		}
	})
	for i := range int64(100) {
		r.produce("a", countRecord("k", 1000+i))
	}
	r.eventually("all records", func() bool { return r.counts(p).Applied == 100 })
	close(done)
	wg.Wait()
}

// TestLettersOfAChangedView has a view refuse a late record, and after a change
// all of them: the letters of the second lie below the first's, and none hides.
func TestLettersOfAChangedView(t *testing.T) {
	r := newRig(t)
	loose := countPlan(t, "a", "k")
	src := loose.Source
	src.MaxAhead = time.Second
	strict, err := features.Compile(features.WallClock, src, loose.View)
	if err != nil {
		t.Fatal(err)
	}
	r.ensure(loose)
	for _, ahead := range []int64{0, 10, 20, 100} {
		rec := countRecord("k", 1000+ahead)
		rec.Time = 1000 * 1e6
		r.produce("a", rec)
	}
	want := map[string]bool{}
	for _, p := range []*features.Plan{loose, strict} {
		stop := r.run(r.host(p))
		r.applied(p, "a")
		stop()
	}
	for _, offset := range []int64{1, 2, 3} {
		want[fmt.Sprint(strict.Space(project), " ", offset)] = true
	}
	want[fmt.Sprint(loose.Space(project), " 3")] = true
	for d, err := range streams.ReadDeadLetters(t.Context(), r.cluster, pipeline.DeadLetters(project)) {
		if err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprint(d.Space, " ", d.Offset)
		if !want[key] {
			t.Errorf("unexpected letter %s", key)
		}
		delete(want, key)
	}
	if len(want) > 0 {
		t.Errorf("no letters for %v", want)
	}
}

// otherProtocol is a balancer that ours has nothing in common with.
type otherProtocol struct{ kafka.RangeGroupBalancer }

func (otherProtocol) ProtocolName() string { return "another" }

// TestGroupThatCannotBeJoined ends the host with an error, instead of leaving
// partitions to nobody.
func TestGroupThatCannotBeJoined(t *testing.T) {
	r := newRig(t)
	p := countPlan(t, "a", "k")
	r.ensure(p)
	g, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{ID: "g.view.view", Brokers: []string{r.addr}, Topics: []string{"a"}, GroupBalancers: []kafka.GroupBalancer{otherProtocol{}}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := r.config(p)
	c.Group = "g"
	if err := pipeline.New(c).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "group g.view.view") {
		t.Errorf("got %v", err)
	}
}
