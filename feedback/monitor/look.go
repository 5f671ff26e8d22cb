package monitor

import (
	"fmt"
	"math"
	"slices"
)

// The stated rate is False alarms in Per. A stretch is a tenth of the time of one
// alarm, and statedShare of stretches may have one. The monitors that are
// calibrated together each get a part of it, as exponents of the share without an
// alarm: what their stretches have in common makes the whole rather less.
const (
	statedShare = 0.1
	seenPart    = 0.75 // features and scores,
	stdPart     = 0.25 // of which deviations at most; distributions get what these leave
	toldPart    = 0.20 // labels
	qualityPart = 0.05
	stretchesIn = 10 // stretches in the time of one alarm
)

// shareOf is the share of stretches that a part of the rate may alarm in.
func shareOf(part float64) float64 { return 1 - math.Pow(1-statedShare, part) }

// look looks at all monitors of features and scores after the newest unit.
func (s *seen) look() {
	newest := s.units[len(s.units)-1]
	if newest.version != s.version || len(s.units) == 1 {
		drift := s.reference(newest) // others may read while it is made
		s.version, s.drift = newest.version, drift
		if s.drift != nil {
			s.drift.clear()
			s.pushDrift(newest.at-s.f.window, newest.at)
		}
	} else if s.drift != nil {
		before := s.units[len(s.units)-2].at
		s.pushDrift(max(before, newest.at-s.f.window), newest.at)
	}
	s.pushStd(newest.at)
	s.shares()
	end := (newest.at + 1) * s.f.every
	s.f.counts.Clock = max(s.f.counts.Clock, end)
	for i := range s.names {
		s.f.alarms.judge(s.driftReading(i), s.names[i], end, s.version, s.driftText)
	}
	for i := range s.stdOf {
		s.f.alarms.judge(s.stdReading(i), s.names[s.stdOf[i]], end, s.version, s.stdText)
	}
}

// shares sets the factors of both banks.
func (s *seen) shares() {
	spent := 0.0
	if s.std != nil && s.std.maxima != nil {
		spent = s.std.state(shareOf(stdPart))
	}
	if s.drift != nil {
		s.drift.state(1 - (1-shareOf(seenPart))/(1-spent))
	}
}

// pushDrift pushes the units after a number up to another.
func (s *seen) pushDrift(after, to int64) {
	units := s.within(after+1, to+1)
	for at := after + 1; at <= to; at++ {
		var slot *slot
		if len(units) > 0 && units[0].at == at {
			slot = s.slotOf(s.drift.layout, units[0])
			units = units[1:]
		}
		s.drift.push(slot)
	}
}

// slotOf counts a unit's kept rows by cell. The base rate's scores are in none.
func (s *seen) slotOf(l *layout, u *unit) *slot {
	cells := make([]uint16, l.cells)
	for _, r := range u.kept {
		for i, x := range r.values {
			if i < len(s.names)-1 || r.version != 0 {
				c := &l.columns[i]
				cells[c.first+c.cell(x)]++
			}
		}
	}
	return &slot{cells: cells}
}

// reference returns the drift monitors of the version that answered last in a
// unit, or nil where there is no reference for it.
func (s *seen) reference(newest *unit) *bank {
	i := slices.IndexFunc(s.banks, func(h held) bool { return h.version == newest.version })
	if i >= 0 {
		h := s.banks[i]
		s.banks = append(slices.Delete(s.banks, i, i+1), h)
		s.cutoff = h.end
		return h.bank
	}
	if newest.version == 0 || s.f.model.Version == nil {
		return nil
	}
	cutoff, ok := s.f.model.Version(newest.version)
	if !ok {
		return nil
	}
	to := min(floorDiv(cutoff, s.f.every), newest.at+1)
	var b *bank
	s.f.model.Aside(func() { b = s.calibrated(s.within(to-s.f.reference, to), to) })
	if len(s.banks) == keepVersions {
		s.banks = slices.Delete(s.banks, 0, 1)
	}
	s.banks = append(s.banks, held{newest.version, to * s.f.every, b})
	s.cutoff = to * s.f.every
	return b
}

// calibrated makes the drift monitors of a reference that ends before a unit.
func (s *seen) calibrated(units []*unit, to int64) *bank {
	for len(units) > 0 && units[0].kept == nil {
		units = units[1:]
	}
	if len(units) < s.f.leastUnits() || to-units[0].at < leastWindows*s.f.window {
		return nil
	}
	l := s.cut(units, to)
	fixed := make([]float64, l.cells)
	pool := make([]*slot, to-units[0].at)
	for _, u := range units {
		slot := s.slotOf(l, u)
		pool[u.at-units[0].at] = slot
		add(fixed, slot.cells, 1)
	}
	b := newBank(s.f.setting, l, 0, fixed)
	b.pool = pool
	b.calibrate(shareOf(seenPart))
	return b
}

// anewAfter is after how many windows the thresholds over a reference that trails
// are found anew.
const anewAfter = 4

// leastWindows is how many windows a reference must be long.
const leastWindows = 4

// cut finds the cells of all columns.
func (s *seen) cut(units []*unit, to int64) *layout {
	rows := 0
	for _, u := range units {
		rows += len(u.kept)
	}
	bins := binsFor(float64(rows) / float64(to-units[0].at) * float64(s.f.window))
	if len(s.names) > many {
		bins = min(bins, manyBins)
	}
	each := max(1, maxToCut/len(units))
	columns := make([]cutting, len(s.names))
	var values []float64
	for i := range columns {
		values = values[:0]
		for _, u := range units {
			for _, r := range u.kept[:min(each, len(u.kept))] {
				if x := r.values[i]; x == x {
					values = append(values, x)
				}
			}
		}
		if s.text[i] {
			columns[i] = cutTexts(values, s.dictionary[i])
		} else {
			columns[i] = cutNumbers(values, bins)
		}
	}
	return newLayout(columns)
}

// leastUnits is how many units with rows a reference must have.
func (f *Fleet) leastUnits() int { return max(minPresent, min(usualPresent, int(f.reference/2))) }

// binsFor returns how many bins the rows of a window are enough for.
func binsFor(rows float64) int { return min(maxBins, max(minBins, int(rows/rowsABin))) }

// pushStd pushes the series up to a unit, and finds their thresholds anew once in
// every window.
func (s *seen) pushStd(to int64) {
	if s.std == nil {
		s.std = newBank(s.f.setting, newLayout(nil), len(s.stdOf), nil)
		s.stdPushed, s.stdSince = to-1, math.MinInt64
	}
	from := max(s.stdPushed, to-s.f.window-s.f.reference)
	units := s.within(from+1, to+1)
	for at := from + 1; at <= to; at++ {
		var slot *slot
		if len(units) > 0 && units[0].at == at {
			slot = s.meansOf(units[0])
			units = units[1:]
		}
		s.std.push(slot)
	}
	s.stdPushed = to
	if s.stdSince == math.MinInt64 || to-s.stdSince >= anewAfter*s.f.window {
		s.calibrateStd(to)
	}
}

// calibrateStd takes the reference right before the window.
func (s *seen) calibrateStd(to int64) {
	end := to - s.f.window + 1
	units := s.within(end-s.f.reference, end)
	if len(units) < s.f.leastUnits() || end-units[0].at < leastWindows*s.f.window {
		s.std.maxima, s.std.pool = nil, nil
		s.std.forgetScales()
		return
	}
	s.stdSince = to
	b := newBank(s.f.setting, s.std.layout, len(s.stdOf), nil) // others may read the one that is at work
	b.pool = make([]*slot, end-units[0].at)
	for _, u := range units {
		b.pool[u.at-units[0].at] = s.meansOf(u)
	}
	s.f.model.Aside(func() { b.calibrate(shareOf(stdPart)) })
	s.std.pool, s.std.maxima, s.std.units, s.std.up, s.std.down = b.pool, b.maxima, b.units, b.up, b.down
}

func (s *seen) meansOf(u *unit) *slot {
	means := make([]float64, len(s.stdOf))
	for i, column := range s.stdOf {
		means[i] = u.means[column]
	}
	return &slot{means: means}
}

// driftReading is the drift monitor of a column now.
func (s *seen) driftReading(i int) Reading {
	if s.drift == nil {
		return Reading{Kind: DriftMonitor, State: NoReference, Value: math.NaN(), Threshold: math.Inf(1), Lower: math.Inf(-1)}
	}
	return s.drift.driftReading(i)
}

// stdReading is the monitor of the deviation of a series now.
func (s *seen) stdReading(i int) Reading {
	if s.std == nil {
		return Reading{Kind: StdMonitor, State: NoReference, Value: math.NaN(), Threshold: math.Inf(1)}
	}
	return s.std.stdReading(i)
}

func (s *seen) driftText(a *Alarm) string {
	if s.drift == nil || a.Over != 0 && a.Version != s.version {
		return s.f.driftText(a, fmt.Sprintf("what version %d had learned", a.Version), nil, "")
	}
	with := fmt.Sprintf("the %s up to %s, which version %d has learned", length(s.f.config.Reference), s.f.alarms.when(s.cutoff), s.version)
	i := slices.Index(s.names, a.Column)
	return s.f.driftText(a, with, s.drift.layout.columns[i].table(s.drift.layout.of(i, s.drift.reference()), s.drift.layout.of(i, s.drift.now.counts)), s.other(i))
}

// other returns the most frequent text of a column in the window that has no cell of
// its own; of equal ones the least.
func (s *seen) other(column int) string {
	c := &s.drift.layout.columns[column]
	if !c.text {
		return ""
	}
	newest := s.units[len(s.units)-1].at
	counts := make(map[string]int)
	for _, u := range s.within(newest-s.f.window+1, newest+1) {
		for _, r := range u.kept {
			if x := r.values[column]; x == x && x != 0 && c.cell(x) == c.cells-2 {
				counts[s.dictionary[column].texts[int(x)]]++
			}
		}
	}
	if len(counts) == 0 {
		return ""
	}
	return byCount(counts)[0]
}

func (s *seen) stdText(a *Alarm) string {
	x := &s.std.series[slices.Index(s.stdOf, slices.Index(s.names, a.Column))]
	return s.f.stdText(a, x.now.std(), x.past.std())
}
