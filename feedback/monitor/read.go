package monitor

import (
	"cmp"
	"math"
	"slices"
	"unique"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// An EntityPoint is a prediction about one entity.
type EntityPoint struct {
	Time    int64   // as of, microseconds
	Value   float64 // of a column; NaN: missing, or a text. A bool is 0 or 1
	Version int     // that answered
	Score   float64 // NaN: the base rate answered
	Label   float64 // NaN: not known
}

// Columns returns the columns: inputs, then score and label.
func (f *Fleet) Columns() []features.Field {
	return append(slices.Clone(f.model.Inputs), features.Field{Name: ScoreColumn, Kind: expr.Float}, features.Field{Name: LabelColumn, Kind: expr.Float})
}

// Series returns a column's units whose ends are at from or later and before to,
// in microseconds, by time; nil: there is no such column. Scores are those of
// models, without the base rate's.
func (f *Fleet) Series(column string, from, to int64) []Point {
	points := f.points(column, to)
	if points == nil {
		return nil
	}
	s := newSeries(int(f.window), int(f.reference))
	last := int64(math.MinInt64)
	for i := range points {
		p := &points[i]
		at := p.Time/f.every - 1
		for gap := max(last+1, at-f.window-f.reference); i > 0 && gap < at; gap++ {
			s.push(math.NaN())
		}
		last = at
		s.push(p.Mean)
		p.RollMean, p.RollStd, p.RefStd = math.NaN(), s.now.std(), math.NaN()
		if s.now.n > 1 {
			p.RollMean = s.now.mean()
		}
		if s.past.n >= minPresent {
			p.RefStd = s.past.std()
		}
	}
	first, _ := slices.BinarySearchFunc(points, from, func(p Point, t int64) int { return cmp.Compare(p.Time, t) })
	return points[first:]
}

// points returns all units of a column that end before a time.
func (f *Fleet) points(column string, to int64) []Point {
	points := []Point{}
	if column == LabelColumn {
		for _, u := range f.told.units {
			if end := (u.at + 1) * f.every; end < to {
				points = append(points, Point{Time: end, Rows: u.rows, Missing: u.missing, Mean: u.mean})
			}
		}
		return points
	}
	i := slices.Index(f.seen.names, column)
	if i < 0 {
		return nil
	}
	for _, u := range f.seen.units {
		if end := (u.at + 1) * f.every; end < to {
			p := Point{Time: end, Rows: u.present[i], Missing: u.rows - u.present[i], Mean: u.means[i]}
			if column == ScoreColumn {
				p.Missing = 0
			}
			points = append(points, p)
		}
	}
	return points
}

// Readings returns all monitors at the newest look, without cells, by kind and
// column.
func (f *Fleet) Readings() []Reading {
	var list []Reading
	for _, kind := range []Kind{DriftMonitor, QualityMonitor, StdMonitor} {
		for _, c := range f.Columns() {
			if r, ok := f.reading(kind, c.Name); ok {
				list = append(list, r)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Reading) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Column, b.Column)) })
	return list
}

// Reading returns one monitor at the newest look, that of a distribution with its
// cells and all distances.
func (f *Fleet) Reading(kind Kind, column string) (Reading, bool) {
	r, ok := f.reading(kind, column)
	if !ok || kind != DriftMonitor {
		return r, ok
	}
	b, i := f.bankOf(column)
	if b == nil {
		return r, true
	}
	now, reference := b.layout.of(i, b.now.counts), b.layout.of(i, b.reference())
	c := &b.layout.columns[i]
	r.JS, r.LInf = JensenShannon.apart(reference, now, c.text), LInfinity.apart(reference, now, c.text)
	r.PSI, r.KS = PSI.apart(reference, now, c.text), KS.apart(reference, now, c.text)
	r.Cells = c.table(reference, now)
	return r, true
}

// bankOf returns where a column's distribution is watched; nil: nowhere.
func (f *Fleet) bankOf(column string) (*bank, int) {
	if column == LabelColumn {
		return f.told.bank, 0
	}
	return f.seen.drift, slices.Index(f.seen.names, column)
}

func (f *Fleet) reading(kind Kind, column string) (r Reading, ok bool) {
	i := slices.Index(f.seen.names, column)
	label := column == LabelColumn
	switch {
	case i < 0 && !label:
		return Reading{}, false
	case kind == DriftMonitor && label:
		r = f.told.driftReading()
	case kind == DriftMonitor:
		r = f.seen.driftReading(i)
	case kind == StdMonitor && label:
		r = f.told.stdReading()
	case kind == StdMonitor && slices.Contains(f.seen.stdOf, i):
		r = f.seen.stdReading(slices.Index(f.seen.stdOf, i))
	case kind == QualityMonitor && column == ScoreColumn:
		r = f.told.quality.reading()
	default:
		return Reading{}, false
	}
	r.Column, r.Look = column, f.newestLook(label || kind == QualityMonitor)
	if f.alarms.open[monitorName{kind, column}] != nil {
		r.State = Alarmed
	}
	return r, true
}

func (f *Fleet) newestLook(told bool) int64 {
	if n := len(f.told.units); told && n > 0 {
		return (f.told.units[n-1].at + 1) * f.every
	}
	if n := len(f.seen.units); !told && n > 0 {
		return (f.seen.units[n-1].at + 1) * f.every
	}
	return 0
}

// SliceNames returns the slices by which quality is told apart: "", which is all,
// then those of each column by name.
func (f *Fleet) SliceNames() []string { return slices.Sorted(slices.Values(f.told.quality.order)) }

// Quality returns what the answers in a slice came to, by version.
func (f *Fleet) Quality(slice string) []Quality { return f.told.quality.slice(slice) }

// Calibration returns how scores of a version and labels agree, by score; nil: it
// is not a binary model, or nothing is known of the version.
func (f *Fleet) Calibration(version int) []CalibrationBin {
	return f.told.quality.calibration(version)
}

// Open returns the alarms that are not over, by onset.
func (f *Fleet) Open() []Alarm { return f.alarms.list() }

// Counts returns what was taken in.
func (f *Fleet) Counts() Counts { return f.counts }

// Entities returns entities of the kept rows, by name: the first so many.
func (f *Fleet) Entities(limit int) []string {
	list := make([]string, 0, len(f.seen.entities))
	for e := range f.seen.entities {
		list = append(list, e.Value())
	}
	slices.Sort(list)
	return list[:min(max(limit, 0), len(list))]
}

// EntitySeries returns the kept predictions about an entity, with their values of
// a column, by time; nil: there is no such column.
func (f *Fleet) EntitySeries(entity, column string) []EntityPoint {
	i, score := slices.Index(f.seen.names, column), len(f.seen.names)-1
	if i < 0 && column != LabelColumn {
		return nil
	}
	points := []EntityPoint{}
	handle := unique.Make(entity) // compared faster than texts, of which there are many
	if f.seen.entities[handle] == 0 {
		return points
	}
	for _, u := range f.seen.units {
		for _, r := range u.kept {
			if r.entity != handle {
				continue
			}
			p := EntityPoint{Time: r.time, Version: r.version, Score: r.values[score], Label: f.told.labelOf(u.at, r.hash)}
			if p.Value = p.Label; i >= 0 {
				p.Value = f.seen.valueOf(i, r.values[i])
			}
			points = append(points, p)
		}
	}
	slices.SortStableFunc(points, func(a, b EntityPoint) int { return cmp.Compare(a.Time, b.Time) })
	return points
}

// valueOf is a kept value as people see it.
func (s *seen) valueOf(column int, x float64) float64 {
	switch {
	case !s.text[column] || x != x:
		return x
	case column < len(s.f.model.Inputs) && s.f.model.Inputs[column].Kind == expr.Bool:
		if s.dictionary[column].texts[int(x)] == "true" {
			return 1
		}
		return 0
	}
	return math.NaN()
}

// labelOf returns the label of a prediction, if it is known.
func (t *told) labelOf(at int64, hash uint64) float64 {
	if u := t.open[at]; u != nil {
		label, seq := math.NaN(), int64(math.MinInt64)
		for _, a := range u.answers {
			if a.hash == hash && a.seq > seq {
				label, seq = a.label, a.seq
			}
		}
		return label
	}
	for _, u := range t.within(at, at+1) {
		if i, ok := slices.BinarySearch(u.hashes, hash); ok {
			return u.labels[i]
		}
	}
	return math.NaN()
}
