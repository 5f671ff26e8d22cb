// Package trainer is the retrain loop: it follows the examples topic, makes a
// candidate when enough has been learned, validates its data set, and judges it
// on what came after.
package trainer

import "time"

// A Schedule says when a candidate is made. The zero value of a field stands
// for its default.
type Schedule struct {
	Every  int           // new examples between two candidates; default 1000
	AtMost int           // candidates in AtMostPer; default 1
	Per    time.Duration // of event time under clock: event; default one hour
	Window int           // a candidate learns from the newest so many examples; default 200000
	Seed   uint64
}
