package monitor

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/millrace/millrace/trainer/eval"
)

// Limits of what is told apart.
const (
	sliceValues     = 20 // of a column; others together
	maxSlices       = 64 // names, "" included
	maxVersions     = 20 // the newest that have answered
	calibrationBins = 20
	qualityUnits    = seriesUnits // of a version and slice
	atLeastSure     = 0.4         // the most of the rate that one watch may spend
)

// quality is what the answers of a model came to, by version and slice, and the
// watch of its champion.
type quality struct {
	f      *Fleet
	task   string
	values [][]string     // by slice column, in the order of their coming
	names  map[string]int // slices, by name
	order  []string       // their names
	of     map[int]*answered

	base    tally // labels known before the unit
	pending map[int64]tally

	watch *watch
	begun int   // watches in this time of one alarm
	per   int64 // which one it is
}

// A tally adds up labels. They come in a fixed order.
type tally struct{ count, sum float64 }

// rate is what the base rate answers, as trainer has it: of a binary label
// (positives + 1) / (labels + 2), of a number the mean.
func (t tally) rate(binary bool) float64 {
	switch {
	case binary:
		return (t.sum + 1) / (t.count + 2)
	case t.count == 0:
		return 0
	}
	return t.sum / t.count
}

// An answered is what one version's answers came to.
type answered struct {
	slices map[int]*sliceQuality
	bins   [calibrationBins]binSums
	newest int64 // unit
}

type binSums struct{ rows, score, label float64 }

type sliceQuality struct {
	rows   int64
	points []QualityPoint
	losses spreadless
	bounds sequence

	detector *ADWIN
	changes  []int64
}

// spreadless is a running mean.
type spreadless struct{ count, mean float64 }

func (m *spreadless) add(x float64) float64 {
	m.count++
	m.mean += (x - m.mean) / m.count
	return m.mean
}

func newQuality(f *Fleet) quality {
	q := quality{
		f: f, task: "regression", values: make([][]string, len(f.model.Slices)),
		names: map[string]int{"": 0}, order: []string{""}, of: map[int]*answered{}, pending: map[int64]tally{},
	}
	if f.model.Binary {
		q.task = "binary"
	}
	return q
}

// decide takes the answers of a unit, by hash. champion is the version that
// answered last.
func (q *quality) decide(at int64, answers []answer, champion int) {
	q.learnSlices(answers)
	q.knownBefore(at)
	base := q.base.rate(q.f.model.Binary)
	sums := make(map[[2]int]*QualityPoint) // by version and slice
	var diffs []float64
	for _, a := range answers {
		loss, other := eval.RowLoss(q.task, a.label, a.score), eval.RowLoss(q.task, a.label, base)
		if a.version == champion {
			diffs = append(diffs, loss-other)
		}
		q.bin(a)
		for _, slice := range q.slicesOf(a) {
			p := sums[[2]int{a.version, slice}]
			if p == nil {
				p = &QualityPoint{Time: (at + 1) * q.f.every}
				sums[[2]int{a.version, slice}] = p
			}
			p.Rows++
			p.Loss, p.Base, p.Score, p.Label = p.Loss+loss, p.Base+other, p.Score+a.score, p.Label+a.label
		}
		// Known later than a unit begins, a label is not known to that unit.
		unit := -floorDiv(-a.known, q.f.every)
		t := q.pending[unit]
		q.pending[unit] = tally{t.count + 1, t.sum + a.label}
	}
	for key, p := range sums {
		q.point(at, key[0], key[1], p)
	}
	q.forget()
	q.follow(at, champion, diffs)
}

// knownBefore takes the labels that became known before a unit into the base rate.
// All of them are of earlier units, which are decided.
func (q *quality) knownBefore(at int64) {
	for _, unit := range slices.Sorted(maps.Keys(q.pending)) {
		if unit > at {
			return
		}
		q.base.count += q.pending[unit].count
		q.base.sum += q.pending[unit].sum
		delete(q.pending, unit)
	}
}

// learnSlices gives new values names while there is room: the most frequent first.
func (q *quality) learnSlices(answers []answer) {
	for column, name := range q.f.model.Slices {
		counts := make(map[string]int)
		for _, a := range answers {
			counts[a.slices[column].Value()]++
		}
		for _, value := range byCount(counts) {
			if slices.Contains(q.values[column], value) {
				continue
			}
			if len(q.values[column]) >= sliceValues {
				value = othersText
			}
			q.name(name + "=" + value)
			if value == othersText {
				break
			}
			q.values[column] = append(q.values[column], value)
		}
	}
}

func (q *quality) name(slice string) {
	if _, known := q.names[slice]; !known && len(q.order) < maxSlices {
		q.names[slice] = len(q.order)
		q.order = append(q.order, slice)
	}
}

// slicesOf returns the slices that an answer is in. Those beyond the limit are not
// told apart.
func (q *quality) slicesOf(a answer) []int {
	in := []int{0}
	for column, name := range q.f.model.Slices {
		value := a.slices[column].Value()
		if !slices.Contains(q.values[column], value) {
			value = othersText
		}
		if slice, ok := q.names[name+"="+value]; ok {
			in = append(in, slice)
		}
	}
	return in
}

func (q *quality) bin(a answer) {
	v := q.version(a.version)
	if !q.f.model.Binary {
		return
	}
	b := &v.bins[min(max(int(a.score*calibrationBins), 0), calibrationBins-1)]
	b.rows++
	b.score += a.score
	b.label += a.label
}

func (q *quality) version(number int) *answered {
	v := q.of[number]
	if v == nil {
		v = &answered{slices: map[int]*sliceQuality{}, newest: math.MinInt64}
		q.of[number] = v
	}
	return v
}

// point finishes a unit of a version and slice from its sums.
func (q *quality) point(at int64, version, slice int, p *QualityPoint) {
	v := q.version(version)
	v.newest = at
	s := v.slices[slice]
	if s == nil {
		detector, _ := NewADWIN(ADWINConfig{}) // its defaults have no fault
		s = &sliceQuality{bounds: sequence{least: q.f.model.Horizon.Microseconds()}, detector: detector}
		v.slices[slice] = s
	}
	n := float64(p.Rows)
	p.Loss, p.Base, p.Score, p.Label = p.Loss/n, p.Base/n, p.Score/n, p.Label/n
	s.rows += p.Rows
	p.Mean = s.losses.add(p.Loss)
	if s.detector.Add(q.inUnit(p)) && len(s.changes) < seriesUnits {
		s.changes = append(s.changes, p.Time)
	}
	s.bounds.add(at*q.f.every, p.Loss)
	if p.Lo, p.Hi = s.bounds.bounds(); p.Lo == p.Lo {
		p.Lo, p.Hi = min(max(p.Lo, 0), p.Mean), max(p.Hi, p.Mean) // no loss is below 0
	}
	s.points = append(s.points, *p)
	if extra := len(s.points) - qualityUnits; extra > 0 {
		s.points = slices.Delete(s.points, 0, extra)
	}
}

// inUnit returns a loss on a scale that ADWIN's bound is for: a log loss is hardly
// above 1 in the mean; of a squared error it is its share in that and the base
// rate's.
func (q *quality) inUnit(p *QualityPoint) float64 {
	if q.f.model.Binary || p.Loss == 0 {
		return p.Loss
	}
	return p.Loss / (p.Loss + p.Base)
}

// forget drops the versions that have not answered for the longest.
func (q *quality) forget() {
	for len(q.of) > maxVersions {
		oldest := math.MaxInt
		for number, v := range q.of {
			if o := q.of[oldest]; o == nil || cmp.Or(cmp.Compare(v.newest, o.newest), cmp.Compare(number, oldest)) < 0 {
				oldest = number
			}
		}
		delete(q.of, oldest)
	}
}

// A watch is one test of whether a champion is worse than the base rate.
type watch struct {
	version int
	test    *eval.Watch
	diffs   spread // unit means over the window
	last    int64
	rows    int64
	worse   bool
}

// follow tests whether the champion's loss is above the base rate's: an e-process,
// so that it may be looked at after every block. Each champion gets a watch of its
// own, else what an earlier one has shown would weigh against seeing it. The nth
// watch in the time of one alarm spends 1/(n(n+1)) of quality's part of the rate:
// all of them together no more than that part. Once it has found one, it is over
// when the window's mean difference is two of its standard errors below 0.
func (q *quality) follow(at int64, champion int, diffs []float64) {
	end := (at + 1) * q.f.every
	if q.watch == nil || q.watch.version != champion {
		if q.watch != nil && q.watch.worse {
			q.f.alarms.judge(Reading{Kind: QualityMonitor, State: NoReference}, ScoreColumn, end, champion, q.text)
		}
		q.watch = q.newWatch(at, champion)
	}
	if champion == 0 {
		return
	}
	w, total := q.watch, 0.0
	for _, d := range diffs {
		_ = w.test.Add(end, d) // finite, and in order
		total += d
	}
	for ; w.last < at-1 && at-w.last <= q.f.window; w.last++ {
		w.diffs.push(math.NaN())
	}
	w.last = at
	w.diffs.push(total / float64(len(diffs)))
	w.rows += int64(len(diffs))
	worse, _, _, _ := w.test.Verdict()
	if w.worse && w.diffs.mean()+2*w.diffs.std()/math.Sqrt(float64(w.diffs.n)) < 0 {
		q.watch = q.newWatch(at, champion)
	} else {
		w.worse = w.worse || worse
	}
	q.f.alarms.judge(q.reading(), ScoreColumn, end, champion, q.text)
}

func (q *quality) newWatch(at int64, champion int) *watch {
	c := q.f.config
	if per := floorDiv(at*q.f.every, c.Per.Microseconds()); per != q.per {
		q.per, q.begun = per, 0
	}
	if champion != 0 {
		q.begun++
	}
	n := float64(max(q.begun, 1))
	spends := float64(c.False) * -math.Log(1-shareOf(qualityPart)) * stretchesIn / n / (n + 1)
	return &watch{
		version: champion, last: at - 1, diffs: newSpread(int(q.f.window)),
		test: eval.NewWatch(eval.WatchConfig{Confidence: 1 - min(spends, atLeastSure), Horizon: q.f.model.Horizon}),
	}
}

// reading is the quality monitor now: the lower bound of the mean difference.
func (q *quality) reading() Reading {
	r := Reading{Kind: QualityMonitor, State: NoReference, Value: math.NaN(), Threshold: 0, Lower: math.Inf(-1)}
	if q.watch == nil || q.watch.version == 0 {
		return r
	}
	_, lo, _, _ := q.watch.test.Verdict()
	r.Value, r.Rows, r.Reference = lo, q.watch.rows, int64(q.base.count)
	switch {
	case q.watch.worse:
		r.State = Alarmed
	case math.IsInf(lo, -1):
		r.State, r.Value = TooFew, math.NaN()
	default:
		r.State = Fine
	}
	return r
}

func (q *quality) text(a *Alarm) string {
	name := "log loss"
	if !q.f.model.Binary {
		name = "squared error"
	}
	if a.Over != 0 {
		return fmt.Sprintf("score: the %s of version %d was greater than that of the base rate known at the time, since %s, until %s", name, a.Version, q.f.alarms.when(a.Onset), q.f.alarms.when(a.Over))
	}
	return fmt.Sprintf("score: the %s of version %d is greater than that of the base rate known at the time, by at least %s on average of %d answers, since %s",
		name, a.Version, short(a.Value), q.watch.rows, q.f.alarms.when(a.Onset))
}

// slice returns one slice's quality by version.
func (q *quality) slice(name string) []Quality {
	slice, ok := q.names[name]
	if !ok {
		return nil
	}
	var list []Quality
	for _, number := range slices.Sorted(maps.Keys(q.of)) {
		s := q.of[number].slices[slice]
		if s == nil {
			continue
		}
		list = append(list, Quality{Version: number, Slice: name, Rows: s.rows, Points: slices.Clone(s.points), Changes: slices.Clone(s.changes)})
	}
	return list
}

// calibration returns a version's bins that have rows.
func (q *quality) calibration(version int) []CalibrationBin {
	v := q.of[version]
	if v == nil || !q.f.model.Binary {
		return nil
	}
	var list []CalibrationBin
	for _, b := range v.bins {
		if b.rows == 0 {
			continue
		}
		lo, hi := eval.Wilson(int(b.label+0.5), int(b.rows), 0.95)
		list = append(list, CalibrationBin{Rows: int64(b.rows), Score: b.score / b.rows, Label: b.label / b.rows, Lo: lo, Hi: hi})
	}
	return list
}
