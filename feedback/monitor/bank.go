package monitor

import "math"

// A slot is what one unit of time gives a bank; nil: it has no rows.
type slot struct {
	cells []uint16  // rows by cell of all drift monitors
	means []float64 // by series; NaN: none
}

// A counter adds up the cells of the last slots.
type counter struct {
	ring   []*slot
	at     int
	counts []float64
}

func newCounter(slots, cells int) counter {
	return counter{ring: make([]*slot, slots), counts: make([]float64, cells)}
}

func (c *counter) clear() {
	clear(c.ring)
	clear(c.counts)
	c.at = 0
}

// push takes the newest slot and returns the one that leaves.
func (c *counter) push(s *slot) (leaves *slot) {
	leaves = c.ring[c.at]
	c.ring[c.at] = s
	if c.at++; c.at == len(c.ring) {
		c.at = 0
	}
	switch {
	case s != nil && leaves != nil:
		in, out := s.cells[:len(c.counts)], leaves.cells[:len(c.counts)]
		for i := range c.counts {
			c.counts[i] += float64(int(in[i]) - int(out[i]))
		}
	case s != nil:
		add(c.counts, s.cells, 1)
	case leaves != nil:
		add(c.counts, leaves.cells, -1)
	}
	return leaves
}

func add(counts []float64, cells []uint16, sign float64) {
	for i, n := range cells {
		counts[i] += sign * float64(n)
	}
}

// A bank is monitors whose thresholds are found together: drift monitors over the
// cells of a layout, and those of the deviation of series. The same code looks at
// what comes and at the stretches that thresholds are found on.
//
// Each monitor has a scale, from what it reaches while nothing changes, and its
// excess is its value over its scale. All alarm beyond one factor, which is such
// that the stated share of stretches has an alarm: so each column has a like share
// in it, and columns that move together are not counted as if they did not.
type bank struct {
	setting setting
	layout  *layout // of the drift monitors; no columns: there are none
	series  []series
	drawn   []*slot // of a rehearsal: its reference
	turned  []*slot // of a rehearsal: the pool
	frozen  bool    // of a rehearsal: what leaves the window does not enter the reference
	idle    []bool  // of a rehearsal: series without any mean in the pool
	now     counter
	past    counter   // where the reference trails the window
	fixed   []float64 // counts of the reference, where it does not

	least  []float64 // by drift monitor: rows of the least window of the reference
	own    []float64 // the mean of atMost of the reference's own windows and it
	scale  []float64 // of the distance over own
	units  []float64 // by series: units with rows of the least window
	up     []float64 // scales of log ratios
	down   []float64
	factor float64

	pool   []*slot   // what stretches are put together from: the reference by unit of time
	maxima []float64 // of the excess, by stretch, ascending
}

// A setting is what all banks of a fleet have in common.
type setting struct {
	distance          Distance
	window, reference int     // units
	block             int     // units
	looks             int     // units of a stretch
	factor            float64 // logarithm of Config.Factor
	square            float64 // of Config.Factor
	work              int     // see calibrate
	stretches         int
	seed              uint64
}

// newBank returns a bank without a scale for anything. fixed are the counts of a
// reference that stays; nil: it trails.
func newBank(s setting, l *layout, series int, fixed []float64) *bank {
	b := &bank{setting: s, layout: l, fixed: fixed, factor: math.Inf(1)}
	n := len(l.columns)
	b.least, b.own, b.scale = make([]float64, n), make([]float64, n), fill(make([]float64, n), math.Inf(1))
	b.units, b.up, b.down = make([]float64, series), fill(make([]float64, series), math.Inf(1)), fill(make([]float64, series), math.Inf(1))
	b.begin()
	return b
}

func fill(x []float64, with float64) []float64 {
	for i := range x {
		x[i] = with
	}
	return x
}

// begin gives the bank what it counts with.
func (b *bank) begin() {
	b.now = newCounter(b.setting.window, b.layout.cells)
	if b.fixed == nil {
		b.past = newCounter(b.setting.reference, b.layout.cells)
	}
	b.series = make([]series, len(b.up))
	for i := range b.series {
		b.series[i] = newSeries(b.setting.window, b.setting.reference)
	}
}

// clear forgets what was pushed.
func (b *bank) clear() {
	b.now.clear()
	b.past.clear()
	for i := range b.series {
		b.series[i].now.clear()
		b.series[i].past.clear()
	}
}

// push takes the next unit of time.
func (b *bank) push(s *slot) {
	if b.layout.cells > 0 {
		leaves := b.now.push(s)
		if b.fixed == nil && !b.frozen {
			b.past.push(leaves)
		}
	}
	for i := range b.series {
		if b.idle != nil && b.idle[i] {
			continue
		}
		mean := math.NaN()
		if s != nil {
			mean = s.means[i]
		}
		leaves := b.series[i].now.push(mean)
		if !b.frozen {
			b.series[i].past.push(leaves)
		}
	}
}

func (b *bank) reference() []float64 {
	if b.fixed != nil {
		return b.fixed
	}
	return b.past.counts
}

// thin is by how much a window's evidence is less than usual where it has fewer
// rows than any of the reference: with half of them it is too few to say anything.
func thin(rows, least float64) (part float64, enough bool) {
	if rows < 1 || rows < least/2 {
		return 0, false
	}
	if rows >= least {
		return 1, true
	}
	return rows / least, true
}

// drift returns the value of a drift monitor for its scale. Where it can be seen
// cheaply that it is not above a bound, 0 stands for it.
func (b *bank) drift(i int, above float64) float64 {
	now, reference := b.layout.of(i, b.now.counts), b.layout.of(i, b.reference())
	part, ok := thin(sum(now), b.least[i])
	if !ok {
		return 0
	}
	part /= b.own[i]
	text := b.layout.columns[i].text
	distance := b.setting.distance
	if bound := distance.odds(distance.atMost(reference, now, text)) * part; bound <= above {
		return 0
	} else if distance != JensenShannon {
		return bound // it is the distance
	}
	return distance.odds(distance.apart(reference, now, text)) * part
}

// times is a scale times a factor: infinite where there is no scale.
func times(factor, scale float64) float64 {
	if math.IsInf(scale, 1) {
		return scale
	}
	return factor * scale
}

// driftReading is one drift monitor now, without its cells.
func (b *bank) driftReading(i int) Reading {
	now, reference := b.layout.of(i, b.now.counts), b.layout.of(i, b.reference())
	text := b.layout.columns[i].text
	r := Reading{
		Kind: DriftMonitor, State: Fine, Threshold: math.Inf(1), Lower: math.Inf(-1),
		Rows: int64(sum(now)), Reference: int64(sum(reference)),
		Value: b.setting.distance.apart(reference, now, text),
	}
	part, enough := thin(float64(r.Rows), b.least[i])
	switch {
	case r.Reference == 0 || math.IsInf(b.scale[i], 1):
		r.State = NoReference
	case !enough:
		r.State = TooFew
	default:
		r.Threshold = b.setting.distance.ofOdds(b.factor * b.scale[i] * b.own[i] / part)
		if r.Value > r.Threshold {
			r.State = Alarmed
		}
	}
	return r
}

// stdReading is one monitor of a deviation now.
func (b *bank) stdReading(i int) Reading {
	s := &b.series[i]
	x, units, ok := s.logRatio()
	r := Reading{
		Kind: StdMonitor, State: Fine, Value: math.Exp(x), Threshold: math.Inf(1), Lower: 0,
		Rows: int64(units), Reference: int64(s.past.n),
	}
	part, enough := thin(float64(units), b.units[i])
	switch {
	case s.past.n < minPresent || !(s.past.std() > 0) || math.IsInf(b.up[i], 1) && math.IsInf(b.down[i], 1):
		r.State, r.Value = NoReference, math.NaN()
	case !ok || !enough:
		r.State = TooFew
	default:
		r.Threshold = math.Exp(max(times(b.factor, b.up[i])/part, b.setting.factor))
		r.Lower = math.Exp(-max(times(b.factor, b.down[i])/part, b.setting.factor))
		if r.Value > r.Threshold || r.Value < r.Lower {
			r.State = Alarmed
		}
	}
	return r
}

// forgetScales leaves no threshold that could be exceeded.
func (b *bank) forgetScales() {
	for _, scales := range [][]float64{b.scale, b.up, b.down} {
		fill(scales, math.Inf(1))
	}
}

// alarmed reports whether any monitor is beyond its threshold now.
func (b *bank) alarmed() bool {
	for i := range b.layout.columns {
		if b.driftReading(i).State == Alarmed {
			return true
		}
	}
	for i := range b.series {
		if b.stdReading(i).State == Alarmed {
			return true
		}
	}
	return false
}

// monitors returns how many have a threshold.
func (b *bank) monitors() int {
	n := 0
	for _, scale := range b.scale {
		if !math.IsInf(scale, 1) {
			n++
		}
	}
	for i := range b.up {
		if !math.IsInf(b.up[i], 1) || !math.IsInf(b.down[i], 1) {
			n++
		}
	}
	return n
}
