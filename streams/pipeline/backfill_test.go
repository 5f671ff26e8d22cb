package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/featurestest"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
)

// beside is the rig with a store of its own.
func (r *rig) beside() *rig {
	r.t.Helper()
	store, err := pebble.Open(r.t.TempDir())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { store.Close() })
	other := *r
	other.store = store
	return &other
}

// progress is that of each shard of a plan.
func (r *rig) progress(p *features.Plan) (all []online.Progress) {
	r.t.Helper()
	for i := range p.Source.Partitions {
		s, err := r.store.State(r.t.Context(), online.Shard{Space: p.Space(project), Index: i})
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, s.Progress)
	}
	return all
}

// equals checks that two stores have the same of a plan.
func (r *rig) equals(p *features.Plan, want *rig) {
	r.t.Helper()
	sameRows(r.t, r.rows(p), want.rows(p))
	if got, want := r.progress(p), want.progress(p); !reflect.DeepEqual(got, want) {
		r.t.Errorf("progress\n%+v, want\n%+v", got, want)
	}
}

// ranges are those of a host's parts of a stage, up to what the log has.
func (r *rig) ranges(h *pipeline.Host, stage string) (all []pipeline.Range) {
	r.t.Helper()
	for _, part := range h.Parts() {
		if part.Stage != stage {
			continue
		}
		to, err := h.Range(r.t.Context(), part)
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, to)
	}
	return all
}

func (r *rig) prepared(plans ...*features.Plan) *pipeline.Host {
	r.t.Helper()
	h := r.host(plans...)
	if err := h.Prepare(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	return h
}

func (r *rig) fill(h *pipeline.Host, ranges []pipeline.Range) {
	r.t.Helper()
	for _, to := range ranges {
		if err := h.Fill(r.t.Context(), to); err != nil {
			r.t.Fatal(err)
		}
	}
}

// local applies all of a plan's topic by the local host.
func (r *rig) local(p *features.Plan) {
	r.t.Helper()
	stop := r.run(r.host(p))
	r.applied(p, p.Topic(project))
	stop()
}

// TestFillEqualsLocalHost fills a row space up to ends that the log has passed
// meanwhile, then up to later ones: both times rows and progress are those of a
// local host that has read as far.
func TestFillEqualsLocalHost(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := newRig(t)
			p, records := world(t, seed, "key", 3)
			r.ensure(p)
			half := len(records) / 2
			r.produce(p.Source.Topic, records[:half]...)
			local, h := r.beside(), r.prepared(p)
			local.local(p)
			ends := r.ranges(h, "pipeline")
			r.produce(p.Source.Topic, records[half:]...)
			r.fill(h, ends)
			r.equals(p, local)
			r.fill(h, ends) // there is nothing left
			r.equals(p, local)

			local.local(p)
			r.fill(h, r.ranges(h, "pipeline"))
			r.equals(p, local)
			r.fill(h, ends) // what is behind them stays
			r.equals(p, local)
		})
	}
}

// TestFillRekeys re-keys a source up to fixed ends and then fills the rows from
// what was written. Re-keying by another host meanwhile does no harm.
func TestFillRekeys(t *testing.T) {
	r := newRig(t)
	p, records := rekeyed(t, 6, 900, 3)
	r.ensure(p)
	r.produce(p.Source.Topic, records[:600]...)
	h := r.prepared(p)
	ends := r.ranges(h, "rekey")
	r.produce(p.Source.Topic, records[600:]...)
	r.fill(h, ends)
	if n := r.end(p.Topic(project), 3); n != 600 {
		t.Fatalf("%d records were re-keyed, want 600", n)
	}
	r.fill(h, r.ranges(h, "pipeline"))
	r.checkRekeyed(p, 600)

	ends = r.ranges(h, "rekey")
	done := make(chan error, 1)
	go func() { done <- r.prepared(p).Fill(t.Context(), ends[0]) }()
	r.fill(h, ends)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.fill(h, r.ranges(h, "pipeline"))
	t.Logf("%d copies", r.checkRekeyed(p, 900))
}

// end is how many records a topic's log ends with.
func (r *rig) end(topic string, partitions int) (n int64) {
	r.t.Helper()
	for i := range partitions {
		_, next, err := r.cluster.Bounds(r.t.Context(), topic, i)
		if err != nil {
			r.t.Fatal(err)
		}
		n += next
	}
	return n
}

// TestFillGoesOn has a fill end after its first commit, and another go on.
func TestFillGoesOn(t *testing.T) {
	r, p, h, ends := newManyRows(t, nil)
	local := r.beside()
	ctx, cancel := context.WithCancel(t.Context())
	c := r.config(p)
	c.OnCommit = func(string, int, online.Progress) { cancel() }
	ended := pipeline.New(c)
	if err := ended.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := ended.Fill(ctx, ends[0]); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if next := r.progress(p)[0].Next; next == 0 || next >= ends[0].Ends[0] {
		t.Fatalf("ended at %d of %d", next, ends[0].Ends[0])
	}
	r.fill(h, ends)
	local.local(p)
	r.equals(p, local)
}

// newManyRows has more rows than one commit takes.
func newManyRows(t *testing.T, onCommit func(r *rig, p *features.Plan)) (*rig, *features.Plan, *pipeline.Host, []pipeline.Range) {
	t.Helper()
	r := newRig(t)
	p, records := compile(t, featurestest.Large(3, 14_000, 14_000), 1)
	r.ensure(p)
	r.produce(p.Source.Topic, records...)
	c := r.config(p)
	c.OnCommit = func(string, int, online.Progress) {
		if onCommit != nil {
			onCommit(r, p)
		}
	}
	h := pipeline.New(c)
	if err := h.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r, p, h, r.ranges(h, "pipeline")
}

// TestFillBesideAnotherOwner has somebody else commit in the middle.
func TestFillBesideAnotherOwner(t *testing.T) {
	_, _, h, ends := newManyRows(t, func(r *rig, p *features.Plan) {
		shard := online.Shard{Space: p.Space(project)}
		s, err := r.store.State(t.Context(), shard)
		if err == nil {
			err = r.store.Commit(t.Context(), &online.Commit{Shard: shard, Expect: s.Token, Next: online.NewToken(), Progress: s.Progress})
		}
		if err != nil {
			t.Error(err)
		}
	})
	err := h.Fill(t.Context(), ends[0])
	if err == nil || !strings.Contains(err.Error(), "somebody else applies the same rows") || !errors.As(err, new(*online.Conflict)) {
		t.Fatal(err)
	}
}

// TestFillRefuses says what is wrong with ranges and logs.
func TestFillRefuses(t *testing.T) {
	r := newRig(t)
	p, records := world(t, 1, "key", 2)
	r.ensure(p)
	r.produce(p.Source.Topic, records...)
	h := r.prepared(p)
	part := h.Parts()[0]
	refused := func(to pipeline.Range, want string) {
		t.Helper()
		if err := h.Fill(t.Context(), to); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	refused(pipeline.Range{Part: part, Ends: []int64{1e6}}, "up to offset 1000000, and the log ends at")
	refused(pipeline.Range{Part: part}, "has 1 ends, not 0")
	refused(pipeline.Range{Part: pipeline.Part{Stage: "rekey", View: p.Source.Topic}}, "the project has no rekey of")
	records[0].Key = []byte("another")
	r.produce(p.Source.Topic, streams.Record{Key: []byte("another"), Value: records[0].Value, Time: records[0].Time, Partition: part.Partition})
	refused(r.ranges(h, "pipeline")[0], "remove keyed_by from source")
}
