package codec

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// FuzzScan holds the scanner against the tokenizer: what it takes, the other
// takes with the same values, and as for the fields that are there.
func FuzzScan(f *testing.F) {
	for _, s := range []string{
		`{"s":"SYM0001","i":1700000000000,"f":54.5983,"b":true,"t":"2024-02-29T23:59:59.1234567+05:30","sec":1,"ms":-1,"us":0}`,
		" {\t\"s\" : \"\" ,\r\n\"f\" : -0.0 , \"b\":false, \"i\":-0} ", `{}`, `{"s":null,"x":1e5,"y":true,"z":"a b"}`,
		`{"f":0.1234567890123456}`, `{"f":123456789012345}`, `{"f":01}`, `{"f":1.}`, `{"f":.5}`, `{"f":-}`, `{"f":1e}`, `{"f":1E+2}`,
		`{"i":1.0}`, `{"i":9223372036854775807}`, `{"ms":253402300799999}`, `{"ms":253402300800000}`, `{"s":1}`, `{"b":1}`, `{"t":1}`,
		`{"s":"a","s":"b"}`, `{"s":"a",}`, `{"s":"a"}x`, `{"s":"a"}` + "\x00", `{"x":truex}`, `{"x":[1]}`, `{"s":"é"}`, `{"s":"\n"}`, `{"f":"NaN"}`,
	} {
		f.Add([]byte(s))
	}
	src := source("json")
	scan, read := decoder(f, src), decoder(f, src)
	f.Fuzz(func(t *testing.T, value []byte) {
		got, want := make([]features.Value, len(src.Fields)), make([]features.Value, len(src.Fields))
		scan.gen++
		read.gen++
		if !scan.scanObject(value, got) {
			return
		}
		if err := read.decodeJSON(value, want); err != nil {
			t.Fatalf("%q is taken, and is no event: %v", value, err)
		}
		for i := range src.Fields {
			if (scan.seen[i] == scan.gen) != (read.seen[i] == read.gen) {
				t.Errorf("%q: field %s: is there for one and not for the other", value, src.Fields[i].Name)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q:\n got %v\nwant %v", value, got, want)
		}
	})
}

// TestCommonEventsAreScanned keeps the fast way the one that is taken.
func TestCommonEventsAreScanned(t *testing.T) {
	for _, c := range common {
		if c.src.Format != "json" {
			continue
		}
		d := decoder(t, c.src)
		d.gen++
		if !d.scanObject([]byte(c.value), make([]features.Value, len(d.fields))) {
			t.Errorf("%s is left to the tokenizer: %s", c.name, c.value)
		}
	}
}

func TestNumbersAreTheNearestDoubles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	field := features.Field{Name: "f", Kind: expr.Float}
	d := decoder(t, source("json"))
	for range 200_000 {
		text := strconv.FormatUint(r.Uint64()>>r.IntN(64), 10)
		if at := r.IntN(len(text) + 1); at < len(text) {
			text = text[:at] + "." + text[at:]
		}
		if strings.HasPrefix(text, ".") {
			text = "0" + text
		}
		if r.IntN(2) == 0 {
			text = "-" + text
		}
		want, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		v, ok := d.scanValue(&scanner{b: []byte(text)}, &field)
		if !ok || math.Float64bits(v.Float()) != math.Float64bits(want) {
			t.Fatalf("%s is read as %v, want %v (%v)", text, v.Float(), want, ok)
		}
	}
}
