package profile

import (
	"fmt"
	"math"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// A Builder gathers the statistics of rows. It is not safe for concurrent use:
// give each goroutine its own and merge them.
type Builder struct {
	rows    int64
	columns []column
}

// column is what has been gathered of one column.
type column struct {
	Column
	count, missing, nonfinite, mistyped int64

	numbers  moments
	buckets  buckets
	distinct registers
	texts    texts
}

// New returns a Builder of rows with these columns.
func New(cols []Column) *Builder {
	b := &Builder{columns: make([]column, len(cols))}
	for i, c := range cols {
		b.columns[i] = column{Column: c, buckets: newBuckets(), texts: newTexts()}
	}
	return b
}

// Add adds a row, which has a value for each column, in their order. It keeps
// none of it.
func (b *Builder) Add(row []features.Value) {
	if len(row) != len(b.columns) {
		panic(fmt.Sprintf("profile: a row of %d values for %d columns", len(row), len(b.columns)))
	}
	b.rows++
	for i := range b.columns {
		b.columns[i].add(row[i])
	}
}

func (c *column) add(v features.Value) {
	switch {
	case v.Kind == expr.Missing:
		c.missing++
	case v.Kind == expr.Int && c.Kind == expr.Float:
		c.addNumber(float64(v.Int()))
	case v.Kind != c.Kind:
		c.mistyped++
	case v.Kind == expr.String:
		c.count++
		c.distinct.add(hashText(v.Str))
		c.texts.add(clip(v.Str), 1)
	case v.Kind == expr.Bool:
		c.count++
		c.texts.add(v.Text(), 1)
	case v.Kind == expr.Float:
		c.addNumber(v.Float())
	default:
		c.addNumber(float64(v.Int()))
	}
}

func (c *column) addNumber(x float64) {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		c.nonfinite++
		return
	}
	c.count++
	x += 0 // a negative zero is a zero
	c.numbers.add(c.count, x)
	c.buckets.add(x)
	c.distinct.add(mix(math.Float64bits(x)))
}

// Merge adds the rows of other, which has the same columns and is not changed.
func (b *Builder) Merge(other *Builder) {
	if len(b.columns) != len(other.columns) {
		panic(fmt.Sprintf("profile: merging %d columns into %d", len(other.columns), len(b.columns)))
	}
	for i := range b.columns {
		if c, o := &b.columns[i], &other.columns[i]; c.Column != o.Column {
			panic(fmt.Sprintf("profile: merging column %v into %v", o.Column, c.Column))
		}
	}
	b.rows += other.rows
	for i := range b.columns {
		b.columns[i].merge(&other.columns[i])
	}
}

func (c *column) merge(o *column) {
	c.numbers.merge(c.count, &o.numbers, o.count)
	c.count += o.count
	c.missing += o.missing
	c.nonfinite += o.nonfinite
	c.mistyped += o.mistyped
	c.buckets.merge(&o.buckets)
	c.distinct.merge(&o.distinct)
	c.texts.merge(&o.texts)
}

// Profile returns the statistics of the rows so far.
func (b *Builder) Profile() *Profile {
	p := &Profile{Rows: b.rows, Columns: make([]Stats, len(b.columns))}
	for i := range b.columns {
		p.Columns[i] = b.columns[i].stats()
	}
	return p
}

func (c *column) stats() Stats {
	s := Stats{Name: c.Name, Kind: c.Kind.String(), Count: c.count, Missing: c.missing, Nonfinite: c.nonfinite, Mistyped: c.mistyped}
	switch c.Kind {
	case expr.String, expr.Bool:
		s.Top, s.TopError = c.texts.top(), c.texts.removed
		s.Distinct = int64(len(c.texts.counts))
		if c.texts.removed > 0 {
			s.Distinct = min(c.distinct.estimate(), c.count)
		}
		if c.Kind == expr.Bool && c.count > 0 {
			share := float64(c.texts.counts["true"]) / float64(c.count)
			s.TrueShare = &share
		}
	default:
		s.Distinct = min(c.distinct.estimate(), c.count)
		if c.count > 0 {
			s.Numbers = c.numbers.stats(c.count)
			s.Numbers.Zeros, s.Numbers.Histogram = c.buckets.zeros, c.buckets.histogram(c.count)
		}
	}
	return s
}

// moments are the mean and the sum of squared distances from it, as Welford
// keeps them, and the extremes.
type moments struct {
	mean, squares, min, max float64
}

// add adds x as the nth value.
func (m *moments) add(n int64, x float64) {
	if n == 1 {
		m.min, m.max = x, x
	}
	m.min, m.max = min(m.min, x), max(m.max, x)
	d := x - m.mean
	if math.IsInf(d, 0) { // of two huge numbers
		m.mean += float64(x/float64(n)) - float64(m.mean/float64(n))
	} else {
		m.mean += float64(d / float64(n))
	}
	m.squares += float64(d * (x - m.mean)) // not fused, so that all machines agree
}

// merge adds the k values of o to the n of m (Chan et al. 1979).
func (m *moments) merge(n int64, o *moments, k int64) {
	switch {
	case k == 0:
		return
	case n == 0:
		*m = *o
		return
	}
	ours, theirs := float64(n)/float64(n+k), float64(k)/float64(n+k)
	d := o.mean - m.mean
	if math.IsInf(d, 0) {
		m.mean = float64(m.mean*ours) + float64(o.mean*theirs)
	} else {
		m.mean += float64(d * theirs)
	}
	m.squares += o.squares + float64(d*float64(d*float64(float64(n)*theirs)))
	m.min, m.max = min(m.min, o.min), max(m.max, o.max)
}

func (m *moments) stats(n int64) *Numbers {
	return &Numbers{
		Mean: m.mean, Std: min(math.Sqrt(max(m.squares, 0)/float64(n)), math.MaxFloat64),
		Min: m.min, Max: m.max,
	}
}
