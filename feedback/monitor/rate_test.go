package monitor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/trainer/eval"
)

// TestStableWorldsAlarmAsStated counts the stable worlds in which anything alarms
// within the time that one in ten may have an alarm: fresh worlds, not resamples,
// whose hours hang together, one with a season.
func TestStableWorldsAlarmAsStated(t *testing.T) {
	for name, w := range map[string]world{
		"persistent": {phi: 0.5},
		"seasonal":   {season: 0.7},
	} {
		t.Run(name, func(t *testing.T) {
			alarmed := 0
			for seed := range uint64(stableWorlds) {
				w := w
				w.seed, w.columns, w.rows, w.learned = seed, 1, 4, 72
				c := small()
				c.Window, c.Reference, c.Block, c.Per = 6*time.Hour, 72*time.Hour, 6*time.Hour, 720*time.Hour
				f := newFleet(t, c, w.model())
				f.Hurry(150)
				w.feed(f, 72+6)
				for _, a := range w.feed(f, 72) {
					if a.Onset > 78*hour {
						alarmed++
						break
					}
				}
			}
			if lo, _ := eval.Wilson(alarmed, stableWorlds, 0.95); lo > statedShare {
				t.Errorf("%d of %d stable worlds have an alarm: %v is stated", alarmed, stableWorlds, statedShare)
			}
		})
	}
}

// TestTrialIsAsStated: on stretches that thresholds were not found on, the share
// with an alarm is the stated one, and it is not where thresholds are others.
func TestTrialIsAsStated(t *testing.T) {
	for _, distance := range trialDistances {
		w := &world{seed: 5, columns: 2, rows: 4, phi: 0.5, learned: 100}
		c := small()
		c.Distance = distance
		f := newFleet(t, c, w.model())
		if _, err := f.MeasureFalse(t.Context(), 10, 1); err == nil || !strings.Contains(err.Error(), "no reference yet") {
			t.Fatalf("%v", err)
		}
		w.feed(f, 115)
		trial, err := f.MeasureFalse(t.Context(), 600, 9)
		if err != nil {
			t.Fatal(err)
		}
		if trial.Monitors != 4+2+2 || trial.Length != 60*time.Hour || trial.Stretches != 600 || trial.Stated != 0.1 {
			t.Errorf("%s: %+v", distance, trial)
		}
		if trial.Lo > trial.Stated || trial.Hi < trial.Stated {
			t.Errorf("%s: %+v: the stated share is not in the interval", distance, trial)
		}
		f.seen.drift.factor *= 0.7
		if low, _ := f.MeasureFalse(t.Context(), 600, 9); low.Lo < trial.Stated {
			t.Errorf("%s: with lower thresholds: %+v", distance, low)
		}
	}
}

func TestTrialRefusesAndEnds(t *testing.T) {
	w := &world{columns: 1, rows: 3, learned: 60}
	f := newFleet(t, small(), w.model())
	f.Hurry(100)
	w.feed(f, 62)
	for _, n := range []int{0, maxTrial + 1} {
		if _, err := f.MeasureFalse(t.Context(), n, 1); err == nil {
			t.Errorf("%d stretches", n)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.MeasureFalse(ctx, 1, 1); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
