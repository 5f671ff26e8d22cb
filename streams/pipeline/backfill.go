package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams"
)

// A Range is a part's work up to fixed offsets.
type Range struct {
	Part Part
	// Ends are the offsets at which it ends: of a partition of a view the one, of
	// the re-keying of a source those of all its partitions.
	Ends []int64
}

// Range returns a part's work up to what the log has now.
func (h *Host) Range(ctx context.Context, part Part) (Range, error) {
	plan, err := h.planOf(part)
	if err != nil {
		return Range{}, err
	}
	topic, partitions := plan.Topic(h.cfg.Project), []int{part.Partition}
	if part.Stage == "rekey" {
		topic, partitions = plan.Source.Topic, nil
		for p := range plan.Source.Partitions {
			partitions = append(partitions, p)
		}
	}
	r := Range{Part: part}
	for _, p := range partitions {
		_, next, err := h.cfg.Cluster.Bounds(ctx, topic, p)
		if err != nil {
			return Range{}, err
		}
		r.Ends = append(r.Ends, next)
	}
	return r, nil
}

// planOf returns the plan of a part, or the first of those that a re-keyer is for.
func (h *Host) planOf(part Part) (*features.Plan, error) {
	for _, plan := range h.cfg.Plans {
		if part.Stage == "pipeline" && part.View == plan.View.Name && part.Partition < plan.Source.Partitions ||
			part.Stage == "rekey" && part.View == plan.Topic(h.cfg.Project) && part.Partition == 0 && !plan.Keyed() {
			return plan, nil
		}
	}
	return nil, fmt.Errorf("pipeline: the project has no %v", part)
}

const (
	fillStep = time.Second      // how long a step of Fill goes on
	fillWait = 30 * time.Second // and how long it waits for the log and the store
	fillIdle = 5 * time.Millisecond
)

// Fill does a prepared host's work of one part up to the ends of a range, and
// nothing behind them: rows and progress are those of any other host at those
// offsets. It goes on from the progress in the store, so it may be called again
// after it has failed, by another process too; what lies behind the ends already
// stays as it is.
//
// Outages are waited for until ctx ends. The error says what needs a person, as
// that somebody else applies the same rows; two that re-key do not disturb each
// other.
func (h *Host) Fill(ctx context.Context, r Range) error {
	if err := h.checkRange(ctx, r); err != nil {
		return err
	}
	plan, err := h.planOf(r.Part)
	if err != nil {
		return err
	}
	if r.Part.Stage == "rekey" {
		return newRekeyer(h, plan).stepperTo(r.Ends).fill(ctx, r.Part)
	}
	p := newProcessor(h, plan, r.Part.Partition)
	return p.stepperTo(p, r.Ends[0]).fill(ctx, r.Part)
}

// checkRange makes sure that the log reaches to the ends.
func (h *Host) checkRange(ctx context.Context, r Range) error {
	now, err := h.Range(ctx, r.Part)
	if err != nil {
		return err
	}
	if len(r.Ends) != len(now.Ends) {
		return fmt.Errorf("pipeline: %v has %d ends, not %d", r.Part, len(now.Ends), len(r.Ends))
	}
	for i, end := range r.Ends {
		if now.Ends[i] < end {
			return fmt.Errorf("pipeline: %v is to be filled up to offset %d, and the log ends at %d: it lost records or was made anew; start the backfill again", r.Part, end, now.Ends[i])
		}
	}
	return nil
}

// fill steps until the part's end.
func (s *Stepper) fill(ctx context.Context, part Part) error {
	defer s.host.untrack(s.status)
	defer s.Close()
	for {
		before := s.Status().Progress.Next
		limited, cancel := context.WithTimeout(ctx, fillWait)
		s.Step(limited, fillStep)
		cancel()
		var conflict *online.Conflict
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case s.stopped:
			return fmt.Errorf("pipeline: backfill of %v: %s", part, s.Status().Problem)
		case part.Stage == "pipeline" && errors.As(s.failure, &conflict):
			return fmt.Errorf("pipeline: backfill of %v: somebody else applies the same rows: %w; a pipeline that runs with this view fills them itself, so stop it or let it; of another backfill, wait for its end", part, conflict)
		case s.failure == nil && s.ended():
			return nil
		case s.Status().Progress.Next == before:
			pause(fillIdle).sleep(ctx)
		}
	}
}

// stepperTo is stepper for what ends at an offset.
func (f *follower) stepperTo(w worker, end int64) *Stepper {
	ended := false
	s := f.stepper(w)
	s.ended = func() bool { return ended }
	s.step = func(ctx context.Context, limit time.Duration) error {
		for {
			batch, err := f.reader.Poll(ctx)
			if err != nil {
				return explain(err)
			}
			cut(&batch, end)
			if err := f.turn(ctx, w, batch, limit); err != nil || f.done == 0 {
				ended = err == nil && batch.Next >= end
				return err
			}
		}
	}
	return s
}

// stepperTo is stepper for what ends at an offset of each source partition.
func (r *rekeyer) stepperTo(ends []int64) *Stepper {
	var m *merge
	ended := false
	return &Stepper{
		host: r.host, status: r.status,
		open: func(ctx context.Context) (err error) {
			if m, err = r.open(ctx); err == nil {
				m.start(context.WithoutCancel(ctx))
			}
			return err
		},
		step: func(ctx context.Context, limit time.Duration) error {
			for until := time.Now().Add(limit); time.Now().Before(until); {
				some, ready, err := m.lookTo(ends)
				if err != nil || !some || !ready {
					ended = err == nil && m.atEnd()
					return err
				}
				if err := r.write(ctx, m); err != nil {
					return err
				}
			}
			return nil
		},
		close: func() { m.stop() },
		ended: func() bool { return ended },
	}
}

// lookTo is look for lanes that end. Where one has ended its reader may fetch
// once more, and nobody takes it.
func (m *merge) lookTo(ends []int64) (some, ready bool, err error) {
	ready = true
	for i, l := range m.lanes {
		if len(l.records) == 0 && !l.caughtUp {
			if err := l.takeTo(ends[i]); err != nil {
				return false, false, err
			}
		}
		some = some || len(l.records) > 0
		ready = ready && (len(l.records) > 0 || l.caughtUp)
	}
	return some, ready, nil
}

func (l *lane) takeTo(end int64) error {
	select {
	case f := <-l.batches:
		if f.err != nil {
			return explain(f.err)
		}
		cut(&f.batch, end)
		l.records, l.highWater, l.caughtUp = f.batch.Records, f.batch.HighWater, f.batch.Next >= end
		if len(l.records) == 0 && !l.caughtUp {
			l.release <- struct{}{}
		}
	default:
	}
	return nil
}

// cut ends a batch where a bounded run ends, as if the log did.
func cut(b *streams.Batch, end int64) {
	n, _ := slices.BinarySearchFunc(b.Records, end, func(r streams.Record, end int64) int { return cmp.Compare(r.Offset, end) })
	b.Records = b.Records[:n]
	b.Next, b.HighWater = min(b.Next, end), end
}
