package offline

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/streams/codec"
)

// readTable writes a file and reads it as a table: its columns as name:kind, and
// a line of texts for each row.
func readTable(t *testing.T, name, text string, want map[string]features.Kind) (columns string, rows []string, err error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	table, err := OpenTable(t.Context(), path, want)
	if err != nil {
		return "", nil, err
	}
	var names []string
	for _, f := range table.Fields {
		names = append(names, fmt.Sprintf("%s:%v", f.Name, f.Kind))
	}
	for row, err := range table.Rows(t.Context()) {
		if err != nil {
			return "", nil, err
		}
		var cells []string
		for i, v := range row {
			if v.Kind != expr.Missing && v.Kind != table.Fields[i].Kind {
				t.Errorf("%s is %v, and the column %v", v.Text(), v.Kind, table.Fields[i].Kind)
			}
			cells = append(cells, v.Text())
		}
		rows = append(rows, strings.Join(cells, "|"))
	}
	return strings.Join(names, " "), rows, nil
}

func TestKindsOfTexts(t *testing.T) {
	hints := map[string]features.Kind{"f": expr.Float, "s": expr.String, "none": expr.Time, "wrong": expr.Int}
	for _, c := range []struct {
		name, text string
		want       map[string]features.Kind
		columns    string
		rows       []string
	}{
		{name: "a.csv", text: "\ufeffa,b,c,d,e\n1,true,2026-01-02T03:04:05Z,1e3,x\n-2,false,2026-01-02T03:04:05+01:00,,\n",
			columns: "a:int b:bool c:time d:float e:string", rows: []string{"1|true|2026-01-02T03:04:05Z|1000|x", "-2|false|2026-01-02T02:04:05Z||"}},
		{name: "mixed.csv", text: "a,b,c,d,e\n1,true,2026-01-02T03:04:05Z,nan,\n1.5,1,2026-01-02,-Inf,\n",
			columns: "a:float b:string c:string d:float e:string", rows: []string{"1|true|2026-01-02T03:04:05Z|NaN|", "1.5|1|2026-01-02|-Inf|"}},
		{name: "hints.csv", text: "f,s,none,wrong\n1,2,,x\n", want: hints,
			columns: "f:float s:string none:time wrong:string", rows: []string{"1|2||x"}},
		{name: "none.csv", text: "f,s,none,other\n", want: hints, columns: "f:float s:string none:time other:string"},
		{name: "quoted.csv", text: "a,\"b,c\"\n\"x\ny\",\"\"\"\"\n", columns: "a:string b,c:string", rows: []string{"x\ny|\""}},
		{name: "a.jsonl", text: `{"a":1,"b":true,"c":"2026-01-02T03:04:05Z","d":"NaN","e":"1","f":{"x":1}}` + "\n\n" + `{"e":"2","a":null,"d":2}`,
			columns: "a:int b:bool c:time d:float e:string f:string", rows: []string{`1|true|2026-01-02T03:04:05Z|NaN|1|{"x":1}`, "|||2|2|"}},
		{name: "later.jsonl", text: `{"a":1}` + "\n" + `{"b":true,"a":2}` + "\n" + `{"c":"x"}` + "\n" + `{"a":3}`,
			columns: "a:int b:bool c:string", rows: []string{"1||", "2|true|", "||x", "3||"}},
		{name: "big.ndjson", text: `{"a":9223372036854775807,"b":1e400,"c":9223372036854775808}`,
			columns: "a:int b:string c:float", rows: []string{"9223372036854775807|1e400|9.223372036854776e+18"}},
	} {
		columns, rows, err := readTable(t, c.name, c.text, c.want)
		if err != nil || columns != c.columns || !slices.Equal(rows, c.rows) {
			t.Errorf("%s: %s %q, %v\nwant %s %q", c.name, columns, rows, err, c.columns, c.rows)
		}
	}
}

func TestTablesThatAreNone(t *testing.T) {
	many := strings.Repeat("a,", maxTableColumns)
	for _, c := range [][3]string{
		{"empty.csv", "", "empty.csv: there is nothing in it"},
		{"empty.jsonl", "\n \n", "empty.jsonl: there is nothing in it"},
		{"twice.csv", "a,b,a\n", `twice.csv:1: the column "a" is there twice`},
		{"short.csv", "a,b\n1,2\n3\n", "short.csv:3: wrong number of fields"},
		{"quote.csv", "a,b\n1,\"2\n", "quote.csv:2: "},
		{"array.jsonl", "{\"a\":1}\n[1]\n", "array.jsonl:2: is not a JSON object"},
		{"cut.jsonl", "{\"a\":1}\n{\"a\":", "cut.jsonl:2: "},
		{"many.csv", many + "b\n", "many.csv:1: "},
		{"what.txt", "a\n1\n", "cannot tell its format from its name"},
		{"not.parquet", "a\n1\n", "not a Parquet file"},
	} {
		if _, _, err := readTable(t, c[0], c[1], nil); err == nil || !strings.Contains(err.Error(), c[2]) {
			t.Errorf("%s: %v, want %s", c[0], err, c[2])
		}
	}
	if _, err := OpenTable(t.Context(), filepath.Join(t.TempDir(), "absent.csv"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that it does not exist", err)
	}
}

func TestTableStopsWhenAsked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "long.csv")
	if err := os.WriteFile(path, []byte("a\n"+strings.Repeat("1\n", 3*reportEvery)), 0o600); err != nil {
		t.Fatal(err)
	}
	table, err := OpenTable(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for _, err = range table.Rows(ctx) {
		n++
		cancel()
	}
	if !errors.Is(err, context.Canceled) || n > reportEvery {
		t.Errorf("after %d rows: %v", n, err)
	}
	if _, err := OpenTable(ctx, path, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("opened although it was canceled: %v", err)
	}
}

// TestTablesReadWhatIsWritten writes random rows as a dataset is written, and
// reads the same values back.
func TestTablesReadWhatIsWritten(t *testing.T) {
	fields := []features.Field{{Name: "b", Kind: expr.Bool}, {Name: "i", Kind: expr.Int}, {Name: "f", Kind: expr.Float}, {Name: "s", Kind: expr.String}, {Name: "t", Kind: expr.Time}}
	r := rand.New(rand.NewPCG(4, 4))
	var rows [][]features.Value
	csv, jsonl := []byte("b,i,f,s,t\n"), []byte(nil)
	for range 500 {
		row := []features.Value{
			expr.BoolValue(r.IntN(2) == 0), expr.IntValue(int64(r.Uint64())), expr.FloatValue(r.NormFloat64() * 1e10),
			expr.StringValue("é \"" + fmt.Sprint(r.IntN(100)) + ",\n"), expr.TimeValue(r.Int64N(1e15)),
		}
		if r.IntN(2) == 0 {
			row[r.IntN(5)] = features.Value{}
		}
		rows = append(rows, row)
		csv = append(codec.AppendCSV(csv, fields, row), '\n')
		jsonl = append(codec.AppendJSON(jsonl, fields, row), '\n')
	}
	for name, text := range map[string][]byte{"x.csv": csv, "x.jsonl": jsonl} {
		columns, got, err := readTable(t, name, string(text), nil)
		if err != nil || columns != "b:bool i:int f:float s:string t:time" || len(got) != len(rows) {
			t.Fatalf("%s: %s, %d rows, %v", name, columns, len(got), err)
		}
		for i, row := range rows {
			var want []string
			for _, v := range row {
				want = append(want, v.Text())
			}
			if got[i] != strings.Join(want, "|") {
				t.Fatalf("%s: row %d is %q, want %q", name, i, got[i], want)
			}
		}
	}
}
