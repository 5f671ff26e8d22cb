package dataset

import (
	"fmt"
	"math"

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

// between returns how far a is from b.
func between(a, b *profile.Stats) divergence {
	if a.Kind == "string" || a.Kind == "bool" {
		value, text := profile.LInfinity(a.Shares(), b.Shares())
		return divergence{value: value, chance: deviations(a.Count, b.Count), text: text, names: true}
	}
	ha, hb := a.Histogram(), b.Histogram()
	value, err := profile.JensenShannonHistograms(ha, hb)
	if err != nil { // no rows, or none but NaN and infinities
		value = 1
	}
	return divergence{value: value, chance: bias(len(ha.Buckets)+len(hb.Buckets), a.Rows(), b.Rows())}
}

// deviations is two standard deviations of the difference of two shares near a
// half, the worst case.
func deviations(n, m int64) float64 {
	return min(math.Sqrt(1/float64(max(n, 1))+1/float64(max(m, 1))), 1)
}

// bias is the divergence to be expected of two samples of one distribution over
// k cells: chi-square with k-1 degrees of freedom over 8 ln 2 (Menendez et al.
// 1997). The buckets of two histograms make at least as many cells as both have,
// where their ends differ.
func bias(k int, n, m int64) float64 {
	return min(float64(max(k-1, 0))/(8*math.Ln2)*(1/float64(max(n, 1))+1/float64(max(m, 1))), 1)
}

// excess returns how far the divergence is beyond what chance explains.
func (d divergence) excess() float64 { return max(d.value-d.chance, 0) }

// A moved column is one beside its accepted self.
type moved struct {
	now, before *profile.Stats
	divergence  divergence
	level       string // of the drift; empty: none
}

// drifts compares the columns with the accepted ones.
func (v *validation) drifts() {
	var all []moved
	for i := range v.now.Profile.Columns {
		now := &v.now.Profile.Columns[i]
		before := v.accepted.Column(now.Name)
		rule, _ := v.rule(now)
		if before == nil || before.Kind != now.Kind || rule.Drift == nil {
			continue
		}
		d := between(now, before)
		all = append(all, moved{now, before, d, rule.Drift.level(d.excess())})
	}
	swapped := v.swaps(all)
	for i, m := range all {
		if !swapped[i] {
			v.add(m.now.Name, Drift, m.level, "%s from the last accepted data set", m.divergence)
		}
	}
}

const (
	// Columns that differ by less can change places without anybody knowing from
	// their values. It is below the levels of drift: two columns that fit each
	// other are a stronger sign than one that does not fit itself.
	minSwap = 0.02

	// How far from each other's old values swapped columns may be, together, as a
	// part of how far they are from their own. It leaves room for the drift that
	// comes with the new rows, and no two columns of the demo come below it in any
	// window (TestNothingIsSwappedByItself).
	swapFit = 0.5
)

// swaps reports columns that were swapped, and returns which ones.
func (v *validation) swaps(all []moved) []bool {
	swapped := make([]bool, len(all))
	for i := range all {
		for j := i + 1; j < len(all) && !swapped[i]; j++ {
			if swapped[j] || !fit(&all[i], &all[j]) {
				continue
			}
			swapped[i], swapped[j] = true, true
			v.add(all[i].now.Name, Swapped, Error, "%q and %q each have the other's values: are they in each other's place?", all[i].now.Name, all[j].now.Name)
		}
	}
	return swapped
}

// fit reports whether a and b each fit the other's old values better than their
// own, and far better together.
func fit(a, b *moved) bool {
	ownA, ownB := a.divergence.excess(), b.divergence.excess()
	if a.now.Kind != b.now.Kind || min(ownA, ownB) < minSwap {
		return false
	}
	crossedA, crossedB := between(a.now, b.before).excess(), between(b.now, a.before).excess()
	return crossedA < ownA && crossedB < ownB && crossedA+crossedB < swapFit*(ownA+ownB)
}
