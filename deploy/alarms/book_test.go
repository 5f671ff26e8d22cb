package alarms

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/feedback/monitor"
)

const day = int64(24 * time.Hour / time.Microsecond)

func open(t *testing.T, path string) *Book {
	t.Helper()
	b, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func newBook(t *testing.T) (*Book, string) {
	path := filepath.Join(t.TempDir(), "data", "alarms.db")
	return open(t, path), path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// alarm is one of model m that began at day onset and, unless over is 0, was over
// at that day.
func alarm(m, column string, onset, over int64) monitor.Alarm {
	a := monitor.Alarm{
		Model: m, Kind: monitor.DriftMonitor, Column: column, Version: 3, Onset: onset * day, Over: over * day,
		Value: 0.25, Worst: 0.5, Threshold: 0.2, Text: "share of " + column + " is 0.5",
	}
	a.ID = fmt.Sprintf("%s/%s/%s/%d", m, a.Kind, column, a.Onset)
	return a
}

func put(t *testing.T, b *Book, r Report) []monitor.Alarm {
	t.Helper()
	news, err := b.Put(t.Context(), r)
	must(t, err)
	return news
}

func list(t *testing.T, b *Book, f Filter) []Entry {
	t.Helper()
	found, err := b.List(t.Context(), f)
	must(t, err)
	return found
}

func count(t *testing.T, b *Book) Counts {
	t.Helper()
	c, err := b.Count(t.Context())
	must(t, err)
	return c
}

// A look is what monitors said at one time.
type look struct {
	at     int64
	alarms []monitor.Alarm
}

// history is what monitors say over some days: alarms begin, grow worse and end.
func history(r *rand.Rand, days int64) []look {
	var said []look
	open := map[int]*monitor.Alarm{}
	for d := int64(1); d <= days; d++ {
		l := look{at: d * day}
		for m := range 6 {
			a := open[m]
			switch {
			case a == nil && r.IntN(4) == 0:
				x := alarm([]string{"a", "b"}[m%2], fmt.Sprint("f", m/2), d, 0)
				open[m] = &x
			case a != nil && r.IntN(4) == 0:
				a.Over = l.at
			case a != nil && r.IntN(2) == 0:
				a.Value = r.Float64()
				a.Worst = max(a.Worst, a.Value)
			default:
				continue
			}
			l.alarms = append(l.alarms, *open[m])
			if open[m].Over != 0 {
				delete(open, m)
			}
		}
		said = append(said, l)
	}
	return said
}

// naive is each alarm as it was said last, by ID.
func naive(said []look) map[string]monitor.Alarm {
	last := map[string]monitor.Alarm{}
	for _, l := range said {
		for _, a := range l.alarms {
			last[a.ID] = a
		}
	}
	return last
}

// TestABookIsWhatWasSaidLast puts histories into a book in many ways: cut into
// other reports, from their beginning after restarts, by two processes. The book
// is the naive one in the end, each alarm was news once, and none that was over is
// open again meanwhile.
func TestABookIsWhatWasSaidLast(t *testing.T) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 6))
		said := history(r, 50)
		_, path := newBook(t)
		books := []*Book{open(t, path), open(t, path)}
		news := map[string]int{}
		over := map[string]bool{}
		known := 0 // days that were looked at before
		for life := 0; known < len(said); life++ {
			b := books[r.IntN(len(books))]
			until := min(len(said), known+1+r.IntN(30))
			for at := 0; at < until; {
				next := min(until, at+1+r.IntN(8))
				rep := Report{Look: said[next-1].at, Behind: next < known}
				for _, l := range said[at:next] {
					rep.Alarms = append(rep.Alarms, l.alarms...)
				}
				for _, a := range put(t, b, rep) {
					news[a.ID]++
				}
				at = next
				for _, e := range list(t, b, Filter{}) {
					if over[e.ID] && e.Over == 0 {
						t.Fatalf("seed %d: %s was over, and is open again", seed, e.ID)
					}
					over[e.ID] = e.Over != 0
				}
			}
			known = until
		}
		want := naive(said)
		got := list(t, books[0], Filter{})
		if len(got) != len(want) || len(want) < 20 {
			t.Fatalf("seed %d: %d alarms, want %d", seed, len(got), len(want))
		}
		for _, e := range got {
			if e.Alarm != want[e.ID] || news[e.ID] != 1 || e.Delivery != Due {
				t.Errorf("seed %d: %+v, %d times news, want %+v", seed, e, news[e.ID], want[e.ID])
			}
		}
	}
}

// TestAShortLagIsNoHistory has monitors that had caught up and find in one look
// what began and was over months before, as in a quick replay: it is news.
func TestAShortLagIsNoHistory(t *testing.T) {
	b, _ := newBook(t)
	put(t, b, Report{Look: 1000 * day})
	a := alarm("m", "f", 1010, 0)
	a.Over = a.Onset + 36*day
	if news := put(t, b, Report{Alarms: []monitor.Alarm{a}, Look: 1200 * day}); len(news) != 1 || news[0].ID != a.ID {
		t.Errorf("news %+v", news)
	}
	if c := count(t, b); c.Unacknowledged != 1 || c.Held != 0 || c.Undelivered != 1 {
		t.Errorf("%+v", c)
	}
}

// TestAFirstStartOverYears tells of what is open at the end, and of what was over
// not long before, and nothing until the monitors have come to the end.
func TestAFirstStartOverYears(t *testing.T) {
	b, _ := newBook(t)
	var told []monitor.Alarm
	for d := int64(2000); d < 3000; d += 10 {
		a := alarm("m", "f", d, 0)
		told = append(told, put(t, b, Report{Alarms: []monitor.Alarm{a}, Look: a.Onset, Behind: true})...)
		a.Over = a.Onset + 4*day
		told = append(told, put(t, b, Report{Alarms: []monitor.Alarm{a}, Look: a.Over, Behind: true})...)
	}
	long := alarm("m", "g", 2001, 0)
	told = append(told, put(t, b, Report{Alarms: []monitor.Alarm{long}, Look: 2995 * day, Behind: true})...)
	if c := count(t, b); len(told) > 0 || c.Open != 0 || c.Unacknowledged != 0 || c.Held != 101 || c.Undelivered != 0 {
		t.Fatalf("behind: %+v, told %v", c, told)
	}
	news := put(t, b, Report{Look: 2996 * day})
	// Those of day 2990 and 2980 were over on 2994 and 2984.
	if len(news) != 2 || news[0].ID != alarm("m", "f", 2990, 0).ID || news[1].ID != long.ID {
		t.Errorf("news %+v", news)
	}
	if c := count(t, b); c.Open != 1 || c.Unacknowledged != 2 || c.Held != 0 || c.Undelivered != 2 {
		t.Errorf("caught up: %+v", c)
	}
	past := 0
	for _, e := range list(t, b, Filter{}) {
		if e.Delivery == Past {
			past++
		}
	}
	if past != 99 {
		t.Errorf("%d are past", past)
	}
	if again := put(t, b, Report{Look: 2997 * day}); len(again) > 0 {
		t.Errorf("the same again: %+v", again)
	}
}

// TestAwayForAnHour: what began meanwhile is told, be it over or not.
func TestAwayForAnHour(t *testing.T) {
	b, path := newBook(t)
	before := alarm("m", "f", 100, 0)
	put(t, b, Report{Alarms: []monitor.Alarm{before}, Look: before.Onset})
	must(t, b.Close())
	b = open(t, path)
	brief, lasting := alarm("m", "g", 100, 101), alarm("m", "h", 101, 0)
	open := brief
	open.Over = 0
	for _, a := range []monitor.Alarm{before, open, brief, lasting} {
		put(t, b, Report{Alarms: []monitor.Alarm{a}, Look: max(a.Onset, a.Over), Behind: true})
	}
	news := put(t, b, Report{Look: 101 * day})
	if len(news) != 2 || news[0] != brief || news[1] != lasting {
		t.Errorf("news %+v", news)
	}
}

func TestAReportOfALaterLookOpensAgain(t *testing.T) {
	b, _ := newBook(t)
	a := alarm("m", "f", 100, 102)
	put(t, b, Report{Alarms: []monitor.Alarm{a}, Look: 102 * day})
	a.Over = 0
	put(t, b, Report{Alarms: []monitor.Alarm{a}, Look: 101 * day})
	if e, err := b.Get(t.Context(), a.ID); err != nil || e.Over == 0 {
		t.Errorf("a report of an earlier look has opened it: %+v, %v", e, err)
	}
	put(t, b, Report{Alarms: []monitor.Alarm{a}, Look: 103 * day}) // as after a change of the thresholds
	if e, err := b.Get(t.Context(), a.ID); err != nil || e.Over != 0 {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestNobodyToTell(t *testing.T) {
	b, _ := newBook(t)
	a := alarm("m", "f", 100, 0)
	if news := put(t, b, Report{Alarms: []monitor.Alarm{a}, Look: a.Onset, Quiet: true}); len(news) != 1 {
		t.Errorf("news %+v", news)
	}
	if c := count(t, b); c.Open != 1 || c.Unacknowledged != 1 || c.Undelivered != 0 {
		t.Errorf("%+v", c)
	}
	put(t, b, Report{Alarms: []monitor.Alarm{a}, Look: a.Onset})
	if e, err := b.Get(t.Context(), a.ID); err != nil || e.Delivery != Unsent {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestAcknowledgements(t *testing.T) {
	b, path := newBook(t)
	now := time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
	b.now = func() time.Time { return now }
	a := alarm("m", "f", 100, 0)
	put(t, b, Report{Alarms: []monitor.Alarm{a}, Look: a.Onset})
	if err := b.Acknowledge(t.Context(), "m/drift/g/1", "ann", ""); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), `there is no alarm "m/drift/g/1"`) {
		t.Errorf("of no alarm: %v", err)
	}
	for _, bad := range [][2]string{{"", ""}, {"a\nb", ""}, {"ann", strings.Repeat("x", 4097)}, {"ann", "\xff"}} {
		if err := b.Acknowledge(t.Context(), a.ID, bad[0], bad[1]); err == nil {
			t.Errorf("%.20q is taken", bad)
		}
	}
	must(t, b.Acknowledge(t.Context(), a.ID, "ann", "a new source"))
	err := open(t, path).Acknowledge(t.Context(), a.ID, "ben", "")
	if !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "is acknowledged already, by ann at 2026-11-25T10:00:00Z") {
		t.Errorf("the second: %v", err)
	}
	a.Worst, a.Over = 0.9, 105*day
	put(t, b, Report{Alarms: []monitor.Alarm{a}, Look: a.Over})
	must(t, b.Close())
	b = open(t, path)
	want := Entry{Alarm: a, Seen: now, Acknowledged: now, Who: "ann", Comment: "a new source", Delivery: Due}
	if e, err := b.Get(t.Context(), a.ID); err != nil || e != want {
		t.Errorf("%+v, %v, want %+v", e, err, want)
	}
	actions, err := b.Actions(t.Context(), 0)
	if want := []Action{{now, "ann", "acknowledge", a.ID, "a new source"}}; err != nil || !slices.Equal(actions, want) {
		t.Errorf("%+v, %v", actions, err)
	}
}

func TestOfSeveralOneAcknowledges(t *testing.T) {
	_, path := newBook(t)
	a := alarm("m", "f", 100, 0)
	put(t, open(t, path), Report{Alarms: []monitor.Alarm{a}, Look: a.Onset})
	var mu sync.Mutex
	first := 0
	var wg sync.WaitGroup
	for i := range 6 {
		b := open(t, path)
		wg.Go(func() {
			err := b.Acknowledge(context.Background(), a.ID, fmt.Sprint("person", i), "")
			if err != nil && !errors.Is(err, ErrConflict) {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				first++
			}
		})
	}
	wg.Wait()
	if actions, err := open(t, path).Actions(t.Context(), 0); err != nil || first != 1 || len(actions) != 1 {
		t.Errorf("%d were first; %+v, %v", first, actions, err)
	}
}

// TestSeveralPutTheSame: each alarm is news to one of them.
func TestSeveralPutTheSame(t *testing.T) {
	_, path := newBook(t)
	said := history(rand.New(rand.NewPCG(1, 1)), 20)
	var mu sync.Mutex
	news := map[string]int{}
	var wg sync.WaitGroup
	for range 4 {
		b := open(t, path)
		wg.Go(func() {
			for _, l := range said {
				found, err := b.Put(context.Background(), Report{Alarms: l.alarms, Look: l.at})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				for _, a := range found {
					news[a.ID]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	want := naive(said)
	for id := range want {
		if news[id] != 1 {
			t.Errorf("%s was news %d times", id, news[id])
		}
	}
	for _, e := range list(t, open(t, path), Filter{}) {
		if e.Alarm != want[e.ID] {
			t.Errorf("%+v, want %+v", e.Alarm, want[e.ID])
		}
	}
}
