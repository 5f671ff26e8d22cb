package deploy

import (
	"math"
	"testing"
)

func TestStepsSayWhatIsWrong(t *testing.T) {
	good := Steps{}.WithDefaults()
	if err := good.Check(); err != nil || good != (Steps{100, 1000, 0, 0.95}) {
		t.Errorf("defaults %+v: %v", good, err)
	}
	for want, s := range map[string]Steps{
		"shadow of 0 predictions: give 1 to 10000000":                    {0, 1, 0, 0.9},
		"shadow of 10000001 predictions: give 1 to 10000000":             {maxSteps + 1, 1, 0, 0.9},
		"watch of -1 answers: give 1 to 10000000":                        {1, -1, 0, 0.9},
		"rollback_on: worse_by -0.1: give a number from 0":               {1, 1, -0.1, 0.9},
		"rollback_on: worse_by NaN: give a number from 0":                {1, 1, math.NaN(), 0.9},
		"rollback_on: worse_by +Inf: give a number from 0":               {1, 1, math.Inf(1), 0.9},
		"rollback_on: confidence 1: give a share between 50% and 100%":   {1, 1, 0, 1},
		"rollback_on: confidence 0.5: give a share between 50% and 100%": {1, 1, 0, 0.5},
		"rollback_on: confidence NaN: give a share between 50% and 100%": {1, 1, 0, math.NaN()},
	} {
		if err := s.Check(); err == nil || err.Error() != want {
			t.Errorf("%+v: %v, want %s", s, err, want)
		}
	}
}
