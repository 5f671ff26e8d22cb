package alarms

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/feedback/monitor"
)

// TestOfTwoProcessesOneTells, and the other goes on when it ends.
func TestOfTwoProcessesOneTells(t *testing.T) {
	b, path := newBook(t)
	ids := storm(t, b, 500)
	r := newReceiver(t)
	one, two := newHook(t, r.target()), newHook(t, r.target())
	for _, h := range []*hook{one, two} {
		h.done = func() bool { return count(t, b).Undelivered == 0 }
		h.check = time.Millisecond
	}
	run(t, path, one, two)
	if !slices.Equal(r.told, ids) {
		t.Errorf("told %d, want %d, in order and each once", len(r.told), len(ids))
	}

	// One that was killed leaves its lease, which has to run out first.
	now := time.Now()
	b.now = func() time.Time { return now }
	a := alarm("m", "g", 101, 0)
	put(t, b, Report{Alarms: []monitor.Alarm{a}, Look: a.Onset})
	claims := func(owner string, n int) {
		t.Helper()
		batch, err := b.claim(t.Context(), owner, 50)
		if err != nil || len(batch) != n {
			t.Errorf("%s may tell %v, %v", owner, batch, err)
		}
	}
	claims("killed", 1)
	claims("other", 0)
	now = now.Add(lease - time.Second)
	claims("other", 0)
	must(t, b.keepWord(t.Context(), "killed"))
	now = now.Add(lease - time.Second)
	claims("other", 0)
	now = now.Add(time.Second)
	claims("other", 1)
	claims("killed", 0)
	must(t, b.keepWord(t.Context(), "killed")) // not its any more
	must(t, b.leaveWord(t.Context(), "killed"))
	claims("killed", 0)
	now = now.Add(-24 * time.Hour) // the clock was set right
	claims("killed", 1)
	must(t, b.leaveWord(t.Context(), "killed"))
	claims("other", 1)
}

// TestNewsOfAnotherProcess is seen without a word of it, and what is put here at
// once.
func TestNewsOfAnotherProcess(t *testing.T) {
	for _, here := range []bool{false, true} {
		b, path := newBook(t)
		r := newReceiver(t)
		h := newHook(t, r.target())
		if !here {
			h.check = time.Millisecond
		}
		h.done = func() bool { return len(list(t, b, Filter{})) == 1 && count(t, b).Undelivered == 0 }
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = h.Run(ctx, b) })
		other := b
		if !here {
			other = open(t, path)
		}
		storm(t, other, 1)
		<-h.idle
		cancel()
		wg.Wait()
		if e := list(t, b, Filter{}); len(e) != 1 || e[0].Delivery != Sent {
			t.Errorf("here %v: %+v", here, e)
		}
	}
}
