package monitor

// Hurry has thresholds found on fewer stretches, for tests of what they are not
// the point of.
func (f *Fleet) Hurry(stretches int) { f.setting.stretches = stretches }
