package features

import (
	"math"
	"math/bits"

	"github.com/millrace/millrace/features/expr"
)

// A group is the layout of the partial aggregates of one input inside a tile.
// A tile is a run of 64-bit words, so that it is stored, loaded and merged
// without decoding. Offsets are in words from the tile's start; 0 means that
// the part is absent (word 0 of a tile is its start time).
//
// All parts are commutative monoids with the zero words as identity. Windows
// merge tiles and never subtract, so nothing that has left can be felt.
type group struct {
	input int  // index into the event's values and derivations; rowsInput: counts rows
	kind  Kind // of the input

	n       int // how many values
	sum     int // 2 words; Float: sum and its compensation; Int: 128 bits, low word first
	moments int // 2 words: mean and centred sum of squares, doubles
	min     int // 1 word, as the input
	max     int // 1 word, as the input
	first   int // 3 words: event time, order, value
	last    int // 3 words: event time, order, value
}

const rowsInput = -1

// add folds one value, given as its bits, into tile t. For strings the value
// is an index into the row's strings.
func (g *group) add(t []uint64, w uint64, at int64, order uint64) {
	n := t[g.n] + 1
	t[g.n] = n
	if g.kind == expr.Float {
		g.addNumber(t, math.Float64frombits(w), n)
	} else {
		g.addWhole(t, w, n)
	}
	if g.first != 0 && (n == 1 || earlier(at, order, t[g.first:])) {
		t[g.first], t[g.first+1], t[g.first+2] = uint64(at), order, w
	}
	if g.last != 0 && (n == 1 || !earlier(at, order, t[g.last:])) {
		t[g.last], t[g.last+1], t[g.last+2] = uint64(at), order, w
	}
}

// addNumber is add for the parts of a double. It is the inner loop of all.
func (g *group) addNumber(t []uint64, x float64, n uint64) {
	if g.sum != 0 {
		addFloat(t[g.sum:g.sum+2:g.sum+2], x)
	}
	if g.moments != 0 {
		addMoments(t[g.moments:g.moments+2:g.moments+2], x, float64(n))
	}
	if g.min != 0 && (n == 1 || x < math.Float64frombits(t[g.min])) {
		t[g.min] = math.Float64bits(x)
	}
	if g.max != 0 && (n == 1 || math.Float64frombits(t[g.max]) < x) {
		t[g.max] = math.Float64bits(x)
	}
}

// addWhole is add for the parts of an int, a bool or a time.
func (g *group) addWhole(t []uint64, w uint64, n uint64) {
	if g.sum != 0 {
		addInt(t[g.sum:], w, uint64(int64(w)>>63))
	}
	if g.moments != 0 {
		addMoments(t[g.moments:g.moments+2:g.moments+2], float64(int64(w)), float64(n))
	}
	if g.min != 0 && (n == 1 || int64(w) < int64(t[g.min])) {
		t[g.min] = w
	}
	if g.max != 0 && (n == 1 || int64(t[g.max]) < int64(w)) {
		t[g.max] = w
	}
}

// merge folds tile s into tile t.
func (g *group) merge(t, s []uint64) {
	nt, ns := t[g.n], s[g.n]
	if ns == 0 {
		return
	}
	t[g.n] = nt + ns
	if g.sum != 0 {
		g.mergeSum(t, s)
	}
	if g.moments != 0 {
		mergeMoments(t[g.moments:], s[g.moments:], float64(nt), float64(ns))
	}
	if g.min != 0 && (nt == 0 || g.less(s[g.min], t[g.min])) {
		t[g.min] = s[g.min]
	}
	if g.max != 0 && (nt == 0 || g.less(t[g.max], s[g.max])) {
		t[g.max] = s[g.max]
	}
	if g.first != 0 && (nt == 0 || earlier(int64(s[g.first]), s[g.first+1], t[g.first:])) {
		copy(t[g.first:g.first+3], s[g.first:])
	}
	if g.last != 0 && (nt == 0 || !earlier(int64(s[g.last]), s[g.last+1], t[g.last:])) {
		copy(t[g.last:g.last+3], s[g.last:])
	}
}

// earlier reports whether (at, order) comes before the stamp in s.
func earlier(at int64, order uint64, s []uint64) bool {
	return at < int64(s[0]) || at == int64(s[0]) && order < s[1]
}

func (g *group) less(a, b uint64) bool {
	if g.kind == expr.Float {
		return math.Float64frombits(a) < math.Float64frombits(b)
	}
	return int64(a) < int64(b)
}

func (g *group) mergeSum(t, s []uint64) {
	if g.kind == expr.Float {
		lo := math.Float64frombits(t[g.sum+1]) + math.Float64frombits(s[g.sum+1])
		t[g.sum+1] = math.Float64bits(lo)
		addFloat(t[g.sum:], math.Float64frombits(s[g.sum]))
		return
	}
	addInt(t[g.sum:], s[g.sum], s[g.sum+1])
}

// addFloat adds x to the compensated sum in t: Neumaier, "Rundungsfehleranalyse
// einiger Verfahren zur Summation endlicher Summen" (1974), in the branchless
// form of Knuth's two-sum. An infinite sum keeps its compensation finite.
func addFloat(t []uint64, x float64) {
	s := math.Float64frombits(t[0])
	sum := s + x
	b := sum - s
	err := (s - (sum - b)) + (x - b)
	t[0] = math.Float64bits(sum)
	if err != 0 && err-err == 0 { // not NaN or infinite
		t[1] = math.Float64bits(math.Float64frombits(t[1]) + err)
	}
}

// addInt adds a 128-bit number to the one in t. 2^64 events of any int64 fit.
func addInt(t []uint64, lo, hi uint64) {
	var carry uint64
	t[0], carry = bits.Add64(t[0], lo, 0)
	t[1], _ = bits.Add64(t[1], hi, carry)
}

// addMoments is Welford's update (Technometrics 1962); n counts x already.
func addMoments(t []uint64, x, n float64) {
	mean := math.Float64frombits(t[0])
	d := x - mean
	mean += d / n
	t[0] = math.Float64bits(mean)
	t[1] = math.Float64bits(math.Float64frombits(t[1]) + float64(d*(x-mean)))
}

// mergeMoments is the pairwise update of Chan, Golub and LeVeque (1979).
func mergeMoments(t, s []uint64, nt, ns float64) {
	if nt == 0 {
		t[0], t[1] = s[0], s[1]
		return
	}
	mt, ms := math.Float64frombits(t[0]), math.Float64frombits(s[0])
	d, n := ms-mt, nt+ns
	t[0] = math.Float64bits(mt + float64(d*ns)/n)
	sq := math.Float64frombits(t[1]) + math.Float64frombits(s[1])
	t[1] = math.Float64bits(sq + float64(float64(d*d)*nt)*(ns/n))
}
