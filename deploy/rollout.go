// Package deploy puts approved models into service: verify, shadow, switch,
// watch, and roll back by itself.
package deploy

import (
	"cmp"
	"fmt"
	"math"
)

// Steps say how a version gets into service. The zero value of a field stands
// for its default.
type Steps struct {
	Shadow     int     // predictions beside the champion before the switch; default 100
	Watch      int     // answered predictions after it, during which it can be rolled back; default 1000
	WorseBy    float64 // rolled back when its loss is worse than that of the champion before by more than this; default 0
	Confidence float64 // of that, however often one looks; default 0.95
}

// maxSteps bounds both numbers: a rollout that would never end holds up the
// next one.
const maxSteps = 10_000_000

// WithDefaults returns s with what it leaves out filled in.
func (s Steps) WithDefaults() Steps {
	s.Shadow = cmp.Or(s.Shadow, 100)
	s.Watch = cmp.Or(s.Watch, 1000)
	s.Confidence = cmp.Or(s.Confidence, 0.95)
	return s
}

// Check says what is wrong with steps that have their defaults.
func (s Steps) Check() error {
	switch {
	case s.Shadow < 1 || s.Shadow > maxSteps:
		return fmt.Errorf("shadow of %d predictions: give 1 to %d", s.Shadow, maxSteps)
	case s.Watch < 1 || s.Watch > maxSteps:
		return fmt.Errorf("watch of %d answers: give 1 to %d", s.Watch, maxSteps)
	case !(s.WorseBy >= 0) || math.IsInf(s.WorseBy, 1):
		return fmt.Errorf("rollback_on: worse_by %v: give a number from 0", s.WorseBy)
	case !(s.Confidence > 0.5 && s.Confidence < 1):
		return fmt.Errorf("rollback_on: confidence %v: give a share between 50%% and 100%%", s.Confidence)
	}
	return nil
}
