package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/featurestest"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/loadtest/faults"
	"github.com/millrace/millrace/streams/lake"
	"github.com/millrace/millrace/streams/pipeline"
)

// archive writes all of a source's topic to a new lake, in some twenty files.
func (r *rig) archive(src features.Source) (root string) {
	r.t.Helper()
	root = r.t.TempDir()
	r.archiveTo(root, src)
	return root
}

func (r *rig) archiveTo(root string, src features.Source) {
	r.t.Helper()
	rows := 1 + r.end(src.Topic, src.Partitions)/20
	a, err := lake.NewArchiver(root, r.cluster, src, lake.Options{Rows: int(rows), Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	tail := func(i int) int64 {
		next, err := lake.Tail(root, src.Name, i)
		if err != nil {
			r.t.Fatal(err)
		}
		return next
	}
	total := r.end(src.Topic, src.Partitions)
	r.eventually("the archiver", func() bool {
		var have int64
		for i := range src.Partitions {
			have += tail(i)
		}
		return a.Counts().Files > 0 && have > total-2*rows*int64(src.Partitions)
	})
	cancel() // it reads and writes what is left
	if err := <-done; err != nil {
		r.t.Fatal(err)
	}
	for i := range src.Partitions {
		if _, next, err := r.cluster.Bounds(r.t.Context(), src.Topic, i); err != nil || tail(i) != next {
			r.t.Fatalf("the lake has partition %d up to %d of %d, %v", i, tail(i), next, err)
		}
	}
}

// trim deletes all but the last n records of each partition.
func (r *rig) trim(src features.Source, n int64) {
	r.t.Helper()
	for i := range src.Partitions {
		_, next, err := r.cluster.Bounds(r.t.Context(), src.Topic, i)
		if err != nil {
			r.t.Fatal(err)
		}
		r.deleteRecords(src.Topic, int32(i), max(0, next-n))
	}
}

func (r *rig) refill(h *pipeline.Host, root string) {
	r.t.Helper()
	for _, to := range r.ranges(h, "pipeline") {
		if err := h.Refill(r.t.Context(), to, root); err != nil {
			r.t.Fatal(err)
		}
	}
}

// TestRefillEqualsLocalHost applies generated worlds from the lake and a log of
// which little is left: rows and progress are those of a local host that has read
// the log before, and stay so when there is more.
func TestRefillEqualsLocalHost(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := newRig(t)
			p, records := world(t, seed, "key", 2)
			r.ensure(p)
			most := len(records) * 4 / 5
			r.produce(p.Source.Topic, records[:most]...)
			local := r.beside()
			local.local(p)
			root := r.archive(p.Source)
			r.trim(p.Source, 1+int64(seed)*3)
			h := r.prepared(p)
			r.refill(h, root)
			r.equals(p, local)

			r.produce(p.Source.Topic, records[most:]...)
			local.local(p)
			r.local(p) // it goes on from the log, and finds the checksum in order
			r.equals(p, local)
		})
	}
}

// TestRefillGoesOn has a refill end after its first commit, and has the log lose
// more before another goes on. Then a store that was left behind by the log is
// brought up to date.
func TestRefillGoesOn(t *testing.T) {
	r, p, _, ends := newManyRows(t, nil)
	local := r.beside()
	local.local(p)
	root := r.archive(p.Source)
	r.trim(p.Source, 500)
	ctx, cancel := context.WithCancel(t.Context())
	c := r.config(p)
	c.OnCommit = func(string, int, online.Progress) { cancel() }
	ended := pipeline.New(c)
	if err := ended.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := ended.Refill(ctx, ends[0], root); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if next := r.progress(p)[0].Next; next == 0 || next >= ends[0].Ends[0]-500 {
		t.Fatalf("ended at %d", next)
	}
	r.trim(p.Source, 100)
	r.refill(r.prepared(p), root)
	r.equals(p, local)

	_, more := compile(t, featurestest.Large(3, 15_000, 14_000), 1)
	r.produce(p.Source.Topic, more[14_000:]...)
	local.local(p)
	r.archiveTo(root, p.Source)
	r.trim(p.Source, 10)
	r.refill(r.prepared(p), root)
	r.equals(p, local)
}

// TestRefillCountsDeadLetters has records that are no events below and above
// where the log begins. They are known by the letters of any view.
func TestRefillCountsDeadLetters(t *testing.T) {
	r, w := newFaultsWork(t)
	p := w.Plan
	local := r.beside()
	local.local(p)
	if c := local.counts(p); c.Dead < w.Bad() || w.Bad() == 0 {
		t.Fatalf("%d dead of %d", c.Dead, w.Bad())
	}
	root := r.archive(p.Source)
	letters := r.end(pipeline.DeadLetters(project), 1)
	r.trim(p.Source, 100)
	r.refill(r.prepared(p), root)
	r.equals(p, local)
	fromLog := r.end(pipeline.DeadLetters(project), 1) - letters
	if fromLog == 0 || fromLog == letters {
		t.Errorf("%d letters more after %d: only those of the log's records are written", fromLog, letters)
	}
}

func newFaultsWork(t *testing.T) (*rig, *faults.Work) {
	t.Helper()
	r := newRig(t)
	w, err := faults.NewWork(faults.Spec{Seed: 4, Partitions: 2, Events: 1500, Entities: 40})
	if err != nil {
		t.Fatal(err)
	}
	r.ensure(w.Plan)
	r.produce(w.Plan.Source.Topic, w.Records...)
	return r, w
}

// TestRefillRefuses has lakes, letters and logs from which the rows and the
// progress of the whole log cannot be made.
func TestRefillRefuses(t *testing.T) {
	r, w := newFaultsWork(t)
	p := w.Plan
	root := r.archive(p.Source)
	begunLate := t.TempDir()
	r.trim(p.Source, 200)
	r.archiveTo(begunLate, p.Source)
	refuses := func(p *features.Plan, root, want string) {
		t.Helper()
		h := r.prepared(p)
		err := h.Refill(t.Context(), r.ranges(h, "pipeline")[0], root)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if got := r.progress(p)[0]; got.Next != 0 {
			t.Errorf("progress %+v", got)
		}
	}
	refuses(p, root, "the dead letters have 0 that are none as source source is declared")
	refuses(p, begunLate, "what the log had before was gone when the lake was begun")
	refuses(p, t.TempDir(), "is there up to offset 0, and not up to")

	gap := t.TempDir()
	if err := os.CopyFS(gap, os.DirFS(root)); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(lake.Folder(gap, p.Source.Name), "00000-*"))
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	if err := os.Remove(files[1]); err != nil {
		t.Fatal(err)
	}
	refuses(p, gap, "are missing between")

	more := p.Source
	more.Fields = append(more.Fields[:len(more.Fields):len(more.Fields)], features.Field{Name: "later", Kind: expr.Int, Optional: true})
	refuses(recompile(t, p, more), root, `has no column "later": it was written before the source declared it`)
	finite := p.Source
	finite.AllowNonfinite = false
	refuses(recompile(t, p, finite), root, "was written when the source had allow_nonfinite")

	r.trim(p.Source, 0)
	refuses(p, root, "has no record up to")

	rekeyed, _ := rekeyed(t, 1, 10, 2)
	if err := r.prepared(rekeyed).Refill(t.Context(), r.ranges(r.prepared(rekeyed), "pipeline")[0], root); err == nil || !strings.Contains(err.Error(), "is applied from a re-keyed topic") {
		t.Error(err)
	}
}

func recompile(t *testing.T, p *features.Plan, src features.Source) *features.Plan {
	t.Helper()
	out, err := features.Compile(p.Clock, src, p.View)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRefillOfAnotherCluster has a lake whose offsets mean other records.
func TestRefillOfAnotherCluster(t *testing.T) {
	other, p := newRig(t), countPlan(t, "numbers", "k")
	send := func(r *rig) {
		r.ensure(p)
		for i := range int64(20) {
			r.produce(p.Source.Topic, countRecord("a", 1_700_000_000+i))
		}
	}
	send(other)
	root := other.archive(p.Source)
	r := newRig(t)
	send(r)
	r.trim(p.Source, 5)
	h := r.prepared(p)
	if err := h.Refill(t.Context(), r.ranges(h, "pipeline")[0], root); err == nil || !strings.Contains(err.Error(), "has offsets of topic numbers of cluster") {
		t.Error(err)
	}
}
