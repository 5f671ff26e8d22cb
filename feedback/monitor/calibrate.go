package monitor

import (
	"math"
	"slices"
)

// How many stretches thresholds are found on, and how much work that may be, in
// cells times units of time. With 1,000 columns of 13 cells that leaves about a
// hundred of the 3,000 stretches: the share of stretches with an alarm is then
// uncertain by three in a hundred, and expected to be the stated one all the same.
const (
	usualStretches = 3000
	leastStretches = 100
	scaleStretches = 4 // one in so many is for scales, the rest for the factor
	maxWork        = 800_000_000
)

// calibrate finds the scales, and the greatest excess of each stretch, where a
// share of stretches at most is to have an alarm. The pool, the reference by unit
// of time, must be set.
//
// A scale is what a monitor's own greatest value exceeds in half that share of
// stretches. So each monitor has about the same part in the alarms, and one whose
// values are now and then beyond all measure costs the others nothing.
func (b *bank) calibrate(share float64) {
	b.forgetScales()
	b.leasts()
	b.measureOwn(b.pool)
	r := b.rehearsal()
	steps := b.layout.cells + len(b.series)*8
	cost := max(1, steps*(len(b.pool)+b.setting.window+b.setting.looks))
	n := min(b.setting.stretches, max(leastStretches, b.setting.work/cost))
	all := make([]extremes, n)
	for i := range all {
		all[i] = newExtremes(len(b.scale), len(b.series))
		r.stretch(b.setting.seed, uint64(i), func(int) bool {
			r.measure(&all[i])
			return true
		})
	}
	// Scales that fit the stretches that the factor is found on would make it too low.
	first := max(1, n/scaleStretches)
	b.takeScales(all[:first], share)
	rest := all[min(first, n-1):]
	b.maxima = b.excesses(rest)
	if b.maxima[b.place(share)] == math.Inf(1) {
		b.dropUnbounded(rest)
		b.maxima = b.excesses(rest)
	}
}

// extremes are the greatest values of all monitors in a stretch.
type extremes struct {
	drift    []float64
	up, down []float64 // of log ratios
	// Of those that are by Config.Factor, which alone may alarm.
	alarmUp, alarmDown []float64
	high, low          []float64 // of ratios of variances, of full windows
}

func newExtremes(drift, series int) extremes {
	return extremes{
		drift: make([]float64, drift), up: make([]float64, series), down: make([]float64, series),
		alarmUp: make([]float64, series), alarmDown: make([]float64, series),
		high: fill(make([]float64, series), 1), low: fill(make([]float64, series), 1),
	}
}

// measure looks at all monitors.
func (b *bank) measure(e *extremes) {
	for i := range e.drift {
		if b.least[i] > 0 {
			e.drift[i] = max(e.drift[i], b.drift(i, e.drift[i]))
		}
	}
	for i := range e.up {
		x, units, ok := b.series[i].ratio()
		part, enough := thin(float64(units), b.units[i])
		if !ok || !enough || b.units[i] == 0 || part == 1 && x <= e.high[i] && x >= e.low[i] {
			continue
		}
		if part == 1 {
			e.high[i], e.low[i] = max(e.high[i], x), min(e.low[i], x)
		}
		factor := x >= b.setting.square || x*b.setting.square <= 1
		x = math.Log(x) / 2 * part
		e.up[i], e.down[i] = max(e.up[i], x), max(e.down[i], -x)
		if factor {
			e.alarmUp[i], e.alarmDown[i] = max(e.alarmUp[i], x), max(e.alarmDown[i], -x)
		}
	}
}

// takeScales sets the scales from the stretches.
func (b *bank) takeScales(all []extremes, share float64) {
	values := make([]float64, len(all))
	quantile := func(of func(*extremes) float64) float64 {
		for i := range all {
			values[i] = of(&all[i])
		}
		slices.Sort(values)
		return values[int(float64(len(values)-1)*(1-share/2))]
	}
	for i := range b.scale {
		if b.least[i] > 0 {
			// Never 0: what was constant alarms once it clearly is not.
			b.scale[i] = max(1, quantile(func(e *extremes) float64 { return e.drift[i] }))
		}
	}
	for i := range b.up {
		up, down := quantile(func(e *extremes) float64 { return e.up[i] }), quantile(func(e *extremes) float64 { return e.down[i] })
		if up > 0 {
			b.up[i] = up
		}
		if down > 0 {
			b.down[i] = down
		}
	}
}

// excesses returns the greatest excess of each stretch, ascending.
func (b *bank) excesses(all []extremes) []float64 {
	maxima := make([]float64, len(all))
	for s := range all {
		e := &all[s]
		for i, x := range e.drift {
			maxima[s] = max(maxima[s], over(x, b.scale[i]))
		}
		for i := range e.up {
			maxima[s] = max(maxima[s], over(e.alarmUp[i], b.up[i]), over(e.alarmDown[i], b.down[i]))
		}
	}
	slices.Sort(maxima)
	return maxima
}

// over is a value in a scale; without a scale it is none.
func over(x, scale float64) float64 {
	if math.IsInf(scale, 1) {
		return 0
	}
	return x / scale
}

// dropUnbounded takes the scales of all monitors that were beyond all measure in
// any stretch: no factor could keep their alarms to the share.
func (b *bank) dropUnbounded(all []extremes) {
	for s := range all {
		for i, x := range all[s].drift {
			b.scale[i] = max(b.scale[i], infinite(x))
		}
		for i := range b.up {
			b.up[i], b.down[i] = max(b.up[i], infinite(all[s].up[i])), max(b.down[i], infinite(all[s].down[i]))
		}
	}
}

func infinite(x float64) float64 {
	if math.IsInf(x, 1) {
		return x
	}
	return 0
}

// place is that of the factor among the maxima. Of n+1 stretches of the same kind,
// one that is not among these is as likely as any to have any place.
func (b *bank) place(share float64) int {
	n := len(b.maxima)
	return min(n-1, max(0, int(math.Ceil(float64(n+1)*(1-share)))-1))
}

// state sets the factor so that a share of stretches has an alarm, and returns the
// share that has.
func (b *bank) state(share float64) (spent float64) {
	b.factor = b.maxima[b.place(share)]
	first, _ := slices.BinarySearchFunc(b.maxima, b.factor, func(x, f float64) int {
		if x <= f {
			return -1
		}
		return 1
	})
	n := len(b.maxima)
	return float64(n-first) / float64(n)
}

// leasts counts what the least window of the pool has, half of the usual one at
// least: a gap in the reference must not let a few rows speak for a window.
// Monitors whose usual window is empty have nothing to be compared with.
func (b *bank) leasts() {
	rows := make([][]float64, len(b.layout.columns))
	units := make([][]float64, len(b.series))
	r := b.rehearsal()
	for at, s := range b.pool {
		r.push(s)
		if at < b.setting.window-1 {
			continue
		}
		for i := range rows {
			rows[i] = append(rows[i], sum(b.layout.of(i, r.now.counts)))
		}
		for i := range units {
			units[i] = append(units[i], float64(r.series[i].now.n))
		}
	}
	for i := range rows {
		b.least[i] = usualLeast(rows[i])
	}
	for i := range units {
		b.units[i] = usualLeast(units[i])
	}
}

func usualLeast(windows []float64) float64 {
	if len(windows) == 0 {
		return 0
	}
	slices.Sort(windows)
	return max(windows[0], windows[len(windows)/2]/2)
}
