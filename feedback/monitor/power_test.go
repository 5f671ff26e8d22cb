package monitor

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// wide is a config of a longer window and reference, for many columns.
func wide() Config {
	c := small()
	c.Window, c.Reference, c.Per = 10*time.Hour, 100*time.Hour, 1000*time.Hour
	return c
}

// found runs a world with a change at an hour and returns the columns of alarms
// with an onset within two windows of it.
func found(t *testing.T, c Config, w *world, from int) map[string]Alarm {
	t.Helper()
	f := newFleet(t, c, w.model())
	f.Hurry(200)
	columns := make(map[string]Alarm)
	for _, a := range w.feed(f, from+2*int(c.Window/c.Every)) {
		if a.Onset > int64(from)*hour {
			columns[string(a.Kind)+" "+a.Column] = a
		}
	}
	return columns
}

func TestChangeIsFoundAndNamed(t *testing.T) {
	for name, test := range map[string]struct {
		change func(hour, column int, x float64) float64
		alarm  string
		says   string
	}{
		"a shift in one of 50": {shift(130, 33, 3), "drift a.x33", "values above"},
		"a column goes missing": {func(hour, column int, x float64) float64 {
			if hour >= 130 && column == 7 {
				return math.NaN()
			}
			return x
		}, "drift a.x7", "missing values (100 % now, 0 % then)"},
		"a doubled deviation": {func(hour, column int, x float64) float64 {
			if hour >= 130 && column == 0 && hour%2 == 0 {
				return x + 8
			}
			return x
		}, "std a.x0", "times that over the 100h before"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{seed: 3, columns: 50, rows: 4, phi: 0.3, learned: 110, change: test.change}
			got := found(t, wide(), w, 130)
			a, ok := got[test.alarm]
			if !ok {
				t.Fatalf("%v, want %s", got, test.alarm)
			}
			if !strings.Contains(a.Text, test.says) || !strings.HasPrefix(a.Text, a.Column+": ") || !strings.Contains(a.Text, "since 1970-01-06 ") {
				t.Errorf("%s: does not say %q", a.Text, test.says)
			}
			// One change is not many alarms: the column's, its deviation's and the score's.
			if len(got) > 4 {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestSilenceRaisesNothing(t *testing.T) {
	for seed := range uint64(4) {
		for _, gap := range []int{3, 10, 25, 300} {
			w := &world{seed: seed, columns: 2, rows: 4, phi: 0.3, learned: 80}
			loud := &world{seed: seed, columns: 2, rows: 4, phi: 0.3, learned: 80}
			w.silence = func(hour int) bool { return hour >= 90 && hour < 90+gap }
			f, g := newFleet(t, small(), w.model()), newFleet(t, small(), w.model())
			f.Hurry(40)
			g.Hurry(40)
			quiet, all := w.feed(f, 90+gap+3), loud.feed(g, 90+gap+3)
			for id, a := range quiet {
				if a.Onset > 90*hour && all[id].ID == "" {
					t.Errorf("seed %d, %d hours of silence: %s", seed, gap, a.Text)
				}
			}
		}
	}
}

// TestStormIsOneAlarmAColumn: where everything moves at once each column alarms
// once, and later looks add none.
func TestStormIsOneAlarmAColumn(t *testing.T) {
	w := &world{seed: 1, columns: 30, rows: 4, phi: 0.3, learned: 110}
	w.change = func(hour, column int, x float64) float64 {
		if hour >= 130 {
			return x + 6
		}
		return x
	}
	c := wide()
	f := newFleet(t, c, w.model())
	f.Hurry(150)
	w.feed(f, 130)
	ids := make(map[string]int)
	for id, a := range w.feed(f, 40) {
		if a.Kind == DriftMonitor && strings.HasPrefix(a.Column, "a.x") {
			ids[a.Column]++
			if id != fmt.Sprintf("m/drift/%s/%s", a.Column, time.UnixMicro(a.Onset).UTC().Format(time.RFC3339)) || a.Over != 0 || a.Worst <= a.Threshold || a.Version != 1 {
				t.Errorf("%+v", a)
			}
		}
	}
	if len(ids) != 30 {
		t.Errorf("%d columns have an alarm, want 30", len(ids))
	}
	for column, n := range ids {
		if n != 1 {
			t.Errorf("%s has %d alarms", column, n)
		}
	}
	drift := 0
	for _, a := range f.Open() {
		if a.Kind == DriftMonitor && strings.HasPrefix(a.Column, "a.x") {
			drift++
		}
	}
	if drift != 30 {
		t.Errorf("%d are open, want 30", drift)
	}
	for id, a := range w.feed(f, 5) {
		if a.Kind == DriftMonitor && a.Column == "a.x3" && a.Onset > 175*hour {
			t.Errorf("%s began at a later look", id)
		}
	}
}

// TestLedger follows one monitor through its states by hand.
func TestLedger(t *testing.T) {
	l := ledger{model: "m", every: time.Hour, open: map[monitorName]*raised{}}
	text := func(a *Alarm) string { return short(a.Value) }
	for look, step := range []struct {
		value float64
		state State
		news  string // ID's end, value, worst and over of what is told
	}{
		{0.5, Fine, ""},
		{1.2, Alarmed, "02:00 1.2 1.2 0"},
		{1.1, Alarmed, ""},
		{1.5, Alarmed, "02:00 1.5 1.5 0"},
		{0.95, Fine, ""}, // not below nine tenths
		{0.2, TooFew, ""},
		{1.3, Alarmed, ""},
		{0.89, Fine, "02:00 1.3 1.5 8"},
		{0.95, Fine, ""},
		{1.1, Alarmed, "10:00 1.1 1.1 0"},
		{0, NoReference, "10:00 1.1 1.1 11"},
	} {
		at := int64(look+1) * hour
		l.judge(Reading{Kind: DriftMonitor, State: step.state, Value: step.value, Threshold: 1}, "c", at, 3, text)
		news := ""
		for _, a := range l.take() {
			id, _ := strings.CutSuffix(a.ID, ":00Z")
			news += fmt.Sprintf("%s %v %v %d", id[len(id)-5:], a.Value, a.Worst, a.Over/hour)
		}
		if news != step.news {
			t.Errorf("look %d, %v: %q, want %q", look, step.value, news, step.news)
		}
	}
	if len(l.list()) != 0 {
		t.Error(l.list())
	}
}
