package codec

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// source declares one field of each type; t is the event time.
func source(format string) features.Source {
	return features.Source{Name: "all", Format: format, EventTime: "t", Fields: []features.Field{
		{Name: "s", Kind: expr.String, Optional: true},
		{Name: "i", Kind: expr.Int, Optional: true},
		{Name: "f", Kind: expr.Float, Optional: true},
		{Name: "b", Kind: expr.Bool, Optional: true},
		{Name: "t", Kind: expr.Time},
		{Name: "sec", Kind: expr.Time, Unit: features.EpochSeconds, Optional: true},
		{Name: "ms", Kind: expr.Time, Unit: features.EpochMillis, Optional: true},
		{Name: "us", Kind: expr.Time, Unit: features.EpochMicros, Optional: true},
	}}
}

func decoder(t testing.TB, src features.Source) *Decoder {
	t.Helper()
	d, err := New(src)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// outcome is the field's value as text with its kind, or the reason of the error.
func outcome(t testing.TB, d *Decoder, value, field string) string {
	t.Helper()
	var ev features.Event
	if err := d.Decode([]byte(value), &ev); err != nil {
		var e *Error
		if !errors.As(err, &e) || e.Problem == "" || len(err.Error()) > 500 {
			t.Fatalf("%q: %v is not a short *Error", value, err)
		}
		if e.Field != "" {
			return e.Reason + " " + e.Field
		}
		return e.Reason
	}
	v := ev.Values[d.byName[field]]
	if v.Kind == expr.Float && math.Signbit(v.Float()) && v.Float() == 0 {
		return "float -0"
	}
	return strings.TrimSpace(v.Kind.String() + " " + v.Text())
}

func TestJSONFields(t *testing.T) {
	d := decoder(t, source("json"))
	for _, c := range []struct{ field, json, want string }{
		{"s", `"abc"`, "string abc"},
		{"s", `""`, "string"},
		{"s", `"a\"\\\/\n\u00e9\ud83d\ude00"`, "string a\"\\/\né😀"},
		{"s", `"NaN"`, "string NaN"},
		{"s", `"\ud83d"`, "bad_json"},
		{"s", `"\ude00\ud83d"`, "bad_json"},
		{"s", `"\x"`, "bad_json"},
		{"s", `"\u12g4"`, "bad_json"},
		{"s", "\"a\tb\"", "bad_json"},
		{"s", "\"\xff\"", "bad_json"},
		{"s", "\"\xed\xa0\x80\"", "bad_json"},
		{"s", `null`, "missing"},
		{"s", `1`, "wrong_type s"},
		{"s", `true`, "wrong_type s"},
		{"s", `["a"]`, "wrong_type s"},
		{"s", `{"a":1}`, "wrong_type s"},
		{"i", `0`, "int 0"},
		{"i", `-0`, "int 0"},
		{"i", `9007199254740993`, "int 9007199254740993"},
		{"i", `9223372036854775807`, "int 9223372036854775807"},
		{"i", `-9223372036854775808`, "int -9223372036854775808"},
		{"i", `9223372036854775808`, "wrong_type i"},
		{"i", `1.0`, "wrong_type i"},
		{"i", `1e3`, "wrong_type i"},
		{"i", `"1"`, "wrong_type i"},
		{"i", `01`, "bad_json"},
		{"i", `+1`, "bad_json"},
		{"i", `1_0`, "bad_json"},
		{"i", `0x1`, "bad_json"},
		{"i", `null`, "missing"},
		{"f", `1`, "float 1"},
		{"f", `-0.0`, "float -0"},
		{"f", `54.5983`, "float 54.5983"},
		{"f", `1e308`, "float 1e+308"},
		{"f", `5e-324`, "float 5e-324"},
		{"f", `1e-999`, "float 0"},
		{"f", `1e999`, "not_finite f"},
		{"f", `"NaN"`, "not_finite f"},
		{"f", `"-Infinity"`, "not_finite f"},
		{"f", `"nan"`, "wrong_type f"},
		{"f", `"1"`, "wrong_type f"},
		{"f", `NaN`, "bad_json"},
		{"f", `1.`, "bad_json"},
		{"f", `.5`, "bad_json"},
		{"f", `null`, "missing"},
		{"b", `true`, "bool true"},
		{"b", `false`, "bool false"},
		{"b", `"true"`, "wrong_type b"},
		{"b", `0`, "wrong_type b"},
		{"b", `True`, "bad_json"},
		{"sec", `1700000000`, "time 2023-11-14T22:13:20Z"},
		{"sec", `-1`, "time 1969-12-31T23:59:59Z"},
		{"sec", `253402300799`, "time 9999-12-31T23:59:59Z"},
		{"sec", `253402300800`, "bad_time sec"},
		{"sec", `-62135596800`, "time 0001-01-01T00:00:00Z"},
		{"sec", `-62135596801`, "bad_time sec"},
		{"sec", `9223372036854775807`, "bad_time sec"},
		{"sec", `1700000000.5`, "wrong_type sec"},
		{"sec", `"1700000000"`, "wrong_type sec"},
		{"ms", `1700000000123`, "time 2023-11-14T22:13:20.123Z"},
		{"ms", `253402300799999`, "time 9999-12-31T23:59:59.999Z"},
		{"ms", `253402300800000`, "bad_time ms"},
		{"us", `1700000000123456`, "time 2023-11-14T22:13:20.123456Z"},
		{"us", `-62135596800000001`, "bad_time us"},
		{"us", `null`, "missing"},
	} {
		value := fmt.Sprintf(`{"t":"2024-01-02T03:04:05Z","%s":%s}`, c.field, c.json)
		if got := outcome(t, d, value, c.field); got != c.want {
			t.Errorf("%s: got %q, want %q", value, got, c.want)
		}
	}
}

func TestJSONShapes(t *testing.T) {
	d := decoder(t, source("json"))
	const ok = "time 2024-01-02T03:04:05Z"
	deep := func(n int) string {
		return `{"t":"2024-01-02T03:04:05Z","x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`
	}
	for _, c := range []struct{ value, want string }{
		{`{"t":"2024-01-02T03:04:05Z"}`, ok},
		{" \r\n\t{ \"t\" : \"2024-01-02T03:04:05Z\" } \n", ok},
		{`{"x":{"t":[1,{"s":2}]},"t":"2024-01-02T03:04:05Z","y":"\u0000"}`, ok},
		{`{"\u0074":"2024-01-02T03:04:05Z"}`, ok},
		{`{"x":1,"x":2,"t":"2024-01-02T03:04:05Z"}`, ok},
		{`{"t":"2024-01-02T03:04:05Z","\u0074":"2024-01-02T03:04:05Z"}`, "bad_json t"},
		{`{"t":"2024-01-02T03:04:05Z","s":"a","s":"a"}`, "bad_json s"},
		{`{"t":"2024-01-02T03:04:05Z","s":null,"s":"a"}`, "bad_json s"},
		{`{"T":"2024-01-02T03:04:05Z"}`, "missing_field t"},
		{`{}`, "missing_field t"},
		{`{"t":null}`, "missing_field t"},
		{`{"t":12}`, "wrong_type t"},
		{`{"t":"yesterday"}`, "bad_time t"},
		{``, "bad_json"},
		{` `, "bad_json"},
		{`[]`, "bad_json"},
		{`"{}"`, "bad_json"},
		{`null`, "bad_json"},
		{`{`, "bad_json"},
		{`{"t"`, "bad_json"},
		{`{"t":"2024-01-02T03:04:05Z"`, "bad_json"},
		{`{"t":"2024-01-02T03:04:05Z",}`, "bad_json"},
		{`{"t":"2024-01-02T03:04:05Z"]`, "bad_json"},
		{`{"t":"2024-01-02T03:04:05Z"}{}`, "bad_json"},
		{`{"t":"2024-01-02T03:04:05Z"}x`, "bad_json"},
		{"{\"t\":\"2024-01-02T03:04:05Z\"}\x00", "bad_json"},
		{"{\"t\":\"2024-01-02T03:04:05Z\"}\u00a0", "bad_json"},
		{"\ufeff" + `{"t":"2024-01-02T03:04:05Z"}`, "bad_json"},
		{`{"t":"2024-01-02T03:04:05Z","x":"` + "\xff" + `"}`, "bad_json"},
		{`{"t":"2024-01-02T03:04:05Z","x":01}`, "bad_json"},
		{`{"t":"2024-01-02T03:04:05Z",s:"a"}`, "bad_json"},
		{`{1:2,"t":"2024-01-02T03:04:05Z"}`, "bad_json"},
		{`{"t":"2024-01-02T03:04:05Z"/**/}`, "bad_json"},
		{deep(9000), ok},
		{deep(10001), "bad_json"},
		{strings.Repeat(" ", MaxValue-30) + `{"t":"2024-01-02T03:04:05Z"}`, ok},
		{strings.Repeat(" ", MaxValue) + `{"t":"2024-01-02T03:04:05Z"}`, "too_large"},
	} {
		if got := outcome(t, d, c.value, "t"); got != c.want {
			t.Errorf("%.100q: got %q, want %q", c.value, got, c.want)
		}
	}
}

func TestCSVRecords(t *testing.T) {
	d := decoder(t, features.Source{Name: "x", Format: "csv", EventTime: "t", Fields: source("csv").Fields[:5]})
	const at = `2024-01-02T03:04:05Z`
	for _, c := range []struct{ field, value, want string }{
		{"s", `a,1,2,true,` + at, "string a"},
		{"s", `a,1,2,true,` + at + "\n", "string a"},
		{"s", `a,1,2,true,` + at + "\r\n", "string a"},
		{"s", `"a,""b""` + "\r\n" + `c",1,2,true,` + at, "string a,\"b\"\r\nc"},
		{"s", `,,,,` + at, "missing"},
		{"s", `"",,,,` + at, "string"},
		{"s", ` a ,,,,` + at, "string  a"},
		{"s", `"a"b,,,,` + at, "bad_csv"},
		{"s", `"a,,,,` + at, "bad_csv"},
		{"s", `a"b,,,,` + at, "bad_csv"},
		{"s", "a\n,,,," + at, "bad_csv"},
		{"s", "a,,,," + at + "\n\n", "bad_csv"},
		{"s", "a,,,," + at + "\nb,,,," + at, "bad_csv"},
		{"s", "\xff,,,," + at, "bad_csv"},
		{"s", `a,,,` + at, "bad_csv"},
		{"s", `a,,,,` + at + ",", "bad_csv"},
		{"s", ``, "bad_csv"},
		{"s", strings.Repeat("a", MaxValue) + `,,,,` + at, "too_large"},
		{"i", `,9223372036854775807,,,` + at, "int 9223372036854775807"},
		{"i", `,9223372036854775808,,,` + at, "wrong_type i"},
		{"i", `,"12",,,` + at, "int 12"},
		{"i", `,"",,,` + at, "missing"},
		{"i", `, 12,,,` + at, "wrong_type i"},
		{"i", `,1.0,,,` + at, "wrong_type i"},
		{"f", `,,1e999,,` + at, "not_finite f"},
		{"f", `,,NaN,,` + at, "not_finite f"},
		{"f", `,,inf,,` + at, "wrong_type f"},
		{"f", `,,0x1p3,,` + at, "wrong_type f"},
		{"f", `,,1_0,,` + at, "wrong_type f"},
		{"f", `,,-,,` + at, "wrong_type f"},
		{"f", `,,-.5,,` + at, "float -0.5"},
		{"b", `,,,TRUE,` + at, "bool true"},
		{"b", `,,,False,` + at, "bool false"},
		{"b", `,,,1,` + at, "wrong_type b"},
		{"t", `,,,,`, "missing_field t"},
		{"t", `,,,,x`, "bad_time t"},
	} {
		if got := outcome(t, d, c.value, c.field); got != c.want {
			t.Errorf("%.100q: got %q, want %q", c.value, got, c.want)
		}
	}
}

func TestErrorsNameTheFieldAndTheValue(t *testing.T) {
	d := decoder(t, source("json"))
	for value, want := range map[string]string{
		`{"i":9223372036854775808}`:                 `codec: wrong_type: field "i": want a whole number of 64 bits, got 9223372036854775808`,
		`{"s":` + strings.Repeat("1", 1000) + `}`:   `codec: wrong_type: field "s": want a text, got ` + strings.Repeat("1", 64) + `...`,
		`{"f":[` + strings.Repeat("1", 61) + `2é]}`: "", // checked below: no broken rune
		`{"f":1e999}`:                  `codec: not_finite: field "f": 1e999 is not a finite number; allow_nonfinite takes such`,
		`{"t":"2016-12-31T23:59:60Z"}`: `codec: bad_time: field "t": "2016-12-31T23:59:60Z" is not a time in the years 0001 to 9999 as RFC 3339 writes it`,
		`{"s":"a"}`:                    `codec: missing_field: field "t": absent; declare it with a ? if it may be`,
		`{"s":"a"`:                     `codec: bad_json: ends too early, after 8 bytes`,
		`{"s":"a"} 1`:                  `codec: bad_json: after the object there is 1`,
	} {
		err := d.Decode([]byte(value), new(features.Event))
		if err == nil || want != "" && err.Error() != want {
			t.Errorf("%.80s:\n got %v\nwant %s", value, err, want)
		}
		if strings.ToValidUTF8(err.Error(), "?") != err.Error() {
			t.Errorf("%.80s: %q is not UTF-8", value, err)
		}
	}
}

func TestMissingAndNonfinite(t *testing.T) {
	src := source("json")
	src.Fields = slices.Clone(src.Fields)
	src.Fields[0].Optional = false
	src.AllowNonfinite = true
	d := decoder(t, src)
	const at = `"t":"2024-01-02T03:04:05Z"}`
	for _, c := range []struct{ field, value, want string }{
		{"s", `{` + at, "missing_field s"},
		{"s", `{"s":null,` + at, "missing"},
		{"f", `{"s":"","f":"NaN",` + at, "float NaN"},
		{"f", `{"s":"","f":"Infinity",` + at, "float +Inf"},
		{"f", `{"s":"","f":"-Infinity",` + at, "float -Inf"},
		{"f", `{"s":"","f":-1e999,` + at, "float -Inf"},
		{"f", `{"s":"","f":"inf",` + at, "wrong_type f"},
	} {
		if got := outcome(t, d, c.value, c.field); got != c.want {
			t.Errorf("%s: got %q, want %q", c.value, got, c.want)
		}
	}
}

func TestAnEventNeedsItsTimeEvenIfOptional(t *testing.T) {
	src := source("json")
	src.Fields = slices.Clone(src.Fields)
	src.Fields[4].Optional = true
	if got := outcome(t, decoder(t, src), `{}`, "t"); got != "missing_field t" {
		t.Errorf("got %s", got)
	}
}

func TestNewRefuses(t *testing.T) {
	for want, change := range map[string]func(*features.Source){
		`format "avro" is not supported`: func(s *features.Source) { s.Format = "avro" },
		`format "" is not supported`:     func(s *features.Source) { s.Format = "" },
		`event_time "s" is a string`:     func(s *features.Source) { s.EventTime = "s" },
		`field "s" is declared twice`:    func(s *features.Source) { s.Fields = append(slices.Clone(s.Fields), s.Fields[0]) },
		`field "z" has no type`:          func(s *features.Source) { s.Fields = append(slices.Clone(s.Fields), features.Field{Name: "z"}) },
	} {
		src := source("json")
		change(&src)
		if _, err := New(src); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestDecodeReusesAndAliases(t *testing.T) {
	d := decoder(t, source("json"))
	value := []byte(`{"s":"abc","i":7,"t":"2024-01-02T03:04:05Z"}`)
	ev := features.Event{Values: make([]features.Value, 0, 20), Arrival: 5}
	backing := unsafe.SliceData(ev.Values)
	if err := d.Decode(value, &ev); err != nil {
		t.Fatal(err)
	}
	if unsafe.SliceData(ev.Values) != backing || len(ev.Values) != len(d.fields) {
		t.Error("Values was not reused")
	}
	if unsafe.StringData(ev.Values[0].Str) != &value[6] {
		t.Error("a text without escapes was copied")
	}
	if ev.Arrival != 5 || ev.Time != time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC).UnixMicro() {
		t.Errorf("got %+v", ev)
	}
	before := string(value)
	if err := d.Decode([]byte(`{"t":"2024-01-02T03:04:06Z"}`), &ev); err != nil {
		t.Fatal(err)
	}
	if ev.Values[0].Kind != expr.Missing || ev.Values[1].Kind != expr.Missing {
		t.Errorf("an earlier event's values are left: %v", ev.Values)
	}
	if string(value) != before {
		t.Errorf("the value was changed to %s", value)
	}
}

func randomText(r *rand.Rand) string {
	runes := []rune("aZ09 ,\"\\\n\r\t/\u0000\u001f\u007fé\u2028😀\ufffd{}[]:")
	s := make([]rune, r.IntN(8))
	for i := range s {
		s[i] = runes[r.IntN(len(runes))]
	}
	return string(s)
}

func randomValue(r *rand.Rand, f features.Field) features.Value {
	if f.Optional && r.IntN(5) == 0 {
		return features.Value{}
	}
	switch f.Kind {
	case expr.String:
		return expr.StringValue(randomText(r))
	case expr.Int:
		return expr.IntValue(int64(r.Uint64()) >> r.IntN(64))
	case expr.Bool:
		return expr.BoolValue(r.IntN(2) == 0)
	case expr.Float:
		x := math.Float64frombits(r.Uint64())
		if math.IsNaN(x) {
			x = math.NaN()
		}
		return expr.FloatValue(x)
	}
	scale := perUnit[f.Unit]
	if f.Unit == features.RFC3339 {
		scale = 1
	}
	return expr.TimeValue((minTime + r.Int64N(maxTime-minTime+1)) / scale * scale)
}

func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, format := range []string{"json", "csv"} {
		src := source(format)
		src.AllowNonfinite = true
		d := decoder(t, src)
		encode := AppendJSON
		if format == "csv" {
			encode = AppendCSV
		}
		var ev features.Event
		for range 20000 {
			values := make([]features.Value, len(src.Fields))
			for i, f := range src.Fields {
				values[i] = randomValue(r, f)
			}
			wire := encode([]byte("x"), src.Fields, values)[1:]
			if err := d.Decode(wire, &ev); err != nil {
				t.Fatalf("%q: %v", wire, err)
			}
			if !slices.Equal(ev.Values, values) {
				t.Fatalf("%q:\n got %v\nwant %v", wire, ev.Values, values)
			}
		}
	}
	if got := string(AppendJSON(nil, nil, nil)); got != "{}" {
		t.Errorf("no fields: %s", got)
	}
	if got := string(AppendJSON(nil, source("json").Fields[:1], []features.Value{expr.StringValue("a\xffb")})); got != `{"s":"a`+"\ufffd"+`b"}` {
		t.Errorf("invalid UTF-8: %s", got)
	}
}

var trade = features.Source{Name: "trades", Format: "json", EventTime: "t", Fields: []features.Field{
	{Name: "s", Kind: expr.String}, {Name: "t", Kind: expr.Time, Unit: features.EpochMillis}, {Name: "p", Kind: expr.Float}, {Name: "v", Kind: expr.Int},
}}

var day = features.Source{Name: "days", Format: "json", EventTime: "time", Fields: []features.Field{
	{Name: "symbol", Kind: expr.String}, {Name: "time", Kind: expr.Time}, {Name: "open", Kind: expr.Float}, {Name: "high", Kind: expr.Float},
	{Name: "low", Kind: expr.Float}, {Name: "close", Kind: expr.Float}, {Name: "volume", Kind: expr.Int},
}}

func asCSV(src features.Source) features.Source { src.Format = "csv"; return src }

var common = []struct {
	name  string
	src   features.Source
	value string
}{
	{"json4", trade, `{"s":"SYM0001","t":1700000000000,"p":54.5983,"v":123}`},
	{"json4unordered", trade, `{"v":123,"p":54.5983,"note":"x","t":1700000000000,"s":"SYM0001"}`},
	{"json7", day, `{"symbol":"AAPL","time":"2000-03-01T21:00:00Z","open":118.56,"high":132.06,"low":118.5,"close":130.31,"volume":9616100}`},
	{"csv4", asCSV(trade), `SYM0001,1700000000000,54.5983,123`},
	{"csv7", asCSV(day), `AAPL,2000-03-01T21:00:00Z,118.56,132.06,118.5,130.31,9616100`},
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	for _, c := range common {
		d, value, ev := decoder(t, c.src), []byte(c.value), features.Event{}
		if n := testing.AllocsPerRun(100, func() {
			if err := d.Decode(value, &ev); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations an event", c.name, n)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, c := range common {
		b.Run(c.name, func(b *testing.B) {
			d, value, ev := decoder(b, c.src), []byte(c.value), features.Event{}
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
				if err := d.Decode(value, &ev); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
