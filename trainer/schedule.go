// Package trainer is the retrain loop: it follows the examples topic, makes a
// candidate when enough has been learned, validates its data set, and judges it
// on what came after.
package trainer

import (
	"cmp"
	"fmt"
	"time"
)

// A Schedule says when a candidate is made. The zero value of a field stands
// for its default.
type Schedule struct {
	Every  int           // new examples between two candidates; default 1000
	AtMost int           // candidates of each learner in Per; default 1
	Per    time.Duration // of event time under clock: event; default one hour
	Window int           // a candidate learns from the newest so many examples; default 200000
}

// maxWindow bounds the examples of a model that a trainer keeps in memory: with
// twenty features each, two million are about 2 GB.
const maxWindow = 2_000_000

// WithDefaults returns s with what it leaves out filled in.
func (s Schedule) WithDefaults() Schedule {
	s.Every = cmp.Or(s.Every, 1000)
	s.AtMost = cmp.Or(s.AtMost, 1)
	s.Per = cmp.Or(s.Per, time.Hour)
	s.Window = cmp.Or(s.Window, 200_000)
	return s
}

// Check says what is wrong with a schedule that has its defaults.
func (s Schedule) Check() error {
	switch {
	case s.Every < 1:
		return fmt.Errorf("every %d examples: give at least 1", s.Every)
	case s.AtMost < 1 || s.Per <= 0:
		return fmt.Errorf("at_most %d in %v: give at least 1, and a positive time", s.AtMost, s.Per)
	case s.Window < s.Every || s.Window > maxWindow:
		return fmt.Errorf("window of %d examples: give at least every (%d) and at most %d", s.Window, s.Every, maxWindow)
	}
	return nil
}
