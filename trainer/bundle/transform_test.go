package bundle_test

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
)

// fitOne fits a transform of one input and returns what it makes of a value.
func fitOne(kind features.Kind, values ...features.Value) func(features.Value) learn.Row {
	t := bundle.FitTransform([]bundle.Input{input("v.x", kind)}, column(values...), 18)
	return func(v features.Value) learn.Row {
		var row learn.Row
		t.Row(&row, []features.Value{v})
		return row
	}
}

// exactMoments returns the mean and standard deviation by their definition, in
// 400 bits.
func exactMoments(xs []float64) (mean, std float64) {
	n, sum := new(big.Float).SetPrec(400).SetInt64(int64(len(xs))), new(big.Float).SetPrec(400)
	for _, x := range xs {
		sum.Add(sum, big.NewFloat(x))
	}
	m := new(big.Float).SetPrec(400).Quo(sum, n)
	squares := new(big.Float).SetPrec(400)
	for _, x := range xs {
		d := new(big.Float).SetPrec(400).Sub(big.NewFloat(x), m)
		squares.Add(squares, d.Mul(d, d))
	}
	mean, _ = m.Float64()
	variance, _ := squares.Quo(squares, n).Float64()
	return mean, math.Sqrt(variance)
}

// TestScaleAgainstDefinition compares with exact arithmetic, on columns whose
// spread is small beside their mean as well.
func TestScaleAgainstDefinition(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		offset, spread := math.Pow(10, float64(seed%8)), math.Pow(10, float64(seed%5)-2)
		var xs []float64
		for range 300 {
			xs = append(xs, offset+spread*(r.Float64()-0.3))
		}
		row := fitOne(expr.Float, floats(xs...)...)
		mean, std := exactMoments(xs)
		for _, x := range append(xs[:20:20], mean, mean+3*std, 0) {
			want := min(max((x-mean)/std, -8), 8)
			// The spread is known as exactly as values of that size can be.
			tolerance := 1e-12 + 1e-13*offset/spread
			if got := row(expr.FloatValue(x)).Dense; len(got) != 2 || math.Abs(got[0]-want) > tolerance || got[1] != 0 {
				t.Fatalf("seed %d: %v becomes %v, want %v", seed, x, got, want)
			}
		}
	}
}

// TestScaleIsFreeOfUnits multiplies a column by powers of two, which changes no
// digit, with a long tail and without.
func TestScaleIsFreeOfUnits(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for name, draw := range map[string]func() float64{
		"normal":    r.NormFloat64,
		"long tail": func() float64 { return math.Exp(3 * r.NormFloat64()) },
	} {
		var xs []float64
		for range 500 {
			xs = append(xs, draw())
		}
		row := fitOne(expr.Float, floats(xs...)...)
		for _, unit := range []float64{0x1p-40, 0.5, 1024, 0x1p60} {
			scaled := slices.Clone(xs)
			for i := range scaled {
				scaled[i] *= unit
			}
			other := fitOne(expr.Float, floats(scaled...)...)
			for i, x := range xs {
				got, want := other(expr.FloatValue(scaled[i])).Dense[0], row(expr.FloatValue(x)).Dense[0]
				if math.Float64bits(got) != math.Float64bits(want) {
					t.Fatalf("%s in units of %v: %v, want %v", name, unit, got, want)
				}
			}
		}
	}
}

// TestMissingAndOddValues holds what happens to what cannot be scaled.
func TestMissingAndOddValues(t *testing.T) {
	inf, missing := math.Inf(1), features.Value{}
	tests := []struct {
		name  string
		train []features.Value
		value features.Value
		want  [2]float64
	}{
		{"missing", floats(1, 3), missing, [2]float64{0, 1}},
		{"NaN is missing", floats(1, 3), expr.FloatValue(math.NaN()), [2]float64{0, 1}},
		{"missing and NaN in training", append(floats(1, 3, math.NaN()), missing), expr.FloatValue(3), [2]float64{1, 0}},
		{"infinities in training", floats(1, 3, inf, -inf), expr.FloatValue(3), [2]float64{1, 0}},
		{"infinite", floats(1, 3), expr.FloatValue(inf), [2]float64{8, 0}},
		{"minus infinite", floats(1, 3), expr.FloatValue(-inf), [2]float64{-8, 0}},
		{"far out", floats(1, 3), expr.FloatValue(1e300), [2]float64{8, 0}},
		{"constant", floats(0.1, 0.1, 0.1), expr.FloatValue(7), [2]float64{0, 0}},
		{"constant, infinite", floats(0.1, 0.1), expr.FloatValue(inf), [2]float64{0, 0}},
		{"constant but for rounding", floats(0.1, math.Nextafter(0.1, 1)), expr.FloatValue(0.2), [2]float64{0, 0}},
		{"constant, missing", floats(5), missing, [2]float64{0, 1}},
		{"never seen", []features.Value{missing, missing}, expr.FloatValue(4), [2]float64{0, 0}},
		{"no rows", nil, expr.FloatValue(4), [2]float64{0, 0}},
		{"greatest doubles", floats(-math.MaxFloat64, math.MaxFloat64), expr.FloatValue(math.MaxFloat64), [2]float64{8, 0}},
		{"least and greatest doubles, a long tail", append(slices.Repeat(floats(5e-324), 100), expr.FloatValue(math.MaxFloat64)), expr.FloatValue(math.MaxFloat64), [2]float64{8, 0}},
		{"least doubles", floats(0, 5e-324), expr.FloatValue(5e-324), [2]float64{0, 0}},
		{"an int for a float", floats(1, 3), expr.IntValue(3), [2]float64{1, 0}},
	}
	for _, test := range tests {
		got := fitOne(expr.Float, test.train...)(test.value)
		if !slices.Equal(got.Dense, test.want[:]) || len(got.Hashed) != 0 {
			t.Errorf("%s: %v becomes %v, want %v", test.name, test.value.Text(), got, test.want)
		}
	}
	row := fitOne(expr.Bool, expr.BoolValue(false), expr.BoolValue(true), missing)
	if got := row(expr.BoolValue(true)).Dense; !slices.Equal(got, []float64{1, 0}) {
		t.Errorf("true becomes %v", got)
	}
}

// TestLongTail says which columns are bent: those that are never negative and
// reach more than 20 times their mean.
func TestLongTail(t *testing.T) {
	// One value of 1000 among n ones: the mean is about 1 + 1000/n.
	tail := append(slices.Repeat(floats(1), 1000), expr.FloatValue(1000))
	row := fitOne(expr.Float, tail...)
	if small, large := row(expr.FloatValue(1)).Dense[0], row(expr.FloatValue(1000)).Dense[0]; large != 8 || small >= 0 || small < -0.1 {
		t.Errorf("1 becomes %v, 1000 becomes %v", small, large)
	}
	// A column of 2^0 to 2^30 is spread evenly where plain values would lie in a
	// heap, from its geometric mean on, which is about 2^7 here.
	var powers []features.Value
	for i := range 31 {
		powers = append(powers, expr.IntValue(1<<i))
	}
	bent := fitOne(expr.Int, append(powers, slices.Repeat([]features.Value{expr.IntValue(1)}, 30)...)...)
	gap := bent(powers[30]).Dense[0] - bent(powers[29]).Dense[0]
	for i := 12; i < 30; i++ {
		if g := bent(powers[i]).Dense[0] - bent(powers[i-1]).Dense[0]; g < 0.9*gap || g > 1.1*gap {
			t.Errorf("2^%d is %v after the one before, and 2^30 is %v", i, g, gap)
		}
	}
	if got, want := bent(expr.IntValue(-1 << 20)).Dense[0], bent(expr.IntValue(0)).Dense[0]; got >= want {
		t.Errorf("a negative value becomes %v, and 0 becomes %v", got, want)
	}
	// One negative value, and the column stays as it is: linear.
	straight := fitOne(expr.Float, append(tail, expr.FloatValue(-1))...)
	a, b, c := straight(expr.FloatValue(0)).Dense[0], straight(expr.FloatValue(100)).Dense[0], straight(expr.FloatValue(200)).Dense[0]
	if math.Abs((c-b)-(b-a)) > 1e-12 {
		t.Errorf("0, 100 and 200 become %v, %v and %v", a, b, c)
	}
}

// TestBend holds the function by values that anybody can check.
func TestBend(t *testing.T) {
	for x, want := range map[float64]float64{
		0: 0, 0.25: 0.25, 1: 1, 2: 1.5, 3: 2, 7: 3, 5: 2.5, 1023: 10, 1<<40 - 1: 40,
		math.MaxFloat64: 1024, math.Inf(1): math.Inf(1),
	} {
		if got := bundle.Bend(x); got != want {
			t.Errorf("Bend(%v) = %v, want %v", x, got, want)
		}
		if got := bundle.Bend(-x); got != -want {
			t.Errorf("Bend(%v) = %v, want %v", -x, got, -want)
		}
	}
	last := 0.0
	for x := 0.001; x < 1e300; x *= 1.1 {
		got, log := bundle.Bend(x), math.Log2(1+x)
		if got <= last || got > log+1e-9 || got < log-0.0861 { // chords of log2 lie below it by at most 1 - (1 + ln ln 2)/ln 2
			t.Fatalf("Bend(%v) = %v, and log2(1+x) is %v; the one before was %v", x, got, log, last)
		}
		last = got
	}
}

// hashOracle is the place of a text by the words of FORMAT.md.
func hashOracle(name, text string, missing bool, bits int) uint32 {
	h := fnv.New64a()
	if h.Write([]byte(name)); missing {
		h.Write([]byte{1})
	} else {
		h.Write(append([]byte{0}, text...))
	}
	z := h.Sum64()
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	return uint32(z >> (64 - bits))
}

func place(t *testing.T, name string, v features.Value, bits int) uint32 {
	t.Helper()
	tr := bundle.FitTransform([]bundle.Input{input(name, expr.String)}, column(), bits)
	var row learn.Row
	tr.Row(&row, []features.Value{v})
	if len(row.Dense) != 0 || len(row.Hashed) != 1 {
		t.Fatalf("%s %q becomes %v", name, v.Str, row)
	}
	return row.Hashed[0]
}

// TestPlaces pins the hash: other places would make nonsense of every bundle.
func TestPlaces(t *testing.T) {
	for _, test := range []struct {
		name  string
		value features.Value
		bits  int
		want  uint32
	}{
		{"shop.city", expr.StringValue("Oslo"), 18, 68526},
		{"shop.city", expr.StringValue("Rome"), 18, 160300},
		{"shop.city", expr.StringValue("São Paulo"), 18, 76774},
		{"shop.city", expr.StringValue(""), 18, 9387},
		{"shop.city", features.Value{}, 18, 4915},
		{"shop.town", expr.StringValue("Oslo"), 18, 257780},
		{"shop.city", expr.StringValue("Oslo"), 30, 280684331},
		{"shop.city", expr.StringValue("Oslo"), 1, 0},
	} {
		got := place(t, test.name, test.value, test.bits)
		oracle := hashOracle(test.name, test.value.Str, test.value.Kind == expr.Missing, test.bits)
		if got != test.want || got != oracle {
			t.Errorf("%s %q of 2^%d: place %d, want %d; by the words of FORMAT.md %d", test.name, test.value.Str, test.bits, got, test.want, oracle)
		}
	}
}

// TestTextThatIsNoUTF8 holds the place of a text as it is served against that
// of what is kept of it in the log.
func TestTextThatIsNoUTF8(t *testing.T) {
	for _, text := range []string{"caf\xe9", "\xff\xfe", "a\xc3", "\xe2\x82", "ok"} {
		kept, err := json.Marshal(text) // each such byte is U+FFFD
		if err != nil {
			t.Fatal(err)
		}
		var read string
		if err := json.Unmarshal(kept, &read); err != nil {
			t.Fatal(err)
		}
		if a, b := place(t, "shop.city", expr.StringValue(text), 18), place(t, "shop.city", expr.StringValue(read), 18); a != b {
			t.Errorf("%q has place %d when it is served, and %d when it is learned from", text, a, b)
		}
	}
}

// TestPlacesAreSpread hashes what people have: numbered names, and texts of one
// letter.
func TestPlacesAreSpread(t *testing.T) {
	const bits, texts = 12, 4096
	taken := make(map[uint32]int)
	most := 0
	for i := range texts {
		text := "user_" + strings.Repeat("0", i%3) + string(rune('a'+i%26)) + string(rune('0'+i/26%10)) + string(rune('0'+i/260))
		p := place(t, "v.user", expr.StringValue(text), bits)
		if taken[p]++; taken[p] > most {
			most = taken[p]
		}
	}
	// As many balls as boxes: 63.2% of the boxes hold one, and the fullest holds
	// about 6; 0.012 is four standard deviations of a good hash's share.
	if share := float64(len(taken)) / texts; math.Abs(share-0.632) > 0.012 || most > 10 {
		t.Errorf("%d texts take %d of %d places, at most %d in one", texts, len(taken), 1<<bits, most)
	}
}

// TestRowUsesSlicesAgain holds that rows of any content leave nothing behind and
// allocate nothing.
func TestRowUsesSlicesAgain(t *testing.T) {
	w := newWorld(t, learn.Binary, 4, 50)
	var used learn.Row
	for _, x := range w.rows {
		var fresh learn.Row
		w.transform.Row(&fresh, x)
		w.transform.Row(&used, x)
		if !slices.Equal(used.Dense, fresh.Dense) || !slices.Equal(used.Hashed, fresh.Hashed) {
			t.Fatalf("a used row is %v, a fresh one %v", used, fresh)
		}
		if len(used.Dense) != w.transform.Dense() {
			t.Fatalf("%d dense values, want %d", len(used.Dense), w.transform.Dense())
		}
	}
	if n := testing.AllocsPerRun(100, func() { w.transform.Row(&used, w.rows[0]) }); n != 0 {
		t.Errorf("%v allocations a row", n)
	}
}

// TestCheckVector holds what is refused before it is scored.
func TestCheckVector(t *testing.T) {
	inputs := []bundle.Input{input("v.n", expr.Int), input("v.b", expr.Bool), input("v.s", expr.String)}
	tr := bundle.FitTransform(inputs, slices.Values([][]features.Value(nil)), 4)
	n, b, s := expr.IntValue(1), expr.BoolValue(true), expr.StringValue("x")
	for want, x := range map[string][]features.Value{
		"":                     {n, b, s},
		"a vector of 2 values": {n, b},
		"a vector of 4 values for a model of 3 inputs":                        {n, b, s, s},
		`input "v.n": the value is of kind bool, and the model takes int`:     {b, b, s},
		`input "v.b": the value is of kind int, and the model takes bool`:     {n, n, s},
		`input "v.s": the value is of kind float, and the model takes string`: {n, b, expr.FloatValue(1)},
		`input "v.n": the value is of kind time`:                              {expr.TimeValue(1), b, s},
	} {
		for _, err := range []error{tr.Check(x), bundle.CheckVector(inputs, x)} {
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %v, want %q", x, err, want)
			}
		}
	}
	if err := tr.Check(make([]features.Value, 3)); err != nil {
		t.Errorf("all missing: %v", err)
	}
}

// TestCheckInputs holds what no model can see.
func TestCheckInputs(t *testing.T) {
	for want, inputs := range map[string][]bundle.Input{
		"0 inputs":    nil,
		"1025 inputs": make([]bundle.Input, 1025),
		`"v.t" is a time, which says nothing to a model; derive an age`: {input("v.x", expr.Int), input("v.t", expr.Time)},
		`"v.x" is there twice`:     {input("v.x", expr.Int), input("v.x", expr.Float)},
		`"v.x" has no kind`:        {input("v.x", expr.Missing)},
		`input "": a name has`:     {input("", expr.Int)},
		"no control characters":    {input("v.\x00", expr.Int)},
		"a name has 1 to 256 byte": {input(strings.Repeat("x", 257), expr.Int)},
	} {
		if err := bundle.CheckInputs(inputs); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestSetID pins a set's name and holds that all that matters is in it.
func TestSetID(t *testing.T) {
	a, b := input("v.a", expr.Int), input("v.b", expr.String)
	const pinned = "e696fdc2931dd624"
	if got := bundle.SetID([]bundle.Input{a, b}); got != pinned {
		t.Errorf("set %s, want %s", got, pinned)
	}
	renamed, other, again := a, a, a
	renamed.Name, other.Kind, again.Fingerprint = "v.c", expr.Float, "0123456789abcdef"
	for what, inputs := range map[string][]bundle.Input{
		"order": {b, a}, "name": {renamed, b}, "kind": {other, b}, "fingerprint": {again, b}, "one less": {a}, "none": nil,
	} {
		if bundle.SetID(inputs) == pinned {
			t.Errorf("%s changes nothing", what)
		}
	}
}

// TestFitTransformPanics holds that a program with a fault in it does not train.
func TestFitTransformPanics(t *testing.T) {
	inputs := []bundle.Input{input("v.x", expr.Float)}
	walks := 0
	shrinking := func(yield func([]features.Value) bool) {
		walks++
		for x := range column(append(slices.Repeat(floats(1), 100/walks), expr.FloatValue(1000))...) {
			if !yield(x) {
				return
			}
		}
	}
	for want, fit := range map[string]func(){
		"they must be the same": func() { bundle.FitTransform(inputs, shrinking, 8) },
		"2^0 places":            func() { bundle.FitTransform(inputs, column(), 0) },
		"2^31 places":           func() { bundle.FitTransform(inputs, column(), 31) },
		"0 inputs":              func() { bundle.FitTransform(nil, column(), 8) },
		"of kind string":        func() { bundle.FitTransform(inputs, column(expr.StringValue("1")), 8) },
	} {
		if got := panics(fit); !strings.Contains(got, want) {
			t.Errorf("panic %q, want one about %q", got, want)
		}
	}
}

// panics returns what f panics with, or nothing.
func panics(f func()) (said string) {
	defer func() {
		if x := recover(); x != nil {
			said = fmt.Sprint(x)
		}
	}()
	f()
	return ""
}
