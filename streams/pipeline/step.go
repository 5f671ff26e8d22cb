package pipeline

import (
	"context"
	"fmt"
	"time"
)

// A Part is what one owner at a time does of the views' work: to apply a
// partition of a view, or to re-key a source.
type Part struct {
	Stage     string // pipeline or rekey
	View      string // of a re-keyer: the topic that it writes
	Partition int    // of the view's topic; of a re-keyer: 0, it reads all
}

func (p Part) String() string {
	return fmt.Sprintf("%s of %s, partition %d", p.Stage, p.View, p.Partition)
}

// Parts returns the parts of the host's views.
func (h *Host) Parts() []Part {
	var parts []Part
	rekeyed := map[string]bool{}
	for _, plan := range h.cfg.Plans {
		if topic := plan.Topic(h.cfg.Project); !plan.Keyed() && !rekeyed[topic] {
			rekeyed[topic] = true
			parts = append(parts, Part{Stage: "rekey", View: topic})
		}
		for partition := range plan.Source.Partitions {
			parts = append(parts, Part{Stage: "pipeline", View: plan.View.Name, Partition: partition})
		}
	}
	return parts
}

// Prepare makes the topics that are missing, and checks those that are there.
// Host.Run does so by itself.
func (h *Host) Prepare(ctx context.Context) error {
	err := h.prepare(ctx)
	if err == nil {
		h.setStart("")
	}
	return err
}

// A Stepper does a part of a prepared host's work step by step, for those who
// have a scheduler of their own and want no goroutine that runs for good. It
// belongs to one goroutine at a time.
type Stepper struct {
	host   *Host
	status *tracked
	open   func(context.Context) error
	step   func(ctx context.Context, limit time.Duration) error
	close  func()

	opened  bool
	stopped bool
	failure error // of the last step
	wait    pause
	after   time.Time   // when the next step may try again
	ended   func() bool // nothing is left to do; nil: it goes on for good
}

// Stepper returns a part's. It begins at the progress in the store.
func (h *Host) Stepper(part Part) (*Stepper, error) {
	for _, plan := range h.cfg.Plans {
		topic := plan.Topic(h.cfg.Project)
		switch {
		case part.Stage == "pipeline" && part.View == plan.View.Name && part.Partition < plan.Source.Partitions:
			p := newProcessor(h, plan, part.Partition)
			return p.stepper(p), nil
		case part.Stage == "rekey" && part.View == topic && part.Partition == 0 && !plan.Keyed():
			return newRekeyer(h, plan).stepper(), nil
		}
	}
	return nil, fmt.Errorf("pipeline: the project has no %v", part)
}

// Step applies what the log has, for about limit at most, and commits it: after
// a step nothing is under way. While the last step's trouble calls for a pause, and
// when the part has stopped, it returns at once. Trouble is in the status and in the
// log of the host.
//
// The context bounds how long a step waits for the log and the store.
func (s *Stepper) Step(ctx context.Context, limit time.Duration) {
	if s.stopped || time.Now().Before(s.after) {
		return
	}
	s.failure = s.once(ctx, limit)
	if s.failure == nil {
		s.wait = 0
		return
	}
	s.Close()
	s.wait, s.stopped = s.host.failed(s.status, s.failure, s.wait)
	s.after = time.Now().Add(time.Duration(s.wait))
}

// Stopped reports whether the part has stopped for a reason that needs a person,
// which is in the status.
func (s *Stepper) Stopped() bool { return s.stopped }

// once opens the part, or does a step of it: what it begins with can be seen in
// the status between the two.
func (s *Stepper) once(ctx context.Context, limit time.Duration) error {
	if s.opened {
		return s.step(ctx, limit)
	}
	err := s.open(ctx)
	s.opened = err == nil
	return err
}

// Status returns where the part stands.
func (s *Stepper) Status() Status {
	s.host.mu.Lock()
	defer s.host.mu.Unlock()
	return s.status.Status
}

// Close forgets everything; the next Step begins at the store again.
func (s *Stepper) Close() {
	if s.opened {
		s.close()
	}
	s.opened = false
}

func (f *follower) stepper(w worker) *Stepper {
	return &Stepper{
		host: f.host, status: f.status,
		open:  func(ctx context.Context) error { return f.open(ctx, w) },
		step:  func(ctx context.Context, limit time.Duration) error { return f.step(ctx, w, limit) },
		close: f.close,
	}
}

// step applies what is there until all of it is committed.
func (f *follower) step(ctx context.Context, w worker, limit time.Duration) error {
	for {
		batch, err := f.reader.Poll(ctx)
		if err != nil {
			return explain(err)
		}
		if err := f.turn(ctx, w, batch, limit); err != nil || f.done == 0 {
			return err
		}
	}
}

func (r *rekeyer) stepper() *Stepper {
	var m *merge
	return &Stepper{
		host: r.host, status: r.status,
		open: func(ctx context.Context) (err error) {
			if m, err = r.open(ctx); err == nil {
				m.start(context.WithoutCancel(ctx)) // it reads ahead between the steps
			}
			return err
		},
		step: func(ctx context.Context, limit time.Duration) error {
			for until := time.Now().Add(limit); time.Now().Before(until); {
				some, ready, err := m.look()
				if err != nil || !some || !ready {
					return err
				}
				if err := r.write(ctx, m); err != nil {
					return err
				}
			}
			return nil
		},
		close: func() { m.stop() },
	}
}
