package monitor

import (
	"context"
	"fmt"

	"github.com/millrace/millrace/trainer/eval"
)

// maxTrial bounds the stretches of a trial.
const maxTrial = 100_000

// otherStretches tells the stretches of a trial from those that thresholds were
// found on, whatever the seeds.
const otherStretches = 0x6a09e667f3bcc908

// MeasureFalse puts together stable stretches of time from blocks of the newest
// reference of each monitor, other ones than its threshold was found on, has the
// monitors look at them as they look at what comes, and counts the stretches with
// any alarm. Monitors over the same reference see the same stretch. The watch of
// quality takes no part: what bounds its false alarms is not a simulation. The
// error is that of ctx, or says that there is no reference yet.
func (f *Fleet) MeasureFalse(ctx context.Context, stretches int, seed uint64) (Trial, error) {
	if stretches < 1 || stretches > maxTrial {
		return Trial{}, fmt.Errorf("monitor: model %s: %d stretches: give 1 to %d", f.model.Name, stretches, maxTrial)
	}
	if f.seen.drift == nil {
		return Trial{}, fmt.Errorf("monitor: model %s: there is no reference yet: a version must answer whose last label came at least %v after the first prediction", f.model.Name, leastWindows*f.config.Window)
	}
	trial := Trial{Stretches: stretches, Length: f.config.stretch(), Stated: statedShare}
	var banks []*bank
	for _, b := range []*bank{f.seen.drift, f.seen.std, f.told.bank} {
		if b != nil && b.pool != nil {
			banks = append(banks, b.rehearsal())
			trial.Monitors += b.monitors()
		}
	}
	for i := range stretches {
		if err := ctx.Err(); err != nil {
			return Trial{}, err
		}
		if anyAlarm(banks, seed^otherStretches, uint64(i)) {
			trial.Alarmed++
		}
	}
	trial.Lo, trial.Hi = eval.Wilson(trial.Alarmed, trial.Stretches, 0.95)
	return trial, nil
}

func anyAlarm(banks []*bank, seed, number uint64) bool {
	for _, b := range banks {
		alarmed := false
		b.stretch(seed, number, func(int) bool {
			alarmed = b.alarmed()
			return !alarmed
		})
		if alarmed {
			return true
		}
	}
	return false
}
