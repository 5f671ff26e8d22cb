package pipeline_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/featurestest"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
	"github.com/millrace/millrace/streams/pipeline"
)

// A place is a rig whose broker can be stopped and started.
type place struct {
	*rig
	broker *broker.Broker
	dir    string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	store, err := pebble.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	p := &place{dir: filepath.Join(t.TempDir(), "log")}
	p.start(t, 0)
	t.Cleanup(func() { p.broker.Close() })
	p.rig = connect(t, p.broker.Addr(), store)
	return p
}

func (p *place) start(t *testing.T, port int) {
	t.Helper()
	b, err := broker.Start(broker.Options{Dir: p.dir, Port: port, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	p.broker = b
}

func (p *place) port(t *testing.T) int {
	t.Helper()
	_, port, _ := net.SplitHostPort(p.broker.Addr())
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestBrokerAway stops the broker and starts it again: the pipeline waits and
// says why, and what a producer could not write meanwhile is applied once.
func TestBrokerAway(t *testing.T) {
	r := newPlace(t)
	p, records := world(t, 6, "key", 2)
	r.ensure(p)
	h := r.host(p)
	stop := r.run(h)
	defer stop()
	half := len(records) / 2
	r.produce(p.Source.Topic, records[:half]...)
	r.applied(p, p.Source.Topic)

	port := r.port(t)
	if err := r.broker.Close(); err != nil {
		t.Fatal(err)
	}
	r.says(h, "waiting: ")
	wrote := make(chan error, 1)
	go func() {
		_, err := r.producer.Produce(context.Background(), p.Source.Topic, records[half:])
		wrote <- err
	}()
	r.start(t, port)
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	r.applied(p, p.Source.Topic)
	r.healthy(h)
	r.check(p, records)
}

// TestBrokerAwayFromGroup stops the broker of a host that shares partitions
// with others: it has none then, and says so, once in the log.
func TestBrokerAwayFromGroup(t *testing.T) {
	t.Parallel() // a group takes its time
	r := newPlace(t)
	p, records := world(t, 6, "key", 2)
	r.ensure(p)
	r.produce(p.Source.Topic, records...)
	var log bytes.Buffer // written to by one line at a time, and read after the last
	c := r.config(p)
	c.Group, c.Log = "g", slog.New(slog.NewTextHandler(&log, nil))
	h := pipeline.New(c)
	stop := r.run(h)
	r.applied(p, p.Source.Topic)
	r.healthy(h)

	port := r.port(t)
	if err := r.broker.Close(); err != nil {
		t.Fatal(err)
	}
	r.says(h, "group g.view."+p.View.Name+" waits")
	r.eventually("all partitions to be gone", func() bool { return len(h.Status()) == 0 })
	r.says(h, "group g.view."+p.View.Name+" waits")
	r.start(t, port)
	r.healthy(h)
	r.eventually("partitions", func() bool { return len(h.Status()) == p.Source.Partitions })
	stop()
	for _, line := range []string{"group waits", "group has been given"} {
		if n := strings.Count(log.String(), line); n != 1 {
			t.Errorf("%d lines of %q in the log:\n%s", n, line, log.String())
		}
	}
	r.check(p, records)
}

// TestHostStartsBeforeBroker starts the pipeline while there is no broker.
func TestHostStartsBeforeBroker(t *testing.T) {
	r := newPlace(t)
	port := r.port(t)
	if err := r.broker.Close(); err != nil {
		t.Fatal(err)
	}
	p, records := world(t, 6, "key", 2)
	h := r.host(p)
	r.says(h, "has not started")
	stop := r.run(h)
	defer stop()
	r.says(h, "the topics cannot be checked")
	r.start(t, port)
	r.healthy(h)
	r.produce(p.Source.Topic, records...)
	r.applied(p, p.Source.Topic)
	r.check(p, records)
}

// remake deletes a topic and makes it anew with the records.
func (r *rig) remake(topic string, partitions int, records []streams.Record) {
	r.t.Helper()
	client := &kafka.Client{Addr: kafka.TCP(r.addr)}
	answer, err := client.DeleteTopics(r.t.Context(), &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	if err != nil || answer.Errors[topic] != nil {
		r.t.Fatal(err, answer)
	}
	if err := r.cluster.Ensure(r.t.Context(), topic, partitions, nil); err != nil {
		r.t.Fatal(err)
	}
	fresh := streams.NewProducer(r.cluster)
	defer fresh.Close()
	if _, err := fresh.Produce(r.t.Context(), topic, records); err != nil {
		r.t.Fatal(err)
	}
}

// TestTopicMadeAnew deletes a topic and makes it anew, with fewer records under
// a running pipeline, and with others under one that starts: it stops.
func TestTopicMadeAnew(t *testing.T) {
	for _, c := range []struct {
		name, keyedBy string
		running       bool
		want          string
	}{
		{"shorter, running", "key", true, "it lost records or is another"},
		{"shorter, starting", "key", false, "the log ends at 1: it lost records or is another"},
		{"other records", "key", false, "is not the one that the store has applied"},
		{"re-keyed, shorter, running", "id", true, "it lost records or is another"},
		{"re-keyed, other records", "id", false, "is not the one that the store has applied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newPlace(t)
			p, records := world(t, 8, c.keyedBy, 1)
			r.ensure(p)
			r.produce(p.Source.Topic, records...)
			h := r.host(p)
			stop := r.run(h)
			r.eventually("all records", func() bool {
				got := r.counts(p)
				return got.Applied+got.Dropped+got.Dead+got.Duplicates >= int64(len(records))*9/10
			})
			r.healthy(h)
			if !c.running {
				stop()
			}
			again := records[:1]
			if c.want[:3] == "is " {
				again = slices.Clone(records)
				slices.Reverse(again)
			}
			r.remake(p.Source.Topic, 1, again)
			if !c.running {
				h = r.host(p)
				stop = r.run(h)
			}
			defer stop()
			r.says(h, c.want)
			r.says(h, "stopped")
			if c.keyedBy == "id" {
				r.says(h, "also delete the topic test.source.by.key: ")
			}
		})
	}
}

// TestTopicOfTheLoopMadeAnew makes anew what the loop has read: its stages stop,
// and say what has to go besides the store.
func TestTopicOfTheLoopMadeAnew(t *testing.T) {
	click := func(id string) streams.Record {
		return streams.Record{Value: fmt.Appendf(nil, `{"shown":%q,"clicked":true,"time":%d}`, id, epoch), Partition: 0}
	}
	const ofSource = "also delete the topics test.feedback and test.examples, or give the source a topic of another name: "
	for _, c := range []struct {
		name, topic string
		partitions  int
		again       []streams.Record
		want        string
	}{
		{"shorter source", clicks.Topic, clicks.Partitions, []streams.Record{click("c")}, ofSource},
		{"other events", clicks.Topic, clicks.Partitions, []streams.Record{click("c"), click("d")}, ofSource},
		{"empty feedback", feedback.Topic(project), 4, nil, "also delete the topic test.examples: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.ensureLoop()
			config := r.loopConfig(features.EventClock)
			r.produce(clicks.Topic, click("a"), click("b"))
			r.again(config)
			r.remake(c.topic, c.partitions, c.again)
			h := pipeline.New(config)
			stop := r.run(h)
			defer stop()
			r.says(h, "stopped: ")
			r.says(h, c.want)
		})
	}
}

// TestTopicDeleted deletes a topic under a running pipeline.
func TestTopicDeleted(t *testing.T) {
	t.Parallel() // the client waits long for a topic that may be about to appear
	r := newPlace(t)
	p, records := world(t, 8, "key", 1)
	r.ensure(p)
	r.produce(p.Source.Topic, records...)
	h := r.host(p)
	stop := r.run(h)
	defer stop()
	r.applied(p, p.Source.Topic)
	client := &kafka.Client{Addr: kafka.TCP(r.addr)}
	if _, err := client.DeleteTopics(t.Context(), &kafka.DeleteTopicsRequest{Topics: []string{p.Source.Topic}}); err != nil {
		t.Fatal(err)
	}
	r.says(h, "stopped: ")
	r.says(h, streams.ErrNoTopic.Error())
}

// TestLogBeginsLater deletes records that were not yet applied: the shard stops
// and says so, and the other goes on.
func TestLogBeginsLater(t *testing.T) {
	r := newPlace(t)
	p, records := compile(t, featurestest.Large(3, 200, 20), 2)
	r.ensure(p)
	first := slices.IndexFunc(records, func(rec streams.Record) bool { return streams.PartitionOf(rec.Key, 2) == 0 })
	r.produce(p.Source.Topic, records[:first+1]...)
	stop := r.run(r.host(p))
	r.applied(p, p.Source.Topic)
	stop()
	r.produce(p.Source.Topic, records[first+1:]...)
	r.deleteRecords(p.Source.Topic, 0, 3)
	h := r.host(p)
	stop = r.run(h)
	defer stop()
	r.says(h, "stopped: the store has applied the log up to offset 1, and the log now begins at 3: records in between are gone")
	_, next, err := r.cluster.Bounds(t.Context(), p.Source.Topic, 1)
	if err != nil || next == 0 {
		t.Fatal(next, err)
	}
	r.eventually("the other shard", func() bool {
		s, err := r.store.State(t.Context(), online.Shard{Space: p.Space(project), Index: 1})
		return err == nil && s.Progress.Next == next
	})
}

func (r *rig) deleteRecords(topic string, partition int32, first int64) {
	r.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.addr))
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	request := kmsg.NewPtrDeleteRecordsRequest()
	request.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: partition, Offset: first}}}}
	answer, err := request.RequestWith(r.t.Context(), client)
	if err != nil || answer.Topics[0].Partitions[0].ErrorCode != 0 {
		r.t.Fatal(err, answer)
	}
}

// TestEmptyStoreBeginsWithTheLog starts with an empty store on a log whose
// first records are gone.
func TestEmptyStoreBeginsWithTheLog(t *testing.T) {
	r := newPlace(t)
	w := featurestest.Large(1, 40, 1)
	p, records := compile(t, w, 1)
	r.ensure(p)
	r.produce(p.Source.Topic, records...)
	r.deleteRecords(p.Source.Topic, 0, 30)
	stop := r.run(r.host(p))
	defer stop()
	r.applied(p, p.Source.Topic)
	if c := r.counts(p); c.Applied+c.Dropped+c.Dead+c.Duplicates != 10 {
		t.Errorf("%+v, want 10 records", c)
	}
}
