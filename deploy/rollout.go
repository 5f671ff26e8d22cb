// Package deploy puts approved models into service: verify, shadow, switch,
// watch, and roll back by itself.
package deploy

// Steps say how a version gets into service. The zero value of a field stands
// for its default.
type Steps struct {
	Shadow     int     // predictions beside the champion before the switch; default 100
	Watch      int     // answered predictions after it, during which it can be rolled back; default 1000
	WorseBy    float64 // rolled back when its loss is worse than that of the champion before by more than this; default 0
	Confidence float64 // of that, however often one looks; default 0.95
}
