package bundle

import (
	"fmt"
	"iter"
	"math"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/trainer/learn"
)

// DefaultClip bounds what a numeric input may be, in standard deviations. Of
// 200,000 normal values none is beyond 5, so that ordinary data is left alone,
// and one wild value moves a prediction, and a step of learning, no more than
// 8 times as much as an ordinary one.
const DefaultClip = 8.0

const (
	// heavyTail is the ratio of greatest value to mean above which a column is
	// taken to be heavy-tailed. The greatest of n exponential values is about
	// ln n times their mean, which is 12 for 200,000 of them: what is above 20
	// has a longer tail than that.
	heavyTail = 20

	// maxMagnitude is what values are cut to before they are summed up, so that
	// the squares of 1e28 of them still have a sum.
	maxMagnitude = 1e140

	// rounding is the standard deviation, relative to the mean, below which
	// values differ by nothing but the rounding of their sums: a thousand times
	// the distance of neighbouring doubles.
	rounding = 1e-13

	// minExponent is the least binary exponent of a unit: maxMagnitude divided
	// by it is a number yet.
	minExponent = -400

	maxHashBits = 30 // a place is a uint32; learners have limits of their own
)

// A Transform turns vectors into what learners take. It is fitted once, on the
// training set, and goes with the weights. Its methods may be called at once.
// What follows is of the form Scaled.
//
// A number, or a bool as 0 and 1, becomes two dense values: how many standard
// deviations it is above the mean of the training set, within Clip, and whether
// it was missing (1 or 0). A missing one is put at the mean, and one that never
// varied is always 0. A column that is never negative and has a long tail is
// first bent by Bend, in units of about the geometric mean of what is above 0.
//
// A text becomes a hashed place, and so does a missing one; see place.
type Transform struct {
	Clip float64 // DefaultClip, until somebody sets it before the first Row

	form     Form
	hashBits int
	columns  []column
	dense    int // values of a row
}

// A column is what a transform knows of one input.
type column struct {
	name string
	kind features.Kind
	unit float64 // of a heavy-tailed column: a power of two; else 0
	mean float64 // of the values, bent where the column is heavy-tailed
	std  float64 // of the same, of a population; 0: they never varied
	hash uint64  // of the name, for texts

	categories []string // of the form Categories
	category   map[string]int
}

// FitTransform returns the transform of rows, each of which is a vector of the
// inputs. It walks rows once, and again where a column has a long tail: it
// panics where the second walk has other rows. It also panics where inputs fail
// CheckInputs, a row fails CheckVector, or hashBits, which says that there are
// 2^hashBits places, is not within 1 to 30. No rows are all right: then every
// number is 0.
func FitTransform(inputs []Input, rows iter.Seq[[]features.Value], hashBits int) *Transform {
	if hashBits < 1 || hashBits > maxHashBits {
		panic(fmt.Sprintf("bundle: 2^%d places for texts: give 1 to %d", hashBits, maxHashBits))
	}
	t := newTransform(Scaled, inputs)
	t.Clip, t.hashBits = DefaultClip, hashBits
	first := t.measure(rows)
	heavy := false
	for i := range first {
		c := &t.columns[i]
		if s := &first[i]; (c.kind == expr.Int || c.kind == expr.Float) && s.heavy() {
			c.unit, heavy = s.unit(), true
		}
	}
	bent := first
	if heavy {
		bent = t.measure(rows)
	}
	for i := range bent {
		if first[i].walked != bent[i].walked {
			panic(fmt.Sprintf("bundle: fitting a transform: the rows were %d at first and %d when walked again; they must be the same", first[i].walked, bent[i].walked))
		}
		t.columns[i].mean, t.columns[i].std = bent[i].fit()
	}
	return t
}

func (t *Transform) add(c column) {
	switch {
	case t.form == Scaled && c.kind == expr.String:
		c.hash = hashText(hashStart, c.name)
	case t.form == Scaled:
		t.dense += 2
	case t.form == Categories || c.kind != expr.String:
		t.dense++
	}
	t.columns = append(t.columns, c)
}

// measure returns the moments of each column's values, bent where the column
// has a unit. Infinite values have no part in them.
func (t *Transform) measure(rows iter.Seq[[]features.Value]) []moments {
	all := make([]moments, len(t.columns))
	for x := range rows {
		if err := t.Check(x); err != nil {
			panic(err)
		}
		for i := range t.columns {
			c, m := &t.columns[i], &all[i]
			m.walked++
			if v, ok := number(x[i]); ok && !math.IsInf(v, 0) {
				m.add(c.bend(min(max(v, -maxMagnitude), maxMagnitude)))
			}
		}
	}
	return all
}

// Dense returns the number of dense values in a row.
func (t *Transform) Dense() int { return t.dense }

// Check reports whether x is a vector that the transform can take, as CheckVector
// does for its inputs.
func (t *Transform) Check(x []features.Value) error {
	if len(x) != len(t.columns) {
		return wrongLength(len(x), len(t.columns))
	}
	for i := range t.columns {
		if c := &t.columns[i]; !takes(c.kind, x[i].Kind) {
			return wrongKind(c.name, c.kind, x[i].Kind)
		}
	}
	return nil
}

// Row sets dst to the row of a vector that Check takes. It uses the slices of
// dst again, and allocates nothing where they are long enough.
func (t *Transform) Row(dst *learn.Row, x []features.Value) {
	dst.Dense, dst.Hashed, dst.Texts = dst.Dense[:0], dst.Hashed[:0], dst.Texts[:0]
	if t.form != Scaled {
		t.raw(dst, x)
		return
	}
	for i := range t.columns {
		c := &t.columns[i]
		if c.kind == expr.String {
			dst.Hashed = append(dst.Hashed, c.place(x[i], t.hashBits))
		} else if v, ok := number(x[i]); ok {
			dst.Dense = append(dst.Dense, c.scale(v, t.Clip), 0)
		} else {
			dst.Dense = append(dst.Dense, 0, 1)
		}
	}
}

// number returns a value as a double, and whether there is one. NaN is missing.
func number(v features.Value) (float64, bool) {
	if v.Kind == expr.Bool {
		return float64(v.Bits), true
	}
	x, ok := v.Number()
	return x, ok && x == x
}

// scale returns how many standard deviations v is from the mean.
func (c *column) scale(v, clip float64) float64 {
	if c.std == 0 {
		return 0
	}
	return min(max((c.bend(v)-c.mean)/c.std, -clip), clip)
}

func (c *column) bend(v float64) float64 {
	if c.unit == 0 {
		return v
	}
	return Bend(v / c.unit)
}

// Bend is an odd, growing function that is x for x of -1 to 1 and bends long
// tails down as log2(1 + x) does: it is equal to it where 1+x is a power of two,
// and straight between. Unlike the library's logarithm it has the same bits on
// each machine.
func Bend(x float64) float64 { return math.Copysign(log2(1+math.Abs(x)), x) }

// log2 is the logarithm of powers of two, and straight between them.
func log2(x float64) float64 {
	fraction, exponent := math.Frexp(x) // x = fraction 2^exponent, and fraction is from 0.5 to 1
	return float64(exponent-2) + 2*fraction
}

// place returns the place of a text among 2^bits: the first bits of a 64-bit
// FNV-1a hash over the column's name, a zero byte and the text's bytes, or of a
// missing text over the name and a byte of one, which no name holds. The hash is
// mixed at its end as SplitMix64 does, because the last bytes of a text move few
// bits of FNV's.
func (c *column) place(v features.Value, bits int) uint32 {
	h := c.hash
	if v.Kind == expr.String {
		h = hashText(hashByte(h, 0), v.Str)
	} else {
		h = hashByte(h, 1)
	}
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	h ^= h >> 31
	return uint32(h >> (64 - bits))
}

// hashStart is the offset basis of FNV-1a, written out because hash/fnv
// allocates its state.
const hashStart = 14695981039346656037

func hashByte(h uint64, b byte) uint64 { return (h ^ uint64(b)) * 1099511628211 }

// hashText takes the bytes of a text, as validText has it.
func hashText(h uint64, s string) uint64 {
	s = validText(s)
	for i := range len(s) {
		h = hashByte(h, s[i])
	}
	return h
}

// moments are those of a column's finite values, by Welford's method: sums of
// squares would lose a small spread about a large mean.
type moments struct {
	walked   int // rows, those without a value included
	n        float64
	mean     float64
	squares  float64 // of the distances from the mean
	min, max float64

	positive float64 // number of values above 0
	log      float64 // mean of their logarithms to base 2
}

func (m *moments) add(x float64) {
	if m.n == 0 {
		m.min, m.max = x, x
	}
	m.min, m.max = min(m.min, x), max(m.max, x)
	m.n++
	d := x - m.mean
	m.mean += d / m.n
	m.squares += float64(d * (x - m.mean)) // rounded before it is added: no processor fuses the two
	if x > 0 {
		m.positive++
		m.log += (log2(x) - m.log) / m.positive
	}
}

func (m *moments) heavy() bool { return m.n > 0 && m.min >= 0 && m.max > heavyTail*m.mean }

// unit returns the greatest power of two that is not above the geometric mean
// of what is above 0. The mean would not do: with a long tail, it is far out in
// the tail. Dividing by a power of two changes no digit.
func (m *moments) unit() float64 {
	return math.Ldexp(1, max(int(math.Floor(m.log)), minExponent))
}

// fit returns the mean and the standard deviation, 0 where the values are equal
// but for rounding.
func (m *moments) fit() (mean, std float64) {
	if m.n == 0 {
		return 0, 0
	}
	mean, std = m.mean, math.Sqrt(m.squares/m.n)
	if std <= rounding*math.Abs(mean) {
		std = 0
	}
	return mean, std
}
