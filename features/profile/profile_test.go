package profile

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

const floatKind = expr.Float

// floats returns a row of doubles.
func floats(xs ...float64) []features.Value {
	row := make([]features.Value, len(xs))
	for i, x := range xs {
		row[i] = expr.FloatValue(x)
	}
	return row
}

var fiveColumns = []Column{{"f", expr.Float}, {"i", expr.Int}, {"s", expr.String}, {"b", expr.Bool}, {"t", expr.Time}}

// randomRow has values of the five kinds, some missing, some of another kind.
func randomRow(r *rand.Rand, texts int) []features.Value {
	f := expr.FloatValue(r.NormFloat64() * math.Exp(3*r.NormFloat64()))
	switch r.IntN(12) {
	case 0:
		f = expr.FloatValue(0)
	case 1:
		f = expr.IntValue(r.Int64N(5))
	case 2:
		f = expr.FloatValue(math.Copysign(0, -1))
	case 3:
		f = expr.FloatValue([]float64{math.NaN(), math.Inf(1), math.Inf(-1)}[r.IntN(3)])
	}
	row := []features.Value{
		f, expr.IntValue(r.Int64N(100) - 50), expr.StringValue(fmt.Sprint("text", r.IntN(1+r.IntN(texts)))),
		expr.BoolValue(r.IntN(3) == 0), expr.TimeValue(r.Int64N(1e15)),
	}
	if r.IntN(5) == 0 {
		row[r.IntN(5)] = features.Value{}
	}
	if r.IntN(30) == 0 {
		row[1], row[2] = row[2], row[1]
	}
	return row
}

func randomRows(seed uint64, n, texts int) [][]features.Value {
	r := rand.New(rand.NewPCG(seed, 0))
	rows := make([][]features.Value, n)
	for i := range rows {
		rows[i] = randomRow(r, texts)
	}
	return rows
}

func build(cols []Column, rows [][]features.Value) *Builder {
	b := New(cols)
	for _, row := range rows {
		b.Add(row)
	}
	return b
}

// naive computes the statistics of a column of numbers from all of them.
func naive(c Column, values []features.Value) (s Stats, xs []float64) {
	s = Stats{Name: c.Name, Kind: c.Kind.String()}
	for _, v := range values {
		x, numeric := v.Number()
		if v.Kind == expr.Time && c.Kind == expr.Time {
			x, numeric = float64(v.Int()), true
		}
		switch {
		case v.Kind == expr.Missing:
			s.Missing++
		case v.Kind != c.Kind && (c.Kind != expr.Float || v.Kind != expr.Int):
			s.Mistyped++
		case numeric && (math.IsNaN(x) || math.IsInf(x, 0)):
			s.Nonfinite++
		default:
			s.Count++
			xs = append(xs, x)
		}
	}
	return s, xs
}

func column5(rows [][]features.Value, i int) []features.Value {
	out := make([]features.Value, len(rows))
	for r := range rows {
		out[r] = rows[r][i]
	}
	return out
}

func TestStatisticsAgainstAllValues(t *testing.T) {
	for seed := range uint64(20) {
		rows := randomRows(seed, 1+int(seed)*150, 200)
		p := build(fiveColumns, rows).Profile()
		for i, c := range fiveColumns {
			want, xs := naive(c, column5(rows, i))
			got := p.Columns[i]
			if got.Count != want.Count || got.Missing != want.Missing || got.Nonfinite != want.Nonfinite || got.Mistyped != want.Mistyped || got.Rows() != p.Rows {
				t.Fatalf("seed %d: %+v, want %+v", seed, got, want)
			}
			if got.Numbers != nil {
				checkNumbers(t, &got, xs)
			}
			if c.Kind == expr.String || c.Kind == expr.Bool {
				checkTexts(t, &got, c, column5(rows, i))
			}
		}
		if err := p.check(); err != nil {
			t.Fatal(err)
		}
	}
}

func checkNumbers(t *testing.T, s *Stats, xs []float64) {
	t.Helper()
	slices.Sort(xs)
	mean, squares, size := 0.0, 0.0, 0.0
	for _, x := range xs {
		mean += x / float64(len(xs))
		size += math.Abs(x) / float64(len(xs))
	}
	for _, x := range xs {
		squares += (x - mean) * (x - mean)
	}
	std := math.Sqrt(squares / float64(len(xs)))
	n := s.Numbers
	if math.Abs(n.Mean-mean) > 1e-12*size || math.Abs(n.Std-std) > 1e-12*(std+size) || n.Min != xs[0] || n.Max != xs[len(xs)-1] {
		t.Fatalf("%s: %+v, want mean %v, std %v, from %v to %v", s.Name, *n, mean, std, xs[0], xs[len(xs)-1])
	}
	distinct := len(slices.Compact(slices.Clone(xs)))
	if math.Abs(float64(s.Distinct)-float64(distinct)) > 0.06*float64(distinct)+1 {
		t.Errorf("%s: %d distinct, want %d", s.Name, s.Distinct, distinct)
	}
	for i, b := range n.Histogram {
		count := int64(0)
		for _, x := range xs {
			if b.holds(x) {
				count++
			}
		}
		if count != b.Count || i > 0 && n.Histogram[i-1].High > b.Low {
			t.Fatalf("%s: bucket %d of %v has %d of %d values", s.Name, i, n.Histogram, count, b.Count)
		}
	}
	if most := 2*int(1/maxShare) + 3; len(n.Histogram) > most {
		t.Errorf("%s: %d buckets, want at most %d", s.Name, len(n.Histogram), most)
	}
	for _, q := range []float64{0, 0.1, 0.5, 0.9, 1} {
		x := n.Quantile(q)
		below, _ := slices.BinarySearch(xs, x)
		if x < n.Min || x > n.Max || float64(below) > q*float64(len(xs))+2*maxShare*float64(len(xs))+1 {
			t.Errorf("%s: quantile %v is %v, with %d of %d values below", s.Name, q, x, below, len(xs))
		}
	}
}

// holds says which numbers a bucket counts, as its documentation does.
func (b Bucket) holds(x float64) bool {
	switch {
	case b.Low == b.High:
		return x == b.Low
	case b.High <= 0:
		return x > b.Low && x <= b.High && x != 0
	}
	return x >= b.Low && x < b.High && x != 0
}

func checkTexts(t *testing.T, s *Stats, c Column, values []features.Value) {
	t.Helper()
	counts := map[string]int64{}
	for _, v := range values {
		if v.Kind == c.Kind {
			counts[v.Text()]++
		}
	}
	var want []Top
	for text, n := range counts {
		want = append(want, Top{text, n})
	}
	slices.SortFunc(want, func(a, b Top) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Text, b.Text)) })
	if int(s.Distinct) != len(want) || s.TopError != 0 || !slices.Equal(s.Top, want[:min(len(want), maxTop)]) {
		t.Fatalf("%s: %+v, want %v", s.Name, *s, want)
	}
	if c.Kind == expr.Bool && s.Count > 0 && *s.TrueShare != float64(counts["true"])/float64(s.Count) {
		t.Errorf("%v of the values are true, want %d of %d", *s.TrueShare, counts["true"], s.Count)
	}
	total := 0.0
	for _, n := range s.Shares() {
		total += n
	}
	if total != float64(s.Count) {
		t.Errorf("the shares add up to %v of %d", total, s.Count)
	}
}

// TestMergeIsOfAllRows cuts rows anywhere, and merges the parts in any order.
func TestMergeIsOfAllRows(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for seed := range uint64(10) {
		rows := randomRows(seed, 2000, 300)
		want := build(fiveColumns, rows).Profile()
		var parts []*Builder
		for rest := rows; len(rest) > 0; {
			n := min(1+r.IntN(700), len(rest))
			parts = append(parts, build(fiveColumns, rest[:n]))
			rest = rest[n:]
		}
		parts = append(parts, New(fiveColumns))
		r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		got := New(fiveColumns)
		for _, p := range parts {
			got.Merge(p)
		}
		sameButForBits(t, got.Profile(), want)
	}
}

// sameButForBits compares profiles; means and deviations may differ by 1e-12.
func sameButForBits(t *testing.T, got, want *Profile) {
	t.Helper()
	for i := range want.Columns {
		g, w := got.Columns[i].Numbers, want.Columns[i].Numbers
		if w == nil {
			continue
		}
		size := math.Abs(w.Mean) + w.Std
		if math.Abs(g.Mean-w.Mean) > 1e-12*size || math.Abs(g.Std-w.Std) > 1e-12*size {
			t.Fatalf("column %d: %+v, want %+v", i, *g, *w)
		}
		g.Mean, g.Std = w.Mean, w.Std
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

func TestMergeRefusesOtherColumns(t *testing.T) {
	for _, other := range [][]Column{fiveColumns[:4], {{"g", expr.Float}, fiveColumns[1], fiveColumns[2], fiveColumns[3], fiveColumns[4]}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v were merged into %v", other, fiveColumns)
				}
			}()
			New(fiveColumns).Merge(New(other))
		}()
	}
}

func TestTheSameRowsAreTheSameJSON(t *testing.T) {
	rows := randomRows(9, 5000, 2000)
	text, err := json.Marshal(build(fiveColumns, rows).Profile())
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(build(fiveColumns, rows).Profile())
	if err != nil || !bytes.Equal(text, again) {
		t.Fatalf("got other bytes, %v", err)
	}
	p, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if want := build(fiveColumns, rows).Profile(); !reflect.DeepEqual(p, want) {
		t.Errorf("read back as\n%+v, want\n%+v", p, want)
	}
	if p.Column("s") != &p.Columns[2] || p.Column("absent") != nil {
		t.Error("columns are not found by their names")
	}
}

func TestExtremeNumbers(t *testing.T) {
	b := New([]Column{{"x", expr.Float}, {"i", expr.Int}})
	for _, x := range []float64{math.MaxFloat64, -math.MaxFloat64, math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, -math.SmallestNonzeroFloat64, 0} {
		b.Add([]features.Value{expr.FloatValue(x), expr.IntValue(math.MaxInt64)})
	}
	b.Merge(build([]Column{{"x", expr.Float}, {"i", expr.Int}}, [][]features.Value{{expr.FloatValue(math.MaxFloat64), expr.IntValue(math.MinInt64)}}))
	p := b.Profile()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(text); err != nil {
		t.Error(err)
	}
	n := p.Columns[0].Numbers
	if n.Min != -math.MaxFloat64 || n.Max != math.MaxFloat64 || n.Std != math.MaxFloat64 || math.IsNaN(n.Mean) || n.Zeros != 1 || p.Columns[0].Distinct != 5 {
		t.Errorf("%+v, %d distinct", *n, p.Columns[0].Distinct)
	}
	if d, err := JensenShannonHistograms(p.Columns[0].Histogram(), p.Columns[0].Histogram()); d != 0 || err != nil {
		t.Errorf("it is %v, %v from itself", d, err)
	}
}

func TestBucketsAreNarrow(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 10_000 {
		x := math.Float64frombits(r.Uint64())
		if math.IsNaN(x) || math.IsInf(x, 0) || math.Abs(x) < 1e-300 {
			continue
		}
		low, high := bounds(keyOf(x))
		if !(Bucket{Low: low, High: high}).holds(x) && math.Abs(x) < 1.7e308 {
			t.Fatalf("%v is not from %v to %v", x, low, high)
		}
		if width := high - low; width > math.Abs(x)/(1<<bucketBits) {
			t.Fatalf("the bucket of %v is %v wide", x, width)
		}
	}
}

// TestDistinctIsNear counts texts, of which there are too many to keep.
func TestDistinctIsNear(t *testing.T) {
	for _, n := range []int{0, 1, 10, 1025, 5000, 30_000, 200_000} {
		b := New([]Column{{"s", expr.String}, {"f", expr.Float}})
		for i := range n {
			row := []features.Value{expr.StringValue(fmt.Sprint("user-", i)), expr.FloatValue(float64(i) / 8)}
			b.Add(row)
			if i%3 == 0 {
				b.Add(row)
			}
		}
		for _, s := range b.Profile().Columns {
			if math.Abs(float64(s.Distinct)-float64(n)) > 4*0.01625*float64(n) {
				t.Errorf("%s: %d distinct, want %d", s.Name, s.Distinct, n)
			}
		}
	}
}

// TestFrequentTextsAreFound hides frequent texts among many, in parts that are
// merged: their counts are within the bound that the profile states.
func TestFrequentTextsAreFound(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 1))
	parts := make([]*Builder, 5)
	for i := range parts {
		parts[i] = New([]Column{{"s", expr.String}})
	}
	want := map[string]int64{}
	const rows = 50_000
	for i := range rows {
		text := fmt.Sprint("rare", i)
		if r.IntN(2) == 0 {
			text = fmt.Sprint("often", r.IntN(10))
			want[text]++
		}
		parts[r.IntN(len(parts))].Add([]features.Value{expr.StringValue(text)})
	}
	for _, p := range parts[1:] {
		parts[0].Merge(p)
	}
	s := parts[0].Profile().Columns[0]
	if s.TopError == 0 || s.TopError > rows/keptFew {
		t.Errorf("counts may be %d too low, want at most %d", s.TopError, rows/keptFew)
	}
	for _, top := range s.Top[:10] {
		if n := want[top.Text]; top.Count > n || top.Count < n-s.TopError {
			t.Errorf("%s came %d times and is counted %d times, %d less at most", top.Text, n, top.Count, s.TopError)
		}
	}
}

func TestLongTextsAreClipped(t *testing.T) {
	b := New([]Column{{"s", expr.String}})
	for _, end := range []string{"x", "x", "y"} {
		b.Add([]features.Value{expr.StringValue(strings.Repeat("é", 100_000) + end)})
	}
	s := b.Profile().Columns[0]
	if s.Distinct != 2 || s.Top[0].Count != 2 || len(s.Top[0].Text) > maxText {
		t.Errorf("%+v", s)
	}
	if text, err := json.Marshal(s); err != nil || bytes.ContainsRune(text, '�') {
		t.Errorf("%s, %v", text, err)
	}
}

func TestParseRefuses(t *testing.T) {
	column := func(s string) string {
		return `{"rows":2,"columns":[{"name":"a","kind":"float","count":2,"missing":0,"nonfinite":0,"mistyped":0,"distinct":1,` + s + `}]}`
	}
	numbers := func(buckets string) string {
		return column(`"numbers":{"mean":1,"std":0,"min":1,"max":1,"zeros":0,"histogram":[` + buckets + `]}`)
	}
	if _, err := Parse([]byte(numbers(`{"low":1,"high":2,"count":2}`))); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]string{
		``:                                      "not the JSON of a profile",
		`{"rows":1,"colums":[]}`:                "colums",
		`{"rows":0,"columns":[]} x`:             "something follows",
		column(`"top":[]`):                      "numbers: false",
		numbers(``):                             "counts 0 of 2",
		numbers(`{"low":2,"high":1,"count":2}`): "bucket [2, 1]",
		numbers(`{"low":1,"high":2,"count":3}`): "count 3",
		numbers(`{"low":1,"high":2,"count":1},{"low":1,"high":2,"count":1}`):                           "bucket [1, 2]",
		`{"rows":1,"columns":[{"name":"a","kind":"string","count":1,"top":[{"text":"x","count":2}]}]}`: "count of 2 of 1",
		`{"rows":9,"columns":[{"name":"a","kind":"string","count":1}]}`:                                "the rows are 9",
		`{"rows":1,"columns":[{"name":"a","missing":1},{"name":"a","missing":1}]}`:                     "twice",
		`{"rows":1,"columns":[],"label":{"name":"label","kind":"float","missing":3}}`:                  `"label"`,
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
