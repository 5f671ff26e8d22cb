package pipeline_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/featurestest"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/codec"
	"github.com/millrace/millrace/streams/pipeline"
)

// compile makes a plan for a large world and the records of its events.
func compile(t *testing.T, w *featurestest.World, partitions int) (*features.Plan, []streams.Record) {
	t.Helper()
	w.Source.Partitions = partitions
	p, err := features.Compile(w.Clock, w.Source, w.View)
	if err != nil {
		t.Fatal(err)
	}
	records := make([]streams.Record, len(w.Events))
	for i, e := range w.Events {
		records[i] = streams.Record{
			Key: []byte(e.Values[featurestest.Key].Str), Value: codec.AppendJSON(nil, p.Fields(), e.Values), Time: e.Arrival, Partition: -1,
		}
	}
	return p, records
}

// prices is a plan whose source takes no numbers that are not finite.
func prices(t *testing.T, view features.View) *features.Plan {
	t.Helper()
	source := features.Source{
		Name: "prices", KeyedBy: []string{"symbol"}, EventTime: "time", Partitions: 1,
		Fields: []features.Field{{Name: "symbol", Kind: expr.String}, {Name: "time", Kind: expr.Time}, {Name: "price", Kind: expr.Float}, {Name: "volume", Kind: expr.Int}},
	}
	view.Name, view.Source, view.Entity = "view", "prices", []string{"symbol"}
	p, err := features.Compile(features.WallClock, source, view)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func count(window features.Window) []features.Feature {
	return []features.Feature{{Name: "n", Agg: "count", Of: "*", Window: window}}
}

var start = time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)

// price is a record of symbol A that arrives when it happens.
func price(after time.Duration, rest string) streams.Record {
	at := start.Add(after)
	return streams.Record{Key: []byte("A"), Time: at.UnixMicro(), Partition: -1,
		Value: []byte(`{"symbol":"A","time":"` + at.Format(time.RFC3339Nano) + `",` + rest + `}`)}
}

// TestBadInput writes every kind of bad record between good ones: each becomes
// one dead letter with its reason and its bytes, and nothing stops.
func TestBadInput(t *testing.T) {
	r := newRig(t)
	p := prices(t, features.View{Features: count(features.Window{Size: time.Hour, Hop: time.Minute})})
	if err := r.cluster.Ensure(t.Context(), p.Source.Topic, 1, map[string]string{"max.message.bytes": "4194304"}); err != nil {
		t.Fatal(err)
	}
	good := `"price":1.5,"volume":2`
	future := price(0, good)
	future.Value = []byte(strings.Replace(string(future.Value), "2026", "2099", 1))
	text := func(value string) streams.Record {
		return streams.Record{Key: []byte("A"), Time: start.UnixMicro(), Partition: -1, Value: []byte(value)}
	}
	noKey := price(0, good)
	noKey.Value = []byte(strings.Replace(string(noKey.Value), `"A"`, `""`, 1))
	bad := []struct {
		reason string
		record streams.Record
	}{
		{codec.NotFinite, price(0, `"price":"NaN","volume":2`)},
		{codec.NotFinite, price(0, `"price":"Infinity","volume":2`)},
		{codec.NotFinite, price(0, `"price":1e999,"volume":2`)},
		{codec.MissingField, price(0, `"volume":2`)},
		{codec.WrongType, price(0, `"price":"many","volume":2`)},
		{codec.WrongType, price(0, `"price":1.5,"volume":2.5`)},
		{codec.BadTime, text(`{"symbol":"A","time":"yesterday",` + good + `}`)},
		{codec.MissingField, text(`{"symbol":"A","time":null,` + good + `}`)},
		{features.RejectFuture, future},
		{features.RejectEntity, noKey},
		{codec.BadJSON, text("symbol A at 1.5")},
		{codec.BadJSON, text(string(price(0, good).Value) + "{}")},
		{codec.BadJSON, text("")},
		{codec.TooLarge, price(0, good+`,"note":"`+strings.Repeat("x", 2<<20)+`"`)},
		{features.RejectLate, price(-3*time.Hour, good)},
	}
	r.produce(p.Source.Topic, price(0, good))
	for i, b := range bad {
		r.produce(p.Source.Topic, b.record, price(time.Duration(i)*time.Second, good))
	}
	h := r.host(p)
	stop := r.run(h)
	defer stop()
	r.applied(p, p.Source.Topic)
	r.healthy(h)
	letters := r.letters()
	if len(letters) != len(bad) {
		t.Fatalf("%d dead letters, want %d", len(letters), len(bad))
	}
	for i, d := range letters {
		b := bad[i]
		if d.Reason != b.reason || d.Offset != int64(1+2*i) || string(d.Value) != string(b.record.Value) || string(d.Key) != "A" || d.Error == "" || d.Arrival != b.record.Time {
			t.Errorf("dead letter %d: %s at %d (%s), %.60q; want %s at %d, %.60q", i, d.Reason, d.Offset, d.Error, d.Value, b.reason, 1+2*i, b.record.Value)
		}
	}
	if c := r.counts(p); c != (features.Counts{Applied: int64(1 + len(bad)), Dead: int64(len(bad))}) {
		t.Errorf("%+v", c)
	}
}

// TestDroppedEventMovesTime lets where drop an event far ahead: it makes the
// next one late. A dead letter of the same time does not.
func TestDroppedEventMovesTime(t *testing.T) {
	r := newRig(t)
	p := prices(t, features.View{Where: "volume > 0", Features: count(features.Window{Size: time.Hour, Hop: time.Minute})})
	r.ensure(p)
	kept, dropped, dead := `"price":1,"volume":1`, `"price":1,"volume":0`, `"price":true,"volume":0`
	r.produce(p.Source.Topic, price(0, kept), price(24*time.Hour, dead), price(time.Minute, kept), price(12*time.Hour, dropped), price(2*time.Minute, kept))
	stop := r.run(r.host(p))
	defer stop()
	r.applied(p, p.Source.Topic)
	if c := r.counts(p); c != (features.Counts{Applied: 2, Dropped: 1, Dead: 2}) {
		t.Errorf("%+v", c)
	}
	if d := r.letters(); len(d) != 2 || d[0].Offset != 1 || d[1].Offset != 4 || d[1].Reason != features.RejectLate {
		t.Errorf("%+v", d)
	}
	s, err := r.store.State(t.Context(), online.Shard{Space: p.Space(project), Index: 0})
	if err != nil || s.Progress.Newest != start.Add(12*time.Hour).UnixMicro() {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestManyRows has more rows in one fetch than one commit may hold.
func TestManyRows(t *testing.T) {
	r := newRig(t)
	w := featurestest.Large(1, 10, 1)
	p, _ := compile(t, w, 1)
	const rows = 3*online.MaxRows + 10
	records := make([]streams.Record, rows)
	for i := range records {
		e := w.Events[0]
		e.Values[featurestest.Key], e.Values[featurestest.N] = expr.StringValue(fmt.Sprint("key", i)), expr.IntValue(5)
		records[i] = streams.Record{Key: fmt.Append(nil, "key", i), Value: codec.AppendJSON(nil, p.Fields(), e.Values), Time: e.Arrival, Partition: -1}
	}
	r.ensure(p)
	r.produce(p.Source.Topic, records...)
	var commits, next atomic.Int64
	stop := r.run(r.watched(func(_ string, _ int, g online.Progress) { commits.Add(1); next.Store(g.Next) }, p))
	r.applied(p, p.Source.Topic)
	// The rows of a commit can be seen a little before its host hears of it, and
	// one that is stopped in between does not.
	r.eventually("word of the last commit", func() bool { return next.Load() == rows })
	stop()
	if n := commits.Load(); n < 4 {
		t.Errorf("%d commits for %d rows", n, rows)
	}
	r.check(p, records)
	// Each row is changed once more, from the store: the memory is that of another host.
	stop = r.run(r.host(p))
	defer stop()
	r.produce(p.Source.Topic, records...)
	r.applied(p, p.Source.Topic)
	if c := r.counts(p); c.Duplicates != rows {
		t.Errorf("%+v", c)
	}
}

// unfit returns the plan with a decoder that does not fit it: the record is
// decoded to fewer fields than the plan reads, and its code panics.
func unfit(p *features.Plan) *features.Plan {
	broken := *p
	broken.Source.Fields = []features.Field{{Name: "time", Kind: expr.Time}}
	return &broken
}

// lastField is a plan whose entity is its last field.
func lastField(t *testing.T) *features.Plan {
	t.Helper()
	source := features.Source{
		Name: "prices", KeyedBy: []string{"symbol"}, EventTime: "time", Partitions: 1,
		Fields: []features.Field{{Name: "time", Kind: expr.Time}, {Name: "symbol", Kind: expr.String}},
	}
	view := features.View{Name: "view", Source: "prices", Entity: []string{"symbol"}, Features: count(features.Window{Kind: features.Lifetime})}
	p, err := features.Compile(features.WallClock, source, view)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPanics makes records panic: each becomes a dead letter, ten in a row stop
// the shard. Others between them make the count begin anew.
func TestPanics(t *testing.T) {
	for _, c := range []struct {
		name    string
		records string // p: makes the program panic, b: is no JSON
		stops   bool
	}{
		{"nine", "ppppppppp", false},
		{"nine and nine", "pppppppppbppppppppp", false},
		{"ten", "bpppppppppp", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			p := lastField(t)
			r.ensure(p)
			for i, what := range c.records {
				rec := price(time.Duration(i)*time.Second, `"price":1`)
				if what == 'b' {
					rec.Value = []byte("no JSON")
				}
				r.produce(p.Source.Topic, rec)
			}
			h := r.host(unfit(p))
			stop := r.run(h)
			defer stop()
			if c.stops {
				r.says(h, "stopped: 10 records in a row, up to offset 10, made the program panic, the last with: runtime error: index out of range")
				if len(r.letters()) > 0 {
					t.Error("dead letters of a shard that committed nothing")
				}
				return
			}
			r.applied(p, p.Source.Topic)
			r.healthy(h)
			letters := r.letters()
			if len(letters) != len(c.records) || r.counts(p).Dead != int64(len(letters)) {
				t.Fatalf("%d dead letters, want %d", len(letters), len(c.records))
			}
			for i, d := range letters {
				want := map[byte]string{'p': "panic", 'b': codec.BadJSON}[c.records[i]]
				if d.Reason != want || d.Offset != int64(i) {
					t.Errorf("letter %d: %s at %d, want %s", i, d.Reason, d.Offset, want)
				}
			}
		})
	}
}

// TestPanicsOfLanes makes records panic in the re-keyer and in the outcomes stage:
// each becomes a dead letter.
func TestPanicsOfLanes(t *testing.T) {
	r := newRig(t)
	p := lastField(t)
	p.Source.KeyedBy = nil
	p, err := features.Compile(features.WallClock, p.Source, p.View)
	if err != nil {
		t.Fatal(err)
	}
	r.ensure(p)
	r.ensureLoop()
	r.produce(p.Source.Topic, price(0, `"price":1`), price(time.Second, `"price":1`))
	r.produce(clicks.Topic, streams.Record{Value: fmt.Appendf(nil, `{"shown":"x","clicked":true,"time":%d}`, epoch), Partition: 0})
	c := r.loopConfig(features.EventClock)
	c.Plans = []*features.Plan{unfit(p)}
	fewer := clicks
	fewer.Fields = clicks.Fields[2:]
	c.Sources = []features.Source{quotes, fewer}
	h := pipeline.New(c)
	stop := r.run(h)
	defer stop()
	r.healthy(h)
	r.eventually("three dead letters", func() bool { return len(r.letters()) == 3 })
	got := map[string]int{}
	for _, d := range r.letters() {
		got[d.Stage+" "+d.View+" "+d.Reason]++
	}
	if got["rekey "+p.Topic(project)+" panic"] != 2 || got["outcomes click panic"] != 1 {
		t.Errorf("dead letters %v", got)
	}
}

// A brokenStore panics when rows are read.
type brokenStore struct{ online.Store }

func (brokenStore) Read(context.Context, []online.Key) ([]online.Row, []online.State, error) {
	panic("rows")
}

// TestPanicOfNoRecord has a panic that no record causes: the shard stops, and
// none is buried.
func TestPanicOfNoRecord(t *testing.T) {
	r := newRig(t)
	p := prices(t, features.View{Features: count(features.Window{Kind: features.Lifetime})})
	r.ensure(p)
	r.produce(p.Source.Topic, price(0, `"price":1,"volume":1`))
	stop := r.run(r.host(p))
	r.applied(p, p.Source.Topic)
	stop()
	r.produce(p.Source.Topic, price(1, `"price":1,"volume":1`))
	r.store = brokenStore{r.store}
	h := r.host(p)
	stop = r.run(h)
	defer stop()
	r.says(h, "stopped: the program panicked, and not because of one record: rows")
	if n := len(r.letters()); n > 0 {
		t.Errorf("%d dead letters", n)
	}
}
