package monitor

import (
	"cmp"
	"math"
	"slices"
	"unique"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/feedback"
)

// An answer is a prediction whose label is known.
type answer struct {
	hash    uint64
	seq     int64
	time    int64
	known   int64
	label   float64
	score   float64
	version int
	slices  []unique.Handle[string] // values, by Model.Slices
}

// byID orders answers by id, and of one id the newest first.
func byID(a, b answer) int { return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(b.seq, a.seq)) }

// A telling is a unit that is not decided.
type telling struct {
	answers    []answer
	unanswered int64
}

// A told unit is what is left of the labels of a unit once it is decided.
type toldUnit struct {
	at      int64
	rows    int64
	missing int64
	mean    float64
	hashes  []uint64 // of the kept rows, ascending; nil: too old
	labels  []float64
}

// Limits of labels.
const (
	answerRows  = 1 << 16   // of a unit; of more, those with the least hashes
	leastAnswer = 1000      // of a unit, however long labels take
	answerBytes = 256 << 20 // for all units that are not decided, by which the rows of one are chosen
	answerSize  = 112       // of one, about, without slices
)

// Told is the side of the labels: looks come once a unit is decided.
type told struct {
	f       *Fleet
	open    map[int64]*telling
	most    int // answers of a unit
	maxOpen int
	units   []*toldUnit
	next    int64 // units below are decided

	bank    *bank
	since   int64 // unit at which it was calibrated
	pushed  int64
	version int // that answered last in the newest unit

	quality quality
}

func newTold(f *Fleet) *told {
	t := &told{f: f, open: map[int64]*telling{}, next: math.MinInt64, quality: newQuality(f)}
	waiting := int((f.wait+f.every-1)/f.every) + 2
	t.most = min(answerRows, max(leastAnswer, answerBytes/(answerSize+8*len(f.model.Slices))/waiting))
	t.maxOpen = max(seriesUnits, 2*waiting)
	return t
}

// known takes an example into the unit of its prediction.
func (t *told) known(e *feedback.Example) {
	if e.Kind != feedback.Labelled && e.Kind != feedback.Unanswered {
		return
	}
	p := &e.Prediction
	if e.Kind == feedback.Unanswered {
		t.f.counts.Unanswered++
	} else if !e.Correction {
		t.f.counts.Answered++
	}
	at := floorDiv(p.Time, t.f.every)
	u := t.open[at]
	switch {
	case at < t.next || u == nil && len(t.open) >= t.maxOpen:
		t.f.counts.Late++
		return
	case u == nil:
		u = &telling{}
		t.open[at] = u
	}
	if e.Kind == feedback.Unanswered {
		u.unanswered++
		return
	}
	if !isNumber(e.Label) || !isNumber(p.Score.Value) {
		return
	}
	u.answers = append(u.answers, answer{
		hash: hashOf(p.ID), seq: e.Seq, time: p.Time, known: e.Known,
		label: e.Label, score: p.Score.Value, version: p.Score.Version, slices: t.slicesOf(p),
	})
	if len(u.answers) >= 2*t.most {
		u.settle(t.most)
	}
}

// settle leaves the newest word on each prediction, of those with the least hashes.
func (u *telling) settle(most int) {
	slices.SortFunc(u.answers, byID)
	u.answers = slices.CompactFunc(u.answers, func(a, b answer) bool { return a.hash == b.hash })
	u.answers = u.answers[:min(most, len(u.answers))]
}

// slicesOf returns the values by which quality is told apart.
func (t *told) slicesOf(p *feedback.Prediction) []unique.Handle[string] {
	values := make([]unique.Handle[string], len(t.f.model.Slices))
	for i, name := range t.f.model.Slices {
		text := named(p.Entity, name)
		if in := slices.IndexFunc(t.f.model.Inputs, func(f features.Field) bool { return f.Name == name }); in >= 0 {
			text = p.Vector[in].Text()
		}
		if text == "" {
			text = missingText
		}
		values[i] = unique.Make(clip(text))
	}
	return values
}

// passed decides the units whose time is over and looks after each.
func (t *told) passed(now int64) {
	upto := floorDiv(now-t.f.wait, t.f.every)
	if upto <= t.next {
		return
	}
	var due []int64
	for at := range t.open {
		if at < upto {
			due = append(due, at)
		}
	}
	slices.Sort(due)
	for _, at := range due {
		u := t.open[at]
		delete(t.open, at)
		u.settle(t.most)
		t.decide(at, u)
		t.f.model.Aside(func() {})
	}
	t.next = upto
}

// decide looks at a unit's labels.
func (t *told) decide(at int64, u *telling) {
	unit := &toldUnit{at: at, rows: int64(len(u.answers)), missing: u.unanswered, mean: math.NaN()}
	t.units = append(t.units, unit)
	t.forget(at)
	if len(u.answers) == 0 {
		return
	}
	total := 0.0
	newest := u.answers[0]
	for _, a := range u.answers { // in the order of hashes
		total += a.label
		if a.time > newest.time || a.time == newest.time && a.hash > newest.hash {
			newest = a
		}
		if len(unit.hashes) < t.f.seen.most {
			unit.hashes, unit.labels = append(unit.hashes, a.hash), append(unit.labels, a.label)
		}
	}
	unit.mean = total / float64(len(u.answers))
	t.version = newest.version
	t.push(at)
	end := (at + 1) * t.f.every
	t.f.counts.Clock = max(t.f.counts.Clock, end)
	t.f.alarms.judge(t.driftReading(), LabelColumn, end, t.version, t.driftText)
	t.f.alarms.judge(t.stdReading(), LabelColumn, end, t.version, t.stdText)
	t.quality.decide(at, u.answers, t.version)
}

// forget drops what is too old.
func (t *told) forget(newest int64) {
	span := t.f.window + 2*t.f.reference
	for i := len(t.units) - 1; i >= 0; i-- {
		if u := t.units[i]; u.at <= newest-span {
			if u.hashes == nil && u.rows > 0 {
				break
			}
			u.hashes, u.labels = nil, nil
		}
	}
	if extra := len(t.units) - seriesUnits; extra > 0 {
		t.units = slices.Delete(t.units, 0, extra)
	}
}

func (t *told) within(from, to int64) []*toldUnit {
	first, _ := slices.BinarySearchFunc(t.units, from, func(u *toldUnit, at int64) int { return compareInt(u.at, at) })
	end, _ := slices.BinarySearchFunc(t.units, to, func(u *toldUnit, at int64) int { return compareInt(u.at, at) })
	return t.units[first:max(first, end)]
}

// push pushes the units up to one that is decided, and finds thresholds anew once
// in every window.
func (t *told) push(to int64) {
	if t.bank != nil && to-t.since < anewAfter*t.f.window {
		t.pushUnits(t.pushed, to)
		return
	}
	end := to - t.f.window + 1
	units := t.within(end-t.f.reference, end)
	for len(units) > 0 && units[0].rows == 0 {
		units = units[1:]
	}
	if len(units) < t.f.leastUnits() || end-units[0].at < leastWindows*t.f.window {
		t.bank = nil
		return
	}
	l := t.cut(units, end)
	b := newBank(t.f.setting, l, 1, nil) // others may read the one before it
	b.pool = make([]*slot, end-units[0].at)
	for _, u := range units {
		b.pool[u.at-units[0].at] = slotOfLabels(l, u)
	}
	t.f.model.Aside(func() { b.calibrate(shareOf(toldPart)) })
	b.state(shareOf(toldPart))
	t.bank, t.since = b, to
	t.pushUnits(end-t.f.reference-1, to)
}

func (t *told) cut(units []*toldUnit, to int64) *layout {
	var values []float64
	rows := 0
	each := max(1, maxToCut/len(units))
	for _, u := range units {
		rows += len(u.labels)
		values = append(values, u.labels[:min(each, len(u.labels))]...)
	}
	bins := binsFor(float64(rows) / float64(to-units[0].at) * float64(t.f.window))
	return newLayout([]cutting{cutNumbers(values, bins)})
}

func slotOfLabels(l *layout, u *toldUnit) *slot {
	if u.rows == 0 {
		return nil
	}
	s := &slot{cells: make([]uint16, l.cells), means: []float64{u.mean}}
	for _, x := range u.labels {
		s.cells[l.columns[0].cell(x)]++
	}
	return s
}

// pushUnits pushes the units after a number up to another.
func (t *told) pushUnits(after, to int64) {
	after = max(after, to-t.f.window-t.f.reference)
	units := t.within(after+1, to+1)
	for at := after + 1; at <= to; at++ {
		var slot *slot
		if len(units) > 0 && units[0].at == at {
			slot = slotOfLabels(t.bank.layout, units[0])
			units = units[1:]
		}
		t.bank.push(slot)
	}
	t.pushed = to
}

func (t *told) driftReading() Reading {
	if t.bank == nil {
		return Reading{Kind: DriftMonitor, State: NoReference, Value: math.NaN(), Threshold: math.Inf(1), Lower: math.Inf(-1)}
	}
	return t.bank.driftReading(0)
}

func (t *told) stdReading() Reading {
	if t.bank == nil {
		return Reading{Kind: StdMonitor, State: NoReference, Value: math.NaN(), Threshold: math.Inf(1)}
	}
	return t.bank.stdReading(0)
}

func (t *told) driftText(a *Alarm) string {
	with := "the " + length(t.f.config.Reference) + " before"
	if t.bank == nil {
		return t.f.driftText(a, with, nil, "")
	}
	return t.f.driftText(a, with, t.bank.layout.columns[0].table(t.bank.past.counts, t.bank.now.counts), "")
}

func (t *told) stdText(a *Alarm) string {
	if t.bank == nil {
		return t.f.stdText(a, math.NaN(), math.NaN())
	}
	s := &t.bank.series[0]
	return t.f.stdText(a, s.now.std(), s.past.std())
}
