package features

import (
	"fmt"
	"math"
	"time"
)

// NoTime is the newest event time of a shard or row that has seen no event.
const NoTime = math.MinInt64

const defaultMaxValues = 4096

// hops are the default tile lengths, longest first. A window is cut into at
// least twelve tiles, so that its tail is late by at most a twelfth of it.
var hops = [...]time.Duration{
	24 * time.Hour, 6 * time.Hour, time.Hour, 15 * time.Minute, 5 * time.Minute,
	time.Minute, 30 * time.Second, 10 * time.Second, 5 * time.Second, time.Second,
}

// DefaultHop returns the tile length of a sliding window of length size where
// the view gives none: the longest of the usual lengths that divides size and
// is at most a twelfth of it. It reports false where none fits.
func DefaultHop(size time.Duration) (time.Duration, bool) {
	for _, h := range hops {
		if h <= size/12 && size%h == 0 {
			return h, true
		}
	}
	return 0, false
}

// withDefaults fills in what the view left out, or says what is wrong.
func (w Window) withDefaults() (Window, error) {
	switch w.Kind {
	case Lifetime:
		if w != (Window{Kind: Lifetime}) {
			return w, fmt.Errorf("window: lifetime takes no size, hop, exact, max_values, offset or open")
		}
		return w, nil
	case Tumbling:
		return w, w.checkTumbling()
	case Sliding:
	default:
		return w, fmt.Errorf("window kind %d is not known", w.Kind)
	}
	if w.Offset != 0 || w.Open {
		return w, fmt.Errorf("offset and open belong to tumbling windows")
	}
	if err := checkLength("window", w.Size); err != nil {
		return w, err
	}
	if w.Exact {
		return w.exactDefaults()
	}
	if w.MaxValues != 0 {
		return w, fmt.Errorf("max_values needs exact: true")
	}
	if w.Hop == 0 {
		hop, ok := DefaultHop(w.Size)
		if !ok {
			return w, fmt.Errorf("window %v has no usual hop; give hop: a length that divides it", w.Size)
		}
		w.Hop = hop
	}
	if err := checkLength("hop", w.Hop); err != nil {
		return w, err
	}
	if w.Size%w.Hop != 0 {
		return w, fmt.Errorf("window %v is not a multiple of hop %v", w.Size, w.Hop)
	}
	if w.Size/w.Hop > maxTiles {
		return w, fmt.Errorf("window %v with hop %v needs %d tiles; at most %d: use a longer hop", w.Size, w.Hop, w.Size/w.Hop, maxTiles)
	}
	return w, nil
}

func (w Window) exactDefaults() (Window, error) {
	if w.Hop != 0 {
		return w, fmt.Errorf("exact windows have no hop")
	}
	if w.MaxValues == 0 {
		w.MaxValues = defaultMaxValues
	}
	if w.MaxValues < 1 || w.MaxValues > maxValuesLimit {
		return w, fmt.Errorf("max_values %d: give 1 to %d", w.MaxValues, maxValuesLimit)
	}
	return w, nil
}

func (w Window) checkTumbling() error {
	if w.Hop != 0 || w.Exact || w.MaxValues != 0 {
		return fmt.Errorf("hop, exact and max_values belong to sliding windows")
	}
	if err := checkLength("tumbling", w.Size); err != nil {
		return err
	}
	if w.Offset < 0 || w.Offset >= w.Size || w.Offset%time.Microsecond != 0 {
		return fmt.Errorf("offset %v: give 0 or more, and less than the window's %v", w.Offset, w.Size)
	}
	return nil
}

const (
	maxTiles       = 10_000
	maxValuesLimit = 100_000
	maxIDs         = 100_000 // ids of one entity; beyond them the oldest is forgotten, and counted
	maxLength      = 10 * 366 * 24 * time.Hour
)

func checkLength(what string, d time.Duration) error {
	if d < time.Microsecond || d > maxLength || d%time.Microsecond != 0 {
		return fmt.Errorf("%s %v: give a length of whole microseconds, up to ten years", what, d)
	}
	return nil
}

// floorTo returns the greatest multiple of step, shifted by offset, that is at
// most t. Go's division truncates towards zero, which is wrong before 1970.
func floorTo(t, step, offset int64) int64 {
	r := (t - offset) % step
	if r < 0 {
		r += step
	}
	return t - r
}
