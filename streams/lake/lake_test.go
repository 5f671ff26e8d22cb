package lake

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/apache/arrow/go/v15/parquet/file"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

var everything = features.Source{Name: "all", Topic: "all", Format: "json", EventTime: "t", Fields: []features.Field{
	{Name: "s", Kind: expr.String}, {Name: "i", Kind: expr.Int}, {Name: "f", Kind: expr.Float},
	{Name: "b", Kind: expr.Bool}, {Name: "t", Kind: expr.Time}, {Name: "u", Kind: expr.Time, Unit: features.EpochMillis},
}}

func newTestTable(t testing.TB, src features.Source) *table {
	t.Helper()
	tab, err := newTable(src)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// randomEvent is a function of its place, so that any writer makes the same one.
func randomEvent(src features.Source, partition int, offset int64) features.Event {
	r := rand.New(rand.NewPCG(uint64(partition), uint64(offset)))
	ev := features.Event{Order: features.OrderOf(partition, offset), Arrival: r.Int64() >> 10}
	for _, f := range src.EventFields() {
		v := features.Value{}
		switch missing := r.IntN(4) == 0 && f.Name != src.EventTime; {
		case missing:
		case f.Kind == expr.String:
			v = expr.StringValue(strings.Repeat("é", r.IntN(3)) + fmt.Sprint(r.IntN(5000)))
		case f.Kind == expr.Int:
			v = expr.IntValue(int64(r.Uint64()))
		case f.Kind == expr.Float:
			v = expr.FloatValue(r.NormFloat64())
		case f.Kind == expr.Bool:
			v = expr.BoolValue(r.IntN(2) == 0)
		default:
			v = expr.TimeValue(-62135596800000000 + r.Int64N(315537897600000000))
		}
		if f.Name == src.EventTime {
			ev.Time = v.Int()
		}
		ev.Values = append(ev.Values, v)
	}
	return ev
}

// write publishes a range in which only the offsets that keep takes are events.
func write(root string, src features.Source, t *table, r Range, keep func(int64) bool) error {
	t.reset()
	for o := r.First; o < r.Next; o++ {
		if keep(o) {
			ev := randomEvent(src, r.Partition, o)
			t.append(&ev, r.Partition, o)
		}
	}
	return publish(eventsOf(root, src.Name), Header{Range: r, Cluster: "c", Topic: src.Topic, EventTime: src.EventTime}, t)
}

func every(int64) bool { return true }

func mustWrite(t testing.TB, root string, src features.Source, r Range) {
	t.Helper()
	if err := write(root, src, newTestTable(t, src), r, every); err != nil {
		t.Fatal(err)
	}
}

func readAll(t testing.TB, root string, src features.Source) ([]Row, error) {
	t.Helper()
	var rows []Row
	for r, err := range Events(t.Context(), root, src) {
		if err != nil {
			return rows, err
		}
		r.Event.Values = slices.Clone(r.Event.Values)
		rows = append(rows, r)
	}
	return rows, nil
}

func sameEvent(a, b features.Event) bool {
	return a.Time == b.Time && a.Arrival == b.Arrival && a.Order == b.Order && slices.Equal(a.Values, b.Values)
}

func TestEventsReturnWhatWasWritten(t *testing.T) {
	root, tab := t.TempDir(), newTestTable(t, everything)
	odd := func(o int64) bool { return o%2 == 1 }
	ranges := []struct {
		Range
		keep func(int64) bool
	}{
		{Range{1, 0, 10}, every}, {Range{0, 0, 9000}, every}, {Range{0, 9000, 9001}, every}, {Range{0, 9001, 12000}, odd},
		{Range{0, 12000, 12005}, func(int64) bool { return false }}, {Range{0, 12005, 12006}, every},
	}
	var want []Row
	for _, r := range ranges {
		if err := write(root, everything, tab, r.Range, r.keep); err != nil {
			t.Fatal(err)
		}
		for o := r.First; o < r.Next; o++ {
			if r.keep(o) {
				want = append(want, Row{r.Partition, o, randomEvent(everything, r.Partition, o)})
			}
		}
	}
	want = append(want[10:], want[:10]...) // partition 0 first
	got, err := readAll(t, root, everything)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d rows, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Partition != want[i].Partition || got[i].Offset != want[i].Offset || !sameEvent(got[i].Event, want[i].Event) {
			t.Fatalf("row %d:\n got %+v\nwant %+v", i, got[i], want[i])
		}
	}
	for p, want := range []int64{12006, 10, 0} {
		if next, err := Tail(root, "all", p); next != want || err != nil {
			t.Errorf("partition %d ends at %d, %v; want %d", p, next, err, want)
		}
	}
}

func TestNothingYet(t *testing.T) {
	root := filepath.Join(t.TempDir(), "not", "there")
	if rows, err := readAll(t, root, everything); len(rows) != 0 || err != nil {
		t.Errorf("%v, %v", rows, err)
	}
	if next, err := Tail(root, "all", 0); next != 0 || err != nil {
		t.Errorf("%v, %v", next, err)
	}
}

func TestNaNIsMissingUnlessTheSourceAllowsIt(t *testing.T) {
	for _, allow := range []bool{false, true} {
		src := everything
		src.AllowNonfinite = allow
		root, tab := t.TempDir(), newTestTable(t, src)
		floats := []features.Value{{}, expr.FloatValue(math.NaN()), expr.FloatValue(math.Inf(-1)), expr.FloatValue(math.Copysign(0, -1))}
		for i, v := range floats {
			ev := randomEvent(src, 0, int64(i))
			ev.Values[2] = v
			tab.append(&ev, 0, int64(i))
		}
		if err := publish(eventsOf(root, src.Name), Header{Range: Range{0, 0, 4}, EventTime: "t"}, tab); err != nil {
			t.Fatal(err)
		}
		rows, err := readAll(t, root, src)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range floats {
			if i == 1 && !allow {
				want = features.Value{}
			}
			if rows[i].Event.Values[2] != want {
				t.Errorf("allowed %v: got %v, want %v", allow, rows[i].Event.Values[2], want)
			}
		}
	}
}

func TestFilesHaveTheStatedLayout(t *testing.T) {
	root := t.TempDir()
	mustWrite(t, root, everything, Range{3, 0, 2000})
	f, err := file.OpenParquetFile(filepath.Join(root, "events_all", "00003-00000000000000000000.parquet"), false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names []string
	group := f.MetaData().RowGroup(0)
	for i := range f.MetaData().Schema.NumColumns() {
		c := f.MetaData().Schema.Column(i)
		names = append(names, c.Name())
		chunk, err := group.ColumnChunk(i)
		if err != nil {
			t.Fatal(err)
		}
		if c.MaxDefinitionLevel() != 0 || chunk.Compression() != compress.Codecs.Zstd {
			t.Errorf("%s: definition level %d, %s", c.Name(), c.MaxDefinitionLevel(), chunk.Compression())
		}
		for _, e := range chunk.Encodings() {
			if e == parquet.Encodings.DeltaBinaryPacked {
				t.Errorf("%s: %s", c.Name(), e)
			}
		}
	}
	if got, want := strings.Join(names, " "), "s s_valid i i_valid f b b_valid t u u_valid _partition _offset _event_time _arrival _event_day"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEventDay(t *testing.T) {
	for us, want := range map[int64]int32{0: 0, -1: -1, 86400e6 - 1: 0, 86400e6: 1, -86400e6: -1, -62135596800000000: -719162} {
		if got := dayOf(us); got != want {
			t.Errorf("%d: day %d, want %d", us, got, want)
		}
	}
}

func TestRangesMustJoin(t *testing.T) {
	for _, c := range []struct {
		name   string
		ranges []Range
		want   string // with the file's name for $
	}{
		{"gap", []Range{{0, 0, 5}, {0, 6, 9}}, "offsets 5 to 5 are missing between $0 and $6"},
		{"overlap", []Range{{0, 0, 5}, {0, 3, 9}}, "offsets 3 to 4 are in both $0 and $3"},
		{"beginning", []Range{{0, 3, 9}}, "$3: the files before offset 3 are not there"},
		{"another partition", []Range{{0, 0, 5}, {1, 5, 6}}, "00001-00000000000000000005.parquet: the files before offset 5"},
	} {
		root := t.TempDir()
		for _, r := range c.ranges {
			mustWrite(t, root, everything, r)
		}
		_, err := readAll(t, root, everything)
		want := c.want
		for _, r := range c.ranges {
			want = strings.ReplaceAll(want, fmt.Sprint("$", r.First), filepath.Join(Folder(root, "all"), fileName(r.Partition, r.First)))
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v\nwant %s", c.name, err, want)
		}
	}
}

func TestSchemaChanges(t *testing.T) {
	root := t.TempDir()
	mustWrite(t, root, everything, Range{0, 0, 3})
	path := filepath.Join(Folder(root, "all"), fileName(0, 0))

	more := everything
	more.Fields = append(slices.Clone(more.Fields), features.Field{Name: "s2", Kind: expr.String}, features.Field{Name: "f2", Kind: expr.Float})
	more.AllowNonfinite = true // adds f_valid, which the old file does not have
	mustWrite(t, root, more, Range{0, 3, 5})
	rows, err := readAll(t, root, more)
	if err != nil || len(rows) != 5 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, r := range rows {
		want := randomEvent(more, 0, r.Offset)
		if r.Offset < 3 {
			want = randomEvent(everything, 0, r.Offset)
			want.Values = append(want.Values, features.Value{}, features.Value{})
		}
		if !sameEvent(r.Event, want) {
			t.Errorf("got %+v\nwant %+v", r.Event, want)
		}
	}
	if rows, err := readAll(t, root, everything); err != nil || len(rows) != 5 {
		t.Errorf("fewer fields: %d rows, %v", len(rows), err)
	}

	for want, change := range map[string]func(*features.Source){
		`column "i" is INT64, the source wants DOUBLE`:                     func(s *features.Source) { s.Fields[1].Kind = expr.Float },
		`column "u" is INT64 Timestamp`:                                    func(s *features.Source) { s.Fields[5].Kind = expr.Int },
		`its event_time is "t", that of source "all" is "u"`:               func(s *features.Source) { s.EventTime = "u" },
		`source "all": two columns would be named "i_valid"`:               func(s *features.Source) { s.Fields[0].Name = "i_valid" },
		`source "all": two columns would be named "_offset"; rename`:       func(s *features.Source) { s.Fields[0].Name = "_offset" },
		`column "s" is BYTE_ARRAY String, the source wants INT64`:          func(s *features.Source) { s.Fields[0].Kind = expr.Int },
		`column "b" is BOOLEAN, the source wants BYTE_ARRAY String`:        func(s *features.Source) { s.Fields[3].Kind = expr.String },
		`column "f" is DOUBLE, the source wants INT64 Timestamp(isAdjuste`: func(s *features.Source) { s.Fields[2].Kind = expr.Time },
	} {
		src := everything
		src.Fields = slices.Clone(src.Fields)
		change(&src)
		_, err := readAll(t, root, src)
		named := strings.HasPrefix(want, "source") || err != nil && strings.Contains(err.Error(), path)
		if err == nil || !named || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

// Two writers that know nothing of each other archive the same partition, each
// cutting it elsewhere.
func TestTwoWritersNeitherLoseNorDouble(t *testing.T) {
	const end = 500
	root := t.TempDir()
	var running sync.WaitGroup
	taken := make([]int, 4)
	for w := range taken {
		tab := newTestTable(t, everything)
		running.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 7))
			for {
				next, err := Tail(root, "all", 0)
				if err != nil {
					t.Error(err)
					return
				}
				if next == end {
					return
				}
				err = write(root, everything, tab, Range{0, next, min(end, next+1+r.Int64N(60))}, every)
				if errors.Is(err, ErrTaken) {
					taken[w]++
				} else if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	checkWhole(t, root, end)
	if slices.Max(taken) == 0 {
		t.Error("no writer ever met another; the test shows nothing")
	}
}

// checkWhole says that the lake has each offset of partition 0 once, and nothing else is left.
func checkWhole(t *testing.T, root string, end int64) {
	t.Helper()
	rows, err := readAll(t, root, everything)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(rows)) != end {
		t.Fatalf("%d rows, want %d", len(rows), end)
	}
	for i, r := range rows {
		if r.Offset != int64(i) || !sameEvent(r.Event, randomEvent(everything, 0, r.Offset)) {
			t.Fatalf("row %d: %+v", i, r)
		}
	}
}

func temps(t *testing.T, root string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(Folder(root, "all"), tempPrefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// A writer that dies between two of the steps of publish.
func TestCrashBetweenSteps(t *testing.T) {
	root, tab := t.TempDir(), newTestTable(t, everything)
	mustWrite(t, root, everything, Range{0, 0, 10})
	ev := randomEvent(everything, 0, 10)
	tab.append(&ev, 0, 10)
	temp, err := prepare(eventsOf(root, "all"), Header{Range: Range{0, 10, 11}, EventTime: "t"}, tab)
	if err != nil {
		t.Fatal(err)
	}
	checkWhole(t, root, 10) // written, not yet named: not part of the lake
	if next, err := Tail(root, "all", 0); next != 10 || err != nil {
		t.Fatal(next, err)
	}
	if err := os.Link(temp, filepath.Join(Folder(root, "all"), fileName(0, 10))); err != nil {
		t.Fatal(err)
	}
	checkWhole(t, root, 11) // named, its other name still there
	mustWrite(t, root, everything, Range{0, 11, 15})
	if err := write(root, everything, tab, Range{0, 10, 20}, every); !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), fileName(0, 10)) {
		t.Errorf("a name was given twice: %v", err)
	}
	checkWhole(t, root, 15)

	if err := sweep(eventsOf(root, "all")); err != nil || len(temps(t, root)) != 1 {
		t.Errorf("a young file was swept: %v", err)
	}
	old := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(temp, old, old); err != nil {
		t.Fatal(err)
	}
	if err := sweep(eventsOf(root, "all")); err != nil || len(temps(t, root)) != 0 {
		t.Errorf("what a dead writer left is still there: %v", err)
	}
	checkWhole(t, root, 15)
}

// full is a disk with room for n bytes.
type full struct{ n int }

func (f *full) Write(p []byte) (int, error) {
	if f.n -= len(p); f.n < 0 {
		return 0, errors.New("no space left on device")
	}
	return len(p), nil
}

func TestAFullDiskIsAnErrorWhereverItEnds(t *testing.T) {
	tab := newTestTable(t, everything)
	for o := range int64(3000) {
		ev := randomEvent(everything, 0, o)
		tab.append(&ev, 0, o)
	}
	var whole bytes.Buffer
	if err := encode(&whole, Header{Range: Range{0, 0, 3000}}, tab); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < whole.Len(); n += 2999 {
		if err := encode(&full{n}, Header{Range: Range{0, 0, 3000}}, tab); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Fatalf("room for %d bytes of %d: %v", n, whole.Len(), err)
		}
	}
}

// Whatever happens to a file's bytes, reading ends with an error or with rows.
func TestBrokenFilesAreErrors(t *testing.T) {
	root := t.TempDir()
	mustWrite(t, root, everything, Range{0, 0, 200})
	path := filepath.Join(Folder(root, "all"), fileName(0, 0))
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(5, 6))
	failed := 0
	for range 500 {
		bad := slices.Clone(good)
		if r.IntN(4) == 0 {
			bad = bad[:r.IntN(len(bad))]
		} else {
			for range 1 + r.IntN(3) {
				bad[r.IntN(len(bad))] ^= byte(1 << r.IntN(8))
			}
		}
		if err := os.WriteFile(path, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := readAll(t, root, everything); err != nil {
			failed++
			if !strings.Contains(err.Error(), path) {
				t.Fatalf("%v does not name the file", err)
			}
		}
	}
	if failed < 200 {
		t.Errorf("only %d of 500 broken files were noticed", failed)
	}
}

func BenchmarkWrite(b *testing.B) {
	root, tab := b.TempDir(), newTestTable(b, everything)
	for o := range int64(100_000) {
		ev := randomEvent(everything, 0, o)
		tab.append(&ev, 0, o)
	}
	for i := 0; b.Loop(); i++ {
		if err := publish(eventsOf(root, "all"), Header{Range: Range{0, int64(i), int64(i) + 1}, EventTime: "t"}, tab); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/row")
}

func BenchmarkRead(b *testing.B) {
	root := b.TempDir()
	mustWrite(b, root, everything, Range{0, 0, 100_000})
	for b.Loop() {
		n := 0
		for _, err := range Events(b.Context(), root, everything) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != 100_000 {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/row")
}
