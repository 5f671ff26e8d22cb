package pipeline_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
)

// passed is the record of a Passed example.
func passed(seq int64) streams.Record {
	e := feedback.Example{Kind: feedback.Passed, Seq: seq, Known: seq * 1000}
	return streams.Record{Value: e.AppendJSON(nil)}
}

// poll returns what a reader finds until it finds nothing.
func poll(t *testing.T, r *pipeline.ExampleReader) (all []pipeline.ExampleAt) {
	t.Helper()
	for {
		batch, err := r.Poll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(batch) == 0 {
			return all
		}
		all = append(all, batch...)
	}
}

// TestExampleReaderSkipsRepeats writes examples as a join does that dies again
// and again: from an earlier number on. Readers that take turns anywhere return
// each number once, in order, from each partition.
func TestExampleReaderSkipsRepeats(t *testing.T) {
	const partitions, numbers = 3, 300
	r := newRig(t)
	topic := feedback.ExamplesTopic(project)
	reader := pipeline.NewExampleReader(r.cluster, project, nil)
	if got := poll(t, reader); len(got) != 0 || reader.Next() != nil {
		t.Fatalf("%v, %v from a topic that is not there", got, reader.Next())
	}
	if err := r.cluster.Ensure(t.Context(), topic, partitions, nil); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(5, 6))
	var written, had [partitions]int64
	copies := 0
	for slices.Min(written[:]) < numbers {
		p := random.IntN(partitions)
		from := max(1, written[p]+1-random.Int64N(40))
		var stretch []streams.Record
		for seq := from; seq <= min(from+random.Int64N(60), numbers); seq++ {
			rec := passed(seq)
			rec.Partition = p
			stretch = append(stretch, rec)
			if seq <= written[p] {
				copies++
			}
			written[p] = max(written[p], seq)
		}
		r.produce(topic, stretch...)
		if random.IntN(3) == 0 {
			next := reader.Next()
			reader.Close()
			reader = pipeline.NewExampleReader(r.cluster, project, next)
		}
		for _, e := range poll(t, reader) {
			had[e.Partition]++
			if e.Seq != had[e.Partition] || e.Known != e.Seq*1000 {
				t.Fatalf("partition %d, offset %d: number %d, want %d", e.Partition, e.Offset, e.Seq, had[e.Partition])
			}
		}
	}
	reader.Close()
	if had != written || copies < 100 {
		t.Errorf("returned up to %v of %v, with %d copies", had, written, copies)
	}
}

// TestFeedbackReader returns what can be decoded, and goes on from Next.
func TestFeedbackReader(t *testing.T) {
	r := newRig(t)
	topic := feedback.Topic(project)
	if err := r.cluster.Ensure(t.Context(), topic, 2, nil); err != nil {
		t.Fatal(err)
	}
	tick := func(p int, at int64) streams.Record {
		return streams.Record{Partition: p, Value: feedback.Tick{Time: at}.AppendJSON(nil)}
	}
	r.produce(topic, tick(0, 1), streams.Record{Value: []byte("{}")}, tick(1, 2))
	reader := pipeline.NewFeedbackReader(r.cluster, project, nil)
	got, err := reader.Poll(t.Context())
	if err != nil || len(got) != 2 || got[0].Tick.Time != 1 || got[1].Tick.Time != 2 || got[1].Partition != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	next := reader.Next()
	reader.Close()
	r.produce(topic, tick(0, 3))
	reader = pipeline.NewFeedbackReader(r.cluster, project, next)
	defer reader.Close()
	if got, err = reader.Poll(t.Context()); err != nil || len(got) != 1 || got[0].Tick.Time != 3 || got[0].Offset != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	if got, err = reader.Poll(t.Context()); err != nil || len(got) != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
}

// TestExampleReaderRefuses says what is wrong with the topic or with where to
// begin, and loses nothing that came before.
func TestExampleReaderRefuses(t *testing.T) {
	r := newRig(t)
	topic := feedback.ExamplesTopic(project)
	if err := r.cluster.Ensure(t.Context(), topic, 1, nil); err != nil {
		t.Fatal(err)
	}
	r.produce(topic, passed(1), streams.Record{Value: []byte(`{"v":1,"kind":"poem"}`)}, passed(2))
	reader := pipeline.NewExampleReader(r.cluster, project, nil)
	defer reader.Close()
	if got, err := reader.Poll(t.Context()); err != nil || len(got) != 1 || got[0].Seq != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	for range 2 {
		_, err := reader.Poll(t.Context())
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("offset 1 of topic %s, partition 0", topic)) {
			t.Fatal(err)
		}
	}
	for _, from := range [][]int64{{4}, {0, 0}} {
		reader := pipeline.NewExampleReader(r.cluster, project, from)
		_, err := reader.Poll(t.Context())
		var out *streams.OutOfRange
		if err == nil || len(from) == 1 && !errors.As(err, &out) {
			t.Errorf("from %v: %v", from, err)
		}
		reader.Close()
	}
}
