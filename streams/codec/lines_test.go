package codec

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/millrace/millrace/features"
)

// read lists the values of a file, or its errors, each with its line.
func read(r io.Reader, src features.Source, format string) []string {
	var got []string
	for line, err := range Lines(r, src, format) {
		var bad *LineError
		switch {
		case errors.As(err, &bad):
			var e *Error
			errors.As(err, &e)
			got = append(got, fmt.Sprint(bad.Number, " ", e.Reason, " ", e.Field))
		case err != nil:
			got = append(got, err.Error())
		default:
			got = append(got, fmt.Sprint(line.Number, " ", string(line.Value), " ", line.Event.Time))
		}
	}
	return got
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", MaxValue)
	const at = "1700000000000"
	for _, c := range []struct {
		name, format, to, file string
		want                   []string
	}{
		{"json", "json", "json",
			"\ufeff" + `{"s":"a","t":1,"p":1.5,"v":2,"note":1}` + "\r\n\n  \n" + `{"s":"b"}` + "\n{\n" + `{"s":"c","t":2,"p":null,"v":2}`,
			[]string{`1 {"s":"a","t":1,"p":1.5,"v":2,"note":1} 1000`, `4 missing_field t`, `5 bad_json `, `6 {"s":"c","t":2,"p":null,"v":2} 2000`}},
		{"json to csv", "json", "csv", `{"v":2,"s":"a,b","t":1,"p":1e30}`, []string{`1 "a,b",1,1e+30,2 1000`}},
		{"csv", "csv", "json",
			"\ufeff" + `v,"t",other,s,p` + "\r\n" + `5,1,x,"a ""b"",` + "\r\n" + `c",1.5` + "\r\n\r\n" + `x,2,,d,1` + "\n1,2\n" + `,3,,,`,
			[]string{`2 {"s":"a \"b\",\r\nc","t":1,"p":1.5,"v":5} 1000`, `5 wrong_type v`, `6 bad_csv `, `7 {"s":null,"t":3,"p":null,"v":null} 3000`}},
		{"csv to csv", "csv", "csv", "v,t,s,p\n5,1,a,1.50\n", []string{`2 a,1,1.5,5 1000`}},
		{"no lines", "json", "json", "\n", nil},
		{"no rows", "csv", "json", "s,t,p,v", nil},
		{"empty csv", "csv", "json", "", []string{"codec: the file is empty; a CSV file begins with a header line"}},
		{"no column", "csv", "json", "s,t,v\n", []string{`codec: the header in line 1 has no column "p"; it is s,t,v`}},
		{"column twice", "csv", "json", "s,t,p,v,s\n", []string{`codec: the header in line 1 has the column "s" twice`}},
		{"bad header", "csv", "json", "s,t\"\n", []string{"codec: the header in line 1: column 2 has a quote inside a cell that does not begin with one"}},
		{"format", "parquet", "json", "", []string{`codec: source "trades": format "parquet" is not supported; use json or csv`}},
		{"long line", "json", "json", `{"s":"` + long + `"}` + "\n" + `{"s":"a","t":1,"p":1,"v":1}`, []string{"1 too_large ", `2 {"s":"a","t":1,"p":1,"v":1} 1000`}},
		{"open quote", "csv", "json", "s,t,p,v\n\"a,1,1,1\n" + long + "\nb," + at + ",1,1\n", []string{"2 too_large ", `4 {"s":"b","t":1700000000000,"p":1,"v":1} 1700000000000000`}},
		{"quote to the end", "csv", "json", "s,t,p,v\n\"a,1,1,1\nb,1,1,1\n", []string{"2 bad_csv "}},
		{"quote in a cell", "csv", "json", "s,t,p,v\n5\" tape,1,1,1\nb,2,1,1\n\"c\nc\",3,1,1\n", []string{"2 bad_csv ", `3 {"s":"b","t":2,"p":1,"v":1} 2000`, `4 {"s":"c\nc","t":3,"p":1,"v":1} 3000`}},
		{"quotes in a cell", "csv", "json", "s,t,p,v\n5\",\"a,1,1\nb,2,1,1\n", []string{"2 bad_csv ", `3 {"s":"b","t":2,"p":1,"v":1} 2000`}},
		{"text after quotes", "csv", "json", "s,t,p,v\n\"a\" tape\",1,1,1\nb,2,1,1\n", []string{"2 bad_csv ", `3 {"s":"b","t":2,"p":1,"v":1} 2000`}},
		{"doubled quotes", "csv", "json", "s,t,p,v\n\"\"\"a\"\"\n,\"\"\n\"\"\",2,1,1\n\"\",3,1,1\n", []string{`2 {"s":"\"a\"\n,\"\n\"","t":2,"p":1,"v":1} 2000`, `5 {"s":"","t":3,"p":1,"v":1} 3000`}},
		{"quotes in the header", "csv", "json", "\ufeff\"a\nb\",s,t,p,v\n1,a,1,1,1\n", []string{`3 {"s":"a","t":1,"p":1,"v":1} 1000`}},
		{"long quotes", "csv", "json", "s,t,p,v\n\"" + strings.Repeat("ab\n", 50_000) + "\",1,1,\nb,2,1,1\n", []string{`2 {"s":"` + strings.Repeat(`ab\n`, 50_000) + `","t":1,"p":1,"v":null} 1000`, `50003 {"s":"b","t":2,"p":1,"v":1} 2000`}},
		{"grows", "csv", "json", "s,t,p,v\n" + strings.Repeat(`\`, MaxValue-10) + ",1,1,1\n", []string{"2 too_large "}},
	} {
		src := trade
		src.Format = c.to
		got := read(iotest.OneByteReader(strings.NewReader(c.file)), src, c.format)
		if len(got) != len(c.want) {
			t.Errorf("%s: got %.300q, want %q", c.name, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: got %.300q, want %q", c.name, got[i], c.want[i])
			}
		}
	}
}

func TestLinesReportReadErrors(t *testing.T) {
	r := io.MultiReader(strings.NewReader(`{"s":"a","t":1,"p":1,"v":1}`+"\n"+`{"s":`), iotest.ErrReader(errors.New("disk on fire")))
	got := read(r, trade, "json")
	want := []string{`1 {"s":"a","t":1,"p":1,"v":1} 1000`, "codec: reading line 2: disk on fire"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLinesStopWhenAsked(t *testing.T) {
	file := strings.Repeat(`{"s":"a","t":1,"p":1,"v":1}`+"\n{}\n", 10)
	n := 0
	for range Lines(strings.NewReader(file), trade, "json") {
		if n++; n == 4 {
			break
		}
	}
	if n != 4 {
		t.Errorf("%d lines", n)
	}
}
