package alarms

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/feedback/monitor"
)

// TestLists are those that one gets by looking through all.
func TestLists(t *testing.T) {
	b, _ := newBook(t)
	r := rand.New(rand.NewPCG(3, 3))
	for _, l := range history(r, 80) {
		put(t, b, Report{Alarms: l.alarms, Look: l.at, Behind: l.at < 20*day})
	}
	for i := range int64(8) {
		put(t, b, Report{Alarms: []monitor.Alarm{alarm([]string{"a", "b"}[i%2], fmt.Sprint("g", i), 81, 0)}, Look: 81 * day, Behind: i > 5})
	}
	all := list(t, b, Filter{})
	for _, e := range all {
		if e.Onset < 81*day && r.IntN(3) == 0 {
			must(t, b.Acknowledge(t.Context(), e.ID, "ann", ""))
		}
	}
	all = list(t, b, Filter{})
	if !slices.IsSortedFunc(all, func(x, y Entry) int { return cmp.Compare(y.Onset, x.Onset) }) {
		t.Error("not the newest first")
	}
	held := 0
	for i := range 16 {
		f := Filter{Open: i&1 != 0, Unacknowledged: i&2 != 0}
		if i&4 != 0 {
			f.Model = "a"
		}
		if i&8 != 0 {
			f.Limit = 3
		}
		want := []Entry{}
		for _, e := range all {
			if (f.Model == "" || e.Model == f.Model) && (!f.Open || e.Over == 0 && e.Delivery != Held) &&
				(!f.Unacknowledged || e.Acknowledged.IsZero() && e.Delivery != Held && e.Delivery != Past) && (f.Limit == 0 || len(want) < f.Limit) {
				want = append(want, e)
			}
			if e.Delivery == Held {
				held++
			}
		}
		got := list(t, b, f)
		if !reflect.DeepEqual(got, want) || len(want) == 0 {
			t.Errorf("%+v: %d entries, want %d", f, len(got), len(want))
		}
		if c := count(t, b); f == (Filter{Open: true}) && c.Open != len(got) || f == (Filter{Unacknowledged: true}) && c.Unacknowledged != len(got) {
			t.Errorf("%+v, and the list has %d", c, len(got))
		}
	}
	if held == 0 {
		t.Error("none is held")
	}
}

func TestWhatHasNoNumber(t *testing.T) {
	b, _ := newBook(t)
	a := alarm("m", "f", 100, 0)
	a.Value, a.Worst, a.Threshold, a.Text = math.NaN(), math.Inf(1), math.Inf(-1), "two\nlines\x00"
	put(t, b, Report{Alarms: []monitor.Alarm{a}, Look: a.Onset})
	e, err := b.Get(t.Context(), a.ID)
	if err != nil || !math.IsNaN(e.Value) || e.Worst != a.Worst || e.Threshold != a.Threshold || e.Text != "two lines " {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestReportsThatAreRefused(t *testing.T) {
	b, _ := newBook(t)
	good := alarm("m", "f", 100, 0)
	for want, bad := range map[string]func(*monitor.Alarm){
		"alarm 2 of 2: id is empty":                             func(a *monitor.Alarm) { a.ID = "" },
		"alarm 2 of 2: id has 1025 bytes; the most are 1024":    func(a *monitor.Alarm) { a.ID = strings.Repeat("x", 1025) },
		"alarm 2 of 2: column \"a\\nb\" has control characters": func(a *monitor.Alarm) { a.Column = "a\nb" },
	} {
		a := alarm("m", "g", 100, 0)
		bad(&a)
		if _, err := b.Put(t.Context(), Report{Alarms: []monitor.Alarm{good, a}}); err == nil || !strings.HasPrefix(err.Error(), "alarms: put: "+want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := b.Put(t.Context(), Report{Alarms: make([]monitor.Alarm, MaxPut+1)}); err == nil || !strings.Contains(err.Error(), "100001 alarms; put at most 100000 at once") {
		t.Error(err)
	}
	_, err := b.file.Writes.ExecContext(t.Context(), `INSERT INTO alarms (seq, id, model, kind, col, version, onset, over, text, look, seen, delivery)
		VALUES (?, 'x', 'm', 'drift', 'f', 1, 1, 2, '', 3, 4, 'sent')`, MaxAlarms)
	must(t, err)
	if _, err := b.Put(t.Context(), Report{Alarms: []monitor.Alarm{good}}); err == nil || !strings.Contains(err.Error(), "which is all that it takes; move the file away") {
		t.Error(err)
	}
	if all := list(t, b, Filter{}); len(all) != 1 {
		t.Errorf("%+v", all)
	}
}

func TestActionsAreOnlyAddedTo(t *testing.T) {
	b, _ := newBook(t)
	for i := range 5 {
		must(t, b.Note(t.Context(), Action{Who: "ann", What: "approve", Object: fmt.Sprint("m/", i), Detail: strings.Repeat("ä", 3000)}))
	}
	if err := b.Note(t.Context(), Action{Who: "ann", What: "approve"}); err == nil || !strings.Contains(err.Error(), "object is empty") {
		t.Error(err)
	}
	before, err := b.Actions(t.Context(), 3)
	if err != nil || len(before) != 3 || before[0].Object != "m/4" || before[0].Time.IsZero() || len(before[0].Detail) > maxText {
		t.Fatalf("%+v, %v", before, err)
	}
	for _, statement := range []string{`UPDATE actions SET who = 'ben'`, `DELETE FROM actions WHERE seq = 1`, `INSERT OR REPLACE INTO actions SELECT * FROM actions WHERE seq = 1`} {
		if _, err := b.file.Writes.ExecContext(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "the actions are only added to") {
			t.Errorf("%s: %v", statement, err)
		}
	}
	if after, err := b.Actions(t.Context(), 3); err != nil || !slices.Equal(before, after) {
		t.Errorf("%+v, %v", after, err)
	}
}
