package offline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/featurestest"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
	"github.com/millrace/millrace/streams/codec"
	"github.com/millrace/millrace/streams/lake"
)

// ordersPlan has an entity of a string and an int, and a request value.
func ordersPlan(t *testing.T) *features.Plan {
	t.Helper()
	src := features.Source{
		Name: "orders", EventTime: "at", Lateness: time.Hour,
		Fields: []features.Field{
			{Name: "shop", Kind: expr.String}, {Name: "customer", Kind: expr.Int},
			{Name: "at", Kind: expr.Time}, {Name: "amount", Kind: expr.Float, Optional: true},
		},
	}
	hour := features.Window{Size: time.Hour, Exact: true}
	view := features.View{
		Name: "spend", Source: "orders", Entity: []string{"shop", "customer"}, Where: "amount != 0",
		Features: []features.Feature{
			{Name: "n", Agg: "count", Of: "*", Window: hour},
			{Name: "sum", Agg: "sum", Of: "amount", Window: hour},
			{Name: "latest", Agg: "max", Of: "at", Window: hour},
		},
		OnDemand: []features.Named{{Name: "share", Expr: "request.amount / sum"}},
	}
	plan, err := features.Compile(features.WallClock, src, view)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

const ordersJSON = `{"shop":"a, b","customer":7,"at":"2026-03-01T10:00:00Z","amount":10,"_arrival":"2026-03-01T10:00:01Z"}
{"shop":"a, b","customer":7,"at":"2026-03-01T10:30:00Z","amount":2.5,"_arrival":"2026-03-01T10:40:00Z"}
not an order

{"shop":"","customer":7,"at":"2026-03-01T10:30:00Z","amount":1,"_arrival":"2026-03-01T10:40:00Z"}
{"shop":"a, b","customer":8,"at":"2026-03-01T12:00:00Z","amount":0,"_arrival":"2026-03-01T12:00:00Z"}
{"shop":"a, b","customer":7,"at":"2026-03-01T10:45:00Z","amount":100,"_arrival":"2026-03-01T12:00:00Z"}
{"shop":"a, b","customer":7,"at":"2026-03-01T13:00:00Z","amount":100,"_arrival":"2026-03-01T12:00:00Z"}
`

const ordersCSV = `_arrival,amount,at,customer,unknown,shop
2026-03-01T10:00:01Z,10,2026-03-01T10:00:00Z,7,x,"a, b"
2026-03-01T10:40:00Z,2.5,2026-03-01T10:30:00Z,7,x,"a, b"
,,not a time,7,x,shop
2026-03-01T10:40:00Z,1,2026-03-01T10:30:00Z,7,x,""
2026-03-01T12:00:00Z,0,2026-03-01T12:00:00Z,8,x,"a, b"
2026-03-01T12:00:00Z,100,2026-03-01T10:45:00Z,7,x,"a, b"
2026-03-01T12:00:00Z,100,2026-03-01T13:00:00Z,7,x,"a, b"
`

const probesCSV = `label,as_of,customer,amount,shop,known_by
"said ""no""",2026-03-01T10:30:00Z,7,5,"a, b",
1,2026-03-01T11:30:00+01:00,7,,"a, b",2026-03-01T10:39:59Z
,2026-03-01T10:59:59.999999Z,7,1e1,"a, b",2026-03-02T00:00:00Z
x,2026-03-01T10:30:00Z,9,1,"a, b",
`

const probesJSON = `{"label":"said \"no\"","as_of":"2026-03-01T10:30:00Z","customer":7,"amount":5,"shop":"a, b"}
{"known_by":"2026-03-01T10:39:59Z","as_of":"2026-03-01T11:30:00+01:00","customer":7,"amount":null,"shop":"a, b","label":1}

{"label":null,"as_of":"2026-03-01T10:59:59.999999Z","customer":7,"amount":1e1,"shop":"a, b","known_by":"2026-03-02T00:00:00Z"}
{"label":[1, {"x":"y"}],"as_of":"2026-03-01T10:30:00Z","customer":9,"amount":1,"shop":"a, b","known_by":null}
`

// The last probe but one sees the order that came an hour late.
const setCSV = `shop,customer,as_of,label,amount,known_by,n,sum,latest,share
"a, b",7,2026-03-01T10:30:00Z,"said ""no""",5,,2,12.5,2026-03-01T10:30:00Z,0.4
"a, b",7,2026-03-01T11:30:00+01:00,1,,2026-03-01T10:39:59Z,1,10,2026-03-01T10:00:00Z,
"a, b",7,2026-03-01T10:59:59.999999Z,,1e1,2026-03-02T00:00:00Z,3,112.5,2026-03-01T10:45:00Z,0.08888888888888889
"a, b",9,2026-03-01T10:30:00Z,x,1,,0,,,
`

const setOfCSVAsJSON = `{"shop":"a, b","customer":7,"as_of":"2026-03-01T10:30:00Z","label":"said \"no\"","amount":5,"known_by":null,"n":2,"sum":12.5,"latest":"2026-03-01T10:30:00Z","share":0.4}
{"shop":"a, b","customer":7,"as_of":"2026-03-01T11:30:00+01:00","label":"1","amount":null,"known_by":"2026-03-01T10:39:59Z","n":1,"sum":10,"latest":"2026-03-01T10:00:00Z","share":null}
{"shop":"a, b","customer":7,"as_of":"2026-03-01T10:59:59.999999Z","label":null,"amount":10,"known_by":"2026-03-02T00:00:00Z","n":3,"sum":112.5,"latest":"2026-03-01T10:45:00Z","share":0.08888888888888889}
{"shop":"a, b","customer":9,"as_of":"2026-03-01T10:30:00Z","label":"x","amount":1,"known_by":null,"n":0,"sum":null,"latest":null,"share":null}
`

const setOfJSON = `{"shop":"a, b","customer":7,"as_of":"2026-03-01T10:30:00Z","label":"said \"no\"","amount":5,"known_by":null,"n":2,"sum":12.5,"latest":"2026-03-01T10:30:00Z","share":0.4}
{"shop":"a, b","customer":7,"as_of":"2026-03-01T11:30:00+01:00","label":1,"amount":null,"known_by":"2026-03-01T10:39:59Z","n":1,"sum":10,"latest":"2026-03-01T10:00:00Z","share":null}
{"shop":"a, b","customer":7,"as_of":"2026-03-01T10:59:59.999999Z","label":null,"amount":1e1,"known_by":"2026-03-02T00:00:00Z","n":3,"sum":112.5,"latest":"2026-03-01T10:45:00Z","share":0.08888888888888889}
{"shop":"a, b","customer":9,"as_of":"2026-03-01T10:30:00Z","label":[1, {"x":"y"}],"amount":1,"known_by":null,"n":0,"sum":null,"latest":null,"share":null}
`

// save writes files into a folder and returns it.
func save(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestBuildFiles(t *testing.T) {
	dir := save(t, map[string]string{
		"orders.jsonl": ordersJSON, "orders.csv": ordersCSV,
		"probes.csv": "\ufeff" + probesCSV,
		// In JSON the first line names the columns.
		"probes.ndjson": strings.Replace(probesJSON, `"shop":"a, b"}`, `"shop":"a, b","known_by":null}`, 1),
	})
	for _, c := range []struct{ events, probes, out, want string }{
		{"orders.jsonl", "probes.csv", "set.csv", setCSV},
		{"orders.csv", "probes.csv", "set.csv", setCSV},
		{"orders.csv", "probes.csv", "set.json", setOfCSVAsJSON},
		{"orders.jsonl", "probes.ndjson", "set.json", setOfJSON},
		{"orders.jsonl", "probes.ndjson", "set.csv", strings.Replace(setCSV, ",x,1,", `,"[1, {""x"":""y""}]",1,`, 1)},
	} {
		t.Run(c.events+" "+c.probes+" "+c.out, func(t *testing.T) {
			var refused []string
			counts, err := BuildFiles(t.Context(), ordersPlan(t), Files{
				Events: filepath.Join(dir, c.events), Probes: filepath.Join(dir, c.probes), Out: filepath.Join(dir, c.out),
			}, Options{Rejected: func(_ *features.Event, why error) {
				var line *LineError
				if errors.As(why, &line) {
					refused = append(refused, fmt.Sprint(line.Line))
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			if got := readFile(t, filepath.Join(dir, c.out)); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
			undecodable, lines := "bad_json", "3 5 8"
			if strings.HasSuffix(c.events, ".csv") {
				undecodable, lines = "bad_time", "4 5 8"
			}
			want := Counts{Events: 7, Dropped: 1, Rejected: map[string]int64{undecodable: 1, features.RejectEntity: 1, features.RejectFuture: 1}}
			if fmt.Sprint(counts) != fmt.Sprint(want) {
				t.Errorf("counts %+v, want %+v", counts, want)
			}
			if got := strings.Join(refused, " "); got != lines {
				t.Errorf("refused lines %s, want %s", got, lines)
			}
		})
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestKnownByArrival leaves out what had not arrived at as_of, but for the
// probes that say otherwise.
func TestKnownByArrival(t *testing.T) {
	dir := save(t, map[string]string{"orders.jsonl": ordersJSON, "probes.csv": probesCSV})
	f := Files{
		Events: filepath.Join(dir, "orders.jsonl"), Probes: filepath.Join(dir, "probes.csv"), Out: filepath.Join(dir, "set.csv"),
		KnownByArrival: true,
	}
	if _, err := BuildFiles(t.Context(), ordersPlan(t), f, Options{}); err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(setCSV, "5,,2,12.5,2026-03-01T10:30:00Z,0.4", "5,,1,10,2026-03-01T10:00:00Z,0.5", 1)
	if got := readFile(t, f.Out); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestFileErrors(t *testing.T) {
	const header = "shop,customer,as_of,amount\n"
	const row = "a,7,2026-03-01T10:30:00Z,5\n"
	for _, c := range []struct{ name, file, text, want string }{
		{"no as_of", "p.csv", "shop,customer,amount\n", `p.csv:1: there is no column "as_of"`},
		{"no entity", "p.csv", "shop,as_of,amount\n", `p.csv:1: there is no column "customer", which the entity of view "spend" needs`},
		{"no request", "p.csv", "shop,customer,as_of\n", `p.csv:1: there is no column "amount", which the view "spend" uses as request.amount`},
		{"a feature's name", "p.csv", "shop,customer,as_of,amount,sum\n", `p.csv:1: the column "sum" has the name of a feature`},
		{"twice", "p.csv", "shop,customer,as_of,amount,shop\n", `p.csv:1: the column "shop" is there twice`},
		{"empty", "p.csv", "", `p.csv: there is no probe in it`},
		{"short row", "p.csv", header + row + "a,7\n", `p.csv:3: wrong number of fields`},
		{"quote", "p.csv", header + row + "a\"\n", `p.csv:3: bare "`},
		{"bad time", "p.csv", header + row + "a,7,yesterday,5\n", `p.csv:3: as_of: "yesterday" is not a time`},
		{"bad int", "p.csv", header + "a,7.5,2026-03-01T10:30:00Z,5\n", `p.csv:2: customer: 7.5 is not a whole number`},
		{"bad number", "p.csv", header + "a,7,2026-03-01T10:30:00Z,NaN\n", `p.csv:2: amount: NaN is not a finite number`},
		{"no entity value", "p.csv", header + ",7,2026-03-01T10:30:00Z,5\n", `p.csv:2: bad_entity: shop is missing or empty`},
		{"bad JSON", "p.json", "{\"as_of\":\n", `p.json:1: unexpected EOF`},
		{"no object", "p.json", "\n[]\n", `p.json:2: is not a JSON object`},
		{"more", "p.json", "{} {}\n", `p.json:1: there is more behind the JSON object`},
		{"new column", "p.json", `{"shop":"a","customer":7,"as_of":"2026-03-01T10:30:00Z","amount":5}` + "\n" + `{"lable":1}`, `p.json:2: the first line has no "lable"`},
		{"time as number", "p.json", `{"shop":"a","customer":7,"as_of":1,"amount":5}`, `p.json:1: as_of: 1 is not a string`},
		{"number as text", "p.json", `{"shop":"a","customer":"7","as_of":"2026-03-01T10:30:00Z","amount":5}`, `p.json:1: customer: "7" is not a whole number`},
		{"extension", "p.xlsx", header, `p.xlsx: cannot tell its format from ".xlsx"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := save(t, map[string]string{"e.json": ordersJSON, c.file: c.text})
			f := Files{Events: filepath.Join(dir, "e.json"), Probes: filepath.Join(dir, c.file), Out: filepath.Join(dir, "out.csv")}
			checkFails(t, f, c.want)
		})
	}
	probes := header + row
	for _, c := range []struct{ name, events, text, out, want string }{
		{"no file", "", "", "out.csv", "no such file"},
		{"header", "e.csv", "shop,at,amount\n", "out.csv", `e.csv: codec: the header in line 1 has no column "customer"`},
		{"parquet", "e.parquet", "PAR1", "out.csv", `e.parquet: cannot tell its format from ".parquet"`},
		{"output", "e.json", ordersJSON, "out.parquet", `out.parquet: cannot tell its format`},
		{"no folder", "e.json", ordersJSON, filepath.Join("none", "out.csv"), "no such file"},
		{"no arrival", "e.json", strings.ReplaceAll(ordersJSON, "_arrival", "arrived"), "out.csv", `e.json:1: known_by asks when events arrived`},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := map[string]string{"p.csv": probes}
			if c.events != "" {
				files[c.events] = c.text
			}
			dir := save(t, files)
			f := Files{Events: filepath.Join(dir, c.events), Probes: filepath.Join(dir, "p.csv"), Out: filepath.Join(dir, c.out), KnownByArrival: c.name == "no arrival"}
			if c.events == "" {
				f.Events = filepath.Join(dir, "e.json")
			}
			checkFails(t, f, c.want)
		})
	}
	t.Run("lake of another order", func(t *testing.T) {
		dir := save(t, map[string]string{"p.csv": probes})
		checkFails(t, Files{Events: dir, Probes: filepath.Join(dir, "p.csv"), Out: filepath.Join(dir, "out.csv")},
			`view "spend" is applied from a topic re-keyed by shop, customer`)
	})
}

func TestFolderWithoutEvents(t *testing.T) {
	plan := compile(t, featurestest.New(1))
	dir := save(t, map[string]string{"p.csv": "key,as_of\nk,2026-03-01T10:30:00Z\n"})
	_, err := BuildFiles(t.Context(), plan, Files{Events: dir, Probes: filepath.Join(dir, "p.csv"), Out: filepath.Join(dir, "out.csv")}, Options{})
	if err == nil || !strings.Contains(err.Error(), `is not a lake with events of source "source"`) {
		t.Errorf("a folder that is no lake: %v", err)
	}
}

// checkFails builds, and wants an error and no output.
func checkFails(t *testing.T, f Files, want string) {
	t.Helper()
	_, err := BuildFiles(t.Context(), ordersPlan(t), f, Options{})
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
	for _, path := range []string{f.Out, f.Out + ".partial"} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is there: %v", path, err)
		}
	}
}

// TestLake sends a world through a topic into the lake. The set from there
// equals the one from a file of the same events, byte for byte.
func TestLake(t *testing.T) {
	w := featurestest.Large(1, 3000, 25)
	w.Source.Partitions, w.Source.Format = 3, "json"
	plan := compile(t, w)
	dir := t.TempDir()
	root := archive(t, plan, w.Events)
	events := filepath.Join(dir, "events.jsonl")
	var text []byte
	fields := append(slices.Clone(plan.Fields()), features.Field{Name: arrivalField, Kind: expr.Time})
	for _, e := range w.Events {
		text = append(codec.AppendJSON(text, fields, append(slices.Clone(e.Values), expr.TimeValue(e.Arrival))), '\n')
	}
	probes := []byte("key,as_of,known_by\n")
	for _, p := range randomProbes(w, rand.New(rand.NewPCG(1, 8)), 500) {
		probes = fmt.Appendf(probes, "%s,%s,", p.Entity, time.UnixMicro(p.AsOf).UTC().Format(time.RFC3339Nano))
		if p.KnownBy != features.AnyArrival {
			probes = append(probes, time.UnixMicro(p.KnownBy).UTC().Format(time.RFC3339Nano)...)
		}
		probes = append(probes, '\n')
	}
	for name, b := range map[string][]byte{"events.jsonl": text, "probes.csv": probes} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var sets, counts []string
	for i, from := range []string{root, events} {
		out := filepath.Join(dir, fmt.Sprint(i, ".csv"))
		c, err := BuildFiles(t.Context(), plan, Files{Events: from, Probes: filepath.Join(dir, "probes.csv"), Out: out}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		sets, counts = append(sets, readFile(t, out)), append(counts, fmt.Sprint(c))
	}
	if sets[0] != sets[1] || counts[0] != counts[1] {
		t.Errorf("from the lake %s\n%.2000s\nfrom a file %s\n%.2000s", counts[0], sets[0], counts[1], sets[1])
	}
	if n := strings.Count(sets[0], "\n"); n != 502 {
		t.Errorf("%d lines", n)
	}
}

// archive sends events to a topic and returns a lake that has them all.
func archive(t *testing.T, plan *features.Plan, events []features.Event) (root string) {
	t.Helper()
	b, err := broker.Start(broker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	cluster, err := streams.Connect(streams.Options{Addresses: []string{b.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	src := plan.Source
	if err := cluster.Ensure(t.Context(), src.Topic, src.Partitions, map[string]string{"retention.ms": "-1"}); err != nil {
		t.Fatal(err)
	}
	producer := streams.NewProducer(cluster)
	defer producer.Close()
	var records []streams.Record
	for _, e := range events {
		key, err := plan.AppendEntity(nil, e.Values)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, streams.Record{Key: key, Value: codec.AppendJSON(nil, plan.Fields(), e.Values), Time: e.Arrival, Partition: -1})
	}
	positions, err := producer.Produce(t.Context(), src.Topic, records)
	if err != nil {
		t.Fatal(err)
	}
	ends := map[int]int64{}
	for _, p := range positions {
		ends[p.Partition] = max(ends[p.Partition], p.Offset+1)
	}
	root = t.TempDir()
	a, err := lake.NewArchiver(root, cluster, src, lake.Options{Age: time.Millisecond, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	for !hasAll(t, root, src.Name, ends) && ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !hasAll(t, root, src.Name, ends) {
		t.Fatalf("after a minute the lake does not have all: %v", a.Err())
	}
	return root
}

// hasAll reports whether the lake ends where each partition does.
func hasAll(t *testing.T, root, source string, ends map[int]int64) bool {
	t.Helper()
	for partition, end := range ends {
		next, err := lake.Tail(root, source, partition)
		if err != nil {
			t.Fatal(err)
		}
		if next != end {
			return false
		}
	}
	return true
}
