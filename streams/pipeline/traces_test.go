package pipeline_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
)

// A tracer keeps what it is told. It follows the predictions of models whose name it
// has.
type tracer struct {
	follows string

	mu      sync.Mutex
	applied []pipeline.Applied
	joined  []pipeline.Joined
}

func (x *tracer) Applied(a pipeline.Applied) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.applied = append(x.applied, a)
}

func (x *tracer) Follows(model, _ string) bool { return model == x.follows }

func (x *tracer) Joined(j pipeline.Joined) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.joined = append(x.joined, j)
}

// traced gives records headers of a few traces: some are sampled, some are not, and
// some are no trace contexts.
func traced(random *rand.Rand, records []streams.Record) []streams.Record {
	out := slices.Clone(records)
	for i := range out {
		parent := fmt.Sprintf("00-%032x-%016x-%02x", 1+random.IntN(20), 7, random.IntN(2))
		switch random.IntN(4) {
		case 0:
			continue
		case 1:
			parent = parent[:random.IntN(len(parent))]
		}
		out[i].Headers = []streams.Header{{Key: "of the producer", Value: []byte("x")}, {Key: streams.TraceParent, Value: []byte(parent)}, {Key: streams.TraceState, Value: []byte("v=1")}}
	}
	return out
}

func (r *rig) noTraces(topic string, partitions int) {
	r.t.Helper()
	for p := range partitions {
		for _, rec := range r.readAll(topic, p) {
			if _, ok := rec.Traced(); ok {
				r.t.Errorf("offset %d of topic %s has a trace context", rec.Offset, topic)
			}
		}
	}
}

// TestTracesChangeNothing applies worlds whose records are traced, as they are and
// re-keyed: rows are those of the records without it, dead letters have none of it,
// and the tracer is told of each sampled record once.
func TestTracesChangeNothing(t *testing.T) {
	for seed := range uint64(4) {
		for _, keyedBy := range []string{"key", "id"} {
			t.Run(fmt.Sprint(keyedBy, seed), func(t *testing.T) {
				r := newRig(t)
				p, plain := world(t, seed, keyedBy, 3)
				records := traced(rand.New(rand.NewPCG(seed, 21)), plain)
				r.ensure(p)
				r.produce(p.Source.Topic, records...)
				config, x := r.config(p), &tracer{}
				config.Tracer = x
				h := pipeline.New(config)
				stop := r.run(h)
				if keyedBy == "key" {
					r.applied(p, p.Source.Topic)
				} else {
					r.allRekeyed(p, len(records)-unreadable(records))
				}
				stop()
				if keyedBy == "key" {
					want, _ := direct(t, p, plain)
					sameRows(t, r.rows(p), want)
				} else {
					r.checkRekeyed(p, len(records)-unreadable(records))
				}
				r.noTraces(pipeline.DeadLetters(project), 1)
				want, got := map[streams.TraceContext]int{}, map[streams.TraceContext]int{}
				for i := range records {
					c, ok := records[i].Traced()
					if ok && (keyedBy == "key" || unreadable(records[i:i+1]) == 0) {
						want[c]++
					}
				}
				for _, a := range x.applied {
					got[a.Trace] += a.Records
					if a.View != "view" || a.Topic != p.Topic(project) || a.First < 0 || a.Begun.IsZero() || a.Committed.Before(a.Begun) {
						t.Errorf("%+v", a)
					}
				}
				if !maps.Equal(got, want) || len(want) == 0 {
					t.Errorf("the tracer was told of %v, want %v", got, want)
				}
				total := int64(0)
				for _, readable := range h.Readable() {
					for _, n := range readable.Counts {
						total += n
					}
				}
				applied := len(records)
				if keyedBy == "id" {
					applied -= unreadable(records)
				}
				if total != int64(applied) {
					t.Errorf("%d records became readable, want %d", total, applied)
				}
			})
		}
	}
}

// unreadable counts the records that are no events.
func unreadable(records []streams.Record) (n int) {
	for _, rec := range records {
		if string(rec.Value) == `{"key": "k1", "x": }` {
			n++
		}
	}
	return n
}

// TestTracesOfTheJoin joins a world whose records are traced: examples are those of
// one fold of the log, without headers; outcomes have the trace context of their
// event; and the tracer is told of each example whose prediction it follows, or
// whose record is sampled.
func TestTracesOfTheJoin(t *testing.T) {
	r := newRig(t)
	r.ensureLoop()
	x := &tracer{follows: "click"}
	config := r.loopConfig(features.EventClock)
	config.Tracer = x
	stop := r.run(pipeline.New(config))
	random := rand.New(rand.NewPCG(5, 21))
	for _, s := range loopWorld(5, 60) {
		for topic, records := range s {
			r.produce(topic, traced(random, records)...)
		}
	}
	r.joined()
	stop()
	r.checkJoin(rulesOf(config))
	r.noTraces(feedback.ExamplesTopic(project), 4)
	r.noTraces(pipeline.DeadLetters(project), 1)

	var want, got []string
	contexts := map[string]streams.TraceContext{} // of the feedback's records, by partition and offset
	passed := 0
	for p := range 4 {
		for _, rec := range r.readAll(feedback.Topic(project), p) {
			c, sampled := rec.Traced()
			contexts[fmt.Sprint(p, " ", rec.Offset)] = c
			f, err := feedback.Decode(rec.Value)
			if err != nil || f.Outcome == nil || f.Outcome.At == nil {
				continue
			}
			at := f.Outcome.At
			event := r.readAll(at.Topic, at.Partition)[at.Offset]
			if of, ok := event.Traced(); of != c || ok != sampled {
				t.Errorf("the outcome of %v has the trace context %x, want %x", at, c, of)
			}
			if sampled {
				passed++
			}
		}
		values, _ := r.fresh(p)
		for _, v := range values {
			e, err := feedback.DecodeExample(v)
			if err != nil {
				t.Fatal(err)
			}
			c := contexts[fmt.Sprint(p, " ", e.Seq>>20)]
			if e.Kind != feedback.Passed && (e.Prediction.Model == "click" || c != streams.TraceContext{}) {
				want = append(want, fmt.Sprintf("%s %s %v %x", e.Prediction.ID, e.Kind, e.Correction, c))
			}
		}
	}
	for _, j := range x.joined {
		got = append(got, fmt.Sprintf("%s %s %v %x", j.Prediction, j.Kind, j.Correction, j.Cause))
		if j.Topic != feedback.Topic(project) || j.Begun.IsZero() || j.Committed.Before(j.Begun) || j.Cause != contexts[fmt.Sprint(j.Partition, " ", j.Offset)] {
			t.Errorf("%+v", j)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) || len(want) == 0 || passed == 0 {
		t.Errorf("%d outcomes of events are sampled; the tracer was told of\n%q\nwant\n%q", passed, got, want)
	}
}

// TestManyTraces commits more traces together than the tracer is told of.
func TestManyTraces(t *testing.T) {
	r := newRig(t)
	p, records := world(t, 1, "key", 1)
	records = slices.Concat(records, records)[:200]
	for i := range records {
		records[i].Headers = []streams.Header{{Key: streams.TraceParent, Value: fmt.Appendf(nil, "00-%032x-%016x-01", i+1, 1)}}
	}
	r.ensure(p)
	r.produce(p.Source.Topic, records...)
	config, x := r.config(p), &tracer{}
	config.Tracer = x
	stop := r.run(pipeline.New(config))
	r.applied(p, p.Source.Topic)
	stop()
	commits := map[time.Time]int{}
	for _, a := range x.applied {
		commits[a.Committed]++
	}
	for _, n := range commits {
		if n > 128 {
			t.Errorf("%d spans of one commit", n)
		}
	}
	if len(x.applied) < 128 {
		t.Errorf("%d spans of %d traces", len(x.applied), len(records))
	}
}
