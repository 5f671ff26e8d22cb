package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
)

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
	c := r.loopConfig(features.EventClock)
	c.Unviewed = []string{quotes.Name} // else a view buries what is of the future
	stop := r.run(pipeline.New(c))
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
	t.Parallel() // it waits for ticks most of the time
	for _, sources := range []bool{false, true} {
		t.Run(map[bool]string{false: "outcomes come over HTTP", true: "outcomes are events"}[sources], func(t *testing.T) {
			t.Parallel()
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
				r.eventually(fmt.Sprintf("a tick in partition %d", p), func() bool { return len(r.ticks(p)) > 0 })
				if all := r.ticks(p); all[0] < old+60*second {
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
