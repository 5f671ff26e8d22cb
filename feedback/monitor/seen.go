package monitor

import (
	"math"
	"slices"
	"unique"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
)

// A unit is what is left of the predictions of a unit of time after its look.
type unit struct {
	at      int64 // its number: its begin over Config.Every
	rows    int64
	version int       // that answered last
	present []int64   // rows with a value, by column: inputs and score
	means   []float64 // of them, by column; NaN: none
	kept    sample    // nil: too old
}

// A gathering is a unit before its look.
type gathering struct {
	rows    int64
	newest  row // the last by time and hash
	present []int64
	sums    []exact
	kept    sample
	ids     map[uint64]struct{}
}

// Limits of what is gathered.
const (
	keptRows     = 1000      // of a unit
	leastKept    = 4         // of a unit, however many columns there are
	keptBytes    = 256 << 20 // for the values of kept rows, by which their number is chosen
	momentBytes  = 64 << 20  // for counts and means by unit
	openBytes    = 512 << 20 // for units whose look is to come
	seriesUnits  = 4 * MaxUnits
	maxIDs       = 1 << 20 // ids of a unit by which repeats are seen
	rowBytes     = 96      // of a kept row besides its values, about
	keepVersions = 4       // references that are held
)

// Seen is the side of the predictions: looks come as soon as a unit is over.
type seen struct {
	f          *Fleet
	names      []string // of inputs and score
	text       []bool
	dictionary []*dictionary // by column; nil: numbers
	most       int           // kept rows of a unit
	open       map[int64]*gathering
	maxOpen    int
	maxUnits   int
	units      []*unit                       // after their look, by number
	next       int64                         // units below are over
	entities   map[unique.Handle[string]]int // of kept rows: how many

	version   int // of the newest unit with rows
	drift     *bank
	cutoff    int64  // end of its reference, microseconds
	banks     []held // the most recently used last
	std       *bank
	stdOf     []int // columns of its series
	stdSince  int64 // unit at which it was calibrated
	stdPushed int64 // unit up to which the series have been pushed
}

// A held is the drift monitors of one version.
type held struct {
	version int
	end     int64 // of the reference, microseconds
	bank    *bank // nil: there is no reference
}

func newSeen(f *Fleet) *seen {
	s := &seen{f: f, open: map[int64]*gathering{}, entities: map[unique.Handle[string]]int{}, next: math.MinInt64, stdPushed: math.MinInt64}
	for _, in := range f.model.Inputs {
		s.names, s.text = append(s.names, in.Name), append(s.text, isText(in.Kind))
	}
	s.names, s.text = append(s.names, ScoreColumn), append(s.text, false)
	s.dictionary = make([]*dictionary, len(s.names))
	for i, text := range s.text {
		if text {
			s.dictionary[i] = newDictionary()
		}
		if i == len(s.names)-1 || slices.Contains(f.config.Std, s.names[i]) {
			s.stdOf = append(s.stdOf, i)
		}
	}
	columns, span := len(s.names), int(f.window+2*f.reference)
	s.most = min(keptRows, max(leastKept, keptBytes/(span*(8*columns+rowBytes))))
	s.maxOpen = min(seriesUnits, max(64, openBytes/(s.most*(8*columns+rowBytes)+48*columns)))
	s.maxUnits = min(seriesUnits, max(span, momentBytes/(16*columns)))
	return s
}

// predicted takes a prediction into its unit.
func (s *seen) predicted(p *feedback.Prediction) {
	at := floorDiv(p.Time, s.f.every)
	if at < s.next {
		s.f.counts.Predictions++
		s.f.counts.Late++
		return
	}
	hash := hashOf(p.ID)
	g := s.open[at]
	if g == nil {
		if g = s.gather(at); g == nil {
			return
		}
	}
	if _, repeated := g.ids[hash]; repeated {
		return
	}
	if len(g.ids) < maxIDs {
		g.ids[hash] = struct{}{}
	}
	s.f.counts.Predictions++
	g.rows++
	if g.rows == 1 || p.Time > g.newest.time || p.Time == g.newest.time && hash > g.newest.hash {
		g.newest = row{hash: hash, time: p.Time, version: p.Score.Version}
	}
	for i, v := range p.Vector {
		s.take(g, i, v)
	}
	if p.Score.Version != 0 { // the base rate is not a model
		s.take(g, len(p.Vector), expr.FloatValue(p.Score.Value))
	}
	if place, ok := g.kept.wants(hash, s.most); ok {
		g.kept.keep(s.rowOf(p, hash), place, s.most)
	}
}

// gather opens a unit. Of too many the last gives way: a clock that is wrong must
// not fill the memory.
func (s *seen) gather(at int64) *gathering {
	if len(s.open) >= s.maxOpen {
		last := at
		for other := range s.open {
			last = max(last, other)
		}
		if last == at {
			s.f.counts.Predictions++
			s.f.counts.Late++
			return nil
		}
		s.f.counts.Late += s.open[last].rows
		delete(s.open, last)
	}
	n := len(s.names)
	g := &gathering{present: make([]int64, n), sums: make([]exact, n), ids: map[uint64]struct{}{}}
	s.open[at] = g
	return g
}

func (s *seen) take(g *gathering, column int, v features.Value) {
	if s.text[column] && v.Kind == expr.String {
		g.present[column]++
		return
	}
	if x, ok := number(v); ok {
		g.present[column]++
		g.sums[column].add(x)
	}
}

// rowOf copies what is kept of a prediction.
func (s *seen) rowOf(p *feedback.Prediction, hash uint64) *row {
	r := &row{
		hash: hash, time: p.Time, version: p.Score.Version,
		values: make([]float64, len(s.names)),
		entity: unique.Make(entityOf(s.f.model.Entity, p.Entity)),
	}
	for i, v := range p.Vector {
		x, ok := number(v)
		r.values[i] = x
		switch {
		case !s.text[i] && !ok || v.Kind == expr.Missing:
			r.values[i] = math.NaN()
		case s.text[i]:
			if r.texts == nil {
				r.texts = make([]string, len(s.names))
			}
			r.texts[i] = clip(v.Text())
		}
	}
	r.values[len(p.Vector)] = math.NaN()
	if p.Score.Version != 0 && isNumber(p.Score.Value) {
		r.values[len(p.Vector)] = p.Score.Value
	}
	return r
}

// tick closes the units that end up to a time and looks after each.
func (s *seen) tick(t int64) {
	upto := floorDiv(t, s.f.every)
	if upto <= s.next {
		return
	}
	var due []int64
	for at := range s.open {
		if at < upto {
			due = append(due, at)
		}
	}
	slices.Sort(due)
	for _, at := range due {
		s.close(at, s.open[at])
		delete(s.open, at)
		s.look()
		s.f.model.Aside(func() {})
	}
	s.next = upto
}

// close makes a unit of what was gathered.
func (s *seen) close(at int64, g *gathering) {
	u := &unit{at: at, rows: g.rows, version: g.newest.version, present: g.present, means: make([]float64, len(s.names)), kept: g.kept}
	for i := range u.means {
		u.means[i] = math.NaN()
		if n := g.present[i]; len(g.sums[i]) > 0 {
			u.means[i] = g.sums[i].value() / float64(n)
		}
		if !s.text[i] {
			continue
		}
		s.dictionary[i].learn(g.kept, i)
		for _, r := range g.kept {
			if r.values[i] == r.values[i] {
				r.values[i] = s.dictionary[i].code(r.texts[i])
			}
		}
	}
	for _, r := range u.kept {
		r.texts = nil
		s.entities[r.entity]++
	}
	s.units = append(s.units, u)
	s.forget(at)
}

// forget drops what is too old: kept rows, and units beyond the limit.
func (s *seen) forget(newest int64) {
	span := s.f.window + 2*s.f.reference
	for i := len(s.units) - 1; i >= 0; i-- {
		if u := s.units[i]; u.at <= newest-span {
			if u.kept == nil {
				break
			}
			s.letGo(u)
		}
	}
	if extra := len(s.units) - s.maxUnits; extra > 0 {
		for _, u := range s.units[:extra] {
			s.letGo(u)
		}
		s.units = slices.Delete(s.units, 0, extra)
	}
}

// letGo drops the kept rows of a unit.
func (s *seen) letGo(u *unit) {
	for _, r := range u.kept {
		if s.entities[r.entity]--; s.entities[r.entity] == 0 {
			delete(s.entities, r.entity)
		}
	}
	u.kept = nil
}

// within returns the units from a number up to another, that not included.
func (s *seen) within(from, to int64) []*unit {
	first, _ := slices.BinarySearchFunc(s.units, from, func(u *unit, at int64) int { return compareInt(u.at, at) })
	end, _ := slices.BinarySearchFunc(s.units, to, func(u *unit, at int64) int { return compareInt(u.at, at) })
	return s.units[first:max(first, end)]
}
