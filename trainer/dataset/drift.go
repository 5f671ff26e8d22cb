package dataset

import (
	"fmt"
	"math"
	"slices"

	"github.com/millrace/millrace/features/profile"
)

// A divergence is how far a column is from another.
type divergence struct {
	value  float64
	chance float64 // what two samples of one distribution differ by
	text   string  // whose share differs most; empty for numbers
	names  bool    // of texts: by LInfinity
}

func (d divergence) String() string {
	if d.names {
		return fmt.Sprintf("the share of %q differs by %.3f (chance explains %.3f)", d.text, d.value, d.chance)
	}
	return fmt.Sprintf("a Jensen-Shannon divergence of %.3f (chance explains %.3f)", d.value, d.chance)
}

// divergence returns how far a is from b. One that has no values at all is as
// far as can be.
func (v *validation) divergence(a, b *profile.Stats) divergence {
	if a.Kind == "string" || a.Kind == "bool" {
		value, text := profile.LInfinity(a.Shares(), b.Shares())
		return divergence{value: value, chance: deviations(a.Count, b.Count), text: text, names: true}
	}
	ha, hb := a.Histogram(), b.Histogram()
	value, err := profile.JensenShannonHistograms(ha, hb)
	if err != nil {
		value = 1
	}
	return divergence{value: value, chance: bias(max(len(ha.Buckets), len(hb.Buckets)), a.Rows(), b.Rows())}
}

// deviations is two standard deviations of the difference of two shares near a
// half, the worst case.
func deviations(n, m int64) float64 {
	return min(math.Sqrt(1/float64(max(n, 1))+1/float64(max(m, 1))), 1)
}

// bias is the divergence to be expected of two samples of one distribution over
// k cells: chi-square with k-1 degrees of freedom over 8 ln 2 (Menendez et al.
// 1997).
func bias(k int, n, m int64) float64 {
	return min(float64(max(k-1, 0))/(8*math.Ln2)*(1/float64(max(n, 1))+1/float64(max(m, 1))), 1)
}

// A drifted column is one that is further from the accepted one than a warning
// allows.
type drifted struct {
	now, before *profile.Stats
	rule        Column
	divergence  divergence
	level       string
}

// drifts compares the columns with the accepted ones.
func (v *validation) drifts() {
	var all []drifted
	for i := range v.now.Profile.Columns {
		now := &v.now.Profile.Columns[i]
		before := v.accepted.Column(now.Name)
		rule, _ := v.rule(now)
		if before == nil || before.Kind != now.Kind || rule.Drift == nil {
			continue
		}
		d := drifted{now: now, before: before, rule: rule, divergence: v.divergence(now, before)}
		d.level = rule.Drift.level(d.divergence.value - d.divergence.chance)
		if d.level != "" {
			all = append(all, d)
		}
	}
	for _, d := range v.unswapped(all) {
		v.add(d.now.Name, Drift, d.level, "%s from the last accepted data set", d.divergence)
	}
}

// swapFit is how much nearer swapped columns are to each other's old values
// than to their own.
const swapFit = 0.25

// unswapped reports the columns that were swapped, and returns the others.
func (v *validation) unswapped(all []drifted) []drifted {
	taken := make([]bool, len(all))
	for i := range all {
		for j := i + 1; j < len(all); j++ {
			if taken[i] || taken[j] || !v.swapped(&all[i], &all[j]) {
				continue
			}
			taken[i], taken[j] = true, true
			v.add(all[i].now.Name, Swapped, Error, "%q and %q each have the other's values: are they in each other's place?", all[i].now.Name, all[j].now.Name)
		}
	}
	left := make([]drifted, 0, len(all))
	for i := range all {
		if !taken[i] {
			left = append(left, all[i])
		}
	}
	return slices.Clip(left)
}

// swapped reports whether a and b each fit the other's old values, by far
// better than their own.
func (v *validation) swapped(a, b *drifted) bool {
	if a.now.Kind != b.now.Kind {
		return false
	}
	ab, ba := v.divergence(a.now, b.before), v.divergence(b.now, a.before)
	fits := func(crossed, own divergence) bool { return crossed.value-crossed.chance < swapFit*own.value }
	return fits(ab, a.divergence) && fits(ba, b.divergence)
}
