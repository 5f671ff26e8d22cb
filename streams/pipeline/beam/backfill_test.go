package beam

import (
	"context"
	"strings"
	"testing"

	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/loadtest/faults"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
)

// backfill makes the backfill of all parts of a project, up to what the log has.
func (r *rig) backfill(t *testing.T, project string, store online.Store) Backfill {
	t.Helper()
	Open = func(context.Context, Project) (*pipeline.Host, func() error, error) {
		return r.host(t, project, store), func() error { return nil }, nil
	}
	h := r.host(t, project, store)
	if err := h.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := Backfill{Name: project, Project: Project{Name: project, File: []byte{byte(runs.Add(1))}}}
	for _, part := range h.Parts() {
		to, err := h.Range(t.Context(), part)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case part.Stage == "rekey":
			b.Rekeys = append(b.Rekeys, Rekey{Range: to})
		case len(b.Rekeys) > 0:
			last := &b.Rekeys[len(b.Rekeys)-1]
			last.Parts = append(last.Parts, part)
		default:
			b.Fills = append(b.Fills, to)
		}
	}
	return b
}

func (r *rig) produce(t *testing.T, records []streams.Record) {
	t.Helper()
	if _, err := r.producer.Produce(t.Context(), r.work.Plan.Source.Topic, records); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) runLocal(t *testing.T, project string, store online.Store) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.host(t, project, store).Run(ctx) }()
	r.applied(t, project, store)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestBackfillEqualsLocalHost fills a row space on Prism up to an end that the
// log has passed, and later up to another: each time it is that of the local host
// that has read as far.
func TestBackfillEqualsLocalHost(t *testing.T) {
	r := newRig(t, faults.Spec{Seed: 7, Partitions: 4, Events: 3000, Entities: 50})
	onPrism, local := r.open(t), r.open(t)
	half := len(r.work.Records) / 2
	r.produce(t, r.work.Records[:half])
	r.runLocal(t, "local", local)
	b := r.backfill(t, "prism", onPrism)
	r.produce(t, r.work.Records[half:])
	for range 2 {
		if err := RunPrism(t.Context(), b.Pipeline()); err != nil {
			t.Fatal(err)
		}
		if diff := r.outcome(t, "prism", onPrism).Differs(r.outcome(t, "local", local)); diff != "" {
			t.Fatalf("on Prism and by the local host: %s", diff)
		}
		r.runLocal(t, "local", local)
		b = r.backfill(t, "prism", onPrism)
	}
	if err := r.work.Check(r.outcome(t, "prism", onPrism)); err != nil {
		t.Error(err)
	}
}

// TestBackfillRekeys re-keys the source and fills the rows of what was written.
func TestBackfillRekeys(t *testing.T) {
	r := newRig(t, faults.Spec{Seed: 8, Partitions: 3, Events: 2000, Entities: 40, Rekeyed: true})
	r.produce(t, r.work.Records)
	onPrism, local := r.open(t), r.open(t)
	if err := RunPrism(t.Context(), r.backfill(t, "rekeyed", onPrism).Pipeline()); err != nil {
		t.Fatal(err)
	}
	// The topic is the law: what another host makes of the same one.
	h := r.host(t, "rekeyed", local)
	if err := h.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, part := range h.Parts() {
		if part.Stage != "pipeline" {
			continue
		}
		to, err := h.Range(t.Context(), part)
		if err == nil {
			err = h.Fill(t.Context(), to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	got := r.outcome(t, "rekeyed", onPrism)
	if diff := got.Differs(r.outcome(t, "rekeyed", local)); diff != "" {
		t.Errorf("on Prism and by the local host: %s", diff)
	}
	var records int64
	for _, p := range got.Progress {
		c := p.Counts
		records += c.Applied + c.Dropped + c.Duplicates + c.Dead
	}
	if want := int64(len(r.work.Records)) - r.work.Bad(); records != want {
		t.Errorf("%d records of the re-keyed topic, want %d", records, want)
	}
}

// TestBackfillFails says what needs a person: here a record with a wrong key.
func TestBackfillFails(t *testing.T) {
	r := newRig(t, faults.Spec{Seed: 9, Partitions: 2, Events: 200, Entities: 10})
	r.work.Records[3].Key = []byte("another")
	r.produce(t, r.work.Records)
	err := RunPrism(t.Context(), r.backfill(t, "fails", r.open(t)).Pipeline())
	if err == nil || !strings.Contains(err.Error(), "remove keyed_by from source") {
		t.Fatal(err)
	}
}
