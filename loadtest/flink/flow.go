package flink

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/loadtest"
	"github.com/millrace/millrace/streams"
)

// A Flow produces events at a rate and watches the store for when they are
// committed. The time of a commit is that of the look at the store that finds it.
type Flow struct {
	Plan    *features.Plan
	Project string
	Engines *Engines
	Next    func() streams.Record // makes the next event; nil after the last
	Look    time.Duration         // how often the store is looked at

	mu    sync.Mutex
	sent  [][]mark // by partition, in the order of offsets
	seen  []int64  // by partition: up to where the store was when last looked at
	waits []Wait   // in the order of their ends
}

// A mark is an event on its way.
type mark struct {
	offset int64
	due    time.Time
}

// A Wait is how long an event took from when it was due to be produced until it
// was committed.
type Wait struct {
	Done time.Time
	Took time.Duration
}

// Run produces the events at a rate (a second) until the last, or until ctx ends,
// and returns when all are committed. An event that cannot be produced in time is
// produced late; it counts from when it was due.
func (f *Flow) Run(ctx context.Context, rate int) error {
	f.sent, f.seen = make([][]mark, f.Plan.Source.Partitions), make([]int64, f.Plan.Source.Partitions)
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	watched := make(chan struct{})
	go func() { defer close(watched); f.watch(watching) }()
	err := f.produce(ctx, rate)
	for deadline := time.Now().Add(3 * time.Minute); err == nil && f.open() > 0; time.Sleep(f.Look) {
		if time.Now().After(deadline) {
			err = fmt.Errorf("flink: %d events of %s are not committed 3 minutes after the last was produced", f.open(), f.Project)
		}
	}
	stop()
	<-watched
	return err
}

func (f *Flow) produce(ctx context.Context, rate int) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	began, n := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		var records []streams.Record
		for ready := min(int(time.Since(began).Seconds()*float64(rate)), n+50_000); n+len(records) < ready; {
			rec := f.Next()
			if rec.Value == nil {
				break
			}
			records = append(records, rec)
		}
		if len(records) == 0 {
			if int(time.Since(began).Seconds()*float64(rate)) > n {
				return nil // the last has been sent
			}
			continue
		}
		positions, err := f.Engines.Producer.Produce(context.WithoutCancel(ctx), f.Plan.Source.Topic, records)
		if err != nil {
			return err
		}
		f.mu.Lock()
		for i, p := range positions {
			due := began.Add(time.Duration(float64(n+i) / float64(rate) * 1e9))
			f.sent[p.Partition] = append(f.sent[p.Partition], mark{p.Offset, due})
		}
		f.mu.Unlock()
		n += len(records)
	}
}

// watch looks at the store until ctx ends. While it is away it looks again.
func (f *Flow) watch(ctx context.Context) {
	keys := make([]online.Key, f.Plan.Source.Partitions)
	for i := range keys {
		keys[i] = online.Key{Shard: online.Shard{Space: f.Plan.Space(f.Project), Index: i}}
	}
	tick := time.NewTicker(f.Look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, states, err := f.Engines.Store.Read(ctx, keys); err == nil {
			f.note(states, time.Now())
		}
	}
}

func (f *Flow) note(states []online.State, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range states {
		next := states[i].Progress.Next
		f.seen[i] = next
		done := 0
		for _, m := range f.sent[i] {
			if m.offset >= next {
				break
			}
			f.waits = append(f.waits, Wait{now, now.Sub(m.due)})
			done++
		}
		f.sent[i] = f.sent[i][done:]
	}
}

// open is how many events are on their way.
func (f *Flow) open() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.sent {
		n += len(s)
	}
	return n
}

// Waits returns those of the events that were committed from one time to
// another, and forgets all that ended before.
func (f *Flow) Waits(from, to time.Time) []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waits = slices.DeleteFunc(f.waits, func(w Wait) bool { return w.Done.Before(from) })
	var out []time.Duration
	for _, w := range f.waits {
		if w.Done.Before(to) {
			out = append(out, w.Took)
		}
	}
	slices.Sort(out)
	return out
}

// Summary says how long waits were: how many, the median, the 99th percentile and
// the longest, in ms. They are sorted.
func Summary(waits []time.Duration) string {
	if len(waits) == 0 {
		return "no event"
	}
	at := func(q float64) float64 { return loadtest.Millis(loadtest.Quantile(waits, q)) }
	return fmt.Sprintf("%d events, p50 %.0f ms, p99 %.0f ms, longest %.0f ms", len(waits), at(0.5), at(0.99), at(1))
}

// Lately returns how many events were committed in the last while, and the
// longest that one of them, or of those still on their way, has waited.
func (f *Flow) Lately(while time.Duration) (n int, longest time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	for _, w := range slices.Backward(f.waits) {
		if now.Sub(w.Done) > while {
			break
		}
		n++
		longest = max(longest, w.Took)
	}
	for _, s := range f.sent {
		if len(s) > 0 {
			longest = max(longest, now.Sub(s[0].due))
		}
	}
	return n, longest
}
