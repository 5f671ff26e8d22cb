package pipeline_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
)

// steppers are those of all parts of a host.
func (r *rig) steppers(p *features.Plan) (all []*pipeline.Stepper) {
	r.t.Helper()
	h := r.host(p)
	if err := h.Prepare(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	for _, part := range h.Parts() {
		s, err := h.Stepper(part)
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(s.Close)
		all = append(all, s)
	}
	return all
}

// stepAll steps any of the steppers, some forgetting what they know, until done.
func (r *rig) stepAll(random *rand.Rand, all []*pipeline.Stepper, what string, done func() bool) {
	r.t.Helper()
	r.eventually(what, func() bool {
		for range 20 {
			s := all[random.IntN(len(all))]
			if random.IntN(8) == 0 {
				s.Close()
			}
			s.Step(r.t.Context(), time.Duration(random.IntN(10))*time.Millisecond)
			if s.Stopped() {
				r.t.Fatal(s.Status().Problem)
			}
		}
		return done()
	})
}

// TestStepsEqualDirectFold drives two owners of each part step by step, in any
// order: the rows are those of a fold in memory.
func TestStepsEqualDirectFold(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r, random := newRig(t), rand.New(rand.NewPCG(seed, 5))
			p, records := world(t, seed, "key", 3)
			r.ensure(p)
			all := append(r.steppers(p), r.steppers(p)...)
			half := len(records) / 2
			for i, part := range [][]streams.Record{records[:half], records[half:]} {
				r.produce(p.Source.Topic, part...)
				r.stepAll(random, all, fmt.Sprintf("half %d", i), func() bool { return r.isApplied(p, p.Source.Topic) })
			}
			want, counts := direct(t, p, records)
			sameRows(t, r.rows(p), want)
			if got := r.counts(p); got.Applied != counts.Applied || got.Dead != counts.Dead {
				t.Errorf("counts %+v, want %+v", got, counts)
			}
		})
	}
}

// TestStepsRekey does so with a topic that is keyed by another field.
func TestStepsRekey(t *testing.T) {
	r, random := newRig(t), rand.New(rand.NewPCG(6, 6))
	p, records := rekeyed(t, 6, 400, 3)
	r.ensure(p)
	all := append(r.steppers(p), r.steppers(p)...)
	r.produce(p.Source.Topic, records...)
	r.stepAll(random, all, "all records", func() bool {
		c := r.counts(p)
		return c.Applied+c.Dropped+c.Dead+c.Duplicates >= int64(len(records)) && r.isApplied(p, p.Topic(project))
	})
	r.checkRekeyed(p, len(records))
}

// TestStepIsBounded has a step whose context ends, and others go on from there.
func TestStepIsBounded(t *testing.T) {
	r := newRig(t)
	p, records := world(t, 1, "key", 1)
	r.ensure(p)
	r.produce(p.Source.Topic, records...)
	s := r.steppers(p)[0]
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s.Step(ended, time.Second)
	if st := s.Status(); st.Phase != pipeline.Waiting || st.Problem == "" {
		t.Fatalf("status %+v", st)
	}
	r.stepAll(rand.New(rand.NewPCG(1, 1)), []*pipeline.Stepper{s}, "all records", func() bool { return r.isApplied(p, p.Source.Topic) })
	want, _ := direct(t, p, records)
	sameRows(t, r.rows(p), want)
}

// TestStepOfAStoppedPart has the part stay stopped and say what to do.
func TestStepOfAStoppedPart(t *testing.T) {
	r := newRig(t)
	p, records := world(t, 1, "key", 2)
	r.ensure(p)
	records[0].Key = []byte("another")
	r.produce(p.Source.Topic, records...)
	for _, s := range r.steppers(p) {
		if s.Status().Partition != streams.PartitionOf([]byte("another"), 2) {
			continue
		}
		s.Step(t.Context(), time.Second) // opens it
		for range 2 {
			s.Step(t.Context(), time.Second)
			if st := s.Status(); !s.Stopped() || st.Phase != pipeline.Stopped || !strings.Contains(st.Problem, "remove keyed_by from source") {
				t.Fatalf("status %+v", st)
			}
		}
	}
}

// isApplied reports whether all of a topic has been applied under a plan, as far
// as the store answers.
func (r *rig) isApplied(p *features.Plan, topic string) bool {
	r.t.Helper()
	for partition := range p.Source.Partitions {
		_, next, err := r.cluster.Bounds(r.t.Context(), topic, partition)
		if err != nil {
			r.t.Fatal(err)
		}
		s, err := r.store.State(r.t.Context(), online.Shard{Space: p.Space(project), Index: partition})
		if err != nil || s.Progress.Next < next {
			return false
		}
	}
	return true
}
