package codec

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// surrogate finds escapes that encoding/json repairs and we refuse, or takes
// in pairs; the tables of codec_test.go have them.
var surrogate = regexp.MustCompile(`\\u[dD][89a-fA-F]`)

// oracle decodes value by encoding/json; reason is empty if it is an event.
func oracle(value []byte, fields []features.Field) (values []features.Value, reason string) {
	trimmed := bytes.TrimLeft(value, " \t\r\n")
	if !utf8.Valid(value) || !json.Valid(value) || trimmed[0] != '{' {
		return nil, BadJSON
	}
	values = make([]features.Value, len(fields))
	seen := map[string]bool{}
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.Token()
	for dec.More() {
		name, _ := dec.Token()
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			panic(err)
		}
		i := slices.IndexFunc(fields, func(f features.Field) bool { return f.Name == name })
		if i < 0 {
			continue
		}
		if seen[fields[i].Name] {
			return nil, BadJSON
		}
		seen[fields[i].Name] = true
		if values[i], reason = oracleValue(fields[i], raw); reason != "" {
			return nil, reason
		}
	}
	for i, f := range fields {
		if !f.Optional && values[i].Kind == expr.Missing {
			return nil, MissingField
		}
	}
	return values, ""
}

func oracleValue(f features.Field, raw json.RawMessage) (v features.Value, reason string) {
	if string(raw) == "null" {
		return v, ""
	}
	var text string
	isText := json.Unmarshal(raw, &text) == nil
	var n big.Int
	isInt := false
	if regexp.MustCompile(`^-?[0-9]+$`).Match(raw) {
		n.SetString(string(raw), 10)
		isInt = n.IsInt64()
	}
	switch f.Kind {
	case expr.String:
		if isText {
			return expr.StringValue(text), ""
		}
	case expr.Int:
		if isInt {
			return expr.IntValue(n.Int64()), ""
		}
	case expr.Bool:
		if raw[0] == 't' || raw[0] == 'f' {
			return expr.BoolValue(raw[0] == 't'), ""
		}
	case expr.Float:
		if isText && (text == "NaN" || text == "Infinity" || text == "-Infinity") {
			return v, NotFinite
		}
		if raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
			return v, WrongType
		}
		var x float64
		if json.Unmarshal(raw, &x) != nil {
			return v, NotFinite
		}
		return expr.FloatValue(x), ""
	case expr.Time:
		if f.Unit == features.RFC3339 && isText {
			return oracleTime(text)
		}
		if f.Unit != features.RFC3339 && isInt {
			us := new(big.Int).Mul(&n, big.NewInt(perUnit[f.Unit]))
			if us.Cmp(big.NewInt(minTime)) < 0 || us.Cmp(big.NewInt(maxTime)) > 0 {
				return v, BadTime
			}
			return expr.TimeValue(us.Int64()), ""
		}
	}
	return v, WrongType
}

// strictTime is the grammar of RFC 3339, which Go's parser is laxer than:
// hours of one digit, a decimal comma and offsets of a day and more pass there.
var strictTime = regexp.MustCompile(`^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

func oracleTime(text string) (v features.Value, reason string) {
	var t time.Time
	first := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	last := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	if strings.ContainsAny(text, "tz") {
		text = strings.NewReplacer("t", "T", "z", "Z").Replace(text) // RFC 3339 allows them, Go does not
	}
	if !strictTime.MatchString(text) || t.UnmarshalText([]byte(text)) != nil || t.Before(first) || !t.Before(last) || strings.HasPrefix(text, "0000") {
		return v, BadTime
	}
	return expr.TimeValue(t.UnixMicro()), ""
}

func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{
		`{"s":"SYM0001","i":1700000000000,"f":54.5983,"b":true,"t":"2024-02-29T23:59:59.1234567+05:30","sec":1,"ms":-1,"us":0}`,
		`{"t":"0001-01-01T00:00:00-00:01","s":"\"\\\/\b\f\n\r\t\u00e9","x":[{},[],"",-0.1e+5]}`,
		`{"t":"0001-01-01T00:00:00+00:01"}`, `{"t":"9999-12-31T23:59:59.999999-23:59"}`,
		`{"t":"2023-02-29t00:00:00z","t":null}`, `{"f":1e999,"i":9223372036854775808}`,
		`{"f":"NaN","us":-62135596800000001}`, ` {"\u0074":"1900-03-01T00:00:00Z"} `, `{"t":"2024-01-01T24:00:00Z"}`, "{\"t\":\"\x80\"}", `[1]`, `{}{}`,
	} {
		f.Add([]byte(s))
	}
	src := source("json")
	d := decoder(f, src)
	f.Fuzz(func(t *testing.T, value []byte) {
		if surrogate.Match(value) || len(value) > MaxValue {
			return
		}
		before := bytes.Clone(value)
		var ev features.Event
		err := d.Decode(value, &ev)
		if !bytes.Equal(value, before) {
			t.Fatalf("the value was changed from %q to %q", before, value)
		}
		want, reason := oracle(value, src.Fields)
		if reason != "" {
			// Which of several faults is found first is no matter: they differ in kind only.
			if e := (*Error)(nil); !errors.As(err, &e) {
				t.Fatalf("%q: taken, want %s", value, reason)
			}
			return
		}
		if err != nil {
			t.Fatalf("%q: %v, want it taken", value, err)
		}
		if !slices.Equal(ev.Values, want) {
			t.Fatalf("%q:\n got %v\nwant %v", value, ev.Values, want)
		}
	})
}

// FuzzCells compares the cutting of cells with encoding/csv, which joins what
// we refuse: it skips blank lines and rewrites line breaks.
func FuzzCells(f *testing.F) {
	for _, s := range []string{`a,b`, `"a","b,""c"""`, `"",`, `a"b,c`, `"a"b,c`, `"a`, "a,\"b\nc\"\n", "a,b\nc,d", `,`, `"",""`} {
		f.Add([]byte(s))
	}
	src := features.Source{Name: "two", Format: "csv", EventTime: "t", Fields: []features.Field{
		{Name: "a", Kind: expr.String}, {Name: "b", Kind: expr.String}, {Name: "t", Kind: expr.Time}}}
	d := decoder(f, src)
	f.Fuzz(func(t *testing.T, value []byte) {
		if bytes.ContainsAny(value, "\r") || bytes.HasPrefix(value, []byte("\n")) || !utf8.Valid(value) || len(value) > 1000 {
			return
		}
		record := slices.Concat(value, []byte(",2024-01-02T03:04:05Z"))
		var ev features.Event
		err := d.Decode(record, &ev)
		r := csv.NewReader(bytes.NewReader(record))
		rows, csvErr := r.ReadAll()
		if csvErr != nil || len(rows) != 1 || len(rows[0]) != 3 || rows[0][2] != "2024-01-02T03:04:05Z" {
			if err == nil {
				t.Fatalf("%q: taken, encoding/csv has %q, %v", record, rows, csvErr)
			}
			return
		}
		if err != nil || ev.Values[0].Str != rows[0][0] || ev.Values[1].Str != rows[0][1] {
			t.Fatalf("%q: got %v, %v; encoding/csv has %q", record, ev.Values, err, rows)
		}
	})
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"2024-02-29T23:59:59Z", "2000-01-01T00:00:00.000000001-23:59", "1900-02-29T00:00:00Z", "0000-12-31T23:00:00-02:00", "9999-12-31T23:59:59.9999999Z", "2016-12-31T23:59:60Z", "2024-01-02 03:04:05Z", "2024-01-02T03:04:05.Z", "2024-01-02T03:04:05,5Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		us, ok := parseTime(s)
		v, reason := oracleTime(s)
		if ok != (reason == "") || ok && us != v.Int() {
			t.Fatalf("%q: got %d %v, want %v %s", s, us, ok, v, reason)
		}
	})
}

// Every day of the calendar, against Go's.
func TestParseTimeEveryDay(t *testing.T) {
	for day := time.Date(1, 1, 1, 12, 34, 56, 789012000, time.UTC); day.Year() <= 9999; day = day.AddDate(0, 0, 1) {
		if us, ok := parseTime(day.Format(time.RFC3339Nano)); !ok || us != day.UnixMicro() {
			t.Fatalf("%s: got %d, %v", day, us, ok)
		}
		if next := day.AddDate(0, 0, 1); next.Day() == 1 {
			_, ok := parseTime(day.Format("2006-01-") + string(rune('0'+(day.Day()+1)/10)) + string(rune('0'+(day.Day()+1)%10)) + "T00:00:00Z")
			if ok {
				t.Fatalf("the day after %s is taken as one of its month", day)
			}
		}
	}
}
