package feedback

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// A world is a shell around a shard: it keeps the rows and takes the records.
type world struct {
	t        testing.TB
	rules    map[string]Rules
	shard    *Shard
	offset   int64 // of the record that is being taken
	rows     map[string]*Row
	examples []Example
	rejected []string
	halves   bool // ticks are stopped half-way and at their end, and taken again
}

func newWorld(t testing.TB, rules map[string]Rules) *world {
	shard, err := NewShard(rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, rules: rules, shard: shard, rows: map[string]*Row{}}
}

// take takes the next record of the log, as the shell does, and checks what
// holds after each record.
func (w *world) take(rec Record) {
	w.t.Helper()
	if rec.Tick != nil {
		w.tick(rec.Tick.Time)
	} else if rec.Outcome == nil || w.shard.Origin(rec.Outcome) {
		w.fold(rec)
	}
	if stats := w.shard.Stats(); !stats.closed() {
		w.t.Fatalf("after %+v the sums of %+v do not close", rec, stats)
	}
	w.offset++
}

func (w *world) fold(rec Record) {
	w.shard.At(w.offset)
	key := RowKey(rec.Model(), rec.Key())
	row, ok := w.rows[key]
	if !ok {
		row = NewRow()
	}
	before := row.Append(nil)
	changed, rejected := w.shard.Fold(rec, row, w.emit)
	if rejected != nil {
		w.rejected = append(w.rejected, rejected.Reason)
	}
	if !changed && !bytes.Equal(before, row.Append(nil)) {
		w.t.Fatalf("%+v changed the row and said that it did not", rec)
	}
	w.keep(key, row)
}

func (w *world) keep(key string, row *Row) {
	w.rows[key] = row
	if row.Empty() {
		delete(w.rows, key)
	}
}

func (w *world) tick(t int64) {
	w.shard.At(w.offset)
	w.shard.Tick(t)
	t = w.shard.Clock()
	var due []string
	at := map[string]int64{}
	for key, row := range w.rows {
		if at[key] = row.Due(); at[key] <= t {
			due = append(due, key)
		} else if model, _, _ := strings.Cut(key, "/"); w.shard.Expire(row, model, w.emit) {
			w.t.Fatalf("row %s is due at %d and changed at %d", key, at[key], t)
		}
	}
	slices.SortFunc(due, func(a, b string) int { return cmp.Or(cmp.Compare(at[a], at[b]), cmp.Compare(a, b)) })
	for i, key := range due {
		model, _, _ := strings.Cut(key, "/")
		if w.halves && i == len(due)/2 {
			w.restart()
		}
		before := w.rows[key].Append(nil)
		if changed := w.shard.Expire(w.rows[key], model, w.emit); !changed || bytes.Equal(before, w.rows[key].Append(nil)) {
			w.t.Fatalf("row %s is due at %d, and Expire at %d did not change it", key, at[key], t)
		}
		if again := w.rows[key].Due(); again <= t {
			w.t.Fatalf("row %s is due at %d after Expire at %d", key, again, t)
		}
		w.keep(key, w.rows[key])
	}
	if w.halves {
		w.halves = false // as after a stop: the tick is taken again
		w.tick(t)
		w.halves = true
		return
	}
	w.shard.Pass(w.emit)
}

// emit notes an example, and checks its number and when it became known.
func (w *world) emit(e *Example) {
	want := max(w.offset<<20, 1) // of the record's first
	if n := len(w.examples); n > 0 {
		want = max(want, w.examples[n-1].Seq+1)
	}
	if e.Seq != want {
		w.t.Fatalf("example %+v has the number %d, want %d", e, e.Seq, want)
	}
	known := w.shard.Clock()
	if e.Kind != Passed {
		known = max(known, e.Prediction.Time)
	}
	if e.Kind == Labelled {
		known = max(known, e.Happened)
	}
	if e.Known != known {
		w.t.Fatalf("example %+v became known at %d, want %d", e, e.Known, known)
	}
	w.examples = append(w.examples, *e)
}

// restart writes all that is kept, and reads it back, at the same record.
func (w *world) restart() {
	var err error
	if w.shard, err = NewShard(w.rules, w.shard.AppendState(nil)); err != nil {
		w.t.Fatal(err)
	}
	w.shard.At(w.offset)
	for key, row := range w.rows {
		b := row.Append(nil)
		again, err := DecodeRow(b)
		if err != nil {
			w.t.Fatal(err)
		}
		if due, err := RowDue(b); err != nil || due != row.Due() {
			w.t.Fatalf("row %s: due at %d, and its bytes say %d, %v", key, row.Due(), due, err)
		}
		if again.Size() != row.Size() || again.Due() != row.Due() {
			w.t.Fatalf("row %s: size %d and due %d, after a restart %d and %d", key, row.Size(), row.Due(), again.Size(), again.Due())
		}
		w.rows[key] = again
	}
}

// bytes is all that a world keeps and has put out.
func (w *world) bytes() []byte {
	b := w.shard.AppendState(nil)
	for _, key := range slices.Sorted(maps.Keys(w.rows)) {
		b = append(w.rows[key].Append(append(b, key...)), '\n')
	}
	for i := range w.examples {
		b = append(w.examples[i].AppendJSON(b), '\n')
	}
	return fmt.Append(b, w.rejected)
}

// The models of generated logs. One unit of their time is a microsecond, so
// that times are often equal and often at an edge.
var generatedRules = map[string]Rules{
	"by_id":  {ByPrediction, 20 * time.Microsecond, 4 * time.Microsecond},
	"next":   {NextEvent, 12 * time.Microsecond, 3 * time.Microsecond},
	"next_2": {NextEvent, 30 * time.Microsecond, 0},
	"at":     {At, 10 * time.Microsecond, 5 * time.Microsecond},
}

// generate makes a log in which each thing happens that can: early, late,
// invalid, corrected, repeated and unknown, some of it long after its time.
// A prediction's score is its place in the log.
func generate(rng *rand.Rand, n int) []Record {
	models := append(slices.Sorted(maps.Keys(generatedRules)), "unheard_of")
	var log []Record
	tick := int64(1000)
	for len(log) < n {
		now := tick + rng.Int64N(12)
		if rng.IntN(12) == 0 {
			now -= rng.Int64N(80)
		}
		model, key := models[rng.IntN(len(models))], fmt.Sprint("k", rng.IntN(3))
		id := fmt.Sprint("p", rng.IntN(8))
		if model == "by_id" {
			key = id
		}
		switch kind := rng.IntN(10); {
		case kind == 0:
			tick += rng.Int64N(9)
			log = append(log, Record{Tick: &Tick{tick - rng.Int64N(3)}})
		case kind < 5:
			p := samplePrediction(id, model, key, now)
			p.Score.Value = float64(len(log))
			log = append(log, Record{Prediction: p})
		default:
			o := &Outcome{ID: fmt.Sprint("o", rng.IntN(40)), Model: model, Key: key, Time: now, Label: float64(rng.IntN(2))}
			if rng.IntN(3) == 0 {
				o.ID, o.At = "", &Position{"prices", rng.IntN(12), int64(len(log))}
			}
			log = append(log, Record{Outcome: o})
		}
	}
	return log
}

func samplePrediction(id, model, key string, at int64) *Prediction {
	return &Prediction{
		ID: id, Model: model, Key: key, Time: at,
		Entity: []features.Named{{Name: "symbol", Expr: key}},
		Set:    "00112233445566ff", Vector: []features.Value{expr.FloatValue(0.25), expr.IntValue(7), {}},
		Score: Score{Version: 3, Bundle: "b3", Value: 0.5},
	}
}
