package lake

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
)

var upExamples = Examples{
	Project: "test", Model: "up", Entity: []string{"symbol", "id"}, Set: "set",
	Inputs: []features.Field{
		{Name: "daily.mean", Kind: expr.Float}, {Name: "daily.days", Kind: expr.Int}, {Name: "daily.name", Kind: expr.String},
		{Name: "daily.open", Kind: expr.Bool}, {Name: "daily.at", Kind: expr.Time},
	},
}

// example makes the record with a number; half of them are of another model.
func example(seq int64) feedback.Example {
	r := rand.New(rand.NewPCG(uint64(seq), 3))
	e := feedback.Example{Kind: feedback.Labelled, Seq: seq, Known: 9e14 + seq, Label: float64(r.IntN(2)), Outcome: fmt.Sprint("o", seq), Happened: 8e14 + seq, Correction: r.IntN(2) == 0}
	e.Prediction = feedback.Prediction{
		ID: fmt.Sprint("p", seq), Model: []string{"up", "down"}[r.IntN(2)], Key: "k", Time: 7e14 + seq, Set: "set",
		Entity: []features.Named{{Name: "symbol", Expr: fmt.Sprint("S", seq%9)}, {Name: "id", Expr: "7"}},
		Score:  feedback.Score{Version: 3, Bundle: "b", Value: r.Float64()},
		Vector: []features.Value{expr.FloatValue(r.NormFloat64()), expr.IntValue(r.Int64()), expr.StringValue("n"), expr.BoolValue(true), expr.TimeValue(seq)},
	}
	switch r.IntN(8) {
	case 0:
		e = feedback.Example{Kind: feedback.Passed, Seq: seq, Known: e.Known}
	case 1:
		e.Kind, e.Why, e.Label, e.Outcome, e.Happened, e.Correction = feedback.Unanswered, feedback.WhyLate, 0, "", 0, false
	case 2:
		e.Prediction.Shadow = &feedback.Score{Version: 4, Bundle: "c", Value: 0.25}
	case 3:
		e.Prediction.Set = "another"
	case 4:
		e.Prediction.Vector = []features.Value{expr.IntValue(5), {}, {}, {}, {}}
	}
	return e
}

// wantRow is what the table has of an example, column by column.
func wantRow(e feedback.Example) []features.Value {
	p, missing := e.Prediction, features.Value{}
	row := []features.Value{
		expr.StringValue(string(e.Kind)), expr.IntValue(e.Seq), expr.StringValue(p.ID), expr.StringValue(p.Set),
		expr.IntValue(int64(p.Score.Version)), expr.FloatValue(p.Score.Value), missing, missing,
		expr.TimeValue(p.Time), expr.TimeValue(e.Happened), expr.TimeValue(e.Known), expr.FloatValue(e.Label), expr.BoolValue(e.Correction), missing,
		expr.StringValue(p.Model), expr.StringValue(p.Entity[0].Expr), expr.StringValue("7"),
	}
	if p.Shadow != nil {
		row[6], row[7] = expr.IntValue(int64(p.Shadow.Version)), expr.FloatValue(p.Shadow.Value)
	}
	if e.Kind == feedback.Unanswered {
		row[9], row[11], row[13] = missing, missing, expr.StringValue(e.Why)
	}
	switch {
	case p.Set == "another":
		return append(row, missing, missing, missing, missing, missing)
	case p.Vector[0].Kind == expr.Int:
		return append(row, expr.FloatValue(5), missing, missing, missing, missing)
	}
	return append(row, p.Vector...)
}

// TestExamples archives examples that are written with repeats, by archivers
// that take turns: each row of the model is there once, with all its columns.
func TestExamples(t *testing.T) {
	const numbers = 900
	w := newWorld(t)
	topic := feedback.ExamplesTopic("test")
	if err := w.cluster.Ensure(t.Context(), topic, 2, nil); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(8, 8))
	var written, ends [2]int64
	for slices.Min(written[:]) < numbers {
		a, err := NewExamples(w.root, w.cluster, upExamples, Options{Rows: 100, Age: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		stop := start(t, a)
		for p := range written {
			var records []streams.Record
			from := max(1, written[p]+1-random.Int64N(100))
			to := min(written[p]+random.Int64N(400), numbers)
			for seq := from; seq <= to; seq++ {
				e := example(seq)
				records = append(records, streams.Record{Partition: p, Value: e.AppendJSON(nil)})
			}
			if _, err := w.producer.Produce(t.Context(), topic, records); err != nil {
				t.Fatal(err)
			}
			ends[p] += int64(len(records))
			written[p] = max(written[p], to)
		}
		stop()
	}
	a, err := NewExamples(w.root, w.cluster, upExamples, Options{Age: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	stop := start(t, a)
	await(t, "all archived", func() bool { return countExamples(t, w.root) >= 2*mine(numbers) })
	stop()
	checkExamples(t, w.root, numbers)
	checkLast(t, w.root)
	if ends[0]+ends[1] < 2*numbers+100 {
		t.Errorf("%v records of %d: too few repeats", ends, numbers)
	}
}

// mine is how many of the first examples are rows of the model.
func mine(numbers int64) (n int) {
	for seq := int64(1); seq <= numbers; seq++ {
		if e := example(seq); e.Kind != feedback.Passed && e.Prediction.Model == "up" {
			n++
		}
	}
	return n
}

func countExamples(t *testing.T, root string) (n int) {
	t.Helper()
	for _, err := range upExamples.Read(t.Context(), root) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

func checkExamples(t *testing.T, root string, numbers int64) {
	t.Helper()
	seq := [2]int64{}
	for row, err := range upExamples.Read(t.Context(), root) {
		if err != nil {
			t.Fatal(err)
		}
		next := &seq[row.Partition]
		*next++
		for example(*next).Kind == feedback.Passed || example(*next).Prediction.Model != "up" {
			*next++
		}
		want := wantRow(example(*next))
		if len(row.Event.Values) != len(want) || row.Event.Time != 7e14+*next {
			t.Fatalf("partition %d, number %d: %+v, want %+v", row.Partition, *next, row.Event, want)
		}
		for i, v := range row.Event.Values {
			if v != want[i] {
				t.Fatalf("partition %d, number %d, column %s: %+v, want %+v", row.Partition, *next, upExamples.Fields()[i].Name, v, want[i])
			}
		}
	}
	if n := countExamples(t, root); n != 2*mine(numbers) {
		t.Errorf("%d rows, want %d", n, 2*mine(numbers))
	}
}

// checkLast holds the last rows against the ends of all.
func checkLast(t *testing.T, root string) {
	t.Helper()
	offsets := func(rows iter.Seq2[Row, error]) (found [2][]int64) {
		for row, err := range rows {
			if err != nil {
				t.Fatal(err)
			}
			found[row.Partition] = append(found[row.Partition], row.Offset)
		}
		return found
	}
	all, less := offsets(upExamples.Read(t.Context(), root)), 0
	for _, n := range []int{0, 1, 100, 250, 1 << 20} {
		for p, last := range offsets(upExamples.ReadLast(t.Context(), root, int64(n))) {
			end := all[p][max(0, len(all[p])-len(last)):]
			if !slices.Equal(last, end) || len(last) < min(n, len(all[p])) || n == 0 && len(last) > 0 {
				t.Errorf("the last %d of partition %d: %d rows from %d on, want the last of %d", n, p, len(last), append(last, -1)[0], len(all[p]))
			}
			if n > 0 && len(last) < len(all[p]) {
				less++
			}
		}
	}
	if less == 0 {
		t.Error("nothing was left out")
	}
}

// TestExampleColumns names the columns, and gives those of an entity that would
// be there twice another name.
func TestExampleColumns(t *testing.T) {
	var names []string
	for _, f := range upExamples.Fields() {
		names = append(names, f.Name)
	}
	want := []string{"kind", "seq", "id", "set", "version", "score", "shadow_version", "shadow_score", "time", "outcome_time", "known", "label", "correction", "why",
		"model", "symbol", "entity.id", "daily.mean", "daily.days", "daily.name", "daily.open", "daily.at"}
	if !slices.Equal(names, want) {
		t.Errorf("columns %v, want %v", names, want)
	}
	if v := asColumn(expr.FloatValue(math.NaN()), expr.Float); v.Kind != expr.Missing {
		t.Errorf("NaN is %+v", v)
	}
}

// TestOtherTablesMakeNoFiles follows a topic that has nothing of the model: no
// file is written, until the lake would fall behind the topic.
func TestOtherTablesMakeNoFiles(t *testing.T) {
	f := &follower{a: &Archiver{options: Options{}.orDefaults()}, bytes: 1}
	var err error
	if f.decode, err = upExamples.decoder(); err != nil {
		t.Fatal(err)
	}
	if f.t, err = newTable(upExamples.source()); err != nil {
		t.Fatal(err)
	}
	e := feedback.Example{Kind: feedback.Passed, Seq: 4, Known: 1}
	f.add(&streams.Record{Offset: 10, Value: e.AppendJSON(nil)})
	if f.aged() || f.full() || f.h.Next != 11 || f.h.Seq != 4 || f.h.Undecodable != 0 {
		t.Errorf("%+v", f.h)
	}
	f.passed = f.passed.Add(-idleAge)
	if !f.aged() {
		t.Error("the lake falls behind")
	}
}
