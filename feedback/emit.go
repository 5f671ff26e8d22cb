package feedback

import (
	"fmt"

	"github.com/millrace/millrace/features"
)

// close makes a prediction final. What stays of it makes repeats known, and
// later outcomes late.
func (s *Shard) close(a *asked, row *Row, emit func(*Example)) {
	if a.best != nil {
		a.best.held--
		a.best.fixed = true
	} else {
		s.stats.Predictions.Pending--
		s.stats.Predictions.Unanswered++
		s.emitUnanswered(a, emit)
	}
	row.size -= len(a.raw)
	*a = asked{id: a.id, time: a.time}
}

func (s *Shard) emitUnanswered(a *asked, emit func(*Example)) {
	why, n := WhyNone, &s.stats.Details.Unanswered
	switch {
	case a.late:
		why = WhyLate
		n.Late++
	case a.invalid:
		why = WhyInvalid
		n.Invalid++
	default:
		n.None++
	}
	s.emit(&Example{Kind: Unanswered, Prediction: *a.prediction(), Known: max(a.time, s.clock), Why: why}, emit)
}

func (s *Shard) emitLabel(p *Prediction, h *heard, correction bool, emit func(*Example)) {
	if correction {
		s.stats.Details.Corrections++
	}
	s.emit(&Example{
		Kind: Labelled, Prediction: *p, Label: h.label, Outcome: h.name(), Happened: h.time,
		Known: max(p.Time, h.time, s.clock), Correction: correction,
	}, emit)
}

func (s *Shard) emit(e *Example, emit func(*Example)) {
	s.seq = max(s.seq+1, s.at*perOffset)
	e.Seq = s.seq
	s.emitted = e.Kind != Passed
	emit(e)
}

// prediction returns the whole of an open prediction.
func (a *asked) prediction() *Prediction {
	rec, err := Decode(a.raw)
	if err != nil || rec.Prediction == nil {
		panic(fmt.Sprintf("feedback: a row holds the prediction %q, which does not read back: %v", a.raw, err))
	}
	return rec.Prediction
}

// Pass ends a tick: it emits a Passed example if others went before since the
// last one, or if ten seconds of tick time went by.
func (s *Shard) Pass(emit func(*Example)) {
	if s.clock == features.NoTime || !s.emitted && s.passed != features.NoTime && s.clock-s.passed < passEvery {
		return
	}
	s.passed = s.clock
	s.emit(&Example{Kind: Passed, Known: s.clock}, emit)
}
